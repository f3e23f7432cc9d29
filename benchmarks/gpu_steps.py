"""Part 1 of benchmarks/gpu.py: the suite's CUDA tests; and every model and task, three steps on the device against the
CPU, an overflow that is forced, a run that is stopped and goes on."""

import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import xml.etree.ElementTree
from collections.abc import Iterator
from importlib import util

import gpu_device
import torch
from digests import BILM, write_data
from gpu_page import Row
from gpu_work import LABELS, PRECISIONS, STEADY, Work, left, one_batch, settings, setup_of, steps

import train
from textcls import recipes
from textcls.config import TrainConfig
from textcls.models.bert import Bert, BertConfig
from textcls.models.elmo import BiLM, ElmoConfig
from textcls.pretrained.bert import save_bert
from textcls.pretrained.elmo import save_elmo
from textcls.recipes import command
from textcls.runtime.progress import silence
from textcls.text.vocabulary import Vocabulary
from textcls.training.loop import InterruptedRun, update
from textcls.training.run import Run

ROOT = pathlib.Path(__file__).resolve().parent.parent
ENDING = {"classification": "csv", "regression": "scores.csv", "tagging": "conll", "lm": "txt", "pretrain": "docs",
          "spans": "answers.csv"}  # fmt: skip
SMALL = {"hidden": 8, "embedding": 12, "layers": 1, "epochs": 1, "batch_size": 20, "accumulate": 1, "max_length": 16,
         "dropout": 0.0, "encoder_lr": 1e-3}  # fmt: skip
FEW = [("bert", "classification"), ("bilstm", "tagging"), ("bert", "spans")]  # of a rehearsal
# Share of the loss by which a run may differ from the CPU's in float32: order of sums, and rounding to 11 and 8 bits.
TOLERANCE = {"fp32": 1e-4, "fp16": 1e-2, "bf16": 5e-2}
HUGE = 2.0**40  # a gradient scale at which every gradient overflows in fp16
TRIES = 60  # steps until the scaler has halved it often enough
RESUMED = 1e-3  # share of the loss; sums on a GPU come in another order each time


# ---- the suite ------------------------------------------------------------------------------------------------------


def suite(work: Work) -> Iterator[Row]:
    """The tests that need a CUDA device, in a process of their own."""
    files = [str(path) for path in sorted((ROOT / "tests").glob("test_*.py")) if needs_cuda(path)]
    if work.scale.name == "rehearsal":
        files = files[-1:]  # without a device all of them would be skipped
    if util.find_spec("pytest") is None or not files:
        yield Row("the suite's CUDA tests", None, rule="yes", note="pytest, or tests/, is not there")
        return
    report = work.folder / "suite.xml"
    flags = ["-q", "-k", "cuda", "-p", "no:cacheprovider", f"--junitxml={report}"]
    command = [sys.executable, "-m", "pytest", *flags, *files]
    # What the caller has set for pytest is not for this one.
    alone = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    subprocess.run(command, cwd=ROOT, env=alone, stdout=subprocess.DEVNULL, timeout=left(work))
    cases = list(xml.etree.ElementTree.parse(report).iter("testcase"))
    wrong = [case.get("name") for case in cases if case.find("failure") is not None or case.find("error") is not None]
    skipped = sum(case.find("skipped") is not None for case in cases)
    note = f"failed: {', '.join(wrong)}" if wrong else ""
    yield Row("the suite's CUDA tests: failed", len(wrong), 0, "at most", "asked for", note=note)
    yield Row("… passed", len(cases) - skipped - len(wrong))
    yield Row("… skipped, for want of a CUDA device", skipped, 0, "at most", "asked for")


def needs_cuda(path: pathlib.Path) -> bool:
    return "needs a CUDA device" in path.read_text("utf-8")


# ---- every model and task -------------------------------------------------------------------------------------------


def every_model(work: Work) -> Iterator[Row]:
    device = gpu_device.begin(work.device, work.memory)
    folder = work.folder / "steps"
    write_files(folder)
    os.chdir(folder)
    os.environ["TEXTCLS_CACHE"] = str(folder / "cache")
    yield from overflow(work, device)
    yield from resumed(device)
    kinds = [kind for kind in PRECISIONS if kind != "fp16" or device.type == "cuda"]
    for model, task in FEW if work.scale.name == "rehearsal" else recipes.RECIPES:
        yield from against_the_cpu(model, task, str(device), kinds)


def against_the_cpu(model: str, task: str, device: str, kinds: list[str]) -> Iterator[Row]:
    """Three steps in each precision: the loss of the epoch. That it, the gradients and the weights are finite, the loop
    itself sees to."""
    expected = None
    for kind in kinds:
        what = f"{model} --task {task}, {kind}: share of the loss by which it differs from the CPU's"
        try:
            expected = expected or loss_of(model, task, "cpu", "off", "cpu")
            found = loss_of(model, task, device, "off" if kind == "fp32" else kind, kind)
        except Exception as error:  # the others are to be seen too
            yield Row(what, None, rule="yes", note=f"{type(error).__name__}: {first_line(error)}")
            continue
        yield Row(what, abs(found / expected - 1), TOLERANCE[kind], "at most", "rounding of this precision")


def loss_of(model: str, task: str, device: str, amp: str, name: str) -> float:
    out = pathlib.Path("runs") / f"{model}-{task}-{name}"
    with silence():
        train.one(*command.settings(flags(model, task) | {"device": device, "amp": amp, "out": str(out)}))
    return json.loads((out / "metrics.jsonl").read_text("utf-8").splitlines()[-1])["loss"]


def flags(model: str, task: str) -> dict:
    known = recipes.defaults(TrainConfig(model=model, task=task, bert="tiny"))
    given = {"model": model, "task": task, "bert": "tiny", "train": f"train.{ENDING[task]}"}
    given |= {"dev": "0.2", "quiet": True}
    given |= {name: value for name, value in SMALL.items() if name in known}
    given |= {"decoder": "blstm"} if "decoder" in known else {}
    given |= {"elmo": "bilm"} if "elmo" in known else {}
    given |= {"elmo_options": "options.json"} if "elmo_options" in known else {}
    if model == "linear":
        del given["max_length"]  # of a bag of words: it reads whole documents
    return given


def write_files(folder: pathlib.Path) -> None:
    """A small BERT and a small biLM at random weights, without dropout, and a training file for each task."""
    folder.mkdir(parents=True)
    write_data(folder)
    texts = [line.rpartition(",")[0] for line in (folder / "train.csv").read_text("utf-8").splitlines()[1:]]
    scores = "".join(f"{text},{len(text.split()) / 4}\n" for text in texts)
    (folder / "train.scores.csv").write_text(f"text,label\n{scores}", "utf-8")
    asked = "".join(f"which,{text},{text.split()[0]},0\n" for text in texts)
    (folder / "train.answers.csv").write_text(f"question,context,answer,answer_start\n{asked}", "utf-8")
    vocabulary = Vocabulary.learn(texts, 200)
    torch.manual_seed(0)
    dims = BertConfig(len(vocabulary), 16, 1, 2, 24, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
                      max_position_embeddings=32)  # fmt: skip
    save_bert(Bert(dims), folder / "tiny")
    vocabulary.save(folder / "tiny")
    cells = BILM["lstm"]
    (folder / "bilm").mkdir()
    save_elmo(BiLM(ElmoConfig(filters=((1, 4), (2, 6), (3, 8)), projection=cells["projection_dim"], cells=cells["dim"],
                              characters=5)), folder / "bilm")  # fmt: skip


def first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[0][:200]


# ---- overflow, and going on -----------------------------------------------------------------------------------------


def overflow(work: Work, device: torch.device) -> Iterator[Row]:
    """A gradient scale that is far too large: the scaler refuses steps, which change nothing, until it came down."""
    config = settings("bert", dropout=0.0)
    torch.manual_seed(0)
    model = recipes.build(config, STEADY, LABELS).to(device).train()
    setup = setup_of(model, config, device, PRECISIONS["fp16"])
    setup = dataclasses.replace(setup, scaler=torch.amp.GradScaler(device.type, init_scale=HUGE))
    batch, before = one_batch(4, 8, STEADY.vocab_size), [p.detach().clone() for p in model.parameters()]
    taken = [update(setup, [batch], dict(batch.counts))[2]]
    same = all(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
    while not taken[-1] and len(taken) < TRIES:
        taken.append(update(setup, [batch], dict(batch.counts))[2])
    changed = not all(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
    finite = all(p.isfinite().all().item() for p in model.parameters())
    yield Row("fp16, gradients overflow: the step is refused, and no weight changes", same and not taken[0], rule="yes")
    what = "… and after some refusals a step is taken, with finite weights"
    yield Row(what, taken[-1] and changed and finite, rule="yes", note=f"{taken.count(False)} refused")
    later = steps(setup, [batch], 3)
    yield Row("… and the loss falls in the next three", later[-1] < later[0], rule="yes")


class Stopped(Run):
    """A run that is sent Ctrl-C when its last.pt has been written for the second time."""

    saves = 0

    def save(self, name: str, content: dict) -> None:
        super().save(name, content)
        self.saves += name == "last.pt"
        if self.saves == 2:
            signal.raise_signal(signal.SIGINT)


def resumed(device: torch.device) -> Iterator[Row]:
    """A run in the device's own precision, stopped after its first step, against the one that was never stopped."""
    given = flags("bert", "classification") | {"device": str(device), "save_every": 1, "out": "runs/stopped"}
    config, run, last = command.settings(given)
    with silence():
        try:
            train.one(config, Stopped(run.folder), last)
            yield Row("a run is stopped by Ctrl-C after its first step", False, rule="yes")
            return
        except InterruptedRun:
            at = run.load("last.pt")["state"]["position"]
        train.one(*command.settings({"resume": str(run.folder), "quiet": True}))
        whole = given | {"out": "runs/whole"}
        train.one(*command.settings(whole))
    losses = [Run(folder).metrics()[-1]["loss"] for folder in ("runs/stopped", "runs/whole")]
    what = f"a run stopped after step {at} and resumed: share of the loss by which it differs from the whole one"
    yield Row(what, abs(losses[0] / losses[1] - 1), RESUMED, "at most", "order of sums")
