"""How well answers agree with gold answers: exact match (EM) and F1, by the rules of SQuAD's evaluate-v1.1.py
(Rajpurkar et al., 2016, arXiv:1606.05250, section 6.1), as shares of 1.

Both compare what is left of a text after lower-casing, without ASCII punctuation, articles and surplus blanks. F1 is
that of the words, each as often as it occurs. Of several gold answers the best counts, for each of the two on its own.

Dimensions: N questions, U units that are drawn together in the bootstrap (articles, or the questions themselves).
"""

import dataclasses
import re
import string
from collections import Counter
from collections.abc import Sequence

import numpy as np

from textcls.metrics.classification import Correct
from textcls.metrics.statistics import Interval, bootstrap, paired_bootstrap

ARTICLES = re.compile(r"\b(a|an|the)\b")
FEW = 10  # articles
PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalise(text: str) -> str:
    """Lower case, no ASCII punctuation, no articles, one blank between words, in this order."""
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


def f1(predicted: Sequence[str], gold: Sequence[str]) -> float:
    """Harmonic mean of precision and recall of words; 0 where they share none."""
    common = sum((Counter(predicted) & Counter(gold)).values())
    return 2 * common / (len(predicted) + len(gold)) if common else 0.0


def score(prediction: str | None, golds: Sequence[str]) -> tuple[bool, float]:
    """(exact match, F1) with the best of the gold answers; (False, 0) for a question that was not answered, None."""
    if prediction is None:
        return False, 0.0
    ours, theirs = normalise(prediction), [normalise(gold) for gold in golds]
    return ours in theirs, max(f1(ours.split(), gold.split()) for gold in theirs)


@dataclasses.dataclass(frozen=True)
class Scores:
    """N answers: `exact` bool (N,), `f1` (N,), and the article that each question is about, (N,) int, or None where
    there are not several."""

    exact: np.ndarray
    f1: np.ndarray
    articles: np.ndarray | None = None

    @classmethod
    def of(
        cls, predictions: Sequence[str | None], golds: Sequence[Sequence[str]], titles: Sequence[str] | None = None
    ) -> "Scores":
        """`titles` (N,) name the articles; a question whose title is "" is of none. Where one is, or there are fewer
        articles than a bootstrap can draw from (FEW), all questions count singly."""
        pairs = [score(*both) for both in zip(predictions, golds, strict=True)]
        exact, values = np.array([e for e, _ in pairs], bool), np.array([f for _, f in pairs], np.float64)
        distinct = sorted(set(titles or ()))
        if len(distinct) < FEW or distinct[0] == "":
            return cls(exact, values)
        numbers = {title: i for i, title in enumerate(distinct)}
        return cls(exact, values, np.array([numbers[title] for title in titles], np.int64))

    @property
    def units(self) -> str:
        """What the bootstrap draws."""
        return "questions" if self.articles is None else "articles"

    def intervals(self, seed: int = 0) -> dict[str, Interval]:
        """F1 and EM with their 95 % percentile bootstrap intervals, articles drawn whole where there are several:
        questions about one article are not independent of each other."""
        values = np.stack([self.f1, self.exact])
        both = bootstrap(means(values, self.articles), self.count, seed)
        return dict(zip(("answer_f1", "exact_match"), both, strict=True))

    @property
    def count(self) -> int:
        """How many units there are."""
        return len(self.f1) if self.articles is None else int(self.articles.max()) + 1


def means(values: np.ndarray, articles: np.ndarray | None):
    """What the bootstrap asks: weights of the units (B, U) -> means over questions of `values` (M, N): (B, M)."""
    sums, counts = values, np.ones(values.shape[1])
    if articles is not None:
        counts = np.bincount(articles).astype(np.float64)
        sums = np.stack([np.bincount(articles, row) for row in values])  # (M, U)

    return lambda weights: weights @ sums.T / (weights @ counts)[:, None]


@dataclasses.dataclass(frozen=True)
class F1Scores:
    """Scores, for comparisons by F1."""

    scores: Scores

    @property
    def metric(self) -> str:
        return f"F1, by a paired bootstrap over {self.scores.units}"

    def against(self, other: "F1Scores", seed: int = 0) -> tuple[Interval, float]:
        """(F1 of this minus that of the other with its 95 % interval, two-sided p), the same units drawn for both."""
        difference = means((self.scores.f1 - other.scores.f1)[None], self.scores.articles)
        return paired_bootstrap(lambda weights: difference(weights)[:, 0], self.scores.count, seed)


@dataclasses.dataclass(frozen=True)
class ExactMatches(Correct):
    """Which of N questions were answered exactly, for comparisons by McNemar's test, which takes them singly."""

    metric = "EM, by McNemar's test over questions"
