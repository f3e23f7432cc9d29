import numpy as np
import pytest

from textcls.data.corpus import Corpus, check, documents, split_dev
from textcls.runtime.errors import InputError
from textcls.runtime.files import fingerprint


def pool(counts=(50, 30, 7)):
    labels = np.repeat(np.arange(len(counts)), counts)
    return documents("train", [(f"text {i}",) for i in range(len(labels))], labels)


def test_dev_is_stratified_and_complete():
    whole = pool()
    train, dev = split_dev(whole, 0.1, seed=1)
    assert np.bincount(dev.labels).tolist() == [5, 3, 1]
    assert sorted(train.texts + dev.texts) == sorted(whole.texts)
    assert not set(train.ids.tolist()) & set(dev.ids.tolist())


def test_dev_is_a_pure_function_of_data_and_seed():
    def ids(seed):
        return split_dev(pool(), 0.1, seed)[1].ids.tolist()

    assert ids(1) == ids(1)
    assert ids(1) != ids(2)


def test_a_class_of_one_stays_in_train():
    train, dev = split_dev(pool((5, 1)), 0.5, seed=0)
    assert np.bincount(train.labels).tolist() == [3, 1] and len(dev) == 2
    with pytest.raises(InputError, match="leaves no dev document: each class has one. Is it the right --label-column?"):
        split_dev(pool((1, 1, 1)), 0.5, seed=0)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5, 3.0])
def test_impossible_shares(share):
    with pytest.raises(InputError, match="between 0 and 1"):
        split_dev(pool(), share, 0)


def test_ids_tell_apart_equal_texts_and_pools():
    ids = documents("train", [("",), ("",), ("a", "b")], [0, 0, 0]).ids
    assert len(set(ids.tolist()) | set(documents("test", [("",), ("",)], [0, 0]).ids.tolist())) == 5
    assert fingerprint("ab", "c") != fingerprint("a", "bc")


def test_empty_documents_are_counted():
    assert documents("x", [("",), (" \n",), ("a",), ("", "b")], [0] * 4).empty.tolist() == [True, True, False, False]


def test_corpora_that_cannot_be_classified():
    one = pool((5,))
    with pytest.raises(InputError, match="at least 2 classes, the training data has only 'a'"):
        check(Corpus("x", "x", ["a"], one, one, None))
    with pytest.raises(InputError, match="no training document of class 'c'"):
        check(Corpus("x", "x", ["a", "b", "c"], pool((5, 5)), one, None))
    with pytest.raises(InputError, match="test split is empty"):
        check(Corpus("x", "x", ["a", "b"], pool((5, 5)), one, one.take(np.array([], int))))
