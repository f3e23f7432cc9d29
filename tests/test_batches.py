import numpy as np
import pytest

from textcls.text.batches import WINDOW, Batches
from textcls.text.pieces import Pieces, Sequences


def make(lengths, batch_size=4, seed=0, first=None, pad=0) -> Batches:
    rows = Pieces.join([list(range(1, n + 1)) for n in lengths])
    sequences = Sequences(rows, np.asarray(first if first is not None else lengths, np.int64), 0)
    return Batches(sequences, np.arange(len(lengths)) % 3, batch_size, seed, pad)


def test_every_document_once_an_epoch():
    batches = make(np.random.default_rng(0).integers(1, 50, 103))
    for order in (batches.order(0), batches.order(7), batches.sorted_order()):
        assert sorted(np.concatenate(order)) == list(range(103))
        assert len(order) == len(batches) == 26


def test_order_is_a_pure_function_of_seed_and_epoch():
    lengths = np.random.default_rng(0).integers(1, 50, 60)

    def order(seed, epoch):
        return [rows.tolist() for rows in make(lengths, seed=seed).order(epoch)]

    assert order(1, 2) == order(1, 2)
    assert order(1, 2) != order(1, 3)
    assert order(1, 2) != order(2, 2)


def test_buckets_leave_little_padding():
    """Lengths as skewed as those of real posts: random batches would be more than 40 % padding."""
    lengths = np.clip(np.random.default_rng(0).lognormal(4.5, 1.0, 4000).astype(int), 3, 256)
    batches = make(lengths, 16)
    slots = sum(len(rows) * lengths[rows].max() for rows in batches.order(0))
    assert lengths.sum() / slots > 0.97
    random = np.random.default_rng(1).permutation(4000).reshape(-1, 16)
    assert lengths.sum() / sum(16 * lengths[rows].max() for rows in random) < 0.6


def test_windows_mix_documents_of_all_lengths():
    """Long and short batches come in random order, and who meets whom changes from epoch to epoch."""
    lengths = np.arange(1, WINDOW * 4 * 2 + 1)
    batches = make(lengths)
    longest = [int(lengths[rows].max()) for rows in batches.order(0)]
    assert longest != sorted(longest) and longest != sorted(longest, reverse=True)
    together = [{frozenset(rows.tolist()) for rows in batches.order(epoch)} for epoch in (0, 1)]
    assert len(together[0] & together[1]) < len(batches) / 4


def test_collate_pads_to_the_longest_and_marks_what_is_real():
    batch = make([2, 4, 3], pad=9).collate(np.array([0, 1]))
    assert batch.inputs.keys() == {"ids", "mask", "segments"} and batch.targets.keys() == {"labels"}
    assert batch.inputs["ids"].tolist() == [[1, 2, 9, 9], [1, 2, 3, 4]]
    assert batch.inputs["mask"].tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]
    assert batch.inputs["segments"] is None
    assert batch.targets["labels"].tolist() == [0, 1]
    assert batch.documents.tolist() == [0, 1]
    assert (batch.tokens, batch.slots, batch.counts) == (6, 8, {"label": 2})


def test_rectangular_batches_have_no_mask():
    assert make([3, 3]).collate(np.array([0, 1])).inputs["mask"] is None


def test_segments_of_pairs():
    batch = make([5, 3], first=[2, 2]).collate(np.array([0, 1]))
    assert batch.inputs["segments"].tolist() == [[0, 0, 1, 1, 1], [0, 0, 1, 0, 0]]


def test_evaluation_starts_with_the_longest():
    lengths = [3, 9, 1, 7, 7]
    order = make(lengths, 2).sorted_order()
    assert [lengths[i] for i in np.concatenate(order)] == [9, 7, 7, 3, 1]


def test_labels_must_fit_the_documents():
    with pytest.raises(AssertionError):
        Batches(make([1, 2]).sequences, np.zeros(3, np.int64), 2)


def test_batches_by_tokens_hold_every_document_once_and_no_more_than_asked():
    lengths = [5, 30, 7, 9, 31, 5, 12, 40]
    batches = make(lengths, 2)
    for budget in (1, 20, 60, 1000):
        order = batches.sorted_order(budget)
        assert sorted(np.concatenate(order)) == list(range(len(lengths)))
        for rows in order:
            assert len(rows) == 1 or len(rows) * max(lengths[i] for i in rows) <= budget
    assert len(batches.sorted_order(1000)) == 1
