"""Tables as text: CSV (quoted as RFC 4180 has it) and TSV. Columns are called by name, or all by position from 1, in
which case the file has no header."""

import csv
from collections.abc import Callable, Iterator, Sequence

from textcls.data.decoding import LONGEST
from textcls.runtime.errors import InputError

TABLES = (".csv", ".tsv")
SEPARATORS = ",;\t|"  # of CSV: the first with which the first row has the wanted columns
PLAIN_TABS = {"delimiter": "\t", "quoting": csv.QUOTE_NONE}
QUOTED_TABS = {"delimiter": "\t", "strict": True}
csv.field_size_limit(LONGEST)


def by_position(columns: Sequence[str]) -> bool:
    """Whether all columns are places from 1: digits, and ASCII ones ("²" is a digit to Unicode, and no number)."""
    return all(column.isascii() and column.isdigit() for column in columns)


def read_table(
    lines: Callable[[], Iterator[str]], name: str, columns: list[str], tabs: bool, optional: Sequence[str] = ()
) -> Iterator[tuple[str, list[str]]]:
    """(FILE:LINE, the wanted columns) of every row. `lines` gives the lines from the first on, whenever it is called;
    `name` is what errors call the file; `tabs`: TSV. Of columns that are `optional`, and come after the others, those
    that are not there are empty.

    What divides the columns of a CSV file is seen in its first row: the first of SEPARATORS with which the wanted ones
    are there, or what a line "sep=;" (Excel's) says. A TSV file is quoted where all of it can be read so, with as many
    columns in each row, or where its first row shows it (R, pandas); else its quotes are letters like any other.
    """
    skip, options = 0, PLAIN_TABS
    if not tabs:
        skip, options = find_separator(lines, columns)
    elif is_quoted(lines, columns):
        options = QUOTED_TABS
    header, picks = None, []
    for where, row in rows_of(lines(), name, skip, options):
        if header is None:
            header = row
            picks = [*pick(where, header, columns), *pick_optional(where, header, optional)]
            if not by_position(columns):
                continue
        if len(row) != len(header):
            raise InputError(f"{where}: {len(row)} columns, expected {len(header)} as in the first row")
        yield where, ["" if i is None else row[i] for i in picks]


def rows_of(lines: Iterator[str], name: str, skip: int, options: dict) -> Iterator[tuple[str, list[str]]]:
    """(FILE:LINE of its first line, fields) of the rows after `skip` lines; blank lines are none."""
    before = size = 0  # lines before the row, and its characters so far

    def counted() -> Iterator[str]:
        nonlocal size
        for line in lines:
            size += len(line)
            if size > LONGEST:
                raise InputError(f"{name}:{skip + before + 1}: a row of more than {LONGEST:,} characters")
            yield line

    for _ in range(skip):
        next(lines)
    reader = csv.reader(counted(), **options)
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise InputError(f"{name}:{skip + before + 1}: {why(error)}") from None
        where, before = f"{name}:{skip + before + 1}", reader.line_num  # a quoted field may span lines
        size = 0
        if row:
            yield where, row


def why(error: csv.Error) -> str:
    """What is wrong with a row."""
    reason = str(error).split(" - ")[0]  # Python's own advice is for programmers
    if reason.startswith("new-line"):
        reason = "a CR alone ends lines, or stands outside of quotes: tr '\\r' '\\n' < OLD > NEW"
    return f"not a CSV row ({reason})"


def find_separator(lines: Callable[[], Iterator[str]], columns: list[str]) -> tuple[int, dict]:
    """(lines to skip, how csv.reader is to read)."""
    first = next(lines(), "").rstrip("\r\n")
    if first.lower().startswith("sep=") and len(first) == 5:
        return 1, {"delimiter": first[4], "strict": True}
    for separator in SEPARATORS:
        options = {"delimiter": separator, "strict": True}
        if has_columns(first_row(lines, options), columns):
            return 0, options
    return 0, {"strict": True}


def first_row(lines: Callable[[], Iterator[str]], options: dict) -> list[str]:
    try:
        return next((row for row in csv.reader(lines(), **options) if row), [])
    except csv.Error:
        return []


def is_quoted(lines: Callable[[], Iterator[str]], columns: list[str]) -> bool:
    """Whether fields of a TSV file are wrapped in double quotes."""
    plain, header = first_row(lines, PLAIN_TABS), first_row(lines, QUOTED_TABS)
    if not by_position(columns) and has_columns(header, columns) and not has_columns(plain, columns):
        return True
    try:
        return all(len(row) == len(header) for row in csv.reader(lines(), **QUOTED_TABS) if row)
    except csv.Error:
        return False


def has_columns(row: Sequence[str], columns: list[str]) -> bool:
    if by_position(columns):
        return all(0 < int(column) <= len(row) for column in columns)
    names = {name.strip() for name in row}
    return all(column in names for column in columns)


def pick(where: str, header: list[str], columns: list[str]) -> list[int]:
    """The place of each wanted column in the first row."""
    if by_position(columns):
        places = [int(column) - 1 for column in columns]
        for column, place in zip(columns, places, strict=True):
            if not 0 <= place < len(header):
                raise InputError(f"{where}: column {column} is wanted, the row has columns 1 to {len(header)}")
        return places
    names = [name.strip() for name in header]
    for column in columns:
        if column not in names:
            raise InputError(
                f"{where}: no column {column!r}; the columns are {', '.join(map(repr, header))} "
                "(train.py chooses with --text-column and --label-column, by name or by position from 1)"
            )
        if names.count(column) > 1:
            raise InputError(f"{where}: {names.count(column)} columns are called {column!r}; rename one of them")
    return [names.index(column) for column in columns]


def pick_optional(where: str, header: list[str], columns: Sequence[str]) -> list[int | None]:
    """The place of each of these columns in a header, None where it has none."""
    names = {name.strip() for name in header}
    return [pick(where, header, [column])[0] if column in names else None for column in columns]
