"""The tables of what there is.

TASKS    task -> how its splits become batches, its loss, its evaluation, the dev metrics that can select the best
         epoch, defaults of all its models
RECIPES  (model, task) -> how the model is built, and its defaults:
  input     what it reads: the backbone's word `pieces`, `words` of a vocabulary made from the training texts, or a
            `bag` of them
  build     (settings, shape, number of labels) -> model
  share     (model, Backbone) -> None: give the model what the backbone brings
  ledger    (settings, shape, number of labels, step) -> its blocks, see stacks.py
  frozen    settings -> whether the backbone is not trained, and so not stored in the run's checkpoints
  amp       mixed precision on CUDA when --amp is auto
  defaults  settings that the user did not give, on top of the task's
  nano      the defaults that differ for the small backbone that comes with the library
"""

import dataclasses
import functools

import torch

from textcls import assembly, evaluation, inputs, ledger, losses, parallel, stacks
from textcls.backbone import shape_of
from textcls.config import TrainConfig, flag
from textcls.errors import InputError
from textcls.models import trans_blstm
from textcls.models.bert import BertClassifier, BertConfig
from textcls.models.language_model import LanguageModel
from textcls.models.linear import LinearClassifier
from textcls.models.lstm import BiLSTMClassifier
from textcls.models.recurrent import BertVectors, Tagger, WordShape
from textcls.text import SPECIAL

TRAINING = {
    "batch_size": 32,
    "accumulate": 1,
    "warmup": 0.1,
    "weight_decay": 0.01,
    "clip": 1.0,
    "max_length": 256,
    "patience": 0,
    "label_smoothing": 0.0,
}
TASKS = {
    "classification": {
        "batches": inputs.documents,
        "loss": losses.classification,
        "evaluate": evaluation.classification,
        "select": ("accuracy", "macro_f1", "loss"),
        "defaults": TRAINING
        | {
            "text_column": "text",
            "label_column": "label",
            "select": "accuracy",
            "dropout": 0.3,
            "long_documents": "cut",
            "stride": None,
            "max_windows": 8,
        },
    },
    "tagging": {
        "batches": inputs.sentences,
        "loss": losses.tagging,
        "evaluate": evaluation.tagging,
        "select": ("f1", "strict_f1", "accuracy"),
        "defaults": TRAINING
        | {
            "text_column": "1",
            "label_column": "-1",
            "select": "f1",
            "dropout": 0.1,
            "max_length": 128,
            "crf": False,
        },
    },
    "lm": {
        "batches": inputs.streams,
        "loss": losses.language,
        "evaluate": evaluation.language,
        "select": ("loss",),
        "defaults": TRAINING
        | {
            "select": "loss",
            "batch_size": 20,
            "max_length": 35,
            "dropout": 0.5,
            "weight_decay": 1e-6,
            "clip": 0.5,
        },
    },
    "pretrain": {
        "batches": inputs.pairs,
        "loss": losses.pretraining,
        "evaluate": evaluation.pretraining,
        "select": ("loss",),
        "defaults": TRAINING
        | {
            "select": "loss",
            "accumulate": 8,
            "lr": 1e-4,
            "epochs": 1,
            "warmup": 0.02,
            "dropout": None,
            "next_sentence": True,
            "scratch": False,
            "vocab_size": None,
        },
    },
}


def recurrent(kind: str, directions: int, **defaults) -> dict:
    """The row of a (Bi)LSTM classifier over one of the sources."""
    return {
        "input": "words" if kind == "words" else "pieces",
        "build": functools.partial(assembly.recurrent_classifier, kind, directions),
        "share": assembly.share_words if kind == "words" else assembly.share_bert,
        "ledger": functools.partial(stacks.recurrent_classifier, kind, directions),
        "frozen": assembly.FROZEN[kind],
        "amp": "off" if kind == "words" else "fp16",
        "about": {"sequence modelling": "LSTM" if directions == 1 else "BiLSTM", "pooling": "{pooling}"},
        "defaults": defaults,
        "nano": {},
    }


def tagger(kind: str, **defaults) -> dict:
    """The row of a BiLSTM tagger over one of the sources."""
    return recurrent(kind, 2, **defaults) | {
        "build": functools.partial(assembly.recurrent_tagger, kind),
        "ledger": functools.partial(stacks.recurrent_tagger, kind),
        "about": {"sequence modelling": "BiLSTM", "pooling": "none"},
    }


FROM_SCRATCH = {"lr": 2e-3, "epochs": 10, "embedding": 100, "vocab_size": 30_000, "min_count": 2, "vectors": None}
OVER_BERT = {"lr": 1e-3, "epochs": 5, "encoder": "frozen", "encoder_lr": 2e-5, "features": "sequence"}
LSTM = {"hidden": 64, "layers": 1, "pooling": "attention"}

# ---- the table ------------------------------------------------------------------------------------------------------

RECIPES = {
    ("linear", "classification"): {
        "input": "bag",
        "build": lambda c, shape, labels: LinearClassifier(shape.vocab_size, labels, len(SPECIAL), c.dropout),
        "share": lambda model, base: None,
        "begin": assembly.begin_linear,
        "ledger": stacks.linear_classifier,
        "frozen": assembly.never,
        "amp": "off",
        "about": {"sequence modelling": "none", "pooling": "TF-IDF bag of words"},
        "defaults": {
            "lr": 1e-2,
            "epochs": 6,
            "weight_decay": 0.0,
            "warmup": 0.0,
            "dropout": 0.5,
            "vocab_size": 1_000_000,
            "min_count": 1,
            "max_length": 20_000,
        },
        "nano": {},
    },
    ("bert", "classification"): {
        "input": "pieces",
        "build": lambda c, shape, labels: BertClassifier(shape, labels, c.dropout),
        "share": assembly.share_bert,
        "ledger": stacks.bert_classifier,
        "frozen": assembly.never,
        "amp": "fp16",
        "about": {"sequence modelling": "self-attention", "pooling": "[CLS] pooler"},
        "defaults": {
            "lr": 2e-5,
            "batch_size": 16,
            "accumulate": 2,
            "epochs": 4,
            "checkpoint_activations": False,
        },
        "nano": {
            "lr": 1e-3,
            "batch_size": 32,
            "accumulate": 1,
            "epochs": 10,
            "max_length": 128,
            "label_smoothing": 0.1,
        },
    },
    ("bilstm", "classification"): {
        "input": "pieces",
        "build": lambda c, shape, labels: BiLSTMClassifier(shape, labels, c.hidden, c.layers, c.dropout, c.pooling),
        "share": assembly.share_bert,
        "ledger": stacks.bilstm_classifier,
        "frozen": assembly.always,
        "amp": "off",
        "about": {"sequence modelling": "BiLSTM", "pooling": "{pooling}"},
        "defaults": {
            "lr": 1e-3,
            "epochs": 5,
            "patience": 3,
            "hidden": 384,
            "layers": 2,
            "pooling": "attention",
        },
        "nano": {
            "lr": 3e-3,
            "epochs": 10,
            "hidden": 128,
            "layers": 1,
            "max_length": 128,
            "patience": 0,
            "label_smoothing": 0.1,
        },
    },
    ("lstm", "classification"): recurrent("words", 1, **LSTM, **FROM_SCRATCH),
    ("bilstm-scratch", "classification"): recurrent("words", 2, **LSTM, **FROM_SCRATCH),
    ("bert-lstm", "classification"): recurrent("bert", 1, **LSTM, **OVER_BERT),
    ("bert-bilstm", "classification"): recurrent("bert", 2, **LSTM, **OVER_BERT),
    ("bert", "tagging"): {
        "input": "pieces",
        "build": lambda c, shape, labels: Tagger(BertVectors(shape), labels, c.dropout, c.crf),
        "share": assembly.share_bert,
        "ledger": stacks.bert_tagger,
        "frozen": assembly.never,
        "amp": "fp16",
        "about": {"sequence modelling": "self-attention", "pooling": "none"},
        "defaults": {"lr": 1e-4, "batch_size": 16, "epochs": 4, "checkpoint_activations": False},
        "nano": {"lr": 1e-3, "epochs": 10},
    },
    ("bert", "pretrain"): {
        "input": "pieces",
        "build": assembly.bert_for_pretraining,
        "share": assembly.share_pretrained,
        "ledger": stacks.bert_for_pretraining,
        "frozen": assembly.never,
        "amp": "fp16",
        "about": {"sequence modelling": "self-attention", "pooling": "[CLS] pooler"},
        "defaults": {"checkpoint_activations": False},
        "nano": {},
    },
    ("bilstm", "tagging"): tagger("embeddings", lr=2e-3, epochs=10, hidden=256, layers=1, dropout=0.3),
    ("bilstm-scratch", "tagging"): tagger("words", **FROM_SCRATCH, hidden=128, layers=1, dropout=0.3),
    ("bert-bilstm", "tagging"): tagger("bert", **OVER_BERT | {"epochs": 10}, hidden=128, layers=1),
    ("lstm", "lm"): {
        "input": "words",
        "build": lambda c, shape, labels: LanguageModel(shape, c.layers, c.dropout),
        "share": lambda model, base: None,
        "ledger": stacks.language_model,
        "frozen": assembly.never,
        "amp": "off",
        "about": {"sequence modelling": "LSTM", "pooling": "none"},
        "defaults": {"lr": 2e-3, "epochs": 20, "vocab_size": 10_000, "embedding": 650, "layers": 2},
        "nano": {},
    },
}


# BERT's rows with other layers.
for variant in trans_blstm.VARIANTS:
    for task in assembly.TRANS_BLSTM:
        row = RECIPES["bert", task]
        RECIPES[variant, task] = row | {
            "build": functools.partial(assembly.TRANS_BLSTM[task], variant),
            "ledger": functools.partial(stacks.TRANS_BLSTM[task], variant),
            "about": row["about"] | {"sequence modelling": assembly.describe(variant)},
            "defaults": row["defaults"] | {"small": False},
        }


for row in RECIPES.values():
    if row["input"] == "pieces":
        row["defaults"] = {"scratch": False} | row["defaults"]


def choose(config: TrainConfig) -> dict:
    """The row of these settings. Raises InputError for a model that is not there for the task."""
    if (config.model, config.task) not in RECIPES:
        known = ", ".join(model for model, task in RECIPES if task == config.task)
        raise InputError(f"--model {config.model} is not there for --task {config.task}; known: {known}")
    return RECIPES[config.model, config.task]


def defaults(config: TrainConfig) -> dict:
    recipe = choose(config)
    nano = recipe["nano"] if config.bert == "nano" else {}
    return TASKS[config.task]["defaults"] | recipe["defaults"] | nano


def complete(config: TrainConfig) -> TrainConfig:
    """The settings with the recipe's defaults in place of None. Raises InputError for a setting the model ignores."""
    values = defaults(config)
    for name in SETTINGS - values.keys():
        if getattr(config, name) is not None:
            raise InputError(f"{flag(name)} does not apply to --model {config.model}{of_task(config)}")
    config = dataclasses.replace(config, **{k: v for k, v in values.items() if getattr(config, k) is None})
    config.check()
    selectable = TASKS[config.task]["select"]
    if config.select not in selectable:
        raise InputError(f"--select {config.select} is not measured for --task {config.task}: {', '.join(selectable)}")
    return config


def of_task(config: TrainConfig) -> str:
    return "" if config.task == "classification" else f" --task {config.task}"


SETTINGS = {name for task in TASKS.values() for name in task["defaults"]}
SETTINGS |= {name for recipe in RECIPES.values() for name in recipe["defaults"]}


def shape(config: TrainConfig) -> BertConfig | WordShape:
    """The model's input shape without its weights or its texts: of a vocabulary to be learned, the largest."""
    if choose(config)["input"] == "pieces":
        found = shape_of(config.bert)
        return dataclasses.replace(found, vocab_size=config.vocab_size or found.vocab_size)
    return WordShape(config.vocab_size, config.embedding or 0)


def read_shape(config: TrainConfig, fields: dict) -> BertConfig | WordShape:
    return (BertConfig if choose(config)["input"] == "pieces" else WordShape)(**fields)


def build(config: TrainConfig, shape: BertConfig | WordShape, num_labels: int):
    model = choose(config)["build"](config, shape, num_labels)
    if config.checkpoint_activations:
        (model.bert if hasattr(model, "bert") else model.encoder.bert).encoder.checkpoint_activations = True
    return model


def step(config: TrainConfig, device: str, dtype: torch.dtype | None) -> ledger.Step:
    """The largest step that these settings make."""
    windows = config.max_windows if config.long_documents == "window" else 1
    return ledger.Step(
        batch=config.batch_size * windows,
        tokens=config.max_length,
        device=device,
        dtype=dtype,
        padded=config.task != "lm",
        accumulate=config.accumulate,
        checkpoint=bool(config.checkpoint_activations),
        processes=(config.nodes or 1) * (config.gpus or 1) if config.plan else parallel.size(),
    )


def model_blocks(config: TrainConfig, shape: BertConfig | WordShape, num_labels: int) -> ledger.Model:
    return functools.partial(choose(config)["ledger"], config, shape, num_labels)
