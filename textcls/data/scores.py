"""Texts with a number each, for regression: your own files of every kind that tabular.py reads, with a number in place
of the class."""

import dataclasses
import math
import pathlib
from collections.abc import Sequence

import numpy as np

from textcls.data import tabular
from textcls.data.corpus import Corpus, draw, identify
from textcls.data.dealing import by_score
from textcls.data.decoding import UTF8
from textcls.runtime.errors import InputError

LARGEST = 1e18  # its square is a float32
SCORE = "score"  # the one "label" of a regression: what the model's one output is


@dataclasses.dataclass
class Scored:
    """N documents: `texts[i]` is a tuple of one text or two, `scores` (N,) are float64, `ids` (N,) uint64 name the
    documents as those of corpus.Documents do."""

    texts: list[tuple[str, ...]]
    scores: np.ndarray
    ids: np.ndarray

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: np.ndarray) -> "Scored":
        return Scored([self.texts[i] for i in rows], self.scores[rows], self.ids[rows])

    def answers(self, labels: list[str]) -> list[str]:
        """The score of every document, exactly."""
        return [repr(score) for score in self.scores.tolist()]

    @property
    def items(self) -> list[tuple[str, ...]]:
        """The strings by which each document is named."""
        return self.texts

    def hold_out(self, share: float, seed: int, name: str = "dev") -> tuple["Scored", "Scored"]:
        """(train, dev), drawn by the seed. `name`: dev, or test."""
        return draw(self, share, seed, name, "training document")

    def deal(self, parts: int, seed: int, labels: list[str]) -> np.ndarray:
        """The part of each document, (N,) from 0, in which low and high scores are spread evenly."""
        return by_score(self.scores, parts, seed)


def scored(pool: str, rows: Sequence[tuple[str, tuple[str, ...], float]]) -> Scored:
    """Documents of one source from rows (FILE:LINE, texts, score); `pool` tells apart the sources of one corpus."""
    texts = [texts for _, texts, _ in rows]
    return Scored(texts, np.array([score for _, _, score in rows], np.float64), identify(pool, texts))


def number(where: str, text: str, low: float = -LARGEST, high: float = LARGEST) -> float:
    """The score that a field holds. Raises InputError for what is no number from `low` to `high`."""
    try:
        value = math.nan if "_" in text else float(text)  # Python reads 1_5 as 15
    except ValueError:
        value = math.nan
    if low <= value <= high:
        return value
    bounds = f" from {low:g} to {high:g}" if low > -LARGEST or math.isfinite(value) else ""
    raise InputError(f"{where}: score {text[:40]!r}, expected a number{bounds}")


def read(path: str, columns: list[str], encoding: str = UTF8, split: str = "test") -> Scored:
    """A file of your own. `columns`: one or two text columns, then that of the score."""
    rows = tabular.read(pathlib.Path(path), columns, encoding, split)
    return scored(split, [(where, texts, number(where, label)) for where, texts, label in rows])


def load(
    train: str, dev: str | float, test: str | float | None, text_column: str, label_column: str, seed: int,
    encoding: str = UTF8,
) -> Corpus:  # fmt: skip
    """`dev` and `test` are files, or shares of the training file to hold out, test first, as for tabular.load."""
    columns = tabular.wanted(text_column, label_column)
    given = tabular.files(train, dev, test, encoding)
    splits = {name: read(path, columns, encoding, name) for name, path in given.items()}
    for name, share in (("test", test), ("dev", dev)):
        if name not in splits and share is not None:
            splits["train"], splits[name] = splits["train"].hold_out(share, seed, name)
    name = pathlib.Path(train).name
    return corpus(name, f"{name} (scores)", splits["train"], splits["dev"], splits.get("test"))


def corpus(name: str, description: str, train: Scored, dev: Scored, test: Scored | None) -> Corpus:
    """A corpus of scores."""
    return check(Corpus(name, description, [SCORE], train, dev, test))


def check(corpus: Corpus) -> Corpus:
    """The corpus, whose `facts` hold the range of its training scores, within which reports keep predictions. Raises
    InputError where they are all the same."""
    low, high = float(corpus.train.scores.min()), float(corpus.train.scores.max())
    if low == high:
        raise InputError(f"{corpus.name}: every training score is {low:g}: there is nothing to learn")
    return dataclasses.replace(corpus, facts=corpus.facts | {"range": [low, high]})
