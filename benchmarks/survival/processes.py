"""The three scripts in processes of their own, forked from one that has imported them and done nothing: as real as a
new Python, and seconds quicker. What they may take is limited, and how they ended is judged."""

import contextlib
import dataclasses
import importlib
import os
import pathlib
import re
import resource
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator

ROOT = pathlib.Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
SCRIPTS = ("train", "evaluate", "ensemble")
LIMIT = 120.0  # seconds that a command may take on a quiet machine; longer is a hang
MEMORY = 3 << 30  # bytes of address space that a command may take, beyond those of its libraries
# What changes a folder, of os.
CALLS = ("replace", "rename", "link", "symlink", "unlink", "remove", "mkdir", "rmdir", "fsync", "truncate", "ftruncate")


class Failed(Exception):
    """A trial that was not survived, and how."""


def require(holds: object, what: str) -> None:
    if not holds:
        raise Failed(what)


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a process ended: its exit status (the negative number of a signal, None where its time was up), what it
    wrote, and its largest resident set in bytes."""

    command: str
    status: int | None
    out: str
    err: str
    peak: int

    def __str__(self) -> str:
        status = "did not end" if self.status is None else f"ended with {self.status}"
        return f"{self.command} {status}: {self.out[-300:]!r} {self.err[-700:]!r}"

    @property
    def refused(self) -> bool:
        """Exit status 2 and one line that says why (of argparse, its usage before it)."""
        return self.status == 2 and self.err.count("error: ") == 1 and "Traceback" not in self.err

    def check(self) -> "Ended":
        """Whether it did what it was asked, or said in one line why not. Itself."""
        clear = self.status == 0 and "Traceback" not in self.err
        require(clear or self.refused, str(self))
        return self

    def done(self) -> "Ended":
        require(self.status == 0 and "Traceback" not in self.err, str(self))
        return self


@dataclasses.dataclass(frozen=True)
class Place:
    """The folder of a trial. Commands run in `work`, with a cache, a home and a folder for temporary files beside it;
    in the trial's folder nothing else may come to be."""

    root: pathlib.Path

    @property
    def work(self) -> pathlib.Path:
        return self.root / "work"

    @property
    def cache(self) -> pathlib.Path:
        return self.root / "cache"

    def make(self) -> "Place":
        for name in ("work", "cache", "home", "tmp", "streams"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        return self

    def start(self, script: str, *arguments: str, **how) -> "Process":
        return Process(self, script, [*map(str, arguments)], **how)

    def call(self, script: str, *arguments: str, **how) -> Ended:
        return self.start(script, *arguments, **how).wait()

    def strays(self) -> list[str]:
        """What stands where nothing may be written: beside the folders of the trial, in its home and its temporary
        folder."""
        own = {"work", "cache", "home", "tmp", "streams"}
        found = [path for path in self.root.iterdir() if path.name not in own]
        return sorted(map(str, [*found, *(self.root / "home").iterdir(), *(self.root / "tmp").iterdir()]))

    def parts(self) -> list[str]:
        """Files that were being written when their writers died."""
        return sorted(str(path.relative_to(self.root)) for path in self.work.rglob(".*.part"))


class Process:
    """A script with its arguments. `before` is called in the new process first; `streams` {0, 1, 2: where it leads,
    None: closed} replaces what is read from and written to files; `fresh`: a Python of its own, whose streams are as
    the system made them; `limits` {resource: soft limit}; variables that are None are not there."""

    def __init__(
        self,
        place: Place,
        script: str,
        arguments: list[str],
        before: Callable | None = None,
        streams: dict[int, int | None] | None = None,
        fresh: bool = False,
        limits: dict[int, int] | None = None,
        **variables: str | None,
    ):
        self.place, self.command = place, f"{script}.py {' '.join(arguments)}"
        number = len(list((place.root / "streams").iterdir()))
        self.files = [place.root / "streams" / f"{number}.{name}" for name in ("in", "out", "err")]
        for path in self.files:
            path.touch()
        self.status, self.peak, self.ended = None, 0, False
        ready, begun = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            status = 70
            try:
                os.close(ready)
                self._enter(streams or {}, limits or {}, variables)
                if not fresh:
                    sys.stdin, sys.stdout, sys.stderr = (open(n, "rw"[n > 0], encoding="utf-8") for n in range(3))
                os.set_inheritable(begun, False)
                if before is not None:
                    before()
                if fresh:
                    os.execv(sys.executable, [sys.executable, str(ROOT / f"{script}.py"), *arguments])
                os.close(begun)
                status = main(script, arguments)
            except BaseException:
                os.write(2, traceback.format_exc().encode())
            os._exit(status)
        os.close(begun)
        os.read(ready, 1)  # until the script itself runs
        os.close(ready)

    def _enter(self, streams: dict, limits: dict, variables: dict) -> None:
        root = self.place.root
        own = {"TEXTCLS_CACHE": str(self.place.cache), "HOME": str(root / "home"), "TMPDIR": str(root / "tmp")}
        for name, value in (own | variables).items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})
        os.chdir(self.place.work)
        for number, path in enumerate(self.files):
            file = os.open(path, os.O_RDWR | (os.O_APPEND if number else 0))
            os.dup2(streams.get(number) if streams.get(number) is not None else file, number)
            os.close(file)
        for number in (number for number, stream in streams.items() if stream is None):
            os.close(number)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        for kind, value in ({resource.RLIMIT_AS: address_space() + MEMORY} | limits).items():
            resource.setrlimit(kind, (value, resource.getrlimit(kind)[1]))

    def poll(self) -> bool:
        """Whether it has ended."""
        if not self.ended:
            pid, status, usage = os.wait4(self.pid, os.WNOHANG)
            if pid:
                self.ended, self.status = True, os.waitstatus_to_exitcode(status)
                self.peak = usage.ru_maxrss << 10
        return self.ended

    def ends_within(self, seconds: float) -> bool:
        end = time.monotonic() + seconds
        while not self.poll():
            if (left := end - time.monotonic()) <= 0:
                return False
            time.sleep(min(0.005, left))
        return True

    def send(self, number: int) -> None:
        if not self.poll():
            os.kill(self.pid, number)

    def wait(self) -> Ended:
        if not self.ends_within(LIMIT * busy()):
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.ended = True
        out, err = (path.read_text("utf-8", "replace") for path in self.files[1:])
        return Ended(self.command, self.status, out, err, self.peak)


def main(script: str, arguments: list[str]) -> int:
    """What running the script comes to: its exit status, after Python's own last flush."""
    try:
        status = importlib.import_module(script).main(arguments)
    except SystemExit as stop:  # argparse
        status = stop.code
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return status or 0


def prepare() -> None:
    """Import what the scripts import, in the process that all others are forked from: one thread, and no network."""
    variables = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "TOKENIZERS_PARALLELISM": "false"}
    os.environ.update(variables | {"OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"})
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    for name in (*SCRIPTS, "torch._dynamo", "huggingface_hub"):  # torch imports _dynamo when it makes an optimiser
        importlib.import_module(name)
    importlib.import_module("torch").set_num_threads(1)


def busy() -> float:
    """How many times as long as on a quiet machine everything takes."""
    return max(1.0, os.getloadavg()[0] / len(os.sched_getaffinity(0)))


def address_space() -> int:
    """Bytes that this process has mapped."""
    return int(re.search(r"VmSize:\s+(\d+) kB", pathlib.Path("/proc/self/status").read_text("ascii")).group(1)) << 10


@contextlib.contextmanager
def removed(root: pathlib.Path) -> Iterator[Place]:
    """The place of a trial, which is not there any more when the trial has ended well."""
    shutil.rmtree(root, ignore_errors=True)
    yield Place(root).make()
    for folder, _, _ in os.walk(root):  # of read-only folders nothing can be removed
        os.chmod(folder, 0o755)
    shutil.rmtree(root)


# ---- calls that change a folder -------------------------------------------------------------------------------------


def watch(seen: Callable[[bool], None]) -> None:
    """`seen(False)` before and `seen(True)` after each of this process's CALLS."""
    for name in CALLS:
        setattr(os, name, around(getattr(os, name), seen))


def around(function: Callable, seen: Callable[[bool], None]) -> Callable:
    def watched(*arguments, **named):
        seen(False)
        try:
            return function(*arguments, **named)
        finally:
            seen(True)

    return watched


def counting(path: pathlib.Path) -> Callable[[bool], None]:
    """As many bytes in a file as there were calls."""

    def seen(after: bool) -> None:
        with open(path, "ab", buffering=0) as file:
            file.write(b"" if after else b".")

    return seen
