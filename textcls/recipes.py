"""The table of what there is: (model, task) -> how it is built, its loss, its evaluation, its defaults.

build     (settings, shape of the backbone, number of labels) -> model
share     (model, Bert) -> None: give the model the backbone's weights
ledger    (settings, shape of the backbone, number of labels, step) -> its blocks, see ledger.py
frozen    whether the backbone is not trained, and so not stored in the run's checkpoints
amp       mixed precision on CUDA when --amp is auto
defaults  settings that the user did not give
untrained the defaults that differ when the backbone has not been pre-trained
"""

import dataclasses
import functools

import torch

from textcls import evaluation, ledger, losses
from textcls.config import TrainConfig, flag
from textcls.errors import InputError
from textcls.models.bert import BertClassifier, BertConfig
from textcls.models.lstm import BiLSTMClassifier

RECIPES = {
    ("bert", "classification"): {
        "build": lambda c, shape, labels: BertClassifier(shape, labels, c.dropout),
        "share": lambda model, bert: model.bert.load_state_dict(bert.state_dict(), assign=True),
        "ledger": lambda c, shape, labels, step: ledger.bert_classifier(shape, labels, c.dropout, step),
        "frozen": False,
        "amp": "fp16",
        "loss": losses.classification,
        "evaluate": evaluation.classification,
        "about": {"sequence modelling": "self-attention", "pooling": "[CLS] pooler"},
        "defaults": {
            "lr": 2e-5,
            "batch_size": 16,
            "accumulate": 2,
            "epochs": 4,
            "warmup": 0.1,
            "weight_decay": 0.01,
            "dropout": 0.3,
            "max_length": 256,
            "patience": 0,
            "label_smoothing": 0.0,
            "checkpoint_activations": False,
        },
        "untrained": {
            "lr": 1e-3,
            "batch_size": 32,
            "accumulate": 1,
            "epochs": 10,
            "max_length": 128,
            "label_smoothing": 0.1,
        },
    },
    ("bilstm", "classification"): {
        "build": lambda c, shape, labels: BiLSTMClassifier(shape, labels, c.hidden, c.layers, c.dropout),
        "share": lambda model, bert: model.embeddings.load_state_dict(bert.embeddings.state_dict(), assign=True),
        "ledger": lambda c, shape, labels, step: ledger.bilstm_classifier(
            shape, labels, c.hidden, c.layers, c.dropout, step
        ),
        "frozen": True,
        "amp": "off",
        "loss": losses.classification,
        "evaluate": evaluation.classification,
        "about": {"sequence modelling": "BiLSTM", "pooling": "attention"},
        "defaults": {
            "lr": 1e-3,
            "batch_size": 32,
            "accumulate": 1,
            "epochs": 5,
            "warmup": 0.1,
            "weight_decay": 0.01,
            "dropout": 0.3,
            "max_length": 256,
            "patience": 3,
            "label_smoothing": 0.0,
            "hidden": 384,
            "layers": 2,
        },
        "untrained": {
            "lr": 3e-3,
            "epochs": 10,
            "hidden": 128,
            "layers": 1,
            "max_length": 128,
            "patience": 0,
            "label_smoothing": 0.1,
        },
    },
}


def choose(config: TrainConfig) -> dict:
    return RECIPES[config.model, config.task]


def complete(config: TrainConfig) -> TrainConfig:
    """The settings with the recipe's defaults in place of None. Raises InputError for a setting the model ignores."""
    recipe = choose(config)
    defaults = recipe["defaults"] | (recipe["untrained"] if config.bert == "nano" else {})
    for name in ("hidden", "layers", "checkpoint_activations"):
        if getattr(config, name) is not None and name not in defaults:
            raise InputError(f"{flag(name)} does not apply to --model {config.model}")
    config = dataclasses.replace(config, **{k: v for k, v in defaults.items() if getattr(config, k) is None})
    config.check()
    return config


def build(config: TrainConfig, shape: BertConfig, num_labels: int):
    model = choose(config)["build"](config, shape, num_labels)
    if config.checkpoint_activations:
        model.bert.encoder.checkpoint_activations = True
    return model


def step(config: TrainConfig, device: str, dtype: torch.dtype | None) -> ledger.Step:
    """The largest step that these settings make."""
    return ledger.Step(
        batch=config.batch_size,
        tokens=config.max_length,
        device=device,
        dtype=dtype,
        accumulate=config.accumulate,
        checkpoint=bool(config.checkpoint_activations),
    )


def blocks(config: TrainConfig, shape: BertConfig, num_labels: int) -> ledger.Model:
    return functools.partial(choose(config)["ledger"], config, shape, num_labels)
