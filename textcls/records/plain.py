"""A text a line; its answers after a tab each."""

from collections.abc import Iterator

from textcls.records.lines import LineReader
from textcls.records.record import Answer, MakeItem, Record, Records, Value, cell, in_column
from textcls.runtime.errors import InputError


class PlainLines(Records):
    """Every line is a text, a blank one too."""

    kind, named = "lines", False

    def __init__(self, lines: LineReader, make_item: MakeItem, columns: dict[str, Value]):
        self.lines, self.make_item, self.columns = lines, make_item, columns

    def __iter__(self) -> Iterator[Record]:
        for line in self.lines:
            before, after = self.lines.end_of(line)
            try:
                if line.fault:
                    raise InputError(line.fault)
                item = self.make_item(self.lines.where(line), [line.text.rstrip("\r\n")])
            except InputError as error:
                yield Record(line.raw, before + self.cells(self.empty) + after, error=str(error))
            else:
                yield Record(line.raw, before, after, item, where=self.lines.where(line))

    def cells(self, answer: Answer) -> bytes:
        return self.encoded("".join(f"\t{in_column(cell(value))}" for value in answer))
