"""Parts that turn a sequence of vectors into one. Dimensions: B batch, T tokens, F features."""

import torch
from torch import nn


class AttentionPooling(nn.Module):
    """One learned scalar score per step, softmax over the real steps, weighted sum.

    (x (B, T, F), mask (B, T) | None) -> (B, F). The additive attention of Yang et al. (2016) with the context vector
    folded into one Linear(F -> 1).
    """

    def __init__(self, features: int):
        super().__init__()
        self.score = nn.Linear(features, 1)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        scores = self.score(x).squeeze(-1).float()  # (B, T)
        if mask is not None:
            scores = scores.masked_fill(mask == 0, float("-inf"))
        weights = scores.softmax(-1).to(x.dtype)
        return torch.einsum("bt,btf->bf", weights, x)
