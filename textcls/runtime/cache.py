"""Files that can be made again: downloaded archives, tokenised texts, vectors of frozen encoders."""

import contextlib
import functools
import os
import pathlib
import sys
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from textcls.runtime import files, progress
from textcls.runtime.errors import InputError

ADVICE = "say where the cache may lie with TEXTCLS_CACHE"


def cache_folder() -> pathlib.Path:
    """$TEXTCLS_CACHE, else textcls below $XDG_CACHE_HOME, else ~/.cache/textcls. Not made here. Raises InputError where
    there is no home directory to put it into."""
    if os.environ.get("TEXTCLS_CACHE"):
        return pathlib.Path(os.environ["TEXTCLS_CACHE"])
    if os.environ.get("XDG_CACHE_HOME"):
        return pathlib.Path(os.environ["XDG_CACHE_HOME"]) / "textcls"
    try:
        return pathlib.Path.home() / ".cache" / "textcls"
    except RuntimeError:  # no HOME, and no such user
        raise InputError("there is no home directory for the cache; say where it may lie with TEXTCLS_CACHE") from None


def cached(name: str, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The arrays kept under `name`, made and kept where absent. A damaged file is made anew; a cache folder that
    cannot be written only costs the time."""
    try:
        path = cache_folder() / f"{name}.npz"
    except InputError as error:
        not_kept(str(error))
        return make()
    if (arrays := files.kept_arrays(path)) is not None:
        return arrays
    arrays = make()
    try:
        files.keep_arrays(path, **arrays)
    except OSError as error:
        not_kept(f"{path.parent}: {error.strerror}; {ADVICE}")
    return arrays


@functools.cache  # once is enough
def not_kept(why: str) -> None:
    """Tell the user that everything is computed anew each time. On standard error: answers go to standard output."""
    if progress.speaks():
        print(f"not kept for the next time: {why}", file=sys.stderr)


@contextlib.contextmanager
def needed(what: str) -> Iterator[None]:
    """Around the making of a file without which there is no going on. Raises InputError where there is no place."""
    try:
        yield
    except OSError as error:
        why = f"{cache_folder()}: {error.strerror or error}"
        raise InputError(f"{why}; say where {what} may lie with TEXTCLS_CACHE") from None


def pack(texts: Sequence[str]) -> dict[str, np.ndarray]:
    """Strings as arrays that `cached` can keep: UTF-8, and where each begins."""
    data = [text.encode("utf-8") for text in texts]
    offsets = np.concatenate([[0], np.cumsum([len(part) for part in data], dtype=np.int64)])
    return {"utf8": np.frombuffer(b"".join(data), np.uint8), "offsets": offsets}


def unpack(arrays: dict[str, np.ndarray]) -> list[str]:
    data, offsets = arrays["utf8"].tobytes(), arrays["offsets"].tolist()
    return [data[start:end].decode("utf-8") for start, end in zip(offsets[:-1], offsets[1:], strict=True)]
