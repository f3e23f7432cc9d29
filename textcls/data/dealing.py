"""How the documents of a pool are dealt out to parts, so that these are alike: pure functions of what the documents are,
the number of parts, and a seed.

Dimensions: N documents, K parts, L labels, G groups.
"""

from collections.abc import Hashable, Sequence

import numpy as np


def by_class(labels: np.ndarray, parts: int, seed: int) -> np.ndarray:
    """The part of each document, (N,) from 0: each class is shuffled, and all documents are dealt out one after the
    other, so that neither parts nor the classes in them differ by more than one. `labels` (N,) are numbers."""
    random = np.random.default_rng(seed)
    dealt = np.concatenate([random.permutation(np.flatnonzero(labels == c)) for c in np.unique(labels)])
    numbers = np.empty(len(labels), np.int64)
    numbers[dealt] = np.arange(len(labels)) % parts
    return numbers


def by_score(scores: np.ndarray, parts: int, seed: int) -> np.ndarray:
    """The part of each document, (N,) from 0: of every K whose scores (N,) are neighbours each part gets one."""
    random = np.random.default_rng(seed)
    order = random.permutation(len(scores))
    order = order[np.argsort(scores[order], kind="stable")]
    numbers = np.empty(len(scores), np.int64)
    for start in range(0, len(order), parts):
        block = order[start : start + parts]
        numbers[block] = random.permutation(parts)[: len(block)]
    return numbers


def by_group(groups: np.ndarray, parts: int, seed: int) -> np.ndarray:
    """The part of each document, (N,) from 0, where those of a group stay together: the largest group first, of equals
    in an order drawn by the seed, each to the part with the fewest documents. `groups` (N,) are numbers from 0 to G."""
    sizes, filled = np.bincount(groups), np.zeros(parts, np.int64)
    order = np.random.default_rng(seed).permutation(len(sizes))
    of_group = np.empty(len(sizes), np.int64)
    for group in order[np.argsort(-sizes[order], kind="stable")]:
        of_group[group] = filled.argmin()
        filled[of_group[group]] += sizes[group]
    return of_group[groups]


def whole_groups(groups: np.ndarray, room: int, seed: int) -> np.ndarray:
    """Which documents are held out, bool (N,), where those of a group stay together: groups drawn by the seed, as many
    as fit into `room` documents."""
    sizes = np.bincount(groups)
    chosen = np.zeros(len(sizes), bool)
    for group in np.random.default_rng(seed).permutation(len(sizes)):
        if sizes[group] <= room:
            chosen[group] = True
            room -= sizes[group]
    return chosen[groups]


def numbered(keys: Sequence[Hashable]) -> np.ndarray:
    """Numbers (N,) from 0 of equal keys, in the order in which they come first."""
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return np.array([numbers[key] for key in keys], np.int64)


def linked(names: Sequence[str], texts: Sequence[str]) -> np.ndarray:
    """Numbers (N,) from 0 of groups: what has a name or a text in common is in one, also where it takes others between;
    of what has the name "" the text alone counts."""
    above = {}

    def top(key: tuple[int, str]) -> tuple[int, str]:
        while above.setdefault(key, key) != key:
            key = above[key]
        return key

    for name, text in zip(names, texts, strict=True):
        if name:
            above[top((1, text))] = top((0, name))
    return numbered([top((1, text)) for text in texts])


def by_labels(labels: np.ndarray, shares: np.ndarray, seed: int, whole: int | None = None) -> np.ndarray:
    """The part of each document, (N,) from 0: iterative stratification (Sechidis et al., 2011), in which to have no label
    counts as one. `labels` bool (N, L); `shares` (K,) of the documents that the parts are to have.

    The label that fewest of the remaining documents have comes first: each of these, in an order drawn by the seed,
    goes to the part that still wants most of the label, of equals to the one that wants most documents, of equals to
    the first. No part but `whole` gets all documents of a label, where that can be avoided."""
    labels = np.column_stack([labels, ~labels.any(1)])
    order = np.random.default_rng(seed).permutation(len(labels))
    left = labels.sum(0)  # documents of each label that have no place yet
    wanted, room = shares[:, None] * left, shares * len(labels)
    numbers, placed = np.full(len(labels), -1), np.zeros(wanted.shape, np.int64)
    while left.any():
        label = np.argmin(np.where(left > 0, left, len(labels) + 1))
        for document in order[(numbers[order] < 0) & labels[order, label]]:
            own = np.flatnonzero(labels[document])
            last = own[left[own] == 1]
            all_there = (placed[:, last] == placed[:, last].sum(0)).any(1)  # (K,): with this one all of a label are
            if whole is not None:
                all_there[whole] = False
            wishes = np.where(all_there & ~all_there.all(), -np.inf, wanted[:, label])
            part = np.argmax(np.where(wishes == wishes.max(), room, -np.inf))
            numbers[document] = part
            left[own] -= 1
            placed[part, own] += 1
            wanted[part, own] -= 1
            room[part] -= 1
    return numbers
