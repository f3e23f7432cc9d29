"""Bytes -> lines of text, for everything that reads text: the encoding, the byte-order mark, what is no text at all,
and how much of it is held in memory.

A line ends with LF or CR LF; no line, and no text, is longer than LONGEST. BLANKS are what divides words and fields in
files of one word a line: other white space (no-break space, thin space, the ideographic space, …) is part of the word
that it stands in.
"""

import codecs
import functools
import itertools
import pathlib
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from textcls.runtime.errors import InputError
from textcls.runtime.files import CHUNK

UTF8 = "utf-8"
LONGEST = 1 << 27  # bytes of a line, and characters of a text
LARGEST = 1 << 30  # characters of a file that is held as a whole (JSON, a table from a pipe), and bytes of its one line
COUNTED = 1 << 31  # bytes of a line that is too long: no more of it is read to say how long it is
BLANKS = " \t"
# How files begin that are not UTF-8; the longest beginning first.
WIDE = "{0} text (Excel writes UTF-16): convert it (iconv -f {0} -t utf-8 {1} > NEW)"
MARKS = ((codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
PACKED = (
    (b"\x1f\x8b", "compressed with gzip: unpack it before (gunzip)"),
    (b"\xfd7zXZ", "compressed with xz: unpack it before (unxz)"),
    (b"PK\x03\x04", "a ZIP archive or an Excel workbook, and no text: save it as CSV (UTF-8)"),
)


class OtherEncoding(InputError):
    """A file is in another encoding. `what` says so, and how to convert it; `choice` which option would do too, of files
    of one's own."""

    def __init__(self, what: str, choice: str):
        super().__init__(f"{what}, or {choice}")
        self.what = what


def decoded_lines(path: pathlib.Path, encoding: str = UTF8, longest: int = LONGEST) -> Iterator[str]:
    """The lines of a file, with their ends; errors name the line and the byte."""
    with open(path, "rb") as file:
        yield from decode(file, str(path), encoding, longest)


def decode(file: BinaryIO, name: str, encoding: str = UTF8, longest: int = LONGEST) -> Iterator[str]:
    """The lines of a file as strings, without a byte-order mark at the beginning; `name` is what errors call the file.
    Raises InputError for a line of more than `longest` bytes, of which no more is held."""
    if "\n".encode(encoding) != b"\n":
        yield from decode_wide(file, name, encoding, longest)
        return
    for number, line in enumerate(iter(functools.partial(file.readline, longest + 1), b""), 1):
        if number == 1:
            check_beginning(line, name, encoding)
        if len(line) > longest:
            raise too_long(f"{name}:{number}", length_of_line(file, line), longest)
        try:
            text = line.decode(encoding)
        except UnicodeDecodeError as error:
            where = f"{name}:{number}: byte 0x{line[error.start]:02x} at column {error.start + 1}"
            raise not_in(encoding, where) from None
        yield text.removeprefix("\ufeff") if number == 1 else text


def not_in(encoding: str, where: str) -> InputError:
    if codecs.lookup(encoding).name != UTF8:
        return InputError(f"{where} is not {encoding.upper()}; choose another --encoding")
    convert = f"{where} is not {encoding.upper()}; convert the file (for Latin-1: iconv -f latin1 -t utf-8)"
    return OtherEncoding(convert, "say what it is in (--encoding latin1)")


def check_beginning(line: bytes, name: str, encoding: str) -> None:
    """Raise InputError where the first line shows that the file is something else."""
    for beginning, what in PACKED:
        if line.startswith(beginning):
            raise InputError(f"{name}: {what}")
    for mark, wide in MARKS:
        if line.startswith(mark):
            raise OtherEncoding(f"{name}:1: {WIDE.format(wide.upper(), name)}", f"say --encoding {wide.upper()}")
    if line.startswith(codecs.BOM_UTF8) and codecs.lookup(encoding).name not in (UTF8, "utf-8-sig"):
        raise InputError(f"{name}:1: begins with the byte-order mark of UTF-8, not {encoding}; leave out --encoding")
    if line.count(0) * 3 > len(line):
        order = "UTF-16BE" if line.startswith(b"\0") else "UTF-16LE"
        what = f"{name}:1: every other byte is 0: {WIDE.format(order, name)}"
        raise OtherEncoding(what, f"say --encoding {order}")


def decode_wide(file: BinaryIO, name: str, encoding: str, longest: int) -> Iterator[str]:
    """Encodings in which a line end is more than one byte: UTF-16 and UTF-32."""
    decoder, rest, number = codecs.getincrementaldecoder(encoding)(), "", 0
    pieces = iter(functools.partial(file.readline, CHUNK), b"")  # byte 10: the end of a line, or half of a character
    try:
        for data in itertools.chain(pieces, [None]):
            rest += decoder.decode(data or b"", final=data is None)
            if not number:
                rest = rest.removeprefix("\ufeff")
            *whole, rest = rest.split("\n")
            for place, line in enumerate([*whole, rest], number + 1):
                if len(line) > longest // 2:
                    raise too_long(f"{name}:{place}", f"more than {longest:,} bytes", longest)
            for line in whole:
                number += 1
                yield f"{line}\n"
    except UnicodeError as error:
        raise InputError(f"{name}:{number + 1}: not {encoding} ({error}); choose another --encoding") from None
    if rest:
        yield rest


def held(lines: Iterable[str], name: str, most: int = LARGEST) -> Iterator[str]:
    """The lines, for something that holds all of them. Raises InputError where they are more than `most` characters."""
    size = 0
    for line in lines:
        size += len(line)
        if size > most:
            raise InputError(f"{name}: holds more than {most:,} characters, the most that is read into memory")
        yield line


def check_length(where: str, text: str) -> str:
    """The text. Raises InputError where it is longer than LONGEST characters."""
    if len(text) > LONGEST:
        raise InputError(f"{where}: a text of {len(text):,} characters; the longest that is read has {LONGEST:,}")
    return text


def too_long(where: str, size: str, longest: int) -> InputError:
    return InputError(f"{where}: a line of {size}; the longest that is read has {longest:,}")


def length_of_line(file: BinaryIO, begun: bytes) -> str:
    """How long the line is that has `begun`, in words; no more of it is held, and none read after COUNTED bytes."""
    size, data = len(begun), begun
    while size < COUNTED and data and not data.endswith(b"\n"):
        size += len(data := file.readline(CHUNK))
    return f"{'more than ' * (size >= COUNTED)}{size:,} bytes"


def is_blank(line: str) -> bool:
    """Whether there is nothing but blanks and tabs in a line."""
    return not line.strip(f"{BLANKS}\r\n")
