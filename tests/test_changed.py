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
    assert "seed-4 was trained on different data than three/seed-1" in call("train", *flags, "1", "4", status=2)


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


def test_seeds_on_changed_data_are_not_averaged(folder, call):
    flags = [*LINEAR, "--train", "train.csv", "--dev", "0.2", "--test", "test.csv", "--out", "three", "--seeds"]
    call("train", *flags, "1", "2")  # two divisions of the same data
    with open(folder / "train.csv", "a", encoding="utf-8") as file:
        file.write("one more text,cooking\n")
    error = call("train", *flags, "1", "3", status=2)
    assert "seed-3 was trained on different data than three/seed-1" in error


# ---- the rest of what a run stands on -------------------------------------------------------------------------------


def test_the_reference_is_of_the_same_documents(folder, call):
    """RUN/linear was trained before the files changed, or after the network: its accuracy is not shown beside it."""
    flags = "--model lstm --epochs 1 --embedding 8 --hidden 8 --quiet".split()
    text = call("train", *flags, *files("csv"), "--out", "run")
    assert "trained on the same documents" in text
    (folder / "run" / "linear").rename(folder / "linear")
    relabel(folder / "train.csv")
    call("train", *LINEAR, *files("csv"), "--out", "run/linear")
    assert "is of other documents, or other labels: no reference" in call("evaluate", "run", "--quiet")


def test_the_vocabulary_is_the_one_the_run_was_trained_with(folder, call):
    call("train", *LINEAR, *files("csv"), "--out", "run")
    path = folder / "run" / "tokenizer.json"
    text = path.read_text("utf-8")
    path.write_text(text.replace('"star"', '"stra"'), "utf-8")
    assert "of which it has not both" in call("evaluate", "run", status=2)
    vocab = json.loads(text)["model"]["vocab"]
    first, second = (next(word for word, number in vocab.items() if number == place) for place in (7, 8))
    content = json.loads(text)
    content["model"]["vocab"][first], content["model"]["vocab"][second] = vocab[second], vocab[first]
    path.write_text(json.dumps(content), "utf-8")
    assert "not the vocabulary that the run was trained with" in call("evaluate", "run", status=2)


def test_the_backbone_keeps_its_dimensions(folder, call):
    import shutil

    from textcls.pretrained.hub import NANO

    shutil.copytree(NANO, folder / "bert")
    flags = "--model bert-lstm --bert bert --epochs 1 --hidden 4 --max-length 16 --quiet".split()
    call("train", *flags, *files("csv"), "--out", "a")
    config = folder / "bert" / "config.json"
    (folder / "bert" / "SHA256SUMS").unlink()
    config.write_text(config.read_text("utf-8").replace('"num_attention_heads": 4', '"num_attention_heads": 2'), "utf-8")
    text = call("train", *flags, *files("csv"), "--out", "b")
    assert " to " in next(line for line in text.splitlines() if line.startswith("train: vectors"))  # not from the cache
    assert "the dimensions of" in call("train", "--resume", "a", status=2)


def test_language_models_on_different_texts_are_said_to_be(folder, call):
    for name in ("one", "two"):
        (folder / name).mkdir()
        rows = make_rows(30, seed=len(name) + ord(name[0]))
        (folder / name / "test.txt").write_text("".join(f"{text}\n" for text, _ in rows), "utf-8")
    (folder / "train.txt").write_text("".join(f"{text}\n" for text, _ in make_rows(60)), "utf-8")
    flags = "--task lm --model lstm --embedding 8 --epochs 1 --batch-size 4 --max-length 8 --quiet".split()
    for name in ("one", "two"):
        call("train", *flags, "--train", "train.txt", "--test", f"{name}/test.txt", "--out", f"lm-{name}")
    assert "tested on different documents" in call("evaluate", "lm-one", "lm-two", "--quiet")
