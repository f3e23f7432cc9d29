"""Two processes on one machine, by gloo, against one: the same steps from the same text."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from tests.conftest import ROOT, make_rows, save_tiny, save_tiny_bilm, write_csv
from tests.launch import Launched
from textcls.runtime import parallel
from textcls.runtime.tensors import cuda_devices
from textcls.tasks.language import Streams
from textcls.training.run import Run

pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without torch.distributed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small BERT without dropout, a small biLM, and text for every task."""
    folder = tmp_path_factory.mktemp("parallel")
    rows = make_rows(75)
    write_csv(folder / "train.csv", rows)
    write_csv(folder / "test.csv", make_rows(31, seed=1))
    write_csv(folder / "sets.csv", [(text, f"{label}|{text.split()[0]}|the") for text, label in rows])
    write_csv(folder / "scores.csv", [(text, len(text.split()) / 4) for text, _ in rows])
    words = [text.split() for text, _ in rows]
    tagged = [[f"{word} {'B-X' if word.startswith('s') else 'O'}" for word in sentence] for sentence in words]
    (folder / "train.conll").write_text("\n\n".join(map("\n".join, tagged)) + "\n", "utf-8")
    (folder / "train.txt").write_text("\n".join(text for text, _ in rows) + "\n", "utf-8")
    asked = [{"question": label, "context": text, "answer": text.split()[0], "answer_start": 0} for text, label in rows]
    (folder / "train.jsonl").write_text("\n".join(map(json.dumps, asked)) + "\n", "utf-8")
    (folder / "train.docs").write_text("\n\n".join(f"{text}\n{text}" for text, _ in rows) + "\n", "utf-8")
    (folder / "more.docs").write_text("\n\n".join(f"a {text}" for text, _ in rows) + "\n", "utf-8")
    dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    save_tiny(folder / "tiny", [text for text, _ in rows], **dropout)
    save_tiny_bilm(folder / "bilm")
    # So many words that the softmax is adaptive; most windows have none of some cluster.
    rare = [f"the {number:x} {number + 2200:x}" for number in range(2200)]
    (folder / "many.txt").write_text("\n".join(["the of the of"] * 40 + rare) + "\n", "utf-8")
    return folder


def test_more_processes_than_gpus_may_be_for_the_cpu(monkeypatch):
    """The second of two on a machine with one GPU takes none, and knows of none whose random state it would keep."""
    joined, taken = [], []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda backend, timeout: joined.append(backend))
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: bool(joined))
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    for rank, devices in ((0, [0]), (1, [])):
        joined.clear()
        monkeypatch.setenv("WORLD_SIZE", "2")
        monkeypatch.setenv("LOCAL_RANK", str(rank))
        parallel.join()
        assert joined == ["cpu:gloo,cuda:nccl"] and taken == [0]
        assert cuda_devices() == devices
    monkeypatch.setenv("WORLD_SIZE", "1")
    joined.clear()
    parallel.join()
    assert not joined
    parallel.join(least=1)
    assert joined


# Weights are compared in float32: bf16, which some processors multiply natively, rounds differently in other batches.
SAME = "--bert tiny --dropout 0 --dev 0.3 --epochs 2 --lr 1e-3 --quiet --device cpu --amp off".split()
TASKS = {
    "classification": "--model bert --train train.csv --test test.csv --max-length 16",
    "regression": "--task regression --model bert --train scores.csv --max-length 16",
    "multilabel": "--task multilabel --model bert --train sets.csv --max-length 16 --class-weights balanced",
    "tagging": "--task tagging --model bert --train train.conll --crf --max-length 16",
    "lm": "--task lm --model lstm --train train.txt --embedding 12 --max-length 8",
    "pretrain": "--task pretrain --model trans-blstm-2 --small --train train.docs,more.docs --max-length 16",
    "spans": "--task spans --model bert --decoder blstm --train train.jsonl --max-length 16 --stride 4",
    "frozen": "--model bert-bilstm --train train.csv --hidden 8 --max-length 16",
    "bilm": "--task lm --model elmo --train many.txt --elmo-options bilm/options.json --max-length 16",
    "elmo": "--model elmo-bilstm --elmo bilm --encoder tune --mix-l2 0.1 --train train.csv --hidden 8 --max-length 16",
}
ACCUMULATE = {"tagging": 2}  # micro-batches of an update, where there are several: they are divided, too


def flags(task: str, processes: int) -> list[str]:
    """16 documents an update, in all."""
    accumulate = ACCUMULATE.get(task, 1)
    size = ["--batch-size", str(16 // processes // accumulate), "--accumulate", str(accumulate)]
    return [*TASKS[task].split(), *SAME, *size]


def ask_to_stop() -> None:
    """As Ctrl-C once last.pt has been saved twice, in the first process only: the others must hear of it."""
    save, count = Run.save, [0]

    def save_and_ask(run, name, content):
        save(run, name, content)
        count[0] += 1
        if count[0] == 2 and parallel.is_first():
            os.kill(os.getpid(), signal.SIGTERM)

    Run.save = save_and_ask


def start(folder, processes: int, *arguments, before=None) -> list[Launched]:
    """The processes of one run, as torchrun starts them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(processes)}
    common |= {"TEXTCLS_CACHE": str(folder / "cache")}
    numbered = [common | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(processes)]
    return [Launched(folder, "train.py", *arguments, before=before, **variables) for variables in numbered]


def call(folder, processes: int, *arguments, status=0, before=None) -> str:
    running = start(folder, processes, *arguments, before=before)
    for process in running:
        assert process.wait() == status, process.stdout + process.stderr
    return "".join(process.stdout for process in running)


def together(folder, task: str, processes: int) -> str:
    """The run of a task by 1 or 2 processes, trained by the first test that asks for it."""
    out = f"{task}-{processes}"
    if not (folder / out).exists():
        text = call(folder, processes, *flags(task, processes), "--out", out)
        assert len(re.findall(r"^epoch 1/2", text, re.M)) == 1  # one of them prints
    return out


def lines(folder, run: str) -> list[dict]:
    return [json.loads(line) for line in open(folder / run / "metrics.jsonl", encoding="utf-8")]


def same_weights(folder, first: str, second: str, tolerance: float = 1e-5) -> None:
    ours, theirs = (Run(folder / name).load("last.pt")["model"] for name in (first, second))
    assert ours.keys() == theirs.keys()
    unseen = {"pooling.score.bias", "qa_outputs.bias"}  # softmax does not see them: their gradient is rounding error
    for name in ours.keys() - unseen:
        torch.testing.assert_close(ours[name], theirs[name], rtol=0, atol=tolerance, msg=name)


@pytest.mark.parametrize("task", TASKS)
def test_two_processes_of_eight_are_one_of_sixteen(folder, task):
    """Weights, losses and dev metrics; 75 texts leave a last batch of uneven shares. The tagger's processes have two
    micro-batches of four, against two of eight."""
    one, two = together(folder, task, 1), together(folder, task, 2)
    same_weights(folder, one, two)
    for ours, theirs in zip(lines(folder, one), lines(folder, two), strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], abs=1e-5)
        assert ours["dev"] == pytest.approx(theirs["dev"], abs=1e-5, rel=1e-6)
        assert ours["step"] == theirs["step"] and ours["padding"] == pytest.approx(theirs["padding"], abs=0.2)
    if task == "classification":
        first, second = (json.loads((folder / name / "results.json").read_text("utf-8")) for name in (one, two))
        assert first["metrics"]["nll"]["value"] == pytest.approx(second["metrics"]["nll"]["value"], abs=1e-5)
        assert (folder / two / "linear" / "results.json").exists()


@pytest.mark.parametrize("task, before, after", [("lm", 2, 1), ("bilm", 2, 1), ("pretrain", 2, 1), ("pretrain", 1, 2)])
def test_goes_on_with_another_number_of_processes(folder, task, before, after):
    """Stopped in the middle of an epoch: batches, carried states and sums are divided anew."""
    whole, run = together(folder, task, before), f"{task}-{before}-{after}"
    own = (*flags(task, before), "--save-every", "1", "--out", run)
    text = call(folder, before, *own, status=130, before=ask_to_stop)
    assert f"--resume {run}" in text
    state = Run(folder / run).load("last.pt")["state"]
    assert state["position"] > 0 and state["processes"] == before
    call(folder, after, "--quiet", "--device", "cpu", "--resume", run)
    same_weights(folder, whole, run)
    for ours, theirs in zip(lines(folder, whole), lines(folder, run), strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], abs=1e-5)
        assert ours["dev"] == pytest.approx(theirs["dev"], abs=1e-5, rel=1e-6)


def test_a_dead_process_ends_the_run_with_a_checkpoint(folder):
    """kill -9 of the second process: the first one says so, and --resume goes on."""
    long = "--batch-size 4 --accumulate 1 --epochs 200 --save-every 5 --out killed".split()
    first, second = start(folder, 2, *TASKS["classification"].split(), *SAME, *long)
    metrics, deadline = folder / "killed" / "metrics.jsonl", time.monotonic() + 120
    while not (metrics.exists() and metrics.read_text("utf-8").count("\n") > 2):
        assert time.monotonic() < deadline and first.returncode is None, first.stderr
        time.sleep(0.05)
    second.send(signal.SIGKILL)
    assert first.wait(120) == 2
    text = first.stderr
    assert "another process of this run has died" in text and "--resume killed" in text and "Traceback" not in text
    assert Run(folder / "killed").load("last.pt")["state"]["step"] > 0


def test_torchrun_starts_it(folder):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
               str(ROOT / "train.py"), *TASKS["classification"].split(), *SAME, "--out", "torchrun"]  # fmt: skip
    variables = os.environ | {"TEXTCLS_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert "2 processes" in done.stdout and (folder / "torchrun" / "results.json").exists()


# ---- without processes ----------------------------------------------------------------------------------------------


def test_alone_it_does_nothing(monkeypatch):
    assert (parallel.rank(), parallel.size(), parallel.gather("x")) == (0, 1, ["x"])
    assert parallel.add({"a": 2, "b": 3.5}) == {"a": 2, "b": 3.5}
    assert parallel.share(np.arange(5)).tolist() == list(range(5))


def test_shares_are_put_together_again():
    whole = torch.arange(2 * 7 * 3).view(2, 7, 3)
    parts = [whole[:, number::3] for number in range(3)]
    assert torch.equal(parallel.joined(parts, 1), whole)


def test_streams_are_numbered_so_that_they_can_be_shared():
    batches = Streams(np.arange(41), 4, 3)
    for rows in batches.order(0):
        whole = batches.collate(rows)
        for number in range(2):
            part = batches.collate(rows[number::2])
            assert torch.equal(part.inputs["ids"], whole.inputs["ids"][number::2])
            assert torch.equal(part.targets["words"], whole.targets["words"][number::2])


def test_all_processes_hear_that_a_folder_is_taken(folder):
    with Run(folder / "taken").claimed():
        for process in start(folder, 2, *flags("classification", 2), "--out", "taken"):
            assert process.wait() == 2 and "is writing into this run folder" in process.stderr
