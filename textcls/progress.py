"""The progress bar, set up once: shown only on a terminal, and only for what takes longer than two seconds."""

from collections.abc import Callable, Iterable

from tqdm import tqdm


def bar(what: str, quiet: bool = False, **options) -> tqdm:
    """A bar to be moved by hand; `options` are tqdm's."""
    return tqdm(desc=what, leave=False, delay=2, disable=True if quiet else None, **options)


def through(what: str, quiet: bool = False) -> Callable[[Iterable], Iterable]:
    """A function that passes an iterable on, with a bar over it."""
    return lambda items: bar(what, quiet, iterable=items)
