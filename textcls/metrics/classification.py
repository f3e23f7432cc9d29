"""Classification metrics from logits, with bootstrap intervals. Dimensions: N documents, C classes."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from textcls.metrics.statistics import (
    Interval,
    bootstrap,
    mcnemar,
    mean,
    paired_bootstrap,
    paired_interval,
    ratio,
    summed,
)

BINS = 15  # of the calibration error


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Row-wise log softmax in float64: (N, C) -> (N, C)."""
    shifted = logits.astype(np.float64) - logits.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


class Scores:
    """Logits (N, C) against labels (N,): every metric, on all documents or under bootstrap weights.

    `weights` (..., N) says how often each document counts; None counts each once.
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
        self.ones = np.ones(len(labels))

    def accuracy(self, weights=None):
        return mean(self.correct, self.ones if weights is None else weights)

    def nll(self, weights=None):
        """Mean negative log-likelihood of the true label, in nats."""
        return mean(self.losses, self.ones if weights is None else weights)

    def ece(self, weights=None):
        """Expected calibration error: mean over bins of |accuracy - confidence|, weighted by the bins' documents."""
        weights = self.ones if weights is None else weights
        gaps = summed(weights * (self.correct - self.confidence), self.bins, BINS)
        return np.abs(gaps).sum(-1) / weights.sum(-1)

    def counts(self, weights=None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(documents of each class that are predicted as it, that are of it, that are predicted as it), (..., C) each.
        """
        weights, C = self.ones if weights is None else weights, self.num_labels
        right = summed(weights * self.correct, self.labels, C)
        return right, summed(weights, self.labels, C), summed(weights, self.predicted, C)

    def confusion(self) -> np.ndarray:
        """Documents (C, C): rows are true labels, columns predictions."""
        cells = self.labels * self.num_labels + self.predicted
        return np.bincount(cells, minlength=self.num_labels**2).reshape(self.num_labels, self.num_labels)

    def f1(self, weights=None) -> np.ndarray:
        """2 TP / (2 TP + FP + FN) of each class (..., C); 0 where it is neither label nor prediction."""
        right, true, predicted = self.counts(weights)
        return ratio(2 * right, true + predicted)

    def macro_f1(self, weights=None):
        """Mean F1 over the classes that occur as label or prediction."""
        right, true, predicted = self.counts(weights)
        both = true + predicted
        return ratio(2 * right, both).sum(-1) / (both > 0).sum(-1)

    def matthews(self, weights=None):
        """Matthews' correlation of labels and predictions (1975), for any number of classes as Gorodkin (2004) has it;
        0 where either of them is always the same."""
        right, true, predicted = self.counts(weights)
        total = true.sum(-1)
        spread = (total**2 - (true**2).sum(-1)) * (total**2 - (predicted**2).sum(-1))
        return ratio(right.sum(-1) * total - (true * predicted).sum(-1), np.sqrt(spread))

    def positive_f1(self, weights=None):
        """F1 of the second of two classes, such as 1 of 0 and 1; 0 where it is neither label nor prediction."""
        assert self.num_labels == 2, self.num_labels
        return self.f1(weights)[..., 1]

    def per_class(self) -> dict[str, np.ndarray]:
        """precision, recall, f1 and support, (C,) each; 0 where a denominator is 0."""
        right, true, predicted = self.counts()
        support = true.astype(np.int64)
        return {"precision": ratio(right, predicted), "recall": ratio(right, true), "f1": self.f1(), "support": support}

    def class_intervals(self, seed: int = 0) -> list[dict[str, Interval]]:
        """precision, recall and f1 of each class with their 95 % bootstrap intervals over documents."""
        kinds = ("precision", "recall", "f1")

        def values(weights: np.ndarray) -> np.ndarray:
            right, true, predicted = self.counts(weights)
            return np.concatenate([ratio(right, predicted), ratio(right, true), ratio(2 * right, true + predicted)], -1)

        found = bootstrap(values, len(self.labels), seed)
        C = self.num_labels
        return [{kind: found[k * C + c] for k, kind in enumerate(kinds)} for c in range(C)]

    def confused(self, most: int = 10) -> list[tuple[int, int, int]]:
        """(true label, predicted label, documents) of the most frequent confusions."""
        confusion = self.confusion().copy()
        np.fill_diagonal(confusion, 0)
        order = np.argsort(-confusion, axis=None, kind="stable")[:most]
        pairs = [(*np.unravel_index(i, confusion.shape), confusion.flat[i]) for i in order]
        return [(int(true), int(predicted), int(count)) for true, predicted, count in pairs if count > 0]


METRICS = {"accuracy": Scores.accuracy, "macro_f1": Scores.macro_f1, "nll": Scores.nll, "ece": Scores.ece}
ASKED = {"matthews": Scores.matthews, "positive_f1": Scores.positive_f1}  # reported where data or user ask for them
IN_WORDS = {"matthews": "Matthews' correlation", "positive_f1": "F1 of the positive class"}


def intervals(logits: np.ndarray, labels: np.ndarray, seed: int = 0, first: Sequence[str] = ()) -> dict[str, Interval]:
    """Every metric of METRICS with its 95 % bootstrap interval over documents; those called `first` come before the
    others, and may be of ASKED."""
    scores, known = Scores(logits, labels), METRICS | ASKED
    metrics = {name: known[name] for name in dict.fromkeys((*first, *METRICS))}

    def values(weights: np.ndarray) -> np.ndarray:
        return np.stack([metric(scores, weights) for metric in metrics.values()], -1)

    return dict(zip(metrics, bootstrap(values, len(labels), seed), strict=True))


@dataclasses.dataclass(frozen=True)
class Correct:
    """Which of N documents were classified rightly, for comparisons document by document."""

    right: np.ndarray  # (N,) bool
    metric = "accuracy"

    def against(self, other: "Correct") -> tuple[Interval, float]:
        """(how much more accurate this is, two-sided p of McNemar's exact test)."""
        return paired_interval(self.right, other.right), mcnemar(self.right, other.right)[2]


@dataclasses.dataclass(frozen=True)
class AskedScores:
    """Scores, for comparisons by `name`, one of ASKED."""

    scores: Scores
    name: str

    @property
    def metric(self) -> str:
        return f"{IN_WORDS[self.name]}, by a paired bootstrap"

    def against(self, other: "AskedScores", seed: int = 0) -> tuple[Interval, float]:
        """(the metric of this minus that of the other with its 95 % interval, two-sided p), the same documents drawn
        for both."""

        def difference(weights: np.ndarray) -> np.ndarray:
            return ASKED[self.name](self.scores, weights) - ASKED[self.name](other.scores, weights)

        return paired_bootstrap(difference, len(self.scores.labels), seed)


def paired(scores: Scores, first: Sequence[str]) -> tuple[AskedScores | Correct, ...]:
    """By what two runs are compared: the first of the metrics that were asked for, if it is one of ASKED, and last which
    documents are right."""
    return (*(AskedScores(scores, name) for name in first[:1] if name in ASKED), Correct(scores.correct))
