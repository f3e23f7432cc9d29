"""Records: what was read is written back, byte for byte, with answers beside it; held against csv and json."""

import csv
import gzip
import io
import itertools
import json
import os
import random
import re
import threading

import pytest

from textcls.data import conll
from textcls.records.conll import SentenceRecords
from textcls.records.document import ARRAY, SQUAD, JsonDocument, array_items, ends_of
from textcls.records.lines import LineReader, opened
from textcls.records.objects import ObjectLines, fields
from textcls.records.plain import PlainLines
from textcls.records.record import cell
from textcls.records.tables import Table
from textcls.runtime.errors import InputError

COLUMNS = {"label": "", "probability": None}
LETTERS = ["a", "b", " ", '"', ",", ";", "\t", "\n", "\r\n", "é", "日", "'", "", "\\", "0"]
ADVICE = "; convert the file (for Latin-1: iconv -f latin1 -t utf-8), or say what it is in (--encoding latin1)"


def as_item(where, texts):
    return tuple(texts)


def answer(item) -> list:
    """What a test's model says: a label that needs quotes, and a number."""
    return [f'"{len(item[0])}", {item[0][:1]}', len(item[0]) / 3]


def filled(records, data: bytes) -> tuple[bytes, list[str]]:
    """(all of the output, errors). The records are the whole input."""
    found = list(records)
    assert b"".join(record.raw for record in found) == data
    answers = [None if record.item is None else answer(record.item) for record in found]
    out = b"".join(records.written(record, given) for record, given in zip(found, answers, strict=True))
    return out, [record.error for record in found if record.error]


def reader(data: bytes, encoding: str = "utf-8") -> LineReader:
    return LineReader(io.BytesIO(data), "mine", encoding)


def table(data: bytes, wanted=("text",), tabs=False, encoding="utf-8") -> Table:
    return Table(reader(data, encoding), list(wanted), tabs, as_item, dict(COLUMNS))


def parsed(data: bytes, encoding: str, errors: str = "strict", **options) -> list[list[str]]:
    text = data.decode(encoding, errors).removeprefix("\ufeff")
    return list(csv.reader(io.StringIO(text, newline=""), strict=True, **options))


# ---- tables ---------------------------------------------------------------------------------------------------------


def random_table(rng: random.Random, letters, **options) -> tuple[str, list[list[str]]]:
    """(a file, its rows), written by csv in one of its styles."""
    width, buffer = rng.randint(2, 4), io.StringIO()
    names = rng.sample(["text", "id", "note, with comma", 'a "name"'], width)
    names = names if "text" in names else ["text", *names[1:]]
    rows = [names]
    rows += [["".join(rng.choices(letters, k=rng.randint(0, 6))) for _ in names] for _ in range(rng.randint(0, 8))]
    style = rng.choice([csv.QUOTE_ALL, csv.QUOTE_MINIMAL])
    end = rng.choice(["\n", "\r\n"])
    csv.writer(buffer, quoting=style, lineterminator=end, **options).writerows(rows)
    text = buffer.getvalue()
    return text if rng.random() < 0.7 else text.removesuffix(end), rows


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32", "gb18030", "shift_jis"])
@pytest.mark.parametrize("separator", [",", ";", "|"])
def test_random_tables_come_back_with_two_columns_more(encoding, separator):
    rng = random.Random(f"{encoding}{separator}")
    letters = [letter for letter in LETTERS if encoding != "shift_jis" or letter != "é"]
    for _ in range(60):
        text, rows = random_table(rng, letters, delimiter=separator)
        data = text.encode(encoding)
        out, errors = filled(table(data, encoding=encoding), data)
        assert not errors
        place = rows[0].index("text")
        given = [[cell(value) for value in answer([row[place]])] for row in rows[1:]]
        expected = [rows[0] + list(COLUMNS), *(row + more for row, more in zip(rows[1:], given, strict=True))]
        assert parsed(out, encoding, delimiter=separator) == expected
        records = table(data, encoding=encoding)  # without the answers it is the input, byte for byte
        out = b"".join(records.written(record, ["\0", None]) for record in records)
        for cells in (list(COLUMNS), ["\0", None]):
            out = out.replace(records.cells(cells), b"")
        assert out == data


def test_tab_separated_with_and_without_quotes():
    plain = 'id\ttext\n1\t"so" he said\n2\tan "open\n\n'.encode()
    out, errors = filled(table(plain, tabs=True), plain)
    assert not errors
    assert out.decode() == 'id\ttext\tlabel\tprobability\n1\t"so" he said\t"12", "\t4\n2\tan "open\t"8", a\t2.66667\n\n'
    quoted = 'id\ttext\n1\t"a\ttab\nand a line"\n'.encode()
    out, errors = filled(table(quoted, tabs=True), quoted)
    assert not errors and out.endswith('1\t"a\ttab\nand a line"\t"""16"", a"\t5.33333\n'.encode())
    one_wrong = quoted + b"2\n"  # one row that is wrong does not turn all quotes into letters
    assert filled(table(one_wrong, tabs=True), one_wrong)[1] == ["mine:4: 1 columns, expected 2 as in the first row"]


BAD = b'''id,text,note
1,"star, ""q""",x
2,short
3,"two
lines",y
4,"open quote,z
5,one,too,many
6,caf\xe9,w

7,last,v'''


def test_rows_that_cannot_be_read_are_kept_below_their_names():
    out, errors = filled(table(BAD), BAD)
    assert errors == [
        "mine:3: 2 columns, expected 3 as in the first row",
        "mine:6: not a CSV row (unexpected end of data)",
        "mine:7: 4 columns, expected 3 as in the first row",
        f"mine:8: byte 0xe9 at column 6 is not UTF-8{ADVICE}",
    ]
    rows = list(csv.DictReader(io.StringIO(out.decode("latin-1"), newline=""), strict=True, restkey="more"))
    assert [row["id"] for row in rows] == list("1234567")
    assert [bool(row["label"]) for row in rows] == [True, False, True, False, False, False, True]
    assert rows[1] == {"id": "2", "text": "short", "note": "", "label": "", "probability": ""}
    assert rows[3]["text"] == '"open quote' and rows[3]["note"] == "z"
    assert rows[4]["text"] == "one" and rows[4]["more"] == ["many"]
    assert rows[5]["text"] == "caf\xe9" and b"6,caf\xe9,w,,\n\n" in out
    assert not out.endswith(b"\n")


def test_an_open_quote_does_not_swallow_the_file(monkeypatch):
    monkeypatch.setattr("textcls.records.tables.MOST", 1000)
    rows = [b"1,fine\n"] * 500
    data = b"".join([b"id,text\n", *rows, b'2,"open\n', *rows])
    _, errors = filled(table(data), data)
    assert errors == ["mine:502: not a CSV row (a field in quotes of more than 0 MiB)"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le"])
def test_random_damage_loses_nothing_and_leaves_a_table(encoding):
    """Whatever becomes of a table: its bytes are all in the records, the output can be read, and a row has either an
    answer or an error."""
    rng = random.Random(encoding)
    for _ in range(300):
        text, _ = random_table(rng, [*LETTERS, "long text, "])
        data = bytearray(text.encode(encoding))
        header = len(text.partition("\n")[0].encode(encoding)) + 2
        for _ in range(rng.randint(1, 3)):
            if len(data) > header:
                data[rng.randrange(header, len(data))] = rng.choice(b'",\n\xe9\r a')
        data = bytes(data)
        records = table(data, encoding=encoding)
        try:
            found = list(records)
        except InputError:  # the header is damaged
            continue
        assert b"".join(record.raw for record in found) == data
        out = b"".join(records.written(record, ["yes", 0.5]) for record in found)
        rows, width = [row for row in parsed(out, encoding, errors="replace") if row], records.width
        for row, record in zip(rows[1:], [record for record in found if record.data], strict=True):
            assert row[width : width + 2] == (["", ""] if record.error else ["yes", "0.5"])


def test_a_line_that_says_the_separator_stays_where_it_is():
    data = b'sep=|\r\nid|text\r\n1|"a|b"\r\n'
    out, errors = filled(table(data), data)
    assert not errors and out == b'sep=|\r\nid|text|label|probability\r\n1|"a|b"|"""3"", a"|1\r\n'


@pytest.mark.parametrize("data", [b"", b"\n", b"text"])
def test_files_without_a_row(data):
    out, errors = filled(table(data), data)
    assert not errors and out == data + b",label,probability" * (data == b"text")


def test_columns_by_position_have_no_header():
    data = b"1,star\n2,moon\n"
    out, errors = filled(table(data, wanted=["2"]), data)
    assert not errors and out == b'1,star,"""4"", s",1.33333\n2,moon,"""4"", m",1.33333\n'
    with pytest.raises(InputError, match="looks like a header"):
        list(table(b"id,text\n1,a\n", wanted=["2"]))


@pytest.mark.parametrize("data, message", [
    (b"text,label\na,b\n", "mine:1: there is a column 'label' already; .*--prefix"),
    (b"text, probability \na,b\n", "mine:1: there is a column 'probability' already"),
    (b"words,x\na,b\n", "mine:1: no column 'text'; the columns are 'words', 'x'"),
    (b'"text,x\na,b\n', "mine:1: not a CSV row"),
    (b"\xff\xfet\0e\0", "UTF-16 text"),
])  # fmt: skip
def test_files_whose_first_row_is_wrong_are_refused(data, message):
    with pytest.raises(InputError, match=message):
        list(table(data))


def test_what_the_encoding_cannot_write_is_an_error():
    with pytest.raises(InputError, match="日' cannot be written in its encoding, latin1"):
        table(b"text\na\n", encoding="latin1").cells(["日"])


# ---- JSON Lines -----------------------------------------------------------------------------------------------------


def objects(data: bytes, wanted=("text",), encoding="utf-8") -> ObjectLines:
    return ObjectLines(reader(data, encoding), list(wanted), as_item, dict(COLUMNS))


def test_a_number_that_json_has_not_is_null():
    assert fields(["a", "b"], ["x", float("inf")], "utf-8") == b'"a": "x", "b": null'


def random_object(rng: random.Random):
    text = "".join(rng.choices([*LETTERS, "}", "{", "\ud83d", "\u2028"], k=rng.randint(0, 8)))
    values = [text, rng.randint(0, 10**30), rng.random(), None, True, [1, {"x": text}], {"text": text}]
    row = {"text": text} | {f"k{i}": rng.choice(values) for i in range(rng.randint(0, 4))}
    items = list(row.items())
    rng.shuffle(items)
    return dict(items)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "latin1"])
def test_random_objects_come_back_with_two_fields_more(encoding):
    rng = random.Random(encoding)
    for _ in range(100):
        rows = [random_object(rng) for _ in range(rng.randint(1, 5))]
        styles = {"separators": rng.choice([(",", ":"), (" , ", " : ")]), "ensure_ascii": True}
        text = "".join(f"{json.dumps(row, **styles)}{rng.choice([chr(10), ' ' + chr(13) + chr(10)])}" for row in rows)
        data = text.encode(encoding)
        out, errors = filled(objects(data, encoding=encoding), data)
        assert not errors
        lines = out.decode(encoding).split("\n")[:-1]
        for line, before, row in zip(lines, text.split("\n")[:-1], rows, strict=True):
            label, number = answer([row["text"]])
            assert json.loads(line) == row | {"label": label, "probability": float(f"{number:.6g}")}
            assert list(json.loads(line)) == [*row, *COLUMNS]
            assert line.startswith(before.rstrip()[:-1])


def test_json_lines_that_cannot_be_read():
    data = b'\xef\xbb\xbf{"text": "a"}\n{"text": 1.50}\n\n{\n{"x": 1e999}\n{}\n{"text": null }\n{"text": "\xe9"}\n[1]\n'
    out, errors = filled(objects(data), data)
    assert [error.split(": ")[0] for error in errors] == [f"mine:{number}" for number in (4, 5, 6, 7, 8, 9)]
    assert out == (
        b'\xef\xbb\xbf{"text": "a", "label": "\\"1\\", a", "probability": 0.333333}\n'
        b'{"text": 1.50, "label": "\\"3\\", 1", "probability": 1.0}\n'
        b"\n"
        b"{\n"
        b'{"x": 1e999, "label": "", "probability": null}\n'
        b'{"label": "", "probability": null}\n'
        b'{"text": null, "label": "", "probability": null }\n'
        b'{"text": "\xe9", "label": "", "probability": null}\n'
        b"[1]\n"
    )
    with pytest.raises(InputError, match="mine:2: there is a column 'label' already"):
        list(objects(b'{"text": "a"}\n{"text": "a", "label": 1}\n'))


def test_arrays_by_position():
    data = b'["a", 2 ]\n[]\n'
    out, errors = filled(objects(data, wanted=["1"]), data)
    assert out == b'["a", 2, "\\"1\\", a", 0.333333 ]\n["", null]\n' and len(errors) == 1


# ---- JSON as a whole ------------------------------------------------------------------------------------------------


def document(data: bytes, encoding="utf-8") -> JsonDocument:
    def make(content, name):
        return array_items(content, name, ["text"], as_item)

    return JsonDocument(reader(data, encoding), make, dict(COLUMNS))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("indent", [None, 2])
def test_random_arrays_come_back_with_two_fields_more(encoding, indent):
    rng = random.Random(indent)
    for _ in range(50):
        rows = [random_object(rng) for _ in range(rng.randint(0, 5))]
        data = (json.dumps(rows, indent=indent) + "\n").encode(encoding)
        out, errors = filled(document(data, encoding), data)
        given = [answer([row["text"]]) for row in rows]
        given = [{"label": label, "probability": float(f"{number:.6g}")} for label, number in given]
        found = json.loads(out.decode(encoding).removeprefix("\ufeff"))
        assert not errors and found == [row | more for row, more in zip(rows, given, strict=True)]


def test_objects_are_found_by_their_place_alone():
    """Against every object of the parsed document, whatever strings look like and wherever the names occur again."""
    text = json.dumps({
        "x": {"data": [{"paragraphs": [{"qas": [{"no": 1}]}]}]},
        'data"': [{"no": "}"}],
        "data": [
            {"title": '{"qas": [{', "paragraphs": [
                {"qas": [{"id": "1", "qas": [{"no": {}}]}, {}], "context": '\\"}]'},
            ]},
            {"paragraphs": []},
            {"paragraphs": [{"qas": []}, {"qas": [{"id": "3"}]}]},
        ],
    }, indent=1)  # fmt: skip
    found = []
    for end in ends_of(text, SQUAD):
        start = max(i for i in range(end) if text[i] == "{" and balanced(text[i : end + 1]))
        found.append(json.loads(text[start : end + 1]))
    assert [item.get("id") for item in found] == ["1", None, "3"]
    assert list(ends_of('[{"a": {}}, [{}], {}]', ARRAY)) == [9, 19]


def balanced(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def test_a_document_may_be_one_long_line(monkeypatch):
    monkeypatch.setattr("textcls.records.lines.LONGEST", 10)
    data = b'[{"text": "a"}]'
    assert not filled(document(data), data)[1]
    with pytest.raises(InputError, match="a line of more than 10 bytes"):
        list(objects(data))


@pytest.mark.parametrize("text, message", [
    ('{"data": 1}', "expected an array of objects"), ("[{}, 1]", "mine: row 2: expected an object, found int"), ("[", "mine:1: not JSON"),
    ('[{"text": "a", "probability": 0}]', "there is a column 'probability' already"),
])  # fmt: skip
def test_documents_that_are_refused(text, message):
    with pytest.raises(InputError, match=message):
        list(document(text.encode()))


# ---- lines ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-be", "utf-32-le", "cp037", "latin1"])
def test_random_lines_are_those_of_the_text(encoding):
    """Lines of wide encodings, by their bytes, against str.split; Ċ has the byte of a line feed."""
    rng = random.Random(encoding)
    letters = ["a", "\n", "\r\n", "x" * 40001] + ([] if encoding in ("cp037", "latin1") else ["Ċ", "ਊ", "日\n"])
    for _ in range(30):
        text = "".join(rng.choices(letters, k=rng.randint(0, 12)))
        data = text.encode(encoding)
        lines = list(reader(data, encoding))
        assert [line.text for line in lines if line.text] == re.findall("[^\n]*\n|[^\n]+$", text)
        assert b"".join(line.raw for line in lines) == data and not any(line.fault for line in lines)
        assert [line.number for line in lines] == list(range(1, len(lines) + 1))


def test_lines_that_were_looked_at_come_all_the_same():
    lines = reader(b"a\nb\nc\n")
    assert list(lines.ahead()) == ["a\n", "b\n", "c\n"]
    first = next(lines)
    second = next(lines)
    lines.back([first, second])
    assert [line.text for line in lines] == ["a\n", "b\n", "c\n"]
    with reader(b"x\ny").again() as again:
        assert [line.text for line in again] == ["x\n", "y"]


def test_a_line_without_an_end_is_refused(monkeypatch):
    monkeypatch.setattr("textcls.records.lines.LONGEST", 100)
    for encoding in ("utf-8", "utf-16"):
        with pytest.raises(InputError, match="mine:2: a line of more than 100 bytes; the longest that is read has 100"):
            list(reader(("a\n" + "b" * 100000).encode(encoding), encoding))


def test_compressed_files_and_damaged_ones(tmp_path):
    data = gzip.compress(b"one\n" * 5000)
    (tmp_path / "a.gz").write_bytes(data)
    with opened(tmp_path / "a.gz", "utf-8") as (lines, done):
        assert sum(line.text == "one\n" for line in lines) == 5000
        assert done.done == done.total == len(data)
    (tmp_path / "a.gz").write_bytes(data[:-9])
    with opened(tmp_path / "a.gz", "utf-8") as (lines, _), pytest.raises(InputError, match="a.gz: damaged after line"):
        list(lines)


def test_plain_lines():
    data = b"a text\r\n\nwith\ttab\n\xe9\nlast"
    out, errors = filled(PlainLines(reader(data), as_item, dict(COLUMNS)), data)
    assert out == (
        b'a text\t"6", a\t2\r\n\t"0", \t0\nwith\ttab\t"8", w\t2.66667\n\xe9\t\t\nlast\t"4", l\t1.33333'
    )
    assert errors == [f"mine:4: byte 0xe9 at column 1 is not UTF-8{ADVICE}"]
    assert PlainLines(reader(b""), as_item, {}).cells(["a\tb\nc"]) == b"\ta\\tb\\nc"


# ---- CoNLL ----------------------------------------------------------------------------------------------------------

TAGGED = """-DOCSTART- -X- O

# a comment
Ada NN B-PER
saw VB O\t

1-2\tx\ty
Lee NN B-PER"""


def test_sentences_are_the_lines_of_conll_with_a_column_more():
    data = TAGGED.replace("\n", "\r\n").encode()
    records = SentenceRecords(reader(data), 0, 2, {"tag": "_"})
    found = list(records)
    assert b"".join(record.raw for record in found) == data
    assert [record.item for record in found] == [None, None, ["Ada", "saw"], ["1-2", "Lee"]]
    out = b"".join(records.written(record, [f"T{i}" for i in range(9)]) for record in found).decode()
    blocks = conll.sentences(TAGGED.split("\n"), "mine", 0, 2)
    expected = []
    for block in blocks:
        tags = (f"T{i}" for i in itertools.count())
        expected += [line.text + line.column(next(tags) if line.word is not None else None) for line in block]
    assert [line.rstrip(" \t") for line in out.split("\r\n")] == expected
    assert "saw VB O T1\t\r\n" in out  # blanks at the end stay there


def test_a_sentence_that_cannot_be_read_has_no_tags():
    data = b"Ada NN O\ncaf\xe9 NN O\n\nLee NN O\n"
    records = SentenceRecords(reader(data), 0, 2, {"tag": "_"})
    found = list(records)
    assert [record.error for record in found] == [f"mine:2: byte 0xe9 at column 4 is not UTF-8{ADVICE}", ""]
    out = b"".join(records.written(record, None) for record in found)
    assert out == b"Ada NN O _\ncaf\xe9 NN O _\n\nLee NN O _\n"


def test_a_file_without_a_blank_line_is_no_single_sentence(monkeypatch):
    monkeypatch.setattr("textcls.records.conll.LONGEST_SENTENCE", 50)
    data = b"Ada NN O\n" * 100
    found = list(SentenceRecords(reader(data), 0, 2, {"tag": "_"}))
    assert b"".join(record.raw for record in found) == data
    assert {len(record.item) for record in found} == {4, 6}


def test_a_pipe_is_read_once(tmp_path):
    if not hasattr(os, "mkfifo"):
        pytest.skip("no named pipes here")
    os.mkfifo(tmp_path / "a.tsv")
    data = b"id\ttext\n" + b'1\t"a"\n' * 1000
    writer = threading.Thread(target=(tmp_path / "a.tsv").write_bytes, args=(data,))
    writer.start()
    with opened(tmp_path / "a.tsv", "utf-8") as (lines, done):
        out, errors = filled(Table(lines, ["text"], True, as_item, dict(COLUMNS)), data)
    writer.join()
    assert not errors and done.total is None and out.count(b"\n") == 1001
