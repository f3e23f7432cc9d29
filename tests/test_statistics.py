"""Bootstrap intervals against a loop with the same draws; runs against each other; McNemar's test and Holm's steps."""

import itertools

import numpy as np
import pytest

from tests.test_entities import random_tags
from textcls.metrics.classification import AskedScores, Correct, Scores
from textcls.metrics.entities import Counts, count
from textcls.metrics.statistics import RESAMPLES, Interval, bootstrap, holm, mcnemar, mean, paired_interval


def drawn(items: int, seed: int = 0) -> list[np.ndarray]:
    """The numbers of the items in each resample, those that come twice twice."""
    random = np.random.default_rng(seed)
    return [random.integers(0, items, items) for _ in range(RESAMPLES)]


def between(values: list[float]) -> tuple[float, float]:
    """The points below which 2.5 % and 97.5 % of the values lie, on the line between neighbours."""
    ordered, points = sorted(values), []
    for share in (0.025, 0.975):
        place = share * (len(ordered) - 1)
        before = int(place)
        points.append(ordered[before] + (place - before) * (ordered[before + 1] - ordered[before]))
    return tuple(points)


@pytest.mark.parametrize("seed", [0, 3])
def test_the_bootstrap_is_a_loop_over_resamples(seed):
    """Mean and variance of numbers: of the drawn ones, each as often as it is drawn."""
    numbers = np.random.default_rng(1).normal(size=60)

    def statistic(weights):
        first = mean(numbers, weights)
        return np.stack([first, mean((numbers - first[:, None]) ** 2, weights)], -1)

    found = bootstrap(statistic, len(numbers), seed)
    for interval, definition in zip(found, (np.mean, np.var), strict=True):
        low, high = between([definition(numbers[items]) for items in drawn(len(numbers), seed)])
        assert interval.value == pytest.approx(definition(numbers), abs=1e-12)
        assert (interval.low, interval.high) == pytest.approx((low, high), abs=1e-12)


def test_paired_interval_knows_that_the_documents_are_the_same():
    random = np.random.default_rng(0)
    b = random.random(400) < 0.6
    a = b.copy()
    a[:8] = True  # a differs from b in a few documents only
    found = paired_interval(a, b)
    assert found.value == pytest.approx(a.mean() - b.mean())
    assert found.low <= found.value <= found.high
    unpaired = np.sqrt((a.var() + b.var()) / 400)
    assert found.high - found.low < unpaired  # far narrower than two independent samples would give
    assert paired_interval(a, a) == paired_interval(b, b)


# ---- runs against each other ----------------------------------------------------------------------------------------


def mirrored(interval: Interval) -> Interval:
    return Interval(-interval.value, -interval.high, -interval.low)


def test_classifiers_are_compared_on_the_same_documents():
    random = np.random.default_rng(0)
    a, b = random.random(80) < 0.8, random.random(80) < 0.6
    difference, p = Correct(a).against(Correct(b))
    assert difference.value == pytest.approx(a.mean() - b.mean(), abs=1e-12)
    expected = between([a[items].mean() - b[items].mean() for items in drawn(80)])
    assert (difference.low, difference.high) == pytest.approx(expected, abs=1e-12)
    assert p == mcnemar(a, b)[2] < 0.05
    assert Correct(b).against(Correct(a)) == (mirrored(difference), p)
    assert Correct(a).against(Correct(a)) == (Interval(0.0, 0.0, 0.0), 1.0)


@pytest.mark.parametrize("name, of_cells", [
    ("matthews", lambda tp, fp, fn, tn: (tp * tn - fp * fn) / ((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)) ** 0.5),
    ("positive_f1", lambda tp, fp, fn, tn: 2 * tp / (2 * tp + fp + fn)),
])  # fmt: skip
def test_classifiers_are_compared_by_what_their_corpus_is_judged_by(name, of_cells):
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 60)
    guesses = [np.where(random.random(60) < right, labels, 1 - labels) for right in (0.85, 0.6)]

    def score(guess: np.ndarray, items) -> float:
        pairs = list(zip(guess[items].tolist(), labels[items].tolist(), strict=True))
        return of_cells(*(pairs.count(cell) for cell in ((1, 1), (1, 0), (0, 1), (0, 0))))

    a, b = (AskedScores(Scores(np.eye(2)[guess], labels), name) for guess in guesses)
    difference, p = a.against(b)
    values = [score(guesses[0], items) - score(guesses[1], items) for items in drawn(60)]
    assert difference.value == pytest.approx(score(guesses[0], slice(None)) - score(guesses[1], slice(None)), abs=1e-12)
    assert (difference.low, difference.high) == pytest.approx(between(values), abs=1e-12)
    assert p == pytest.approx(2 * (1 + sum(value <= 0 for value in values)) / (1 + RESAMPLES), abs=1e-12)
    assert b.against(a)[0].value == -difference.value and b.against(a)[1] == p and a.against(a)[1] == 1.0


def taggers() -> tuple[Counts, Counts]:
    """Two that find much the same entities in the same sentences, the first one a few more."""
    true, noise = random_tags(3), random_tags(4)
    noise = [(x * 9)[: len(y)] for x, y in zip(noise, true, strict=True)]
    better = [x if i % 13 else y for i, (x, y) in enumerate(zip(noise, true, strict=True))]
    return count(better, true), count(noise, true)


def test_taggers_are_compared_on_the_same_sentences():
    a, b = taggers()

    def f1(counts: Counts, items: np.ndarray) -> float:
        """Of the drawn sentences as if they were all there is."""
        return Counts(counts.correct[items], counts.predicted[items], counts.true[items], counts.types).overall()[2]

    difference, p = a.against(b)
    values = [f1(a, items) - f1(b, items) for items in drawn(len(a.true))]
    assert difference.value == pytest.approx(a.overall()[2] - b.overall()[2], abs=1e-12)
    assert (difference.low, difference.high) == pytest.approx(between(values), abs=1e-12)
    beyond = min(sum(value <= 0 for value in values), sum(value >= 0 for value in values))
    assert beyond > 0 and p == pytest.approx(2 * (1 + beyond) / (1 + RESAMPLES))
    back, same = b.against(a)
    assert vars(back) == pytest.approx(vars(mirrored(difference)), abs=1e-12) and same == p


def test_paired_difference_of_equal_taggers_is_nothing():
    true, guess = random_tags(3), random_tags(4)
    guess = [(x * 9)[: len(y)] for x, y in zip(guess, true, strict=True)]
    same, p = count(guess, true).against(count(guess, true))
    assert (same.value, same.low, same.high, p) == (0.0, 0.0, 0.0, 1.0)
    better, p = count(true, true).against(count(guess, true))
    assert better.low > 0 and p == pytest.approx(2 / (1 + RESAMPLES))


# ---- tests and corrections ------------------------------------------------------------------------------------------


def test_mcnemar_against_enumeration():
    for only_a, only_b in itertools.product(range(6), range(6)):
        a = np.array([True] * only_a + [False] * only_b + [True, False])
        b = np.array([False] * only_a + [True] * only_b + [True, False])
        n = only_a + only_b
        at_least_as_odd = sum(
            abs(2 * sum(coins) - n) >= abs(only_a - only_b) for coins in itertools.product((0, 1), repeat=n)
        )
        assert mcnemar(a, b) == (only_a, only_b, pytest.approx(at_least_as_odd / 2**n))


def test_mcnemar_with_many_documents():
    a = np.arange(20_000) < 10_300
    assert mcnemar(a, ~a)[2] == pytest.approx(2.2e-5, rel=0.1)


def test_holm_by_hand():
    """Holm's own steps: the smallest times 3, the next times 2, and never below the one before."""
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([0.2]) == pytest.approx([0.2])
