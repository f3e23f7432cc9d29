"""Regression: the classifiers of the other files with one output, trained by squared error.

Builders are the classifiers' own; of their blocks the last keeps other numbers for the backward pass.
"""

from textcls.config import TrainConfig
from textcls.ledger.plan import FLOAT, Block, Step
from textcls.models.bert import BertConfig
from textcls.models.recurrent import WordDims
from textcls.recipes import bert, recurrent


def scored(blocks: list[Block], step: Step) -> list[Block]:
    """A classifier's blocks with squared error in place of cross-entropy."""
    head = blocks[-1]
    del head.saved["cross-entropy"]
    head.saved["scores, predicted and true (B)"] = 2 * FLOAT * step.batch
    head.name = "regressor"
    return blocks


def bert_blocks(c: TrainConfig, dims: BertConfig, labels: int, step: Step) -> list[Block]:
    return scored(bert.bert_classifier_blocks(c, dims, labels, step), step)


def trans_blstm_blocks(c: TrainConfig, dims: BertConfig, labels: int, step: Step) -> list[Block]:
    return scored(bert.trans_blstm_classifier_blocks(c, dims, labels, step), step)


def bilstm_blocks(c: TrainConfig, dims: BertConfig, labels: int, step: Step) -> list[Block]:
    return scored(recurrent.bilstm_blocks(c, dims, labels, step), step)


def lstm_from_scratch_blocks(c: TrainConfig, dims: WordDims, labels: int, step: Step) -> list[Block]:
    return scored(recurrent.lstm_from_scratch_blocks(c, dims, labels, step), step)


def bilstm_from_scratch_blocks(c: TrainConfig, dims: WordDims, labels: int, step: Step) -> list[Block]:
    return scored(recurrent.bilstm_from_scratch_blocks(c, dims, labels, step), step)


def bert_lstm_blocks(c: TrainConfig, dims: BertConfig, labels: int, step: Step) -> list[Block]:
    return scored(recurrent.bert_lstm_blocks(c, dims, labels, step), step)


def bert_bilstm_blocks(c: TrainConfig, dims: BertConfig, labels: int, step: Step) -> list[Block]:
    return scored(recurrent.bert_bilstm_blocks(c, dims, labels, step), step)


# ---- rows -----------------------------------------------------------------------------------------------------------

WITHOUT = ("label_smoothing",)

ROWS = {
    ("bert", "regression"): bert.ROWS["bert", "classification"] | {"blocks": bert_blocks, "without": WITHOUT},
    ("trans-blstm-1", "regression"): bert.ROWS["trans-blstm-1", "classification"]
    | {"blocks": trans_blstm_blocks, "without": WITHOUT},
    ("trans-blstm-2", "regression"): bert.ROWS["trans-blstm-2", "classification"]
    | {"blocks": trans_blstm_blocks, "without": WITHOUT},
    ("blstm", "regression"): bert.ROWS["blstm", "classification"] | {"blocks": trans_blstm_blocks, "without": WITHOUT},
    ("bilstm", "regression"): recurrent.ROWS["bilstm", "classification"]
    | {"blocks": bilstm_blocks, "without": WITHOUT},
    ("lstm", "regression"): recurrent.ROWS["lstm", "classification"]
    | {"blocks": lstm_from_scratch_blocks, "without": WITHOUT},
    ("bilstm-scratch", "regression"): recurrent.ROWS["bilstm-scratch", "classification"]
    | {"blocks": bilstm_from_scratch_blocks, "without": WITHOUT},
    ("bert-lstm", "regression"): recurrent.ROWS["bert-lstm", "classification"]
    | {"blocks": bert_lstm_blocks, "without": WITHOUT},
    ("bert-bilstm", "regression"): recurrent.ROWS["bert-bilstm", "classification"]
    | {"blocks": bert_bilstm_blocks, "without": WITHOUT},
}
