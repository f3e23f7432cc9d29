"""Entities by hand, in both senses; against seqeval where it is installed."""

import random

import numpy as np
import pytest

from textcls.metrics.entities import count, spans

# The conlleval script's own rules, case by case: tags, and the entities that it counts.
CASES = [
    ("O O", []),
    ("B-A I-A O B-B", [(0, 2, "A"), (3, 4, "B")]),
    ("B-A B-A", [(0, 1, "A"), (1, 2, "A")]),
    ("O I-A I-A", [(1, 3, "A")]),
    ("B-A I-B", [(0, 1, "A"), (1, 2, "B")]),
    ("I-A I-B I-B", [(0, 1, "A"), (1, 3, "B")]),
    ("B-A E-A S-A", [(0, 2, "A"), (2, 3, "A")]),
    ("B-A E-A I-A", [(0, 2, "A"), (2, 3, "A")]),
    ("S-A S-A", [(0, 1, "A"), (1, 2, "A")]),
    ("B-A L-A U-B", [(0, 2, "A"), (2, 3, "B")]),
]
# A worked example: 3 true entities of A and 1 of B; 3 predicted of A, of which 2 right, and 2 of B, of which 1 right.
TRUE = ["B-A I-A O B-A", "B-B O", "O B-A I-A"]
GUESS = ["B-A I-A O B-A", "B-B I-A", "B-B B-A O"]


def split(rows):
    return [row.split() for row in rows]


@pytest.mark.parametrize("tags, expected", CASES)
def test_entities_begin_where_conlleval_says(tags, expected):
    assert spans(tags.split()) == expected


def test_strict_entities_begin_with_b_alone():
    assert spans("O I-A I-A B-A I-A I-B".split(), strict=True) == [(3, 5, "A")]
    assert spans("B-A I-A B-A O".split(), strict=True) == spans("B-A I-A B-A O".split())


def test_a_worked_example():
    found = count(split(GUESS), split(TRUE))
    # right: the two of the first sentence and B of the second; predicted besides: I-A after B-B, B-B, and half of A
    assert found.overall() == (3 / 6, 3 / 4, 2 * 3 / (6 + 4))
    assert found.per_type() == {"A": (2 / 4, 2 / 3, 4 / 7, 3), "B": (1 / 2, 1.0, 2 / 3, 1)}
    strict = count(split(GUESS), split(TRUE), strict=True)
    assert strict.overall() == (3 / 5, 3 / 4, 2 * 3 / (5 + 4))


def test_nothing_found_is_zero_and_not_an_error():
    assert count([["O"]], [["O"]]).overall() == (0.0, 0.0, 0.0)
    assert count([["O"]], [["B-A"]]).overall() == (0.0, 0.0, 0.0)


def random_tags(seed, sentences=40):
    rng = random.Random(seed)
    return [rng.choices(["O", "O", "B-A", "I-A", "B-B", "I-B"], k=rng.randint(1, 9)) for _ in range(sentences)]


def test_seqeval_agrees():
    seqeval = pytest.importorskip("seqeval.metrics")
    from seqeval.scheme import IOB2

    true = random_tags(0)
    guess = [[a if random.Random(i).random() < 0.7 else b for i, (a, b) in enumerate(zip(x, y, strict=False))]
             + x[len(y):] for x, y in zip(true, random_tags(1), strict=True)]  # fmt: skip
    assert count(guess, true).overall()[2] == pytest.approx(seqeval.f1_score(true, guess))
    strict = seqeval.f1_score(true, guess, mode="strict", scheme=IOB2)
    assert count(guess, true, strict=True).overall()[2] == pytest.approx(strict)


def test_bootstrap_weights_are_repeated_sentences():
    found = count(split(GUESS), split(TRUE))
    repeated = count(split([GUESS[0], *GUESS[2:] * 2]), split([TRUE[0], *TRUE[2:] * 2]))
    assert found.f1(np.array([1.0, 0.0, 2.0])) == pytest.approx(repeated.overall()[2])


def test_the_interval_holds_the_value():
    true = random_tags(2, 200)
    guess = [["O" if i % 3 == 0 else tag for i, tag in enumerate(tags)] for tags in true]
    found = count(guess, true)
    interval = found.interval()
    assert interval.low < interval.value == found.overall()[2] < interval.high
