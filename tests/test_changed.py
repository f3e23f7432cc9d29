"""What a run rests on may change after it began: its labels, its splits, its files, the settings beside it."""

import json

import pytest

from tests.conftest import make_rows, write_csv
from textcls.training.run import Run

LINEAR = "--model linear --epochs 2 --quiet".split()
NAMES = {"ada": "PER", "turin": "LOC", "milan": "LOC", "grace": "PER"}


@pytest.fixture
def folder(tmp_path):
    for name, count, seed in (("train", 60, 0), ("dev", 15, 1), ("test", 30, 2)):
        write_csv(tmp_path / f"{name}.csv", make_rows(count, seed))
        words = [f"{word}\tB-{kind}\nwas\tO\n" for word, kind in NAMES.items()]
        (tmp_path / f"{name}.conll").write_text("\n".join(words * 5), "utf-8")
    return tmp_path


def files(ending: str) -> list[str]:
    return f"--train train.{ending} --dev dev.{ending} --test test.{ending}".split()


def accuracy(call, *runs: str) -> float:
    return json.loads(call("evaluate", *runs, "--json", "--quiet"))["metrics"]["accuracy"]["value"]


def relabel(path) -> None:
    """Every label another one, in the same order of texts."""
    text = path.read_text("utf-8")
    for name, other in (("astronomy", "sailing"), ("B-PER", "B-LOC")):
        text = text.replace(name, "@").replace(other, name).replace("@", other)
    path.write_text(text, "utf-8")


# ---- labels ---------------------------------------------------------------------------------------------------------


def test_a_new_class_in_the_training_file_changes_no_result(folder, call):
    """The label of the new row sorts before all others: by today's file every number would be another class."""
    call("train", *LINEAR, *files("csv"), "--out", "run")
    before = accuracy(call, "run")
    assert before > 0.9
    with open(folder / "train.csv", "a", encoding="utf-8") as file:
        file.write("a new text,aaa\n")
    assert accuracy(call, "run") == before
    (folder / "train.csv").unlink()
    (folder / "dev.csv").unlink()
    assert accuracy(call, "run") == before  # only the test file is needed


def test_nor_does_a_new_type_of_entity(folder, call):
    flags = "--task tagging --model bilstm-scratch --hidden 8 --embedding 8 --epochs 3 --min-count 1 --quiet".split()
    call("train", *flags, *files("conll"), "--out", "run")

    def f1() -> float:
        return json.loads(call("evaluate", "run", "--json", "--quiet"))["metrics"]["f1"]["value"]

    before = f1()
    (folder / "train.conll").write_text("new B-AAA\n\n" + (folder / "train.conll").read_text("utf-8"), "utf-8")
    assert f1() == before
    with open(folder / "test.conll", "a", encoding="utf-8") as file:
        file.write("\nnew\tB-AAA\n")
    assert "a type that does not occur in the training data" in call("evaluate", "run", status=2)


@pytest.mark.parametrize("ending, flags", [
    ("csv", "--model linear --epochs 2"),
    ("conll", "--task tagging --model bilstm-scratch --hidden 8 --embedding 8 --epochs 1 --min-count 1"),
])  # fmt: skip
def test_the_same_texts_with_other_labels_are_another_split(ending, flags, folder, call):
    call("train", *flags.split(), *files(ending), "--quiet", "--out", "run")
    for name, what in (("dev", "train"), ("test", "evaluate")):
        path = folder / f"{name}.{ending}"
        before = path.read_text("utf-8")
        relabel(path)
        command = ("train", "--resume", "run") if what == "train" else ("evaluate", "run")
        assert f"the {name} labels are not those the run began with" in call(*command, "--quiet", status=2)
        path.write_text(before, "utf-8")
    call("train", "--resume", "run", "--quiet")


# ---- files ----------------------------------------------------------------------------------------------------------


def test_a_run_finds_its_files_from_wherever_one_stands(folder, call, monkeypatch):
    call("train", *LINEAR, *files("csv"), "--out", "run")
    before = accuracy(call, "run")
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    assert accuracy(call, "../run") == before
    call("train", "--resume", "../run", "--quiet")
    (folder / "test.csv").rename(folder / "moved.csv")
    assert "test.csv: no such file" in call("evaluate", "../run", status=2)
    assert "accuracy" in call("evaluate", "../run", "--test", "../moved.csv", "--quiet")


# ---- ensembles ------------------------------------------------------------------------------------------------------


def test_an_ensemble_is_fitted_on_the_documents_and_labels_of_its_members(folder, call):
    for seed in ("1", "2"):
        call("train", *LINEAR, *files("csv"), "--seed", seed, "--out", f"run-{seed}")
    runs = ("run-1", "run-2")
    for name in ("dev", "test"):
        path = folder / f"{name}.csv"
        before = path.read_text("utf-8")
        relabel(path)
        text = call("ensemble", *runs, "--out", "both", "--quiet", status=2)
        assert f"the {name} labels are not those the run began with" in text
        path.write_text(before, "utf-8")
    with open(folder / "train.csv", "a", encoding="utf-8") as file:
        file.write("a new text,aaa\n")
    assert "the labels of the data are not those" in call("ensemble", *runs, "--out", "both", "--quiet", status=2)


# ---- comparisons ----------------------------------------------------------------------------------------------------


def test_runs_on_different_test_files_are_not_compared_document_by_document(folder, call):
    """The same training file, as many classes and as many test documents: still other documents, or other labels."""
    write_csv(folder / "other.csv", make_rows(30, seed=9))
    (folder / "relabelled.csv").write_text((folder / "test.csv").read_text("utf-8"), "utf-8")
    relabel(folder / "relabelled.csv")
    for name in ("test", "other", "relabelled"):
        call("train", *LINEAR, *files("csv")[:4], "--test", f"{name}.csv", "--out", f"on-{name}")
    assert "tested on different documents" in call("evaluate", "on-test", "on-other", "--quiet")
    assert "tested on different labels" in call("evaluate", "on-test", "on-relabelled", "--quiet")
    assert "points better" in call("evaluate", "on-test", "on-test", "--quiet")


# ---- seeds ----------------------------------------------------------------------------------------------------------


def test_seeds_are_one_experiment(folder, call):
    flags = [*LINEAR, *files("csv"), "--out", "three", "--seeds"]
    call("train", *flags, "1", "2")
    assert "three/seed-1 was trained with --lr 1e-08, not 0.5" in call("train", *flags, "3", "--lr", "0.5", status=2)
    assert not (folder / "three" / "seed-3").exists()
    assert "3 runs" in call("train", *flags, "1", "2", "3")
    relabel(folder / "test.csv")
    assert "different labels" in call("train", *flags, "1", "4", status=2)


def test_the_same_command_without_out_goes_on(folder, call):
    flags = [*LINEAR, *files("csv"), "--seeds"]
    call("train", *flags, "1", "2")
    first = Run(folder / "runs" / "linear-seeds" / "seed-1")
    time = (first.folder / "best.pt").stat().st_mtime_ns
    text = call("train", *flags, "1", "2", "3")
    assert "3 runs" in text and (first.folder / "best.pt").stat().st_mtime_ns == time
    call("train", *flags, "1", "2", "--lr", "0.5")
    assert (folder / "runs" / "linear-seeds-2" / "seed-2").exists()
    call("train", *flags, "1", "2", "3")
    assert sorted(path.name for path in (folder / "runs").iterdir()) == ["linear-seeds", "linear-seeds-2"]
