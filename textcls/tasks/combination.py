"""What it means to combine classifiers, and what to combine models that give several labels: the same names in both.

Dimensions: N documents, M members, C classes or labels.
"""

import numpy as np
import torch
from torch.nn import functional as F

from textcls.data.corpus import Corpus
from textcls.metrics import classification as of_classes
from textcls.metrics import multilabel as of_labels
from textcls.metrics.classification import log_softmax
from textcls.models.ensemble import ENSEMBLES, LearnedEnsemble, WeightedOdds
from textcls.models.heads import with_thresholds
from textcls.report.compare import Judged, Metrics
from textcls.runtime.errors import InputError
from textcls.tasks import classification, multilabel
from textcls.tasks.base import Predictor


class Classes:
    """One class a document: softmax, cross-entropy."""

    MAIN = "accuracy"  # the metric by which members are ranked
    POOLED = "log-probabilities"  # what a weighted ensemble adds up
    load = staticmethod(classification.load)
    loss = staticmethod(F.cross_entropy)

    @staticmethod
    def kept_of_folds(N: int, C: int, K: int) -> dict[str, tuple[tuple, type]]:
        """Shape and kind of what is kept of N documents and K folds beside the logits (N, C)."""
        return {"labels": ((N,), np.int64), "temperatures": ((K,), np.float64)}

    @staticmethod
    def build(combine: str, members: int, labels: int) -> torch.nn.Module:
        return ENSEMBLES[combine](members, labels)

    @staticmethod
    def probabilities(logits: np.ndarray) -> np.ndarray:
        return np.exp(log_softmax(logits))

    @staticmethod
    def logits(probabilities: np.ndarray) -> np.ndarray:
        """The reverse, but for a constant."""
        return np.log(probabilities)

    @staticmethod
    def settle(model: torch.nn.Module, logits: np.ndarray, labels: np.ndarray) -> None:
        """There is nothing to choose once the model is fitted: its logits (N, C) on the dev documents say all."""

    @staticmethod
    def thresholds(member: Predictor, columns: list[int]) -> None:
        """Of a member, in the order of the ensemble's labels: there are none."""

    @staticmethod
    def judge(
        dev: np.ndarray, test: np.ndarray, corpus: Corpus, known: Metrics | None = None,
        thresholds: np.ndarray | None = None,
    ) -> Judged:  # fmt: skip
        """How good logits (N, C) of the test documents are, last for comparisons which are right; `known` are their
        metrics, where these need not be computed again."""
        pair, first = (test, corpus.test.labels), classification.asked_for(corpus.facts)
        return known or of_classes.intervals(*pair, first=first), of_classes.paired(of_classes.Scores(*pair), first)


class SeveralLabels:
    """Several labels a document: a sigmoid and a threshold for each of them."""

    MAIN = "micro_f1"
    POOLED = "log-odds"
    load = staticmethod(multilabel.load)
    probabilities = staticmethod(of_labels.sigmoid)
    MODELS = {"learned": LearnedEnsemble, "weighted": WeightedOdds}

    @staticmethod
    def kept_of_folds(N: int, C: int, K: int) -> dict[str, tuple[tuple, type]]:
        return {"labels": ((N, C), np.bool_), "thresholds": ((K, C), np.float64)}

    @staticmethod
    def loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return multilabel.label_loss(logits, labels) / len(labels)

    @staticmethod
    def build(combine: str, members: int, labels: int) -> torch.nn.Module:
        return with_thresholds(SeveralLabels.MODELS[combine](members, labels), labels)

    @staticmethod
    def logits(probabilities: np.ndarray) -> np.ndarray:
        return np.log(probabilities) - np.log1p(-np.minimum(probabilities, 1 - 1e-16))

    @staticmethod
    def settle(model: torch.nn.Module, logits: np.ndarray, labels: np.ndarray) -> None:
        """Choose the thresholds by the fitted model's logits on the dev documents."""
        model.thresholds.copy_(torch.from_numpy(of_labels.choose_thresholds(logits, labels)))

    @staticmethod
    def thresholds(member: "multilabel.Predictor", columns: list[int]) -> np.ndarray:
        return member.thresholds[columns]

    @staticmethod
    def judge(
        dev: np.ndarray, test: np.ndarray, corpus: Corpus, known: Metrics | None = None,
        thresholds: np.ndarray | None = None,
    ) -> Judged:  # fmt: skip
        """The same at `thresholds` (C,), or where there are none at those chosen by the logits (N, C) of the dev
        documents."""
        if thresholds is None:
            thresholds = of_labels.choose_thresholds(dev, corpus.dev.labels)
        scores = of_labels.LabelScores(test, corpus.test.labels, thresholds)
        return known or scores.intervals()[0], of_labels.paired(scores)


Kind = type[Classes] | type[SeveralLabels]


def kind_of(member: Predictor) -> Kind:
    """What a member gives. Raises InputError for a run of another task."""
    for kind, predictor in ((Classes, classification.Predictor), (SeveralLabels, multilabel.Predictor)):
        if isinstance(member, predictor):
            return kind
    raise InputError(f"{member.run.folder}: a run of --task {member.config.task}; an ensemble combines classifiers")
