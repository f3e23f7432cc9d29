"""A trained run, ready to predict: `textcls.load(run).predict(texts)`; and how good it is on a test split."""

import os
import pathlib
import re
from typing import Any

import torch

from textcls import recipes
from textcls.config import TrainConfig
from textcls.data.corpus import identity
from textcls.models.bert import BertConfig
from textcls.pretrained import backbone
from textcls.pretrained.finetuned import FACTS, is_fine_tuned, read_fine_tuned
from textcls.pretrained.hub import weights_file
from textcls.report.compare import Result
from textcls.runtime.device import choose_device, choose_precision
from textcls.runtime.errors import InputError
from textcls.runtime.files import fingerprint
from textcls.runtime.tensors import check_fit, count_parameters, load_trainable
from textcls.tasks import TASKS, ensemble
from textcls.tasks.base import Predictor
from textcls.text.published import read_object
from textcls.text.vocabulary import Vocabulary
from textcls.training.run import Foreign, Run


def load(
    run_folder: str | os.PathLike, device: str = "auto", bert: str | None = None, elmo: str | None = None
) -> Predictor:
    """The best checkpoint of a run. `bert` and `elmo` say where its frozen backbone of that kind is now, if it moved.
    Or a fine-tuned BERT as Hugging Face's transformers have it, by us or by others: see pretrained/finetuned.py.

    Raises InputError for a folder that is no run, is damaged, or is of another version.
    """
    if is_fine_tuned(pathlib.Path(run_folder)):
        return load_fine_tuned(pathlib.Path(run_folder), choose_device(device))
    run = Run(run_folder)
    meta, content, where = run.whole_meta(), run.load("best.pt"), choose_device(device)
    try:
        if "members" in meta:
            places = str(where), bert, elmo
            return ensemble.load(run, meta, content["model"], where, lambda folder: load(folder, *places))
        config = recipes.complete(TrainConfig(**meta["config"]))
        recipe = recipes.choose(config)
        dims = recipes.read_dims(config, meta["dims"])
        check_reach(config, dims)
        model = recipes.build(config, dims, len(meta["labels"]))
        if recipe["frozen"](config):
            found = backbone.reload(meta["backbone"], run.folder, {"bert": bert, "elmo": elmo})
            recipes.share(config, model, found)
            meta["backbone"] = found.source
        load_trainable(model, content["model"], run.folder / "best.pt")
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{run.folder}: config.json and best.pt do not make a model ({error})") from None
    kind = TASKS[config.task].Predictor
    vocabulary = recipe.get("vocabulary", kind.vocabulary_kind).from_folder(run.folder)
    if vocabulary.digest != meta["vocabulary"]:
        raise InputError(f"{run.folder / 'tokenizer.json'}: not the vocabulary that the run was trained with")
    if dims.vocab_size:  # a biLM that makes vectors has none
        vocabulary.check_ids(dims.vocab_size, run.folder / "tokenizer.json")
    precision = choose_precision(config.amp, where, recipe["amp"])
    return kind(run, meta, recipe, config, model, vocabulary, where, precision)


def task_of(folder: str) -> str:
    """What a run is for; an ensemble is one of classifiers."""
    if is_fine_tuned(pathlib.Path(folder)):
        return load(folder, "cpu").config.task
    return Run(folder).meta().get("config", {}).get("task", TrainConfig.task)


def load_fine_tuned(folder: pathlib.Path, device: torch.device) -> Predictor:
    """The predictor of a fine-tuned BERT. What its folder does not say is as the task has it; texts are cut where its
    tokeniser cuts them."""
    path, found = folder / "config.json", read_fine_tuned(folder)
    pairs = [pair for pair, row in recipes.RECIPES.items() if row.get("hf") == found.hf]
    if not pairs:
        raise InputError(f"{path}: problem_type is {found.hf.get('problem_type')!r}, for which there is no task")
    known = {"max_length": longest_input(folder, found.dims), "amp": "off", "dropout": found.dropout}
    settings = known | found.ours["settings"]
    try:
        named = dict(zip(("model", "task"), pairs[0], strict=True))
        config = recipes.complete(TrainConfig(**settings | named, train=str(folder), bert=str(folder)))
        check_reach(config, found.dims)
        model = recipes.build(config, found.dims, len(found.labels))
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: does not make a model ({error})") from None
    recipe, tensors = recipes.choose(config), found.tensors
    if "thresholds" in model.state_dict():
        thresholds = found.ours["thresholds"] or [0.5] * len(found.labels)
        tensors = tensors | {"thresholds": torch.tensor(thresholds, dtype=torch.float64)}
    give(model, recipe["encoder"], tensors, weights_file(folder))
    vocabulary = Vocabulary.from_folder(folder)
    vocabulary.check_ids(found.dims.vocab_size, folder)
    precision = choose_precision(config.amp, device, recipe["amp"])
    meta = {
        **{name: found.ours[name] for name in FACTS},
        "config": config.stored(),
        "labels": found.labels,
        "dims": vars(found.dims),
        "backbone": {"name": backbone.short(str(folder))},
        "parameters": count_parameters(model),
        "precision": precision.name,
        "training": "not part of this folder",
    }
    run, kind = Foreign(folder, meta), TASKS[config.task].Predictor
    predictor = kind(run, meta, recipe, config, model, vocabulary, device, precision)
    predictor.temperature = found.ours["temperature"]
    return predictor


def check_reach(config: TrainConfig, dims) -> None:
    """Raise ValueError where texts would not be cut at the last position that the model has."""
    positions = getattr(dims, "max_position_embeddings", config.max_length)
    if recipes.choose(config)["input"] == "pieces" and config.max_length > positions:
        raise ValueError(f"max_length is {config.max_length}, of {positions} positions")


def give(model: torch.nn.Module, encoder: str, tensors: dict[str, torch.Tensor], path: pathlib.Path) -> None:
    """Give a model the weights of a fine-tuned BERT, strictly; a pooler that its class does not read is left out."""
    ours = {re.sub("^bert(?=[.])", encoder, name): tensor for name, tensor in tensors.items()}
    wanted, pooler = model.state_dict(), f"{encoder}.pooler."
    ours = {name: tensor for name, tensor in ours.items() if name in wanted or not name.startswith(pooler)}
    check_fit(wanted, ours, path)
    model.load_state_dict(ours)


def longest_input(folder: pathlib.Path, dims: BertConfig) -> int:
    """Where the tokeniser of a folder cuts texts, [CLS] and [SEP] counted; at the latest where positions end."""
    longest = read_object(folder / "tokenizer_config.json").get("model_max_length")
    positions = dims.max_position_embeddings
    return min(longest, positions) if isinstance(longest, int) and longest >= 8 else positions


def evaluate(predictor: Predictor, description: str, split: Any, quiet: bool) -> Result:
    """How good the model is on a split of its task: one dictionary, of the same form for every task.

    {"run", "task", "data", "unit", "documents", "split": digests of its items and their answers, "device",
    "properties", "metrics": {name: {"value", "low", "high"}}, "documents_per_s", …}
    """
    task = TASKS[predictor.config.task]
    result = task.result(predictor, split, quiet)
    predictor.release()
    common = {
        "run": str(predictor.run.folder),
        "task": predictor.config.task,
        "data": description,
        "unit": task.UNIT,
        "documents": len(split),
        "device": str(predictor.device),
        "properties": predictor.properties(),
    }
    digest = {kind: fingerprint(numbers.tobytes().hex()).hex() for kind, numbers in
              identity(split, predictor.labels).items()}  # fmt: skip
    return Result(common | {"split": digest} | result.summary, result.items, result.further)
