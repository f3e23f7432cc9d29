"""JSON Lines: an object (or array) a line, written back as it was with new fields at its end."""

import json
from collections.abc import Iterator, Sequence

from textcls.data.decoding import is_blank
from textcls.data.objects import values_of
from textcls.data.tables import by_position
from textcls.records.lines import Line, LineReader
from textcls.records.record import Answer, MakeItem, Record, Records, Several, Value
from textcls.runtime.errors import InputError
from textcls.runtime.files import json_text, parse_json


class ObjectLines(Records):
    """A line that is no JSON stays as it is: nothing can be added to it. One without its text has empty answers."""

    def __init__(self, lines: LineReader, wanted: Sequence[str], make_item: MakeItem, columns: dict[str, Value]):
        self.lines, self.wanted, self.make_item, self.columns = lines, list(wanted), make_item, columns
        self.kind, self.named = "jsonl", not by_position(self.wanted)

    def __iter__(self) -> Iterator[Record]:
        for line in self.lines:
            if is_blank(line.text) and not line.fault:
                yield Record(line.raw, line.raw, data=False)
            else:
                yield self._record(line)

    def _record(self, line: Line) -> Record:
        where = self.lines.where(line)
        try:
            row = parse_json(line.text)
        except ValueError as error:
            return Record(line.raw, line.raw, error=line.fault or f"{where}: not JSON ({error})")
        if not isinstance(row, dict) and not (isinstance(row, list) and not self.named):
            return Record(line.raw, line.raw, error=f"{where}: expected a JSON object, found {type(row).__name__}")
        if self.named:
            self.check_names(where, row)
        body = line.text.rstrip()[:-1].rstrip()
        after = line.text[len(body) :].encode(self.lines.codec)
        before = line.raw[: -len(after)] + self.encoded(", " if row else "")
        try:
            if line.fault:
                raise InputError(line.fault)
            item = self.make_item(where, values_of(where, row, self.wanted))
        except InputError as error:
            return Record(line.raw, before + self.cells(self.empty) + after, error=str(error))
        return Record(line.raw, before, after, item, where=where)

    def cells(self, answer: Answer) -> bytes:
        names = self.columns if self.named else None
        return fields(names, answer, self.lines.codec)


def fields(names: Sequence[str] | None, answer: Answer, codec: str) -> bytes:
    """The inside of a JSON object, or of an array where there are no names. What the encoding cannot write (half a
    surrogate pair, too) is escaped."""
    values = list(map(in_json, answer))
    pieces = [json_text(value, ensure_ascii=False) for value in values]
    if names is not None:
        pieces = [f"{json.dumps(name, ensure_ascii=False)}: {piece}" for name, piece in zip(names, pieces, strict=True)]
    try:
        return ", ".join(pieces).encode(codec)
    except UnicodeEncodeError:
        return ", ".join(map(escaped, pieces)).encode(codec)


def in_json(value: Value) -> str | float | int | list | None:
    if isinstance(value, Several):
        return list(map(in_json, value.values))
    return float(f"{value:.6g}") if isinstance(value, float) else value


def escaped(text: str) -> str:
    """JSON with its characters beyond ASCII, which stand in strings alone, as escapes."""
    return "".join(char if char.isascii() else json.dumps(char)[1:-1] for char in text)
