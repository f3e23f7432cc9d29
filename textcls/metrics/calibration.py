"""Probabilities that mean what they say, and what to leave unanswered. Dimensions: N documents, C classes.

Temperature scaling (Guo et al., 2017, "On calibration of modern neural networks"): logits are divided by one number T
before the softmax, which changes no label. Selective classification (Geifman and El-Yaniv, 2017): of the documents that
are answered, those whose probability reaches a threshold, how many are answered rightly.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from textcls.metrics.classification import BINS, Scores, log_softmax
from textcls.metrics.statistics import Interval, wilson

LEAST, MOST = 0.01, 100.0  # of T, and so of 1 / T
STEPS = 100
COVERAGES = (1.0, 0.95, 0.9, 0.8, 0.7, 0.5)  # that a table shows
Counted = tuple[int, Interval]  # how many documents, and which share of them is right


# ---- temperature ----------------------------------------------------------------------------------------------------


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The T with the least NLL of labels (N,) under softmax(logits (N, C) / T), by Newton's method on b = 1 / T, in
    which the NLL is convex: its slope is the mean of E[z] - z_label, its curvature that of Var[z], under softmax(b z).

    It counts as much as one document that every document would have each of the labels: where no document is wrong, T
    would else be 0. T is 1 where the NLL would not be less with another; in [0.01, 100].
    """
    assert len(logits) == len(labels) and len(labels), (logits.shape, labels.shape)
    z = logits.astype(np.float64)
    z = z - z.mean(1, keepdims=True)
    own = z[np.arange(len(z)), labels]  # the mean of z over all labels is 0
    weight = 1 + 1 / len(z)
    low, high, b = LEAST, MOST, 1.0
    for _ in range(STEPS):
        p = np.exp(log_softmax(b * z))
        mean = (p * z).sum(1)
        slope = weight * mean.sum() - own.sum()
        low, high = (b, high) if slope < 0 else (low, b)
        curvature = weight * ((p * z**2).sum(1) - mean**2).sum()
        step = b - slope / curvature if curvature > 0 else np.inf
        before, b = b, step if low < step < high else (low + high) / 2
        if abs(b - before) < 1e-10 * b:
            break
    return 1.0 if nll(b * z, labels) >= nll(z, labels) else float(1 / b)


def nll(logits: np.ndarray, labels: np.ndarray) -> float:
    return float(-log_softmax(logits)[np.arange(len(labels)), labels].mean())


# ---- reliability ----------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Bin:
    """Documents whose highest probability is above `low` and at most `high`: their mean probability, and which share of
    them is right."""

    low: float
    high: float
    documents: int
    confidence: float
    accuracy: Interval


def reliability(scores: Scores) -> list[Bin]:
    """The bins of the ECE that have documents; the ECE is the mean of |accuracy - confidence| over documents."""
    bins = []
    for number in range(BINS):
        of_bin = scores.bins == number
        if count := int(of_bin.sum()):
            right = wilson(int(scores.correct[of_bin].sum()), count)
            mean = float(scores.confidence[of_bin].mean())
            bins.append(Bin(number / BINS, (number + 1) / BINS, count, mean, right))
    return bins


# ---- leaving documents unanswered -----------------------------------------------------------------------------------


class Selective:
    """N documents by how sure the model is of them: `confidence` (N,) and whether it is right, `correct` (N,) bool."""

    def __init__(self, confidence: Sequence[float], correct: Sequence[bool]):
        order = np.argsort(-np.asarray(confidence, np.float64), kind="stable")
        self.confidence = np.asarray(confidence, np.float64)[order]
        right = np.asarray(correct, np.float64)[order]
        # Documents of equal confidence are answered together, or none of them.
        changes = np.flatnonzero(np.diff(self.confidence)) + 1
        self.counts = np.append(changes, len(order)) if len(order) else changes  # answered at each threshold
        self.right = np.cumsum(right)[self.counts - 1] if len(order) else np.zeros(0)
        self.thresholds = self.confidence[self.counts - 1]

    def at(self, threshold: float) -> Counted:
        """What is answered from a probability on."""
        count = int((self.confidence >= threshold).sum())
        return count, wilson(int(self.right[self.counts == count].sum()), count)

    def covering(self, share: float) -> tuple[float, Counted]:
        """(threshold, what is answered) that answers this share of the documents at least, and as few more as can be.
        """
        place = np.searchsorted(self.counts, share * len(self.confidence) - 1e-9)
        return float(self.thresholds[place]), self.at(self.thresholds[place])

    def reaching(self, accuracy: float) -> tuple[float, Counted] | None:
        """(threshold, what is answered) with the most answers of which this share at least is right; None if there is
        none."""
        places = np.flatnonzero(self.right >= accuracy * self.counts - 1e-9)
        if not len(places):
            return None
        threshold = float(self.thresholds[places[-1]])
        return threshold, self.at(threshold)

    def aurc(self) -> float:
        """The area under the risk-coverage curve: the mean over k = 1 … N of the share of errors among the k documents
        that the model is surest of (Geifman et al., 2019), over all orders of those it is equally sure of."""
        ends = np.concatenate([[0], self.counts])
        errors = np.concatenate([[0], self.counts - self.right])
        k = np.arange(1, len(self.confidence) + 1)
        return float((np.interp(k, ends, errors) / k).mean())
