import math

import numpy as np
import pytest
import torch

from textcls.models.crf import CRF
from textcls.tasks.classification import balanced_weights, cross_entropy
from textcls.tasks.tagging import tag_loss
from textcls.text.batches import IGNORED, Batch


def summed(logits, labels, owner=None, **options):
    targets = {"labels": torch.tensor(labels)} | ({} if owner is None else {"owner": owner})
    batch = Batch({}, targets, np.arange(len(labels)), 0, {})
    sums, carry = cross_entropy(**options)(lambda **_: torch.tensor(logits), batch, "carry")
    assert carry == "carry"
    return sums["label"].item()


LOGITS, LABELS = [[1.0, 2.0, 0.5], [0.0, -1.0, 3.0]], [1, 0]


def logs():
    return [[x - math.log(sum(map(math.exp, row))) for x in row] for row in LOGITS]


def test_sum_of_cross_entropies():
    assert summed(LOGITS, LABELS) == pytest.approx(-logs()[0][1] - logs()[1][0])


def test_class_weights():
    expected = -0.5 * logs()[0][1] - 2 * logs()[1][0]
    assert summed(LOGITS, LABELS, weights=torch.tensor([2.0, 0.5, 9.0])) == pytest.approx(expected)


def test_label_smoothing():
    expected = sum(-0.7 * row[y] - 0.3 / 3 * sum(row) for row, y in zip(logs(), LABELS, strict=True))
    assert summed(LOGITS, LABELS, smoothing=0.3) == pytest.approx(expected)


def test_balanced_weights_give_every_class_the_same_total():
    labels = np.array([0] * 6 + [1] * 3 + [2])
    weights = balanced_weights(labels, 3)
    totals = [weights[c].item() * (labels == c).sum() for c in range(3)]
    assert totals == pytest.approx([10 / 3] * 3)
    assert weights[torch.from_numpy(labels)].mean().item() == pytest.approx(1.0)


def test_logits_of_a_documents_windows_are_averaged():
    windows = [[1.0, 3.0, 0.0], [1.0, 1.0, 1.0], [0.0, -1.0, 3.0]]
    owner = torch.tensor([0, 0, 1])
    assert summed(windows, LABELS, owner) == pytest.approx(summed([[1.0, 2.0, 0.5], [0.0, -1.0, 3.0]], LABELS))


def test_tags_of_padding_do_not_count():
    torch.manual_seed(0)
    scores, labels = torch.randn(2, 3, 4), torch.tensor([[1, 2, 0], [3, IGNORED, IGNORED]])
    batch = Batch({}, {"labels": labels}, np.arange(2), 0, {})
    expected = -sum(scores[b, w].log_softmax(-1)[labels[b, w]] for b, w in ((0, 0), (0, 1), (0, 2), (1, 0)))

    class Model:
        crf = None

        def __call__(self, **inputs):
            return scores

    assert tag_loss()(Model(), batch, None)[0]["tag"].item() == pytest.approx(expected.item())
    Model.crf = CRF(4)  # all its scores are 0, so that words are independent
    assert tag_loss()(Model(), batch, None)[0]["tag"].item() == pytest.approx(expected.item())
