"""What the parts of benchmarks/gpu.py work on: how large the work is, documents, models, and the library's own step.

Dimensions: B documents of a micro-batch, T tokens.
"""

import dataclasses
import math
import pathlib
import time

import numpy as np
import torch

from textcls import recipes
from textcls.config import TrainConfig
from textcls.ledger.plan import Model, Step
from textcls.models.bert import BertConfig
from textcls.pretrained.backbone import dims_of, published
from textcls.runtime.device import Precision
from textcls.tasks import classification
from textcls.text.batches import Batch, Batches
from textcls.text.pieces import Pieces, Sequences
from textcls.text.sequences import assemble
from textcls.text.vocabulary import encode
from textcls.training.loop import Setup, make_setup, update

LABELS = 20
DOCUMENTS = 11_314  # of 20 Newsgroups' training set
PRECISIONS = {"fp32": Precision(None, ""), "fp16": Precision(torch.float16, ""), "bf16": Precision(torch.bfloat16, "")}
# Word pieces of its stripped posts: median 124, 24 % over 256, 9 % over 512, 300 of 11,314 empty. A log-normal
# distribution with that median and this deviation has 24 % and 9 % over them. (Its mean is less than that of the posts,
# whose longest are longer; nothing here reads more than 512 tokens.)
MEDIAN, DEVIATION, EMPTY = 124, 1.04, 300 / 11_314
SIGNAL = 1000  # token SIGNAL + label stands in the made documents of that label, so that there is something to learn


@dataclasses.dataclass(frozen=True)
class Scale:
    """How large the work is."""

    name: str
    dims: BertConfig
    tokens: tuple[int, ...]  # lengths that memory is measured at, the most important first
    length: int  # of a document in the other parts, at most
    batch: int  # of the published system
    documents: dict[str, int]  # of a timed epoch, by model
    batches: tuple[int, ...]  # of the LSTM
    units: int
    every: bool  # memory of every model, or of a few
    repeats: int
    product: int  # size of the matrix product whose rate is the best


BASE = BertConfig()
TINY = BertConfig(
    vocab_size=2000, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
    max_position_embeddings=64,
)  # fmt: skip
STEADY = TINY.with_dropout(0.0)  # for what is compared with itself
SCALES = {
    "full": Scale(
        "full", BASE, (256, 128, 512), 256, 16, {"bert": 1600, "bilstm": 3200}, (16, 32, 64, 128), 384, True, 10, 4096
    ),
    "quick": Scale("quick", BASE, (256,), 256, 16, {"bert": 480, "bilstm": 960}, (16, 128), 384, False, 4, 4096),
    "rehearsal": Scale("rehearsal", TINY, (8,), 16, 4, {"bert": 16, "bilstm": 16}, (2, 4), 8, False, 2, 64),
}


@dataclasses.dataclass(frozen=True)
class Work:
    """What a part is told. `memory`: the cap in bytes. `deadline`: when the whole must have ended, on time.monotonic's
    clock."""

    device: str
    memory: int
    scale: Scale
    folder: pathlib.Path
    deadline: float
    bert: str | None = None
    data: str | None = None

    @property
    def dims(self) -> BertConfig:
        return self.scale.dims if self.bert is None else dims_of(self.bert)

    @property
    def vocab_size(self) -> int:
        """Numbers of words that every model here knows."""
        return min(self.dims.vocab_size, 16_000)

    def sizes(self, model: str) -> dict[str, int]:
        """Settings that make a model as large as the scale says."""
        return {"hidden": self.scale.units} if model == "bilstm" else {}

    def dims_for(self, config: TrainConfig) -> recipes.Dims:
        return self.dims if recipes.choose(config)["input"] == "pieces" else recipes.dims(config)


def left(work: Work) -> float:
    """Seconds that another program may take: a little more than there are, at whose end this process is ended too."""
    return max(1.0, work.deadline - time.monotonic()) + 30


# ---- documents ------------------------------------------------------------------------------------------------------


def lengths_of(count: int, most: int, seed: int = 0) -> np.ndarray:
    """Word pieces of `count` documents, with [CLS] and [SEP], cut at `most`: 20 Newsgroups' distribution (MEDIAN)."""
    random = np.random.default_rng(seed)
    pieces = np.exp(random.normal(math.log(MEDIAN), DEVIATION, count)) * (random.random(count) >= EMPTY)
    return np.clip(np.rint(pieces).astype(np.int64) + 2, 2, most)


def made(lengths: np.ndarray, batch: int, vocab: int, seed: int = 0) -> Batches:
    """Documents of random word pieces, a tenth of which tell the label."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, LABELS, len(lengths))
    tokens = random.integers(SIGNAL + LABELS, vocab, lengths.sum())
    owners = np.repeat(np.arange(len(lengths)), lengths)
    told = random.random(len(tokens)) < 0.1
    tokens[told] = SIGNAL + labels[owners[told]]
    rows = Pieces(tokens.astype(np.int32), np.concatenate([[0], lengths.cumsum()]))
    return Batches(Sequences(rows, rows.lengths, 0), labels, batch)


def documents(work: Work, count: int, batch: int) -> tuple[Batches, str]:
    """(`count` documents, where they are from): posts of 20 Newsgroups where they are given, else made ones."""
    most = work.scale.length
    if work.data is None:
        return made(lengths_of(count, most), batch, work.vocab_size), "made, of 20 Newsgroups' length distribution"
    corpus = classification.load(TrainConfig(data="20newsgroups", data_dir=work.data))
    chosen = np.random.default_rng(0).permutation(len(corpus.train))[:count]
    texts = [corpus.train.texts[i][0] for i in chosen]
    vocabulary = published(work.bert or "nano").vocabulary
    sequences = assemble([encode(vocabulary, texts)], vocabulary, most)
    return Batches(sequences, corpus.train.labels[chosen], batch, pad=vocabulary.pad), "20 Newsgroups, stripped"


def one_batch(B: int, T: int, vocab: int) -> Batch:
    """B documents of T tokens, the last of them a little shorter, so that there is padding (but not for B = 1)."""
    lengths = np.full(B, T)
    lengths[1:][-1:] -= min(3, T // 2)
    return made(lengths, B, vocab).collate(np.arange(B))


# ---- models ---------------------------------------------------------------------------------------------------------


def settings(model: str, task: str = "classification", **changes) -> TrainConfig:
    """A recipe's settings, as for a published BERT."""
    given = {"model": model, "task": task, "bert": "bert-base-uncased", "train": "x", "quiet": True}
    return recipes.complete(TrainConfig(**given, **changes))


def build(config: TrainConfig, work: Work, device: torch.device) -> torch.nn.Module:
    """The model at random weights, in training."""
    torch.manual_seed(0)
    with torch.device(device):
        return recipes.build(config, work.dims_for(config), LABELS).train()


def blocks_of(config: TrainConfig, work: Work) -> Model:
    return recipes.blocks(config, work.dims_for(config), LABELS)


def step_of(config: TrainConfig, B: int, T: int, device: torch.device, precision: Precision, accumulate: int) -> Step:
    return Step(B, T, device.type, precision.dtype, B > 1, accumulate, bool(config.checkpoint_activations))


def setup_of(model, config: TrainConfig, device: torch.device, precision: Precision, loss_fn=None) -> Setup:
    """The loop's, for `update`; of a classifier where there is no other loss."""
    return make_setup(model, loss_fn or classification.cross_entropy(), config, device, precision, None)


def steps(setup: Setup, micro_batches: list[Batch], count: int) -> list[float]:
    """So many of the loop's own optimiser steps on the same micro-batches; the mean loss of each."""
    targets = {name: sum(batch.counts[name] for batch in micro_batches) for name in micro_batches[0].counts}
    means = []
    for _ in range(count):
        losses, _, _, _ = update(setup, micro_batches, targets)
        means.append(sum(loss[name].float() / targets[name] for loss in losses for name in loss))
    return torch.stack(means).tolist() if means else []
