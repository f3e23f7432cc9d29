"""Several labels a text: the classifiers of the other files with a sigmoid for each output, and the threshold that each
label's probability must reach.

Builders are the classifiers' own; of their blocks the last keeps other numbers for the backward pass. The thresholds
are a buffer of the model, and so part of its checkpoints: those of an epoch stand beside its weights.
"""

import torch

from textcls.config import TrainConfig
from textcls.ledger.plan import FLOAT, Block, Step
from textcls.models.heads import with_thresholds
from textcls.models.linear import Loss, OneVersusRest
from textcls.models.recurrent import WordDims
from textcls.recipes import bert, elmo, linear, probe, recurrent
from textcls.tasks.multilabel import label_loss, positive_weights
from textcls.text.batches import Batches
from textcls.text.vocabulary import SPECIAL, Vocabulary


def independent(blocks: list[Block], labels: int, step: Step) -> list[Block]:
    """A classifier's blocks with a sigmoid cross-entropy a label in place of one softmax over all."""
    saved = blocks[-1].saved
    del saved["cross-entropy"]
    saved["sigmoid cross-entropy, logits and labels (B, C)"] = 2 * FLOAT * step.batch * labels
    return blocks


def of_labels(row: dict) -> dict:
    """A classifier's row for several labels a text, whose epoch is chosen as the task does."""
    build_classifier, blocks_of_classifier = row["build"], row["blocks"]

    def build(c: TrainConfig, dims, labels: int) -> torch.nn.Module:
        return with_thresholds(build_classifier(c, dims, labels), labels)

    def blocks(c: TrainConfig, dims, labels: int, step: Step) -> list[Block]:
        return independent(blocks_of_classifier(c, dims, labels, step), labels, step)

    nano = {name: value for name, value in row["nano"].items() if name not in ("select", "label_smoothing")}
    hf = row.get("hf") and row["hf"] | {"problem_type": "multi_label_classification"}
    return row | {"build": build, "blocks": blocks, "nano": nano, "hf": hf}


def one_versus_rest(c: TrainConfig, dims: WordDims, labels: int) -> OneVersusRest:
    return OneVersusRest(dims.vocab_size, labels, len(SPECIAL))


def begin_one_versus_rest(
    c: TrainConfig, model: OneVersusRest, batches: dict[str, Batches], vocabulary: Vocabulary
) -> str:
    """Fit the labels one by one against the rest, and choose on dev."""

    def loss_of(labels: torch.Tensor) -> Loss:
        weights = positive_weights(labels.numpy()) if c.class_weights == "balanced" else None

        def loss(logits, labels):
            return label_loss(logits, labels, weights)

        return loss

    return linear.fitted(model, batches, vocabulary, loss_of)


# ---- rows -----------------------------------------------------------------------------------------------------------

ROWS = {
    ("linear", "multilabel"): of_labels(linear.ROWS["linear", "classification"] | {"build": one_versus_rest})
    | {"begin": begin_one_versus_rest},
    ("bert", "multilabel"): of_labels(bert.ROWS["bert", "classification"]),
    ("trans-blstm-1", "multilabel"): of_labels(bert.ROWS["trans-blstm-1", "classification"]),
    ("trans-blstm-2", "multilabel"): of_labels(bert.ROWS["trans-blstm-2", "classification"]),
    ("blstm", "multilabel"): of_labels(bert.ROWS["blstm", "classification"]),
    ("bilstm", "multilabel"): of_labels(recurrent.ROWS["bilstm", "classification"]),
    ("lstm", "multilabel"): of_labels(recurrent.ROWS["lstm", "classification"]),
    ("bilstm-scratch", "multilabel"): of_labels(recurrent.ROWS["bilstm-scratch", "classification"]),
    ("bert-lstm", "multilabel"): of_labels(recurrent.ROWS["bert-lstm", "classification"]),
    ("bert-bilstm", "multilabel"): of_labels(recurrent.ROWS["bert-bilstm", "classification"]),
    ("probe", "multilabel"): of_labels(probe.ROWS["probe", "classification"]),
    ("elmo-lstm", "multilabel"): of_labels(elmo.ROWS["elmo-lstm", "classification"]),
    ("elmo-bilstm", "multilabel"): of_labels(elmo.ROWS["elmo-bilstm", "classification"]),
}
