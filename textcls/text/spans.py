"""From the logits of windows to answers: the best spans over all windows of a question, with probabilities.

As google-research/bert, run_squad.py: of each window the 20 best beginnings and the 20 best ends; a beginning only in
the window where its piece has most context; no end before its beginning; at most 30 pieces. The spans of all windows of
a question stand in one list by the sum of both logits; its first 20 with different texts are the n-best, over which a
softmax gives probabilities. Here the question and what is around it are left out before the 20 are taken.

Dimensions: B or W windows, T tokens, K = 20.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from textcls.text.passages import Placed, Windows

BEST = 20  # beginnings and ends of a window, and answers to a question
LONGEST_ANSWER = 30  # pieces
BLOCK = 512  # questions whose spans are looked at together


class Answer(NamedTuple):
    """`text` is characters `start` to `end` of the passage; all of it is "" and 0 where there is no answer."""

    text: str
    probability: float
    start: int
    end: int


NO_ANSWER = Answer("", 0.0, 0, 0)


@dataclasses.dataclass(frozen=True)
class Candidates:
    """Of W windows the tokens of the best beginnings and ends, int16 (W, K) each, and their logits, float32 (W, K),
    best first; -inf where there are fewer."""

    starts: np.ndarray
    ends: np.ndarray
    start_logits: np.ndarray
    end_logits: np.ndarray

    @classmethod
    def join(cls, parts: Sequence["Candidates"], windows: Sequence[np.ndarray]) -> "Candidates":
        """All of them in the order of their numbers, which are `windows`."""
        order = np.argsort(np.concatenate(windows), kind="stable")
        return cls(*(np.concatenate([getattr(part, name) for part in parts])[order] for name in cls.__annotations__))


def candidates(logits: np.ndarray, first: np.ndarray, lengths: np.ndarray, best: np.ndarray) -> Candidates:
    """`logits` float32 (B, T, 2); the passage is tokens `first` to `lengths` - 2 of each window (B,); `best` bool
    (B, T) says which of them have most context there."""
    tokens = np.arange(logits.shape[1])
    passage = (tokens >= first[:, None]) & (tokens < lengths[:, None] - 1)
    starts, start_logits = largest(np.where(passage & best, logits[..., 0], -np.inf))
    ends, end_logits = largest(np.where(passage, logits[..., 1], -np.inf))
    return Candidates(starts, ends, start_logits, end_logits)


def largest(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(places int16 (B, K), values (B, K)) of the K largest of each row, largest first; the first of equals first."""
    if values.shape[1] < BEST:
        values = np.pad(values, ((0, 0), (0, BEST - values.shape[1])), constant_values=-np.inf)
    places = np.argsort(-values, 1, kind="stable")[:, :BEST]
    return places.astype(np.int16), np.take_along_axis(values, places, 1).astype(np.float32)


def decode(
    found: Candidates, windows: Windows, placed: Placed, passages: Sequence[str], most: int = BEST
) -> list[list[Answer]]:
    """The `most` best answers to each question, best first: none where no window has any. Equal scores stand in the
    order of the passage. `placed` are the pieces of the `passages` with their characters."""
    bounds = np.searchsorted(windows.questions, np.arange(len(windows.about) + 1))
    answers = []
    for block in range(0, len(windows.about), BLOCK):
        of_block = bounds[block : block + BLOCK + 1]
        scores, starts, ends = spans(found, windows, slice(of_block[0], of_block[-1]))
        bounds_there = of_block - of_block[0]
        for passage, *own in zip(windows.about[block:], bounds_there[:-1], bounds_there[1:], strict=False):
            own = slice(*own)
            real = scores[own] > -np.inf
            if not real.any():
                answers.append([])
                continue
            pairs = scores[own][real], starts[own][real], ends[own][real]
            answers.append(n_best(*pairs, placed.places(passage), passages[passage])[:most])
    return answers


def spans(found: Candidates, windows: Windows, rows: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(scores, first and last piece of the passage) of every pair of a beginning and an end, (windows, K, K) each; -inf
    where the pair is no answer."""
    starts, ends = found.starts[rows, :, None].astype(np.int64), found.ends[rows, None, :].astype(np.int64)
    scores = found.start_logits[rows, :, None].astype(np.float64) + found.end_logits[rows, None, :]
    scores[(ends < starts) | (ends - starts >= LONGEST_ANSWER)] = -np.inf
    offset = (windows.starts[rows] - windows.sequences.first[rows])[:, None, None]  # token + offset = piece
    return scores, np.broadcast_to(starts + offset, scores.shape), np.broadcast_to(ends + offset, scores.shape)


def n_best(
    scores: np.ndarray, starts: np.ndarray, ends: np.ndarray, places: tuple[np.ndarray, np.ndarray], passage: str
) -> list[Answer]:
    """The best spans with different texts, at most 20, with their probabilities; spans are first and last pieces."""
    chosen: dict[str, tuple[float, int, int]] = {}
    for i in np.lexsort((ends, starts, -scores)).tolist():
        begin, end = int(places[0][starts[i]]), int(places[1][ends[i]])
        if passage[begin:end] not in chosen:
            chosen[passage[begin:end]] = float(scores[i]), begin, end
            if len(chosen) == BEST:
                break
    values = np.array([score for score, _, _ in chosen.values()])
    weights = np.exp(values - values.max())
    weights /= weights.sum()
    return [
        Answer(text, float(weight), begin, end)
        for (text, (_, begin, end)), weight in zip(chosen.items(), weights, strict=True)
    ]
