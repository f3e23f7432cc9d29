"""The files in a tar archive as a stream: POSIX's ustar and pax formats (IEEE Std 1003.1, pax), and GNU's long names.

Python's tarfile takes headers of any length into memory and looks for numbers in them in quadratic time, so that one of
400,000 digits occupies it for minutes; and the first header that is damaged is the end of the archive to it. Here every
size is bounded before anything is read, and an archive ends with a block of zeros.
"""

from collections.abc import Iterator
from typing import BinaryIO

from textcls.data.packed import Damaged
from textcls.runtime.files import CHUNK

BLOCK = 512
LARGEST_HEADER = 1 << 16  # bytes of a long name, or of pax records
REGULAR = (b"0", b"\0", b"7")
WITHOUT_CONTENT = (b"1", b"2", b"3", b"4", b"5", b"6")  # links, devices, folders, whatever size they say
LONG_NAME, LONG_LINK, SPARSE, PAX, PAX_FOR_ALL = b"L", b"K", b"S", (b"x", b"X"), b"g"


class Archive:
    """A file that is read from its beginning to its end, and no more than `most` bytes of it."""

    def __init__(self, file: BinaryIO, most: int):
        self.file, self.most, self.taken = file, most, 0

    def read(self, size: int) -> bytes:
        """Exactly so many bytes. Raises Damaged where there are fewer, or too many in all."""
        self.count(size)
        data = self.file.read(size)
        if len(data) < size:
            raise Damaged("it ends in the middle of the data")
        return data

    def count(self, size: int) -> None:
        self.taken += size
        if self.taken > self.most:
            raise Damaged(f"it holds more than {self.most:,} bytes")

    def skip(self, size: int) -> None:
        if size > self.most:
            raise Damaged(f"it says that it holds {size:,} bytes, more than {self.most:,}")
        while size > 0:
            size -= len(self.read(min(size, CHUNK)))

    def content(self, size: int) -> bytes:
        """What follows a header, without what fills its last block."""
        data = self.read(size)
        self.skip(-size % BLOCK)
        return data

    def to_the_end(self) -> None:
        """Read what follows the last member: there the decompressor compares checksums."""
        while data := self.file.read(CHUNK):
            self.count(len(data))


def files(file: BinaryIO, largest: int, most: int) -> Iterator[tuple[str, bytes]]:
    """(name, content) of the regular files of at most `largest` bytes in an archive, which is read to its end, and has
    at most `most` bytes. Raises Damaged."""
    archive, named, sized = Archive(file, most), None, None
    while any(header := archive.read(BLOCK)):
        check_sum(header)
        kind, size = header[156:157], number(header[124:136])
        if kind in (LONG_NAME, LONG_LINK, PAX_FOR_ALL, *PAX):
            if size > LARGEST_HEADER:
                raise Damaged(f"a header of {size:,} bytes")
            content = archive.content(size)
            if kind == LONG_NAME:
                named = content.partition(b"\0")[0]
            elif kind in PAX:
                values = records(content)
                named, sized = values.get(b"path", named), values.get(b"size", sized)
            continue
        if kind == SPARSE:
            raise Damaged("a sparse file, which is not read")
        size = size if sized is None else whole(sized)
        name, size = named or name_of(header), 0 if kind in WITHOUT_CONTENT else size
        named = sized = None
        if kind in REGULAR and size <= largest:
            yield name.decode("utf-8", "surrogateescape"), archive.content(size)
        else:
            archive.skip(size + -size % BLOCK)
    archive.to_the_end()


def check_sum(header: bytes) -> None:
    bare = header[:148] + b" " * 8 + header[156:]
    if sum(bare) != number(header[148:156]):
        raise Damaged("the checksum of a header is another")


def number(field: bytes) -> int:
    """Octal digits, or GNU's bytes after one of 128."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.partition(b"\0")[0].strip()
    if not all(digit in b"01234567" for digit in digits):
        raise Damaged(f"a header with the number {field!r}")
    return int(digits or b"0", 8)


def whole(value: bytes) -> int:
    if not value.isdigit() or len(value) > 18:
        raise Damaged(f"a header with the size {value[:20]!r}")
    return int(value)


def name_of(header: bytes) -> bytes:
    name, prefix = (part.partition(b"\0")[0] for part in (header[:100], header[345:500]))
    return prefix + b"/" + name if prefix and header[257:263] == b"ustar\0" else name


def records(content: bytes) -> dict[bytes, bytes]:
    """The values of pax records, "LENGTH KEY=VALUE" and a line end each."""
    values = {}
    while content:
        length, blank, _ = content[:20].partition(b" ")
        end = whole(length) if blank else 0
        key, equals, value = content[len(length) + 1 : end - 1].partition(b"=")
        if not equals or content[end - 1 : end] != b"\n":
            raise Damaged(f"a header with the record {content[:20]!r}")
        values[key], content = value, content[end:]
    return values
