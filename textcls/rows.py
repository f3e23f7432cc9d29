"""Texts of unequal length as flat arrays of word pieces, and the rows that a model reads."""

import dataclasses
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class Pieces:
    """N texts as word pieces: text i is `tokens[offsets[i]:offsets[i + 1]]`. tokens int32, offsets int64 (N + 1,)."""

    tokens: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, i: int) -> np.ndarray:
        return self.tokens[self.offsets[i] : self.offsets[i + 1]]

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self.offsets)

    @classmethod
    def join(cls, rows: Sequence[Sequence[int]]) -> "Pieces":
        offsets = np.zeros(len(rows) + 1, np.int64)
        np.cumsum([len(row) for row in rows], out=offsets[1:])
        tokens = np.concatenate([np.asarray(row, np.int32) for row in rows]) if rows else np.zeros(0, np.int32)
        return cls(tokens, offsets)


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


def share_room(lengths: Sequence[int], room: int) -> list[int]:
    """Tokens that each text keeps of `room`: all, or the longer text gives way first until both are equal."""
    if len(lengths) == 1:
        return [min(lengths[0], room)]
    first, second = lengths
    if first + second <= room:
        return [first, second]
    keep = min(first, max(room - second, room - room // 2))
    return [keep, room - keep]


def cut(tokens: np.ndarray, keep: int, truncate: str) -> list[int]:
    """`keep` tokens: the first, the last, or as many from either end (Sun et al., 2019, section 5.3.1)."""
    if len(tokens) <= keep:
        return tokens.tolist()
    if truncate == "head":
        return tokens[:keep].tolist()
    if truncate == "tail":
        return tokens[len(tokens) - keep :].tolist()
    head = keep - keep // 2
    return [*tokens[:head].tolist(), *tokens[len(tokens) - keep // 2 :].tolist()]
