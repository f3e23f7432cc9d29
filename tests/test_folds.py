"""Folds: every document in exactly one, each class spread evenly, dev drawn from what is left."""

import json
import random

import numpy as np
import pytest

from tests.conftest import make_rows, write_csv
from textcls import recipes
from textcls.config import TrainConfig
from textcls.data import folds
from textcls.data.corpus import documents, split_dev
from textcls.data.folds import Fold, assign, cut, pool_of
from textcls.runtime.errors import InputError
from textcls.tasks import classification


def load(path, **settings):
    return classification.load(recipes.complete(TrainConfig(model="linear", train=str(path), **settings)))


def skewed(counts: dict[str, int]):
    """Documents of classes of these sizes, in no order."""
    labels = [number for number, count in enumerate(counts.values()) for _ in range(count)]
    random.Random(0).shuffle(labels)
    return documents("train", [(f"text {i % 7}",) for i in range(len(labels))], labels)


@pytest.mark.parametrize("sizes, count", [((30, 30, 30), 5), ((101, 17, 6), 5), ((2, 2), 2), ((9, 40, 11, 10), 9)])
def test_every_document_is_in_one_fold_and_every_class_in_all(sizes, count):
    names = [f"c{i}" for i in range(len(sizes))]
    pool = skewed(dict(zip(names, sizes, strict=True)))
    numbers = assign(pool, count, 3, names)
    assert set(numbers) == set(range(1, count + 1))
    assert np.ptp(np.bincount(numbers)[1:]) <= 1
    for label in range(len(sizes)):
        assert np.ptp(np.bincount(numbers[pool.labels == label], minlength=count + 1)[1:]) <= 1
    assert np.array_equal(numbers, assign(pool, count, 3, names))
    assert sizes == (2, 2) or not np.array_equal(numbers, assign(pool, count, 4, names))


def test_a_class_that_is_too_small_is_named():
    pool = skewed({"many": 20, "few": 4, "fewer": 3})
    with pytest.raises(InputError, match=r"5 folds .*: class 'few' has 4 of them \(and 1 more .*at most 3 folds"):
        assign(pool, 5, 1, ["many", "few", "fewer"])
    assert len(assign(pool, 3, 1, ["many", "few", "fewer"])) == 27
    with pytest.raises(InputError, match="class 'one' has 1 of them; leave out what is rare"):
        assign(skewed({"many": 20, "one": 1}), 5, 1, ["many", "one"])


@pytest.mark.parametrize("share, seed", [(0.1, 1), (0.5, 2), (0.9, 3)])
def test_the_pool_is_put_together_as_it_was_read(share, seed):
    pool = skewed({"a": 40, "b": 13, "c": 5})
    train, dev = split_dev(pool, share, seed)
    corpus = classification.Corpus("x", "x", ["a", "b", "c"], train, dev, None)
    again, drawn = pool_of(corpus)
    assert drawn and again.texts == pool.texts
    assert np.array_equal(again.ids, pool.ids) and np.array_equal(again.labels, pool.labels)
    of_its_own = documents("dev", [("x",)], [0])
    other, drawn = pool_of(classification.Corpus("x", "x", ["a", "b", "c"], pool, of_its_own, None))
    assert not drawn and np.array_equal(other.ids, pool.ids)
    with pytest.raises(InputError, match="some are held out"):
        pool_of(classification.Corpus("x", "x", ["a", "b", "c"], train, dev.take(np.arange(1, len(dev))), None))


def test_the_folds_of_a_file_make_it_whole(tmp_path):
    """Each document is tested once, and is neither train nor dev there; dev is its share of the rest."""
    write_csv(tmp_path / "train.csv", make_rows(90))
    whole, seen = load(tmp_path / "train.csv"), []
    for number in range(1, 5):
        corpus = load(tmp_path / "train.csv", fold=f"{number}/4")
        parts = corpus.train, corpus.dev, corpus.test
        assert sum(map(len, parts)) == 90 == len(np.unique(np.concatenate([part.ids for part in parts])))
        assert len(corpus.dev) == pytest.approx(0.1 * (90 - len(corpus.test)), abs=2)
        assert corpus.description == f"train.csv (3 classes); here tested on fold {number}/4 of its training documents"
        seen.append(corpus.test.ids)
    assert np.array_equal(np.sort(np.concatenate(seen)), np.sort(np.concatenate([whole.train.ids, whole.dev.ids])))
    before = load(tmp_path / "train.csv", fold="2/4", dev="0.3").test
    assert np.array_equal(seen[1], before.ids)  # the fold does not hang on what dev is
    assert not np.array_equal(seen[1], load(tmp_path / "train.csv", fold="2/4", seed=2).test.ids)


def test_a_dev_file_stays_dev(tmp_path):
    write_csv(tmp_path / "train.csv", make_rows(30))
    write_csv(tmp_path / "dev.csv", make_rows(9, seed=1))
    corpus = load(tmp_path / "train.csv", dev=str(tmp_path / "dev.csv"), fold="3/3")
    assert (len(corpus.train), len(corpus.dev), len(corpus.test)) == (20, 9, 10)
    assert [text for text, in corpus.dev.texts] == [text for text, _ in make_rows(9, seed=1)]


def test_test_documents_of_the_corpus_stay_untouched(tmp_path):
    """A JSON file of three splits: its own test split is in no part of a fold; its dev is that of all."""
    splits = {name: [[text, label] for text, label in make_rows(count, seed)]
              for name, count, seed in (("train", 30, 0), ("val", 9, 1), ("test", 12, 2))}  # fmt: skip
    (tmp_path / "all.json").write_text(json.dumps(splits), "utf-8")
    columns = {"text_column": "1", "label_column": "2"}
    whole = load(tmp_path / "all.json", **columns)
    corpus = load(tmp_path / "all.json", **columns, fold="1/5")
    assert (len(whole.test), len(corpus.train), len(corpus.dev), len(corpus.test)) == (12, 24, 9, 6)
    ids = np.concatenate([corpus.train.ids, corpus.dev.ids, corpus.test.ids])
    assert not np.isin(whole.test.ids, ids).any()


def test_a_built_in_corpus():
    whole = classification.load_whole(recipes.complete(TrainConfig(model="linear")))
    corpus = cut(whole, Fold(5, 5), 0.1, 1)
    assert len(corpus.train) + len(corpus.dev) + len(corpus.test) == len(whole.train) + len(whole.dev)
    assert not np.isin(whole.test.ids, corpus.test.ids).any() and corpus.description.endswith("documents")


@pytest.mark.parametrize("text", ["0/5", "6/5", "1/1", "5", "1/0", "a/b", "1/5/2", "-1/5", "1.0/5", "", "01/5"])
def test_what_is_no_fold(text):
    with pytest.raises(InputError, match="expected NUMBER/FOLDS"):
        recipes.complete(TrainConfig(fold=text))
    assert Fold.of("2/5") == Fold(2, 5)


@pytest.mark.parametrize("settings, message", [
    ({"train": "x.csv", "test": "y.csv"}, "leave out --test y.csv"),
    ({"train": "x.csv", "test": "0.2"}, "leave out --test 0.2"),
    ({"train": "x", "task": "tagging", "model": "bilstm-scratch"}, "goes with --task classification"),
    ({"data": "cola", "data_dir": ".", "protocol": "paper"}, "goes with --protocol honest"),
])  # fmt: skip
@pytest.mark.parametrize("asked", [{"fold": "1/3"}, {"folds": 3}])
def test_what_does_not_go_with_folds(settings, message, asked):
    with pytest.raises(InputError, match=f"--{next(iter(asked))} .*{message}"):
        recipes.complete(TrainConfig(**asked, **settings))


def test_cut_is_the_same_for_every_process_and_seed_of_dev(tmp_path):
    """The pool is put together from any train and dev of it: the fold does not hang on how they were drawn."""
    pool = skewed({"a": 30, "b": 12})
    corpora = [classification.Corpus("x", "x", ["a", "b"], *split_dev(pool, share, seed), None)
               for share, seed in ((0.1, 1), (0.3, 9))]  # fmt: skip
    first, second = (cut(corpus, folds.Fold(2, 3), 0.1, 5) for corpus in corpora)
    for name in ("train", "dev", "test"):
        assert np.array_equal(getattr(first, name).ids, getattr(second, name).ids)
