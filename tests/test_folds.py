"""Folds: every document in exactly one, each class spread evenly, dev drawn from what is left."""

import json
import random

import numpy as np
import pytest

from tests.conftest import make_rows, write_csv
from textcls import recipes
from textcls.config import TrainConfig
from textcls.data.corpus import documents, identify, split_dev
from textcls.data.folds import Fold, assign, cut, pool_of
from textcls.runtime.errors import InputError
from textcls.tasks import TASKS, classification


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
    corpus = cut(whole, "5/5", 0.1, 1, "documents")
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
    ({"train": "x", "task": "lm", "model": "lstm"}, "is not there for --task lm: its training text runs on"),
    ({"train": "x", "task": "pretrain", "model": "bert"}, "is not there for --task pretrain: its training text runs on"),
    ({"data": "cola", "data_dir": ".", "protocol": "paper"}, "goes with --protocol honest"),
])  # fmt: skip
@pytest.mark.parametrize("asked", [{"fold": "1/3"}, {"folds": 3}])
def test_what_does_not_go_with_folds(settings, message, asked):
    with pytest.raises(InputError, match=f"--{next(iter(asked))} .*{message}"):
        recipes.complete(TrainConfig(**asked, **settings))


# ---- other tasks ----------------------------------------------------------------------------------------------------


def write_sets(path, labels: list[str]):
    path.write_text("text,topics\n" + "".join(f"text {i} of {own},{own}\n" for i, own in enumerate(labels)), "utf-8")
    return path


def write_scores(path, count: int):
    path.write_text("text,label\n" + "".join(f"text {i},{i * i}\n" for i in range(count)), "utf-8")
    return path


def write_tags(path, count: int):
    kinds = [("Ada", "B-PER"), ("Paris", "B-LOC"), ("road", "O")]
    sentences = [f"word{i} O\n{' '.join(kinds[i % 3])}\n" for i in range(count)]
    path.write_text("\n".join(sentences), "utf-8")
    return path


def write_questions(path, titles: list[str]):
    paragraphs = [{"context": f"sun {i} shines", "qas": [{"id": f"{i}-{q}", "question": f"what {q} ?", "answers": [
        {"text": "sun", "answer_start": 0}]} for q in range(2)]} for i in range(len(titles))]  # fmt: skip
    data = [{"title": title, "paragraphs": [paragraph]} for title, paragraph in zip(titles, paragraphs, strict=True)]
    path.write_text(json.dumps({"version": "1.1", "data": data}), "utf-8")
    return path


SETS = ["a|b", "", "b", "c|a"]
OTHERS = {
    "multilabel": ({"model": "linear", "label_column": "topics"}, lambda path: write_sets(path, SETS * 20)),
    "regression": ({"model": "lstm"}, lambda path: write_scores(path, 83)),
    "tagging": ({"model": "bilstm-scratch"}, lambda path: write_tags(path, 75)),
    "spans": ({"model": "bert"}, lambda path: write_questions(path, [f"article {i // 3}" for i in range(36)])),
}


def load_other(task: str, path, **settings):
    config = recipes.complete(TrainConfig(task=task, train=str(path), **OTHERS[task][0], **settings))
    return TASKS[task].load(config)


@pytest.fixture
def other(tmp_path):
    """A file of a task."""
    return lambda task: OTHERS[task][1](tmp_path / ("x.json" if task == "spans" else "x.csv"))


@pytest.mark.parametrize("task", OTHERS)
def test_the_folds_of_every_task_make_it_whole(task, other):
    path = other(task)
    whole, seen = load_other(task, path), []
    every = np.sort(np.concatenate([whole.train.ids, whole.dev.ids]))
    for number in range(1, 5):
        corpus = load_other(task, path, fold=f"{number}/4")
        ids = np.concatenate([part.ids for part in (corpus.train, corpus.dev, corpus.test)])
        assert np.array_equal(np.sort(ids), every)
        assert len(corpus.dev) == pytest.approx(0.1 * (len(every) - len(corpus.test)), abs=2)
        assert len(corpus.test) == pytest.approx(len(every) / 4, rel=0.1)
        assert corpus.description.endswith(f"; here tested on fold {number}/4 of its training {TASKS[task].UNIT}")
        assert corpus.labels == whole.labels
        seen.append(corpus.test.ids)
    assert np.array_equal(np.sort(np.concatenate(seen)), every)
    assert np.array_equal(seen[1], load_other(task, path, fold="2/4", dev="0.3").test.ids)
    assert not np.array_equal(seen[1], load_other(task, path, fold="2/4", seed=2).test.ids)


@pytest.mark.parametrize("task", TASKS)
def test_what_can_be_judged_is_kept_and_what_is_suspected_is_judged(task):
    kept, judge, suspects = (getattr(TASKS[task].Predictor, name, None) for name in ("out_of_fold", "judge", "suspects"))
    assert (kept is None) == (judge is None) == (task not in OTHERS and task != "classification")
    assert suspects is None or judge is not None


@pytest.mark.parametrize("task", OTHERS)
def test_the_pool_of_every_task_is_read_again(task, other):
    """What was drawn as dev stands where it stood in the file, with its answers."""
    whole = load_other(task, other(task), dev="0.3")
    pool, drawn = pool_of(whole)
    answers = {i: answer for split in (whole.train, whole.dev)
               for i, answer in zip(split.ids.tolist(), split.answers(whole.labels), strict=True)}  # fmt: skip
    assert drawn and pool.answers(whole.labels) == [answers[i] for i in pool.ids.tolist()]
    assert np.array_equal(identify("train", pool.items), pool.ids) and len(pool) == len(whole.train) + len(whole.dev)


def test_the_range_of_scores_is_that_of_what_is_trained_on(other):
    path = other("regression")
    assert load_other("regression", path, dev=str(path)).facts["range"] == [0, 82**2]
    for number in (1, 2, 3, 4):
        corpus = load_other("regression", path, fold=f"{number}/4")
        assert corpus.facts["range"] == [corpus.train.scores.min(), corpus.train.scores.max()]


def test_rare_types_of_entities_are_in_every_fold(tmp_path):
    """Four sentences with a product among 80, and 20 with a person: one and five a fold."""
    kinds = ["B-PROD"] * 4 + ["B-PER"] * 20 + ["O"] * 56
    (tmp_path / "x.csv").write_text("\n".join(f"a{i} {kind}\nb I{kind[1:]}\n" for i, kind in enumerate(kinds))
                                    .replace("b I\n", "b O\n"), "utf-8")  # fmt: skip
    for number in (1, 2, 3, 4):
        test = load_other("tagging", tmp_path / "x.csv", fold=f"{number}/4").test
        first = [int(words[0][1:]) for words in test.words]
        assert (sum(i < 4 for i in first), sum(4 <= i < 24 for i in first), len(first)) == (1, 5, 20)


def test_no_article_stands_in_two_folds(tmp_path, other):
    path = other("spans")
    for number in (1, 2, 3, 4):
        corpus = load_other("spans", path, fold=f"{number}/4")
        assert not set(corpus.test.titles) & {*corpus.train.titles, *corpus.dev.titles}
        assert corpus.description.endswith("training questions")
    few = write_questions(tmp_path / "few.json", ["all"] * 10 + ["other"] * 10)  # fewer than folds: contexts stay whole
    corpus = load_other("spans", few, fold="2/4")
    assert not set(corpus.test.contexts) & {*corpus.train.contexts, *corpus.dev.contexts} and len(corpus.test) == 10
    assert corpus.description.endswith("articles that are trained on, too (fewer than folds), in other contexts")
    table = tmp_path / "x.csv"  # without titles contexts stay whole
    table.write_text("question,context,answer\n" + "".join(f"q{i},sun {i // 2} shines,sun\n" for i in range(24)), "utf-8")
    for number in (1, 2, 3, 4):
        corpus = load_other("spans", table, fold=f"{number}/4")
        assert not set(corpus.test.contexts) & {*corpus.train.contexts, *corpus.dev.contexts} and len(corpus.test) == 6


@pytest.mark.parametrize("task, content, folds, message", [
    ("multilabel", ["a|b", "b", "b", "a", "c", "b"], 3, "every label in two of them at least: 'c' has 1 document(s)"),
    ("spans", ["one", "one", "two"], 4, "4 folds want as many contexts, which stay whole; there are 3: take fewer"),
    ("regression", 8, 9, "9 folds want as many to deal out, and there are 8: take fewer"),
])  # fmt: skip
def test_what_cannot_be_dealt_is_refused(task, content, folds, message, tmp_path):
    write = {"multilabel": write_sets, "spans": write_questions, "regression": write_scores}[task]
    path = write(tmp_path / ("x.json" if task == "spans" else "x.csv"), content)
    pool, _ = pool_of(load_other(task, path, dev=str(path)))
    with pytest.raises(InputError, match=message.replace("(s)", r"\(s\)")):
        assign(pool, folds, 1, ["a", "b", "c"])


def test_cut_is_the_same_for_every_process_and_seed_of_dev(tmp_path):
    """The pool is put together from any train and dev of it: the fold does not hang on how they were drawn."""
    pool = skewed({"a": 30, "b": 12})
    corpora = [classification.Corpus("x", "x", ["a", "b"], *split_dev(pool, share, seed), None)
               for share, seed in ((0.1, 1), (0.3, 9))]  # fmt: skip
    first, second = (cut(corpus, "2/3", 0.1, 5, "documents") for corpus in corpora)
    for name in ("train", "dev", "test"):
        assert np.array_equal(getattr(first, name).ids, getattr(second, name).ids)
