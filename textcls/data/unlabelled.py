"""Texts without labels: the text columns of a table or of JSON objects, or a file of a text a line."""

import pathlib
from collections.abc import Iterator, Sequence

import numpy as np

from textcls.data import tabular
from textcls.data.corpus import Documents, identify
from textcls.data.decoding import UTF8, decoded_lines
from textcls.runtime.errors import InputError
from textcls.text.batches import IGNORED

Row = tuple[str, Sequence[str]]  # FILE:LINE, texts


def read(path: str, columns: list[str], encoding: str = UTF8) -> Documents:
    """The documents of a file, all of them with the label IGNORED; those without a visible character are left out.
    `columns` are those of the texts, one or two. Raises InputError where no document is left."""
    file = pathlib.Path(path)
    if not file.is_file():
        raise InputError(f"--unlabelled {path}: {'a folder, expected a file' if file.is_dir() else 'no such file'}")
    if file.suffix.lower() in tabular.FORMATS:
        rows = tabular.without_header(tabular.read_columns(file, columns, encoding), columns)
    else:
        rows = lines(file, columns, encoding)
    texts = [tuple(parts) for _, parts in rows if any(map(str.strip, parts))]
    if not texts:
        raise InputError(f"{path}: the file holds no texts")
    return Documents(texts, np.full(len(texts), IGNORED), identify("unlabelled", texts))


def lines(file: pathlib.Path, columns: list[str], encoding: str) -> Iterator[Row]:
    """A text a line."""
    if len(columns) > 1:
        raise InputError(
            f"{file}: the run reads pairs of texts; give them in a table or JSON ({', '.join(tabular.FORMATS)}) with "
            f"the columns {', '.join(columns)}"
        )
    for number, line in enumerate(decoded_lines(file, encoding), 1):
        yield f"{file}:{number}", [line.rstrip("\r\n")]
