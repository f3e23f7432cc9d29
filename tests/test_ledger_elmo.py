"""The ledger of a biLM, held to what autograd keeps and to what is alive at the peak."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from tests.test_ledger import LiveBytes
from textcls import recipes
from textcls.config import TrainConfig
from textcls.ledger.bilm import share
from textcls.ledger.measure import DistinctWords, SavedTensors
from textcls.ledger.plan import Plan, Step
from textcls.models.elmo import LAYERS, ElmoConfig
from textcls.models.language_model import cutoffs_of
from textcls.models.projected_lstm import ProjectedLSTM
from textcls.models.recurrent import Tagger
from textcls.tasks import language
from textcls.tasks.classification import cross_entropy
from textcls.tasks.tagging import tag_loss
from textcls.text.batches import Batch
from textcls.training.optim import build_optimizer

SHAPE = {"filters": ((1, 20), (2, 24), (3, 40)), "projection": 24, "cells": 64, "characters": 8}
LABELS = 7


@pytest.fixture(autouse=True)
def without_bf16_lstm(monkeypatch):
    """As on most processors; see test_ledger.py."""
    monkeypatch.setattr("textcls.models.lstm.has_bf16_lstm", lambda: False)


def build(name: str, changes: dict, settings: dict):
    """(model in training, its loss, (step) -> its blocks); `name` is MODEL/TASK."""
    model, task = name.split("/")
    over = {} if model == "elmo" else {"elmo": "x"}
    config = recipes.complete(TrainConfig(model=model, task=task, train="x.csv", **over, **settings))
    dims = ElmoConfig(**SHAPE | changes)
    built = recipes.build(config, dims, LABELS).train()
    loss_fn = {"lm": language.loss(config, None), "tagging": tag_loss()}.get(task, cross_entropy())
    return built, loss_fn, recipes.blocks(config, dims, LABELS)


def made_up(count: int, longest: int) -> torch.Tensor:
    """Distinct words (N, 50) of 3 to 22 letters; the first has the `longest`."""
    ids = torch.full((count, 50), 261)
    ids[:, 0] = 259
    for row in range(count):
        letters = longest if row == 0 else 3 + row % 20
        ids[row, 1 : letters + 1] = torch.randint(2, 257, (letters,))
        ids[row, letters + 1] = 260
    return ids


def batch_for(model, step: Step) -> Batch:
    ids = made_up(2 * step.slots, 22 if step.padded else 48).view(2, step.batch, step.tokens, 50)
    mask = torch.ones(step.batch, step.tokens, dtype=torch.long)
    if step.padded:
        mask[1:, step.tokens - 3 :] = 0
    inputs = {"ids": ids[0] * mask[:, :, None], "mask": mask if step.padded else None, "segments": None}
    targets = {"labels": torch.zeros(step.batch, dtype=torch.long)}
    if not hasattr(model, "encoder"):
        numbers = ranks(model.bilm.config.vocab_size, step)
        inputs, targets = {"ids": ids[0], "backward": ids[1]}, {"forward": numbers, "backward": numbers}
    elif model.encoder.source.frozen:
        inputs["features"] = torch.randn(step.batch, step.tokens, model.encoder.source.encoded_size)
    if isinstance(model, Tagger):
        inputs["starts"] = torch.arange(step.tokens).repeat(step.batch, 1)
        targets = {"labels": torch.zeros_like(inputs["starts"])}
    return Batch(inputs, targets, np.arange(step.batch), 0, {})


def ranks(vocab_size: int, step: Step) -> torch.Tensor:
    """Words (B, T) of the ranks that Zipf's law gives to the clusters of an adaptive softmax."""
    numbers, at = torch.zeros(step.slots, dtype=torch.long), 0
    for begin, end in itertools.pairwise([*cutoffs_of(vocab_size), vocab_size]):
        count = round(step.slots * share(begin, end, vocab_size))
        numbers[at : at + count], at = begin, at + count
    return numbers.view(step.batch, step.tokens)


def forward(model, loss_fn, batch: Batch, step: Step) -> torch.Tensor:
    with torch.autocast("cpu", torch.bfloat16, enabled=step.dtype is not None):
        return sum(loss_fn(model, batch, None)[0].values())


OVER = [
    *(("elmo-bilstm/classification", {}, {"elmo_layers": kind, "encoder": encoder})
      for kind, encoder in itertools.product(LAYERS, ("frozen", "tune"))),
    ("elmo-bilstm/classification", {"layers": 3, "highways": 2, "activation": "tanh"},
     {"encoder": "tune", "mix_norm": True}),
    ("elmo-bilstm/classification", {"skip": False}, {"encoder": "frozen", "mix_norm": True}),
    ("elmo-bilstm/tagging", {"skip": False, "layers": 3, "highways": 0}, {"encoder": "tune", "crf": True}),
    ("elmo-lstm/classification", {"layers": 1, "cell_clip": None}, {"encoder": "tune", "dropout": 0.0}),
]  # fmt: skip
ALONE = [
    ("elmo/lm", {"vocab_size": 500}, {}),
    ("elmo/lm", {"vocab_size": 30_000}, {}),
    ("elmo/lm", {"vocab_size": 6_000}, {"dropout": 0.0}),
]


@pytest.mark.parametrize("dtype", [None, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("padded", [True, False], ids=["padded", "full"])
@pytest.mark.parametrize("name, changes, settings", OVER, ids=str)
def test_saved_tensors_are_predicted_within_a_hundredth(name, changes, settings, padded, dtype):
    check_saved(name, changes, settings, Step(6, 50, dtype=dtype, padded=padded))


@pytest.mark.parametrize("name, changes, settings", ALONE, ids=str)
def test_those_of_a_language_model_too(name, changes, settings):
    check_saved(name, changes, settings, Step(6, 50, padded=False))


def check_saved(name: str, changes: dict, settings: dict, step: Step) -> None:
    model, loss_fn, blocks = build(name, changes, settings)
    batch = batch_for(model, step)
    with SavedTensors(model) as saved, DistinctWords(model) as words:
        forward(model, loss_fn, batch, step)
    predicted = Plan(blocks(dataclasses.replace(step, spelled=words.shape)), step)
    assert set(predicted.activations()) == set(saved.parts)
    for part, size in predicted.activations().items():
        assert size == pytest.approx(saved.parts[part], rel=0.01), part
    assert sum(predicted.activations().values()) == pytest.approx(sum(saved.parts.values()), rel=0.01)
    assert predicted.copies == saved.copies
    counts = {flag: sum(p.numel() for p in model.parameters() if p.requires_grad is flag) for flag in (True, False)}
    assert (predicted.trainable // 4, predicted.frozen // 4) == (counts[True], counts[False])


def test_without_being_told_the_words_are_all_distinct():
    """As many as a micro-batch can have: what is planned for is never less than what comes."""
    model, loss_fn, blocks = build("elmo-bilstm/classification", {}, {"encoder": "tune"})
    step = Step(6, 50, padded=False)
    with SavedTensors(model) as saved:
        forward(model, loss_fn, batch_for(model, step), step)
    assert Plan(blocks(step), step).activations()["embedding"] == pytest.approx(saved.parts["embedding"], rel=0.01)


@pytest.mark.parametrize("name, changes, settings, step", [
    ("elmo-bilstm/classification", {}, {"encoder": "tune"}, Step(8, 40)),
    ("elmo-bilstm/classification", {}, {"encoder": "tune", "elmo_layers": "concatenate"}, Step(8, 40, accumulate=2)),
    ("elmo-bilstm/tagging", {"layers": 1}, {"encoder": "tune"}, Step(3, 100)),
    ("elmo-bilstm/classification", {}, {"encoder": "frozen"}, Step(8, 40)),
    ("elmo/lm", {"vocab_size": 500}, {}, Step(8, 40, padded=False)),
    ("elmo/lm", {"vocab_size": 8_000}, {}, Step(4, 20, padded=False)),
    ("elmo/lm", {"vocab_size": 24_000}, {}, Step(16, 20, padded=False, accumulate=2)),
])  # fmt: skip
def test_peak_is_predicted_within_a_twentieth(name, changes, settings, step):
    model, loss_fn, blocks = build(name, changes, settings)
    batch, optimizer = batch_for(model, step), build_optimizer(model, 1e-4, 0.01)

    def take():
        for _ in range(step.accumulate):
            forward(model, loss_fn, batch, step).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    take()  # the optimiser's state is made in the first step
    live = LiveBytes()
    for tensor in [*model.parameters(), *tree_leaves([list(state.values()) for state in optimizer.state.values()])]:
        live.add(tensor)
    with live, DistinctWords(model) as words:
        take()
    predicted = Plan(blocks(dataclasses.replace(step, spelled=words.shape)), step).peak()[0]
    assert predicted == pytest.approx(live.peak, rel=0.05)


def test_flop_equals_torchs_counter(monkeypatch):
    """Of the products: convolutions, highways, projections and the LSTMs' own (which the counter sees step by step)."""
    monkeypatch.setattr(ProjectedLSTM, "forward", ProjectedLSTM.step_by_step)
    model, _, blocks = build("elmo/lm", {"vocab_size": 500, "highways": 2}, {"dropout": 0.0})
    step = Step(4, 20, padded=False)
    batch = batch_for(model, step)
    with FlopCounterMode(display=False) as counter, torch.no_grad(), DistinctWords(model) as words:
        model.losses(batch.targets, **batch.inputs)
    predicted = sum(block.flop for block in blocks(dataclasses.replace(step, spelled=words.shape)))
    assert predicted == pytest.approx(counter.get_total_flops(), rel=0.01)
