"""Bytes -> lines of text, for everything that reads text: the encoding, the byte-order mark, what is no text at all.

A line ends with LF or CR LF. BLANKS are what divides words and fields in files of one word a line: other white space
(no-break space, thin space, the ideographic space, …) is part of the word that it stands in.
"""

import codecs
import itertools
import pathlib
from collections.abc import Iterable, Iterator

from textcls.runtime.errors import InputError

UTF8 = "utf-8"
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


def decoded_lines(path: pathlib.Path, encoding: str = UTF8) -> Iterator[str]:
    """The lines of a file, with their ends; errors name the line and the byte."""
    with open(path, "rb") as file:
        yield from decode(file, str(path), encoding)


def decode(lines: Iterable[bytes], name: str, encoding: str = UTF8) -> Iterator[str]:
    """Lines as strings, without a byte-order mark at the beginning; `name` is what errors call the source."""
    if "\n".encode(encoding) != b"\n":
        yield from decode_wide(lines, name, encoding)
        return
    for number, line in enumerate(lines, 1):
        if number == 1:
            check_beginning(line, name, encoding)
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


def decode_wide(lines: Iterable[bytes], name: str, encoding: str) -> Iterator[str]:
    """Encodings in which a line end is more than one byte: UTF-16 and UTF-32."""
    decoder, rest, number = codecs.getincrementaldecoder(encoding)(), "", 0
    try:
        for data in itertools.chain(lines, [None]):
            rest += decoder.decode(data or b"", final=data is None)
            if not number:
                rest = rest.removeprefix("\ufeff")
            *whole, rest = rest.split("\n")
            for line in whole:
                number += 1
                yield f"{line}\n"
    except UnicodeError as error:
        raise InputError(f"{name}:{number + 1}: not {encoding} ({error}); choose another --encoding") from None
    if rest:
        yield rest


def is_blank(line: str) -> bool:
    """Whether there is nothing but blanks and tabs in a line."""
    return not line.strip(f"{BLANKS}\r\n")
