"""Confident learning: the published example, a slow loop, cleanlab, and labels that were flipped."""

import numpy as np
import pytest

from textcls.metrics.confident import confident_labels, confident_learning

COUNTS = np.array([[100, 40, 20], [56, 60, 0], [32, 12, 80]])  # figure 1 of Northcutt et al. (2021)
JOINT = np.array([[0.25, 0.10, 0.05], [0.14, 0.15, 0.00], [0.08, 0.03, 0.20]])


def published(sure: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
    """(probabilities, labels) of as many documents as the example counts, each sure of its column."""
    cells = [(i, j) for i in range(3) for j in range(3) for _ in range(COUNTS[i, j])]
    labels, likely = np.array(cells).T
    probabilities = np.full((len(cells), 3), (1 - sure) / 2)
    probabilities[np.arange(len(cells)), likely] = sure
    return probabilities, labels


def made_up(documents: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that lean to the label, of classes of unlike sizes; some are equal."""
    random = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), random.choice(classes, documents - classes, p=weights(classes))])
    logits = random.normal(size=(documents, classes)).round(1)
    logits[np.arange(documents), labels] += 1
    powers = np.exp(logits)
    return powers / powers.sum(1, keepdims=True), labels


def weights(classes: int) -> np.ndarray:
    return np.arange(1, classes + 1) / np.arange(1, classes + 1).sum()


def slowly(probabilities: np.ndarray, labels: np.ndarray):
    """(thresholds, counts, joint, suspicious with their margins), a document at a time, as the paper defines them."""
    classes = range(probabilities.shape[1])
    limits = [np.mean([p[j] for p, label in zip(probabilities, labels, strict=True) if label == j]) for j in classes]
    counts, suspicious = np.zeros((len(classes), len(classes)), int), []
    for i, (p, label) in enumerate(zip(probabilities, labels, strict=True)):
        reached = [j for j in classes if p[j] >= limits[j] - 1e-9]
        if reached:
            likely = max(reached, key=lambda j: p[j])
            counts[label, likely] += 1
            if likely != label:
                suspicious.append((p[label] - max(p[j] for j in classes if j != label), i))
    sizes = [list(labels).count(j) for j in classes]
    joint = np.array([[counts[i, j] / counts[i].sum() * sizes[i] for j in classes] for i in classes])
    return np.array(limits), counts, joint / joint.sum(), [i for _, i in sorted(suspicious)]


def test_the_published_example():
    probabilities, labels = published()
    found = confident_learning(probabilities, labels)
    assert np.array_equal(found.counts, COUNTS)
    assert np.allclose(found.joint, JOINT, atol=1e-12)
    assert found.wrong == pytest.approx(0.40) and len(found.suspicious) == 40 + 20 + 56 + 32 + 12
    assert np.allclose(found.thresholds[0], (100 * 0.9 + 60 * 0.05) / 160)


def test_who_is_sure_of_nothing_is_not_counted_but_weighs():
    """Documents below all thresholds are in no cell; the joint has each label as often as it was given."""
    probabilities, labels = published()
    unsure = np.full((400, 3), 1 / 3)
    probabilities, labels = np.concatenate([probabilities, unsure]), np.concatenate([labels, np.full(400, 1)])
    found = confident_learning(probabilities, labels)
    assert found.thresholds[1] < 0.9 and np.array_equal(found.counts[[0, 2]], COUNTS[[0, 2]])
    assert np.allclose(found.joint.sum(1), np.bincount(labels) / len(labels)) and found.joint.sum() == pytest.approx(1)
    nothing = confident_learning(np.full((4, 2), 0.5), np.array([0, 1, 0, 1]))
    assert nothing.counts.sum() == 4  # equal probabilities reach their own mean, whatever it was rounded to


def test_of_a_label_without_a_confident_document_nothing_is_said():
    probabilities = np.array([[0.6, 0.3, 0.1], [0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.1, 0.1, 0.8], [0.1, 0.1, 0.8]])
    found = confident_learning(probabilities, np.array([0, 0, 1, 2, 2]))
    assert np.array_equal(found.joint, np.diag([0.4, 0.2, 0.4]))
    lost = confident_learning(np.array([[0.9, 0.1], [0.5, 0.5], [0.6, 0.4]]), np.array([0, 1, 1]))
    assert np.allclose(lost.joint.sum(1), [1 / 3, 2 / 3])


@pytest.mark.parametrize("documents, classes, seed", [(40, 2, 0), (300, 3, 1), (500, 7, 2), (200, 20, 3)])
def test_a_document_at_a_time(documents, classes, seed):
    probabilities, labels = made_up(documents, classes, seed)
    found = confident_learning(probabilities, labels)
    limits, counts, joint, suspicious = slowly(probabilities, labels)
    assert np.allclose(found.thresholds, limits, atol=1e-12) and np.array_equal(found.counts, counts)
    known = counts.sum(1) > 0
    assert np.allclose(found.joint[known], joint[known], atol=1e-12) and known.any()
    assert found.suspicious.tolist() == suspicious and len(suspicious) > 0


@pytest.mark.parametrize("documents, classes, seed", [(400, 3, 0), (1000, 10, 1)])
def test_cleanlab(documents, classes, seed):
    count = pytest.importorskip("cleanlab.count")
    rank = pytest.importorskip("cleanlab.rank")
    random = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), random.integers(0, classes, documents - classes)])
    logits = random.normal(size=(documents, classes))
    logits[np.arange(documents), labels] += 1.5
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    found = confident_learning(probabilities, labels)
    counts, indices = count.compute_confident_joint(
        labels, probabilities, calibrate=False, return_indices_of_off_diagonals=True
    )
    assert np.array_equal(found.counts, counts) and sorted(found.suspicious) == sorted(indices)
    joint = count.estimate_joint(labels, probabilities, confident_joint=counts)  # which it rounds to whole documents
    assert np.allclose(found.joint, joint, rtol=0, atol=1 / documents)
    scores = rank.get_label_quality_scores(labels, probabilities, method="normalized_margin")
    assert np.array_equal(found.suspicious, sorted(indices, key=lambda i: scores[i]))


def test_flipped_labels_are_found_first():
    """Of 2,000 documents 5 % have another label than they are of: most of the list, and its beginning, are these."""
    random = np.random.default_rng(0)
    true = random.integers(0, 5, 2000)
    logits = random.normal(size=(2000, 5))
    logits[np.arange(2000), true] += 5
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    flipped = random.random(2000) < 0.05
    labels = np.where(flipped, (true + random.integers(1, 5, 2000)) % 5, true)
    found = confident_learning(probabilities, labels)
    listed = np.isin(np.arange(2000), found.suspicious)
    assert flipped[found.suspicious[:50]].mean() > 0.95
    assert flipped[listed].mean() > 0.8 and listed[flipped].mean() > 0.8
    assert found.wrong == pytest.approx(flipped.mean(), abs=0.02)


@pytest.mark.parametrize("documents, labels, seed", [(60, 3, 0), (300, 8, 1)])
def test_several_labels_a_label_at_a_time(documents, labels, seed):
    """Each label is a question of two classes; all pairs stand in one list, by the probability of what is given."""
    random = np.random.default_rng(seed)
    given = random.random((documents, labels)) < 0.3
    given[:, -1] = True  # which tells nothing
    probabilities = 1 / (1 + np.exp(random.normal(size=given.shape) - 0.5 * np.where(given, 1, -1)))
    expected = []
    for c in range(labels - 1):
        p = probabilities[:, c]
        for i in slowly(np.stack([1 - p, p], 1), given[:, c].astype(int))[3]:
            expected.append((p[i] if given[i, c] else 1 - p[i], i, c))
    found = confident_labels(probabilities, given)
    assert found.tolist() == [[i, c] for _, i, c in sorted(expected)] and len(found) > documents / 10
    assert confident_labels(np.full((4, 2), 0.5), np.ones((4, 2), bool)).shape == (0, 2)


def test_labels_that_were_added_or_lost_are_found_first():
    random = np.random.default_rng(0)
    true = random.random((2000, 6)) < 0.2
    probabilities = 1 / (1 + np.exp(-random.normal(size=true.shape) - np.where(true, 4, -4)))
    flipped = random.random(true.shape) < 0.02
    found = confident_labels(probabilities, true ^ flipped)
    right = flipped[found[:, 0], found[:, 1]]
    assert right[:100].mean() > 0.95 and right.mean() > 0.9 and right.sum() > 0.75 * flipped.sum()
