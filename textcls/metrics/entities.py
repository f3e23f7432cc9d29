"""Entities as spans of tags, and how well they were found: precision, recall, F1, in two senses.

conlleval: the rules of the CoNLL-2000 evaluation script (Tjong Kim Sang and Buchholz): an entity begins wherever its
type changes, so that I-PER after O begins one. strict: an entity begins with B- and nothing else; I- without it is no
entity. On correct BIO the two agree. In both an entity counts when its words and its type are exactly right.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from textcls.metrics.statistics import Interval, bootstrap, paired_bootstrap, ratio

SENSES = ("conlleval", "strict")
Span = tuple[int, int, str]  # first word, word after the last, type


def spans(tags: Sequence[str], strict: bool = False) -> list[Span]:
    """The entities of one sentence. Prefixes: B M I begin or go on, E L end, S U W are single words."""
    entities: list[Span] = []
    start, name, ended = None, "", True
    for i, tag in enumerate([*tags, "O"]):
        prefix, kind = tag[0], tag[2:]
        goes_on = prefix in "IMEL" and not ended and kind == name
        if start is not None and not goes_on:
            entities.append((start, i, name))
            start = None
        if start is None and prefix != "O" and (not strict or prefix in "BSUW"):
            start, name = i, kind
        ended = start is None or prefix in "ESLUW"
    return entities


@dataclasses.dataclass(frozen=True)
class Counts:
    """Entities of N sentences: `correct`, `predicted`, `true`, (N, types) each."""

    correct: np.ndarray
    predicted: np.ndarray
    true: np.ndarray
    types: list[str]
    metric = "F1"

    def f1(self, weights: np.ndarray) -> np.ndarray:
        """Over all types, each sentence counting `weights` (..., N) times: (...)."""
        return scores(*(weights @ part.sum(1) for part in self._parts))[2]

    @property
    def _parts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self.correct, self.predicted, self.true

    def overall(self) -> tuple[float, float, float]:
        """(precision, recall, F1) over all types."""
        return scores(*(part.sum() for part in self._parts))

    def per_type(self) -> dict[str, tuple[float, float, float, int]]:
        """type -> (precision, recall, F1, true entities)."""
        sums = [part.sum(0) for part in self._parts]
        return {name: (*scores(*(part[i] for part in sums)), int(sums[2][i])) for i, name in enumerate(self.types)}

    def type_intervals(self, seed: int = 0) -> dict[str, dict[str, Interval]]:
        """type -> precision, recall and f1 with their 95 % bootstrap intervals over sentences."""
        def values(weights: np.ndarray) -> np.ndarray:
            of_types = np.stack(scores(*(weights @ part for part in self._parts)), -1)  # (B, types, 3)
            return of_types.reshape(len(weights), -1)

        found = iter(bootstrap(values, len(self.true), seed) if self.types else [])
        return {name: {kind: next(found) for kind in ("precision", "recall", "f1")} for name in self.types}

    def interval(self, seed: int = 0) -> Interval:
        """F1 with its 95 % percentile bootstrap interval over sentences."""
        return bootstrap(lambda weights: self.f1(weights)[:, None], len(self.true), seed)[0]

    def against(self, other: "Counts", seed: int = 0) -> tuple[Interval, float]:
        """(F1 of this minus that of the other with its 95 % interval, two-sided p) by drawing the same sentences for
        both."""

        def difference(weights: np.ndarray) -> np.ndarray:
            return self.f1(weights) - other.f1(weights)

        return paired_bootstrap(difference, len(self.true), seed)


def scores(correct: np.ndarray, predicted: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(precision, recall, F1) of counts of any shape, 0 where there is nothing to divide by."""
    return ratio(correct, predicted), ratio(correct, true), ratio(2 * correct, predicted + true)


def count(predicted: Sequence[Sequence[str]], true: Sequence[Sequence[str]], strict: bool = False) -> Counts:
    """Compare the entities of N sentences."""
    types = sorted({tag[2:] for tags in true for tag in tags if tag != "O"}
                   | {tag[2:] for tags in predicted for tag in tags if tag != "O"})  # fmt: skip
    place = {name: i for i, name in enumerate(types)}
    sums = np.zeros((3, len(true), len(types)))
    for row, (guess, truth) in enumerate(zip(predicted, true, strict=True)):
        assert len(guess) == len(truth), (row, len(guess), len(truth))
        guessed, actual = set(spans(guess, strict)), set(spans(truth, strict))
        for part, entities in enumerate((guessed & actual, guessed, actual)):
            for _, _, name in entities:
                sums[part, row, place[name]] += 1
    return Counts(*sums, types)
