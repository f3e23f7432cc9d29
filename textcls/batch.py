"""Batches: padding, and windows of batches of like length.

Dimensions: B batch, T tokens, N documents.
"""

import dataclasses

import numpy as np
import torch

from textcls.text import Sequences

WINDOW = 50  # batches that are sorted by length together: enough for under 3 % padding, few enough to stay random


@dataclasses.dataclass
class Batch:
    """B documents, padded to the longest. `mask` is None when no row has padding, `segments` when no row is a pair."""

    ids: torch.Tensor  # (B, T)
    mask: torch.Tensor | None  # (B, T), 1 on real tokens
    segments: torch.Tensor | None  # (B, T)
    labels: torch.Tensor  # (B,)
    rows: np.ndarray  # (B,) which documents these are
    tokens: int  # real tokens
    counts: dict[str, int]  # loss name -> number of targets

    def to(self, device: torch.device) -> "Batch":
        moved = {
            name: value if value is None else value.to(device, non_blocking=True)
            for name, value in (
                ("ids", self.ids),
                ("mask", self.mask),
                ("segments", self.segments),
                ("labels", self.labels),
            )
        }
        return dataclasses.replace(self, **moved)


class Batches:
    """N documents with labels, cut into batches of like length.

    `order(epoch)` is a pure function of (lengths, batch_size, seed, epoch); `sorted_order()` is for evaluation.
    `collate(rows)` makes one Batch.
    """

    def __init__(self, sequences: Sequences, labels: np.ndarray, batch_size: int, seed: int = 0, pad: int = 0):
        assert len(sequences.rows) == len(labels), (len(sequences.rows), len(labels))
        self.sequences, self.labels = sequences, labels
        self.lengths = sequences.rows.lengths
        self.batch_size, self.seed, self.pad = batch_size, seed, pad
        self.pairs = bool((sequences.first < self.lengths).any())

    def __len__(self) -> int:
        return -(-len(self.labels) // self.batch_size)

    def order(self, epoch: int) -> list[np.ndarray]:
        """The epoch's batches, as arrays of document numbers: shuffled documents, sorted by length inside windows of
        50 batches, then shuffled batches."""
        random = np.random.default_rng([self.seed, epoch])
        shuffled = random.permutation(len(self.labels))
        batches = []
        for start in range(0, len(shuffled), WINDOW * self.batch_size):
            window = shuffled[start : start + WINDOW * self.batch_size]
            window = window[np.argsort(self.lengths[window], kind="stable")]
            batches += self._split(window)
        return [batches[i] for i in random.permutation(len(batches))]

    def sorted_order(self, tokens: int | None = None) -> list[np.ndarray]:
        """All documents, longest first: the largest batch, and so the peak of memory, comes at the start. Batches have
        `batch_size` documents, or as many as make at most `tokens` tokens, padding included (but at least one)."""
        order = np.argsort(-self.lengths, kind="stable")
        if tokens is None:
            return self._split(order)
        batches, start = [], 0
        while start < len(order):
            count = max(1, tokens // int(self.lengths[order[start]]))
            batches.append(order[start : start + count])
            start += count
        return batches

    def _split(self, rows: np.ndarray) -> list[np.ndarray]:
        return [rows[start : start + self.batch_size] for start in range(0, len(rows), self.batch_size)]

    def collate(self, rows: np.ndarray) -> Batch:
        lengths = self.lengths[rows]
        T = int(lengths.max())
        ids = np.full((len(rows), T), self.pad, np.int64)
        for i, row in enumerate(rows):
            ids[i, : lengths[i]] = self.sequences.rows[row]
        real = np.arange(T) < lengths[:, None]  # (B, T)
        segments = (np.arange(T) >= self.sequences.first[rows][:, None]) & real
        return Batch(
            ids=torch.from_numpy(ids),
            mask=None if real.all() else torch.from_numpy(real.astype(np.int64)),
            segments=torch.from_numpy(segments.astype(np.int64)) if self.pairs else None,
            labels=torch.from_numpy(self.labels[rows]),
            rows=rows,
            tokens=int(lengths.sum()),
            counts={"label": len(rows)},
        )
