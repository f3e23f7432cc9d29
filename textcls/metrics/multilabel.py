"""Metrics of sets of labels from logits and a threshold for each label, with bootstrap intervals; and how the
thresholds are chosen. Dimensions: N documents, C labels, P pairs of a document and one of its labels."""

import dataclasses
from collections.abc import Callable

import numpy as np

from textcls.metrics.classification import Correct
from textcls.metrics.statistics import Interval, bootstrap, mean, paired_bootstrap, ratio

MIDDLE = 0.5  # the threshold where nothing tells a better one


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-logit)) in float64, exact to the last digits at both ends."""
    small = np.exp(-np.abs(logits.astype(np.float64)))
    return np.where(logits >= 0, 1.0, small) / (1.0 + small)


class LabelScores:
    """Logits (N, C) against sets of labels (N, C) bool: every metric, on all documents or under bootstrap weights. A
    document gets the labels whose probability is at least the label's threshold (C,), or the document's own (N, C).

    `weights` (..., N) says how often each document counts; None counts each once.
    """

    def __init__(self, logits: np.ndarray, labels: np.ndarray, thresholds: np.ndarray):
        assert logits.shape == labels.shape and len(labels), (logits.shape, labels.shape)
        assert thresholds.shape in (labels.shape, labels.shape[1:]), (thresholds.shape, labels.shape)
        self.labels, probabilities = labels, sigmoid(logits)
        self.predicted = probabilities >= thresholds
        self.right = (self.predicted == labels).all(1)
        # -log p of what is so: log(1 + exp(x)) of the logit, negative for a label that is there
        self.losses = np.logaddexp(0.0, np.where(labels, -logits, logits).astype(np.float64)).sum(1)
        self.sets = [part.astype(np.float64) for part in (labels & self.predicted, labels, self.predicted)]
        self.ranking = Ranking(probabilities, labels)
        self.ones = np.ones(len(labels))

    def counts(self, weights=None) -> np.ndarray:
        """(3, ..., C): how many documents have a label truly and predicted, truly, predicted."""
        weights = self.ones if weights is None else weights
        return np.stack([weights @ part for part in self.sets])

    def micro_f1(self, weights=None):
        """F1 of all pairs of a document and a label together; 0 where there are none, neither true nor predicted."""
        both, true, predicted = self.counts(weights).sum(-1)
        return ratio(2 * both, true + predicted)

    def f1(self, weights=None) -> np.ndarray:
        """Of each label (..., C); 0 where it is neither there nor predicted."""
        both, true, predicted = self.counts(weights)
        return ratio(2 * both, true + predicted)

    def macro_f1(self, weights=None):
        """Mean F1 over the labels that are somewhere, or predicted somewhere; 0 where none is."""
        _, true, predicted = self.counts(weights)
        return ratio(self.f1(weights).sum(-1), (true + predicted > 0).sum(-1))

    def subset_accuracy(self, weights=None):
        """Share of the documents whose set of labels is predicted exactly."""
        return mean(self.right, self.ones if weights is None else weights)

    def average_precisions(self, weights=None) -> np.ndarray:
        """Of each label (..., C); 0 where no document has it."""
        if weights is not None and weights.ndim > 1:  # a row at a time: of all there are (..., C, N) numbers
            return np.stack([self.average_precisions(row) for row in weights])
        return self.ranking.average_precisions(self.ones if weights is None else weights)

    def mean_average_precision(self, weights=None):
        """Mean over the labels that some document has; 0 where none has any."""
        return ratio(self.average_precisions(weights).sum(-1), (self.counts(weights)[1] > 0).sum(-1))

    def nll(self, weights=None):
        """Mean over documents of the negative log-likelihood of their labels and of the absence of the others, in nats:
        what is minimised."""
        return mean(self.losses, self.ones if weights is None else weights)

    def intervals(self, seed: int = 0) -> tuple[dict[str, Interval], dict[str, list[Interval]]]:
        """({metric: value}, {"f1", "average_precision": a value for each label}) with 95 % bootstrap intervals over
        documents, all from the same draws."""
        C = self.labels.shape[1]

        def values(weights: np.ndarray) -> np.ndarray:
            of_all = np.stack([metric(self, weights) for metric in METRICS.values()], -1)
            return np.concatenate([of_all, self.f1(weights), self.average_precisions(weights)], -1)

        found = bootstrap(values, len(self.labels), seed)
        whole, labels = found[: len(METRICS)], found[len(METRICS) :]
        return dict(zip(METRICS, whole, strict=True)), {"f1": labels[:C], "average_precision": labels[C:]}

    def per_label(self) -> dict[str, np.ndarray]:
        """precision, recall and support, (C,) each; 0 where a denominator is 0."""
        both, true, predicted = self.counts()
        return {"precision": ratio(both, predicted), "recall": ratio(both, true), "support": true}


METRICS: dict[str, Callable] = {
    "micro_f1": LabelScores.micro_f1,
    "macro_f1": LabelScores.macro_f1,
    "subset_accuracy": LabelScores.subset_accuracy,
    "map": LabelScores.mean_average_precision,
    "nll": LabelScores.nll,
}


class Ranking:
    """The documents of each label by their probability (N, C), for average precision under many weights: what does not
    depend on these is computed once."""

    def __init__(self, probabilities: np.ndarray, labels: np.ndarray):
        N, C = labels.shape
        self.order = np.argsort(-probabilities.T, axis=1, kind="stable")  # (C, N)
        ranked = np.take_along_axis(probabilities.T, self.order, 1)
        # Documents of equal probability come together: all of them count at the last one's place.
        ends = np.concatenate([ranked[:, 1:] != ranked[:, :-1], np.ones((C, 1), bool)], 1)
        last = np.where(ends, np.arange(N), N)
        last = np.minimum.accumulate(last[:, ::-1], 1)[:, ::-1]  # (C, N): where the documents equal to this one end
        self.label, place = np.nonzero(np.take_along_axis(labels.T, self.order, 1))  # (P,) each, label by label
        self.document, self.end = self.order[self.label, place], last[self.label, place]
        key = self.label * N + self.end  # rises
        self.upto = np.searchsorted(key, key, side="right")  # how many of the pairs come until then
        self.before = np.searchsorted(self.label, self.label)  # how many are of the labels before
        self.labels = C

    def average_precisions(self, weights: np.ndarray) -> np.ndarray:
        """Under weights (N,) the average precision of each label (C,), 0 where no document has it: the mean over the
        documents that have the label of the precision among those ranked at least as high (Manning et al., 2008,
        ch. 8.4)."""
        above = np.cumsum(weights[self.order], 1)[self.label, self.end]  # (P,)
        own = weights[self.document]
        sums = np.concatenate([[0.0], np.cumsum(own)])
        precision = ratio(sums[self.upto] - sums[self.before], above)
        positive = np.bincount(self.label, own, self.labels)
        return ratio(np.bincount(self.label, own * precision, self.labels), positive)


# ---- thresholds -----------------------------------------------------------------------------------------------------


def choose_thresholds(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """For each label the threshold on its probability that has the best F1 on these documents, (C,) float64: half way
    between two neighbouring probabilities; of several that are equally good the one nearest to 0.5. A label that none
    of the documents has gets the threshold with the best F1 of all labels together; where none has any, 0.5."""
    probabilities = sigmoid(logits)
    common = best_threshold(probabilities.ravel(), labels.ravel())
    columns = zip(probabilities.T, labels.T, strict=True)
    return np.array([best_threshold(p, true) if true.any() else common for p, true in columns], np.float64)


def best_threshold(probabilities: np.ndarray, true: np.ndarray) -> float:
    """Of one label, or of all together: (n,), (n,) bool -> the threshold. What is at least as large is predicted."""
    if not true.any():
        return MIDDLE
    order = np.argsort(-probabilities, kind="stable")
    ranked, both = probabilities[order], np.cumsum(true[order])
    following = np.append(ranked[1:], 0.0)
    between = (ranked + following) / 2
    cuts = np.where(between > following, between, ranked)  # neighbours in float64 have nothing between them
    f1 = 2 * both / (np.arange(1, len(order) + 1) + both[-1])
    f1[ranked == following] = -1.0  # what is equal is predicted together
    best = cuts[f1 == f1.max()]
    return float(best[np.argmin(np.abs(best - MIDDLE))])


# ---- comparisons ----------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class MicroF1:
    """The labels that a run gave N documents, for comparisons with another run on the same ones."""

    scores: LabelScores
    metric = "micro-F1, by a paired bootstrap"

    def against(self, other: "MicroF1", seed: int = 0) -> tuple[Interval, float]:
        """(micro-F1 of this minus that of the other with its 95 % interval, two-sided p), the same documents drawn for
        both."""

        def difference(weights: np.ndarray) -> np.ndarray:
            return self.scores.micro_f1(weights) - other.scores.micro_f1(weights)

        return paired_bootstrap(difference, len(self.scores.labels), seed)


@dataclasses.dataclass(frozen=True)
class WholeSets(Correct):
    """Which of N documents got exactly their labels, for comparisons by McNemar's test."""

    metric = "subset accuracy, by McNemar's test"


def paired(scores: LabelScores) -> tuple[MicroF1, WholeSets]:
    """By what two runs are compared."""
    return MicroF1(scores), WholeSets(scores.right)
