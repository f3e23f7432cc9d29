"""Texts with any number of labels each, none included: your own files.

.csv .tsv       a column of names with a separator between, or a column of 0 and 1 for each label
.jsonl .json    the same as fields; a field of names may be a list
.txt .label     fastText: the words __label__NAME of a line are its labels, the others its text
"""

import dataclasses
import json
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np

from textcls.data import labelled, tabular
from textcls.data.corpus import Corpus, check_share, identify
from textcls.data.dealing import by_labels
from textcls.data.decoding import UTF8
from textcls.data.tables import by_position
from textcls.runtime.errors import InputError

SEPARATOR = "|"  # of names in one column, unless another is given
FLAGS = {"1": True, "1.0": True, "true": True, "0": False, "0.0": False, "false": False}
Row = tuple[str, tuple[str, ...], list[str]]  # FILE:LINE, texts, names of labels


@dataclasses.dataclass
class LabelSets:
    """N documents: `texts[i]` is a tuple of one text or two, `labels` (N, C) bool say which labels each has, `ids` (N,)
    uint64 name the documents as those of corpus.Documents do."""

    texts: list[tuple[str, ...]]
    labels: np.ndarray
    ids: np.ndarray

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: np.ndarray) -> "LabelSets":
        return LabelSets([self.texts[i] for i in rows], self.labels[rows], self.ids[rows])

    def answers(self, labels: list[str]) -> list[str]:
        """The labels of every document, as one string."""
        return [json.dumps(sorted(labels[i] for i in np.flatnonzero(row))) for row in self.labels]

    @property
    def items(self) -> list[tuple[str, ...]]:
        """The strings by which each document is named."""
        return self.texts

    def hold_out(self, share: float, seed: int, name: str = "dev") -> tuple["LabelSets", "LabelSets"]:
        """(train, dev): `share` of the documents of every label goes to dev, as nearly as can be, a pure function of
        what is given; every label keeps a document to train on. `name`: dev, or test."""
        check_share(share, name)
        held = by_labels(self.labels, np.array([1.0 - share, share]), seed, whole=0) == 1
        if not held.any() or held.all():
            why = ": every label has one. Is it the right --label-column? Else" * bool((self.labels.sum(0) == 1).all())
            raise InputError(
                f"--{name} {share:g} of {len(self)} documents leaves no {name} or no training document{why or ';'} give a "
                f"file with --{name} FILE"
            )
        return self.take(np.flatnonzero(~held)), self.take(np.flatnonzero(held))

    def deal(self, parts: int, seed: int, labels: list[str]) -> np.ndarray:
        """The part of each document, (N,) from 0, in which every label is spread as evenly as can be. Raises InputError
        for a label that only one part has: where that is tested, no document is left to learn it from."""
        numbers = by_labels(self.labels, np.full(parts, 1 / parts), seed)
        for name, own in zip(labels, self.labels.T, strict=True):
            if len(set(numbers[own])) < 2:
                raise InputError(
                    f"{parts} folds want every label in two of them at least: {name!r} has {own.sum()} document(s), in "
                    "one; leave out what is rare"
                )
        return numbers


@dataclasses.dataclass(frozen=True)
class Columns:
    """What is read of a file. One of `labels` holds names with `separator` between; several hold 0 or 1 each, and give
    the labels their names."""

    texts: list[str]
    labels: list[str]
    separator: str

    @classmethod
    def of(cls, text_column: str, label_column: str, separator: str | None) -> "Columns":
        """From the flags: columns have commas between, blanks around a name are no part of it."""
        texts = tabular.text_columns(text_column)
        labels = [name.strip() for name in label_column.split(",")]
        if len(texts) > 2 or "" in texts:
            raise InputError(f"--text-column {text_column}: give one column, or two with a comma between")
        if "" in labels and len(labels) > 1:
            raise InputError(f"--label-column {label_column}: an empty name before or after a comma")
        for name in labels:
            if name in texts:
                raise InputError(f"--text-column {text_column}: {name} is a label column, an answer")
            if labels.count(name) > 1:
                raise InputError(f"--label-column {label_column}: {name} is given twice")
        if separator is not None and len(labels) > 1:
            raise InputError("--label-separator goes with one label column; several columns hold 0 or 1 each")
        if separator == "":
            raise InputError("--label-separator '': expected what stands between two labels")
        return cls(texts, labels, separator or SEPARATOR)

    @property
    def all(self) -> list[str]:
        return [*self.texts, *self.labels]


# ---- reading --------------------------------------------------------------------------------------------------------


def read(path: pathlib.Path, columns: Columns, encoding: str = UTF8, split: str = "train") -> list[Row]:
    """Every row of a file. `split` is what a JSON file of several is read for."""
    tabular.check_type(path)
    if path.is_dir():
        raise InputError(f"{path}: in folders a text has one class; give several labels a text in a table's columns")
    if path.suffix.lower() in labelled.FORMATS:
        rows = list(labelled.read_fasttext(path, encoding))
        if len(columns.texts) > 1:
            raise InputError(f"{path}: one text a document, --text-column wants 2")
        if rows and not any(names for _, _, names in rows):
            raise InputError(f"{path}: expected {labelled.FASTTEXT}LABEL and a text in its lines (fastText)")
    else:
        rows = list(in_columns(path, columns, encoding, split))
    if not rows:
        raise InputError(f"{path}: the file holds no rows")
    check_no_header(rows, columns)
    for where, _, names in rows:
        for name in names:
            tabular.check_label(where, name)
    return rows


def in_columns(path: pathlib.Path, columns: Columns, encoding: str, split: str) -> Iterator[Row]:
    several = columns.labels if len(columns.labels) == 1 else ()
    for where, values in tabular.read_columns(path, columns.all, encoding, split, several):
        if len(values) < len(columns.all):
            raise InputError(f"{where}: [text, label] has no room for the columns {', '.join(columns.all)}")
        texts, answers = values[: len(columns.texts)], values[len(columns.texts) :]
        if len(answers) > 1:
            names = [name for name, value in zip(columns.labels, answers, strict=True) if is_set(where, name, value)]
        else:
            names = answers[0] if isinstance(answers[0], list) else answers[0].split(columns.separator)
        yield where, tuple(texts), [name for name in map(str.strip, names) if name]


def check_no_header(rows: Sequence[Row], columns: Columns) -> None:
    """Raise InputError where the first row is a header that is read as data, since columns were given by position."""
    where, texts, names = rows[0]
    others = {name for _, _, of_row in rows[1:] for name in of_row}
    if by_position(columns.all) and len(names) == 1 and names[0] not in others and tabular.is_header(texts, names[0]):
        raise InputError(
            f"{where}: this row, {','.join(texts)!r} with the label {names[0]!r}, looks like a header; call the "
            f"columns by name: --text-column {','.join(texts)} --label-column {names[0]}"
        )


def is_set(where: str, column: str, value: str) -> bool:
    """Whether a column of 0 and 1 says that the text has the label."""
    flag = FLAGS.get(value.strip().lower())
    if flag is None:
        raise InputError(f"{where}: {value[:40]!r} in the label column {column!r}, expected 0 or 1")
    return flag


def names_of(rows: Sequence[Row], columns: Columns) -> list[str]:
    """The labels of a training file, sorted: the columns of 0 and 1, or what occurs."""
    return sorted(columns.labels if len(columns.labels) > 1 else {name for _, _, names in rows for name in names})


def encode(pool: str, rows: Sequence[Row], labels: list[str]) -> LabelSets:
    numbers = {name: i for i, name in enumerate(labels)}
    found = np.zeros((len(rows), len(labels)), bool)
    for i, (where, _, names) in enumerate(rows):
        for name in names:
            if name not in numbers:
                raise tabular.unknown_label(where, name, labels)
            found[i, numbers[name]] = True
    texts = [texts for _, texts, _ in rows]
    return LabelSets(texts, found, identify(pool, texts))


# ---- a corpus -------------------------------------------------------------------------------------------------------


def load(
    train: str, dev: str | float, test: str | float | None, columns: Columns, seed: int, encoding: str = UTF8
) -> Corpus:
    """`dev` and `test` are files, or shares of the training file to hold out, test first, as for tabular.load."""
    given = tabular.files(train, dev, test, encoding)
    rows = {name: read(pathlib.Path(path), columns, encoding, name) for name, path in given.items()}
    labels, name = names_of(rows["train"], columns), pathlib.Path(train).name
    if len(labels) < 2:
        found = ", ".join(map(repr, labels)) or "none"
        raise InputError(f"{name}: several labels a text need at least 2 labels, the training data has only {found}")
    splits = {split: encode(split, part, labels) for split, part in rows.items()}
    check(name, labels, splits["train"])
    for split, share in (("test", test), ("dev", dev)):
        if split not in splits and share is not None:
            splits["train"], splits[split] = splits["train"].hold_out(share, seed, split)
    return Corpus(name, f"{name} ({len(labels)} labels)", labels, splits["train"], splits["dev"], splits.get("test"))


def check(name: str, labels: list[str], train: LabelSets) -> None:
    """Raise InputError for a label that has no document to train on."""
    if missing := [label for label, there in zip(labels, train.labels.any(0), strict=True) if not there]:
        raise InputError(f"{name}: no training document has the label {', '.join(map(repr, missing))}; leave it out")
