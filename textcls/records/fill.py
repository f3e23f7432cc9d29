"""A file in, the same file with a model's answers out: in chunks of records, in their order, in flat memory.

Where a chunk ends is a function of the file alone, and a chunk is answered together: whoever answers it (this process
or another one, before a kill or after it), the answers are the same to the last bit, as long as device and threads are.
Inside a chunk the batches are of texts of like length.

Of N processes each reads the file and answers one chunk in N; the first one writes.
"""

import dataclasses
import hashlib
import itertools
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from textcls.records.lines import Progress, is_typed
from textcls.records.record import Answer, Record, Records
from textcls.runtime import parallel, progress
from textcls.runtime.errors import InputError

CHUNK = 1024  # rows that are answered together: 32 batches of 32, sorted by length
CHUNK_BYTES = 1 << 21  # … or fewer, where they are long: what is made of a text takes many times its bytes
BOTH_ENDS = 64  # … from standard input to standard output: others wait for them
HOPELESS = 10  # rows, none of which can be read: then it is the file that is wrong

Answers = Callable[[Sequence[Any]], Sequence[Answer | InputError]]


@dataclasses.dataclass
class State:
    """How far the work is: bytes of the input, data rows, and those without an answer."""

    input: int = 0
    rows: int = 0
    unanswered: int = 0
    digest: Any = dataclasses.field(default_factory=lambda: hashlib.blake2b(digest_size=16))

    def take(self, chunk: list[Record]) -> None:
        for record in chunk:
            self.digest.update(record.raw)
            self.input += len(record.raw)
            self.rows += record.data

    def noted(self) -> dict:
        return vars(self) | {"digest": self.digest.hexdigest()}


def chunk_size(source: str, out: str) -> int:
    """Rows that are answered together; of what is typed, one."""
    if source != "-" or out != "-":
        return CHUNK
    return 1 if is_typed(source) else BOTH_ENDS


Chunk = tuple[list[Record], InputError | None]  # with what keeps the rest of the file from being read, if anything does


def chunks_of(records: Records, size: int) -> Iterator[Chunk]:
    """Lists of `size` data rows and what is between them."""
    chunk, rows, length = [], 0, 0
    try:
        for record in records:
            chunk.append(record)
            rows, length = rows + record.data, length + len(record.raw)
            if rows >= size or length > CHUNK_BYTES:
                yield chunk, None
                chunk, rows, length = [], 0, 0
    except InputError as error:
        yield chunk, error
        return
    if chunk:
        yield chunk, None


def fill(records: Records, answers: Answers, target, done: Progress, size: int, strict: bool, quiet: bool) -> State:
    """Write all records with their answers to `target`, from where it stands on; how much that was. Rows without an
    answer are reported on standard error. Raises InputError for the first of them if `strict`, and for what cannot be
    read at all."""
    chunks, state = chunks_of(records, size), State()
    with Report(records.lines.name, done, state, quiet) as report:
        if target.noted:
            skip(chunks, state, target.noted, report, records.lines.name)
        while turn := list(itertools.islice(chunks, parallel.size())):
            own = turn[parallel.rank()][0] if parallel.rank() < len(turn) else []
            with parallel.apart():
                mine = answered(records, own, answers)
            for (chunk, end), (pieces, errors) in zip(turn, parallel.gather(mine), strict=False):
                check_hope(records.lines.name, chunk, errors, state)
                if strict and errors:
                    target.write(b"".join(pieces[: errors[0][0]]))
                    raise known_to_all(errors[0][1])
                target.write(b"".join(pieces))
                report.say(message for _, message in errors)
                if end:
                    raise end
                state.take(chunk)
                state.unanswered += len(errors)
            target.mark(state.noted())
            report.show()
    return state


def answered(records: Records, chunk: list[Record], answers: Answers) -> tuple[list[bytes], list[tuple[int, str]]]:
    """(each record as it comes out, (place, why) of those that should have an answer and have none)."""
    items = [record.item for record in chunk if record.item is not None]
    given = iter(answers(items) if items else [])
    pieces, errors = [], []
    for place, record in enumerate(chunk):
        answer, error = None, record.error
        if record.item is not None and isinstance(answer := next(given), InputError):
            answer, error = None, f"{record.where}: {answer}"
        pieces.append(records.written(record, answer))
        errors += [(place, error)] if error else []
    return pieces, errors


def check_hope(name: str, chunk: list[Record], errors: list[tuple[int, str]], state: State) -> None:
    """Raise InputError where none of the first rows can be read."""
    rows = sum(record.data for record in chunk)
    if not state.rows and len(errors) == rows >= HOPELESS:
        raise known_to_all(f"{name}: none of the first {rows} rows can be read; of the first one, {errors[0][1]}")


def known_to_all(message: str) -> Exception:
    """An error that every process has come upon: the first one says it, the others end with its status."""
    return InputError(message) if parallel.is_first() else SystemExit(2)


class Changed(InputError):
    """The input is not what it was: what is there cannot be gone on with."""


def skip(chunks: Iterator[Chunk], state: State, noted: dict, report: "Report", name: str) -> None:
    """Read again what has been answered. Raises Changed where it is not what it was."""
    while state.input < noted["input"]:
        chunk, error = next(chunks, ([], None))
        if error or not chunk:
            raise Changed(error or f"{name} has become shorter; begin again with --overwrite")
        state.take(chunk)
        report.show()
    if state.digest.hexdigest() != noted["digest"]:
        raise Changed(
            f"{name} has changed in what was answered before, its first {noted['rows']:,} rows; begin again with "
            "--overwrite"
        )
    state.unanswered = noted["unanswered"]
    report.begin()


class Report:
    """What standard error hears: a bar on a terminal, a line every minute elsewhere, each row without an answer."""

    def __init__(self, name: str, done: Progress, state: State, quiet: bool):
        self.name, self.done, self.state, self.quiet = name, done, state, quiet
        self.bar = progress.bar(f"predicting {name}", quiet, total=done.total, unit="B", unit_scale=True)
        self.lines = not quiet and progress.speaks() and not sys.stderr.isatty()
        self.begin()

    def __enter__(self) -> "Report":
        return self

    def __exit__(self, *error) -> None:
        self.bar.close()

    def begin(self) -> None:
        """What came before took another command its time."""
        self.start = self.last = time.monotonic()
        self.rows, self.bytes = self.state.rows, self.done.done or 0

    def say(self, messages: Iterable[str]) -> None:
        if parallel.is_first():
            for message in messages:
                self.bar.write(message, file=sys.stderr)

    def show(self) -> None:
        now, read = time.monotonic(), self.done.done
        speed = (self.state.rows - self.rows) / max(1e-9, now - self.start)
        if read is not None:
            self.bar.update(read - self.bar.n)
        self.bar.set_postfix_str(f"{self.state.rows:,} rows, {speed:,.0f} rows/s", refresh=False)
        if self.lines and now - self.last >= progress.EVERY:
            self.last = now
            left = ""
            if read is not None:
                seconds = (now - self.start) * (self.done.total - read) / max(1, read - self.bytes)
                left = f"{read / self.done.total:.0%}, about {progress.duration(seconds)} left, "
            self.say([f"{self.name}: {left}{self.state.rows:,} rows, {speed:,.0f} rows/s"])


class Standard:
    """Standard output as a target: nothing to go on with."""

    noted, holds = None, False

    def write(self, data: bytes) -> None:
        if parallel.is_first():
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()

    def mark(self, state: dict) -> None:
        pass

    def finish(self) -> None:
        pass


class Packed:
    """A target whose parts are compressed, each by itself: joined they are a file that every reader opens."""

    def __init__(self, target, pack: Callable[[bytes], bytes]):
        self.target, self.pack, self.noted = target, pack, target.noted
        self.mark, self.empty = target.mark, target.noted is None

    @property
    def holds(self) -> bool:
        return self.target.holds

    def write(self, data: bytes) -> None:
        if data:
            self.target.write(self.pack(data))
            self.empty = False

    def finish(self) -> None:
        if self.empty:
            self.target.write(self.pack(b""))
        self.target.finish()
