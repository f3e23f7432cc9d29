"""--folds of several labels, scores, tags and answers as a user runs it: what is kept, what it comes to, by definitions
written out here; labels that were added or lost; ensembles of several labels."""

import csv
import json
import math
import random
import statistics

import numpy as np
import pytest

from tests.conftest import FILLER, TOPICS, make_rows, save_tiny, stop_after
from textcls import predictor
from textcls.data import squad
from textcls.data.corpus import Corpus
from textcls.metrics.multilabel import choose_thresholds, sigmoid
from textcls.tasks import spans
from textcls.training.run import Run

NAMES = sorted(TOPICS)
SMALL = "--hidden 8 --embedding 8 --min-count 1 --batch-size 16 --quiet".split()
SETS = ["--task", "multilabel", "--label-column", "topics", "--train", "sets.csv"]
FOLDS = ["--folds", "3"]
COMMANDS = {
    "multilabel": [*SETS, "--model", "lstm", *SMALL, *"--lr 0.02 --epochs 4".split()],
    "regression": [*"--task regression --train scores.csv --model lstm --lr 0.02 --epochs 4".split(), *SMALL],
    "tagging": [*"--task tagging --train train.conll --model bilstm-scratch --lr 0.1 --epochs 8".split(), *SMALL],
    "spans": "--task spans --train asked.json --model bert --bert tiny --max-length 32 --stride 8 --batch-size 8 --lr "
             "0.003 --epochs 2 --quiet".split(),
}  # fmt: skip


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    """The fit of a network over members is the business of other tests."""
    monkeypatch.setattr("textcls.tasks.stacking.PATIENCE", 3)


def make_sets(count: int, seed: int) -> list[tuple[str, list[str]]]:
    """(text, labels): two words of each of its labels' among fillers; a third or so have none."""
    rng, rows = random.Random(seed), []
    for number in range(count):
        own = [name for name in NAMES if rng.random() < 0.35]
        words = rng.choices(FILLER, k=6) + [word for name in own for word in rng.sample(TOPICS[name].split(), 2)]
        rng.shuffle(words)
        rows.append((f"{' '.join(words)} {number}", own))
    return rows


def write_sets(path, rows) -> None:
    path.write_text("text,topics\n" + "".join(f"{text},{'|'.join(own)}\n" for text, own in rows), "utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("folds")
    write_sets(folder / "sets.csv", make_sets(90, 0))
    write_sets(folder / "test.csv", make_sets(30, 1))
    lines = [f"{text},{sum(word in TOPICS['astronomy'] for word in text.split()) / 2}" for text, _ in make_rows(75)]
    (folder / "scores.csv").write_text("text,label\n" + "\n".join(lines) + "\n", "utf-8")
    tagged = [[(word, "B-SKY" if word in TOPICS["astronomy"].split() else "O") for word in text.split()]
              for text, _ in make_rows(72, seed=2)]  # fmt: skip
    (folder / "train.conll").write_text("\n".join("".join(f"{w} {t}\n" for w, t in part) for part in tagged), "utf-8")
    texts = [text for text, _ in make_rows(24, seed=3)]
    rows = [{"title": f"article {i // 2}", "paragraphs": [{"context": text, "qas": [
        {"id": f"{i}-{q}", "question": f"what comes {q}", "answers": [{"text": text.split()[q], "answer_start": len(
            " ".join([*text.split()[:q], ""]))}]} for q in range(2)]}]} for i, text in enumerate(texts)]  # fmt: skip
    (folder / "asked.json").write_text(json.dumps({"version": "1.1", "data": rows}), "utf-8")
    save_tiny(folder / "tiny", ["what comes 0 1", *texts])
    return folder


@pytest.fixture
def folded(folder, call):
    """task -> (what is kept, folds.json, what was said); trained once."""

    def run(task: str) -> tuple[dict[str, np.ndarray], dict, str]:
        if not (folder / f"{task}.txt").exists():
            (folder / f"{task}.txt").write_text(call("train", *COMMANDS[task], *FOLDS, "--out", task), "utf-8")
        with np.load(folder / task / "out-of-fold.npz") as arrays:
            content = json.loads((folder / task / "folds.json").read_text("utf-8"))
            return dict(arrays), content, (folder / f"{task}.txt").read_text("utf-8")

    return run


def runs(folder, task: str) -> list:
    return [predictor.load(folder / task / f"fold-{number}", "cpu") for number in (1, 2, 3)]


@pytest.mark.parametrize("task", COMMANDS)
def test_all_are_tested_by_a_run_that_has_not_seen_them(folder, folded, task):
    kept, content, said = folded(task)
    count, seen = len(kept["ids"]), 0
    for number, trained in enumerate(runs(folder, task), 1):
        splits, mine = trained.run.splits(), kept["folds"] == number
        assert np.array_equal(splits["test"], kept["ids"][mine]) and mine.any()
        assert not np.isin(kept["ids"][mine], np.concatenate([splits["train"], splits["dev"]])).any()
        seen += mine.sum()
    assert seen == count == content["documents"] and content["settings"]["task"] == task
    results = [Run(folder / task / f"fold-{n}").results()["metrics"] for n in (1, 2, 3)]
    for name, pooled in content["pooled"].items():
        values = [of_run[name]["value"] for of_run in results]
        assert content["mean"][name] == pytest.approx(statistics.mean(values))
        assert content["sd"][name] == pytest.approx(statistics.stdev(values))
        assert pooled["low"] is None or pooled["low"] <= pooled["value"] <= pooled["high"]
    first = next(iter(content["mean"]))
    assert f"{content['mean'][first]:.4f} ± {content['sd'][first]:.4f}" in said
    unit = {"tagging": "sentences", "spans": "questions"}.get(task, "documents")
    assert f"all {count} training {unit}, each tested by the run that was not trained on it" in said
    assert f"out of fold: {task}/out-of-fold.npz" in said


# ---- what is kept, and what it comes to -----------------------------------------------------------------------------


def test_several_labels(folder, folded):
    kept, content, said = folded("multilabel")
    rows = make_sets(90, 0)
    assert [[NAMES[i] for i in np.flatnonzero(own)] for own in kept["labels"]] == [own for _, own in rows]
    both = true = answered = right = 0
    for number, trained in enumerate(runs(folder, "multilabel"), 1):
        assert np.array_equal(kept["thresholds"][number - 1], trained.thresholds)
        for i in np.flatnonzero(kept["folds"] == number):
            labels, probabilities = trained.predict([rows[i][0]])
            assert np.allclose(sigmoid(kept["logits"][i]), probabilities[0], atol=1e-5)
            both += len(set(labels[0]) & set(rows[i][1]))
            true, answered = true + len(rows[i][1]), answered + len(labels[0])
            right += set(labels[0]) == set(rows[i][1])
    assert content["pooled"]["micro_f1"]["value"] == pytest.approx(2 * both / (true + answered))
    assert content["pooled"]["subset_accuracy"]["value"] == pytest.approx(right / 90)
    assert len({tuple(row) for row in kept["thresholds"].tolist()}) == 3
    assert "multilabel is" in said and "than multilabel/linear in micro-F1" in said
    with np.load(folder / "multilabel" / "linear" / "out-of-fold.npz") as linear:
        assert all(np.array_equal(linear[name], kept[name]) for name in ("ids", "labels", "folds"))


def test_scores(folder, folded):
    kept, content, _ = folded("regression")
    texts, true = zip(*csv.reader((folder / "scores.csv").read_text("utf-8").splitlines()[1:]), strict=True)
    assert kept["labels"].tolist() == list(map(float, true))
    for number, trained in enumerate(runs(folder, "regression"), 1):
        mine = np.flatnonzero(kept["folds"] == number)
        assert np.allclose(kept["scores"][mine], trained.predict([texts[i] for i in mine]), atol=1e-5)
        assert kept["scores"][mine].min() >= trained.range[0] and kept["scores"][mine].max() <= trained.range[1]
    errors = [a - b for a, b in zip(kept["scores"].tolist(), kept["labels"].tolist(), strict=True)]
    assert content["pooled"]["mse"]["value"] == pytest.approx(math.fsum(e * e for e in errors) / 75)
    ranks = [[1 + sum(b < a for b in of) + (sum(b == a for b in of) - 1) / 2 for a in of]
             for of in (kept["scores"].tolist(), kept["labels"].tolist())]  # fmt: skip
    assert content["pooled"]["spearman"]["value"] == pytest.approx(statistics.correlation(*ranks))


def test_tags(folder, folded):
    kept, content, _ = folded("tagging")
    blocks = [block.splitlines() for block in (folder / "train.conll").read_text("utf-8").split("\n\n")]
    words, true = ([[line.split()[i] for line in block] for block in blocks] for i in (0, 1))
    ends, names = np.cumsum(kept["lengths"])[:-1], np.array(content["labels"])
    assert [names[part].tolist() for part in np.split(kept["labels"], ends)] == true
    tags = [names[part].tolist() for part in np.split(kept["tags"], ends)]
    for number, trained in enumerate(runs(folder, "tagging"), 1):
        mine = np.flatnonzero(kept["folds"] == number)
        assert trained.predict([words[i] for i in mine]) == [tags[i] for i in mine]
    both = sum(a == b == "B-SKY" for of in zip(tags, true, strict=True) for a, b in zip(*of, strict=True))
    single = sum(tag == "B-SKY" for part in (*tags, *true) for tag in part)
    assert not any("I-SKY" in part for part in tags) and both > 10  # every entity is a word, so that F1 is of words
    assert content["pooled"]["f1"]["value"] == pytest.approx(2 * both / single)


def test_answers(folder, folded):
    kept, content, _ = folded("spans")
    asked = squad.read(str(folder / "asked.json"), ("question", "context", "answer"))
    assert np.array_equal(asked.ids, kept["ids"])
    texts = [context[a:b] for context, a, b in zip(asked.contexts, kept["starts"], kept["ends"], strict=True)]
    of_article = {title: set() for title in asked.titles}
    for number, trained in enumerate(runs(folder, "spans"), 1):
        mine = np.flatnonzero(kept["folds"] == number).tolist()
        found = trained.predict([asked.items[i] for i in mine])
        assert [answer.text for answer in found] == [texts[i] for i in mine]
        assert np.allclose([answer.probability for answer in found], kept["probabilities"][mine], atol=1e-5)
        for i in mine:
            of_article[asked.titles[i]].add(number)
    assert all(len(numbers) == 1 for numbers in of_article.values())
    golds = [golds[0].text for golds in asked.golds]  # single words, of which articles count not
    texts, golds = ([" ".join(set(text.split()) - {"a", "the"}) for text in of] for of in (texts, golds))
    exact = statistics.mean(text == gold for text, gold in zip(texts, golds, strict=True))
    assert content["pooled"]["exact_match"]["value"] == pytest.approx(exact)


def test_a_question_without_an_answer_is_not_right():
    """Of the gold answer "the" nothing is left to compare with either."""
    asked = squad.Questions(["q"] * 2, ["the sun"] * 2, [[squad.Gold("the", 0)]] * 2, ["1", "2"], ["", ""], np.arange(2))
    corpus = Corpus("x", "x", [], asked, asked, asked)
    places = {"starts": np.array([0, 0]), "ends": np.array([0, 3]), "folds": np.array([1, 2])}
    metrics, (_, exact) = spans.Predictor.judge(places, corpus)
    assert exact.right.tolist() == [False, True] and metrics["exact_match"].value == 0.5


# ---- commands again, and what has changed ---------------------------------------------------------------------------


def test_stopped_and_gone_on_with_it_comes_to_the_same(folder, folded, call, monkeypatch):
    kept, *_ = folded("tagging")
    with monkeypatch.context() as patch:
        stop_after(patch, 10)
        call("train", *COMMANDS["tagging"], *FOLDS, "--out", "again", status=130)
    assert not (folder / "again" / "folds.json").exists() and (folder / "again" / "fold-2").exists()
    call("train", *COMMANDS["tagging"], *FOLDS, "--out", "again")
    with np.load(folder / "again" / "out-of-fold.npz") as again:
        assert all(np.array_equal(kept[name], again[name]) for name in kept)


@pytest.mark.parametrize("task, name, old, new", [
    ("multilabel", "sets.csv", "|", " | x|"), ("regression", "scores.csv", ",0.0\n", ",0.5\n"),
    ("tagging", "train.conll", "B-SKY", "O"), ("spans", "asked.json", "what comes 1", "what comes 2"),
])  # fmt: skip
def test_what_has_changed_is_refused(folder, folded, call, task, name, old, new):
    folded(task)
    text = (folder / name).read_text("utf-8")
    before = sorted((path, path.stat().st_mtime_ns) for path in (folder / task).rglob("*.*"))
    try:
        (folder / name).write_text(text.replace(old, new, 1), "utf-8")
        error = call("train", *COMMANDS[task], *FOLDS, "--out", task, status=2)
        assert "are not those the run began with" in error or "in two of them at least" in error
    finally:
        (folder / name).write_text(text, "utf-8")
    assert before == sorted((path, path.stat().st_mtime_ns) for path in (folder / task).rglob("*.*"))
    assert call("train", *COMMANDS[task], "--fold", "2/3", "--plan").count("activations")


# ---- labels that look wrong -----------------------------------------------------------------------------------------


def test_labels_that_were_added_or_lost_are_listed(folder, call):
    rows = make_sets(300, 5)
    added = {i: name for i in range(3, 300, 50) for name in NAMES[:1] if name not in rows[i][1]}
    lost = {i: rows[i][1][-1] for i in range(20, 300, 40) if rows[i][1]}
    wrong = {(text, name): "yes" for i, name in added.items() for text in [rows[i][0]]}
    wrong |= {(text, name): "no" for i, name in lost.items() for text in [rows[i][0]]}
    for i in range(300):
        rows[i] = rows[i][0], sorted({*rows[i][1], *([added[i]] if i in added else [])} - {lost.get(i)})
    write_sets(folder / "wrong.csv", rows)
    said = call("train", *SETS[:-1], "wrong.csv", *"--model linear --folds 4 --quiet --out wrong".split())
    with open(folder / "wrong" / "suspicious.csv", encoding="utf-8", newline="") as file:
        listed = list(csv.DictReader(file))
    first = listed[: len(wrong)]
    right = [wrong.get((row["text"], row["label"])) == row["given"] for row in first]
    assert len(wrong) >= 8 and sum(right) >= 0.75 * len(right)
    for row in listed:
        assert rows[int(row["place"].removeprefix("wrong.csv:")) - 2][0] == row["text"]
        assert (row["label"] in dict(rows)[row["text"]]) == (row["given"] == "yes")
    shares = [float(row["probability"]) if row["given"] == "yes" else 1 - float(row["probability"]) for row in listed]
    assert shares == sorted(shares) and f"{len(listed)} of 900 (3 labels of 300 documents)" in said
    assert "estimated" not in said and first[0]["place"] in said


# ---- ensembles ------------------------------------------------------------------------------------------------------


def test_an_ensemble_of_several_labels_is_fitted_on_all_training_documents(folder, folded, call):
    kept, *_ = folded("multilabel")
    call("train", *COMMANDS["multilabel"], *"--test test.csv --out lstm".split())
    members = ["lstm", "lstm/linear", "--out-of-fold", "multilabel", "multilabel/linear", "--quiet"]
    said = call("ensemble", *members, "--out", "stacked")
    assert "on 90 training documents out of fold" in said and "micro-F1" in said
    rows = {line.split()[0]: line.split()[1] for line in said.splitlines() if line.startswith("lstm")}
    for name in ("lstm", "lstm/linear"):  # each at its own thresholds, not at some of folds
        assert rows[name] == f"{Run(folder / name).results()['metrics']['micro_f1']['value']:.4f}"
    stacked = predictor.load(folder / "stacked", "cpu")
    with np.load(folder / "multilabel" / "linear" / "out-of-fold.npz") as linear:
        both = [kept["logits"], linear["logits"]]
    assert np.allclose(stacked.thresholds, choose_thresholds(stacked.combine(both), kept["labels"]), atol=1e-6)
    assert "stacked" in call("evaluate", "lstm", "stacked")
    error = call("ensemble", *members[:3], "multilabel/linear", "multilabel", "--out", "none", status=2)
    assert "multilabel/linear was trained with --batch-size" in error or "was trained with --" in error
    error = call("ensemble", *members[:3], "regression", "regression", "--out", "none", status=2)
    assert "no folds.json" in error or "was trained with" in error


def test_an_ensemble_of_scores_is_refused(folder, folded, call):
    folded("regression")
    runs = [f"regression/fold-{number}" for number in (1, 2)]
    error = call("ensemble", *runs, *"--out-of-fold regression regression --out none".split(), status=2)
    assert "regression/fold-1: a run of --task regression; an ensemble combines classifiers" in error
