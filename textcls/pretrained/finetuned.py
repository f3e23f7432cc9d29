"""A fine-tuned BERT in the form of Hugging Face's transformers: config.json names its class and its labels, and
model.safetensors has its head beside the encoder. What `evaluate.py --export` writes, and what other people publish.
"""

import dataclasses
import math
import pathlib
from typing import TypedDict

import torch

from textcls.metrics.calibration import LEAST, MOST
from textcls.models.bert import BertConfig
from textcls.pretrained.bert import BUFFERS, new_name, read_config, read_weights
from textcls.pretrained.hub import weights_file
from textcls.runtime.digests import check
from textcls.runtime.errors import InputError
from textcls.runtime.files import parse_json
from textcls.runtime.kinds import Metric, Scheme, misfit

HEADS = {  # classes of transformers, and their last layer
    "BertForSequenceClassification": "classifier",
    "BertForTokenClassification": "classifier",
    "BertForQuestionAnswering": "qa_outputs",
}
OURS = "textcls"  # what config.json says that only this library reads, under one name
FACTS = ("range", "scheme", "metrics")  # of the training data, which predictions and results rest on
USUAL = {  # what it means where it does not say one of these
    "settings": {},
    "temperature": 1.0,
    "range": [-math.inf, math.inf],
    "scheme": "BIO",
    "metrics": [],
    "thresholds": [],
}


class Ours(TypedDict):
    settings: dict
    temperature: float
    range: tuple[float | None, float | None]
    scheme: Scheme
    metrics: list[Metric]
    thresholds: list[float]


@dataclasses.dataclass(frozen=True)
class FineTuned:
    """`hf`: the class in `architectures`, and `problem_type` where it classifies texts. `labels`: C names, none where
    the head gives no labels. `dropout`: before the head in training, None where it is not said. `ours`: what this library
    said besides, or what is usual: settings, temperature, FACTS."""

    hf: dict
    dims: BertConfig
    labels: list[str]
    dropout: float | None
    tensors: dict[str, torch.Tensor]  # in published names
    ours: dict


def is_fine_tuned(folder: pathlib.Path) -> bool:
    """Whether config.json is that of a model, and not of a run."""
    try:
        values = parse_json((folder / "config.json").read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(values, dict) and "format" not in values and ("architectures" in values or "model_type" in values)


def read_fine_tuned(folder: pathlib.Path) -> FineTuned:
    """Raises InputError for another class, and for labels or weights that do not fit."""
    path = folder / "config.json"
    check(path)
    values = parse_json(path.read_bytes())
    names = values.get("architectures") or ["none"]
    if not isinstance(names, list) or len(names) != 1 or names[0] not in HEADS:
        raise InputError(
            f"{path}: architectures is {', '.join(map(str, names))}; what predicts is a run folder, or one of the "
            f"classes {', '.join(HEADS)}. A BERT without such a head is for --bert"
        )
    tensors = {new_name(name): tensor for name, tensor in read_weights(weights_file(folder)).items()}
    tensors = {name: tensor for name, tensor in tensors.items() if not BUFFERS.fullmatch(name)}
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise InputError(f"{weights_file(folder)}: {name} is of {tensor.dtype}, expected floats")
    outputs = tensors.get(f"{HEADS[names[0]]}.bias", torch.empty(0)).numel()
    labels = [] if names[0] == "BertForQuestionAnswering" else read_labels(path, values, outputs)
    hf = {"architectures": names}
    if names[0] == "BertForSequenceClassification":
        usual = "regression" if outputs == 1 else "single_label_classification"
        hf["problem_type"] = values.get("problem_type") or usual
    dims, dropout = read_config(path), values.get("classifier_dropout")
    if HEADS[names[0]] == "classifier":  # as transformers reads it
        dropout = dims.hidden_dropout_prob if dropout is None else dropout
    elif OURS not in values:
        dropout = None  # there is none before the head of theirs
    return FineTuned(hf, dims, labels, dropout, tensors, read_ours(path, values.get(OURS, {})))


def read_ours(path: pathlib.Path, ours: dict) -> dict:
    """What only this library says, as far as it can be what it wrote."""
    if not isinstance(ours, dict) or not ours.keys() <= USUAL.keys():
        raise InputError(f"{path}: {OURS} is {ours!r:.60}, expected an object of {', '.join(USUAL)}")
    ours = USUAL | ours
    problem = misfit(ours, Ours, OURS)
    if not problem and not LEAST <= ours["temperature"] <= MOST:
        problem = f"{OURS}.temperature is {ours['temperature']!r}, expected a number from {LEAST:g} to {MOST:g}"
    if not problem:
        low, high = ours["range"]
        ours["range"] = [-math.inf if low is None else low, math.inf if high is None else high]
    if not problem and not ours["range"][0] <= ours["range"][1]:
        problem = f"{OURS}.range is {ours['range']!r:.60}, expected the least number first"
    if problem:
        raise InputError(f"{path}: {problem}")
    return ours


def read_labels(path: pathlib.Path, values: dict, outputs: int) -> list[str]:
    """id2label by number; where there is none LABEL_0, LABEL_1, … as transformers says."""
    named = values.get("id2label") or {str(i): f"LABEL_{i}" for i in range(outputs)}
    try:
        labels = [named[str(i)] for i in range(len(named))]
    except (KeyError, TypeError):
        raise InputError(f"{path}: id2label is not {{number: label}} with the numbers from 0 on") from None
    if len(labels) != outputs:
        raise InputError(f"{path}: id2label has {len(labels)} labels, the head of the model {outputs} outputs")
    if len(set(labels)) < len(labels) or not all(isinstance(label, str) for label in labels):
        raise InputError(f"{path}: id2label has a label twice, or one that is no string")
    return labels
