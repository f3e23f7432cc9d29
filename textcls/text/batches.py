"""Batches: padding, and windows of batches of like length.

Dimensions: B rows of a batch, T tokens, H size of a vector, N documents.
"""

import dataclasses

import numpy as np
import torch

from textcls.text.pieces import Pieces, Sequences
from textcls.text.word_dropout import WordDropout

WINDOW = 50  # batches that are sorted by length together: enough for under 3 % padding, few enough to stay random
IGNORED = -100  # the label of padding, as torch's cross-entropy has it
CPU_TOKENS = 2048  # in a batch that is only predicted: what is between two layers then stays in the processor's cache

Tensors = dict[str, torch.Tensor | None]


@dataclasses.dataclass
class Batch:
    """B rows, padded to the longest.

    `inputs` are what the model is called with: `ids` (B, T), or the characters of words (B, T, K), and what else it
    reads; a mask is None where no row has padding, segments are None where no row is a pair. `targets` are what the
    loss and the evaluation compare with, and the document of each row where long documents are several rows.
    """

    inputs: Tensors
    targets: Tensors
    documents: np.ndarray  # which ones these are
    tokens: int  # real tokens
    counts: dict[str, int]  # loss name -> number of targets

    @property
    def slots(self) -> int:
        """Tokens with padding, B * T."""
        return self.inputs["ids"].shape[:2].numel()

    def to(self, device: torch.device) -> "Batch":
        def moved(tensors: Tensors) -> Tensors:
            return {k: v if v is None else v.to(device, non_blocking=True) for k, v in tensors.items()}

        return dataclasses.replace(self, inputs=moved(self.inputs), targets=moved(self.targets))

    def emptied(self) -> "Batch":
        """The same for a process that has nothing to compute in a step, and goes along."""
        return dataclasses.replace(self, documents=self.documents[:0], tokens=0, counts=dict.fromkeys(self.counts, 0))


class Batches:
    """N documents, with labels where they are known, cut into batches of like length.

    `order(epoch)` is a pure function of (lengths, batch_size, seed, epoch); `sorted_order()` is for evaluation.
    `collate(numbers)` makes one Batch: number n < N is document n as it is; with `word_dropout`, (p + 1) * N + n is
    what epoch p leaves of it. `features`, where set, are the tokens' vectors (all tokens, H) in the order of the
    sequences, or one a row (rows, H). `description` says in words what is in them.
    """

    divisible = True  # whether a batch may be divided among processes, and micro-batches
    description = ""

    def __init__(self, sequences: Sequences, labels: np.ndarray | None, batch_size: int, seed: int = 0, pad: int = 0):
        self.sequences, self.labels = sequences, labels
        self.batch_size, self.seed, self.pad = batch_size, seed, pad
        rows = len(sequences.rows)
        owners = np.arange(rows) if sequences.documents is None else sequences.documents
        count = int(owners[-1]) + 1 if rows else 0
        assert labels is None or len(labels) == count, (len(labels), count)
        self.first_row = np.searchsorted(owners, np.arange(count + 1))  # of each document
        self.lengths = np.zeros(count, np.int64)  # slots of each document: its rows times the longest
        np.maximum.at(self.lengths, owners, sequences.rows.lengths)
        self.lengths *= np.diff(self.first_row)
        self.pairs = bool((sequences.first < sequences.rows.lengths).any())
        self.features: np.ndarray | None = None
        self.word_dropout: WordDropout | None = None

    def __len__(self) -> int:
        return -(-len(self.lengths) // self.batch_size)

    def order(self, epoch: int) -> list[np.ndarray]:
        batches = shuffled(self.lengths, self.batch_size, self.seed, epoch)
        return batches if self.word_dropout is None else [part + (epoch + 1) * len(self.lengths) for part in batches]

    def sorted_order(self, tokens: int | None = None) -> list[np.ndarray]:
        return longest_first(self.lengths, self.batch_size, tokens)

    def collate(self, numbers: np.ndarray) -> Batch:
        epochs, documents = np.divmod(numbers, len(self.lengths))
        counts = self.first_row[documents + 1] - self.first_row[documents]
        rows = np.concatenate([np.arange(self.first_row[i], self.first_row[i + 1]) for i in documents])
        sequences, places = self.sequences, rows
        if epochs.any():
            sequences = self.word_dropout.thinned(sequences, rows, np.repeat(epochs - 1, counts))
            places = np.arange(len(rows))
        inputs, real = tokens_of(sequences.rows, places, self.pad, sequences.first[places] if self.pairs else None)
        if self.features is not None:
            inputs["features"] = self._features(rows, real.shape[1])
        targets = {} if self.labels is None else {"labels": torch.from_numpy(self.labels[documents])}
        if self.sequences.documents is not None:
            targets["owner"] = torch.from_numpy(np.repeat(np.arange(len(documents)), counts))
        return Batch(inputs, targets, documents, int(real.sum()), {"label": len(documents)})

    def _features(self, rows: np.ndarray, T: int) -> torch.Tensor:
        if len(self.features) == len(self.sequences.rows):
            return torch.from_numpy(self.features[rows].astype(np.float32))[:, None]
        offsets = self.sequences.rows.offsets
        vectors = np.zeros((len(rows), T, self.features.shape[1]), np.float32)
        for i, row in enumerate(rows):
            vectors[i, : offsets[row + 1] - offsets[row]] = self.features[offsets[row] : offsets[row + 1]]
        return torch.from_numpy(vectors)


# ---- order ----------------------------------------------------------------------------------------------------------


def shuffled(lengths: np.ndarray, batch_size: int, seed: int, epoch: int) -> list[np.ndarray]:
    """The epoch's batches, as arrays of document numbers: shuffled documents, sorted by length (N,) inside windows of
    50 batches, then shuffled batches."""
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(lengths))
    batches = []
    for start in range(0, len(order), WINDOW * batch_size):
        window = order[start : start + WINDOW * batch_size]
        batches += split(window[np.argsort(lengths[window], kind="stable")], batch_size)
    return [batches[i] for i in random.permutation(len(batches))]


def longest_first(lengths: np.ndarray, batch_size: int, tokens: int | None = None) -> list[np.ndarray]:
    """All documents, longest first: the largest batch, and so the peak of memory, comes at the start. Batches have
    `batch_size` documents, or as many as make at most `tokens` tokens, padding included (but at least one)."""
    order = np.argsort(-lengths, kind="stable")
    if tokens is None:
        return split(order, batch_size)
    batches, start = [], 0
    while start < len(order):
        count = max(1, tokens // int(lengths[order[start]]))
        batches.append(order[start : start + count])
        start += count
    return batches


def split(documents: np.ndarray, size: int) -> list[np.ndarray]:
    return [documents[start : start + size] for start in range(0, len(documents), size)]


# ---- padding --------------------------------------------------------------------------------------------------------


def tokens_of(sequences: Pieces, rows: np.ndarray, pad: int, first: np.ndarray | None) -> tuple[Tensors, np.ndarray]:
    """({ids, mask, segments} of some rows, bool (B, T) true on real tokens). `first`: how many tokens of each row
    (B,) belong to segment 0; None where no row is a pair."""
    ids, real = padded(sequences, rows, pad)
    segments = None if first is None else (np.arange(ids.shape[1]) >= first[:, None]) & real
    spelled = ids if sequences.spelling is None else sequences.spelling[ids].astype(np.int64)  # (B, T), or (B, T, K)
    inputs = {
        "ids": torch.from_numpy(spelled),
        "mask": None if real.all() else torch.from_numpy(real.astype(np.int64)),
        "segments": None if segments is None else torch.from_numpy(segments.astype(np.int64)),
    }
    return inputs, real


def padded(ragged: Pieces, rows: np.ndarray, fill: int) -> tuple[np.ndarray, np.ndarray]:
    """(int64 (B, T) with `fill` after each row's end, bool (B, T) true on what is real)."""
    lengths = ragged.lengths[rows]
    real = np.arange(lengths.max()) < lengths[:, None]
    values = np.full(real.shape, fill, np.int64)
    values[real] = np.concatenate([ragged[row] for row in rows])
    return values, real
