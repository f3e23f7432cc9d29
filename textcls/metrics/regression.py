"""Regression metrics from predicted and true scores, with bootstrap intervals. Dimensions: N documents."""

import dataclasses

import numpy as np

from textcls.metrics.statistics import Interval, bootstrap, mean, paired_bootstrap, ratio, summed


class Ranked:
    """N numbers that can be ranked under weights: from 1, and where some are equal the mean of the ranks they share."""

    def __init__(self, numbers: np.ndarray):
        different, self.place = np.unique(numbers, return_inverse=True)
        self.different = len(different)

    def ranks(self, weights: np.ndarray) -> np.ndarray:
        """(..., N): as if number i stood there `weights[..., i]` times."""
        counts = summed(weights, self.place, self.different)
        return (np.cumsum(counts, -1) - (counts - 1) / 2)[..., self.place]


def correlation(a: np.ndarray, b: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Pearson's: of the products of deviations from the mean, (..., N) and (..., N) -> (...) in [-1, 1]; 0 where either
    is constant over what has a weight."""
    varies = spread(a, weights) * spread(b, weights) > 0
    a, b = (x - mean(x, weights)[..., None] for x in (a, b))
    below = np.sqrt((weights * a**2).sum(-1) * (weights * b**2).sum(-1))
    return np.where(varies, np.clip(ratio((weights * a * b).sum(-1), below), -1.0, 1.0), 0.0)[()]


def spread(numbers: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """How far the largest that has a weight is from the smallest: (..., N) -> (...)."""
    numbers, drawn = np.broadcast_to(numbers, weights.shape), weights > 0
    return numbers.max(-1, where=drawn, initial=-np.inf) - numbers.min(-1, where=drawn, initial=np.inf)


class Fit:
    """Predicted scores (N,) against true ones (N,): every metric, on all documents or under bootstrap weights.

    `weights` (..., N) says how often each document counts; None counts each once.
    """

    def __init__(self, predicted: np.ndarray, true: np.ndarray):
        assert predicted.shape == true.shape and predicted.ndim == 1 and len(true), (predicted.shape, true.shape)
        self.predicted, self.true = predicted.astype(np.float64), true.astype(np.float64)
        self.ranked = Ranked(self.predicted), Ranked(self.true)
        self.ones = np.ones(len(true))

    def spearman(self, weights: np.ndarray | None = None):
        """Pearson's correlation of the ranks (Spearman, 1904)."""
        weights = self.ones if weights is None else weights
        return correlation(*(ranked.ranks(weights) for ranked in self.ranked), weights)

    def pearson(self, weights: np.ndarray | None = None):
        return correlation(self.predicted, self.true, self.ones if weights is None else weights)

    def mse(self, weights: np.ndarray | None = None):
        """Mean squared error."""
        return mean((self.predicted - self.true) ** 2, self.ones if weights is None else weights)

    def mae(self, weights: np.ndarray | None = None):
        """Mean absolute error."""
        return mean(np.abs(self.predicted - self.true), self.ones if weights is None else weights)


METRICS = {"spearman": Fit.spearman, "pearson": Fit.pearson, "mse": Fit.mse, "mae": Fit.mae}


def intervals(predicted: np.ndarray, true: np.ndarray, seed: int = 0) -> dict[str, Interval]:
    """Every metric with its 95 % bootstrap interval over documents."""
    fit = Fit(predicted, true)

    def values(weights: np.ndarray) -> np.ndarray:
        return np.stack([metric(fit, weights) for metric in METRICS.values()], -1)

    return dict(zip(METRICS, bootstrap(values, len(true), seed), strict=True))


@dataclasses.dataclass(frozen=True)
class Predicted:
    """The scores that a run gave N documents, for comparisons with another run on the same ones."""

    fit: Fit
    metric = "Spearman's correlation"

    def against(self, other: "Predicted", seed: int = 0) -> tuple[Interval, float]:
        """(Spearman's correlation of this minus that of the other with its 95 % interval, two-sided p) by drawing the
        same documents for both."""

        def difference(weights: np.ndarray) -> np.ndarray:
            return self.fit.spearman(weights) - other.fit.spearman(weights)

        return paired_bootstrap(difference, len(self.fit.true), seed)
