"""What is said while things go on. `quiet` is a run without bars; `silence()` is for a run inside a run: no lines either."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator

from tqdm import tqdm

from textcls.runtime import errors, parallel

EVERY = 60  # seconds between lines where there is no terminal
_silent = False


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """No line and no bar until the block ends: for a run inside a run."""
    global _silent
    before, _silent = _silent, True
    try:
        yield
    finally:
        _silent = before


def speaks() -> bool:
    """Whether this process says anything: of several the first alone does."""
    return not _silent and parallel.is_first()


def say(*lines: str) -> None:
    """Print lines, unless there is silence. A run outlives the reader of its lines (`| head`)."""
    if speaks():
        try:
            for line in lines:
                print(line, flush=True)
        except BrokenPipeError:
            errors.lead_nowhere(sys.stdout)


def bar(what: str, quiet: bool = False, **options) -> tqdm:
    """A bar to be moved by hand, shown on a terminal for what takes longer than two seconds; `options` are tqdm's."""
    return tqdm(desc=what, leave=False, delay=2, disable=True if quiet or not speaks() else None, **options)


class EpochProgress:
    """How far an epoch is, and how long the whole run will last: a bar on a terminal, a line every minute elsewhere.

    `total` batches, `done` of them before; the run has `whole` batches, `before` of them in earlier epochs.
    """

    def __init__(self, what: str, quiet: bool, total: int, done: int, before: int, whole: int):
        self.bar = bar(what, quiet, total=total, initial=done, unit="batch")
        self.what, self.total, self.done, self.left = what, total, done, whole - before - done
        self.lines = not quiet and not sys.stderr.isatty()
        self.first, self.start, self.said = done, time.monotonic(), time.monotonic()

    def update(self, batches: int) -> None:
        self.done, self.left = self.done + batches, self.left - batches
        self.bar.update(batches)

    def due(self) -> bool:
        """Whether a line is due, however few steps that minute had."""
        return self.lines and time.monotonic() - self.said >= EVERY

    def show(self, loss: float, speed: str) -> None:
        """The loss so far and the speed in words: on the bar, or in a line if one is due."""
        spent = time.monotonic() - self.start
        left = duration(self.left * spent / max(1, self.done - self.first))
        self.bar.set_postfix(loss=f"{loss:.3f}", run=f"{left} left")
        if self.due():
            self.said = time.monotonic()
            share = f"{self.done / self.total:.0%}"
            say(f"{self.what}: {share}, loss {loss:.4f}, {speed}, about {left} of training left")

    def close(self) -> None:
        self.bar.close()


def duration(seconds: float) -> str:
    """90 s, 12 min, 3 h 05 min."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"


def through(what: str, quiet: bool = False) -> Callable[[Iterable], Iterable]:
    """A function that passes an iterable on, with a bar over it."""
    return lambda items: bar(what, quiet, iterable=items)
