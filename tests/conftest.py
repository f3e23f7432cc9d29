"""Fixtures: everything a test reads is made here, small, in a temporary folder."""

import os
import pathlib
import random
import subprocess
import sys

import numpy as np
import pytest
import torch

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
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
def corpus_files(tmp_path):
    """(train.csv, test.csv) of a toy problem with three classes."""
    return write_csv(tmp_path / "train.csv", make_rows(90)), write_csv(tmp_path / "test.csv", make_rows(30, seed=1))


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


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("TEXTCLS_CACHE", str(folder))
    return folder


@pytest.fixture
def run_script(tmp_path):
    """run_script("train.py", "--model", "bilstm", …) -> CompletedProcess, in a folder of its own, without a network."""

    def run(script, *arguments, stdin=None, check=0, timeout=240, **environment):
        variables = os.environ | {
            "TEXTCLS_CACHE": str(tmp_path / "cache"),
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
            "PYTHONPATH": str(ROOT),
            **environment,
        }
        result = subprocess.run(
            [sys.executable, str(ROOT / script), *map(str, arguments)],
            cwd=tmp_path,
            input=stdin,
            capture_output=True,
            text=not isinstance(stdin, bytes),
            timeout=timeout,
            env=variables,
        )
        assert result.returncode == check, f"exit {result.returncode}\n{result.stdout}\n{result.stderr}"
        if check == 2:
            assert "Traceback" not in result.stderr, result.stderr
        return result

    return run


def batch_of(lengths, vocab: int, seed: int = 0, dtype=np.int64):
    """(ids (B, T), mask (B, T)) with random tokens on the real places and token 0 on the padding."""
    rng = np.random.default_rng(seed)
    T = max(lengths)
    mask = np.arange(T) < np.array(lengths)[:, None]
    ids = np.where(mask, rng.integers(1, vocab, (len(lengths), T)), 0)
    return torch.from_numpy(ids), torch.from_numpy(mask.astype(dtype))
