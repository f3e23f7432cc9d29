"""Compressed texts and archives: every kind of damage is one line, and nothing in them decides how much memory is
taken."""

import bz2
import gzip
import io
import lzma
import tarfile
import tracemalloc
import zlib

import numpy as np
import pytest

from textcls.data import packed, tar
from textcls.data.decoding import decode
from textcls.data.packed import Damaged
from textcls.data.plain import lines_of
from textcls.runtime.errors import InputError

TEXT = "".join(f"line {i} of {i * 7919 % 104729}\n" for i in range(10000))
PACK = {".gz": gzip.compress, ".xz": lzma.compress}


@pytest.mark.parametrize("ending", PACK)
def test_several_streams_with_zeros_between_are_one_text(tmp_path, ending):
    path, pack = tmp_path / f"a{ending.upper()}", PACK[ending]
    for data in (
        pack(TEXT.encode()),
        pack(b"") + pack(TEXT[:1000].encode()) + pack(TEXT[1000:].encode()),
        pack(TEXT[:1000].encode()) + bytes(8) + pack(TEXT[1000:].encode()) + bytes(packed.CHUNK + 4),
    ):
        path.write_bytes(data)
        assert "".join(lines_of(path)) == TEXT
    path.write_bytes(pack(b""))
    assert list(lines_of(path)) == []


@pytest.mark.parametrize("ending", PACK)
def test_every_damage_is_one_line_with_the_name(tmp_path, ending):
    path, whole = tmp_path / f"a{ending}", PACK[ending](TEXT.encode())
    random = np.random.default_rng(0)
    damaged = [b"", b"no such thing", TEXT.encode(), whole + b"x", whole + b"\0\0rest", whole + whole[:-1]]
    damaged += [whole[:int(at)] for at in random.integers(1, len(whole), 30)]
    damaged += [whole[:-cut] for cut in range(1, 9)]
    for data in damaged:
        path.write_bytes(data)
        with pytest.raises(InputError, match=f"^{path}: damaged after line \\d+ ") as error:
            list(lines_of(path))
        assert "\n" not in str(error.value)
    for at in random.integers(0, len(whole), 60):  # flipped bits: the same text (a name, a time), or an error
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << int(random.integers(8))]) + whole[at + 1 :])
        try:
            text = "".join(lines_of(path))
        except InputError as error:
            assert str(error).startswith(f"{path}: damaged") or "is not UTF-8" in str(error)
        else:
            assert text == TEXT


@pytest.mark.parametrize("ending", PACK)
def test_a_line_without_end_is_refused_before_it_is_in_memory(tmp_path, ending):
    """64 MiB in a few KB, of which a line may have 64 KiB."""
    path = tmp_path / f"a{ending}"
    path.write_bytes(PACK[ending](b"short\n") + 8 * PACK[ending](bytes(1 << 23)))
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="a.txt:2: a line of 67,108,864 bytes; the longest that is read has 65,536"):
            list(decode(packed.by_ending(path), "a.txt", longest=1 << 16))
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


def test_an_xz_file_may_not_ask_for_any_memory(tmp_path):
    whole = bytearray(lzma.compress(b"a\n"))
    at, end = whole.index(b"\x21\x01") + 2, 12 + (whole[12] + 1) * 4 - 4  # of the header of the first block
    whole[at] = 38  # a dictionary of 2 GiB (the .xz file format, 5.3.1)
    whole[end : end + 4] = zlib.crc32(whole[12:end]).to_bytes(4, "little")
    (tmp_path / "a.xz").write_bytes(whole)
    with pytest.raises(InputError, match="a.xz: damaged after line 0 .*[Mm]emory usage limit"):
        list(lines_of(tmp_path / "a.xz"))


# ---- archives -------------------------------------------------------------------------------------------------------


def written(members: list[tuple[tarfile.TarInfo, bytes]], form: int) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as archive:
        for member, content in members:
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


def read(data: bytes, largest: int = 1 << 20, most: int = 1 << 24) -> list[tuple[str, bytes]]:
    return list(tar.files(io.BytesIO(data), largest, most))


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_the_files_are_those_that_tarfile_finds(form):
    random, members = np.random.default_rng(0), []
    for number in range(60):
        parts = ["d" * int(random.integers(1, 60)) for _ in range(int(random.integers(1, 4)))]
        member = tarfile.TarInfo("/".join([*parts, str(number)]))
        if form != tarfile.USTAR_FORMAT and number % 5 == 0:
            member.name = "é" * int(random.integers(1, 300)) + member.name
        content = random.bytes(int(random.integers(0, 1200)))
        member.type = [tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE, b"Q"][number % 5]
        member.linkname = "x" * (150 if form != tarfile.USTAR_FORMAT else 50) if number % 5 == 2 else ""
        member.size = len(content) if number % 5 in (0, 1, 4) else 0
        member.mtime = number + 0.5 if form == tarfile.PAX_FORMAT else number
        members.append((member, content))
    data = written(members, form)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        expected = [(m.name, archive.extractfile(m).read()) for m in archive if m.type in tarfile.REGULAR_TYPES]
    assert read(data) == expected and len(expected) >= 24


def extended(content: bytes, kind: bytes = b"x") -> bytes:
    """A header with this content, and a file after it."""
    member = tarfile.TarInfo("header")
    member.type, member.size = kind, len(content)
    rest = written([(tarfile.TarInfo("file"), b"")], tarfile.USTAR_FORMAT)
    return member.tobuf(tarfile.USTAR_FORMAT) + content + bytes(-len(content) % 512) + rest


def test_headers_are_bounded_and_numbers_in_them_cost_nothing():
    assert read(extended(b"15 path=a name\n7 a=bc\n")) == [("a name", b"")]
    for content, message in [
        (b"7" * 400_000, "a header of 400,000 bytes"),
        (b"7" * 60_000, "a header with the record"),
        (b"7" * 19 + b" a=b\n", "a header with the size"),
        (b"9 a=b\n", "a header with the record"),
        (b"0 a=b\n", "a header with the record"),
        (b"6 a=b\nrest", "a header with the record"),
        (b"15 size=-1234\n", "a header with the record"),
        (b"14 size=-1234\n", "a header with the size"),
        (b"27 size=123456789012345678\n", "it says that it holds 123,456,789,012,345,856 bytes"),
    ]:
        with pytest.raises(Damaged, match=message):
            read(extended(content))
    with pytest.raises(Damaged, match="a header of 70,000 bytes"):
        read(extended(b"n" * 70_000, b"L"))
    many = extended(b"7 a=bc\n")[:1024] * 20_000
    with pytest.raises(Damaged, match="it holds more than 16,777,216 bytes"):
        read(many)


def test_archives_in_bz2_end_with_their_stream(tmp_path):
    path, data = tmp_path / "a", written([(tarfile.TarInfo("file"), b"")], tarfile.GNU_FORMAT)
    path.write_bytes(bz2.compress(data))
    with packed.by_beginning(path) as file:
        assert list(tar.files(file, 100, 1 << 20)) == [("file", b"")]
    path.write_bytes(bz2.compress(data) + b"more")
    with pytest.raises(Damaged), packed.by_beginning(path) as file:
        list(tar.files(file, 100, 1 << 20))
