"""What is said while things go on: lines and progress bars, and the one switch that silences both."""

import contextlib
from collections.abc import Callable, Iterable, Iterator

from tqdm import tqdm

from textcls.runtime import parallel

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
    """Print lines, unless there is silence."""
    if speaks():
        for line in lines:
            print(line, flush=True)


def bar(what: str, quiet: bool = False, **options) -> tqdm:
    """A bar to be moved by hand, shown on a terminal for what takes longer than two seconds; `options` are tqdm's."""
    return tqdm(desc=what, leave=False, delay=2, disable=True if quiet or not speaks() else None, **options)


def through(what: str, quiet: bool = False) -> Callable[[Iterable], Iterable]:
    """A function that passes an iterable on, with a bar over it."""
    return lambda items: bar(what, quiet, iterable=items)
