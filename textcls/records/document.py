"""JSON as a whole: an array of objects, or SQuAD's {"data": …}; new fields at the end of each object that is answered,
every other character as it was. The file is held in memory."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from textcls.data.decoding import LARGEST, held
from textcls.data.objects import parsed, values_of
from textcls.records.lines import LineReader
from textcls.records.objects import fields
from textcls.records.record import Answer, MakeItem, Record, Records, Value
from textcls.runtime.errors import InputError

TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]:]', re.DOTALL)
ARRAY = (None,)  # where the objects of an array stand
SQUAD = ("data", None, "paragraphs", None, "qas", None)  # where SQuAD's questions stand; None: anywhere in an array

Item = tuple[str, dict, Any]  # where an object stands, the object, what is predicted of it (or an InputError)


class JsonDocument(Records):
    """`make_items`: (content, name) -> (place of its objects, an Item for each of them)."""

    kind = "json"

    def __init__(self, lines: LineReader, make_items: Callable, columns: dict[str, Value]):
        self.lines, self.make_items, self.columns = lines, make_items, columns
        self.mark = b""  # of the byte order
        lines.longest = LARGEST  # all of it is one line, often

    def _texts(self) -> Iterator[str]:
        for line in self.lines:
            if line.fault:
                raise InputError(line.fault)
            if line.number == 1:
                self.mark = line.raw[: len(line.raw) - len(line.text.encode(self.lines.codec))]
            yield line.text

    def __iter__(self) -> Iterator[Record]:
        name = self.lines.name
        text = "".join(held(self._texts(), name))
        place, items = self.make_items(parsed(iter([text]), name), name)
        ends = list(ends_of(text, place))
        if len(ends) != len(items):
            raise InputError(f"{name}: its objects cannot be told apart (does one of them have a name twice?)")
        start, mark = 0, self.mark
        for (where, members, item), end in zip(items, ends, strict=True):
            self.check_names(where, members)
            body = len(text[start:end].rstrip()) + start
            before = mark + self.encoded(text[start:body])
            raw = before + self.encoded(text[body:end])
            start, mark = end, b""
            comma = self.encoded(", " if members else "")
            if isinstance(item, InputError):
                yield Record(raw, before + comma + self.cells(self.empty), raw[len(before) :], error=str(item))
            else:
                yield Record(raw, before + comma, raw[len(before) :], item, where=where)
        rest = mark + self.encoded(text[start:])
        yield Record(rest, rest, data=False)

    def cells(self, answer: Answer) -> bytes:
        return fields(self.columns, answer, self.lines.codec)


def array_items(content: object, name: str, wanted: Sequence[str], make_item: MakeItem) -> tuple[tuple, list[Item]]:
    """Of an array of objects."""
    if not isinstance(content, list):
        raise InputError(f"{name}: expected an array of objects")
    for number, row in enumerate(content, 1):
        if not isinstance(row, dict):
            raise InputError(f"{name}: row {number}: expected an object, found {type(row).__name__}")
    items = []
    for number, row in enumerate(content, 1):
        where = f"{name}: row {number}"
        try:
            item = make_item(where, values_of(where, row, wanted))
        except InputError as error:
            item = error
        items.append((where, row, item))
    return ARRAY, items


def ends_of(text: str, place: tuple) -> Iterator[int]:
    """Where the closing brace of each object that stands at `place` is, in JSON that has been read without an error."""
    names: list[str | None] = []  # the name in each object that is open, None in each array
    last = ""
    for match in TOKEN.finditer(text):
        token = match[0]
        if token == ":":
            names[-1] = last
        elif token in "{[":
            names.append("" if token == "{" else None)
        elif token in "}]":
            names.pop()
            if token == "}" and tuple(names) == place:
                yield match.start()
        else:
            last = token[1:-1]
