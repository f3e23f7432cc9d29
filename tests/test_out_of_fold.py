"""--folds as a user runs it: what is kept out of fold, stopped and gone on with; suspicious labels; ensembles on it."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch

from tests.conftest import make_rows, stop_after, write_csv
from textcls import out_of_fold, predictor
from textcls.config import TrainConfig
from textcls.metrics.classification import Scores, log_softmax
from textcls.metrics.confident import confident_learning
from textcls.models.ensemble import WeightedEnsemble
from textcls.runtime.errors import InputError
from textcls.tasks.classification import read_rows
from textcls.tasks.combination import Classes
from textcls.tasks.documents import places
from textcls.tasks.stacking import fit_weights
from textcls.training.run import Run

LSTM = "--model lstm --embedding 8 --hidden 4 --lr 0.02 --epochs 3 --batch-size 16 --quiet --train train.csv".split()
LINEAR = "--model linear --quiet --train train.csv".split()
TEST = ["--test", "test.csv"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("folds")
    write_csv(folder / "train.csv", make_rows(75))
    write_csv(folder / "test.csv", make_rows(30, seed=1))
    return folder


@pytest.fixture
def folded(folder, call):
    """The folder of three folds, and what was said."""
    if not (folder / "folds" / "folds.json").exists():
        (folder / "said.txt").write_text(call("train", *LSTM, *"--folds 3 --out folds".split()), "utf-8")
    return folder / "folds", (folder / "said.txt").read_text("utf-8")


@pytest.fixture
def members(folder, folded, call):
    """The two runs on all training documents that the folds are beside."""
    for name, flags in (("lstm", LSTM), ("linear", LINEAR)):
        if not (folder / name).exists():
            call("train", *flags, *TEST, "--out", name)
    return ["lstm", "linear"]


def arrays(folder) -> dict[str, np.ndarray]:
    with np.load(folder / "out-of-fold.npz") as content:
        return dict(content)


def calibrated(kept: dict[str, np.ndarray]) -> np.ndarray:
    return kept["logits"] / kept["temperatures"][kept["folds"] - 1][:, None]


# ---- what is kept ---------------------------------------------------------------------------------------------------


def test_every_document_is_tested_by_a_run_that_has_not_seen_it(folder, folded):
    kept, rows = arrays(folded[0]), make_rows(75)
    classes = sorted({label for _, label in rows})
    assert [classes[i] for i in kept["labels"]] == [label for _, label in rows]  # the order of the file
    for number in (1, 2, 3):
        trained, mine = predictor.load(folded[0] / f"fold-{number}", "cpu"), kept["folds"] == number
        splits = trained.run.splits()
        assert mine.sum() == 25 and np.array_equal(splits["test"], kept["ids"][mine])
        assert not np.isin(kept["ids"][mine], np.concatenate([splits["train"], splits["dev"]])).any()
        texts = [text for (text, _), yes in zip(rows, mine, strict=True) if yes]
        assert np.allclose(kept["logits"][mine], trained.logits(texts), atol=1e-5)


def test_the_summary_is_that_of_the_runs(folder, folded):
    out, said = folded
    kept, content = arrays(out), json.loads((out / "folds.json").read_text("utf-8"))
    results = [Run(out / f"fold-{n}").results()["metrics"]["accuracy"]["value"] for n in (1, 2, 3)]
    assert content["mean"]["accuracy"] == pytest.approx(np.mean(results))
    assert content["sd"]["accuracy"] == pytest.approx(np.std(results, ddof=1))
    pooled, scores = content["pooled"]["accuracy"], Scores(calibrated(kept), kept["labels"])
    assert pooled["value"] == scores.accuracy() == pytest.approx(np.mean(results))
    assert content["pooled"]["nll"]["value"] == pytest.approx(scores.nll())
    assert scores.nll() == pytest.approx(content["mean"]["nll"])  # all folds are of one size
    assert pooled["low"] <= pooled["value"] <= pooled["high"]
    assert f"{np.mean(results):.4f} ± {np.std(results, ddof=1):.4f}" in said
    assert "folds is" in said and "points" in said and "than folds/linear in accuracy" in said
    linear = arrays(out / "linear")
    assert all(np.array_equal(linear[name], kept[name]) for name in ("ids", "labels", "folds"))
    assert not np.array_equal(linear["logits"], kept["logits"])
    assert "here tested on fold 1/3" in said and f"{out.name}/out-of-fold.npz" in said


def test_stopped_and_gone_on_with_it_comes_to_the_same(folder, folded, call, monkeypatch):
    with monkeypatch.context() as patch:
        stop_after(patch, 5)
        call("train", *LSTM, *"--folds 3 --out again".split(), status=130)
    assert not (folder / "again" / "folds.json").exists() and (folder / "again" / "fold-2").exists()
    call("train", *LSTM, *"--folds 3 --out again".split())
    kept, again = arrays(folded[0]), arrays(folder / "again")
    assert all(np.array_equal(kept[name], again[name]) for name in kept)
    said = call("train", *LSTM, *"--folds 3 --out again".split())  # nothing is trained any more
    assert "epoch" not in said.split("a.csv")[0].replace("epochs", "") and "mean ± sd" in said


def test_one_fold_alone_is_a_run(folder, folded, call):
    call("train", *LSTM, *"--fold 2/3 --out alone".split())
    for name in ("train", "dev", "test"):
        assert np.array_equal(Run("alone").splits()[name], Run(folded[0] / "fold-2").splits()[name])
    assert Run("alone").results()["metrics"] == Run(folded[0] / "fold-2").results()["metrics"]
    text = call("evaluate", "alone", "folds/fold-2")
    assert "tested on fold 2/3" in text
    assert call("evaluate", "folds/fold-1", "folds/fold-2").count("tested on different documents") == 1


def test_what_has_changed_is_refused(folder, folded, call):
    text = (folder / "train.csv").read_text("utf-8")
    before = sorted((path, path.stat().st_mtime_ns) for path in folded[0].rglob("*.*"))
    error = call("train", *LSTM, *"--folds 4 --out folds".split(), status=2)
    assert "folds/fold-1 was trained with --fold 1/3, not 1/4; choose another --out" in error
    error = call("train", *LSTM, *"--folds 3 --seed 2 --out folds".split(), status=2)
    assert "folds/fold-1 was trained with --seed 1, not 2" in error
    error = call("train", *LSTM, *TEST, *"--seeds 1 2 --out folds".split(), status=2)
    assert "folds/fold-1 is of folds; choose another --out" in error
    try:
        lines = text.splitlines(keepends=True)
        (folder / "train.csv").write_text("".join(lines[:1] + lines[2:] + lines[1:2]), "utf-8")
        error = call("train", *LSTM, *"--folds 3 --out folds".split(), status=2)
        assert "the test documents are not those the run began with" in error
        (folder / "train.csv").write_text(text.replace(",cooking\n", ",sailing\n", 1), "utf-8")
        assert "are not those the run began with" in call("train", *LSTM, *"--folds 3 --out folds".split(), status=2)
    finally:
        (folder / "train.csv").write_text(text, "utf-8")
    assert before == sorted((path, path.stat().st_mtime_ns) for path in folded[0].rglob("*.*"))


@pytest.mark.parametrize("flags, message", [
    ("--folds 1", "--folds 1: must be at least 2"),
    ("--folds 26", "26 folds want a document of every class in each: class 'astronomy' has 25"),
    ("--folds 3 --plan", "--folds stands alone: leave out --plan"),
    ("--folds 3 --resume folds/fold-1", "--folds stands alone: leave out --resume"),
    ("--folds 3 --seeds 1 2", "--folds stands alone: leave out --seeds"),
    ("--folds 3 --fold 1/3", "--folds stands alone: leave out --fold"),
    ("--folds 3 --lr 0.1 0.2", "--folds stands alone: give one --lr, not 0.1 0.2"),
    ("--folds 3 --test test.csv", "--folds tests on documents of the training data: leave out --test"),
    ("--fold 1/3 --seeds 1 2", "--fold 1/3: each seed would draw other test documents"),
    ("--fold 4/3", "--fold 4/3: expected NUMBER/FOLDS"),
])  # fmt: skip
def test_what_folds_cannot_be_is_refused(folder, call, flags, message):
    error = call("train", *LINEAR, *([] if "--resume" in flags else ["--out", "refused"]), *flags.split(), status=2)
    assert message in error and not (folder / "refused").exists()


# ---- suspicious labels ----------------------------------------------------------------------------------------------


def test_flipped_labels_are_listed_with_their_places(folder, call):
    """Texts over several lines: a place is the line on which the row begins."""
    rows, line, lines = make_rows(240, seed=3), 2, {}
    classes = sorted({label for _, label in rows})
    wrong = {i: classes[(classes.index(rows[i][1]) + 1) % 3] for i in (10, 50, 90, 130, 170)}
    with open(folder / "flipped.csv", "w", encoding="utf-8", newline="") as file:
        file.write("text,label\n")
        for i, (text, label) in enumerate(rows):
            lines[f"flipped.csv:{line}"] = i
            text = f"{text}\n=1+1, \"said\"" if i % 5 == 0 else text
            quoted = text.replace('"', '""')
            file.write(f'"{quoted}",{wrong.get(i, label)}\n')
            line += 1 + text.count("\n")
    flags = [*LINEAR[:-1], "flipped.csv"]
    said = call("train", *flags, *"--epochs 8 --folds 4 --out flipped".split())
    with open(folder / "flipped" / "suspicious.csv", encoding="utf-8", newline="") as file:
        listed = list(csv.DictReader(file))
    assert len(listed) >= 4 and {lines[row["place"]] for row in listed} <= set(wrong)
    for row in listed:
        i = lines[row["place"]]
        assert (row["label"], row["suggested"]) == (wrong[i], rows[i][1]) and row["text"].startswith(rows[i][0])
        assert float(row["probability_label"]) < float(row["probability_suggested"])
        assert row["place"] in said
    kept = arrays(folder / "flipped")
    found = confident_learning(np.exp(log_softmax(calibrated(kept))), kept["labels"])
    assert [lines[row["place"]] for row in listed] == found.suspicious.tolist()
    assert f"{len(listed)} of 240" in said and f"{found.wrong:.1%} of the labels" in said


def test_places_of_other_data(tmp_path):
    for label in ("a", "b"):
        (tmp_path / "texts" / label).mkdir(parents=True)
        for number in (1, 2):
            (tmp_path / "texts" / label / f"{number}.txt").write_text("x", "utf-8")
    config = TrainConfig(train=str(tmp_path / "texts"), text_column="text", label_column="label")
    found = places(config, 4, lambda path: read_rows(config, path))
    assert found == ["texts/a/1.txt", "texts/a/2.txt", "texts/b/1.txt", "texts/b/2.txt"]
    assert places(TrainConfig(), 2, None) == ["pydocs 1", "pydocs 2"]


# ---- ensembles ------------------------------------------------------------------------------------------------------


def test_an_ensemble_is_fitted_on_all_training_documents(folder, folded, members, call):
    said = call("ensemble", *members, *"--out-of-fold folds folds/linear --out stacked --quiet".split())
    kept = [arrays(folder / name) for name in ("folds", "folds/linear")]
    model = WeightedEnsemble(2, 3)
    probabilities = np.concatenate([np.exp(log_softmax(of["logits"])) for of in kept], 1)
    fit_weights(model, torch.from_numpy(probabilities).float(), torch.from_numpy(kept[0]["labels"]))
    stacked = predictor.load(folder / "stacked", "cpu")
    assert torch.allclose(stacked.model.weights, model.weights, atol=1e-4)
    assert "on 75 training documents out of fold" in said and "75 training documents" in stacked.meta["training"]
    assert set(stacked.run.splits()["train"]) == set(kept[0]["ids"])
    assert "stacked" in call("evaluate", *members, "stacked")


def test_members_and_folds_belong_together(folder, folded, members, call):
    def refused(*folds, runs=members) -> str:
        return call("ensemble", *runs, "--out-of-fold", *folds, "--out", "none", status=2)

    assert "1 folders for 2 runs" in refused("folds")
    assert "lstm: no folds.json: not a folder of train.py --folds" in refused("lstm", "folds/linear")
    assert "folds/linear was trained with --batch-size" in refused("folds/linear", "folds")
    call("train", *LSTM, *"--test 0.2 --out held".split())
    assert "folds was trained on 15 of the 15 test" in refused("folds", "folds/linear", runs=["held", "held/linear"])
    write_csv(folder / "more.csv", make_rows(78))
    call("train", *LINEAR[:-1], "more.csv", *"--folds 3 --out more".split())
    assert "more: its documents are not the training documents of the first member" in refused("folds", "more")
    assert not (folder / "none").exists()


def test_damaged_files_are_seen(folder, folded, members, tmp_path):
    member = predictor.load(folder / "linear", "cpu")

    def read_again(change) -> str:
        shutil.rmtree(tmp_path / "copy", ignore_errors=True)
        shutil.copytree(folded[0] / "linear", tmp_path / "copy")
        change(tmp_path / "copy" / "out-of-fold.npz", tmp_path / "copy" / "folds.json")
        with pytest.raises(InputError) as error:
            out_of_fold.read(str(tmp_path / "copy"), member, Classes)
        return str(error.value)

    def other_logits(arrays_of, content):
        kept = arrays(arrays_of.parent)
        np.savez(arrays_of, **kept | {"logits": kept["logits"] + 1})

    assert len(out_of_fold.read(str(folded[0] / "linear"), member, Classes).ids) == 75
    assert "out-of-fold.npz: missing, damaged, or not that of folds.json" in read_again(lambda a, f: a.unlink())
    assert "missing, damaged" in read_again(lambda a, f: a.write_bytes(a.read_bytes()[:-30]))
    assert "not that of folds.json; give the same train.py --folds command again" in read_again(other_logits)
    assert "folds.json: damaged (its checksum" in read_again(lambda a, f: f.write_text(
        f.read_text("utf-8").replace('"documents": 75', '"documents": 74'), "utf-8"))  # fmt: skip
    assert "damaged, or not written by textcls (folds is not" in read_again(lambda a, f: f.write_text("{}", "utf-8"))
    assert "no folds.json" in read_again(lambda a, f: f.unlink())
