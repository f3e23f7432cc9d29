"""Runs of several corpora in one table: what is a row, what is a column, what is averaged, and what is left blank."""

import json

import pytest

from tests.conftest import make_rows, write_csv
from textcls.report.compare import Result
from textcls.report.corpora import Entry, columns, corpora_table, tell_apart


def entry(run, value, corpus="cola", model="bert", metric="accuracy", backbone="nano", split=None, task="x", **others):
    metrics = {name: {"value": number} for name, number in {metric: value, **others}.items()}
    split = {"ids": split or f"of {corpus}"}
    data = f"{corpus.split('/')[-1]} (2 classes)"
    return Entry(
        Result({"run": run, "task": task, "data": data, "metrics": metrics, "split": split}), model, backbone, corpus
    )


def shown(*entries) -> list[list[str]]:
    """The cells of the table, by the places of its head."""
    lines = corpora_table(entries).splitlines()
    ends, at = [], 0
    for dashes in lines[1].split("  "):
        at += len(dashes) + 2
        ends.append(at - 2)
    starts = [0, *(end + 2 for end in ends[:-1])]
    rows = lines[:1] + lines[2 : lines.index("")]
    return [[row[a:b].strip() for a, b in zip(starts, ends, strict=True)] for row in rows]


# ---- the table ------------------------------------------------------------------------------------------------------


def test_two_models_and_two_corpora():
    """Each corpus by its first metric, x 100; the average is of the columns, not of all numbers."""
    rows = shown(
        entry("a", 0.5, "cola", metric="matthews", accuracy=0.9), entry("b", 0.75, "rte"),
        entry("c", 0.25, "cola", "lstm", metric="matthews", accuracy=0.8), entry("d", 1.0, "rte", "lstm"),
    )  # fmt: skip
    assert rows == [
        ["", "cola Matthews", "rte accuracy", "average"],
        ["bert", "50.0", "75.0", "62.5"],
        ["lstm", "25.0", "100.0", "62.5"],
    ]


def test_mnli_has_two_columns_which_both_count():
    """The average of Devlin et al. (2019), Table 1, is of nine columns: 79.6 of BERT-base, 79.05 with one for MNLI."""
    rows = shown(entry("a", 0.5, "mnli", accuracy_mm=0.4, ece=0.1), entry("b", 0.75, "rte"))
    assert rows[0] == ["", "mnli accuracy", "mnli accuracy (mm)", "rte accuracy", "average"]
    assert rows[1] == ["bert", "50.0", "40.0", "75.0", "55.0"]


def test_runs_selected_by_different_metrics_are_shown_by_what_all_have():
    runs = entry("a", 0.5, metric="matthews", accuracy=0.9), entry("b", 0.75, model="lstm"), entry("c", 0.5, "rte")
    for some in (runs, runs[::-1]):
        assert {row[0]: row[1:3] for row in shown(*some)[1:]}["lstm"] in (["75.0", ""], ["", "75.0"])


def test_what_was_tested_on_is_said():
    """So that a table does not hide which epochs were chosen on what it reports."""
    runs = [entry("a", 0.5), entry("b", 0.75, model="lstm"), entry("c", 0.5, "rte")]
    assert "\ncola: cola (2 classes)\nrte: rte (2 classes)" in corpora_table(runs)
    runs[1].result.summary["data"] += "; the epoch was chosen on dev.tsv too"
    text = corpora_table(runs)
    assert "\ncola: cola (2 classes): a\ncola: cola (2 classes); the epoch was chosen on dev.tsv too: b\n" in text


def test_where_a_model_lacks_a_column_cell_and_average_are_blank():
    runs = entry("a", 0.5), entry("b", 0.75, "rte"), entry("c", 0.25, "rte", "lstm")
    assert shown(*runs)[1:] == [["bert", "50.0", "75.0", "62.5"], ["lstm", "", "25.0", ""]]
    assert shown(*reversed(runs)) == [
        ["", "rte accuracy", "cola accuracy", "average"],  # in the order given
        ["lstm", "25.0", "", ""],
        ["bert", "75.0", "50.0", "62.5"],
    ]


def test_a_perplexity_is_in_no_average():
    runs = [entry("a", 0.5), entry("b", 87.125, "wiki", metric="perplexity"), entry("c", 1, "rte")]
    text = corpora_table(runs)
    assert shown(*runs)[1] == ["bert", "50.0", "87.12", "100.0", "75.0"]
    assert "x 100 but wiki (perplexity); the average is the mean of the columns but wiki (perplexity)" in text
    lacking = [*runs, entry("d", 0.5, model="lstm"), entry("e", 0.5, "rte", "lstm")]
    assert shown(*lacking)[2] == ["lstm", "50.0", "", "50.0", "50.0"]  # it lacks nothing that is averaged
    losses = [entry("a", 0.5, metric="nll"), entry("b", 3.0, "wiki", metric="mlm_nll")]
    assert shown(*losses) == [["", "cola NLL", "wiki masked NLL"], ["bert", "0.5000", "3.0000"]]
    assert "no average" in corpora_table(losses)


def test_the_runs_of_a_row_are_named():
    text = corpora_table([entry("runs/a", 0.5), entry("runs/b", 0.75, "rte"), entry("runs/c", 0.5, model="lstm")])
    assert "\nbert: runs/a, runs/b\nlstm: runs/c" in text


# ---- rows -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form, names", [
    ("runs/{corpus}/{which}", ["bert (one)", "bert (two)"]),
    ("runs/{which}/{corpus}", ["bert (one)", "bert (two)"]),
    ("{which}/runs/{corpus}/seed-1", ["bert (one)", "bert (two)"]),
    ("runs/{which}/{corpus}-{which}", ["bert (one)", "bert (two)"]),  # fewer rows than the last part would give
    ("runs/{corpus}-{which}", ["bert (cola-one)", "bert (cola-two)", "bert (rte-one)", "bert (rte-two)"]),
])  # fmt: skip
def test_runs_of_one_model_are_told_apart_by_their_paths(form, names):
    """Wherever in the path the difference stands, and whatever the order, a row has the runs of one name."""
    scores = {("cola", "one"): 0.1, ("cola", "two"): 0.2, ("rte", "two"): 0.4, ("rte", "one"): 0.3}
    runs = [entry(form.format(corpus=corpus, which=which), score, corpus) for (corpus, which), score in scores.items()]
    rows = {row[0]: row[1:] for row in shown(*runs)[1:]}
    assert sorted(rows) == names
    if len(names) == 2:
        assert rows == {"bert (one)": ["10.0", "30.0", "20.0"], "bert (two)": ["20.0", "40.0", "30.0"]}


def test_runs_of_one_model_on_different_corpora_are_one_row_whatever_their_paths():
    assert len(shown(entry("x/a", 0.5), entry("y/z/b", 0.5, "rte"))) == 2


def test_models_over_different_backbones_are_different_rows():
    scores = {("cola", "nano"): 0.1, ("rte", "minilm"): 0.4, ("rte", "nano"): 0.3}
    runs = [entry(f"{corpus}/{over}", score, corpus, backbone=over) for (corpus, over), score in scores.items()]
    assert shown(*runs)[1:] == [["bert (nano)", "10.0", "30.0", "20.0"], ["bert (minilm)", "", "40.0", ""]]
    rows = shown(*runs, entry("rte/again", 0.5, "rte"))
    assert [row[0] for row in rows[1:]] == ["bert (nano, nano)", "bert (minilm)", "bert (nano, again)"]


def test_a_run_given_twice_is_one():
    assert len(shown(run := entry("a", 0.5), run, entry("b", 0.5, "rte"), entry("a", 0.5))) == 2


def test_what_tells_paths_apart():
    assert tell_apart(["a/x", "b/y"], lambda path: path[0]) == {"a/x": "", "b/y": ""}
    assert tell_apart(["a/x", "a/y"], lambda path: 0) == {"a/x": "x", "a/y": "y"}
    assert tell_apart(["a\\x", "b\\x"], lambda path: 0) == {"a\\x": "a", "b\\x": "b"}
    crossed = ["a/p/x", "a/q/x", "b/p/y", "a/p/y"]  # no single part differs
    assert tell_apart(crossed, lambda path: 0) == {path: path for path in crossed}


# ---- columns --------------------------------------------------------------------------------------------------------


def names_of(entries) -> list[list[str]]:
    return [[one.run for one in column] for column in columns(entries)]


def test_one_corpus_is_one_training_set_or_one_test_split():
    assert names_of([entry("a", 1, "x", split="1"), entry("b", 1, "x", split="2")]) == [["a", "b"]]
    assert names_of([entry("a", 1, "x", split="1"), entry("b", 1, "y", split="1")]) == [["a", "b"]]
    assert names_of([entry("a", 1, "x"), entry("b", 1, "y"), entry("c", 1, "x")]) == [["a", "c"], ["b"]]
    assert names_of([entry("a", 1, "x", task="p"), entry("b", 1, "x", task="q")]) == [["a"], ["b"]]
    linked = [entry("a", 1, "x", split="1"), entry("b", 1, "y", split="2"), entry("c", 1, "x", split="2")]
    assert names_of([*linked, entry("d", 1, "z")]) == [["a", "b", "c"], ["d"]]


def test_corpora_of_one_name_are_told_apart():
    def heads(*given) -> list[str]:
        return shown(*(entry(f"r{i}", 0.5, corpus, task=task) for i, (corpus, task) in enumerate(given)))[0][1:-1]

    assert heads(("/d/cola/t.tsv", "x"), ("/d/rte/t.tsv", "x")) == ["t.tsv (cola) accuracy", "t.tsv (rte) accuracy"]
    assert heads(("/d/a.tsv", "x"), ("/d/b.tsv", "x")) == ["a.tsv accuracy", "b.tsv accuracy"]
    assert heads(("/d/a.tsv", "x"), ("/d/a.tsv", "y")) == ["a.tsv (x) accuracy", "a.tsv (y) accuracy"]
    assert heads(("cola", "x"), ("/d/rte.tsv", "x")) == ["cola accuracy", "rte.tsv accuracy"]


# ---- end to end -----------------------------------------------------------------------------------------------------


def test_the_table_of_the_command(tmp_path, call, folder):
    """Two models, two corpora with files of the same names; and runs of one corpus as before."""
    scores = {}
    for corpus, seed in (("one", 0), ("two", 5)):
        (folder / corpus).mkdir()
        for name, count in (("train", 30), ("test", 12)):
            write_csv(folder / corpus / f"{name}.csv", make_rows(count, seed + count))
        for model, lr in (("near", "1e-8"), ("far", "1")):
            flags = f"--model linear --lr {lr} --epochs 1 --dev 0.3 --quiet --out runs/{corpus}/{model}".split()
            call("train", *flags, *f"--train {corpus}/train.csv --test {corpus}/test.csv".split())
            result = json.loads((folder / f"runs/{corpus}/{model}/results.json").read_text("utf-8"))
            scores[corpus, model] = 100 * result["metrics"]["accuracy"]["value"]
    runs = [f"runs/{corpus}/{model}" for corpus, model in scores]
    text = call("evaluate", *runs, "--quiet")
    lines = text.splitlines()
    heads = [part.strip() for part in lines[0].split("  ") if part]
    assert heads == ["test.csv (one) accuracy", "test.csv (two) accuracy", "average"]
    for line, model in zip(lines[2:4], ("near", "far"), strict=True):
        one, two = scores["one", model], scores["two", model]
        assert line.split() == ["linear", f"({model})", *(f"{value:.1f}" for value in (one, two, (one + two) / 2))]
    assert text.count(" points ") == 2  # within each corpus the runs are compared document by document
    assert "runs/one/near is" in text and "than runs/two/far" in text
    same = call("evaluate", *runs[:2], "--quiet")
    assert "average" not in same and "95 % interval" in same and "test data: test.csv" in same
    on_one_file = call("evaluate", *runs, "--quiet", "--test", "one/test.csv")
    assert "average" not in on_one_file and "test data: test.csv" in on_one_file
    assert len(json.loads(call("evaluate", *runs, "--json", "--quiet"))) == 4


@pytest.fixture
def folder(tmp_path):
    return tmp_path
