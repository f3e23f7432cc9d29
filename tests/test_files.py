"""Files that are written: whole or not at all, by one writer of many, and nothing left over."""

import ast
import json
import math
import multiprocessing
import os
import pathlib

import numpy as np
import pytest

from tests.conftest import ROOT
from textcls.runtime import files
from textcls.runtime.errors import InputError


def parts(folder: pathlib.Path) -> list[str]:
    return sorted(name for name in os.listdir(folder) if name.endswith(files.PART))


def test_pipes_and_devices_are_no_files_of_data(tmp_path):
    os.mkfifo(tmp_path / "train.csv")
    for name in (str(tmp_path / "train.csv"), "/dev/null", f"{tmp_path},/dev/null"):
        with pytest.raises(InputError, match="a pipe or a device"):
            files.paths_of(name)
    assert files.paths_of(f"{tmp_path},x") == [tmp_path, pathlib.Path("x")]


def test_names_of_one_path_are_never_the_same(tmp_path):
    with files.in_place_of(tmp_path / "x") as one, files.in_place_of(tmp_path / "x") as other:
        assert one != other and one.parent == other.parent == tmp_path
        one.write_text("one")
        other.write_text("other")
    assert (tmp_path / "x").read_text() == "one" and os.listdir(tmp_path) == ["x"]  # the outer block ended last


def test_a_planted_link_is_not_followed(tmp_path, monkeypatch):
    monkeypatch.setattr(files.secrets, "token_hex", lambda count: "guessed")
    (tmp_path / "victim").write_text("whole")
    os.symlink(tmp_path / "victim", tmp_path / f".x.{files.machine()}.guessed{files.PART}")
    with pytest.raises(FileExistsError):
        files.write_text(tmp_path / "x", "new")
    assert (tmp_path / "victim").read_text() == "whole" and not (tmp_path / "x").exists()


def test_a_file_taken_for_a_left_over_before_its_lock_is_made_once_more(tmp_path, monkeypatch):
    flock, seen = files.fcntl.flock, []

    def after_another(file, how):
        if not seen:
            seen.extend(parts(tmp_path))
            (tmp_path / seen[0]).unlink()
        flock(file, how)

    monkeypatch.setattr(files.fcntl, "flock", after_another)
    with files.in_place_of(tmp_path / "x") as temporary:
        assert temporary.name not in seen
        temporary.write_text("new")
    assert (tmp_path / "x").read_text() == "new"


def dies_in_the_middle(path: pathlib.Path) -> None:
    with files.replacing(path) as file:
        file.write(b"half")
        file.flush()
        os._exit(9)


def test_left_overs_of_the_dead_are_removed_those_of_the_living_stay(tmp_path):
    files.write_text(tmp_path / "x", "old")
    process = multiprocessing.get_context("fork").Process(target=dies_in_the_middle, args=(tmp_path / "x",))
    process.start()
    process.join()
    assert process.exitcode == 9 and len(parts(tmp_path)) == 1 and (tmp_path / "x").read_text() == "old"
    with files.in_place_of(tmp_path / "y") as living:
        files.write_text(tmp_path / "z", "new")
        assert parts(tmp_path) == [living.name]
        living.write_text("y")
    assert sorted(os.listdir(tmp_path)) == ["x", "y", "z"]


def test_left_overs_of_another_machine_are_removed_when_they_are_old(tmp_path):
    """Its locks may not be seen from here."""
    young, old = (tmp_path / f".x.elsewhere.{name}{files.PART}" for name in ("young", "old"))
    for path in (young, old):
        path.write_text("half")
    os.utime(old, (0, 0))
    files.write_text(tmp_path / "x", "whole")
    assert parts(tmp_path) == [young.name]


def test_arrays_that_inflate_are_not_read(tmp_path):
    """Zeros that are compressed, and records that are the same bytes."""
    path = tmp_path / "a.npz"
    np.savez_compressed(path, a=np.zeros(1 << 16))
    assert files.read_arrays(path) is None
    np.savez(path, a=np.zeros(1 << 16), b=np.zeros(4))
    assert set(files.read_arrays(path)) == {"a", "b"}
    data = path.read_bytes()
    at = data.index(b"PK\x01\x02")  # the directory: of both records the first one's place and size
    second = data.index(b"PK\x01\x02", at + 4)
    entry = data[at:second].replace(b"a.npy", b"b.npy")
    path.write_bytes(data[:second] + entry + data[second + len(entry) :])
    assert files.read_arrays(path) is None


# ---- JSON -----------------------------------------------------------------------------------------------------------


def test_no_number_is_written_that_json_has_not(tmp_path):
    value = {"a": [1.5, math.nan, (np.float64("inf"), -math.inf)], "b": {"c": math.inf, "d": "NaN"}, "e": 10**400}
    expected = {"a": [1.5, None, [None, None]], "b": {"c": None, "d": "NaN"}, "e": 10**400}
    files.write_json(tmp_path / "x.json", value)
    assert json.loads((tmp_path / "x.json").read_text("utf-8"), parse_constant=pytest.fail) == expected
    assert json.loads(files.json_text(value), parse_constant=pytest.fail) == expected
    assert files.checked(files.json_text(files.with_checksum(value))) == expected
    assert math.isnan(value["a"][1])  # what was given stays as it is


STRINGS_ALONE = {  # what is no JSON of ours to be read by others, or has no number
    "data/multilabel.py", "data/objects.py", "pretrained/elmo.py", "pretrained/safetensors.py", "records/objects.py",
    "runtime/files.py", "runtime/partial.py", "tasks/base.py", "text/published.py", "text/vocabulary.py",
}  # fmt: skip


def test_json_is_written_in_one_place():
    """By files.json_text, which has no NaN and no Infinity."""
    others = set()
    for path in [*ROOT.glob("*.py"), *(ROOT / "textcls").rglob("*.py")]:
        calls = (node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Attribute))
        if any(node.attr in ("dump", "dumps") and getattr(node.value, "id", "") == "json" for node in calls):
            others.add(path.relative_to(ROOT / "textcls").as_posix() if path.parent != ROOT else path.name)
    assert others == STRINGS_ALONE
