"""Dropout that draws 16 random bits per element on the CPU, where `F.dropout` spends a uniform float on each."""

import torch
from torch import nn
from torch.nn import functional as F


class _MaskedScale(torch.autograd.Function):
    """y = x * keep / (1 - p). Saves one byte an element, and no copy of x."""

    @staticmethod
    def forward(ctx, x, keep, scale):
        ctx.save_for_backward(keep)
        ctx.scale = scale
        return (x * keep).mul_(scale)

    @staticmethod
    def backward(ctx, grad):
        (keep,) = ctx.saved_tensors
        return (grad * keep).mul_(ctx.scale), None, None


def keep_mask(shape: torch.Size, p: float) -> tuple[torch.Tensor, float]:
    """(uint8 tensor of this shape on the CPU, 1 where an element is kept; the factor for what is kept).

    The drop probability is rounded to a multiple of 2**-16, and the factor is the inverse of the *rounded* keep
    probability, so the expectation is exact. Random numbers come from torch's global CPU generator, which checkpoints
    store.
    """
    dropped = round(p * 65536)
    count = shape.numel()
    words = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    keep = words.view(torch.int16)[:count].view(shape) >= dropped - 32768
    # A product with bytes is vectorised; torch.where on a bool takes twice as long.
    return keep.view(torch.uint8), 65536 / (65536 - dropped) if dropped < 65536 else 0.0


def cpu_dropout(x: torch.Tensor, p: float) -> torch.Tensor:
    """Dropout of `x` (any shape) by :func:`keep_mask`."""
    keep, scale = keep_mask(x.shape, p)
    return _MaskedScale.apply(x, keep, scale)


def dropout(x: torch.Tensor, p: float, training: bool) -> torch.Tensor:
    """`F.dropout`, by the form above where random numbers are what it costs: on the CPU, in training."""
    if not training or p == 0.0:
        return x
    if x.device.type == "cpu":
        return cpu_dropout(x, p)
    return F.dropout(x, p)


class Dropout(nn.Module):
    """`nn.Dropout` over :func:`dropout`."""

    def __init__(self, p: float):
        super().__init__()
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"dropout must lie between 0 and 1, got {p}")
        self.p = p

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return dropout(x, self.p, self.training)
