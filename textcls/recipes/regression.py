"""Regression: the classifiers of the other files with one output, trained by squared error.

Builders are the classifiers' own; of their blocks the last keeps other numbers for the backward pass. The output begins
at the mean of the training scores: at the rates that a BERT is fine-tuned with, the way there from 0 takes epochs.
"""

import torch

from textcls.config import TrainConfig
from textcls.ledger.heads import count_of
from textcls.ledger.plan import FLOAT, Block, Step
from textcls.models.bert import BertConfig
from textcls.models.recurrent import WordDims
from textcls.recipes import bert, recurrent
from textcls.text.batches import Batches
from textcls.text.vocabulary import Vocabulary


def begin(c: TrainConfig, model: torch.nn.Module, batches: dict[str, Batches], vocabulary: Vocabulary) -> str:
    """Give the last layer the mean of the training scores as its bias."""
    last = [part for part in model.modules() if isinstance(part, torch.nn.Linear)][-1]
    assert last.out_features == 1, last
    mean = float(batches["train"].labels.mean())
    torch.nn.init.constant_(last.bias, mean)
    return f"regression: the output begins at {mean:.3g}, the mean of the training scores"


def scored(blocks: list[Block], step: Step, features: int, copied: bool = True) -> list[Block]:
    """A classifier's blocks with squared error in place of cross-entropy. The last layer reads its `features` in float32
    (heads.Float32Linear), in place of what it would keep in the precision of the step, if that is `copied` for it."""
    head = blocks[-1]
    head.products -= features
    head.saved["input of the score, in float32"] = (FLOAT - step.width * copied) * step.batch * features
    del head.saved["cross-entropy"]
    head.saved["scores, predicted and true (B)"] = 2 * FLOAT * step.batch
    head.name = "regressor"
    return blocks


def read_of_bert(c: TrainConfig, dims: BertConfig) -> tuple[int, bool]:
    """(what the last layer reads of a pooled BERT, whether autocast would copy it)."""
    return count_of(c.pooling) * dims.hidden_size, c.dropout > 0 or c.pooling != "cls"


def read_of_lstm(c: TrainConfig, directions: int) -> int:
    """What the last layer reads of a pooled LSTM."""
    return count_of(c.pooling) * directions * c.hidden


def bert_blocks(c: TrainConfig, dims: BertConfig, labels: int, step: Step) -> list[Block]:
    return scored(bert.bert_classifier_blocks(c, dims, labels, step), step, *read_of_bert(c, dims))


def trans_blstm_blocks(c: TrainConfig, dims: BertConfig, labels: int, step: Step) -> list[Block]:
    return scored(bert.trans_blstm_classifier_blocks(c, dims, labels, step), step, *read_of_bert(c, dims))


def bilstm_blocks(c: TrainConfig, dims: BertConfig, labels: int, step: Step) -> list[Block]:
    return scored(recurrent.bilstm_blocks(c, dims, labels, step), step, c.hidden)


def lstm_from_scratch_blocks(c: TrainConfig, dims: WordDims, labels: int, step: Step) -> list[Block]:
    return scored(recurrent.lstm_from_scratch_blocks(c, dims, labels, step), step, read_of_lstm(c, 1))


def bilstm_from_scratch_blocks(c: TrainConfig, dims: WordDims, labels: int, step: Step) -> list[Block]:
    return scored(recurrent.bilstm_from_scratch_blocks(c, dims, labels, step), step, read_of_lstm(c, 2))


def bert_lstm_blocks(c: TrainConfig, dims: BertConfig, labels: int, step: Step) -> list[Block]:
    return scored(recurrent.bert_lstm_blocks(c, dims, labels, step), recurrent.lstm_step(c, step), read_of_lstm(c, 1))


def bert_bilstm_blocks(c: TrainConfig, dims: BertConfig, labels: int, step: Step) -> list[Block]:
    inner = recurrent.lstm_step(c, step)
    return scored(recurrent.bert_bilstm_blocks(c, dims, labels, step), inner, read_of_lstm(c, 2))


# ---- rows -----------------------------------------------------------------------------------------------------------

def of_scores(row: dict) -> dict:
    """A classifier's row for scores, whose epoch is chosen as the task does."""
    nano = {name: value for name, value in row["nano"].items() if name != "select"}
    return row | {"begin": begin, "without": ("label_smoothing",), "nano": nano}


ROWS = {
    ("bert", "regression"): of_scores(bert.ROWS["bert", "classification"])
    | {
        "blocks": bert_blocks,
        "hf": {"architectures": ["BertForSequenceClassification"], "problem_type": "regression"},
    },
    ("trans-blstm-1", "regression"): of_scores(bert.ROWS["trans-blstm-1", "classification"])
    | {"blocks": trans_blstm_blocks},
    ("trans-blstm-2", "regression"): of_scores(bert.ROWS["trans-blstm-2", "classification"])
    | {"blocks": trans_blstm_blocks},
    ("blstm", "regression"): of_scores(bert.ROWS["blstm", "classification"]) | {"blocks": trans_blstm_blocks},
    ("bilstm", "regression"): of_scores(recurrent.ROWS["bilstm", "classification"]) | {"blocks": bilstm_blocks},
    ("lstm", "regression"): of_scores(recurrent.ROWS["lstm", "classification"]) | {"blocks": lstm_from_scratch_blocks},
    ("bilstm-scratch", "regression"): of_scores(recurrent.ROWS["bilstm-scratch", "classification"])
    | {"blocks": bilstm_from_scratch_blocks},
    ("bert-lstm", "regression"): of_scores(recurrent.ROWS["bert-lstm", "classification"])
    | {"blocks": bert_lstm_blocks},
    ("bert-bilstm", "regression"): of_scores(recurrent.ROWS["bert-bilstm", "classification"])
    | {"blocks": bert_bilstm_blocks},
}
