"""Which labels look wrong: confident learning (Northcutt, Jiang and Chuang, 2021, JAIR 70, section 3).

Dimensions: N documents, C classes. `labels` (N,) are those that were given; `probabilities` (N, C) must come from
models that were not trained on the documents.
"""

import dataclasses

import numpy as np

ROUNDING = 1e-9  # a document is as confident as a mean of equal values, whatever the mean was rounded to


@dataclasses.dataclass(frozen=True)
class Confident:
    """`thresholds` (C,); `likely` (N,): the class that each document is confidently of, -1 where there is none;
    `counts` (C, C), the confident joint: how many given label i are likely of class j; `joint` (C, C), its estimate of
    the joint distribution of given and true labels; `suspicious`: the documents off the diagonal, the worst first."""

    thresholds: np.ndarray
    likely: np.ndarray
    counts: np.ndarray
    joint: np.ndarray
    suspicious: np.ndarray

    @property
    def wrong(self) -> float:
        """The estimated share of wrong labels."""
        return float(1 - np.trace(self.joint))


def confident_learning(probabilities: np.ndarray, labels: np.ndarray) -> Confident:
    probabilities = probabilities.astype(np.float64)
    limits = thresholds(probabilities, labels)
    likely = likely_classes(probabilities, limits)
    counts = confident_joint(labels, likely, len(limits))
    found = np.flatnonzero((likely >= 0) & (likely != labels))
    worst_first = found[np.argsort(margins(probabilities, labels)[found], kind="stable")]
    return Confident(limits, likely, counts, calibrated(counts, labels), worst_first)


def confident_labels(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Of several labels a document the pairs of a document and a label that look wrong, (P, 2), the worst first:
    probabilities (N, L), labels bool (N, L). Whether a document has a label is a question of two classes, and each label
    one of its own; of a label that all documents have, or none, nothing is known."""
    pairs, given = [np.empty((0, 2), np.int64)], np.where(labels, probabilities, 1 - probabilities)
    for number in np.flatnonzero(labels.any(0) & ~labels.all(0)):
        there = probabilities[:, number]
        found = confident_learning(np.stack([1 - there, there], 1), labels[:, number].astype(np.int64)).suspicious
        pairs.append(np.stack([found, np.full(len(found), number)], 1))
    every = np.concatenate(pairs)
    return every[np.argsort(given[every[:, 0], every[:, 1]], kind="stable")]


def thresholds(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """t_j (C,), equation 2: the mean probability of class j over the documents labelled j. Every class has some."""
    own = probabilities[np.arange(len(labels)), labels]
    classes = probabilities.shape[1]
    return np.bincount(labels, own, classes) / np.bincount(labels, minlength=classes)


def likely_classes(probabilities: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """(N,): of the classes whose probability is at least their threshold the most probable one; -1 where none is."""
    reached = probabilities >= limits - ROUNDING
    return np.where(reached.any(1), np.where(reached, probabilities, -1.0).argmax(1), -1)


def confident_joint(labels: np.ndarray, likely: np.ndarray, classes: int) -> np.ndarray:
    """C (C, C), equation 1: rows are given labels, columns likely classes; documents without one are not counted."""
    kept = likely >= 0
    return np.bincount(labels[kept] * classes + likely[kept], minlength=classes**2).reshape(classes, classes)


def calibrated(counts: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Q (C, C), equation 3: the counts with their rows scaled to the number of documents of each label, all summing
    to 1. Of a label with no confident document nothing is known: it is taken as right."""
    given = np.bincount(labels, minlength=len(counts))
    known = np.where(counts.sum(1, keepdims=True) > 0, counts, np.diag(given))
    scaled = known / np.maximum(known.sum(1, keepdims=True), 1) * given[:, None]
    return scaled / scaled.sum()


def margins(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(N,): the probability of the given label less that of the most probable other class."""
    rows, others = np.arange(len(labels)), probabilities.copy()
    others[rows, labels] = -np.inf
    return probabilities[rows, labels] - others.max(1)
