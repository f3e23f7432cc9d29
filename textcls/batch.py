"""Batches: padding, and windows of batches of like length.

Dimensions: B rows of a batch, T tokens, W words, H size of a vector, N documents, M masked tokens.
"""

import dataclasses

import numpy as np
import torch

from textcls.rows import Chunks, Pieces, Sequences

WINDOW = 50  # batches that are sorted by length together: enough for under 3 % padding, few enough to stay random
IGNORED = -100  # the label of padding, as torch's cross-entropy has it


@dataclasses.dataclass
class Batch:
    """B rows, padded to the longest. `mask` is None when no row has padding, `segments` when no row is a pair.

    `features` are the vectors of a frozen encoder where they were computed before, `starts` the places of W words'
    first tokens where words are tagged, `owner` the document of each row where long documents are several rows,
    `places` and `targets` where tokens are masked, counted through the flattened batch, and what stood there.
    """

    ids: torch.Tensor  # (B, T)
    mask: torch.Tensor | None  # (B, T), 1 on real tokens
    segments: torch.Tensor | None  # (B, T)
    labels: torch.Tensor  # (documents,); (B, W) with IGNORED on padding where words are tagged
    rows: np.ndarray  # which documents these are
    tokens: int  # real tokens
    counts: dict[str, int]  # loss name -> number of targets
    features: torch.Tensor | None = None  # (B, T, H), or (B, 1, H) of [CLS] alone
    starts: torch.Tensor | None = None  # (B, W)
    owner: torch.Tensor | None = None  # (B,)
    places: torch.Tensor | None = None  # (M,)
    targets: torch.Tensor | None = None  # (M,)

    def to(self, device: torch.device) -> "Batch":
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return dataclasses.replace(
            self,
            **{k: v.to(device, non_blocking=True) for k, v in fields.items() if isinstance(v, torch.Tensor)},
        )

    def emptied(self) -> "Batch":
        """The same for a process that has nothing to compute in a step, and goes along."""
        return dataclasses.replace(self, rows=self.rows[:0], tokens=0, counts=dict.fromkeys(self.counts, 0))

    def inputs(self) -> dict[str, torch.Tensor | None]:
        """What the model is called with."""
        given = {"features": self.features, "starts": self.starts, "places": self.places}
        return {"ids": self.ids, "mask": self.mask, "segments": self.segments} | {
            name: value for name, value in given.items() if value is not None
        }


class Batches:
    """N documents with labels, cut into batches of like length.

    `order(epoch)` is a pure function of (lengths, batch_size, seed, epoch); `sorted_order()` is for evaluation.
    `collate(documents)` makes one Batch. `features`, where set, are the tokens' vectors (all tokens, H) in the order of
    the sequences, or one a row (rows, H).
    """

    def __init__(self, sequences: Sequences, labels: np.ndarray, batch_size: int, seed: int = 0, pad: int = 0):
        self.sequences, self.labels = sequences, labels
        self.batch_size, self.seed, self.pad = batch_size, seed, pad
        rows = len(sequences.rows)
        documents = np.arange(rows) if sequences.documents is None else sequences.documents
        self.first_row = np.searchsorted(documents, np.arange(len(labels) + 1))  # of each document
        assert len(labels) == 0 or documents[-1] == len(labels) - 1, (documents[-1], len(labels))
        self.lengths = np.zeros(len(labels), np.int64)  # slots of each document: its rows times the longest
        np.maximum.at(self.lengths, documents, sequences.rows.lengths)
        self.lengths *= np.diff(self.first_row)
        self.pairs = bool((sequences.first < sequences.rows.lengths).any())
        self.features: np.ndarray | None = None

    def __len__(self) -> int:
        return -(-len(self.labels) // self.batch_size)

    def order(self, epoch: int) -> list[np.ndarray]:
        """The epoch's batches, as arrays of document numbers: shuffled documents, sorted by length inside windows of
        50 batches, then shuffled batches."""
        random = np.random.default_rng([self.seed, epoch])
        shuffled = random.permutation(len(self.lengths))
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

    def collate(self, documents: np.ndarray) -> Batch:
        counts = self.first_row[documents + 1] - self.first_row[documents]
        owner = np.repeat(np.arange(len(documents)), counts)
        rows = np.concatenate([np.arange(self.first_row[i], self.first_row[i + 1]) for i in documents])
        ids, real = padded(self.sequences.rows, rows, self.pad)
        segments = (np.arange(ids.shape[1]) >= self.sequences.first[rows][:, None]) & real
        return Batch(
            ids=torch.from_numpy(ids),
            mask=None if real.all() else torch.from_numpy(real.astype(np.int64)),
            segments=torch.from_numpy(segments.astype(np.int64)) if self.pairs else None,
            labels=torch.from_numpy(self.labels[documents]),
            rows=documents,
            tokens=int(real.sum()),
            counts={"label": len(documents)},
            features=None if self.features is None else self._features(rows, ids.shape[1]),
            owner=None if self.sequences.documents is None else torch.from_numpy(owner),
        )

    def _features(self, rows: np.ndarray, T: int) -> torch.Tensor:
        if len(self.features) == len(self.sequences.rows):
            return torch.from_numpy(self.features[rows].astype(np.float32))[:, None]
        offsets = self.sequences.rows.offsets
        vectors = np.zeros((len(rows), T, self.features.shape[1]), np.float32)
        for i, row in enumerate(rows):
            vectors[i, : offsets[row + 1] - offsets[row]] = self.features[offsets[row] : offsets[row + 1]]
        return torch.from_numpy(vectors)


class TagBatches(Batches):
    """Sentences of tagged words, long ones in several rows; `tags[i]` belong to the words that begin at `starts[i]`."""

    def __init__(self, chunks: Chunks, tags: Pieces, batch_size: int, seed: int = 0, pad: int = 0):
        super().__init__(chunks.sequences, np.zeros(len(chunks.starts), np.int64), batch_size, seed, pad)
        self.starts, self.tags, self.sentences = chunks.starts, tags, chunks.sentences

    def collate(self, documents: np.ndarray) -> Batch:
        starts, _ = padded(self.starts, documents, 0)
        tags, real = padded(self.tags, documents, IGNORED)
        return dataclasses.replace(
            super().collate(documents),
            starts=torch.from_numpy(starts),
            labels=torch.from_numpy(tags),
            counts={"tag": int(real.sum())},
        )


def padded(ragged: Pieces, rows: np.ndarray, fill: int) -> tuple[np.ndarray, np.ndarray]:
    """(int64 (B, T) with `fill` after each row's end, bool (B, T) true on what is real)."""
    lengths = ragged.lengths[rows]
    real = np.arange(lengths.max()) < lengths[:, None]
    values = np.full(real.shape, fill, np.int64)
    values[real] = np.concatenate([ragged[row] for row in rows])
    return values, real


class Streams:
    """A text of N words as `batch_size` streams side by side, cut into windows of `window` words, for a model that
    predicts each next word and carries its state from window to window. What does not fill a row of streams is left
    out of training; `batch_size` 1 reads every word."""

    def __init__(self, words: np.ndarray, batch_size: int, window: int):
        length = (len(words) - 1) // batch_size
        assert length > 0, (len(words), batch_size)
        self.inputs = torch.from_numpy(words[: batch_size * length].reshape(batch_size, length).astype(np.int64))
        self.targets = torch.from_numpy(words[1 : batch_size * length + 1].reshape(batch_size, length).astype(np.int64))
        self.batch_size, self.window = batch_size, window

    def __len__(self) -> int:
        return -(-self.inputs.shape[1] // self.window)

    def order(self, epoch: int) -> list[np.ndarray]:
        """The windows, one after the other in every epoch: the state that is carried wants it so. Window w of stream s
        has the number w * (streams) + s."""
        return [np.arange(self.batch_size) + number * self.batch_size for number in range(len(self))]

    def sorted_order(self) -> list[np.ndarray]:
        return self.order(0)

    def collate(self, rows: np.ndarray) -> Batch:
        window, streams = int(rows[0]) // self.batch_size, torch.from_numpy(rows % self.batch_size)
        at = slice(window * self.window, (window + 1) * self.window)
        ids = self.inputs[streams, at]
        return Batch(
            ids=ids,
            mask=None,
            segments=None,
            labels=self.targets[streams, at],
            rows=rows,
            tokens=ids.numel(),
            counts={"word": ids.numel()},
        )
