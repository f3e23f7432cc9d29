"""Cross-validation: the training documents in K parts, each of which is the test split of one run.

Dimensions: N documents, K folds.
"""

import dataclasses
import re

import numpy as np

from textcls.data.corpus import Corpus, Documents, check, number_of, split_dev
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


def pool_of(corpus: Corpus) -> tuple[Documents, bool]:
    """(the documents that were there to train on, in the order in which they were read; whether dev was drawn from
    them). An id tells where its document was read (corpus.identify), and so the splits can be put together again."""
    train, dev = corpus.train, corpus.dev
    for drawn in (True, False):
        order = order_of(train, dev) if drawn else order_of(train, dev.take(np.arange(0)))
        if order is not None:
            return (joined(train, dev) if drawn else train).take(order), drawn
    raise InputError(f"{corpus.name}: folds are parts of all training documents, of which some are held out")


def joined(first: Documents, second: Documents) -> Documents:
    numbers = [np.concatenate(pair) for pair in ((first.labels, second.labels), (first.ids, second.ids))]
    return Documents([*first.texts, *second.texts], *numbers)


def order_of(train: Documents, dev: Documents) -> np.ndarray | None:
    """Where the documents of one pool, of which each split keeps the order, stand among those of train and then dev;
    None where they are not a whole pool."""
    rows, nexts = [], [0, 0]
    for place in range(len(train) + len(dev)):
        for i, split in enumerate((train, dev)):
            at = nexts[i]
            if at < len(split) and number_of("train", str(place), *split.texts[at]) == split.ids[at]:
                rows.append(at + i * len(train))
                nexts[i] += 1
                break
        else:
            return None
    return np.array(rows, np.int64)


def assign(pool: Documents, folds: int, seed: int, classes: list[str]) -> np.ndarray:
    """The fold of every document, (N,) from 1: each class is shuffled, and all are dealt out one after the other, so
    that neither folds nor the classes in them differ by more than one document. A pure function of (pool, K, seed)."""
    counts = np.bincount(pool.labels, minlength=len(classes))
    if few := [f"{name!r} has {count}" for name, count in zip(classes, counts, strict=True) if count < folds]:
        more = f" (and {len(few) - 1} more classes are too small)" if few[1:] else ""
        fewer = f"take at most {counts.min()} folds, or " * bool(counts.min() > 1)
        raise InputError(
            f"{folds} folds want a document of every class in each: class {few[0]} of them{more}; {fewer}leave out "
            "what is rare"
        )
    random = np.random.default_rng(seed)
    dealt = np.concatenate([random.permutation(np.flatnonzero(pool.labels == c)) for c in range(len(classes))])
    numbers = np.empty(len(pool), np.int64)
    numbers[dealt] = 1 + np.arange(len(pool)) % folds
    return numbers


def cut(corpus: Corpus, fold: Fold, dev_share: float, seed: int) -> Corpus:
    """The corpus with that fold of its training documents as the test split, in place of its own if it has one. Dev is
    drawn from the others, unless it has documents of its own."""
    pool, drawn = pool_of(corpus)
    tested = assign(pool, fold.folds, seed, corpus.labels) == fold.number
    train, dev = pool.take(np.flatnonzero(~tested)), corpus.dev
    if drawn:
        train, dev = split_dev(train, dev_share, seed)
    description = f"{corpus.description}; here tested on fold {fold.number}/{fold.folds} of its training documents"
    test = pool.take(np.flatnonzero(tested))
    return check(dataclasses.replace(corpus, description=description, train=train, dev=dev, test=test))
