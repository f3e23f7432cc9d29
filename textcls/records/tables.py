"""CSV and TSV: the fields of a row stay the bytes that they were, and new ones follow them.

A row that cannot be read (other fields than the first row has, quotes that do not fit, bytes that are no text) is
written so that it can be: with empty answers below their names. Of a row whose quotes do not fit only its first line is
taken for it, each field between its separators; the next line begins a row again.
"""

import csv
import itertools
import re
from collections.abc import Iterator, Sequence

from textcls.data.tables import PLAIN_TABS, QUOTED_TABS, by_position, find_separator, first_row, has_columns, pick, why
from textcls.data.tabular import check_first
from textcls.records.lines import Line, LineReader
from textcls.records.record import Answer, MakeItem, Record, Records, Value, cell, in_column
from textcls.runtime.errors import InputError

MOST = 1 << 24  # bytes of a row after its first line: an open quote would take in the rest of the file
Row = tuple[list[Line], list[str] | None, str]  # the lines of a row, its fields, or what is wrong with it


class Table(Records):
    """`wanted`: the columns that `make_item` reads, by name, or all by position where there is no header. `tabs`: TSV.
    """

    def __init__(
        self, lines: LineReader, wanted: Sequence[str], tabs: bool, make_item: MakeItem, columns: dict[str, Value]
    ):
        self.lines, self.wanted, self.make_item, self.columns = lines, list(wanted), make_item, columns
        self.kind, self.named = "tsv" if tabs else "csv", not by_position(self.wanted)
        self.skip, self.options = 0, {}
        if tabs:
            self.options = tab_options(lines, self.wanted)
        else:
            self.skip, self.options = find_separator(lines.ahead, self.wanted)
        self.delimiter = self.options.get("delimiter", ",")
        self.quoted = self.options.get("quoting") != csv.QUOTE_NONE
        self.special, self.width = re.compile(f'[{re.escape(self.delimiter)}"\r\n]'), 0

    @property
    def layout(self) -> dict[str, str]:
        return super().layout | {"separator": self.delimiter, "quoted": str(self.quoted)}

    def __iter__(self) -> Iterator[Record]:
        for line in itertools.islice(self.lines, self.skip):  # "sep=;"
            yield Record(line.raw, line.raw, data=False)
        places = None
        for lines, row, problem in rows(self.lines, self.options):
            if row == [] and not problem:
                raw = bytes_of(lines)
                yield Record(raw, raw, data=False)
            elif places is None:
                places = self._places(lines[0], row, problem)
                yield self._header(lines) if self.named else self._record(lines, row, problem, places)
            else:
                yield self._record(lines, row, problem, places)

    def _places(self, line: Line, row: list[str] | None, problem: str) -> list[int]:
        """Where the wanted columns stand, by the first row."""
        where = self.lines.where(line)
        if problem or line.fault:
            raise InputError(line.fault or f"{where}: {problem}")
        self.width, places = len(row), pick(where, row, self.wanted)
        if self.named:
            self.check_names(where, [name.strip() for name in row])
        else:
            check_first(where, [row[place] for place in places], self.wanted)
        return places

    def _header(self, lines: list[Line]) -> Record:
        raw, before, after = self._divided(lines)
        return Record(raw, before + self.cells(list(self.columns)) + after, data=False)

    def _record(self, lines: list[Line], row: list[str] | None, problem: str, places: list[int]) -> Record:
        where, fault = self.lines.where(lines[0]), next((line.fault for line in lines if line.fault), "")
        if not problem and len(row) != self.width:
            problem = f"{len(row)} columns, expected {self.width} as in the first row"
        raw, before, after = self._divided(lines)
        try:
            if fault or problem:
                raise InputError(fault or f"{where}: {problem}")
            item = self.make_item(where, [row[place] for place in places])
        except InputError as error:
            if problem:
                before, after = self._mended(raw, bool(fault)), b""
            else:
                before += self.cells(self.empty)
            return Record(raw, before, after, error=str(error))
        return Record(raw, before, after, item, where=where)

    def _divided(self, lines: list[Line]) -> tuple[bytes, bytes, bytes]:
        """(a row's bytes, those before its end, its end)."""
        raw, (_, end) = bytes_of(lines), self.lines.end_of(lines[-1])
        return raw, raw[: len(raw) - len(end)], end

    def _mended(self, raw: bytes, faulty: bool) -> bytes:
        """A row that was none: fields that lack are empty, and those beyond the last name come after the answers. Of
        bytes that are no text each is a character of its own, so that it is written back."""
        codec = "latin-1" if faulty and self.lines.newline == b"\n" else self.lines.codec
        text = raw.decode(codec, "replace")
        body = text.rstrip("\r\n")
        try:
            fields = next(csv.reader([body], **self.options))
        except csv.Error:
            fields = body.split(self.delimiter)
        fields += [""] * (self.width - len(fields))
        fields[self.width : self.width] = map(cell, self.empty)
        return (self.delimiter.join(map(self._field, fields)) + text[len(body) :]).encode(codec)

    def cells(self, answer: Answer) -> bytes:
        return self.encoded("".join(f"{self.delimiter}{self._field(cell(value))}" for value in answer))

    def _field(self, text: str) -> str:
        if not self.quoted:
            return in_column(text)
        if self.special.search(text):
            return '"' + text.replace('"', '""') + '"'
        return text


def bytes_of(lines: list[Line]) -> bytes:
    return lines[0].raw if len(lines) == 1 else b"".join(line.raw for line in lines)


def rows(lines: LineReader, options: dict) -> Iterator[Row]:
    """All rows; [] for a blank line. Where csv cannot read one, its first line is all there is of it."""
    taken: list[Line] = []

    def texts() -> Iterator[str]:
        size = 0
        for line in lines:
            taken.append(line)
            size = size + len(line.raw) if len(taken) > 1 else 0
            if size > MOST:
                raise csv.Error(f"a field in quotes of more than {MOST >> 20} MiB")
            yield line.text

    reader = csv.reader(texts(), **options)
    while True:
        taken.clear()
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            first, *others = taken
            lines.back(others)
            yield [first], None, why(error)
            reader = csv.reader(texts(), **options)
        else:
            yield list(taken), row, ""


def tab_options(lines: LineReader, wanted: list[str]) -> dict:
    """How csv reads a TSV file: with quotes where its header shows them, or where no more rows are wrong with them than
    without; a file is gone through for it, of standard input the beginning."""
    plain, header = (first_row(lines.ahead, options) for options in (PLAIN_TABS, QUOTED_TABS))
    if not by_position(wanted) and has_columns(header, wanted) and not has_columns(plain, wanted):
        return QUOTED_TABS
    wrong = [faults(lines, options, len(plain)) for options in (QUOTED_TABS, PLAIN_TABS)]
    return QUOTED_TABS if wrong[0] <= wrong[1] else PLAIN_TABS


def faults(lines: LineReader, options: dict, width: int) -> int:
    """Rows that have not `width` fields, of all that can be seen beforehand."""
    with lines.again() as same:
        return sum(row is None or len(row) not in (0, width) for _, row, _ in rows(same, options))
