"""Lines with the bytes that they were read from, so that what was there can be written back as it was."""

import codecs
import contextlib
import io
import itertools
import os
import pathlib
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO, NamedTuple

from textcls.data.decoding import LONGEST, check_beginning, not_in, too_long
from textcls.data.packed import Damaged, unpacked
from textcls.runtime.errors import InputError

BLOCK = 1 << 16  # bytes of a file whose lines have to be looked for
AHEAD = 1 << 20  # bytes that are looked at to find out how a file is written


class Line(NamedTuple):
    """`number` from 1; `text` with its end, without a byte-order mark; `fault`: why the bytes are no text, or ""."""

    number: int
    raw: bytes
    text: str
    fault: str


class LineReader(Iterator[Line]):
    """The lines of an open file, one after the other. `name` is what messages call it; `path` where it can be opened
    again, if it can (a pipe cannot); `codec` is the encoding with its byte order, and without a byte-order mark;
    `longest` are the bytes of a line at most, which may be set before the first one is read."""

    def __init__(self, file: BinaryIO, name: str, encoding: str, path: pathlib.Path | None = None):
        self.name, self.encoding, self.path = name, encoding, path
        self.longest = LONGEST
        self.codec, raws = raw_lines(file, encoding, lambda: self.longest)
        self.newline = "\n".encode(self.codec)
        self._raws, self._waiting, self._number = raws, deque(), 0

    def __next__(self) -> Line:
        return self._waiting.popleft() if self._waiting else self._read()

    def back(self, lines: Iterable[Line]) -> None:
        """Give the last lines back: they come next."""
        self._waiting.extendleft(reversed(list(lines)))

    def ahead(self) -> Iterator[str]:
        """The texts of the coming lines, which come all the same; up to AHEAD bytes."""
        size = 0
        for place in itertools.count():
            if place == len(self._waiting):
                try:
                    self._waiting.append(self._read())
                except StopIteration:
                    return
            yield self._waiting[place].text
            size += len(self._waiting[place].raw)
            if size > AHEAD:
                return

    @contextlib.contextmanager
    def again(self) -> Iterator["LineReader"]:
        """The lines from the first one on, before any is taken: all of a file, of a pipe those `ahead`."""
        if self.path is not None:
            with opened(self.path, self.encoding) as (same, _):
                yield same
        else:
            count = sum(1 for _ in self.ahead())
            raw = b"".join(line.raw for line in itertools.islice(self._waiting, count))
            yield LineReader(io.BytesIO(raw), self.name, self.encoding)

    def texts(self) -> Iterator[str]:
        """The lines as text. Raises InputError for the first that is none."""
        for line in self:
            if line.fault:
                raise InputError(line.fault)
            yield line.text

    def where(self, line: Line) -> str:
        return f"{self.name}:{line.number}"

    def end_of(self, line: Line) -> tuple[bytes, bytes]:
        """(the line without its end, its end)."""
        end = line.text[len(line.text.rstrip("\r\n")) :].encode(self.codec)
        return (line.raw[: -len(end)], end) if end else (line.raw, b"")

    def _read(self) -> Line:
        try:
            raw = next(self._raws)
        except Damaged as error:
            raise InputError(f"{self.name}: damaged after line {self._number} ({error})") from None
        self._number += 1
        if len(raw) > self.longest:
            raise too_long(f"{self.name}:{self._number}", f"more than {self.longest:,} bytes", self.longest)
        first = self._number == 1
        if first and self.newline == b"\n":
            check_beginning(raw, self.name, self.encoding)
        try:
            text, fault = raw.decode(self.codec), ""
        except UnicodeDecodeError as error:
            text = raw.decode(self.codec, "replace")
            where = f"{self.name}:{self._number}: byte 0x{raw[error.start]:02x} at column {error.start + 1}"
            fault = str(not_in(self.encoding, where))
        return Line(self._number, raw, text.removeprefix("\ufeff") if first else text, fault)


@contextlib.contextmanager
def opened(source: str | os.PathLike, encoding: str) -> Iterator[tuple[LineReader, "Progress"]]:
    """(the lines, how far they are read) of a file, .xz and .gz too, or of standard input for "-"."""
    if str(source) == "-":
        yield LineReader(standard_input(), "standard input", encoding), Progress(None)
        return
    path = pathlib.Path(source)
    with open(path, "rb") as raw:
        with unpacked(raw, path) as file:
            yield LineReader(file, str(path), encoding, path if path.is_file() else None), Progress(raw)


def standard_input() -> BinaryIO:
    """Its bytes. Raises InputError where it is closed."""
    if sys.stdin is None:
        raise InputError("standard input is closed; give a file in place of -")
    return sys.stdin.buffer


def is_typed(source: str | os.PathLike) -> bool:
    """Whether somebody sits at the other end, and waits for each answer."""
    return str(source) == "-" and sys.stdin is not None and sys.stdin.isatty()


class Progress:
    """How far a file is read: `done` of `total` bytes, as it lies on the disk; None where that is not known."""

    def __init__(self, file: BinaryIO | None):
        self.file = file
        self.total = os.fstat(file.fileno()).st_size or None if file is not None else None

    @property
    def done(self) -> int | None:
        return self.file.tell() if self.total is not None else None


# ---- bytes ----------------------------------------------------------------------------------------------------------


def raw_lines(file: BinaryIO, encoding: str, longest: Callable[[], int]) -> tuple[str, Iterator[bytes]]:
    """(the encoding with its byte order, the lines). A line of more than `longest` bytes comes in pieces."""
    name = codecs.lookup(encoding).name
    name = "utf-8" if name == "utf-8-sig" else name
    if "\n".encode(name) == b"\n":
        return name, iter(lambda: file.readline(longest() + 1), b"")
    beginning = file.read(4)
    if name in ("utf-16", "utf-32"):
        marks = {"be": f"BOM_UTF{name[-2:]}_BE", "le": f"BOM_UTF{name[-2:]}_LE"}
        native = sys.byteorder[0] + "e"
        order = next((order for order, mark in marks.items() if beginning.startswith(getattr(codecs, mark))), native)
        name = f"{name}-{order}"
    return name, wide_lines(file, beginning, "\n".encode(name), longest)


def wide_lines(file: BinaryIO, beginning: bytes, newline: bytes, longest: Callable[[], int]) -> Iterator[bytes]:
    """Lines of characters of `len(newline)` bytes: its bytes may also stand across two of them."""
    rest, width = bytearray(), len(newline)
    for block in itertools.chain([beginning], iter(lambda: file.read(BLOCK), b"")):
        start, place = 0, max(0, len(rest) - width + 1)  # what was there before has been looked at
        rest += block
        while (place := rest.find(newline, place)) >= 0:
            if place % width:
                place += 1
                continue
            place += width
            yield bytes(rest[start:place])
            start = place
        del rest[:start]
        if len(rest) > longest():
            break
    if rest:
        yield bytes(rest)
