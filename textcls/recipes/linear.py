"""The linear reference: a TF-IDF bag of words."""

import torch

from textcls.config import TrainConfig
from textcls.ledger.blocks import LONG, cross_entropy
from textcls.ledger.plan import FLOAT, Block, Step
from textcls.models.linear import LinearClassifier
from textcls.models.recurrent import WordDims
from textcls.recipes.common import backbone_name, never, share_nothing
from textcls.text.batches import Batches
from textcls.text.vocabulary import SPECIAL


def linear(c: TrainConfig, dims: WordDims, labels: int) -> LinearClassifier:
    return LinearClassifier(dims.vocab_size, labels, len(SPECIAL), c.dropout)


def linear_blocks(c: TrainConfig, dims: WordDims, labels: int, step: Step) -> list[Block]:
    """A bag of at most T distinct words a document."""
    saved = {
        "words and their values (B * T)": (LONG + FLOAT) * step.slots,
        "first words, sizes (B)": 3 * LONG * step.batch,
        "cross-entropy": cross_entropy(step.batch, labels),
    }
    trainable, flop = dims.vocab_size * labels + labels, 2 * step.slots * labels
    return [Block("classifier", "head", saved, flop, trainable, extra=6 * LONG * step.slots)]


def begin_linear(model: LinearClassifier, batches: Batches) -> None:
    """Start from the training documents' counts."""
    texts = [(batches.collate(rows).inputs["ids"], torch.from_numpy(rows)) for rows in batches.sorted_order()]
    model.begin(texts, torch.from_numpy(batches.labels))


ROWS = {
    ("linear", "classification"): {
        "input": "bag",
        "build": linear,
        "blocks": linear_blocks,
        "encoder": None,
        "share": share_nothing,
        "begin": begin_linear,
        "frozen": never,
        "amp": "off",
        "describe": backbone_name,
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
}
