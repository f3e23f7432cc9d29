"""Your own data: CSV, TSV and JSON Lines with a text column (or two) and a label column."""

import csv
import json
import pathlib
from collections.abc import Iterable, Iterator

from textcls.data.corpus import Corpus, Documents, check, documents, split_dev
from textcls.runtime.errors import InputError, known

FORMATS = (".csv", ".tsv", ".jsonl")
csv.field_size_limit(1 << 27)


def load(train: str, dev: str | float, test: str | None, text_column: str, label_column: str, seed: int) -> Corpus:
    """`dev` is a file, or the share of the training file to hold out. Columns are names, or positions from 1."""
    columns = wanted(text_column, label_column)
    rows = {name: list(read(pathlib.Path(path), columns)) for name, path in files(train, dev, test)}
    labels = sorted({label for _, _, label in rows["train"]})
    splits = {name: encode_labels(name, part, labels) for name, part in rows.items()}
    if isinstance(dev, float):
        splits["train"], splits["dev"] = split_dev(splits["train"], dev, seed)
    name = pathlib.Path(train).name
    description = f"{name} ({len(labels)} classes)"
    return check(Corpus(name, description, labels, splits["train"], splits["dev"], splits.get("test")))


def text_columns(text_column: str) -> list[str]:
    """One column, or two with a comma between."""
    return text_column.split(",")


def wanted(text_column: str, label_column: str) -> list[str]:
    columns = [*text_columns(text_column), label_column]
    if not 2 <= len(columns) <= 3:
        raise InputError(f"--text-column {text_column}: give one column, or two with a comma between")
    return columns


def labels(train: str, text_column: str, label_column: str) -> list[str]:
    """The classes of a training file, sorted."""
    return sorted({label for _, _, label in read(pathlib.Path(train), wanted(text_column, label_column))})


def files(train: str, dev: str | float, test: str | None) -> list[tuple[str, str]]:
    given = [("train", train), ("dev", dev), ("test", test)]
    return [(name, path) for name, path in given if isinstance(path, str)]


def encode_labels(pool: str, rows: list, labels: list[str]) -> Documents:
    numbers = {name: i for i, name in enumerate(labels)}
    for where, _, label in rows:
        if label not in numbers:
            raise InputError(
                f"{where}: label {label!r} does not occur in the training data; "
                f"its labels: {', '.join(labels[:20])}{', …' if len(labels) > 20 else ''}"
            )
    return documents(pool, [text for _, text, _ in rows], [numbers[label] for _, _, label in rows])


def read(path: pathlib.Path, columns: list[str]) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """(FILE:LINE, texts, label) of every row. `columns`: one or two text columns, then the label's."""
    if path.suffix not in FORMATS:
        raise known("file type", path.suffix or path.name, FORMATS)
    if not path.exists():
        raise InputError(f"{path}: no such file")
    empty = True
    for where, values in (read_json_lines if path.suffix == ".jsonl" else read_table)(path, columns):
        *texts, label = values
        if not label.strip():
            raise InputError(f"{where}: the label in column {columns[-1]!r} is empty")
        empty = False
        yield where, tuple(texts), label.strip()
    if empty:
        raise InputError(f"{path}: the file holds no rows")


def decoded_lines(path: pathlib.Path) -> Iterator[str]:
    """The lines of a UTF-8 file, with or without a byte-order mark; errors name the line and the byte."""
    with open(path, "rb") as file:
        yield from decode(file, str(path))


def decode(lines: Iterable[bytes], name: str) -> Iterator[str]:
    """UTF-8 as strings, without a byte-order mark at the beginning; `name` is what errors call the source."""
    for number, line in enumerate(lines, 1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise InputError(
                f"{name}:{number}: byte 0x{line[error.start]:02x} at column {error.start + 1} is not "
                "UTF-8; convert the file (for Latin-1: iconv -f latin1 -t utf-8)"
            ) from None


def read_table(path: pathlib.Path, columns: list[str]) -> Iterator[tuple[str, list[str]]]:
    """CSV (quoted as RFC 4180 has it) or TSV (no quoting). Columns all given by position: the file has no header."""
    if path.suffix == ".tsv":
        reader = csv.reader(decoded_lines(path), delimiter="\t", quoting=csv.QUOTE_NONE)
    else:
        reader = csv.reader(decoded_lines(path), strict=True)
    by_position = all(column.isdigit() for column in columns)
    header, picks, before = None, [], 0
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise InputError(f"{path}:{before + 1}: not a CSV row ({error})") from None
        where, before = f"{path}:{before + 1}", reader.line_num  # a quoted field may span lines: name the first
        if not row:
            continue
        if header is None:
            header = row
            picks = pick(where, header, columns, by_position)
            if not by_position:
                continue
        if len(row) != len(header):
            raise InputError(f"{where}: {len(row)} columns, expected {len(header)} as in the first row")
        yield where, [row[i] for i in picks]


def pick(where: str, header: list[str], columns: list[str], by_position: bool) -> list[int]:
    """The place of each wanted column in the first row."""
    if by_position:
        places = [int(column) - 1 for column in columns]
        for column, place in zip(columns, places, strict=True):
            if not 0 <= place < len(header):
                raise InputError(f"{where}: column {column} is wanted, the row has columns 1 to {len(header)}")
        return places
    for column in columns:
        if column not in header:
            raise InputError(
                f"{where}: no column {column!r}; the columns are {', '.join(map(repr, header))} "
                "(choose with --text-column and --label-column, by name or by position from 1)"
            )
    return [header.index(column) for column in columns]


def read_json_lines(path: pathlib.Path, columns: list[str]) -> Iterator[tuple[str, list[str]]]:
    for number, line in enumerate(decoded_lines(path), 1):
        if line.strip():
            yield f"{path}:{number}", json_values(f"{path}:{number}", line, columns)


def json_values(where: str, line: str, columns: list[str]) -> list[str]:
    """The wanted fields of one JSON object, as text."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not a JSON object ({error})") from None
    if not isinstance(row, dict):
        raise InputError(f"{where}: expected a JSON object, found {type(row).__name__}")
    values = []
    for column in columns:
        if column not in row:
            raise InputError(f"{where}: no field {column!r}; the fields are {', '.join(map(repr, row))}")
        if not isinstance(row[column], str | int | bool):
            raise InputError(f"{where}: field {column!r} must be text, found {type(row[column]).__name__}")
        values.append(row[column] if isinstance(row[column], str) else json.dumps(row[column]))
    return values
