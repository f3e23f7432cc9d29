"""How documents are dealt out to parts, against slow references of the same rules and by what they are for."""

import itertools
import random

import numpy as np
import pytest

from textcls.data.dealing import by_class, by_group, by_labels, by_score, linked, numbered, whole_groups

FREQUENT = [0.5, 0.3, 0.2, 0.1, 0.1, 0.05, 0.05, 0.03, 0.02, 0.01]


def made_up(documents: int, frequent: list[float], seed: int) -> np.ndarray:
    """Labels (N, L), each on its own; every label has two documents at least."""
    labels = np.random.default_rng(seed).random((documents, len(frequent))) < frequent
    for label in range(len(frequent)):
        labels[2 * label : 2 * label + 2, label] = True
    return labels


def slowly(labels: np.ndarray, parts: int, seed: int) -> list[int]:
    """Iterative stratification into equal parts as the paper has it, a document at a time over sets and dictionaries;
    what is equal falls to the first part, and no part gets all documents of a label."""
    sets = [set(np.flatnonzero(row).tolist()) or {"none"} for row in labels]
    every = set().union(*sets)
    order = np.random.default_rng(seed).permutation(len(sets)).tolist()
    wanted = {(p, label): sum(label in own for own in sets) * (1 / parts) for p in range(parts) for label in every}
    room = {p: len(sets) * (1 / parts) for p in range(parts)}
    found: dict[int, int] = {}
    while len(found) < len(sets):
        left = {label: [i for i in order if i not in found and label in sets[i]] for label in every}
        names = sorted((label for label in every if left[label]), key=lambda label: (label == "none", label))
        label = min(names, key=lambda label: len(left[label]))
        for i in left[label]:
            closed = set()
            for own in sets[i]:
                others = [found.get(j) for j in range(len(sets)) if own in sets[j] and j != i]
                if None not in others:  # the last document of the label
                    closed |= set(others) if len(set(others)) == 1 else set(range(parts)) if not others else set()
            open_parts = [p for p in range(parts) if p not in closed] or list(range(parts))
            best = max(open_parts, key=lambda p: (wanted[p, label], room[p]))
            found[i] = best
            room[best] -= 1
            for own in sets[i]:
                wanted[best, own] -= 1
    return [found[i] for i in range(len(sets))]


@pytest.mark.parametrize("documents, frequent, parts, seed", [
    (60, [0.4, 0.3], 5, 0), (90, FREQUENT, 2, 1), (120, FREQUENT, 10, 2), (40, [0.05] * 8, 3, 3), (30, [1.0, 0.5], 4, 4),
])  # fmt: skip
def test_iterative_stratification_a_document_at_a_time(documents, frequent, parts, seed):
    labels = made_up(documents, frequent, seed)
    assert by_labels(labels, np.full(parts, 1 / parts), seed).tolist() == slowly(labels, parts, seed)


@pytest.mark.parametrize("parts, seed", list(itertools.product([2, 5, 10], range(3))))
def test_every_label_is_spread_evenly(parts, seed):
    """Each label differs by about one document from its share; dealt at random, by several times as many."""
    labels = made_up(1000, FREQUENT, seed)
    numbers = by_labels(labels, np.full(parts, 1 / parts), seed)
    assert np.array_equal(numbers, by_labels(labels, np.full(parts, 1 / parts), seed))
    assert not np.array_equal(numbers, by_labels(labels, np.full(parts, 1 / parts), seed + 1))

    def worst(numbers: np.ndarray) -> float:
        return max(np.abs(labels[numbers == p].sum(0) - labels.sum(0) / parts).max() for p in range(parts))

    assert worst(numbers) < 2 < 6 < worst(np.random.default_rng(seed).permutation(1000) % parts)
    assert np.bincount(numbers) == pytest.approx(1000 / parts, rel=0.15)
    for label in range(len(FREQUENT)):
        assert len(set(numbers[labels[:, label]])) > 1  # something to learn it from, whichever part is tested


def test_two_documents_of_a_label_are_apart():
    """Also where other labels have drawn the first one to where the second one is drawn to."""
    for seed in range(50):
        labels = np.random.default_rng(seed).random((12, 8)) < 0.25
        numbers = by_labels(labels, np.full(3, 1 / 3), seed)
        for own in labels.T:
            assert own.sum() < 2 or len(set(numbers[own])) > 1, seed


def test_shares_that_differ():
    labels = made_up(1000, FREQUENT, 0)
    numbers = by_labels(labels, np.array([0.6, 0.3, 0.1]), 1)
    for part, share in enumerate((0.6, 0.3, 0.1)):
        assert labels[numbers == part].sum(0) == pytest.approx(share * labels.sum(0), abs=3)


@pytest.mark.parametrize("documents, parts", [(60, 5), (61, 5), (64, 5), (7, 7), (101, 2)])
def test_low_and_high_scores_are_spread_evenly(documents, parts):
    scores = np.random.default_rng(0).normal(size=documents).round(1)  # some are equal
    numbers = by_score(scores, parts, 3)
    assert np.ptp(np.bincount(numbers, minlength=parts)) <= 1
    for value in np.unique(scores):  # of the scores up to any value each part has as many as another, or one more
        assert np.ptp(np.bincount(numbers[scores <= value], minlength=parts)) <= 1
    assert np.array_equal(numbers, by_score(scores, parts, 3))
    assert documents == parts or not np.array_equal(numbers, by_score(scores, parts, 4))


def test_equal_scores_are_dealt_at_random():
    counts = sum(np.bincount(by_score(np.ones(9), 3, seed)[:3], minlength=3) for seed in range(300))
    assert counts == pytest.approx(300, abs=60)


@pytest.mark.parametrize("seed", range(5))
def test_groups_stay_whole(seed):
    rng = random.Random(seed)
    groups = np.array([g for g in range(40) for _ in range(rng.choice([1, 2, 3, 20]))])
    groups = groups[np.random.default_rng(seed).permutation(len(groups))]
    numbers, sizes = by_group(groups, 4, seed), np.bincount(groups)
    assert all(len(set(numbers[groups == g])) == 1 for g in range(40))
    filled = np.bincount(numbers, minlength=4)
    assert np.ptp(filled) <= sizes.max() and (seed or np.ptp(filled) <= 3)
    assert filled.max() < len(groups) / 4 * 4 / 3 + sizes.max() / 3 + 1  # Graham's bound for the largest first
    held = whole_groups(groups, 50, seed)
    assert all(held[groups == g].all() or not held[groups == g].any() for g in range(40)) and 0 < held.sum() <= 50


def test_what_has_a_name_or_a_text_in_common_is_together():
    """Against the closure of a relation, which is found by going on until nothing changes."""
    for seed in range(30):
        rng = random.Random(seed)
        names = [rng.choice(["", *"abcdefgh"]) for _ in range(24)]
        texts = [f"text {rng.randrange(20)}" for _ in range(24)]
        near = [[texts[i] == texts[j] or names[i] == names[j] != "" for j in range(24)] for i in range(24)]
        reach = np.array(near)
        for _ in range(24):
            reach = (reach.astype(int) @ reach.astype(int)) > 0
        groups = linked(names, texts)
        assert np.array_equal(groups[:, None] == groups, reach), seed
        assert set(groups) == set(range(groups.max() + 1))


def test_numbers_come_in_order():
    assert numbered(["b", "a", "b", "c"]).tolist() == [0, 1, 0, 2] and numbered([]).tolist() == []
    assert np.bincount(by_class(np.array([0] * 7 + [2] * 5), 3, 0)).tolist() == [4, 4, 4]
