"""Compressed files as what is in them: gzip, bzip2 and xz, to the last byte.

Python's own files of bzip2 and xz end without a word where something else follows a stream, and take as much memory as
an xz file asks for. Here everything in a file is a whole stream, with the right checksum, or it is damaged.
"""

import bz2
import io
import lzma
import pathlib
import zlib
from typing import BinaryIO

from textcls.runtime.files import CHUNK

MEMORY = 1 << 28  # bytes that an xz file may ask for; xz -9 asks for 65 MiB


class Damaged(Exception):
    """A file is not what somebody wrote. The message says why, and not which file."""


class Gzip:
    """A stream of gzip with the methods of bz2.BZ2Decompressor and lzma.LZMADecompressor."""

    def __init__(self):
        self.inner = zlib.decompressobj(16 + zlib.MAX_WBITS)

    def decompress(self, data: bytes, most: int) -> bytes:
        return self.inner.decompress(self.inner.unconsumed_tail + data, most)

    @property
    def eof(self) -> bool:
        return self.inner.eof

    @property
    def unused_data(self) -> bytes:
        return self.inner.unused_data

    @property
    def needs_input(self) -> bool:
        return not self.inner.unconsumed_tail


def xz() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(memlimit=MEMORY)


ENDINGS = {".gz": Gzip, ".xz": xz}  # of texts
BEGINNINGS = {b"\x1f\x8b": Gzip, b"BZ": bz2.BZ2Decompressor, b"\xfd7": xz}  # of archives


class Unpacked(io.RawIOBase):
    """The bytes in a compressed file of one stream or several, with zeros between and after them or not. Raises Damaged
    where they cannot be had."""

    def __init__(self, file: BinaryIO, kind):
        self.file, self.kind, self.stream, self.ahead = file, kind, kind(), b""

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self.file.close()
        super().close()

    def readinto(self, buffer) -> int:
        try:
            data = self._decompressed(len(buffer))
        except (zlib.error, lzma.LZMAError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:  # of the system, and not of bz2
                raise
            raise Damaged(str(error)) from None
        buffer[: len(data)] = data
        return len(data)

    def _decompressed(self, most: int) -> bytes:
        """The next bytes, at most `most`; none at the end of the file."""
        while not self.stream.eof or self._next_stream():
            data, self.ahead = self.ahead, b""
            if not data and self.stream.needs_input:
                data = self.file.read(CHUNK)
            ended = not data and self.stream.needs_input
            if found := self.stream.decompress(data, most):
                return found
            if ended and not self.stream.eof:
                raise Damaged("it ends in the middle of the data")
        return b""

    def _next_stream(self) -> bool:
        """Whether anything but zeros follows: another stream then, or damage."""
        ahead = self.stream.unused_data.lstrip(b"\0")
        while not ahead:
            if not (data := self.file.read(CHUNK)):
                return False
            ahead = data.lstrip(b"\0")
        self.stream, self.ahead = self.kind(), ahead
        return True


def by_ending(path: pathlib.Path) -> BinaryIO:
    """What is in a text file, compressed if its name says so."""
    return unpacked(open(path, "rb"), path)


def by_beginning(path: pathlib.Path) -> BinaryIO:
    """What is in an archive, compressed or not."""
    file = open(path, "rb")
    return unpacked_as(BEGINNINGS.get(file.peek(2)[:2]), file)


def unpacked(file: BinaryIO, path: pathlib.Path) -> BinaryIO:
    """What is in an open text file, compressed if its name says so."""
    return unpacked_as(ENDINGS.get(path.suffix.lower()), file)


def unpacked_as(kind, file: BinaryIO) -> BinaryIO:
    return file if kind is None else io.BufferedReader(Unpacked(file, kind), CHUNK)
