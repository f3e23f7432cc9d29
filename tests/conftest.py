"""Fixtures: everything a test reads is made here, small, in a temporary folder."""

import copy
import importlib
import json
import os
import pathlib
import random

import numpy as np
import pytest
import torch

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
# The tensors here are small: a second thread would mostly wait, and on a busy machine it waits for very long.
os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the processes that tests start
torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
os.fsync = os.fstat  # no test cuts the power, and a disk is slow; this, too, wants a file that is open
ROOT = pathlib.Path(__file__).parent.parent

TOPICS = {
    "astronomy": "star planet orbit telescope comet moon galaxy rocket",
    "cooking": "flour butter oven recipe sugar pepper onion stew",
    "sailing": "wind mast anchor harbour keel sail rope tide",
}
FILLER = "the a of and with near under old new small great very quite this that".split()


def make_rows(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """(text, label) whose labels can be learned from a few words among fillers."""
    rng = random.Random(seed)
    rows = []
    for i in range(count):
        label = sorted(TOPICS)[i % len(TOPICS)]
        words = rng.choices(TOPICS[label].split(), k=rng.randint(2, 5)) + rng.choices(FILLER, k=rng.randint(1, 12))
        rng.shuffle(words)
        rows.append((" ".join(words), label))
    return rows


def write_csv(path: pathlib.Path, rows) -> pathlib.Path:
    path.write_text("text,label\n" + "".join(f'"{text}",{label}\n' for text, label in rows), "utf-8")
    return path


@pytest.fixture
def tiny_shape():
    from textcls import BertConfig

    return BertConfig(
        vocab_size=60,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=24,
        max_position_embeddings=32,
    )


def save_tiny(folder: pathlib.Path, texts: list[str], **changes) -> None:
    """A BERT of one layer with random weights, and word pieces of `texts`, in a folder like a published one."""
    from textcls.models.bert import Bert, BertConfig
    from textcls.pretrained.bert import save_bert
    from textcls.text.vocabulary import Vocabulary

    vocabulary = Vocabulary.learn(texts, 200)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    sizes["max_position_embeddings"] = 32
    torch.manual_seed(0)
    dims = BertConfig(vocab_size=len(vocabulary), **sizes | changes)
    save_bert(Bert(dims), folder)
    vocabulary.save(folder)


def facts_of_a_run(config: dict, dims: dict) -> dict:
    """config.json of a run that was begun."""
    digests = {"source": "0" * 32, "vocabulary": "0" * 64}
    made = {"backbone": {"name": "nano"}, "parameters": {"trainable": 1, "total": 2}, "device": "cpu"}
    return {"config": config, "dims": dims, "labels": ["a", "b"], "data": "x", "precision": "fp32"} | digests | made


def save_tiny_bilm(folder: pathlib.Path, seed: int = 0, **changes):
    """A biLM with random weights in a folder like a published one; the biLM."""
    from textcls.models.elmo import BiLM, ElmoConfig
    from textcls.pretrained.elmo import save_elmo

    torch.manual_seed(seed)
    sizes = {"filters": ((1, 4), (2, 6), (3, 8)), "projection": 6, "cells": 10, "characters": 5}
    bilm = BiLM(ElmoConfig(**sizes | changes))
    folder.mkdir(parents=True, exist_ok=True)
    save_elmo(bilm, folder)
    return bilm.eval()


@pytest.fixture
def call(folder, monkeypatch, capsys):
    """Run a script in this process, which is quicker, in the test module's own `folder`; what it printed, or for status
    2 its error, which must be one line."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("TEXTCLS_CACHE", str(folder / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    def run(script: str, *arguments, status: int = 0) -> str:
        capsys.readouterr()
        try:
            ended = importlib.import_module(script).main([str(argument) for argument in arguments])
        except SystemExit as stop:  # argparse
            ended = stop.code
        printed = capsys.readouterr()
        assert ended == status, (ended, printed.err)
        if status != 2:
            return printed.out
        assert printed.err.count("error: ") == 1, printed.err
        return printed.err

    return run


def trained_once(folder: pathlib.Path, call, arguments) -> str:
    """The run of train.py with these arguments in the test module's folder; the first test that asks for it trains it,
    and what was printed is kept beside it."""
    if not (folder / "printed").exists():
        (folder / "printed").write_text(call("train", *arguments, "--out", "run"), "utf-8")
    return "run"


def results(folder: pathlib.Path, run: str) -> dict:
    """What a run has on its test split; no number may be NaN."""
    return json.loads((folder / run / "results.json").read_text("utf-8"), parse_constant=pytest.fail)


def stop_after(monkeypatch, saves: int) -> None:
    """End the run, as Ctrl-C does, once last.pt has been written so many times."""
    from textcls.training.loop import InterruptedRun
    from textcls.training.run import Run

    save, count = Run.save, [0]

    def save_and_stop(run, name, content):
        save(run, name, content)
        count[0] += name == "last.pt"
        if count[0] == saves:
            raise InterruptedRun(run)

    monkeypatch.setattr(Run, "save", save_and_stop)


def equal(a, b) -> bool:
    """Bitwise equality of nested checkpoints."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    return a == b


def without_clock(checkpoint: dict) -> dict:
    """A last.pt without what was measured: seconds, rates, memory."""
    checkpoint = copy.deepcopy(checkpoint)
    for row in checkpoint["state"]["history"]:
        for name in ("seconds", "documents_per_s", "tokens_per_s", "dev_seconds", "memory"):
            del row[name]
    checkpoint["state"]["tally"].pop("seconds", None)
    return checkpoint


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("TEXTCLS_CACHE", str(folder))
    return folder


def batch_of(lengths, vocab: int, seed: int = 0, dtype=np.int64):
    """(ids (B, T), mask (B, T)) with random tokens on the real places and token 0 on the padding."""
    rng = np.random.default_rng(seed)
    T = max(lengths)
    mask = np.arange(T) < np.array(lengths)[:, None]
    ids = np.where(mask, rng.integers(1, vocab, (len(lengths), T)), 0)
    return torch.from_numpy(ids), torch.from_numpy(mask.astype(dtype))
