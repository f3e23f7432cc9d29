"""Parts that turn a sequence of vectors into one, the last layer over it, and thresholds. Dimensions: B batch,
T tokens, F features.
"""

import torch
from torch import nn

POOLINGS = ("last", "mean", "max", "attention", "mean+max", "attention+max")
BERT_POOLINGS = ("cls", *POOLINGS[1:])  # of BERT's tokens, the last of which is [SEP]


class Pooling(nn.Module):
    """(x (B, T, F), mask (B, T) | None) -> (B, F), reading only the real steps; two, such as mean+max, side by side are
    (B, 2F). `features` numbers come out.

    last: the final state of each direction of an LSTM: the forward half of the last real step, the backward half of
    the first one (all of the last step where `directions` is 1). mean, max: over the real steps. attention: one learned
    scalar score per step, softmax, weighted sum; the additive attention of Yang et al. (2016) with the context vector
    folded into one Linear(F -> 1).
    """

    def __init__(self, kind: str, features: int, directions: int = 2):
        super().__init__()
        if kind not in POOLINGS:
            raise ValueError(f"pooling {kind!r} is not one of {', '.join(POOLINGS)}")
        self.kinds, self.directions = kind.split("+"), directions
        self.features = features * len(self.kinds)
        if "attention" in self.kinds:
            self.score = nn.Linear(features, 1)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        pooled = [getattr(self, "_" + kind)(x, mask) for kind in self.kinds]
        return pooled[0] if len(pooled) == 1 else torch.cat(pooled, dim=-1)

    def _last(self, x, mask):
        last = x.shape[1] - 1 if mask is None else mask.sum(1) - 1
        final = x[torch.arange(x.shape[0], device=x.device), last]  # (B, F)
        if self.directions == 1:
            return final
        half = x.shape[-1] // 2
        return torch.cat([final[:, :half], x[:, 0, half:]], dim=-1)

    def _mean(self, x, mask):
        if mask is None:
            return x.mean(1)
        # where, not a product: what stands on padding is unspecified, and nan * 0 is nan
        total = torch.where(mask[:, :, None] != 0, x, 0).sum(1)
        return total / mask.sum(1, keepdim=True).to(x.dtype)

    def _max(self, x, mask):
        if mask is not None:
            x = x.masked_fill(mask[:, :, None] == 0, float("-inf"))
        return x.amax(1)

    def _attention(self, x, mask):
        scores = self.score(x).squeeze(-1).float()  # (B, T)
        if mask is not None:
            scores = scores.masked_fill(mask == 0, float("-inf"))
        weights = scores.softmax(-1).to(x.dtype)
        return torch.einsum("bt,btf->bf", weights, x)


class Float32Linear(nn.Linear):
    """A Linear that is computed without autocast: in bf16 what it gives would have three digits."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float())


def output_layer(features: int, labels: int) -> nn.Linear:
    """(B, F) -> logits (B, labels); one output is the score of a regression, in float32."""
    return (Float32Linear if labels == 1 else nn.Linear)(features, labels)


def with_thresholds(model: nn.Module, labels: int) -> nn.Module:
    """A model of several labels a text keeps the threshold of each label's probability (labels,) beside its weights."""
    model.register_buffer("thresholds", torch.full((labels,), 0.5, dtype=torch.float64))
    return model
