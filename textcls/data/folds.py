"""Cross-validation: what there is to train on in K parts, each of which is the test split of one run.

A pool is documents, sentences or questions that know how they are named (`items`), how dev is drawn from them
(`hold_out`) and how they are dealt out to parts (`deal`). Dimensions: N of them, K folds.
"""

import dataclasses
import re
from typing import Any

import numpy as np

from textcls.data.corpus import Corpus, number_of
from textcls.runtime.errors import InputError


@dataclasses.dataclass(frozen=True)
class Fold:
    """The `number`-th, from 1, of `folds` parts; written 2/5."""

    number: int
    folds: int

    @classmethod
    def of(cls, text: str) -> "Fold":
        match = re.fullmatch(r"([1-9][0-9]{0,8})/([1-9][0-9]{0,8})", text)
        if not match or not 1 <= int(match[1]) <= int(match[2]) or match[2] == "1":
            raise InputError(f"--fold {text}: expected NUMBER/FOLDS, such as 2/5: the second of five parts")
        return cls(int(match[1]), int(match[2]))


def pool_of(corpus: Corpus) -> tuple[Any, bool]:
    """(what was there to train on, in the order in which it was read; whether dev was drawn from it). An id tells where
    its document was read (corpus.identify), and so the splits can be put together again."""
    train, dev = corpus.train, corpus.dev
    for drawn in (True, False):
        order = order_of(train, dev) if drawn else order_of(train, dev.take(np.arange(0)))
        if order is not None:
            return (joined(train, dev) if drawn else train).take(order), drawn
    raise InputError(f"{corpus.name}: folds are parts of all training documents, of which some are held out")


def joined(first: Any, second: Any) -> Any:
    """Those of one split, then those of another of its kind: each of its lists and arrays has one of theirs a place."""
    values = {field.name: [getattr(of, field.name) for of in (first, second)] for field in dataclasses.fields(first)}
    rows = {name: both for name, both in values.items() if isinstance(both[0], list | np.ndarray)}
    return type(first)(
        **{name: a + b if isinstance(a, list) else np.concatenate([a, b]) for name, (a, b) in rows.items()}
    )


def order_of(train: Any, dev: Any) -> np.ndarray | None:
    """Where the items of one pool, of which each split keeps the order, stand among those of train and then dev; None
    where they are not a whole pool."""
    rows, nexts, splits = [], [0, 0], [(split.items, split.ids) for split in (train, dev)]
    for place in range(len(train) + len(dev)):
        for i, (items, ids) in enumerate(splits):
            at = nexts[i]
            if at < len(ids) and number_of("train", str(place), *items[at]) == ids[at]:
                rows.append(at + i * len(train))
                nexts[i] += 1
                break
        else:
            return None
    return np.array(rows, np.int64)


def assign(pool: Any, folds: int, seed: int, labels: list[str]) -> np.ndarray:
    """The fold of each, (N,) from 1, a pure function of (pool, K, seed). `labels` are the names of the numbers in it.
    Raises InputError where a fold would be empty, or is not to be had otherwise."""
    if len(pool) < folds:
        raise InputError(f"{folds} folds want as many to deal out, and there are {len(pool):,}: take fewer")
    numbers = 1 + pool.deal(folds, seed, labels)
    if empty := np.flatnonzero(np.bincount(numbers, minlength=folds + 1)[1:] == 0).tolist():
        raise InputError(f"{folds} folds of {len(pool)}: nothing is left for fold {empty[0] + 1}; take fewer")
    return numbers


def cut(corpus: Corpus, fold: str | None, dev: str | float, seed: int, unit: str) -> Corpus:
    """The corpus with that `fold`, such as 2/5, of what there is to train on as the test split, in place of its own if
    it has one; as it is where that is None. Of the others dev is drawn anew where it was a share, `dev`. `unit` is what
    the description calls the items. That the rest can be learned from is for the caller to check."""
    if fold is None:
        return corpus
    wanted, (pool, drawn) = Fold.of(fold), pool_of(corpus)
    tested = assign(pool, wanted.folds, seed, corpus.labels) == wanted.number
    rest, test = pool.take(np.flatnonzero(~tested)), pool.take(np.flatnonzero(tested))
    splits = rest.hold_out(dev, seed) if drawn else (rest, corpus.dev)
    description = f"{corpus.description}; here tested on fold {fold} of its training {unit}"
    return dataclasses.replace(corpus, description=description, train=splits[0], dev=splits[1], test=test)
