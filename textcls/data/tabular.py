"""Your own data: labelled texts in a file or a folder, by what its name ends in.

.csv .tsv                tables.py: a text column (or two) and a label column
.jsonl .json             objects.py: the same as fields of JSON objects
.txt .label              labelled.py: a label and its text a line, as of TREC and fastText
a folder                 labelled.py: FOLDER/CLASS/*.txt
"""

import pathlib
import re
from collections.abc import Iterator, Sequence

from textcls.data import labelled
from textcls.data.corpus import Corpus, Documents, check, documents, split_dev
from textcls.data.decoding import UTF8, decoded_lines
from textcls.data.objects import json_lines, own_splits, read_json
from textcls.data.tables import TABLES, by_position, read_table
from textcls.runtime.errors import InputError

FORMATS = (*TABLES, ".jsonl", ".json")
USUAL_SHARE = 0.1  # --dev, where nothing is said
HEADER = set(
    "text label labels class category target sentence sentence1 sentence2 sentence_a sentence_b question answer "
    "title review content body tweet message comment description document utterance query premise hypothesis "
    "intent sentiment topic polarity rating score stars gold_label id idx index".split()
)
Row = tuple[str, tuple[str, ...], str]  # FILE:LINE, texts, label


def load(
    train: str, dev: str | float, test: str | float | None, text_column: str, label_column: str, seed: int,
    encoding: str = UTF8,
) -> Corpus:  # fmt: skip
    """`dev` and `test` are files, or shares of the training file to hold out, test first. Columns are names, or
    positions from 1. A JSON file of several splits brings its own dev and test, where these are not given otherwise
    (--dev as a share other than the usual one)."""
    columns = wanted(text_column, label_column)
    given = files(train, dev, test, encoding)
    rows = {name: list(read(pathlib.Path(path), columns, encoding, name)) for name, path in given.items()}
    labels = sorted({label for _, _, label in rows["train"]})
    splits = {name: encode_labels(name, part, labels) for name, part in rows.items()}
    for name, share in (("test", test), ("dev", dev)):
        if name not in splits and share is not None:
            splits["train"], splits[name] = split_dev(splits["train"], share, seed, name)
    name = pathlib.Path(train).name
    description = f"{name} ({len(labels)} classes)"
    return check(Corpus(name, description, labels, splits["train"], splits["dev"], splits.get("test")))


def text_columns(text_column: str) -> list[str]:
    """One column, or two with a comma between; blanks around a name are no part of it."""
    return [name.strip() for name in text_column.split(",")]


def wanted(text_column: str, label_column: str) -> list[str]:
    columns = [*text_columns(text_column), label_column.strip()]
    if not 2 <= len(columns) <= 3 or "" in columns[:-1]:
        raise InputError(f"--text-column {text_column}: give one column, or two with a comma between")
    if columns[-1] in columns[:-1]:
        raise InputError(f"--text-column {text_column}: {columns[-1]} is the label column, the answer")
    return columns


def labels(train: str, text_column: str, label_column: str, encoding: str = UTF8) -> list[str]:
    """The classes of a training file, sorted."""
    return sorted({label for _, _, label in read(pathlib.Path(train), wanted(text_column, label_column), encoding)})


def files(train: str, dev: str | float, test: str | float | None, encoding: str = UTF8) -> dict[str, str]:
    """{split: path} of the splits that are read from a file: their own, or that of the training data."""
    given = {"train": train, "dev": dev, "test": test}
    paths = {name: path for name, path in given.items() if isinstance(path, str)}
    for name in own_splits(pathlib.Path(train), encoding):
        if given[name] is None or name == "dev" and dev == USUAL_SHARE:
            paths[name] = train
    return paths


def encode_labels(pool: str, rows: list, labels: list[str]) -> Documents:
    numbers = {name: i for i, name in enumerate(labels)}
    for where, _, label in rows:
        if label not in numbers:
            raise unknown_label(where, label, labels)
    return documents(pool, [text for _, text, _ in rows], [numbers[label] for _, _, label in rows])


def unknown_label(where: str, label: str, labels: list[str]) -> InputError:
    known = f"{', '.join(labels[:20])}{', …' if len(labels) > 20 else ''}"
    return InputError(f"{where}: label {label!r} does not occur in the training data; its labels: {known}")


def read(path: pathlib.Path, columns: list[str], encoding: str = UTF8, split: str = "train") -> Iterator[Row]:
    """(FILE:LINE, texts, label) of every row. `columns`: one or two text columns, then the label's. `split` is what a
    JSON file of several is read for."""
    check_type(path)
    if path.is_dir():
        rows = labelled.read_folder(path, encoding)
    elif path.suffix.lower() in labelled.FORMATS:
        rows = labelled.read_lines(path, columns[-1], encoding)
    else:
        rows = labelled_rows(read_columns(path, columns, encoding, split), columns)
    texts = len(columns) - 1
    empty = True
    for where, parts, label in rows:
        if len(parts) != texts:
            raise InputError(f"{where}: one text a document, --text-column wants {texts}")
        check_label(where, label)
        empty = False
        yield where, parts, label
    if empty:
        raise InputError(f"{path}: the file holds no rows")


def check_type(path: pathlib.Path) -> None:
    ending = path.suffix.lower()
    if not path.is_dir() and ending not in (*FORMATS, *labelled.FORMATS) and (ending or path.exists()):
        raise InputError(
            f"{path}: unknown file type {ending or path.name!r}; known: {', '.join(FORMATS)} with columns, "
            f"{' and '.join(labelled.FORMATS)} with lines LABEL:FINE TEXT or __label__LABEL TEXT, "
            "and a folder FOLDER/CLASS/*.txt"
        )
    if not path.exists():
        raise InputError(f"{path}: no such file")


def labelled_rows(rows: Iterator[tuple[str, list[str]]], columns: list[str]) -> Iterator[Row]:
    """Rows of the wanted columns as texts and label. Raises InputError where the first row is a header that is read as
    data, since columns were given by position."""
    first, others = None, set()
    for where, (*texts, label) in rows:
        label = label.strip()
        if not label:
            raise InputError(f"{where}: the label in column {columns[-1]!r} is empty")
        if first is None:
            first = where, texts, label
        else:
            others.add(label)
        yield where, tuple(texts), label
    if first and by_position(columns) and first[2] not in others and is_header(*first[1:]):
        names = ",".join(first[1])
        raise InputError(
            f"{first[0]}: this row, {names!r} with the label {first[2]!r}, looks like a header; call the columns by "
            f"name: --text-column {names} --label-column {first[2]}"
        )


def without_header(rows: Iterator[tuple[str, list[str]]], columns: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Rows of text columns alone. Raises InputError where they are given by position and the first row is a header."""
    for number, (where, texts) in enumerate(rows):
        if not number:
            check_first(where, texts, columns)
        yield where, texts


def check_first(where: str, texts: Sequence[str], columns: Sequence[str]) -> None:
    """Raise InputError where the first row is a header, and columns are given by position."""
    if by_position(columns) and is_header(texts, texts[0]):
        raise InputError(
            f"{where}: {','.join(texts)!r} looks like a header; the run's columns are positions "
            f"({', '.join(columns)}), and its files have none: take the line out"
        )


def is_header(texts: Sequence[str], label: str) -> bool:
    """Whether a first row is one of names that columns usually have."""
    cells = [cell.strip().lower() for cell in (*texts, label)]
    return any(cell in HEADER for cell in cells) and all(re.fullmatch(r"[^\W\d][\w .-]{0,30}", cell) for cell in cells)


def check_label(where: str, label: str) -> None:
    """Raise InputError for a label that is no text: JSON may hold half of a character."""
    if any("\ud800" <= letter <= "\udfff" for letter in label):
        raise InputError(
            f"{where}: the label {ascii(label)} holds half of a surrogate pair, which is no character (a text that was "
            "cut inside an emoji?)"
        )


def read_columns(
    path: pathlib.Path, columns: list[str], encoding: str = UTF8, split: str = "train", lists: Sequence[str] = ()
) -> Iterator[tuple[str, list[str]]]:
    """(FILE:LINE, the wanted columns) of every row of a file of FORMATS. Those called `lists` may be lists in JSON."""
    ending = path.suffix.lower()
    if ending in TABLES:
        return read_table(lambda: decoded_lines(path, encoding), str(path), columns, ending == ".tsv")
    if ending == ".jsonl":
        return json_lines(decoded_lines(path, encoding), str(path), columns, lists=lists)
    return read_json(path, columns, encoding, split, lists)
