"""Texts of unequal length as flat arrays of word pieces, and the rows that a model reads."""

import dataclasses
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class Pieces:
    """N texts as word pieces: text i is `tokens[offsets[i]:offsets[i + 1]]`. tokens int32, offsets int64 (N + 1,).
    Where words are read by their characters, tokens are rows of `spelling` (U, K) int16."""

    tokens: np.ndarray
    offsets: np.ndarray
    spelling: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, i: int) -> np.ndarray:
        return self.tokens[self.offsets[i] : self.offsets[i + 1]]

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self.offsets)

    @classmethod
    def join(cls, rows: Sequence[Sequence[int]], spelling: np.ndarray | None = None) -> "Pieces":
        offsets = np.zeros(len(rows) + 1, np.int64)
        np.cumsum([len(row) for row in rows], out=offsets[1:])
        tokens = np.concatenate([np.asarray(row, np.int32) for row in rows]) if rows else np.zeros(0, np.int32)
        return cls(tokens, offsets, spelling)


@dataclasses.dataclass(frozen=True)
class Sequences:
    """N documents as a model reads them. `first[i]` tokens of row i belong to segment 0, the rest to segment 1.
    `documents[i]` is the document of row i where a document may be several rows, in ascending order."""

    rows: Pieces
    first: np.ndarray
    truncated: int  # documents that were cut
    documents: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Chunks:
    """Sentences of words in rows that fit the model: row i is of sentence `sentences[i]`, its words' first tokens are
    at `starts[i]`. Rows follow each other in the order of the words."""

    sequences: Sequences
    starts: Pieces
    sentences: np.ndarray
