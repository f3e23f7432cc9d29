"""Plain text: a sentence or paragraph a line, in one file or several, .xz and .gz too.

A line is blank where it has nothing but white space in the sense of Unicode (a no-break space alone, too), as BERT's
own reader has it: such a line holds no word of a language model, and ends a document of pre-training.
"""

import pathlib
from collections.abc import Iterator

from textcls.data.decoding import UTF8, decode
from textcls.data.packed import Damaged, by_ending
from textcls.runtime.errors import InputError
from textcls.runtime.files import paths_of


class Lines:
    """The lines that are not blank of all files, as often as they are asked for. `names`: paths with commas between."""

    def __init__(self, names: str, encoding: str = UTF8):
        self.files, self.encoding = paths(names), encoding

    def __iter__(self) -> Iterator[str]:
        return (line for path in self.files for line in lines_of(path, self.encoding) if line.strip())


def paths(names: str) -> list[pathlib.Path]:
    files = paths_of(names)
    for path in files:
        if not path.is_file():
            raise InputError(f"{path}: {'a folder, and no text file' if path.is_dir() else 'no such file'}")
    return files


def lines_of(path: pathlib.Path, encoding: str = UTF8) -> Iterator[str]:
    """The lines of a file, one after the other, without holding it. Errors name file and line."""
    number = 0
    try:
        with by_ending(path) as file:
            for number, line in enumerate(decode(file, str(path), encoding), 1):
                yield line
    except Damaged as error:
        raise InputError(f"{path}: damaged after line {number} ({error})") from None
