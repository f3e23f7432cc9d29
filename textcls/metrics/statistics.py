"""How certain a number is, and whether two runs differ: bootstrap intervals, McNemar's test, Holm's correction.

Dimensions: N items (documents, sentences), M metrics, R bootstrap resamples, of which B are computed with at once.
Weights (..., N) say how often each item counts; a metric of them has their other dimensions (...).
"""

import dataclasses
import math
from collections.abc import Callable, Iterator

import numpy as np

RESAMPLES = 1000
MOST, TOGETHER = 64, 2**16  # resamples, and weights of all of them, at once: so many stay in a processor's cache
NORMAL = 1.959963984540054  # 97.5 % of a normal distribution is below


@dataclasses.dataclass(frozen=True)
class Interval:
    """A value with the 2.5 % and 97.5 % points of its bootstrap distribution, where there is one."""

    value: float
    low: float | None = None
    high: float | None = None


# ---- sums under weights ---------------------------------------------------------------------------------------------


def mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Of the values (..., N) under the weights: (...)."""
    return (weights * values).sum(-1) / weights.sum(-1)


def summed(weights: np.ndarray, places: np.ndarray, size: int) -> np.ndarray:
    """The weights added up at the places (N,) of the items, each below `size`: (..., size)."""
    rows = weights.reshape(-1, weights.shape[-1])
    cells = np.arange(len(rows))[:, None] * size + places
    return np.bincount(cells.ravel(), rows.ravel(), len(rows) * size).reshape(*weights.shape[:-1], size)


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Elementwise; 0 where there is nothing to divide by."""
    zeros = np.zeros(np.shape(denominator))
    return np.divide(numerator, denominator, out=zeros, where=np.asarray(denominator) > 0)[()]


# ---- the bootstrap --------------------------------------------------------------------------------------------------


def resamples(count: int, seed: int) -> Iterator[np.ndarray]:
    """How often each of `count` items is drawn in each of R bootstrap resamples, float64 (B, N) at a time."""
    random, most = np.random.default_rng(seed), min(MOST, max(1, TOGETHER // count))
    for first in range(0, RESAMPLES, most):
        rows = min(most, RESAMPLES - first)
        drawn = random.integers(0, count, (rows, count)) + np.arange(rows)[:, None] * count
        yield np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape).astype(np.float64)


def bootstrap(statistic: Callable[[np.ndarray], np.ndarray], count: int, seed: int = 0) -> list[Interval]:
    """M values with their 95 % percentile bootstrap intervals over N items (Efron and Tibshirani, 1993, ch. 13).
    `statistic(weights (B, N))` -> (B, M)."""
    drawn = np.concatenate([statistic(weights) for weights in resamples(count, seed)])  # (R, M)
    ends = np.percentile(drawn, [2.5, 97.5], axis=0)
    return [Interval(*map(float, row)) for row in zip(statistic(np.ones((1, count)))[0], *ends, strict=True)]


def paired_bootstrap(
    difference: Callable[[np.ndarray], np.ndarray], count: int, seed: int = 0
) -> tuple[Interval, float]:
    """(a difference of two runs with its 95 % interval, two-sided p that there is none), the same items drawn for both
    runs. `difference(weights (B, N))` -> (B,)."""
    values = np.concatenate([difference(weights) for weights in resamples(count, seed)])
    p = 2 * (1 + min((values <= 0).sum(), (values >= 0).sum())) / (1 + RESAMPLES)
    interval = map(float, (difference(np.ones((1, count)))[0], *np.percentile(values, [2.5, 97.5])))
    return Interval(*interval), float(min(1.0, p))


def wilson(successes: int, count: int) -> Interval:
    """A share with its 95 % interval (Wilson, 1927), which holds for few items, and for shares near 0 and 1, too; of no
    item it is all from 0 to 1."""
    if not count:
        return Interval(0.0, 0.0, 1.0)
    share, z2 = successes / count, NORMAL**2
    centre, spread = share + z2 / (2 * count), NORMAL * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2))
    low, high = ((centre + sign * spread) / (1 + z2 / count) for sign in (-1, 1))
    return Interval(share, max(0.0, low), min(1.0, high))


def mcnemar(correct_a: np.ndarray, correct_b: np.ndarray) -> tuple[int, int, float]:
    """(only a right, only b right, p): the exact two-sided test that both err equally often (McNemar, 1947).

    p = min(1, 2 P(X <= min(n_a, n_b))), X binomial(n_a + n_b, 1/2), summed with logarithms of factorials.
    """
    only_a, only_b = int((correct_a & ~correct_b).sum()), int((correct_b & ~correct_a).sum())
    n, k = only_a + only_b, min(only_a, only_b)
    logs = [math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) - n * math.log(2) for i in range(k + 1)]
    return only_a, only_b, min(1.0, 2 * math.fsum(map(math.exp, logs)))


def paired_interval(a: np.ndarray, b: np.ndarray, seed: int = 0) -> Interval:
    """The mean of a - b over N items with its 95 % bootstrap interval, the same items drawn for both."""
    difference = a.astype(np.float64) - b
    return bootstrap(lambda weights: mean(difference, weights)[:, None], len(difference), seed)[0]


def holm(p_values: list[float]) -> list[float]:
    """Corrected for the number of comparisons (Holm, 1979): the chance of any false one stays below each value."""
    order, corrected, largest = np.argsort(p_values, kind="stable"), [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = float(largest)
    return corrected
