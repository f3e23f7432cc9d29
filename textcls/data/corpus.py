"""What readers return: labelled documents in three splits; how they are named, and how dev is split off."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from textcls.data.dealing import by_class
from textcls.runtime.errors import InputError
from textcls.runtime.files import fingerprint


@dataclasses.dataclass
class Documents:
    """N documents: `texts[i]` is a tuple of one text or two, `labels[i]` a class number (N,) int64.

    `ids[i]` (uint64) names the document by the pool it was read from, its place there and its text, so that two runs
    can tell whether one trained on what the other held out, even where two documents have the same text. `beside` are
    further documents that are reported on with these, by what tells their metrics apart; `remarks` what a reader of
    results should know of these documents.
    """

    texts: list[tuple[str, ...]]
    labels: np.ndarray
    ids: np.ndarray
    beside: dict[str, "Documents"] = dataclasses.field(default_factory=dict)
    remarks: list[str] = dataclasses.field(default_factory=list)

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: np.ndarray) -> "Documents":
        return Documents([self.texts[i] for i in rows], self.labels[rows], self.ids[rows])

    @property
    def items(self) -> list[tuple[str, ...]]:
        """The strings by which each document is named."""
        return self.texts

    def hold_out(self, share: float, seed: int, name: str = "dev") -> tuple["Documents", "Documents"]:
        """See :func:`split_dev`."""
        return split_dev(self, share, seed, name)

    def deal(self, parts: int, seed: int, labels: list[str]) -> np.ndarray:
        """The part of each document, (N,) from 0, in which every class is spread evenly."""
        counts = np.bincount(self.labels, minlength=len(labels))
        if few := [f"{name!r} has {count}" for name, count in zip(labels, counts, strict=True) if count < parts]:
            more = f" (and {len(few) - 1} more classes are too small)" if few[1:] else ""
            fewer = f"take at most {counts.min()} folds, or " * bool(counts.min() > 1)
            raise InputError(
                f"{parts} folds want a document of every class in each: class {few[0]} of them{more}; {fewer}leave out "
                "what is rare"
            )
        return by_class(self.labels, parts, seed)

    def answers(self, labels: list[str]) -> list[str]:
        """The label of every document."""
        return [labels[number] for number in self.labels]

    @property
    def empty(self) -> np.ndarray:
        """(N,) bool: documents without a visible character."""
        return np.array([not any(part.strip() for part in text) for text in self.texts], bool)


@dataclasses.dataclass
class Corpus:
    """Three splits, each with a length and `ids`: Documents, or what else a task reads. `description` is printed with
    every result, since one name can mean several benchmarks. `labels` are classes or tags, none where there are none;
    `vocabulary` is there where the splits are already in its words. `facts` about the training data join the run's
    config.json."""

    name: str
    description: str
    labels: list[str]
    train: Any
    dev: Any
    test: Any | None
    vocabulary: Any = None
    facts: dict = dataclasses.field(default_factory=dict)


def documents(pool: str, texts: Sequence[tuple[str, ...]], labels: Sequence[int]) -> Documents:
    """Documents of one source; `pool` ("train", "test", …) tells apart the sources of one corpus."""
    return Documents(list(texts), np.asarray(labels, np.int64), identify(pool, texts))


def identify(pool: str, items: Sequence[Sequence[str]]) -> np.ndarray:
    """A number for each item, uint64 (N,), from the pool it was read from, its place there and its strings."""
    return np.array([number_of(pool, str(i), *item) for i, item in enumerate(items)], np.uint64)


def identity(split, labels: list[str]) -> dict[str, np.ndarray]:
    """What a split is: its `ids`, and where its items have labels or tags a number for each of these, uint64 (N,). Equal
    for two splits where they have the same items with the same answers in the same order. What is beside it is the
    same kind of numbers, under NAME-ids and NAME-answers."""
    if not hasattr(split, "answers"):
        return {"ids": split.ids}
    found = {"ids": split.ids, "answers": np.array([number_of(a) for a in split.answers(labels)], np.uint64)}
    for name, part in getattr(split, "beside", {}).items():
        found |= {f"{name}-{kind}": numbers for kind, numbers in identity(part, labels).items()}
    return found


def number_of(*parts: str) -> int:
    """64 bits of a digest of strings."""
    return int.from_bytes(fingerprint(*parts)[:8], "little")


def check_share(share: str | float | None, name: str = "dev") -> None:
    """Raise InputError where --dev or --test is a share that holds out nothing or everything."""
    if isinstance(share, float) and not 0.0 < share < 1.0:
        raise InputError(f"--{name} {share:g}: a share must lie between 0 and 1")


def draw(pool: Any, share: float, seed: int, name: str, what: str) -> tuple[Any, Any]:
    """(train, dev): `share` of the items, drawn by `seed`, goes to dev; both keep the order of the pool. `name`: dev,
    or test; `what` errors call an item that is left to train on."""
    check_share(share, name)
    count, unit = round(share * len(pool)), what.split()[-1]
    if not 0 < count < len(pool):
        raise InputError(f"--{name} {share:g} of {len(pool)} {unit}s leaves no {name} or no {what}")
    order = np.random.default_rng(seed).permutation(len(pool))
    return pool.take(np.sort(order[count:])), pool.take(np.sort(order[:count]))


def split_dev(pool: Documents, share: float, seed: int, name: str = "dev") -> tuple[Documents, Documents]:
    """(train, dev): `share` of every class goes to dev, a pure function of (pool, seed). `name`: dev, or test.

    Each class is shuffled and gives round(share * n) documents, at least one where it has two or more. Both splits
    keep the order of the pool.
    """
    check_share(share, name)
    random = np.random.default_rng(seed)
    in_dev = np.zeros(len(pool), bool)
    for label in np.unique(pool.labels):
        rows = np.flatnonzero(pool.labels == label)
        count = min(max(1, round(share * len(rows))), len(rows) - 1)
        in_dev[random.permutation(rows)[:count]] = True
    if not in_dev.any():
        raise InputError(
            f"--{name} {share:g} of {len(pool)} documents leaves no {name} document: each class has one. Is it the right "
            f"--label-column? Else give a file with --{name} FILE"
        )
    return pool.take(np.flatnonzero(~in_dev)), pool.take(np.flatnonzero(in_dev))


def check(corpus: Corpus) -> Corpus:
    """The checks that every corpus must pass, whatever it was read from."""
    counts = np.bincount(corpus.train.labels, minlength=len(corpus.labels))
    if len(corpus.labels) < 2:
        names = ", ".join(map(repr, corpus.labels)) or "none"
        raise InputError(f"{corpus.name}: classification needs at least 2 classes, the training data has only {names}")
    missing = [name for name, count in zip(corpus.labels, counts, strict=True) if count == 0]
    if missing:
        raise InputError(f"{corpus.name}: no training document of class {', '.join(map(repr, missing))}")
    for split in ("dev", "test"):
        part = getattr(corpus, split)
        if part is not None and not len(part):
            raise InputError(f"{corpus.name}: the {split} split is empty")
    return corpus
