"""Faults of what is around a run: disks, memory, rights, signals, streams, other processes, clocks. Survived: the right
result, or one line and exit status 2 (of signals 130); and when the fault is gone, going on ends with the result of the
run that had none."""

import ctypes
import os
import pathlib
import random
import resource
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Callable

from survival.kills import finish, going_on, prepare
from survival.processes import Ended, Place, address_space, require
from survival.world import AFTER, OUT, Worlds, command, difference, fill, flags, result, state

TRAINED = ("linear classification", "bert classification", "bert-bilstm classification", "bert pretrain", "lstm lm",
           "crf")  # fmt: skip
COMMANDS = (*TRAINED, "seeds", "ensemble", "evaluate")
LIBC = ctypes.CDLL(None, use_errno=True)
NEW_NAMESPACE, RECURSIVE, PRIVATE, REMOUNT, DETACH = 0x20000, 0x4000, 1 << 18, 32, 2  # of unshare(2), mount(2)
CAPABILITIES = 0x20080522  # version 3 of capset(2)


def fault(number: int, draw: random.Random, place: Place, worlds: Worlds) -> str:
    kind = FAULTS[number % len(FAULTS)]
    names = TRAINED if kind in OF_TRAINING else COMMANDS
    name = names[number // len(FAULTS) % len(names)]
    return f"{kind.__name__}, {name}: {kind(name, draw, place, worlds)}"


def during(name: str, place: Place, worlds: Worlds, **how) -> str:
    """The command while the fault lasts, and again without it."""
    reference = prepare(name, place, worlds)
    script, arguments = command(name)
    return after(place.call(script, *arguments, **how).check(), name, place, reference)


def after(ended: Ended, name: str, place: Place, reference: dict) -> str:
    """The fault has gone: where the command had ended well, with the right result; and going on gives it."""
    change = ended.status == 0 and difference(reference["result"], result(ended, place))
    require(not change, f"{change}; {ended}")
    finish(name, place, reference)
    return "done" if ended.status == 0 else f"ended with {ended.status}: {ended.err.strip()[-200:]}"


# ---- disks, memory, rights ------------------------------------------------------------------------------------------


def full_disk(name: str, draw: random.Random, place: Place, worlds: Worlds) -> str:
    """A disk of its own with little space left, which is seen by this trial alone; without root a limit on files."""
    if not own_disk(place.work):
        return file_size(name, draw, place, worlds)
    reference = prepare(name, place, worlds)
    used = shutil.disk_usage(place.work).used
    own_disk(place.work, used + draw.choice([4096, 20_000, 100_000, 300_000]), again=True)
    variables = {"TEXTCLS_CACHE": str(place.work / "cache")} if draw.random() < 0.5 else {}
    script, arguments = command(name)
    ended = place.call(script, *arguments, **variables).check()
    own_disk(place.work, 1 << 28, again=True)
    shutil.rmtree(place.work / "cache", ignore_errors=True)
    words = after(ended, name, place, reference)
    require(not LIBC.umount2(os.fsencode(place.work), DETACH), "the disk in memory is not to be unmounted")
    return words


def own_disk(folder: pathlib.Path, size: int = 1 << 28, again: bool = False) -> bool:
    """Whether a file system in memory could be put there, or made another size."""
    if not again and (LIBC.unshare(NEW_NAMESPACE) or LIBC.mount(b"none", b"/", None, RECURSIVE | PRIVATE, None)):
        return False
    return not LIBC.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", REMOUNT * again, f"size={size}".encode())


def file_size(name, draw, place, worlds) -> str:
    return during(name, place, worlds, limits={resource.RLIMIT_FSIZE: 1 << draw.randint(9, 17)})


def memory(name, draw, place, worlds) -> str:
    return during(name, place, worlds, limits={resource.RLIMIT_AS: address_space() + (draw.randint(0, 300) << 20)})


def descriptors(name, draw, place, worlds) -> str:
    return during(name, place, worlds, limits={resource.RLIMIT_NOFILE: draw.randint(4, 24)})


def processor_time(name, draw, place, worlds) -> str:
    reference = prepare(name, place, worlds)
    script, arguments = command(name)
    ended = place.call(script, *arguments, limits={resource.RLIMIT_CPU: 1})
    require(ended.status in (0, -signal.SIGXCPU), str(ended))
    finish(name, place, reference)
    return f"ended with {ended.status}"


def without_capabilities() -> None:
    """Root like any other user: what is read-only is."""
    header, data = (ctypes.c_uint32 * 2)(CAPABILITIES, 0), (ctypes.c_uint32 * 6)()
    LIBC.capset(header, data)


def read_only_runs(name, draw, place, worlds) -> str:
    return read_only(name, place, worlds, lambda: place.work / "runs")


def read_only_run(name, draw, place, worlds) -> str:
    return read_only(name, place, worlds, lambda: place.work / OUT)


def read_only_cache(name, draw, place, worlds) -> str:
    return read_only(name, place, worlds, lambda: place.cache)


def read_only(name: str, place: Place, worlds: Worlds, folder: Callable[[], pathlib.Path]) -> str:
    reference = prepare(name, place, worlds)
    folder().mkdir(parents=True, exist_ok=True)
    folder().chmod(0o555)
    script, arguments = command(name)
    ended = place.call(script, *arguments, before=without_capabilities).check()
    folder().chmod(0o755)
    return after(ended, name, place, reference)


def cache_is_a_file(name, draw, place, worlds) -> str:
    return during(name, place, worlds, TEXTCLS_CACHE=__file__)


def no_home(name, draw, place, worlds) -> str:
    """Its parent is a file."""
    return during(name, place, worlds, TEXTCLS_CACHE=None, XDG_CACHE_HOME=None, HOME="/dev/null/none")


def no_temporary_folder(name, draw, place, worlds) -> str:
    return during(name, place, worlds, TMPDIR=str(place.root / "none"), TMP="/none", TEMP="/none")


def plain_locale(name, draw, place, worlds) -> str:
    return during(name, place, worlds, fresh=True, LC_ALL="C", LANG="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")


def no_folder(name, draw, place, worlds) -> str:
    """The current one was removed."""

    def gone() -> None:
        folder = tempfile.mkdtemp()
        os.chdir(folder)
        os.rmdir(folder)

    return during(name, place, worlds, before=gone)


def clock_set_back(name, draw, place, worlds) -> str:
    """All files are of the future."""

    def before() -> None:
        now = time.time
        time.time = lambda: now() - 10**8
        for path in place.root.rglob("*"):
            os.utime(path, (now() + 10**6, now() + 10**6))

    return during(name, place, worlds, before=before)


def obstacle(name, draw, place, worlds) -> str:
    """Something else stands where the run, or a file of it, is to be."""
    reference, what = prepare(name, place, worlds), draw.choice(("file", "dangling link", "link", "pipe", "folder"))
    out = place.work / (OUT if name not in AFTER else "runs/e")
    path = out if what in ("file", "dangling link") else out / draw.choice("best.pt last.pt splits.npz .lock".split())
    path.parent.mkdir(parents=True, exist_ok=True)
    (place.work / "victim").write_bytes(b"whole")
    {
        "file": lambda: path.write_bytes(b"mine"),
        "dangling link": lambda: path.symlink_to(place.work / "none"),
        "link": lambda: path.symlink_to(place.work / "victim"),
        "pipe": lambda: os.mkfifo(path),
        "folder": lambda: (path / "mine").mkdir(parents=True),
    }[what]()
    script, arguments = command(name)
    ended = place.call(script, *arguments).check()
    require((place.work / "victim").read_bytes() == b"whole", f"a link was followed: {what} {path}; {ended}")
    if ended.status == 0:
        change = difference(reference["result"], result(ended, place))
        require(not change, f"{what} {path}: {change}; {ended}")
    return f"{what} at {path.name}, ended with {ended.status}"


def missing(name, draw, place, worlds) -> str:
    """A file of a run that has ended is not there."""
    place_of, reference = worlds.trained("bert classification")
    fill(place, place_of)
    names = "ledger.json metrics.jsonl results.json last.pt best.pt tokenizer.json splits.npz config.json linear logits"
    path = place.work / OUT / draw.choice([*names.split(), "linear/best.pt", "linear/config.json", "linear/splits.npz"])
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    for words in (f"evaluate {OUT} --quiet", f"train --resume {OUT} --quiet", f"evaluate {OUT}/linear --quiet"):
        script, *arguments = words.split()
        ended = place.call(script, *arguments).check()
        if script == "train" and ended.status == 0:
            change = difference(reference["result"], result(ended, place))
            require(not change, f"without {path.name}: {change}; {ended}")
    return path.name


# ---- signals and streams --------------------------------------------------------------------------------------------


def interrupt(name, draw, place, worlds) -> str:
    return signalled(signal.SIGINT, name, draw, place, worlds)


def terminate(name, draw, place, worlds) -> str:
    return signalled(signal.SIGTERM, name, draw, place, worlds)


def hang_up(name, draw, place, worlds) -> str:
    return signalled(signal.SIGHUP, name, draw, place, worlds)


def signalled(number: int, name: str, draw: random.Random, place: Place, worlds: Worlds) -> str:
    """At a random moment. A hang-up is nobody's to answer: it kills."""
    reference = prepare(name, place, worlds)
    script, arguments = command(name)
    process = place.start(script, *arguments, before=listening)
    if not process.ends_within(draw.uniform(0.01, 0.9 * reference["seconds"])):
        process.send(number)
    ended = process.wait()
    expected = (0, -signal.SIGHUP) if number == signal.SIGHUP else (0, 130)
    require(ended.status in expected and "Traceback" not in ended.err, f"after signal {number}: {ended}")
    require(number == signal.SIGHUP or not place.parts(), f"left over: {place.parts()}; {ended}")
    finish(name, place, reference)
    return f"signal {number}, ended with {ended.status}"


def listening() -> None:
    """Background jobs ignore Ctrl-C from the beginning; Python listens."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def streams(name, draw, place, worlds) -> str:
    """Closed, full, or read by nobody."""
    reference = prepare(name, place, worlds)
    reader, pipe = os.pipe()
    os.close(reader)
    full, null = os.open("/dev/full", os.O_WRONLY), os.open(place.work, os.O_RDONLY)
    kinds = [{0: None}, {1: None}, {2: None}, {0: None, 1: None, 2: None}, {1: pipe}, {1: pipe, 2: pipe}, {2: pipe},
             {1: full}, {2: full}, {0: null}]  # fmt: skip
    kind = draw.choice(kinds)
    script, arguments = command(name)
    ended = place.call(script, *arguments, fresh=True, streams=kind)
    require(ended.status in (0, 2) and "Traceback" not in ended.err, f"{kind}: {ended}")
    if ended.status == 0 and 1 not in kind:
        require(not (change := difference(reference["result"], result(ended, place))), f"{kind}: {change}; {ended}")
    finish(name, place, reference)
    return f"{kind}, ended with {ended.status}"


# ---- several processes ----------------------------------------------------------------------------------------------


def one_folder(name, draw, place, worlds) -> str:
    """The same command twice."""
    reference = prepare(name, place, worlds)
    script, arguments = command(name)
    first = place.start(script, *arguments)
    first.ends_within(draw.choice([0, draw.uniform(0, reference["seconds"])]))
    both = [place.start(script, *arguments), first]
    ended = [process.wait().check() for process in both]
    require(any(one.status == 0 for one in ended), f"{ended[0]}; {ended[1]}")
    finish(name, place, reference)
    return f"ended with {ended[1].status} and {ended[0].status}"


def one_cache(name, draw, place, worlds) -> str:
    """Two runs of the same data and backbone."""
    reference = prepare(name, place, worlds)
    both = [place.start("train", *flags(name), "--out", f"runs/{letter}") for letter in "ab"]
    for process in both:
        process.wait().done()
    return same(place, reference, ["runs/a", "runs/b"])


def one_name(name, draw, place, worlds) -> str:
    """Two commands without --out."""
    reference = prepare(name, place, worlds)
    words = flags(name)
    at = words.index("--out")
    both = [place.start("train", *words[:at], *words[at + 2 :]) for _ in range(2)]
    for process in both:
        process.wait().done()
    return same(place, reference, sorted(f"runs/{path.name}" for path in (place.work / "runs").iterdir()))


def same(place: Place, reference: dict, folders: list[str]) -> str:
    found = state(place.work)
    require(len(folders) == 2, f"expected two runs, there are {folders}")
    for folder in folders:
        own = {OUT + name.removeprefix(folder): value for name, value in found.items() if name.startswith(folder + "/")}
        require(not (change := difference(reference["result"], own | {"answer": None})), f"{folder}: {change}")
    require(not place.parts() and not place.strays(), f"left over: {place.parts()}, {place.strays()}")
    return " and ".join(folders)


def dead_rank(name, draw, place, worlds) -> str:
    """One of two processes of a run dies; the other one says so, and the run goes on with one."""
    reference = prepare(name, place, worlds)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    both = [place.start("train", *flags(name), "--epochs", "4", **common, RANK=rank, LOCAL_RANK=rank) for rank in "01"]
    dying, other = draw.sample(both, 2)
    if not dying.ends_within(draw.uniform(0, 2 * reference["seconds"])):
        dying.send(signal.SIGKILL)
    dead, ended = dying.wait(), other.wait()
    require(ended.status == 0 or ended.refused, f"{ended}; the other: {dead}")
    require(dead.status in (0, -signal.SIGKILL), str(dead))
    script, arguments = going_on(name, place)
    place.call(script, *arguments).done()
    require(not place.parts() and not place.strays(), f"left over: {place.parts()}, {place.strays()}")
    return f"{'the second' if dying is both[1] else 'the first'} died, the other ended with {ended.status}"


OF_TRAINING = (one_cache, one_name, dead_rank, processor_time)
FAULTS = (
    full_disk, file_size, memory, descriptors, processor_time, read_only_runs, read_only_run, read_only_cache,
    cache_is_a_file, no_home, no_temporary_folder, plain_locale, no_folder, clock_set_back, obstacle, missing,
    interrupt, terminate, hang_up, streams, one_folder, one_cache, one_name, dead_rank,
)  # fmt: skip
