"""Plain text: a sentence or paragraph a line, in one file or several, .xz and .gz too."""

import gzip
import lzma
import pathlib
from collections.abc import Iterator

from textcls.runtime.errors import InputError

OPEN = {".xz": lzma.open, ".gz": gzip.open}


class Lines:
    """The lines that are not blank of all files, as often as they are asked for. `names`: paths with commas between."""

    def __init__(self, names: str):
        self.files = paths(names)

    def __iter__(self) -> Iterator[str]:
        return (line for path in self.files for line in lines_of(path) if not line.isspace())


def paths(names: str) -> list[pathlib.Path]:
    files = [pathlib.Path(name) for name in names.split(",")]
    for path in files:
        if not path.is_file():
            raise InputError(f"{path}: no such file")
    return files


def lines_of(path: pathlib.Path) -> Iterator[str]:
    """The lines of a file, one after the other, without holding it. Errors name file and line."""
    number = 0
    try:
        with OPEN.get(path.suffix, open)(path, "rb") as file:
            for line in file:
                number += 1
                yield line.decode("utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{path}:{number}: not UTF-8") from None
    except (lzma.LZMAError, EOFError, gzip.BadGzipFile) as error:
        raise InputError(f"{path}: damaged after line {number} ({error})") from None
