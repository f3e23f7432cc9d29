"""Small file habits shared by everything that writes: atomic replacement, digests."""

import contextlib
import hashlib
import json
import os
import pathlib


@contextlib.contextmanager
def replacing(path: pathlib.Path):
    """A binary file that becomes `path` when the block ends well: written beside it, flushed to the disk, renamed.

    A crash, a full disk or kill -9 at any moment leaves the old file or the new one, whole.
    """
    # The temporary file keeps its name across attempts, so that a killed process leaves one behind at most.
    temporary = path.with_name(f".{path.name}.part")
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


def write_text(path: pathlib.Path, text: str) -> None:
    with replacing(path) as file:
        file.write(text.encode("utf-8"))


def write_json(path: pathlib.Path, value: object) -> None:
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def sha256(path: pathlib.Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
