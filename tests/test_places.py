"""Where a run lives: terminals that show little, machines without a home, folders that somebody else writes into."""

import contextlib
import errno
import io
import json
import os
import re
import shutil
import signal
import sys
import time

import numpy as np
import pytest

from tests.conftest import make_rows, write_csv
from tests.launch import Launched
from textcls.runtime import cache, files, progress
from textcls.runtime.errors import InputError, exit_on_input_error, show_everything
from textcls.training import run as runs
from textcls.training.run import LOCK, Run, free_folder

LINEAR = "--model linear --epochs 1 --quiet --train train.csv --dev 0.2 --test test.csv".split()


@pytest.fixture
def folder(tmp_path):
    write_csv(tmp_path / "train.csv", make_rows(60))
    write_csv(tmp_path / "test.csv", make_rows(15, seed=1))
    return tmp_path


# ---- output ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_what_a_terminal_cannot_show_is_escaped(encoding):
    stream = io.TextIOWrapper(io.BytesIO(), encoding)
    show_everything(stream)
    print("Straße ✓ 東京 \ud800", file=stream, flush=True)
    text = stream.buffer.getvalue().decode(encoding)
    assert "\\ud800" in text and ("東京" if encoding == "utf-8" else "\\u6771\\u4eac") in text


def test_a_run_prints_what_it_can_and_answers_in_utf_8(folder):
    rows = [(f"{text} 東京", "Straße✓" if label == "astronomy" else label) for text, label in make_rows(60)]
    write_csv(folder / "train.csv", rows)
    write_csv(folder / "test.csv", rows[:15])
    (folder / "in.txt").write_text("star planet orbit\n", "utf-8")
    variables = {"PYTHONIOENCODING": "ascii", "TEXTCLS_CACHE": str(folder / "cache")}

    def run(*arguments) -> bytes:
        process = Launched(folder, *arguments, before=ascii_streams, **variables)
        assert process.wait() == 0, process.stderr
        return (process.folder / "1").read_bytes()

    assert b"Stra\\xdfe\\u2713" in run("train", *LINEAR, "--out", "run")
    assert run("evaluate", "run", "--predict", "in.txt").decode("utf-8").startswith("Straße✓\t")


def ascii_streams() -> None:
    """As Python sets them up in a place that knows ASCII alone."""
    sys.stdout = open(1, "w", encoding="ascii", closefd=False)
    sys.stderr = open(2, "w", encoding="ascii", closefd=False)


def closed_streams() -> None:
    """As Python has them after `<&- >&- 2>&-`."""
    sys.stdin = sys.stdout = sys.stderr = None
    os.closerange(0, 3)


def test_closed_streams_only_lose_what_is_written_to_them(folder):
    def run(*arguments) -> int:
        return Launched(folder, *arguments, before=closed_streams, TEXTCLS_CACHE=str(folder / "cache")).wait()

    flags = "--model bilstm --bert nano --hidden 4 --max-length 16 --epochs 1".split()
    assert run("train", *flags, "--train", "train.csv", "--dev", "0.2", "--test", "test.csv", "--out", "run") == 0
    assert json.loads((folder / "run" / "results.json").read_text("utf-8"))["documents"] == 15
    assert run("evaluate", "run") == 0
    assert run("evaluate", "run", "--predict", "test.csv", "--out", "out.csv", "--prefix", "our_") == 0
    assert len((folder / "out.csv").read_text("utf-8").splitlines()) == 16
    for answers in (("--json",), ("--predict", "test.csv"), ("--predict", "-"), ("--explain", "test.csv")):
        assert run("evaluate", "run", *answers) == 2  # nothing but printed


def test_closed_standard_input_is_told(folder, call, monkeypatch):
    call("train", *LINEAR, "--out", "run")
    monkeypatch.setattr(sys, "stdin", None)
    assert "standard input is closed; give a file" in call("evaluate", "run", "--predict", "-", status=2)


@contextlib.contextmanager
def nobody_reads(monkeypatch):
    """Standard output into a pipe whose other end is closed (`| head` that has seen enough)."""
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w", encoding="utf-8") as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        yield


def test_what_nobody_reads_is_no_error_at_exit_either(monkeypatch):
    with nobody_reads(monkeypatch):
        assert exit_on_input_error(lambda argv: print("a line that waits in a buffer"))([]) == 0


def test_a_run_outlives_the_reader_of_its_lines(monkeypatch):
    with nobody_reads(monkeypatch):
        progress.say("one", "two")
        progress.say("three")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_outside_the_loop_leaves_nothing_half_written(tmp_path, capsys, number):
    def main(argv):
        with files.replacing(tmp_path / "x") as file:
            file.write(b"half")
            os.kill(os.getpid(), number)
            time.sleep(10)

    handler, before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # jobs in the background ignore it from the beginning
    try:
        assert exit_on_input_error(main)([]) == 130 and capsys.readouterr().err == "interrupted\n"
    finally:
        signal.signal(signal.SIGINT, before)
    assert not os.listdir(tmp_path) and signal.getsignal(signal.SIGTERM) is handler


def test_a_full_disk_behind_standard_output_is_one_line(monkeypatch, capsys):
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full")
    with contextlib.suppress(OSError), open("/dev/full", "w", encoding="utf-8") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert exit_on_input_error(lambda argv: print("answer"))([]) == 2
    assert capsys.readouterr().err == "error: standard output: No space left on device; lead it to another place\n"


def test_a_file_name_that_is_no_utf_8(folder, call):
    name = os.fsdecode(b"caf\xe9.csv")
    files.write_json(folder / "x.json", {"name": name, "other": "東京"})
    assert json.loads((folder / "x.json").read_text("utf-8")) == {"name": name, "other": "東京"}
    try:
        shutil.copy(folder / "train.csv", folder / name)
    except OSError:
        pytest.skip("a file system of UTF-8 alone")
    call("train", *LINEAR[:4], "--quiet", "--train", name, "--dev", "0.2", "--out", "run")
    assert json.loads((folder / "run" / "config.json").read_text("utf-8"))["config"]["train"].endswith(name)
    call("train", "--resume", "run")


# ---- homes and caches -----------------------------------------------------------------------------------------------


def no_home(monkeypatch):
    for name in ("TEXTCLS_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)

    def home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(cache.pathlib.Path, "home", staticmethod(home))


def test_without_a_home_nothing_is_kept_and_all_is_computed(monkeypatch):
    no_home(monkeypatch)
    with pytest.raises(InputError, match="say where it may lie with TEXTCLS_CACHE"):
        cache.cache_folder()
    assert cache.cached("name", lambda: {"x": 1}) == {"x": 1}


@pytest.mark.parametrize("why", ["no home", "not a folder", "too small"])
def test_what_cannot_be_kept_is_said_once(tmp_path, monkeypatch, capsys, why):
    cache.not_kept.cache_clear()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TEXTCLS_CACHE", str(tmp_path / "file" if why == "not a folder" else tmp_path / "cache"))
    if why == "no home":
        no_home(monkeypatch)

    def full(file, **arrays):
        raise OSError(errno.ENOSPC, "No space left on device")

    if why == "too small":
        monkeypatch.setattr(cache.np, "savez", full)
    for _ in range(2):
        assert cache.cached("name", lambda: {"x": np.arange(3)})["x"].tolist() == [0, 1, 2]
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("TEXTCLS_CACHE") == 1
    assert not list(tmp_path.glob("cache/*"))


@pytest.mark.parametrize("why", ["no home", "not a folder"])
def test_a_frozen_encoder_does_without_a_cache(folder, call, monkeypatch, why):
    flags = "--bert nano --epochs 1 --hidden 4 --max-length 16 --train train.csv --dev 0.2 --test test.csv".split()
    text = call("train", "--model", "bert-lstm", *flags, "--out", "kept")
    assert " to " in next(line for line in text.splitlines() if line.startswith("train: vectors"))
    if why == "no home":
        no_home(monkeypatch)
    else:
        (folder / "file").write_text("")
        monkeypatch.setenv("TEXTCLS_CACHE", str(folder / "file" / "cache"))
    text = call("train", "--model", "bert-lstm", *flags, "--out", "not-kept")
    line = next(line for line in text.splitlines() if line.startswith("train: vectors"))
    assert "in memory: " in line and line.endswith("with TEXTCLS_CACHE")
    ours, theirs = (Run(folder / name).load("best.pt")["model"] for name in ("not-kept", "kept"))
    assert all((ours[name] == theirs[name]).all() for name in ours)
    call("evaluate", "not-kept")


def test_tokens_of_a_large_text_need_a_place(folder, call, monkeypatch):
    (folder / "text.txt").write_text("\n\n".join(text for text, _ in make_rows(40)), "utf-8")
    (folder / "file").write_text("")
    monkeypatch.setenv("TEXTCLS_CACHE", str(folder / "file" / "cache"))
    flags = "--task pretrain --model bert --train text.txt --dev 0.2 --out run".split()
    assert "say where tokens may lie with TEXTCLS_CACHE" in call("train", *flags, status=2)

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setenv("TEXTCLS_CACHE", str(folder / "cache"))
    monkeypatch.setattr("textcls.data.shards.write_tokens", full)
    error = call("train", *flags, status=2)
    assert f"{folder / 'cache'}: No space left on device; say where tokens may lie with TEXTCLS_CACHE" in error


# ---- folders --------------------------------------------------------------------------------------------------------


def test_a_folder_has_one_writer(tmp_path):
    run = Run(tmp_path / "run")
    with run.claimed(new=True):
        with pytest.raises(InputError, match=f"process {os.getpid()} on .* is writing into this run folder"):
            with Run(tmp_path / "run").claimed():
                raise AssertionError
    assert not (tmp_path / "run").exists()  # nothing came of it
    with run.claimed(new=True):
        run.create({"labels": []}, {})
    with pytest.raises(InputError, match="already holds a run"):
        with run.claimed(new=True):
            raise AssertionError
    with run.claimed():
        assert run.exists() and (run.folder / LOCK).exists()


def test_a_lock_is_on_the_file_that_others_find(tmp_path, monkeypatch):
    """Another process, whose start failed, takes its folder away just before we lock the file that we opened in it."""
    fcntl, count = pytest.importorskip("fcntl"), [0]
    flock = fcntl.flock

    def after_another(lock, how):
        count[0] += 1
        if count[0] == 1:
            shutil.rmtree(tmp_path / "run")
        flock(lock, how)

    monkeypatch.setattr(runs.fcntl, "flock", after_another)
    with Run(tmp_path / "run").claimed(new=True):
        with pytest.raises(InputError, match="is writing into this run folder"), Run(tmp_path / "run").claimed():
            raise AssertionError
    assert count[0] == 3 and not (tmp_path / "run").exists()


@pytest.mark.parametrize("reason", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_does_without(tmp_path, monkeypatch, reason):
    def none(lock, how):
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr(pytest.importorskip("fcntl"), "flock", none)
    with Run(tmp_path / "run").claimed(new=True):
        assert (tmp_path / "run").is_dir()
    assert not (tmp_path / "run").exists()


def test_seeds_are_one_experiment_with_one_writer(folder, call):
    seeds = [*LINEAR, "--seeds", "1", "2", "--out", "many"]
    with Run(folder / "many").claimed():
        assert "is writing into this run folder" in call("train", *seeds, status=2)
    assert "no such file" in call("train", *seeds, "--test", "none.csv", status=2)
    assert not (folder / "many").exists()
    call("train", *seeds)
    assert sorted(path.name for path in (folder / "many").iterdir()) == ["seed-1", "seed-2", "seeds.json"]


def test_two_commands_do_not_share_a_folder(folder):
    """Begun together: by one name the second is refused, by no name each takes its own."""
    variables = {"TEXTCLS_CACHE": str(folder / "cache")}
    for flags, ends in ((["--out", "same"], [0, 2]), ([], [0, 0])):
        processes = [Launched(folder, "train", *LINEAR, *flags, **variables) for _ in range(2)]
        assert sorted(process.wait() for process in processes) == ends
        errors = [process.stderr for process in processes if process.returncode]
        assert all("is writing into this run folder" in e or "already holds a run" in e for e in errors)
    assert sorted(path.name for path in (folder / "runs").iterdir()) == ["linear", "linear-2"]


def test_a_run_that_is_killed_leaves_its_folder_free(folder):
    flags = [flag if flag != "1" else "3000" for flag in LINEAR]
    process = Launched(folder, "train", *flags, "--save-every", "1", "--out", "run")
    while not (folder / "run" / "last.pt").exists():
        assert process.returncode is None, process.stderr
        time.sleep(0.02)
    second = Launched(folder, "train", "--resume", "run")
    assert second.wait() == 2 and "is writing into this run folder" in second.stderr
    process.send(9)
    process.wait()
    with Run(folder / "run").claimed():
        assert Run(folder / "run").exists()


def test_a_start_that_fails_leaves_nothing(folder, call):
    assert "no such file" in call("train", *LINEAR[:4], "--train", "none.csv", "--out", "run", status=2)
    assert not (folder / "run").exists()
    call("train", *LINEAR[:4], "--train", "none.csv", status=2)
    assert not list((folder / "runs").iterdir())


def test_a_free_name_is_taken_when_it_is_chosen(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert free_folder("x") == free_folder("x")  # --plan takes nothing
    assert [free_folder("x", claim=True).name for _ in range(3)] == ["x", "x-2", "x-3"]


# ---- ensembles ------------------------------------------------------------------------------------------------------


def test_members_are_different_runs_and_are_looked_for_where_they_were(folder, call):
    for seed in ("1", "2"):
        call("train", *LINEAR, "--seed", "3", "--out", f"run-{seed}")
    assert "given twice" in call("ensemble", "run-1", "./run-1", "--out", "both", status=2)
    (folder / "link").symlink_to("run-1")
    assert "given twice" in call("ensemble", "run-1", "link", "--out", "both", status=2)
    assert not (folder / "both").exists()
    call("ensemble", "run-1", "run-2", "--out", "both", "--quiet")
    (folder / "deeper").mkdir()
    shutil.move(folder / "both", folder / "deeper" / "both")
    error = call("evaluate", "deeper/both", status=2)
    assert f"was looked for in {folder / 'deeper' / 'run-1'}" in error and "fit it again" in error
    shutil.move(folder / "deeper" / "both", folder / "both")
    assert "accuracy" in call("evaluate", "both", "--quiet")


def test_a_member_without_weights_and_an_ensemble_behind_a_link(folder, call):
    for seed in ("1", "2"):
        call("train", *LINEAR, "--seed", "3", "--out", f"run-{seed}")
    (folder / "far" / "away").mkdir(parents=True)
    (folder / "near").symlink_to(folder / "far" / "away")
    call("ensemble", "run-1", "run-2", "--out", "near/both", "--quiet")
    assert "accuracy" in call("evaluate", "near/both", "--quiet")
    (folder / "run-2" / "best.pt").unlink()
    error = call("evaluate", "near/both", status=2)
    assert f"its member {folder / 'run-2'} has no best.pt any more" in error
    assert "run-2: no best.pt yet" in call("ensemble", "run-1", "run-2", "--out", "other", status=2)
    assert not (folder / "other").exists()


# ---- progress -------------------------------------------------------------------------------------------------------


def test_without_a_terminal_a_line_every_minute(monkeypatch, capsys):
    """Two epochs of 100 batches, a batch every three seconds."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    steps = progress.EpochProgress("epoch 1/2", False, 100, 0, 0, 200)
    for _ in range(50):
        now[0] += 3
        steps.update(1)
        steps.show(0.5, "11 documents/s")
    steps.close()
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["epoch 1/2: 20%, loss 0.5000, 11 documents/s, about 9 min of training left",
                     "epoch 1/2: 40%, loss 0.5000, 11 documents/s, about 8 min of training left"]  # fmt: skip
    assert [progress.duration(s) for s in (9.4, 720, 11_130)] == ["9 s", "12 min", "3 h 06 min"]
    quiet = progress.EpochProgress("epoch 1/2", True, 100, 0, 0, 200)
    now[0] += 600
    assert not quiet.due()
    quiet.show(0.5, "11 documents/s")
    assert not capsys.readouterr().out


def test_a_run_says_how_fast_it_is(folder, call, monkeypatch):
    """Every step, as if it took a minute; the epoch's line has the evaluation's seconds beside its own."""
    monkeypatch.setattr(progress, "EVERY", 0)
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: False)
    flags = "--model bilstm --bert nano --hidden 4 --max-length 16 --epochs 2 --train train.csv --dev 0.2".split()
    lines = call("train", *flags, "--batch-size", "12", "--out", "run").splitlines()
    pattern = r"epoch 1/2: (\d+)%, loss \d\.\d{4}, \d+ documents/s, about \d+ s of training left"
    shares = [match[1] for line in lines if (match := re.fullmatch(pattern, line))]
    assert shares == ["25", "50", "75", "100"]
    assert any(re.search(r"\d\.\d s/epoch \+ \d\.\d s dev", line) for line in lines if line.startswith("epoch 1/2 "))
    assert not [line for line in call("train", *flags, "--quiet", "--out", "quiet").splitlines() if "left" in line]
    (folder / "train.txt").write_text("one star and one planet\n" * 80, "utf-8")
    flags = "--task lm --embedding 4 --epochs 1 --train train.txt --dev 0.2 --max-length 8 --batch-size 4".split()
    assert re.search(r"epoch 1/1: \d+%, loss \d\.\d{4}, \d+ tokens/s, about", call("train", *flags, "--out", "lm"))
