"""Small file habits shared by everything that reads and writes: atomic replacement, digests, arrays."""

import contextlib
import hashlib
import io
import json
import os
import pathlib

import numpy as np

from textcls.runtime import parallel
from textcls.runtime.errors import InputError


@contextlib.contextmanager
def replacing(path: pathlib.Path, by_all: bool = False):
    """A binary file that becomes `path` when the block ends well: written beside it, flushed to the disk, renamed.

    A crash, a full disk or kill -9 at any moment leaves the old file or the new one, whole. Of several processes of one
    run only the first writes, unless `by_all`: files of the cache, which processes of other runs may be making too.
    """
    if not (by_all or parallel.is_first()):
        yield io.BytesIO()
        return
    with in_place_of(path, by_all) as temporary, open(temporary, "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def in_place_of(path: pathlib.Path, by_all: bool = False):
    """The name of a file beside `path`, for the block to write and close; it becomes `path` when the block ends well,
    and is removed otherwise. The same name in every attempt, so that a killed process leaves one file behind at most;
    or, with `by_all`, of this process alone, since several may write at once."""
    temporary = path.with_name(f".{path.name}{f'.{os.getpid()}' if by_all else ''}.part")
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def paths_of(names: str) -> list[pathlib.Path]:
    """The files of a path, or of several with commas between; a comma in the name of a file that exists is its own.
    Raises InputError for an empty name among them."""
    parts = [names] if os.path.exists(names) else names.split(",")
    if "" in parts[1:] or "" in parts[:-1]:
        raise InputError(f"{names!r}: an empty name before or after a comma")
    return [pathlib.Path(name) for name in parts]


def write_text(path: pathlib.Path, text: str, by_all: bool = False) -> None:
    with replacing(path, by_all) as file:
        file.write(text.encode("utf-8"))


def write_json(path: pathlib.Path, value: object, by_all: bool = False) -> None:
    """UTF-8. The bytes of a file's name that are no UTF-8 (lone surrogates in Python) become JSON's own escapes."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    write_text(path, text.encode("utf-8", "backslashreplace").decode("utf-8"), by_all)


def sha256(path: pathlib.Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(*parts: str) -> bytes:
    """A digest of a list of strings; the lengths keep ("ab", "c") and ("a", "bc") apart."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.digest()


def read_arrays(path: pathlib.Path, mapped: bool = False) -> dict[str, np.ndarray] | np.ndarray | None:
    """The arrays of a .npz file by name, or that of a .npy file (`mapped`: left on the disk); None where the file is
    absent or damaged. Nothing in it is executed."""
    try:
        content = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
        if isinstance(content, np.ndarray):
            return content
        with content:
            return dict(content)
    except Exception:  # OSError, ValueError, EOFError, KeyError, BadZipFile, …: all mean the same here
        return None
