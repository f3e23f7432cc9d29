"""Loss functions for the loop: (model, batch, carry) -> ({name: summed loss}, carry).

Losses are sums. The loop divides each by the number of its targets in the whole optimiser step, so that accumulating
micro-batches equals one big batch exactly.
"""

import numpy as np
import torch
from torch.nn import functional as F

from textcls.batch import IGNORED, Batch
from textcls.models.language_model import detached


def classification(weights: torch.Tensor | None = None, smoothing: float = 0.0):
    """Cross-entropy summed over the batch; `weights` (C,) scale each document by its class, `smoothing` is the share
    of probability spread over all classes (Szegedy et al., 2016, section 7)."""

    def loss_fn(model, batch, carry):
        logits = document_logits(model, batch).float()  # (B, C)
        scale = None if weights is None else weights.to(logits.device)
        loss = F.cross_entropy(logits, batch.labels, scale, reduction="sum", label_smoothing=smoothing)
        return {"label": loss}, carry

    return loss_fn


def document_logits(model, batch: Batch) -> torch.Tensor:
    """Logits (documents, C): the model's own, or the mean over the windows of each document."""
    logits = model(**batch.inputs())
    if batch.owner is None:
        return logits
    sums = logits.new_zeros(len(batch.labels), logits.shape[1]).index_add_(0, batch.owner, logits)
    return sums / torch.bincount(batch.owner, minlength=len(sums))[:, None]


def tagging(smoothing: float = 0.0):
    """Summed over words: cross-entropy, or the negative log-likelihood of whole rows where the model has a CRF."""

    def loss_fn(model, batch, carry):
        scores = model(**batch.inputs())  # (B, W, C)
        if model.crf is None:
            loss = F.cross_entropy(
                scores.flatten(0, 1), batch.labels.flatten(), ignore_index=IGNORED, reduction="sum",
                label_smoothing=smoothing,
            )  # fmt: skip
            return {"tag": loss}, carry
        lengths = (batch.labels != IGNORED).sum(1)
        with torch.autocast(scores.device.type, enabled=False):
            return {"tag": model.crf.negative_log_likelihood(scores, batch.labels, lengths).sum()}, carry

    return loss_fn


def language(smoothing: float = 0.0):
    """Cross-entropy of each next word, summed; `carry` is the state after the window before, its history cut off."""

    def loss_fn(model, batch, carry):
        logits, carry = model(batch.ids, carry)  # (B, T, V)
        loss = F.cross_entropy(
            logits.flatten(0, 1).float(), batch.labels.flatten(), reduction="sum", label_smoothing=smoothing
        )
        return {"word": loss}, detached(carry)

    return loss_fn


def pretraining(smoothing: float = 0.0):
    """Cross-entropy of the masked tokens, and of whether B follows A where the model has a head for it; each summed
    over its own targets."""

    def loss_fn(model, batch, carry):
        tokens, pairs = model(**batch.inputs())  # (M, V), (B, 2)
        losses = {"token": F.cross_entropy(tokens.float(), batch.targets, reduction="sum", label_smoothing=smoothing)}
        if pairs is not None:
            losses["pair"] = F.cross_entropy(pairs.float(), batch.labels, reduction="sum")
        return losses, carry

    return loss_fn


def balanced_weights(labels: np.ndarray, num_labels: int) -> torch.Tensor:
    """N / (C * N_c) for each class c: every class has the same total weight, and the mean over documents is 1."""
    counts = np.bincount(labels, minlength=num_labels)
    return torch.tensor(len(labels) / (num_labels * counts), dtype=torch.float32)
