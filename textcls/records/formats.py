"""Which format a file of texts is in."""

import pathlib
from collections.abc import Sequence

from textcls.data.packed import ENDINGS
from textcls.data.tables import by_position
from textcls.records.document import JsonDocument, array_items
from textcls.records.lines import LineReader
from textcls.records.objects import ObjectLines
from textcls.records.record import MakeItem, Records, Value
from textcls.records.tables import Table
from textcls.runtime.errors import InputError


def ending_of(name: str) -> str:
    """What a file's name ends in, without the dot and without .gz or .xz: csv, tsv, …"""
    path = pathlib.Path(name)
    if path.suffix.lower() in ENDINGS:
        path = path.with_suffix("")
    return path.suffix.lower().removeprefix(".")


def of_columns(
    lines: LineReader, kind: str, wanted: Sequence[str], make_item: MakeItem, columns: dict[str, Value]
) -> Records | None:
    """The records of a file whose texts are in `wanted` columns, by its `kind`; None for a kind that has no columns."""
    if kind in ("csv", "tsv"):
        return Table(lines, wanted, kind == "tsv", make_item, columns)
    if kind == "jsonl":
        return ObjectLines(lines, wanted, make_item, columns)
    if kind == "json":
        if by_position(wanted):
            raise InputError(f"{lines.name}: the run's columns are positions, and objects have names; give JSON Lines")
        return JsonDocument(lines, lambda content, name: array_items(content, name, wanted, make_item), columns)
    return None
