"""The campaign of benchmarks/campaign.py, in its quickest form; and that it sees what is not survived."""

import os
import pathlib
import random
import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from textcls.tasks import TASKS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the campaign is Linux's")


def campaign(scratch: pathlib.Path, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "benchmarks" / "campaign.py"), "--scratch", str(scratch), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})


def test_each_kind_has_a_trial_that_is_survived(tmp_path):
    """Of the linear model, whose runs take the least time."""
    trials = "kill:0 crash:0 flip:23 mutation:23 hostile:226 fault:0".split()
    done = campaign(tmp_path, "--only", *trials)
    assert done.returncode == 0 and not done.stderr, done.stdout + done.stderr
    for trial in trials:
        assert re.search(rf"^{trial} (?!FAILED)\S", done.stdout, re.M), done.stdout
        assert f"| {trial.split(':')[0]} | 1 | 1 |" in done.stdout
    assert "linear classification, 1 kills" in done.stdout or "linear classification, 2 kills" in done.stdout


@pytest.fixture
def survival(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from survival import mutations, processes, world

    return {"processes": processes, "world": world, "mutations": mutations}


@pytest.mark.parametrize("status, error, survived", [
    (0, "", True),
    (2, "error: x.csv:1: no label\n", True),
    (2, "usage: train.py\ntrain.py: error: --lr\n", True),
    (2, "", False),
    (2, "Traceback (most recent call last):\nerror: x\n", False),
    (0, "Traceback (most recent call last):\n", False),
    (1, "error: x\n", False),
    (None, "", False),
    (-6, "terminate called\n", False),
])  # fmt: skip
def test_what_is_survived(survival, status, error, survived):
    processes = survival["processes"]
    ended = processes.Ended("train.py", status, "", error, 0)
    if survived:
        assert ended.check() is ended
    else:
        with pytest.raises(processes.Failed, match="train.py"):
            ended.check()


def test_every_task_has_data(survival):
    assert survival["world"].ENDING.keys() == TASKS.keys()


def test_another_result_is_seen(survival):
    difference = survival["world"].difference
    before = {"runs/x/best.pt": "a", "runs/x/results.json": {"accuracy": 1.0}}
    assert difference(before, dict(before)) == ""
    assert difference(before, before | {"runs/x/best.pt": "b"}) == "runs/x/best.pt differs"
    assert difference(before, {"runs/x/best.pt": "a", "y": 1}) == "runs/x/results.json is not there; y is new"


def test_damage_damages(survival):
    mutations, draw = survival["mutations"], random.Random(0)
    whole = bytes(draw.randrange(1, 256) for _ in range(5000))
    for how in (mutations.flip_bit, *mutations.DAMAGE):
        data = bytearray(whole)
        assert how(data, draw) and data != whole, how
    data = bytearray(whole)
    mutations.flip_bit(data, draw)
    assert sum((a ^ b).bit_count() for a, b in zip(data, whole, strict=True)) == 1
