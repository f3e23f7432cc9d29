"""Lines, texts and files that are too long, and inputs without an end: one line with the place, the size and the limit,
and no more memory than that."""

import functools
import io
import itertools
import json
from unittest import mock

import pytest

from textcls.data import conll, decoding, labelled, objects, squad, tables, tabular
from textcls.data.decoding import LONGEST, decode, held
from textcls.runtime.errors import InputError


@pytest.mark.parametrize("encoding", ["utf-8", "latin1", "utf-16", "utf-32-be"])
def test_a_line_is_read_up_to_a_bound(encoding):
    def lines(text: str, longest: int = 1000) -> list[str]:
        return list(decode(io.BytesIO(text.encode(encoding)), "a.txt", encoding, longest))

    assert lines("é" * 99 + "\nb\n" + "c" * 99) == ["é" * 99 + "\n", "b\n", "c" * 99]
    for text in ("a\nb\n" + "é" * 1001 + "\nc", "a\n\n" + "é" * 1001):
        with pytest.raises(InputError, match=r"a.txt:3: a line of .*bytes; the longest that is read has 1,000$"):
            lines(text)
    whole = "x" * 200 + "\ny"
    assert lines(whole, len("x" * 200 + "\n") * (1 if encoding in ("utf-8", "latin1") else 2)) == ["x" * 200 + "\n", "y"]


def test_a_line_that_never_ends_is_not_read_to_its_end():
    class Endless(io.RawIOBase):
        taken = 0

        def readable(self):
            return True

        def readinto(self, buffer):
            buffer[:] = b"x" * len(buffer)
            self.taken += len(buffer)
            return len(buffer)

    source = Endless()
    with mock.patch.object(decoding, "COUNTED", 1 << 24), pytest.raises(InputError) as error:
        list(decode(io.BufferedReader(source), "a.txt", longest=1 << 16))
    assert str(error.value).startswith("a.txt:1: a line of more than 16,") and source.taken < 1 << 25


def test_what_is_held_is_bounded(tmp_path):
    assert list(held(["ab\n", "c"], "a.txt", 4)) == ["ab\n", "c"]
    with pytest.raises(InputError, match="a.txt: holds more than 1,000 characters, the most that is read into memory"):
        list(held(itertools.repeat("x\n"), "a.txt", 1000))
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.txt").write_text("x\n" * 600)
    with mock.patch.object(labelled, "LONGEST", 1000), pytest.raises(InputError, match=r"1.txt: holds more than 1,000"):
        list(labelled.read_folder(tmp_path))


def test_every_format_says_where_a_text_is_too_long(tmp_path):
    """With a bound of 100 characters, which is 2 ** 27 otherwise."""
    long = "word " * 40
    contents = {
        "a.csv": (f"text,label\na,b\nc,d\n{long},e\n", r"a.csv:4: a line of 203 bytes"),
        "b.csv": ('text,label\na,b\n"' + "word\n" * 40 + '",e\n', r"b.csv:3: a row of more than 100 characters"),
        "c.tsv": (f"text\tlabel\na\tb\n{long}\te\n", r"c.tsv:3: a line of 203 bytes"),
        "d.jsonl": (json.dumps({"text": long, "label": "x"}), r"d.jsonl:1: a line of 226 bytes"),
        "e.json": (json.dumps([{"text": "a", "label": "x"}, {"text": long, "label": "x"}]), "row 2: a text of 200 char"),
        "f.json": (json.dumps({"train": [[long, "x"]]}), "train, row 1: a text of 200 characters"),
        "g.txt": (f"A:b c\nA:b {long}", r"g.txt:2: a line of 204 bytes"),
    }
    with mock.patch.object(decoding, "LONGEST", 100), mock.patch.object(tables, "LONGEST", 100):
        short = functools.partial(decoding.decoded_lines, longest=100)
        with mock.patch.object(tabular, "decoded_lines", short), mock.patch.object(labelled, "decoded_lines", short):
            for name, (content, message) in contents.items():
                (tmp_path / name).write_text(content)
                with pytest.raises(InputError, match=message):
                    list(tabular.read(tmp_path / name, ["text", "label"]))
        with pytest.raises(InputError, match="here: a text of 200 characters; the longest that is read has 100"):
            squad.check("here", "what?", long)
    assert objects.LARGEST > LONGEST and squad.longest("json") > squad.longest("jsonl") == LONGEST


def test_a_file_of_words_without_blank_lines_is_a_stream():
    """A sentence ends after so many characters, and no more lines than these have been read."""
    taken = itertools.count()

    def endless():
        while True:
            next(taken)
            yield "word O\n"

    blocks = conll.blocks(endless(), "a.conll", longest=70)
    first = [next(blocks)[0] for _ in range(3)]
    assert [len(block) for block in first] == [10, 10, 10] and next(taken) == 30
    assert [line.text for line in first[1]] == ["word O"] * 10 and first[2][0].where == "a.conll:21"
    lines = ["a O\n", "b O\n", "\n"] * 5
    assert list(conll.blocks(lines, "a", 9)) == list(conll.blocks(lines, "a"))
