"""Sets of labels: metrics and thresholds against slow references and scikit-learn, the loss, the linear reference."""

import math

import numpy as np
import pytest
import torch

from textcls.metrics.multilabel import (
    METRICS,
    LabelScores,
    MicroF1,
    Ranking,
    best_threshold,
    choose_thresholds,
    paired,
    sigmoid,
)
from textcls.metrics.statistics import RESAMPLES
from textcls.models.linear import STRENGTHS, Bags, OneVersusRest, logistic_regression
from textcls.tasks.combination import SeveralLabels
from textcls.tasks.ensemble import member_probabilities
from textcls.tasks.multilabel import label_loss, positive_weights, sigmoid_cross_entropy
from textcls.tasks.stacking import fit_weights, permute_classes
from textcls.text.batches import Batch

HALF = np.full(4, 0.5)


def draws(seed: int, n: int = 60, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """(logits (n, 4), labels (n, 4) bool), every label somewhere and nowhere."""
    random = np.random.default_rng(seed)
    labels = random.random((n, 4)) < [0.5, 0.3, 0.1, 0.8]
    labels[:2] = [[True] * 4, [False] * 4]
    logits = 2.0 * labels - 1 + 2 * random.normal(size=labels.shape)
    return (logits.round() if ties else logits).astype(np.float32), labels


# ---- metrics --------------------------------------------------------------------------------------------------------


def slow_f1(true, predicted) -> float:
    both, either = sum(t and p for t, p in zip(true, predicted, strict=True)), sum(true) + sum(predicted)
    return 2 * both / either if either else 0.0


def slow_average_precision(probabilities, true) -> float:
    """Of each document that has the label, the share that has it among those with a probability as large or larger."""
    precisions = []
    for i in np.flatnonzero(true):
        above = [j for j in range(len(true)) if probabilities[j] >= probabilities[i]]
        precisions.append(sum(true[j] for j in above) / len(above))
    return math.fsum(precisions) / len(precisions)


@pytest.mark.parametrize("seed, ties", [(0, False), (1, False), (2, True), (3, True)])
def test_against_definitions_one_document_at_a_time(seed, ties):
    logits, labels = draws(seed, ties=ties)
    thresholds = np.array([0.5, 0.3, 0.7, 0.5])
    scores, chances = LabelScores(logits, labels, thresholds), 1 / (1 + np.exp(-logits.astype(np.float64)))
    predicted = [[bool(p >= t) for p, t in zip(row, thresholds, strict=True)] for row in chances]
    columns = list(zip(labels.T.tolist(), np.array(predicted).T.tolist(), strict=True))
    assert scores.f1() == pytest.approx([slow_f1(*column) for column in columns])
    assert scores.macro_f1() == pytest.approx(np.mean([slow_f1(*column) for column in columns]))
    assert scores.micro_f1() == pytest.approx(slow_f1(labels.ravel().tolist(), np.ravel(predicted).tolist()))
    same = [row == list(true) for row, true in zip(predicted, labels.tolist(), strict=True)]
    assert scores.subset_accuracy() == np.mean(same) and scores.right.tolist() == same
    precisions = [slow_average_precision(chances[:, c], labels[:, c]) for c in range(4)]
    assert scores.mean_average_precision() == pytest.approx(np.mean(precisions))
    losses = [-math.log(p if true else 1 - p) for p, true in zip(chances.ravel(), labels.ravel(), strict=True)]
    assert scores.nll() == pytest.approx(math.fsum(losses) / len(labels))


@pytest.mark.parametrize("seed, ties", [(0, False), (1, True), (2, True)])
def test_equals_scikit_learn(seed, ties):
    theirs = pytest.importorskip("sklearn.metrics")
    logits, labels = draws(seed, 200, ties)
    thresholds = choose_thresholds(*draws(seed + 10, 200, ties))
    scores, chances = LabelScores(logits, labels, thresholds), sigmoid(logits)
    predicted = chances >= thresholds
    assert scores.micro_f1() == pytest.approx(theirs.f1_score(labels, predicted, average="micro"))
    assert scores.macro_f1() == pytest.approx(theirs.f1_score(labels, predicted, average="macro"))
    assert scores.subset_accuracy() == pytest.approx(theirs.accuracy_score(labels, predicted))
    assert scores.mean_average_precision() == pytest.approx(theirs.average_precision_score(labels, chances))
    ours, each = scores.per_label(), theirs.precision_recall_fscore_support(labels, predicted, zero_division=0)
    for name, values in zip(("precision", "recall"), each, strict=False):
        assert ours[name] == pytest.approx(values), name
    assert ours["support"].tolist() == each[3].tolist() and scores.f1() == pytest.approx(each[2])
    one_by_one = [theirs.log_loss(labels[:, c], chances[:, c]) for c in range(4)]
    assert scores.nll() == pytest.approx(sum(one_by_one))


@pytest.mark.parametrize("seed", range(4))
def test_weights_are_repetitions(seed):
    logits, labels = draws(seed, ties=seed > 1)
    weights = np.random.default_rng(9).integers(0, 4, len(labels))
    rows = np.repeat(np.arange(len(labels)), weights)
    scores, repeated = LabelScores(logits, labels, HALF), LabelScores(logits[rows], labels[rows], HALF)
    for name, metric in METRICS.items():
        assert metric(scores, weights.astype(float)) == pytest.approx(metric(repeated)), name
    assert scores.average_precisions(weights.astype(float)) == pytest.approx(repeated.average_precisions())


def test_intervals_are_a_loop_over_resamples():
    logits, labels = draws(3, 30, ties=True)
    random, values = np.random.default_rng(5), []
    for _ in range(RESAMPLES):
        drawn = random.integers(0, 30, 30)
        part = LabelScores(logits[drawn], labels[drawn], HALF)
        values.append([*(metric(part) for metric in METRICS.values()), *part.f1(), *part.average_precisions()])
    low, high = np.percentile(values, [2.5, 97.5], axis=0)
    whole, of_labels = LabelScores(logits, labels, HALF).intervals(seed=5)
    found = [*whole.values(), *of_labels["f1"], *of_labels["average_precision"]]
    assert list(whole) == ["micro_f1", "macro_f1", "subset_accuracy", "map", "nll"]
    assert [value.low for value in found] == pytest.approx(low)
    assert [value.high for value in found] == pytest.approx(high)


def test_what_is_nowhere():
    """A label that no document has and none is given is not among the labels; where there is nothing at all, all is
    0, and the sets are right."""
    labels, logits = np.array([[True, False], [False, False]]), np.array([[3, -3], [-3, -3]], np.float32)
    scores = LabelScores(logits, labels, HALF[:2])
    assert scores.macro_f1() == scores.micro_f1() == scores.mean_average_precision() == 1.0
    assert scores.f1().tolist() == [1.0, 0.0]
    nothing = LabelScores(logits[1:], labels[1:], HALF[:2])
    assert nothing.macro_f1() == nothing.micro_f1() == nothing.mean_average_precision() == 0.0
    assert nothing.subset_accuracy() == 1.0


def test_the_ends_of_the_logits():
    logits = np.array([-2000.0, -100.0, -1e-3, 0.0, 100.0, 2000.0], np.float32)
    chances = sigmoid(logits)
    assert chances[1] == pytest.approx(math.exp(-100), rel=1e-12) and chances[3] == 0.5 and chances[5] == 1.0
    scores = LabelScores(logits[:, None], np.array([[True], [False]] * 3), HALF[:1])
    assert scores.losses.tolist()[0] == 2000.0 and scores.losses.tolist()[5] == 2000.0
    assert np.isfinite(SeveralLabels.logits(chances[1:])).all()


def test_equal_probabilities_count_together():
    """Whatever their order, the label's average precision is the share of documents that have it."""
    labels = np.array([[True], [False], [True], [False], [False]])
    ranking = Ranking(np.full((5, 1), 0.3), labels)
    assert ranking.average_precisions(np.ones(5)).tolist() == pytest.approx([0.4])
    assert ranking.average_precisions(np.array([0, 0, 0, 1.0, 2])).tolist() == [0.0]


def test_runs_are_compared_on_the_same_draws():
    _, labels = draws(0, 200)
    noise = np.random.default_rng(3).normal(size=(2, *labels.shape))
    close, far = (LabelScores(labels - 0.5 + size * part, labels, HALF)
                  for size, part in zip((0.3, 2.0), noise, strict=True))  # fmt: skip
    difference, p = MicroF1(close).against(MicroF1(far))
    assert difference.value == pytest.approx(close.micro_f1() - far.micro_f1())
    assert 0 < difference.low < difference.value < difference.high and p == pytest.approx(2 / (1 + RESAMPLES))
    back, same_p = MicroF1(far).against(MicroF1(close))
    assert (back.value, back.low, back.high) == pytest.approx((-difference.value, -difference.high, -difference.low))
    assert same_p == p and MicroF1(close).against(MicroF1(close))[1] == 1.0
    difference, p = paired(close)[-1].against(paired(far)[-1])
    assert difference.value == pytest.approx(close.subset_accuracy() - far.subset_accuracy()) and p < 1e-6


# ---- thresholds -----------------------------------------------------------------------------------------------------


def brute_force(probabilities, true) -> float:
    """The best F1 that any threshold has, nothing being predicted included."""
    return max(slow_f1(true.tolist(), (probabilities >= cut).tolist()) for cut in [*probabilities, 2.0])


@pytest.mark.parametrize("seed, ties", [(seed, seed > 3) for seed in range(8)])
def test_no_threshold_has_a_better_f1(seed, ties):
    logits, labels = draws(seed, 40, ties)
    thresholds, chances = choose_thresholds(logits, labels), sigmoid(logits)
    for c in range(4):
        best = slow_f1(labels[:, c].tolist(), (chances[:, c] >= thresholds[c]).tolist())
        assert best == pytest.approx(brute_force(chances[:, c], labels[:, c]))


def test_half_way_between_neighbours_and_nearest_to_a_half():
    assert best_threshold(np.array([0.9, 0.1, 0.8]), np.array([True, False, True])) == pytest.approx(0.45)
    assert best_threshold(np.array([0.2, 0.4]), np.array([True, True])) == pytest.approx(0.1)  # all of them
    # 0.9 alone has an F1 of 2/3, and so has all of the four: (0.9 + 0.7) / 2 is 0.3 from 0.5, 0.2 / 2 is 0.4
    chances = np.array([0.9, 0.7, 0.6, 0.2])
    assert best_threshold(chances, np.array([True, False, False, True])) == pytest.approx(0.8)
    close = np.array([0.5, np.nextafter(0.5, 0)])
    assert best_threshold(close, np.array([True, False])) == 0.5  # there is nothing between the two


def test_a_label_that_no_dev_document_has_gets_the_common_threshold():
    logits, labels = draws(0)
    labels[:, 2] = False
    thresholds = choose_thresholds(logits, labels)
    assert thresholds[2] == best_threshold(sigmoid(logits).ravel(), labels.ravel())
    assert len(set(thresholds)) == 4
    assert choose_thresholds(logits, np.zeros_like(labels)).tolist() == [0.5] * 4


# ---- loss -----------------------------------------------------------------------------------------------------------


def summed(logits, labels, weights=None, owner=None) -> torch.Tensor:
    targets = {"labels": torch.tensor(labels)} | ({} if owner is None else {"owner": torch.tensor(owner)})
    sums, carry = sigmoid_cross_entropy(weights)(lambda **_: logits, Batch({}, targets, np.arange(2), 0, {}), "carry")
    assert carry == "carry" and list(sums) == ["label"]
    return sums["label"]


def slow_loss(logits, labels, weights) -> float:
    total = 0.0
    for row, true in zip(logits, labels, strict=True):
        for x, y, weight in zip(row, true, weights, strict=True):
            p = 1 / (1 + math.exp(-x))
            total -= weight * math.log(p) if y else math.log(1 - p)
    return total


def test_sum_over_labels_and_documents():
    labels = [[True, False, True], [False, False, False]]
    logits = torch.tensor([[0.3, -2.0, 1.0], [2.5, 0.0, -1.0]], requires_grad=True)
    for weights in (None, torch.tensor([0.5, 3.0, 2.0])):
        expected = slow_loss(logits.tolist(), labels, [1.0] * 3 if weights is None else weights.tolist())
        assert summed(logits, labels, weights).item() == pytest.approx(expected)
    summed(logits, labels).backward()
    assert torch.allclose(logits.grad, torch.sigmoid(logits) - torch.tensor(labels).float())


def test_windows_of_a_document_are_averaged():
    logits = torch.tensor([[1.0, 0.0], [3.0, 2.0], [5.0, -1.0]])
    labels = [[True, False], [False, True]]
    assert summed(logits, labels, owner=[0, 0, 1]).item() == pytest.approx(
        summed(torch.tensor([[2.0, 1.0], [5.0, -1.0]]), labels).item()
    )


def test_balanced_weights():
    """A label's documents weigh as much as those without it: with a probability of a half everywhere the two parts of
    the loss are equal."""
    labels = draws(1)[1]
    weights = positive_weights(labels)
    assert weights.tolist() == pytest.approx([(60 - n) / n for n in labels.sum(0)])
    for c in range(4):
        present = labels[:, c]
        assert weights[c].item() * present.sum() == pytest.approx((~present).sum())


def test_two_micro_batches_are_one_batch():
    torch.manual_seed(0)
    linear, inputs, labels = torch.nn.Linear(5, 4), torch.randn(6, 5), torch.from_numpy(draws(0)[1][:6])
    gradients = []
    for parts in ([slice(0, 6)], [slice(0, 2), slice(2, 6)]):
        linear.zero_grad()
        for part in parts:
            (label_loss(linear(inputs[part]), labels[part]) / 6).backward()
        gradients.append([p.grad.clone() for p in linear.parameters()])
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*gradients, strict=True))


# ---- ensembles ------------------------------------------------------------------------------------------------------


def test_labels_are_renumbered_alike_in_members_and_targets():
    torch.manual_seed(0)
    labels = torch.from_numpy(draws(0)[1])
    members = torch.cat([labels + 0.25, labels + 0.5], 1)
    permuted, renumbered = permute_classes(members, labels, 4, 0.7)
    assert torch.equal(permuted, torch.cat([renumbered + 0.25, renumbered + 0.5], 1))
    assert not torch.equal(renumbered, labels)
    assert torch.equal(renumbered.sum(1), labels.sum(1))


def test_weights_of_log_odds_are_the_best_ones():
    """Two members whose log-odds are too small and shifted: the loss, but for its little L2, is that of the best line
    through the mean of both, found by a grid."""
    logits, labels = draws(4, 400)
    logits, targets = 3 * logits, torch.from_numpy(labels)
    model, members = SeveralLabels.build("weighted", 2, 4), [logits / 4 - 1] * 2
    fit_weights(model, member_probabilities(members, SeveralLabels), targets, SeveralLabels.loss)
    first, second = model.weights.tolist()
    assert first == pytest.approx(second, abs=1e-3)
    grid = [(scale, bias) for scale in np.linspace(0.1, 2, 39) for bias in np.linspace(0, 2, 41)]
    half = torch.from_numpy(logits / 4 - 1)
    best = min(float(SeveralLabels.loss(2 * scale * half + bias, targets)) for scale, bias in grid)
    with torch.no_grad():
        ours = float(SeveralLabels.loss(2 * first * half + model.bias, targets))
    assert best - 0.01 < ours < best + 0.01


# ---- the linear reference -------------------------------------------------------------------------------------------


def made_up(count: int, seed: int) -> tuple[Bags, torch.Tensor, np.ndarray]:
    """(documents of 30 words, of which three tell of a label each; (count, 3) bool; the words)."""
    random = np.random.default_rng(seed)
    x = random.random((count, 30)) * (random.random((count, 30)) < 0.3)
    labels = torch.from_numpy(x[:, :3] + 0.3 * random.normal(size=(count, 3)) > 0.3)
    rows, words = np.nonzero(x)
    return Bags(*map(torch.from_numpy, (rows.copy(), words.copy(), x[rows, words])), count, 30), labels, x


@pytest.mark.parametrize("strength", [1.0, 0.1])
def test_one_versus_rest_is_scikit_learns(strength):
    linear_model = pytest.importorskip("sklearn.linear_model")
    bags, labels, x = made_up(200, 0)
    weight, bias = torch.zeros(30, 3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    logistic_regression(bags, labels, weight, bias, strength, label_loss, iterations=500, tolerance=1e-14)
    for c in range(3):
        theirs = linear_model.LogisticRegression(C=1 / strength, tol=1e-10, max_iter=2000).fit(x, labels[:, c].numpy())
        assert weight[:, c].numpy() == pytest.approx(theirs.coef_[0], abs=1e-4)
        assert bias[c].item() == pytest.approx(theirs.intercept_[0], abs=1e-4)


def test_the_strength_is_chosen_on_dev():
    """Of those up to the first that has more loss there than the one before."""
    (bags, labels, _), (dev, dev_labels, _) = made_up(200, 0), made_up(100, 1)
    for part in (bags, dev):
        part.by_row, part.by_word = ((*of[:2], of[2].float()) for of in (part.by_row, part.by_word))
    model, weight, bias, losses = OneVersusRest(30, 3, 0), torch.zeros(30, 3), torch.zeros(3), {}
    said = model.fit(bags, labels, dev, dev_labels, label_loss)
    for strength in STRENGTHS:
        logistic_regression(bags, labels, weight, bias, strength, label_loss)
        losses[strength] = float(label_loss(dev @ weight + bias, dev_labels))
    seen = [value for i, value in enumerate(losses.values()) if i == 0 or value <= min([*losses.values()][:i])]
    assert float(label_loss(dev @ model.weight.detach() + model.bias.detach(), dev_labels)) == pytest.approx(seen[-1])
    best = next(strength for strength, value in losses.items() if value == seen[-1])
    assert said.startswith(f"a logistic regression a label (L2 {best:g}), chosen on dev among strengths 1/0.3/0.1/")
