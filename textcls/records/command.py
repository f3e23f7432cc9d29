"""`evaluate.py RUN --predict FILE --out FILE`: which format, which columns, where to."""

import contextlib
import dataclasses
import functools
import gzip
import lzma
import pathlib
import sys
from collections.abc import Iterator

from textcls.records import fill
from textcls.records.formats import ending_of
from textcls.records.lines import opened
from textcls.records.record import Records
from textcls.runtime import parallel
from textcls.runtime.errors import InputError
from textcls.runtime.partial import growing

ENDINGS = {"csv": "CSV", "tsv": "TSV", "jsonl": "JSON Lines", "json": "JSON"}
KINDS = ENDINGS | {"lines": "a text a line"}
PACK = {".gz": lambda data: gzip.compress(data, mtime=0), ".xz": lzma.compress}


def predict(predictor, asked, arguments) -> None:
    """Answer the rows of `arguments.predict` in `arguments.out`. `asked`: what the answers are to tell."""
    source, out = arguments.predict, arguments.out
    check(source, out, arguments)
    kind = arguments.format or ending_of(out if source == "-" else source)
    columns = {f"{arguments.prefix}{name}": value for name, value in predictor.answer_columns(asked).items()}
    with opened(source, predictor.config.encoding) as (lines, done):
        records = predictor.records(lines, kind, columns)
        check_names(records, out, arguments.prefix, predictor.labels)
        size = fill.chunk_size(source, out)
        facts = facts_of(predictor, records, size) | {"options": dataclasses.asdict(asked)}
        with target_of(out, facts, arguments) as target, hinting(out, target):
            answers = functools.partial(predictor.answers, asked=asked)
            state = fill.fill(records, answers, target, done, size, arguments.strict, arguments.quiet)
            target.finish()
        if out != "-" and not arguments.quiet and parallel.is_first():
            without = f", {state.unanswered:,} of them without an answer" if state.unanswered else ""
            print(f"{out}: {state.rows:,} rows{without}", file=sys.stderr)


def check(source: str, out: str, arguments) -> None:
    """Raise InputError for what does not go together."""
    if parallel.size() > 1 and source == "-":
        raise InputError("several processes cannot share standard input; give a file in place of -")
    if out == "-" and (arguments.resume or arguments.overwrite):
        raise InputError("--resume and --overwrite go with a file as --out, not with standard output")


def check_names(records: Records, out: str, prefix: str, labels: list[str]) -> None:
    """Raise InputError where the name of the output promises another format than that of the input, where the new
    columns have no names, and where the encoding has not the letters of the labels."""
    name, ending, kind = records.lines.name, ending_of(out), records.kind
    if ending in ENDINGS and ending != kind:
        what = f"{KINDS.get(kind, kind)}, and comes out as it went in"
        raise InputError(f"--out {out}: {name} is {what}; call it by another ending than .{ending}")
    if prefix and not records.named:
        raise InputError(f"--prefix {prefix}: the columns of {name} have no names")
    for label in (*records.columns, *labels) if kind in ("csv", "tsv", "lines", "CoNLL") else ():
        records.encoded(label)


def facts_of(predictor, records: Records, size: int) -> dict:
    """What the output is made of, besides the input: where one of these is another, a file cannot be gone on with."""
    return records.layout | {
        "format": records.kind,
        "columns": list(records.columns),
        "rows a chunk": size,
        "run": predictor.digests,
        "temperature": predictor.temperature,
        "threshold": predictor.threshold,
        "device": predictor.device.type,
        "precision": predictor.precision.name,
    }


@contextlib.contextmanager
def target_of(out: str, facts: dict, arguments) -> Iterator:
    if out == "-":
        yield fill.Standard()
        return
    path = pathlib.Path(out)
    pack = PACK.get(path.suffix.lower())
    with growing(path, facts | {"ending": path.suffix.lower()}, arguments.resume, arguments.overwrite) as target:
        if arguments.resume and parallel.is_first() and not arguments.quiet:
            rows = target.noted["rows"] if target.noted else 0
            how = f"going on after row {rows:,}" if rows else "nothing to go on with: from the first row"
            print(how, file=sys.stderr)
        yield fill.Packed(target, pack) if pack else target


@contextlib.contextmanager
def hinting(out: str, target) -> Iterator[None]:
    """Say how to go on with what a stopped command has written."""
    try:
        yield
    except fill.Changed:
        raise
    except (InputError, KeyboardInterrupt) as error:
        if not target.holds:
            raise
        hint = f"{out}.partial holds what came before; go on with --resume"
        if isinstance(error, InputError):
            raise InputError(f"{error}; {hint}") from None
        print(hint, file=sys.stderr)
        raise
