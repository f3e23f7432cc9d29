"""Rows in JSON: an object (or array) a line, an array of them, or a file of several splits. Fields are called by name;
arrays by position from 1."""

import json
import pathlib
from collections.abc import Iterator, Sequence

from textcls.data.decoding import LARGEST, UTF8, check_length, decoded_lines, held, is_blank
from textcls.data.tables import by_position
from textcls.runtime.errors import InputError
from textcls.runtime.files import parse_json

SPLITS = {"train": "train", "dev": "val", "test": "test"}  # what a file of several splits calls them


def json_lines(
    lines: Iterator[str], name: str, columns: list[str], optional: Sequence[str] = (), lists: Sequence[str] = ()
) -> Iterator[tuple[str, list[str]]]:
    """(FILE:LINE, values) of every line that is not blank; "" for `optional` fields that are not there, or null. Fields
    called `lists` may be lists, which stay lists of strings."""
    for number, line in enumerate(lines, 1):
        if not is_blank(line):
            yield f"{name}:{number}", json_values(f"{name}:{number}", line, columns, optional, lists)


def json_values(
    where: str, line: str, columns: list[str], optional: Sequence[str] = (), lists: Sequence[str] = ()
) -> list[str]:
    """The wanted fields of one JSON object, as text; by position, those of an array."""
    try:
        row = parse_json(line)
    except ValueError as error:
        raise InputError(f"{where}: not a JSON object ({error})") from None
    return values_of(where, row, columns, optional, lists)


def values_of(
    where: str, row: object, columns: list[str], optional: Sequence[str] = (), lists: Sequence[str] = ()
) -> list[str]:
    if isinstance(row, list) and by_position(columns):
        row = {str(place): value for place, value in enumerate(row, 1)}
    if not isinstance(row, dict):
        wants = "a JSON array" if by_position(columns) else "a JSON object"
        raise InputError(f"{where}: expected {wants}, found {type(row).__name__}")
    values = []
    for column in (*columns, *optional):
        if column in optional and row.get(column) is None:
            values.append("")
            continue
        if column not in row:
            raise InputError(f"{where}: no field {column!r}; {fields_of(row, columns)}")
        if column in lists and (row[column] is None or isinstance(row[column], list)):
            values.append([text_of(where, column, value) for value in row[column] or ()])
        else:
            values.append(text_of(where, column, row[column]))
    return values


def text_of(where: str, column: str, value: object) -> str:
    if not isinstance(value, str | int | float | bool):
        raise InputError(f"{where}: field {column!r} must be text, found {type(value).__name__}")
    return check_length(where, value) if isinstance(value, str) else json.dumps(value)


def fields_of(row: dict, columns: list[str]) -> str:
    names = f"the fields are {', '.join(map(repr, row))}"
    if by_position(columns) and not all(map(str.isdigit, row)):
        return f"{names}. The columns are positions ({', '.join(columns)}): give arrays, or train with names of columns"
    return names


def read_json(
    path: pathlib.Path, columns: list[str], encoding: str, split: str, lists: Sequence[str] = ()
) -> Iterator[tuple[str, list[str]]]:
    """A JSON file as a whole: an array of rows, or {"train": [[text, label], …], "val": …, "test": …, "oos_train": …},
    as of CLINC150 (Larson et al., 2019), whose out-of-scope texts are of a class of their own."""
    content = json_content(path, encoding)
    if isinstance(content, list):
        for number, row in enumerate(content, 1):
            where = f"{path}: row {number}"
            yield where, values_of(where, row, columns, lists=lists)
        return
    name = SPLITS[split]
    if not isinstance(content, dict) or not isinstance(content.get(name), list):
        found = f"the names {', '.join(map(repr, content))}" if isinstance(content, dict) else type(content).__name__
        raise InputError(f"{path}: expected an array of rows, or an object with the array {name!r}; found {found}")
    for part in (name, f"oos_{name}"):
        for number, row in enumerate(content.get(part, []), 1):
            where = f"{path}: {part}, row {number}"
            if not isinstance(row, list) or len(row) != 2 or not all(isinstance(value, str) for value in row):
                raise InputError(f"{where}: expected [text, label], found {json.dumps(row)[:80]}")
            yield where, [check_length(where, value) for value in row[: len(columns)]]


def json_content(path: pathlib.Path, encoding: str) -> object:
    return parsed(decoded_lines(path, encoding, LARGEST), str(path))


def parsed(lines: Iterator[str], path: str) -> object:
    """A JSON document; `path` is what errors call its source."""
    try:
        return parse_json("".join(held(lines, path)))
    except json.JSONDecodeError as error:
        advice = "; a file of an object a line is called .jsonl" if error.msg == "Extra data" else ""
        raise InputError(f"{path}:{error.lineno}: not JSON ({error.msg}{advice})") from None
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error})") from None


def own_splits(path: pathlib.Path, encoding: str = UTF8) -> list[str]:
    """Which of dev and test a training file brings: a JSON file of several splits."""
    if path.suffix.lower() != ".json" or not path.is_file():
        return []
    content = json_content(path, encoding)
    return [name for name in ("dev", "test") if isinstance(content, dict) and SPLITS[name] in content]
