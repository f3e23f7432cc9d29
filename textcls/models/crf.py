"""A linear-chain conditional random field over tags (Lafferty et al., 2001), with the first- and last-tag scores of
Lample et al. (2016). Dimensions: B batch, W words, C tags."""

import torch
from torch import nn


class CRF(nn.Module):
    """score(tags) = first[y_1] + sum emissions[w, y_w] + sum transitions[y_(w-1), y_w] + last[y_W]; the probability of
    tags is exp(score) over its sum for all C ** W ways. Rows are padded at the end; `lengths` (B,) says how many words
    are real, at least one. All sums are in float32 or wider."""

    def __init__(self, num_labels: int):
        super().__init__()
        self.first = nn.Parameter(torch.zeros(num_labels))
        self.last = nn.Parameter(torch.zeros(num_labels))
        self.transitions = nn.Parameter(torch.zeros(num_labels, num_labels))  # from, to

    def score(self, emissions: torch.Tensor, tags: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Of one way each: (B, W, C), (B, W) of any value on padding, (B,) -> (B,)."""
        real = torch.arange(tags.shape[1], device=tags.device) < lengths[:, None]  # (B, W)
        tags = tags.masked_fill(~real, 0)
        emitted = emissions.gather(2, tags[:, :, None]).squeeze(2)
        moved = self.transitions[tags[:, :-1], tags[:, 1:]]  # (B, W - 1)
        final = tags.gather(1, lengths[:, None] - 1).squeeze(1)
        within = torch.where(real, emitted, 0).sum(1) + torch.where(real[:, 1:], moved, 0).sum(1)
        return self.first[tags[:, 0]] + within + self.last[final]

    def log_partition(self, emissions: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """log of the sum over all ways, by the forward algorithm: (B, W, C), (B,) -> (B,)."""
        alpha = self.first + emissions[:, 0]  # (B, C): all ways that end in a tag
        for w in range(1, emissions.shape[1]):
            step = (alpha[:, :, None] + self.transitions).logsumexp(1) + emissions[:, w]
            alpha = torch.where((w < lengths)[:, None], step, alpha)
        return (alpha + self.last).logsumexp(1)

    def negative_log_likelihood(self, emissions, tags, lengths) -> torch.Tensor:
        """-log P(tags): (B, W, C), (B, W), (B,) -> (B,)."""
        return self.log_partition(emissions, lengths) - self.score(emissions, tags, lengths)

    @torch.no_grad()
    def decode(self, emissions: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """The most probable tags by Viterbi's algorithm: (B, W, C), (B,) -> (B, W), 0 on padding."""
        B, W, C = emissions.shape
        best, back = self.first + emissions[:, 0], []
        stay = torch.arange(C, device=emissions.device).expand(B, C)
        for w in range(1, W):
            step, origin = (best[:, :, None] + self.transitions).max(1)  # (B, C)
            real = (w < lengths)[:, None]
            best = torch.where(real, step + emissions[:, w], best)
            back.append(torch.where(real, origin, stay))  # padding leads back to where the row ended
        tag = (best + self.last).argmax(1)  # (B,)
        path = [tag]
        for origin in reversed(back):
            path.append(tag := origin.gather(1, tag[:, None]).squeeze(1))
        real = torch.arange(W, device=emissions.device) < lengths[:, None]
        return torch.stack(path[::-1], 1).masked_fill(~real, 0)
