import contextlib
import json
import math
import os
import pickle
import resource
import zipfile

import numpy as np
import pytest
import torch
from torch import nn

from tests.conftest import equal
from textcls.runtime import files
from textcls.runtime.errors import InputError, explain_os_error
from textcls.runtime.tensors import load_trainable, random_states, restore_random_states
from textcls.training.run import FORMAT, Run, free_folder


@pytest.fixture
def run(tmp_path):
    run = Run(tmp_path / "runs" / "x")
    run.create({"labels": ["a", "b"]}, {"train": np.arange(3, dtype=np.uint64)})
    return run


def test_round_trip(run):
    assert run.exists() and run.meta() == {"format": FORMAT, "run": run.meta()["run"], "labels": ["a", "b"]}
    assert run.splits()["train"].tolist() == [0, 1, 2]
    run.save("best.pt", {"model": {"w": torch.arange(3.0)}, "epoch": 2})
    assert torch.equal(run.load("best.pt")["model"]["w"], torch.arange(3.0))
    run.write_metrics([{"epoch": 1}, {"epoch": 2}])
    assert run.metrics() == [{"epoch": 1}, {"epoch": 2}]
    run.write_results({"documents": 3, "loss": float("inf"), "name": "Straße \udce9"})
    assert run.results() == {"documents": 3, "loss": None, "name": "Straße \udce9"}


def test_numbers_that_are_not_finite_are_null_in_files_and_nan_when_they_are_read(run):
    """A perplexity may be larger than any number there is."""
    rows = [{"epoch": n, "dev": {"nll": n, "perplexity": value}} for n, value in ((1, math.inf), (2, 7.4))]
    run.write_metrics(rows)
    run.write_results({"metrics": {"perplexity": {"value": math.inf, "low": 1.0, "high": math.inf}}})
    for line in (run.folder / "metrics.jsonl").read_text("utf-8").splitlines():
        json.loads(line, parse_constant=pytest.fail)
    json.loads((run.folder / "results.json").read_text("utf-8"), parse_constant=pytest.fail)
    first, second = run.metrics()
    assert math.isnan(first["dev"].pop("perplexity")) and first == {"epoch": 1, "dev": {"nll": 1}} and second == rows[1]
    found = run.results()["metrics"]["perplexity"]
    assert math.isnan(found.pop("value")) and found == {"low": 1.0, "high": None}


def test_what_was_written_with_infinities_before_is_read(run):
    row = {"epoch": 1, "dev": {"perplexity": math.inf}}
    row[files.CHECKSUM] = files.fingerprint(json.dumps(row)).hex()
    (run.folder / "metrics.jsonl").write_text(json.dumps(row) + "\n", "utf-8")
    assert run.metrics() == [{"epoch": 1, "dev": {"perplexity": math.inf}}]


def test_a_run_that_has_ended_is_there_with_all_its_files_or_not_at_all(tmp_path, monkeypatch):
    """As an ensemble: killed before any of the renames there is no run, and the same command makes it."""
    run, replace, count = Run(tmp_path / "runs" / "x"), os.replace, [0]
    content = {"labels": ["a"]}, {"train": np.arange(3, dtype=np.uint64)}

    def killed(*paths):
        count[0] -= 1
        if count[0] < 0:
            raise KeyboardInterrupt
        replace(*paths)

    monkeypatch.setattr(files.os, "replace", killed)
    for renames in range(4):
        count[0] = renames
        with contextlib.suppress(KeyboardInterrupt), run.claimed(new=True):
            run.create(*content, best={"model": {"w": torch.ones(2)}})
        assert run.exists() == (renames == 3)
        assert not list(run.folder.glob(".*.part"))
    assert run.load("best.pt")["model"]["w"].tolist() == [1, 1]


def test_folders_that_are_no_runs(tmp_path, run):
    with pytest.raises(InputError, match="no such run folder"):
        Run(tmp_path / "none").meta()
    with pytest.raises(InputError, match="not a run folder"):
        Run(tmp_path).meta()
    config = run.folder / "config.json"
    config.write_text(json.dumps({"format": 99}))
    with pytest.raises(InputError, match=rf"another version of textcls \(format 99, this one reads {FORMAT}\)"):
        run.meta()
    for content in ("", "{", "[]", "{}", '{"format"'):
        config.write_text(content)
        with pytest.raises(InputError, match="config.json: damaged"):
            run.meta()


@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl", "results.json"])
def test_every_flipped_bit_of_what_a_run_says_is_seen_or_says_the_same(run, name):
    """Of a checksum's own name too: then it is another field, or none."""
    rows = [{"epoch": 1, "dev": {"nll": 0.25, "accuracy": 1.0}}, {"epoch": 2, "dev": {"nll": 1e-7, "accuracy": 0.5}}]
    run.write_metrics(rows)
    run.write_results({"metrics": {"accuracy": {"value": 0.75, "low": None}}})
    read = {"config.json": run.meta, "metrics.jsonl": run.metrics, "results.json": run.results}[name]
    path, good, same = run.folder / name, read(), 0
    whole = path.read_bytes()
    for bit in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            content = read()
        except InputError:
            continue
        objects = content if isinstance(content, list) else [content]
        told = [{field: value for field, value in one.items() if not is_checksum(field)} for one in objects]
        assert told == (good if isinstance(good, list) else [good])
        same += 1
    assert same < len(whole)
    path.write_bytes(whole)
    assert read() == good


def is_checksum(name: str) -> bool:
    return len(name) == len(files.CHECKSUM) and sum(a != b for a, b in zip(name, files.CHECKSUM, strict=True)) == 1


class Evil:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (self.target,)


def test_checkpoints_never_run_code(run, tmp_path):
    target = tmp_path / "owned"
    path = run.folder / "best.pt"
    torch.save({"format": FORMAT, "model": Evil(str(target))}, path)
    with pytest.raises(InputError, match="best.pt: not a readable checkpoint"):
        run.load("best.pt")
    path.write_bytes(pickle.dumps(Evil(str(target))))
    with pytest.raises(InputError, match="best.pt: not a readable checkpoint"):
        run.load("best.pt")
    assert not target.exists()


def test_damaged_checkpoints(run):
    run.save("best.pt", {"model": {"w": torch.arange(1000.0)}})
    path = run.folder / "best.pt"
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"junk", whole[:-30]):
        path.write_bytes(content)
        with pytest.raises(InputError, match="best.pt: not a"):
            run.load("best.pt")
    torch.save([1, 2], path)
    with pytest.raises(InputError, match="best.pt: not a checkpoint of format"):
        run.load("best.pt")
    path.unlink()
    with pytest.raises(InputError, match="no best.pt yet.*--resume"):
        run.load("best.pt")
    (run.folder / "splits.npz").write_bytes(b"PK")
    with pytest.raises(InputError, match="splits.npz: missing or damaged"):
        run.splits()


@pytest.mark.parametrize("name", ["best.pt", "last.pt"])
def test_a_flipped_bit_is_seen(run, name):
    """Every bit of every record, in a small file; bits of what is between records change nothing."""
    weights = torch.arange(6.0)
    run.save(name, {"model": {"w": weights}, "optimizer": {"m": weights * 2}})
    path, good = run.folder / name, run.load(name)
    whole, seen = path.read_bytes(), 0
    assert whole.count(weights.numpy().tobytes()) == 1
    random = np.random.default_rng(0)
    first = whole.index(weights.numpy().tobytes())
    for at in [*range(first, first + 24), *random.integers(0, len(whole), 400)]:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << int(random.integers(8))]) + whole[at + 1 :])
        try:
            assert equal(run.load(name), good)
            assert not first <= at < first + 24
        except InputError:
            seen += 1
    assert seen > 100
    path.write_bytes(whole)
    assert equal(run.load(name), good)


def test_records_that_inflate_are_refused(run, tmp_path):
    run.save("best.pt", {"model": {"w": torch.zeros(100_000)}})
    path = run.folder / "best.pt"
    with zipfile.ZipFile(path) as stored, zipfile.ZipFile(tmp_path / "packed", "w", zipfile.ZIP_DEFLATED) as packed:
        for record in stored.infolist():
            packed.writestr(record.filename, stored.read(record))
    os.replace(tmp_path / "packed", path)
    with pytest.raises(InputError, match=r"best.pt: not a readable checkpoint.*record archive/data.pkl is compressed"):
        run.load("best.pt")


def test_a_full_disk_keeps_the_old_checkpoint(run):
    """A file-size limit makes the write fail in the middle, as a full disk does."""
    run.save("last.pt", {"step": 1})
    before = sorted(os.listdir(run.folder))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OSError) as error:
            run.save("last.pt", {"step": 2, "model": torch.zeros(1_000_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert run.load("last.pt")["step"] == 1
    assert sorted(os.listdir(run.folder)) == before
    assert "choose another folder with --out" in explain_os_error(error.value)


def test_replacing_is_all_or_nothing(tmp_path):
    path = tmp_path / "x"
    files.write_text(path, "old")
    with pytest.raises(RuntimeError), files.replacing(path) as file:
        file.write(b"half of the ne")
        raise RuntimeError
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["x"]
    files.write_text(path, "new")
    assert path.read_text() == "new"


def test_load_trainable_is_strict():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    model[0].requires_grad_(False)
    good = {"1.weight": torch.ones(1, 2), "1.bias": torch.zeros(1)}
    load_trainable(model, good, "best.pt")
    assert torch.equal(model[1].weight, good["1.weight"])
    for change, message in (
        ({"2.weight": torch.ones(1)}, "unknown 2.weight"),
        ({"0.weight": torch.ones(2, 2)}, "unknown 0.weight"),
        ({"1.bias": torch.ones(4)}, r"1.bias is \(4,\), expected \(1,\)"),
    ):
        with pytest.raises(InputError, match=message):
            load_trainable(model, good | change, "best.pt")
    with pytest.raises(InputError, match="missing 1.bias"):
        load_trainable(model, {"1.weight": good["1.weight"]}, "best.pt")


def test_random_states_go_on_where_they_were():
    states = random_states()
    first = torch.rand(5)
    restore_random_states(states)
    assert torch.equal(first, torch.rand(5))


def test_free_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(free_folder("bert")) == "runs/bert"
    for name in ("bert", "bert-2"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    assert str(free_folder("bert")) == "runs/bert-3"
