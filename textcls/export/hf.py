"""A run as the folder that AutoModelForSequenceClassification, …ForTokenClassification and …ForQuestionAnswering of
Hugging Face's transformers open, and `textcls.load` too."""

import json
import pathlib

import torch
from tokenizers import Tokenizer, processors

from textcls.config import flag
from textcls.pretrained.finetuned import FACTS, OURS, USUAL
from textcls.pretrained.safetensors import write_safetensors
from textcls.runtime import files
from textcls.runtime.errors import InputError
from textcls.tasks import multilabel
from textcls.tasks.base import Predictor
from textcls.tasks.documents import text_columns
from textcls.text.vocabulary import Vocabulary

FITTING = {"pooling": "cls", "crf": False, "decoder": "none", "long_documents": "cut"}  # where a model has them
KEPT_APART = ("thresholds",)  # of several labels: in config.json
TYPES = 2  # of tokens: their tokeniser tells the second text from the first
SETTINGS = ("label_column", "label_separator", "encoding", "max_length", "truncate", "amp")


def write(predictor: Predictor, folder: pathlib.Path) -> list[str]:
    check_fits(predictor)
    encoder = predictor.recipe["encoder"]
    tensors = {
        f"bert{name.removeprefix(encoder)}" if name.startswith(f"{encoder}.") else name: tensor
        for name, tensor in predictor.model.state_dict().items()
        if name not in KEPT_APART
    }
    write_safetensors(with_token_types(tensors, predictor.meta["dims"]), folder / "model.safetensors")
    write_tokenizer(predictor, folder)
    files.write_json(folder / "config.json", config_json(predictor))
    architecture = predictor.recipe["hf"]["architectures"][0]
    remark = [] if predictor.temperature == 1 else [
        f"divide the logits by {OURS}.temperature of config.json, {predictor.temperature:.4g}, for the probabilities "
        "that textcls gives"
    ]  # fmt: skip
    return [f"{architecture}: AutoModel{architecture.removeprefix('Bert')}.from_pretrained opens it", *remark]


def with_token_types(tensors: dict[str, torch.Tensor], dims: dict) -> dict[str, torch.Tensor]:
    """Their BERTs have token types: of a model that has none, as over DistilBERT, two that add nothing."""
    if dims["type_vocab_size"]:
        return tensors
    return tensors | {"bert.embeddings.token_type_embeddings.weight": torch.zeros(TYPES, dims["hidden_size"])}


def check_fits(predictor: Predictor) -> None:
    """Raise InputError that says which part of a model has no place in such a folder."""
    config, odd = predictor.config, []
    if "members" in predictor.meta:
        odd = ["an ensemble"]
    elif not predictor.recipe.get("hf"):
        task = f" --task {config.task}" if config.task != type(config).task else ""
        odd = [f"--model {config.model}{task}"]
    else:
        odd = [
            f"{flag(name)} {value if isinstance(value, str) else ''}".strip()
            for name, fits in FITTING.items()
            if (value := getattr(config, name)) not in (None, fits)
        ]
        odd += ["--truncate headtail"] * (config.truncate == "headtail")
        odd += ["word pieces of bytes"] * predictor.vocabulary.of_bytes
    if odd:
        other = "; a run of train.py --pooling cls has" if odd == [f"--pooling {config.pooling}"] else ""
        raise InputError(
            f"{predictor.run.folder}: Hugging Face's classes have no place for {', '.join(odd)}{other}; --format onnx "
            "takes every classifier, regressor and tagger, and what answers questions"
        )


def config_json(predictor: Predictor) -> dict:
    config, labels, meta = predictor.config, predictor.labels, predictor.meta
    named = {"id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)}}
    settings = {name: getattr(config, name) for name in SETTINGS}
    if config.text_column is not None:
        settings["text_column"] = ",".join(text_columns(config))
    ours = {
        "settings": settings,
        "temperature": predictor.temperature,
        **{name: meta[name] for name in FACTS if meta.get(name, USUAL[name]) != USUAL[name]},
        **({"thresholds": predictor.thresholds.tolist()} if isinstance(predictor, multilabel.Predictor) else {}),
    }
    return {
        "model_type": "bert",
        **predictor.recipe["hf"],
        **meta["dims"],
        "type_vocab_size": meta["dims"]["type_vocab_size"] or TYPES,
        "classifier_dropout": config.dropout,
        "dtype": "float32",
        **(named if labels else {}),
        OURS: ours,
    }


def write_tokenizer(predictor: Predictor, folder: pathlib.Path) -> None:
    """The word pieces, with [CLS] and [SEP] around texts, and where long texts are cut."""
    predictor.vocabulary.publish(folder)
    files.write_text(folder / "tokenizer.json", with_ends(predictor.vocabulary).to_str(pretty=True))
    path = folder / "tokenizer_config.json"
    cut = {"model_max_length": predictor.config.max_length}
    cut["truncation_side"] = "left" if predictor.config.truncate == "tail" else "right"
    files.write_json(path, json.loads(path.read_bytes()) | {"tokenizer_class": "BertTokenizer"} | cut)


def with_ends(vocabulary: Vocabulary) -> Tokenizer:
    tokenizer = Tokenizer.from_str(vocabulary.tokenizer.to_str())
    cls, sep = (tokenizer.id_to_token(number) for number in (vocabulary.cls, vocabulary.sep))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{cls} $A {sep}",
        pair=f"{cls} $A {sep} $B:1 {sep}:1",
        special_tokens=[(cls, vocabulary.cls), (sep, vocabulary.sep)],
    )
    return tokenizer
