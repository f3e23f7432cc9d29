"""Bytes to lines: byte-order marks, encodings, and what is no text."""

import gzip
import io

import pytest

from textcls.config import TrainConfig, flag
from textcls.data import glue_files
from textcls.data.decoding import decode, is_blank
from textcls.data.plain import Lines
from textcls.runtime.errors import InputError
from textcls.text.vocabulary import Words

TEXT = "thé cat sat\n\nthe dog\u00a0sat\n"


def lines(data: bytes, encoding: str = "utf-8") -> list[str]:
    return list(decode(io.BytesIO(data), "a.txt", encoding))


@pytest.mark.parametrize("encoding, said", [
    ("utf-8", "utf-8"),
    ("utf-8-sig", "utf-8"),  # with a byte-order mark
    ("utf-8-sig", "utf-8-sig"),
    ("latin1", "latin1"),
    ("cp1252", "cp1252"),
    ("utf-16", "utf-16"),
    ("utf-16-le", "utf-16le"),
    ("utf-32", "utf-32"),
])  # fmt: skip
def test_every_encoding_gives_the_same_lines(encoding, said):
    assert lines(TEXT.encode(encoding), said) == TEXT.splitlines(keepends=True)
    assert lines(TEXT.rstrip("\n").encode(encoding), said)[-1] == "the dog\u00a0sat"
    assert lines(b"", said) == []


@pytest.mark.parametrize("data, message", [
    (TEXT.encode("utf-16"), "a.txt:1: UTF-16 text (Excel writes UTF-16): convert it (iconv -f UTF-16 -t utf-8 a.txt"),
    (b"\xfe\xff" + TEXT.encode("utf-16-be"), "iconv -f UTF-16 "),
    (TEXT.encode("utf-16-le"), "iconv -f UTF-16LE "),
    (TEXT.encode("utf-16-be"), "iconv -f UTF-16BE "),
    (TEXT.encode("utf-32"), "iconv -f UTF-32 "),
    (TEXT.encode("latin1"), "a.txt:1: byte 0xe9 at column 3 is not UTF-8; convert the file (for Latin-1: iconv"),
    (b"the\nd\xf3g\n", "a.txt:2: byte 0xf3 at column 2 is not UTF-8"),
    (gzip.compress(b"the cat"), "a.txt: compressed with gzip"),
    (b"PK\x03\x04rest", "a.txt: a ZIP archive or an Excel workbook"),
])  # fmt: skip
def test_what_is_not_utf8_is_called_what_it_is(data, message):
    with pytest.raises(InputError) as error:
        lines(data)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_wrong_encoding_and_an_empty_name_are_refused():
    with pytest.raises(InputError, match="begins with the byte-order mark of UTF-8, not latin1"):
        lines(TEXT.encode("utf-8-sig"), "latin1")
    with pytest.raises(InputError, match="a.txt:1: not utf-16"):
        lines(b"abc", "utf-16")
    for name in ("nonsense", "rot13", "base64"):
        with pytest.raises(InputError, match=f"--encoding {name}: unknown"):
            TrainConfig(train="x", encoding=name).check()
    for name in ("train", "dev", "test", "bert", "data_dir", "out"):
        with pytest.raises(InputError, match=f"{flag(name)} '': expected a name; leave it out, or say what"):
            TrainConfig(**{"train": "x", name: ""}).check()


def test_no_break_space_alone_is_no_blank_line():
    assert is_blank(" \t\r\n") and is_blank("") and not is_blank("\u00a0\n") and not is_blank("\u3000")


@pytest.mark.parametrize("ending, opened", [(".txt", open), (".GZ", gzip.open)])
def test_a_byte_order_mark_is_no_word(tmp_path, ending, opened):
    path = tmp_path / f"bom{ending}"
    with opened(path, "wb") as file:
        file.write("\ufeffthe cat sat\nthe dog sat\n".encode())
    vocabulary = Words.learn(Lines(str(path)), 100)
    assert set(vocabulary.tokenizer.get_vocab()) == {"<unk>", "<eos>", "the", "cat", "dog", "sat"}
    path.write_bytes(b"\xef\xbb\xbf") if ending == ".txt" else None
    assert ending != ".txt" or list(Lines(str(path))) == []


def test_files_of_glue_are_not_told_of_an_option_that_is_not_theirs(tmp_path):
    for content, convert in (("a\tb\n".encode("utf-16"), "iconv -f UTF-16 "), (b"n\xe9\n", "iconv -f latin1 ")):
        (tmp_path / "dev.tsv").write_bytes(content)
        with pytest.raises(InputError, match=convert) as refused:
            list(glue_files.fields_of(tmp_path / "dev.tsv"))
        assert "--encoding" not in str(refused.value)
