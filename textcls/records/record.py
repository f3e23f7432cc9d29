"""What the formats have in common: a record, and what is written of it."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from textcls.records.lines import LineReader
from textcls.runtime.errors import InputError

SEPARATING = re.compile("[\t\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")


class Several(NamedTuple):
    """Values that are one column: a list in JSON, elsewhere texts with `between` between them."""

    values: Sequence[str | float]
    between: str


Value = str | float | int | Several | None
Answer = Sequence[Value]  # a value for each new column
MakeItem = Callable[[str, Sequence[str]], Any]  # (FILE:LINE, a record's texts) -> what is predicted; InputError: cannot


class Record(NamedTuple):
    """A piece of the input: all pieces, one after the other, are the file.

    `item` is what a model answers, whose answer stands between `before` and `after`; None where there is nothing to
    answer: `before` is then what is written. `error`: why a record has no item, with FILE:LINE, or "". `where`:
    FILE:LINE of one that has. `data`: whether it is a row, and not a header or a blank line.
    """

    raw: bytes
    before: bytes
    after: bytes = b""
    item: Any = None
    error: str = ""
    where: str = ""
    data: bool = True


class Records:
    """The records of a file in one format. `columns`: the new ones, {name: what is there where there is no answer}."""

    kind: str  # csv, tsv, jsonl, json, lines or CoNLL
    named = True  # whether new columns have names there
    lines: LineReader
    columns: dict[str, Value]

    def __iter__(self) -> Iterator[Record]:
        raise NotImplementedError

    def cells(self, answer: Answer) -> bytes:
        """The answer as it stands between `before` and `after`."""
        raise NotImplementedError

    def written(self, record: Record, answer: Answer | None) -> bytes:
        """The record as it comes out; None: it could not be answered."""
        if record.item is None:
            return record.before + record.after
        return record.before + self.cells(self.empty if answer is None else answer) + record.after

    @property
    def empty(self) -> list[Value]:
        return list(self.columns.values())

    @property
    def layout(self) -> dict[str, str]:
        """How the file is read, as far as it was found out from the file itself."""
        return {"encoding": self.lines.codec}

    def check_names(self, where: str, names: Sequence[str]) -> None:
        """Raise InputError where a new column has the name of one that is there."""
        clash = [name for name in self.columns if name in names]
        if clash:
            raise InputError(
                f"{where}: there is a column {clash[0]!r} already; let the names of the new ones begin otherwise, "
                "such as with --prefix predicted_"
            )

    def encoded(self, text: str) -> bytes:
        try:
            return text.encode(self.lines.codec)
        except UnicodeEncodeError:
            raise InputError(
                f"{self.lines.name}: {text!r} cannot be written in its encoding, {self.lines.encoding}; convert the "
                "file to UTF-8 first"
            ) from None


def cell(value: Value) -> str:
    """A value as text: numbers with six significant digits, nothing for None."""
    if isinstance(value, Several):
        return value.between.join(map(cell, value.values))
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else str(value)


def in_column(text: str) -> str:
    """Text as it stands between tabs: a tab in it is written \\t, a line break \\n, so that columns stay columns."""
    return SEPARATING.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)
