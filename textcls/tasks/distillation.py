"""Distillation: a classifier learns from the probabilities that a trained one, its teacher, gives the training
documents, and texts without labels (Hinton et al., 2015, arXiv:1503.02531; Tang et al., 2019, arXiv:1903.12136).

Dimensions: B documents of a batch, C classes, N labelled documents, U unlabelled ones.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional as F

from textcls.config import TrainConfig, flag
from textcls.data import unlabelled
from textcls.data.corpus import Corpus, Documents
from textcls.runtime.errors import InputError
from textcls.tasks.documents import document_logits, text_columns
from textcls.text.batches import Batch, Batches
from textcls.text.pieces import Sequences

WEIGHT = 1.0  # of the teacher in the loss; docs/distillation.md has what others gave


def check_settings(config: TrainConfig) -> None:
    """Raise InputError for settings of a teacher that is not there, and for a weight that leaves the labels less than
    nothing."""
    for name in ("unlabelled", "teacher_weight"):
        if config.teacher is None and getattr(config, name) is not None:
            raise InputError(f"{flag(name)} goes with --teacher RUN")
    if config.teacher_weight is not None and config.teacher_weight > 1:
        raise InputError(f"--teacher-weight {config.teacher_weight}: must be above 0 and at most 1")


# ---- documents ------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Taught(Documents):
    """N labelled documents, U others whose label is IGNORED, and the teacher's `probabilities` of all, float32
    (N + U, C)."""

    unlabelled: Documents | None = None
    probabilities: np.ndarray | None = None

    @property
    def whole(self) -> Documents:
        """All N + U of them, those with labels first."""
        if self.unlabelled is None:
            return self
        labels, ids = (np.concatenate([getattr(part, name) for part in (self, self.unlabelled)])
                       for name in ("labels", "ids"))  # fmt: skip
        return Documents(self.texts + self.unlabelled.texts, labels, ids)


def with_unlabelled(corpus: Corpus, config: TrainConfig) -> Corpus:
    """The corpus with the texts of --unlabelled beside its training documents, but for those that are dev or test
    documents: what a model is judged by it must not learn from."""
    if config.teacher is None:
        return corpus
    others = None
    if config.unlabelled is not None:
        others = unlabelled.read(config.unlabelled, text_columns(config), config.encoding)
        held_out = {text for part in (corpus.dev, corpus.test) if part is not None for text in part.texts}
        kept = np.flatnonzero([text not in held_out for text in others.texts])
        if not len(kept):
            raise InputError(f"{config.unlabelled}: all of its texts are dev or test documents")
        left_out, others = len(others) - len(kept), others.take(kept)
        others.remarks = [f"{left_out} more left out, which are dev or test documents"] * (left_out > 0)
    train = {field.name: getattr(corpus.train, field.name) for field in dataclasses.fields(Documents)}
    corpus.train = Taught(**train, unlabelled=others)
    return corpus


class TaughtBatches(Batches):
    """Documents with a label each, or IGNORED, and their probabilities of the `teacher`, float32 (N + U, C)."""

    def __init__(self, sequences: Sequences, labels: np.ndarray, teacher: np.ndarray, *settings):
        super().__init__(sequences, labels, *settings)
        self.teacher = teacher

    def collate(self, numbers: np.ndarray) -> Batch:
        batch = super().collate(numbers)
        batch.targets["teacher"] = torch.from_numpy(self.teacher[batch.documents])  # (B, C)
        batch.counts = {"teacher": len(batch.documents), "label": int((batch.targets["labels"] >= 0).sum())}
        return batch


# ---- the loss -------------------------------------------------------------------------------------------------------


def distilled(label_loss: Callable, weight: float) -> Callable:
    """(1 - weight) * the labels' loss, in the step a mean over the documents with a label, + weight * the cross-entropy
    to the teacher's probabilities, a mean over all. Sums, as every loss is here; `label_loss(logits (B, C), labels
    (B,))` must skip IGNORED."""

    def loss_fn(model, batch: Batch, carry):
        logits = document_logits(model, batch).float()
        losses = {"teacher": weight * F.cross_entropy(logits, batch.targets["teacher"], reduction="sum")}
        if weight < 1:
            losses["label"] = (1 - weight) * label_loss(logits, batch.targets["labels"])
        return losses, carry

    return loss_fn
