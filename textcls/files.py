"""Small file habits shared by everything that writes: atomic replacement, digests."""

import contextlib
import hashlib
import io
import json
import os
import pathlib

from textcls import parallel


@contextlib.contextmanager
def replacing(path: pathlib.Path, by_all: bool = False):
    """A binary file that becomes `path` when the block ends well: written beside it, flushed to the disk, renamed.

    A crash, a full disk or kill -9 at any moment leaves the old file or the new one, whole. Of several processes of one
    run only the first writes, unless `by_all`: files of the cache, which processes of other runs may be making too.
    """
    if not (by_all or parallel.is_first()):
        yield io.BytesIO()
        return
    temporary = temporary_name(path, by_all)
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def temporary_name(path: pathlib.Path, by_all: bool = False) -> pathlib.Path:
    """Beside `path`. The same in every attempt, so that a killed process leaves one file behind at most; or of this
    process alone, where several may write at once."""
    return path.with_name(f".{path.name}{f'.{os.getpid()}' if by_all else ''}.part")


def write_text(path: pathlib.Path, text: str, by_all: bool = False) -> None:
    with replacing(path, by_all) as file:
        file.write(text.encode("utf-8"))


def write_json(path: pathlib.Path, value: object, by_all: bool = False) -> None:
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n", by_all)


def sha256(path: pathlib.Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
