"""The three scripts as a user runs them, on small files: in this process, or in one of their own where that is what is
tested."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

import textcls
from tests.conftest import ROOT, TOPICS, equal, make_rows, without_clock, write_csv
from tests.launch import Launched
from textcls.runtime.device import Precision
from textcls.training.run import Run

FILES = "--train train.csv --test test.csv".split()
SMALL = "--max-length 24 --epochs 3 --seed 3 --quiet".split()
SMALL_LSTM = [*SMALL, *"--hidden 12 --lr 0.01".split()]
BILSTM = ["--model", "bilstm", *FILES, *SMALL_LSTM, "--epochs", "6"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with train.csv, test.csv and the runs bilstm, bert and ensemble, with what each command printed."""
    folder = tmp_path_factory.mktemp("trained")
    write_csv(folder / "train.csv", make_rows(240))
    write_csv(folder / "test.csv", make_rows(60, seed=1))
    both = {
        "bilstm": start(folder, "train", *BILSTM),
        "bert": start(folder, "train", "--model", "bert", *FILES, *SMALL, "--epochs", "6"),
    }
    printed = {name: ended(process).stdout for name, process in both.items()}
    return folder, printed | {"ensemble": run(folder, "ensemble", "runs/bert", "runs/bilstm").stdout}


@pytest.fixture(scope="module")
def folder(trained) -> pathlib.Path:
    return trained[0]


@pytest.fixture(scope="module")
def printed(trained) -> dict[str, str]:
    return trained[1]


def environment(folder) -> dict[str, str]:
    return {"TEXTCLS_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def start(folder, script, *arguments, stdin="", before=None) -> Launched:
    """A script in a process of its own, in `folder`."""
    return Launched(folder, script, *arguments, stdin=stdin, before=before, **environment(folder))


def ended(process: Launched, status: int = 0) -> Launched:
    """The process after its end: its exit status must be this one, and 2 must come with one clean line."""
    assert process.wait() == status, f"exit {process.returncode}\n{process.stdout}\n{process.stderr}"
    if status == 2:
        assert "Traceback" not in process.stderr and process.stderr.count("error: ") == 1, process.stderr
    return process


def run(folder, script, *arguments, status=0, **options) -> Launched:
    return ended(start(folder, script, *arguments, **options), status)


def without_reference() -> None:
    """No linear model beside the run: it is trained once, for the runs of the fixture."""
    import train

    train.ending = lambda *_: []


@pytest.fixture
def train_briefly(call, monkeypatch):
    """One epoch of a small BiLSTM into the run folder `out`; what it printed."""
    monkeypatch.setattr("train.ending", lambda *_: [])
    return lambda out, *more: call("train", *SMALL_LSTM, "--epochs", "1", "--out", out, *more)


def accuracy(text: str, name: str = "accuracy") -> float:
    return float(next(line for line in text.splitlines() if line.startswith(name)).removeprefix(name).split()[0])


# ---- train ----------------------------------------------------------------------------------------------------------


def test_train_prints_and_leaves_what_it_says(folder, printed):
    for name in ("bilstm", "bert"):
        text = printed[name]
        assert accuracy(text) > 0.8
        for part in (
            "fp32",
            "train.csv (3 classes)",
            "train 216, dev 24, test 60",
            "backbone: nano: 2 layers, hidden 256, 16000 word pieces",
            "trainable +",
            "longer than 24 tokens",
            "[CLS]",
            "documents/s",
            "padding",
            "s/epoch",
            "peak rss",
            "best epoch",
            "MiB, predicted",
            "predicted  measured",
            "optimiser state",
            "one micro-batch: data",
            "linear ",
            f"next: python evaluate.py runs/{name}",
        ):
            assert part in text, part
        names = {path.name for path in (folder / "runs" / name).iterdir()}
        assert {"config.json", "metrics.jsonl", "best.pt", "last.pt", "tokenizer.json", "splits.npz"} <= names
        rows = [json.loads(line) for line in open(folder / "runs" / name / "metrics.jsonl", encoding="utf-8")]
        assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5, 6]


def test_a_frozen_run_stores_no_frozen_weights(folder):
    state = Run(folder / "runs" / "bilstm").load("best.pt")["model"]
    assert not any("embeddings" in name for name in state)
    source = Run(folder / "runs" / "bilstm").meta()["backbone"]
    assert source["name"] == "nano" and len(source["sha256"]) == 64


def test_a_frozen_backbone_of_random_weights_is_kept_in_the_run(folder, call, train_briefly):
    text = train_briefly("scratch", "--train", "train.csv", "--scratch")
    assert "backbone: random weights" in text
    source = Run(folder / "scratch").meta()["backbone"]
    assert source["path"] == "backbone"
    ours, theirs = textcls.load_bert(folder / "scratch" / "backbone"), textcls.load_bert("nano")
    assert ours.config == theirs.config
    assert not torch.equal(ours.pooler.dense.weight, theirs.pooler.dense.weight)
    call("evaluate", "scratch", "--test", "test.csv")
    weights = folder / "scratch" / "backbone" / "model.safetensors"
    weights.write_bytes(b"x" * 100)
    assert "is not that of the backbone" in call("evaluate", "scratch", "--test", "test.csv", status=2)


def test_the_same_command_gives_the_same_run(folder, tmp_path):
    run(folder, "train", *BILSTM, "--out", tmp_path / "again", before=without_reference)
    first, again = Run(folder / "runs" / "bilstm"), Run(tmp_path / "again")
    assert equal(first.load("best.pt"), again.load("best.pt"))
    assert equal(without_clock(first.load("last.pt")), without_clock(again.load("last.pt")))


def test_a_second_run_does_not_touch_the_first(folder, call):
    before = (folder / "runs" / "bilstm" / "best.pt").read_bytes()
    text = call("train", "--train", "train.csv", *SMALL_LSTM, "--epochs", "1")
    assert "evaluate.py runs/bilstm-2 --test FILE" in text
    errors = call("train", "--train", "train.csv", "--out", "runs/bilstm", status=2)
    assert "--out runs/bilstm already holds a run" in errors
    assert (folder / "runs" / "bilstm" / "best.pt").read_bytes() == before
    shutil.rmtree(folder / "runs" / "bilstm-2")


def test_options_of_the_loss_and_of_the_data(tmp_path, call):
    rows = [{"a": text, "b": "and more", "gold": label} for text, label in make_rows(60)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    columns = ["--train", tmp_path / "pairs.jsonl", *"--text-column a,b --label-column gold".split()]
    of_the_loss = "--class-weights balanced --label-smoothing 0.1 --select loss".split()
    others = "--hidden 8 --truncate headtail --amp bf16".split()
    call("train", *columns, *SMALL, *of_the_loss, *others, "--out", tmp_path / "run")
    predictor = textcls.load(tmp_path / "run")
    labels, probabilities = predictor.predict([("star planet", "and more"), ("oven flour", "")])
    assert len(labels) == 2 and probabilities.shape == (2, 3)
    with pytest.raises(textcls.predictor.InputError, match=r"reads 2 text\(s\) a document, got 1"):
        predictor.predict(["one text"])


# ---- kill and resume ------------------------------------------------------------------------------------------------


def steps_done(folder: pathlib.Path) -> int:
    """By last.pt, of which no tensor is read."""
    try:
        return torch.load(folder / "last.pt", mmap=True, weights_only=True)["state"]["step"]
    except Exception:
        return -1


@pytest.mark.parametrize("model", ["bilstm", "bert"])
def test_kill_9_and_resume_equals_the_uninterrupted_run(folder, tmp_path, model):
    small = SMALL_LSTM if model == "bilstm" else SMALL
    command = [*f"--model {model} --train train.csv --batch-size 32 --save-every 1".split(), *small]
    run(folder, "train", *command, "--out", tmp_path / "whole")
    arguments = [*command, "--out", str(tmp_path / "cut")]
    killed = 0
    for target in (0, 5, 12):
        process = start(folder, "train", *arguments)
        while steps_done(tmp_path / "cut") < target and process.returncode is None:
            time.sleep(0.03)
        process.send(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        arguments = ["--resume", str(tmp_path / "cut")]
        assert steps_done(tmp_path / "cut") >= target
    assert killed >= 2
    run(folder, "train", *arguments)
    whole, cut = Run(tmp_path / "whole"), Run(tmp_path / "cut")
    assert equal(without_clock(whole.load("last.pt")), without_clock(cut.load("last.pt")))
    assert equal(whole.load("best.pt"), cut.load("best.pt"))


def test_ctrl_c(folder, tmp_path):
    arguments = ["--train", "train.csv", *SMALL_LSTM, *"--epochs 500 --save-every 1".split()]
    process = start(folder, "train", *arguments, "--out", tmp_path / "run")
    while steps_done(tmp_path / "run") < 3 and process.returncode is None:
        time.sleep(0.05)
    process.send(signal.SIGINT)
    assert process.wait(60) == 130, process.stderr
    output, errors = process.stdout, process.stderr
    assert f"go on with: python train.py --resume {tmp_path / 'run'}" in output
    assert "Traceback" not in errors


def test_resume_checks_what_it_is_given(folder, tmp_path, monkeypatch, call, train_briefly):
    rows = make_rows(240, seed=9)
    train_briefly(tmp_path / "run", "--train", write_csv(tmp_path / "own.csv", rows))
    for arguments, message in (
        (("--resume", tmp_path / "none"), "no such run folder"),
        (("--resume", tmp_path), "not a run folder"),
        (("--resume", tmp_path / "run", "--lr", "1"), "leave out --lr"),
        (("--resume", folder / "runs" / "ensemble"), "an ensemble"),
        (("--resume", tmp_path / "run", "--checkpoint-activations"), "does not apply to --model bilstm"),
    ):
        assert message in call("train", *arguments, status=2)
    monkeypatch.chdir(tmp_path)  # the files are found wherever one stands
    call("train", "--resume", tmp_path / "run")
    write_csv(tmp_path / "own.csv", make_rows(240, seed=8))
    assert "documents are not those the run began with" in call("train", "--resume", tmp_path / "run", status=2)
    relabelled = [(text, "sailing" if label == "cooking" else "cooking") for text, label in rows]
    write_csv(tmp_path / "own.csv", relabelled)
    assert "are not those the run began with" in call("train", "--resume", tmp_path / "run", status=2)
    write_csv(tmp_path / "own.csv", rows)
    monkeypatch.chdir(folder)
    (tmp_path / "run" / "last.pt").write_bytes(b"damaged")
    assert "not a readable" in call("train", "--resume", tmp_path / "run", status=2)


# ---- the ledger -----------------------------------------------------------------------------------------------------


def without_weights_and_hub() -> None:
    """What would read weights fails from here on, as does importing huggingface_hub, which nothing has done so far."""
    from textcls.pretrained import backbone, bert, safetensors

    def refuse(*arguments):
        raise AssertionError(f"weights are read: {arguments}")

    readers = (bert, "read_weights"), (safetensors, "read_safetensors"), (backbone, "read_bert"), (torch, "load")
    for module, name in readers:
        assert callable(getattr(module, name))
        setattr(module, name, refuse)
    assert "huggingface_hub" not in sys.modules
    sys.modules["huggingface_hub"] = None


@pytest.mark.parametrize("model", ["bert", "bilstm"])
@pytest.mark.parametrize("bert, dims", [
    ("bert-base-uncased", "12 layers, hidden 768"),
    ("nano", "2 layers, hidden 256"),
])  # fmt: skip
def test_plan_reads_no_weights_and_writes_nothing(tmp_path, model, bert, dims):
    folder = tmp_path / "empty"
    folder.mkdir()
    arguments = f"--model {model} --bert {bert} --device cuda --plan --memory 6GB".split()
    text = run(folder, "train", *arguments, before=without_weights_and_hub).stdout
    for part in (dims, "gradients", "optimiser state", "the peak falls at", "GFLOP", "within 6GB"):
        assert part in text, part
    assert not list(folder.iterdir())


def test_what_forbids_reading_weights_is_seen_to_do_so(folder, tmp_path):
    process = start(folder, "train", *BILSTM, "--out", tmp_path / "run", before=without_weights_and_hub)
    assert process.wait() == 1 and "weights are read" in process.stderr and not (tmp_path / "run").exists()
    process = start(folder, "train", *BILSTM, "--bert", "no-such/model", before=without_weights_and_hub)
    assert process.wait() != 0 and "huggingface_hub" in process.stderr


def test_plan_on_its_own_data_and_for_the_cpu(folder, call):
    before = sorted(folder.rglob("*"))
    text = call("train", *"--plan --train train.csv --device cpu".split())
    assert "3 classes" in text and "growth of the " in text
    assert sorted(folder.rglob("*")) == before


def test_the_ledger_of_a_run_is_kept(folder):
    for name in ("bert", "bilstm"):
        kept = json.loads((folder / "runs" / name / "ledger.json").read_text())
        total = json.loads((folder / "runs" / name / "config.json").read_text())["parameters"]["total"]
        assert kept["trainable"] + kept["frozen"] == 4 * total
        assert set(kept["seconds"]) == {"data", "forward", "backward", "optimiser"}


def test_out_of_memory_names_the_ways_out(tmp_path, monkeypatch, call):
    """As the loop meets it: the allocator refuses, and what was saved before stays."""

    def refuse_memory(*arguments, **options):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB")

    monkeypatch.setattr("train.train", refuse_memory)
    arguments = "--model bert --train train.csv --memory 1MB".split()
    errors = call("train", *arguments, *SMALL, "--out", tmp_path / "run", status=2)
    predicted = [float(line.split(": ")[-1].split()[0].replace(",", "")) for line in errors.splitlines()[1:]]
    assert len(predicted) == 3 and all(size > 0 for size in predicted)
    for knob in ("--batch-size 16 --accumulate 2:", "--max-length 12:", "--checkpoint-activations:"):
        assert knob in errors


def test_checkpointing_gives_the_same_run(tmp_path, call):
    arguments = [*"--model bert --train train.csv".split(), *SMALL, "--epochs", "1"]
    call("train", *arguments, "--out", tmp_path / "plain")
    call("train", *arguments, "--out", tmp_path / "twice", "--checkpoint-activations")
    plain, twice = (Run(tmp_path / name).load("best.pt") for name in ("plain", "twice"))
    assert equal(plain, twice)


# ---- evaluate and predict -------------------------------------------------------------------------------------------


def test_evaluate_one_run(printed, call):
    text = call("evaluate", "runs/bilstm")
    assert accuracy(text) == accuracy(printed["bilstm"])
    for part in (
        "test.csv (3 classes): 60 documents",
        "macro-F1",
        "NLL",
        "ECE",
        "precision",
        "documents/s on cpu",
        *TOPICS,
    ):
        assert part in text
    result = json.loads(call("evaluate", "runs/bilstm", "--json"))
    assert round(result["metrics"]["accuracy"]["value"], 4) == accuracy(text)
    assert set(result["per_class"]) == set(TOPICS)
    assert result["metrics"]["nll"]["low"] < result["metrics"]["nll"]["value"] < result["metrics"]["nll"]["high"]


def test_evaluate_several_runs_side_by_side(printed, call):
    text = call("evaluate", "runs/bert", "runs/bilstm", "runs/ensemble")
    assert text.splitlines()[0] == "test data: test.csv (3 classes)"
    head = text.splitlines()[2].split()
    assert head == ["runs/bert", "runs/bilstm", "runs/ensemble"]
    for part in (
        "parameters total",
        "parameters trainable",
        "backbone",
        "sequence modelling",
        "pooling",
        "precision",
        "s/epoch on cpu",
        "test accuracy",
        "95 % interval",
        "frozen embeddings of nano",
    ):
        assert part in text, part
    poolings = next(line for line in text.splitlines() if line.startswith("pooling")).split()
    assert poolings[1:3] == ["mean", "attention"]
    row = next(line for line in text.splitlines() if line.startswith("test accuracy")).split()
    assert [float(x) for x in row[2:4]] == [accuracy(printed["bert"]), accuracy(printed["bilstm"])]
    results = json.loads(call("evaluate", "runs/bert", "runs/ensemble", "--json"))
    assert [result["run"] for result in results] == ["runs/bert", "runs/ensemble"]


def test_evaluate_on_another_file(tmp_path, call):
    other = write_csv(tmp_path / "other.csv", make_rows(9, seed=7))
    assert "other.csv: 9 documents" in call("evaluate", "runs/bilstm", "--test", other)


def test_predict_lines_and_json_lines(folder, tmp_path):
    texts = [" ".join(TOPICS[label].split()[:4]) for label in sorted(TOPICS)]
    of_stdin = "runs/bilstm --predict -".split()
    lines = run(folder, "evaluate", *of_stdin, stdin="\n".join(texts) + "\n\n").stdout.splitlines()
    assert [line.split("\t")[0] for line in lines[:3]] == sorted(TOPICS)
    assert len(lines) == 4  # an empty line is a text too
    (tmp_path / "x.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), "utf-8")
    text = run(folder, "evaluate", "runs/ensemble", "--predict", tmp_path / "x.jsonl", "--top-k", "2").stdout
    rows = [json.loads(line) for line in text.splitlines()]
    assert [row["labels"][0] for row in rows] == sorted(TOPICS)
    assert all(len(row["probabilities"]) == 2 and row["probabilities"][0] >= row["probabilities"][1] for row in rows)
    assert run(folder, "evaluate", *of_stdin, stdin="").stdout == ""


def test_prediction_does_not_depend_on_its_neighbours(folder):
    """In float32: a processor that multiplies bf16 natively rounds the same text in another batch otherwise."""
    predictor = textcls.load(folder / "runs" / "bert")
    predictor.precision = Precision(None, "test")
    texts = [text for text, _ in make_rows(80, seed=5)] + ["", "star " * 100]
    labels, together = predictor.predict(texts)
    assert together.sum(1) == pytest.approx(np.ones(len(texts)))
    assert labels == [predictor.labels[i] for i in together.argmax(1)]
    for i in (0, 40, 80, 81):
        assert np.abs(predictor.predict([texts[i]])[1][0] - together[i]).max() < 1e-5
    assert predictor.predict([])[1].shape == (0, 3)


def test_output_that_nobody_reads_is_no_error(folder):
    command = f"yes star | head -2000 | {sys.executable} {ROOT / 'evaluate.py'} runs/bilstm --predict - | head -1"
    variables = os.environ | environment(folder)
    result = subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True, env=variables)
    assert result.stdout.startswith("astronomy") and result.stderr == ""


# ---- ensemble -------------------------------------------------------------------------------------------------------


def test_ensemble(folder, printed, call):
    text = printed["ensemble"]
    for part in (
        "learned ensemble: 183 parameters",
        "runs/bert",
        "runs/bilstm",
        "average",
        "McNemar",
        "exact two-sided p",
    ):
        assert part in text, part
    assert accuracy(text, "learned ensemble ") > 0.8
    assert (folder / "runs" / "ensemble" / "best.pt").stat().st_size < 100_000
    assert len(list((folder / "runs" / "bert" / "logits").iterdir())) == 2
    texts = ["star comet orbit", "oven flour butter"]
    labels, probabilities = textcls.load(folder / "runs" / "ensemble").predict(texts)
    assert labels == ["astronomy", "cooking"] and probabilities.shape == (2, 3)
    again = call("ensemble", "runs/bert", "runs/bilstm", "--out", "runs/again")
    assert again.split("\ntest:")[1].split("run folder")[0] == text.split("\ntest:")[1].split("run folder")[0]


def test_ensemble_refuses_logits_of_documents_its_members_trained_on(folder, tmp_path, call, train_briefly):
    train_briefly(tmp_path / "other", *FILES, "--seed", "4")
    members = (folder / "runs" / "bilstm", tmp_path / "other")
    errors = call("ensemble", *members, "--out", tmp_path / "e", status=2)
    assert "of the 24 dev documents" in errors and "--in-sample" in errors
    assert not (tmp_path / "e").exists()
    assert "learned ensemble" in call("ensemble", *members, "--out", tmp_path / "e", "--in-sample")


def test_ensemble_notices_members_that_changed_or_do_not_fit(folder, tmp_path, call, train_briefly):
    (tmp_path / "runs").mkdir()
    for name in ("bert", "bilstm", "ensemble"):
        shutil.copytree(folder / "runs" / name, tmp_path / "runs" / name)
    assert textcls.load(tmp_path / "runs" / "ensemble").predict(["star"])[0] == ["astronomy"]
    train_briefly(tmp_path / "x", *FILES)
    shutil.copy(tmp_path / "x" / "best.pt", tmp_path / "runs" / "bilstm" / "best.pt")
    assert "has changed since" in call("evaluate", tmp_path / "runs" / "ensemble", status=2)
    rows = [(text, {"astronomy": "sky"}.get(label, label)) for text, label in make_rows(240)]
    renamed = write_csv(tmp_path / "renamed.csv", rows)
    train_briefly(tmp_path / "y", "--train", renamed, "--test", renamed)
    for other, message in ((tmp_path / "y", "they differ in astronomy, sky"), ("runs/ensemble", "cannot be a member")):
        assert message in call("ensemble", "runs/bert", other, "--out", tmp_path / "e", status=2)


# ---- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments, message", [
    ("--model gpt", "invalid choice: 'gpt' (choose from"),
    ("--data imdb", "invalid choice: 'imdb'"),
    ("--train none.csv", "none.csv: no such file"),
    ("--train empty.csv", "empty.csv: the file holds no rows"),
    ("--train one.csv", "at least 2 classes, the training data has only 'x'"),
    ("--train train.csv --test new.csv", "new.csv:2: label 'unseen' does not occur in the training data"),
    ("--train ragged.csv", "ragged.csv:3: 3 columns, expected 2"),
    ("--train train.csv --text-column body", "no column 'body'; the columns are 'text', 'label'"),
    ("--train latin1.csv", "latin1.csv:2: byte 0xe9"),
    ("--train train.csv --max-length 600", "--max-length 600 is longer than the 512 positions"),
    ("--train train.csv --bert ./nowhere", "--bert ./nowhere: no such folder"),
    ("--train train.csv --bert no-such/model", "neither a folder nor to be had from the hub"),
    ("--train train.csv --bert damaged", "model.safetensors"),
    ("--train train.csv --out train.csv/run", "Not a directory"),
    ("--train train.csv --lr -1", "--lr -1.0: must be above 0"),
    ("--train train.csv --dev 2", "a share must lie between 0 and 1"),
    ("--train train.csv --amp fp16 --device cpu", "--amp fp16 needs a CUDA device"),
    ("--plan --memory 6", "--memory 6: expected a size such as 6GB"),
    ("--plan --memory 0GB", "--memory 0GB: must be above 0"),
    ("--plan --bert nobody/nothing", "--bert nobody/nothing: neither a folder nor"),
    ("--plan --train none.csv", "none.csv: no such file"),
    ("--model bilstm --checkpoint-activations", "does not apply to --model bilstm"),
    ("--train train.csv --device tpu", "known are auto, cpu, cuda"),
    ("--data 20newsgroups --data-dir nowhere", "neither 20news-bydate.tar.gz nor the folders"),
    ("--data 20newsgroups --keep all", "unknown part in --keep 'all'; known: footers, headers, quotes"),
])  # fmt: skip
def test_bad_input_gets_one_line_and_status_2(folder, arguments, message, call):
    (folder / "empty.csv").write_text("")
    (folder / "one.csv").write_text("text,label\na,x\nb,x\n")
    (folder / "new.csv").write_text("text,label\na,unseen\n")
    (folder / "ragged.csv").write_text("text,label\na,x\nb,y,z\n")
    (folder / "latin1.csv").write_bytes(b"text,label\ncaf\xe9,x\n")
    (folder / "damaged").mkdir(exist_ok=True)
    shutil.copy(ROOT / "textcls/assets/nano/config.json", folder / "damaged")
    (folder / "damaged" / "model.safetensors").write_bytes(b"\xff" * 64)
    before = sorted((folder / "runs").iterdir())
    assert message in call("train", *arguments.split(), status=2)
    assert sorted((folder / "runs").iterdir()) == before


@pytest.mark.parametrize("command, message", [
    ("evaluate runs/none", "runs/none: no such run folder"),
    ("evaluate runs/bert runs/bilstm --predict -", "--predict takes one run"),
    ("evaluate runs/bert --predict none.txt", "none.txt: No such file"),
    ("evaluate runs/bert --top-k 0", "--top-k 0: must be at least 1"),
    ("evaluate runs/bert --test train.py", "unknown file type '.py'"),
    ("ensemble runs/bert", "give two or more runs"),
    ("ensemble runs/bert runs/none", "no such run folder"),
])  # fmt: skip
def test_bad_input_of_the_other_scripts(call, command, message):
    assert message in call(*command.split(), status=2)


def test_no_traceback_in_a_process_of_its_own(folder):
    run(folder, "train", *"--train train.csv --max-length 600".split(), status=2)


def test_bad_bytes_on_standard_input(folder):
    result = run(folder, "evaluate", *"runs/bilstm --predict -".split(), stdin=b"good\nb\xe9d\n", status=2)
    assert "standard input:2: byte 0xe9 at column 2 is not UTF-8" in result.stderr


def test_a_damaged_run_folder(folder, tmp_path, call):
    shutil.copytree(folder / "runs" / "bilstm", tmp_path / "run")
    name_of_run = Run(tmp_path / "run").meta()["run"]
    for name, content, message in (
        ("best.pt", b"PK\x03\x04", "not a readable checkpoint"),
        ("tokenizer.json", b"{", "not a tokenizer file"),
        ("config.json", b"{}", "config.json: damaged, or not written by textcls"),
        ("config.json", b'{"format": 1}', "a run folder of another version of textcls (format 1, this one reads 2)"),
        ("config.json", b'{"format": 7}', "a run folder of another version of textcls (format 7, this one reads 2)"),
        ("config.json", b'{"format": 2}', "config.json: damaged, or not written by textcls (config is not there)"),
        ("config.json", json.dumps({"format": 2, "run": name_of_run}).encode(), "(config is not there)"),
        ("best.pt", (folder / "runs" / "bert" / "best.pt").read_bytes(), "best.pt: the checkpoint of another run"),
        ("best.pt", (tmp_path / "run" / "last.pt").read_bytes(), "best.pt: this is the run's last.pt"),
    ):
        keep = (tmp_path / "run" / name).read_bytes()
        (tmp_path / "run" / name).write_bytes(content)
        assert message in call("evaluate", tmp_path / "run", status=2)
        (tmp_path / "run" / name).write_bytes(keep)
    torch.save({"format": 2, "run": name_of_run, "model": {"w": torch.zeros(1)}}, tmp_path / "run" / "best.pt")
    assert "the weights do not fit the model: missing head.0.bias" in call("evaluate", tmp_path / "run", status=2)
