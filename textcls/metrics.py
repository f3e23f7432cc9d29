"""Classification metrics from logits, with bootstrap intervals and a paired test. numpy only.

Dimensions: N documents, C classes, R bootstrap resamples.
"""

import dataclasses
import math

import numpy as np

BINS = 15  # of the calibration error
RESAMPLES = 1000


@dataclasses.dataclass(frozen=True)
class Interval:
    """A value with the 2.5 % and 97.5 % points of its bootstrap distribution, where there is one."""

    value: float
    low: float | None = None
    high: float | None = None


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Row-wise log softmax in float64: (N, C) -> (N, C)."""
    shifted = logits.astype(np.float64) - logits.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


class Scores:
    """Logits (N, C) against labels (N,): every metric, on all documents or under bootstrap weights.

    `weights` (N,) says how often each document counts; None counts each once.
    """

    def __init__(self, logits: np.ndarray, labels: np.ndarray):
        assert len(logits) == len(labels) and len(labels), (logits.shape, labels.shape)
        log_probabilities = log_softmax(logits)
        self.labels, self.predicted, self.num_labels = labels, logits.argmax(1), logits.shape[1]
        self.correct = self.predicted == labels
        self.losses = -log_probabilities[np.arange(len(labels)), labels]
        self.confidence = np.exp(log_probabilities.max(1))
        # 15 bins of equal width, (0, 1/15], (1/15, 2/15], … as in Guo et al. (2017)
        self.bins = np.clip(np.ceil(self.confidence * BINS).astype(int) - 1, 0, BINS - 1)

    def accuracy(self, weights=None) -> float:
        return float(np.average(self.correct, weights=weights))

    def nll(self, weights=None) -> float:
        """Mean negative log-likelihood of the true label, in nats."""
        return float(np.average(self.losses, weights=weights))

    def ece(self, weights=None) -> float:
        """Expected calibration error: mean over bins of |accuracy - confidence|, weighted by the bins' documents."""
        weights = np.ones(len(self.labels)) if weights is None else weights
        gaps = np.bincount(self.bins, weights * (self.correct - self.confidence), BINS)
        return float(np.abs(gaps).sum() / weights.sum())

    def confusion(self, weights=None) -> np.ndarray:
        """(C, C): rows are true labels, columns predictions."""
        cells = self.labels * self.num_labels + self.predicted
        return np.bincount(cells, weights, self.num_labels**2).reshape(self.num_labels, self.num_labels)

    def macro_f1(self, weights=None) -> float:
        """Mean F1 over the classes that occur as label or prediction."""
        confusion = self.confusion(weights)
        present = confusion.sum(0) + confusion.sum(1) > 0
        return float(f1(confusion)[present].mean())

    def per_class(self) -> dict[str, np.ndarray]:
        """precision, recall, f1 and support, (C,) each; 0 where a denominator is 0."""
        confusion = self.confusion()
        return {
            "precision": ratio(np.diag(confusion), confusion.sum(0)),
            "recall": ratio(np.diag(confusion), confusion.sum(1)),
            "f1": f1(confusion),
            "support": confusion.sum(1),
        }

    def confused(self, most: int = 10) -> list[tuple[int, int, int]]:
        """(true label, predicted label, documents) of the most frequent confusions."""
        confusion = self.confusion().copy()
        np.fill_diagonal(confusion, 0)
        order = np.argsort(-confusion, axis=None, kind="stable")[:most]
        pairs = [(*np.unravel_index(i, confusion.shape), confusion.flat[i]) for i in order]
        return [(int(true), int(predicted), int(count)) for true, predicted, count in pairs if count > 0]


METRICS = {"accuracy": Scores.accuracy, "macro_f1": Scores.macro_f1, "nll": Scores.nll, "ece": Scores.ece}


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.divide(numerator, denominator, out=np.zeros(len(numerator)), where=denominator > 0)


def f1(confusion: np.ndarray) -> np.ndarray:
    """2 TP / (2 TP + FP + FN) of each class: (C, C) -> (C,)."""
    return ratio(2 * np.diag(confusion), confusion.sum(0) + confusion.sum(1))


def intervals(logits: np.ndarray, labels: np.ndarray, seed: int = 0) -> dict[str, Interval]:
    """Every metric with its 95 % percentile bootstrap interval over documents (Efron and Tibshirani, 1993, ch. 13)."""
    scores, random = Scores(logits, labels), np.random.default_rng(seed)
    resampled = {name: np.empty(RESAMPLES) for name in METRICS}
    for i in range(RESAMPLES):
        weights = np.bincount(random.integers(0, len(labels), len(labels)), minlength=len(labels)).astype(np.float64)
        for name, metric in METRICS.items():
            resampled[name][i] = metric(scores, weights)
    return {
        name: Interval(metric(scores), *map(float, np.percentile(resampled[name], [2.5, 97.5])))
        for name, metric in METRICS.items()
    }


def mcnemar(correct_a: np.ndarray, correct_b: np.ndarray) -> tuple[int, int, float]:
    """(only a right, only b right, p): the exact two-sided test that both err equally often (McNemar, 1947).

    p = min(1, 2 P(X <= min(n_a, n_b))), X binomial(n_a + n_b, 1/2), summed with logarithms of factorials.
    """
    only_a, only_b = int((correct_a & ~correct_b).sum()), int((correct_b & ~correct_a).sum())
    n, k = only_a + only_b, min(only_a, only_b)
    logs = [math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) - n * math.log(2) for i in range(k + 1)]
    return only_a, only_b, min(1.0, 2 * math.fsum(map(math.exp, logs)))


def paired_interval(a: np.ndarray, b: np.ndarray, seed: int = 0) -> Interval:
    """The mean of a - b over N documents with its 95 % bootstrap interval, the same documents drawn for both."""
    difference = a.astype(np.float64) - b
    random, N = np.random.default_rng(seed), len(difference)
    means = [difference[random.integers(0, N, N)].mean() for _ in range(RESAMPLES)]
    return Interval(float(difference.mean()), *map(float, np.percentile(means, [2.5, 97.5])))


def holm(p_values: list[float]) -> list[float]:
    """Corrected for the number of comparisons (Holm, 1979): the chance of any false one stays below each value."""
    order, corrected, largest = np.argsort(p_values, kind="stable"), [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = float(largest)
    return corrected
