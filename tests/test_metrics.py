import math

import numpy as np
import pytest

from textcls.metrics.classification import BINS, Scores, intervals, log_softmax


def random_scores(n=200, c=4, seed=0, sharp=1.0):
    random = np.random.default_rng(seed)
    labels = random.integers(0, c, n)
    logits = random.normal(size=(n, c)).astype(np.float32) * 2
    logits[np.arange(n), labels] += sharp
    return Scores(logits, labels), logits, labels


def test_against_definitions_one_document_at_a_time():
    scores, logits, labels = random_scores()
    n, c = logits.shape
    probabilities = []
    for row in logits.astype(float):
        e = [math.exp(x) for x in row]
        probabilities.append([x / sum(e) for x in e])
    guesses = [max(range(c), key=lambda k: p[k]) for p in probabilities]
    assert scores.accuracy() == pytest.approx(sum(g == y for g, y in zip(guesses, labels, strict=True)) / n)
    assert scores.nll() == pytest.approx(sum(-math.log(p[y]) for p, y in zip(probabilities, labels, strict=True)) / n)
    f1 = []
    for k in range(c):
        tp = sum(g == k == y for g, y in zip(guesses, labels, strict=True))
        predicted, actual = sum(g == k for g in guesses), sum(y == k for y in labels)
        precision, recall = tp / predicted, tp / actual
        f1.append(2 * precision * recall / (precision + recall))
        assert scores.per_class()["precision"][k] == pytest.approx(precision)
        assert scores.per_class()["recall"][k] == pytest.approx(recall)
        assert scores.per_class()["support"][k] == actual
    assert scores.macro_f1() == pytest.approx(sum(f1) / c)
    ece = 0.0
    for b in range(BINS):
        inside = [i for i in range(n) if b / BINS < max(probabilities[i]) <= (b + 1) / BINS]
        if inside:
            accuracy = sum(guesses[i] == labels[i] for i in inside) / len(inside)
            confidence = sum(max(probabilities[i]) for i in inside) / len(inside)
            ece += len(inside) / n * abs(accuracy - confidence)
    assert scores.ece() == pytest.approx(ece)


def test_equals_scikit_learn():
    theirs = pytest.importorskip("sklearn.metrics")
    scores, logits, labels = random_scores(seed=3, sharp=0.0)
    guesses = logits.argmax(1)
    assert scores.accuracy() == pytest.approx(theirs.accuracy_score(labels, guesses))
    assert scores.macro_f1() == pytest.approx(theirs.f1_score(labels, guesses, average="macro"))
    assert scores.nll() == pytest.approx(theirs.log_loss(labels, np.exp(log_softmax(logits))))
    assert np.array_equal(scores.confusion(), theirs.confusion_matrix(labels, guesses))


def two_classes(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(logits, labels), with ties among the logits, and where `seed` is 3 or 4 one class alone."""
    random = np.random.default_rng(seed)
    logits, labels = random.integers(-1, 3, (n, 2)).astype(np.float32), random.integers(0, 2, n)
    return logits, labels * (seed != 3) | (seed == 4)


@pytest.mark.parametrize("seed", range(5))
def test_matthews_and_f1_of_the_positive_class_from_the_counts(seed):
    logits, labels = two_classes(40, seed)
    scores, guesses = Scores(logits, labels), logits.argmax(1)
    counts = {(y, g): int(((labels == y) & (guesses == g)).sum()) for y in (0, 1) for g in (0, 1)}
    tp, tn, fp, fn = counts[1, 1], counts[0, 0], counts[0, 1], counts[1, 0]
    below = math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    assert scores.matthews() == pytest.approx((tp * tn - fp * fn) / below if below else 0.0, abs=1e-12)
    assert scores.positive_f1() == pytest.approx(2 * tp / (2 * tp + fp + fn))


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("seed", range(4))
def test_matthews_and_f1_are_scikit_learns(classes, seed):
    theirs = pytest.importorskip("sklearn.metrics")
    scores, logits, labels = random_scores(c=classes, seed=seed, sharp=seed / 2)
    guesses = logits.argmax(1)
    assert scores.matthews() == pytest.approx(theirs.matthews_corrcoef(labels, guesses), abs=1e-12)
    if classes == 2:
        assert scores.positive_f1() == pytest.approx(theirs.f1_score(labels, guesses))


def test_nothing_is_known_of_a_constant():
    """As scikit-learn has it: 0."""
    logits = np.array([[1, 0], [1, 0], [1, 0]], np.float32)
    assert Scores(logits, np.array([0, 1, 0])).matthews() == 0 and Scores(logits, np.array([0, 1, 0])).positive_f1() == 0
    assert Scores(logits, np.array([0, 0, 0])).matthews() == 0 and Scores(-logits, np.array([0, 0, 1])).matthews() == 0
    many = Scores(np.tile(np.eye(2, dtype=np.float32), (200_000, 1)), np.tile([0, 1], 200_000))
    assert many.matthews() == pytest.approx(1.0)  # no overflow in the products of counts


def test_metrics_that_are_asked_for_leave_the_others_as_they_are():
    _, logits, labels = random_scores(n=50, c=2)
    asked = intervals(logits, labels, first=("matthews", "accuracy"))
    assert list(asked) == ["matthews", "accuracy", "macro_f1", "nll", "ece"]
    assert intervals(logits, labels) == {name: asked[name] for name in ("accuracy", "macro_f1", "nll", "ece")}
    assert asked["matthews"].low < asked["matthews"].value < asked["matthews"].high


def test_weights_are_repetitions_for_two_classes_too():
    logits, labels = two_classes(30, 0)
    weights = np.random.default_rng(1).integers(0, 4, 30)
    rows = np.repeat(np.arange(30), weights)
    repeated = Scores(logits[rows], labels[rows])
    for name in ("matthews", "positive_f1"):
        assert getattr(Scores(logits, labels), name)(weights.astype(float)) == pytest.approx(getattr(repeated, name)())


def test_weights_are_repetitions():
    scores, logits, labels = random_scores(n=30)
    weights = np.random.default_rng(1).integers(0, 4, 30)
    rows = np.repeat(np.arange(30), weights)
    repeated = Scores(logits[rows], labels[rows])
    for name in ("accuracy", "nll", "ece", "macro_f1"):
        assert getattr(scores, name)(weights.astype(float)) == pytest.approx(getattr(repeated, name)()), name


def test_classes_that_never_occur_do_not_count():
    logits = np.array([[9, 0, 0, 0], [0, 9, 0, 0], [0, 9, 0, 0]], np.float32)
    scores = Scores(logits, np.array([0, 1, 0]))
    assert scores.macro_f1() == pytest.approx((2 / 3 + 2 / 3) / 2)
    assert scores.per_class()["f1"].tolist()[2:] == [0, 0]


def test_large_logits_stay_finite():
    scores = Scores(np.array([[1e4, -1e4], [3e38, 0]], np.float32), np.array([0, 0]))
    assert scores.nll() == 0 and scores.ece() == 0


def test_intervals_cover_and_shrink():
    """The accuracy's interval is the binomial's, and a quarter as wide with sixteen times the documents."""
    widths = []
    for n in (400, 6400):
        _, logits, labels = random_scores(n=n)
        accuracy = intervals(logits, labels)["accuracy"]
        deviation = math.sqrt(accuracy.value * (1 - accuracy.value) / n)
        assert accuracy.low < accuracy.value < accuracy.high
        assert (accuracy.high - accuracy.low) / (2 * 1.96 * deviation) == pytest.approx(1.0, abs=0.12)
        widths.append(accuracy.high - accuracy.low)
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.2)


def test_intervals_are_repeatable():
    _, logits, labels = random_scores()
    assert intervals(logits, labels) == intervals(logits, labels)


def test_confusions_come_most_frequent_first():
    logits = np.eye(3, dtype=np.float32)[[1, 1, 1, 2, 0, 0]]
    assert Scores(logits, np.array([0, 0, 1, 1, 0, 2])).confused() == [(0, 1, 2), (1, 2, 1), (2, 0, 1)]
