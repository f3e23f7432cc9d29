"""The reference that every network must beat: a TF-IDF bag of words with one linear layer.

Dimensions: B batch, T words, N documents, V vocabulary, C classes.
"""

import torch
from torch import nn
from torch.nn import functional as F

SMOOTHING, SHARPNESS = 0.3, 8.0  # chosen on the dev documents of 20newsgroups


class LinearClassifier(nn.Module):
    """(ids (B, T) of all words of a text, in any order) -> logits (B, C).

    A document's vector is (1 + ln count) * idf, L2-normalised, with idf = ln((1 + N) / (1 + documents with the word))
    + 1 (Manning et al., 2008, ch. 6; smoothed as scikit-learn does). Ids below `special` ([PAD], unknown words) do not
    count. In training each distinct word is left out with probability `dropout`.
    """

    def __init__(self, vocab_size: int, num_labels: int, special: int, dropout: float = 0.5):
        super().__init__()
        self.special, self.dropout = special, dropout
        self.register_buffer("idf", torch.ones(vocab_size))
        self.weight = nn.Parameter(torch.zeros(vocab_size, num_labels))
        self.bias = nn.Parameter(torch.zeros(num_labels))

    def forward(self, ids: torch.Tensor, mask=None, segments=None) -> torch.Tensor:
        rows, words, values = self.bag(ids)
        if self.training and self.dropout > 0:
            values = F.dropout(values, self.dropout)
        starts = torch.searchsorted(rows, torch.arange(len(ids), device=ids.device))
        return F.embedding_bag(words, self.weight, starts, mode="sum", per_sample_weights=values) + self.bias

    def bag(self, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(row, word, value) of every distinct word, sorted by row: (B, T) -> three (distinct words,)."""
        V = len(self.idf)
        keys = ids + V * torch.arange(len(ids), device=ids.device)[:, None]
        keys, counts = torch.unique(keys[ids >= self.special], return_counts=True)
        rows, words = keys // V, keys % V
        values = (1 + counts.float().log()) * self.idf[words]
        squares = torch.zeros(len(ids), device=ids.device).index_add_(0, rows, values.square())
        return rows, words, values * squares.clamp_min(1e-24).rsqrt()[rows]

    @torch.no_grad()
    def begin(self, texts, labels: torch.Tensor) -> None:
        """Take idf from the documents, and begin at complement naive Bayes (Rennie et al., 2003): the weight of a word
        for a class is -log of its share in all other classes, centred over the classes and times a factor that makes
        of the scores logits. `texts`: batches of (ids (B, T), numbers of the documents (B,))."""
        V, C = self.weight.shape
        documents = torch.zeros(V)
        for ids, _ in texts:
            documents += torch.bincount(self.bag(ids)[1], minlength=V)
        self.idf.copy_(torch.log((1 + len(labels)) / (1 + documents)) + 1)
        sums = torch.zeros(V * C)
        for ids, numbers in texts:
            rows, words, values = self.bag(ids)
            sums.index_add_(0, words * C + labels[numbers][rows], values)
        of_class = sums.view(V, C)
        others = of_class.sum(1, keepdim=True) - of_class + SMOOTHING
        weights = -torch.log(others / others[self.special :].sum(0))
        self.weight.copy_(SHARPNESS * (weights - weights.mean(1, keepdim=True)))
        self.weight[: self.special] = 0.0
