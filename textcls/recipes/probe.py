"""A linear probe: logistic regression on the pooled vectors of a frozen BERT, which are computed once."""

from textcls.config import TrainConfig
from textcls.ledger.blocks import frozen_bert
from textcls.ledger.heads import cross_entropy
from textcls.ledger.plan import FLOAT, Block, Step
from textcls.models.bert import BertConfig
from textcls.models.probe import PROBE_POOLINGS, Probe
from textcls.recipes.common import always, share_bert


def probe(c: TrainConfig, dims: BertConfig, labels: int) -> Probe:
    return Probe(dims, labels, c.pooling)


def probe_blocks(c: TrainConfig, dims: BertConfig, labels: int, step: Step) -> list[Block]:
    features = dims.hidden_size * (1 + c.pooling.count("+"))
    saved = {
        "normed (B, F)": step.width * step.batch * features,
        "cross-entropy": cross_entropy(step.batch, labels),
    }
    head = Block(
        "classifier",
        "head",
        saved,
        flop=2 * step.batch * features * labels,
        trainable=features * labels + labels,
        products=0,
        extra=FLOAT * step.batch * labels,
    )
    return [frozen_bert(dims, step, True), head]


def pooled_vectors(c: TrainConfig, name: str) -> str:
    return f"{c.pooling} of {name}, frozen"


ROWS = {
    ("probe", "classification"): {
        "input": "pieces",
        "build": probe,
        "blocks": probe_blocks,
        "encoder": "source.bert",
        "source": "source",
        "share": share_bert,
        "frozen": always,
        "amp": "fp16",
        "describe": pooled_vectors,
        "poolings": PROBE_POOLINGS,
        "about": {"sequence modelling": "self-attention, not trained", "pooling": "{pooling}"},
        "defaults": {"lr": 1e-2, "batch_size": 64, "epochs": 30, "pooling": "mean", "weight_decay": 0.0},
        "without": ("dropout", "word_dropout"),
        "nano": {"max_length": 128},
    },
}
