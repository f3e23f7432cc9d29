"""What a file asks, for answers that are printed alone: its rows, as many at a time as are answered together."""

import os
from collections.abc import Iterator
from typing import Any

from textcls.records.fill import chunk_size, chunks_of
from textcls.records.lines import opened
from textcls.records.record import Record, Records
from textcls.runtime.errors import InputError


def chunks(predictor, source: str | os.PathLike, kind: str) -> Iterator[tuple[Records, list[Record]]]:
    """(how the file is written, the next of its records) of a file, or of standard input for "-", in a format `kind`
    that the predictor reads. What is right is given, whatever comes after it; then the first record that cannot be read
    is raised as InputError."""
    with opened(source, predictor.config.encoding) as (lines, _):
        records = predictor.records(lines, kind, {})
        for chunk, end in chunks_of(records, chunk_size(str(source), "-")):
            wrong = next((place for place, record in enumerate(chunk) if record.error), len(chunk))
            if wrong:
                yield records, chunk[:wrong]
            if wrong < len(chunk):
                raise InputError(chunk[wrong].error)
            if end:
                raise end


def items(predictor, source: str | os.PathLike, kind: str) -> Iterator[list[Any]]:
    """The same, as what the predictor answers: a document's texts."""
    for _, chunk in chunks(predictor, source, kind):
        if rows := [record.item for record in chunk if record.item is not None]:
            yield rows
