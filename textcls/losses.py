"""Loss functions for the loop: (model, batch, carry) -> ({name: summed loss}, carry).

Losses are sums. The loop divides each by the number of its targets in the whole optimiser step, so that accumulating
micro-batches equals one big batch exactly.
"""

import numpy as np
import torch
from torch.nn import functional as F


def classification(weights: torch.Tensor | None = None, smoothing: float = 0.0):
    """Cross-entropy summed over the batch; `weights` (C,) scale each document by its class, `smoothing` is the share
    of probability spread over all classes (Szegedy et al., 2016, section 7)."""

    def loss_fn(model, batch, carry):
        logits = model(batch.ids, batch.mask, batch.segments).float()  # (B, C)
        scale = None if weights is None else weights.to(logits.device)
        loss = F.cross_entropy(logits, batch.labels, scale, reduction="sum", label_smoothing=smoothing)
        return {"label": loss}, carry

    return loss_fn


def balanced_weights(labels: np.ndarray, num_labels: int) -> torch.Tensor:
    """N / (C * N_c) for each class c: every class has the same total weight, and the mean over documents is 1."""
    counts = np.bincount(labels, minlength=num_labels)
    return torch.tensor(len(labels) / (num_labels * counts), dtype=torch.float32)
