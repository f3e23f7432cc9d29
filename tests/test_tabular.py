import json
import pathlib

import pytest

from textcls.data import tabular
from textcls.runtime.errors import InputError


def load(tmp_path, text="text", label="label", dev=0.2, suffix=".csv", test=None, train="train"):
    return tabular.load(str(tmp_path / (train + suffix)), dev, test, text, label, seed=0)


def write(tmp_path, content, name="train.csv"):
    data = content if isinstance(content, bytes) else content.encode("utf-8")
    (tmp_path / name).write_bytes(data)
    return str(tmp_path / name)


ROWS = [('a, "quoted"\nline', "x"), ("b", "y"), ("ünï", "x"), ("", "y"), ("e", "x"), ("f", "y")]


def test_csv_with_quotes_and_newlines(tmp_path):
    write(tmp_path, '\ufefflabel,text\r\nx,"a, ""quoted""\nline"\r\ny,b\r\n\r\nx,ünï\r\ny,\r\nx,e\r\ny,f\r\n')
    corpus = load(tmp_path)
    both = sorted(zip(corpus.train.texts + corpus.dev.texts, [*corpus.train.labels, *corpus.dev.labels], strict=True))
    assert both == sorted(((text,), "xy".index(label)) for text, label in ROWS)
    assert corpus.labels == ["x", "y"]


def test_tsv_takes_quotes_literally_and_columns_by_position(tmp_path):
    write(tmp_path, '1\t"open quote\n0\tplain\n1\tmore\n0\tmore\n', "train.tsv")
    corpus = load(tmp_path, "2", "1", suffix=".tsv", dev=0.5)
    assert sorted(corpus.train.texts + corpus.dev.texts) == [('"open quote',), ("more",), ("more",), ("plain",)]


def test_json_lines_with_pairs(tmp_path):
    rows = [{"q": f"q{i}", "a": "yes é" if i % 2 else "no", "gold": i % 2 == 1} for i in range(8)]
    write(tmp_path, "\n".join(json.dumps(row) for row in rows) + "\n\n", "train.jsonl")
    corpus = load(tmp_path, "q,a", "gold", suffix=".jsonl")
    assert corpus.labels == ["false", "true"]
    assert {len(text) for text in corpus.train.texts} == {2}


def test_dev_and_test_files(tmp_path):
    write(tmp_path, "text,label\na,x\nb,y\n")
    dev = write(tmp_path, "label,text\ny,d\n", "dev.csv")
    test = write(tmp_path, "text,label\nt,x\nu,y\n", "test.csv")
    corpus = tabular.load(str(tmp_path / "train.csv"), dev, test, "text", "label", 0)
    assert (corpus.train.texts, corpus.dev.texts, corpus.test.texts) == ([("a",), ("b",)], [("d",)], [("t",), ("u",)])
    assert corpus.dev.labels.tolist() == [1]


@pytest.mark.parametrize(
    "content, message",
    [
        ("text,label\na,x\nb,y,z\n", "train.csv:3: 3 columns, expected 2"),
        ('text,label\n"a\nb",x\nc\n', "train.csv:4: 1 columns, expected 2"),
        ("words,label\na,x\n", "train.csv:1: no column 'text'; the columns are 'words', 'label'"),
        ("text,label\n", "train.csv: the file holds no rows"),
        ("", "train.csv: the file holds no rows"),
        (b"text,label\na,x\nb\xe9d,y\n", "train.csv:3: byte 0xe9 at column 2 is not UTF-8"),
        ('text,label\na,x\n"b" c,y\n', "train.csv:3: not a CSV row"),
        ('text,label\na,x\n"never closed,y\n', "train.csv:3: not a CSV row"),
        ("text,label\ra,x\rb,y\r", "train.csv:1: not a CSV row (a CR alone ends lines"),
        ("text,label\na,x\nb, \n", "train.csv:3: the label in column 'label' is empty"),
        ("text,label\na,x\nb,x\n", "at least 2 classes"),
    ],
)
def test_bad_files_are_named_with_their_line(tmp_path, content, message):
    write(tmp_path, content)
    with pytest.raises(InputError) as error:
        load(tmp_path)
    assert message in str(error.value)


@pytest.mark.parametrize(
    "line, message",
    [
        ("{", "train.jsonl:2: not a JSON object"),
        ("[1]", "expected a JSON object, found list"),
        ('{"text": "a"}', "no field 'label'"),
        ('{"text": ["a"], "label": "x"}', "field 'text' must be text, found list"),
        ("[" * 100_000, "not a JSON object"),
    ],
)
def test_bad_json_lines(tmp_path, line, message):
    write(tmp_path, '{"text": "a", "label": "x"}\n' + line + "\n", "train.jsonl")
    with pytest.raises(InputError) as error:
        load(tmp_path, suffix=".jsonl")
    assert message in str(error.value)


def test_labels_unseen_in_training(tmp_path):
    write(tmp_path, "text,label\na,x\nb,y\nc,x\nd,y\n")
    test = write(tmp_path, "text,label\na,x\nb,z\n", "test.csv")
    with pytest.raises(InputError, match="test.csv:3: label 'z' does not occur in the training data; its labels: x, y"):
        load(tmp_path, dev=0.5, test=test)


def test_wrong_names_and_positions(tmp_path):
    write(tmp_path, "a,x\nb,y\n")
    with pytest.raises(InputError, match="column 3 is wanted, the row has columns 1 to 2"):
        load(tmp_path, "3", "2")
    with pytest.raises(InputError, match="no such file"):
        load(tmp_path, train="absent")
    with pytest.raises(InputError, match="unknown file type '.xlsx'; known: .csv, .tsv, .jsonl, .json with columns, "):
        load(tmp_path, suffix=".xlsx")
    with pytest.raises(InputError, match="give one column, or two"):
        load(tmp_path, "1,2,3", "1")


# ---- kinds of tables ------------------------------------------------------------------------------------------------


def rows(tmp_path, content, name, text="text", label="label", encoding="utf-8"):
    path = write(tmp_path, content, name)
    columns = tabular.wanted(text, label)
    return [(*texts, label) for _, texts, label in tabular.read(pathlib.Path(path), columns, encoding)]


@pytest.mark.parametrize("name, content", [
    ("a.csv", 'text;label\n"a; b";x\nc,d;y\n'),
    ("a.CSV", 'text,label\n"a; b",x\n"c,d",y\n'),
    ("a.csv", "text\tlabel\na; b\tx\nc,d\ty\n"),
    ("a.csv", 'sep=;\ntext;label\n"a; b";x\nc,d;y\n'),
    ("a.csv", 'id, text, label\n1,a; b,x\n2,"c,d",y\n'),
    ("a.Tsv", "text\tlabel\na; b\tx\nc,d\ty\n"),
    ("a.tsv", '"text"\t"label"\n"a; b"\t"x"\n"c,d"\t"y"\n'),
    ("a.JSONL", '{"text": "a; b", "label": "x"}\n \n{"text": "c,d", "label": "y"}\n'),
])  # fmt: skip
def test_the_same_rows_in_every_kind_of_table(tmp_path, name, content):
    assert rows(tmp_path, content, name) == [("a; b", "x"), ("c,d", "y")]
    assert rows(tmp_path, "\ufeff" + content, name) == [("a; b", "x"), ("c,d", "y")]
    assert rows(tmp_path, content.encode("utf-16"), name, encoding="utf-16") == [("a; b", "x"), ("c,d", "y")]


def test_a_quoted_tsv_is_one_that_can_be_read_so(tmp_path):
    pandas = 'text\tlabel\n"he said ""hi"""\tx\n"two\nlines"\ty\nplain\tx\n'
    assert rows(tmp_path, pandas, "a.tsv") == [('he said "hi"', "x"), ("two\nlines", "y"), ("plain", "x")]
    literal = 'text\tlabel\n"Great", she said\tx\n"quoted"\ty\n'
    assert rows(tmp_path, literal, "a.tsv") == [('"Great", she said', "x"), ('"quoted"', "y")]
    with pytest.raises(InputError, match="a.tsv:3: not a CSV row"):  # its header shows that it is quoted
        rows(tmp_path, '"text"\t"label"\n"a"\t"x"\n"b" c\t"y"\n', "a.tsv")


@pytest.mark.parametrize("text", ["a, b", "a ,b", " a,b "])
def test_blanks_around_the_comma_of_two_columns(tmp_path, text):
    assert rows(tmp_path, "a,b,y\n1,2,x\n", "a.csv", text, "y") == [("1", "2", "x")]


@pytest.mark.parametrize("content, text, label, message", [
    ("text,label\na,x\nb,y\n", "1", "2", "looks like a header; call the columns by name: --text-column text --label-c"),
    ("id,Title,body,class\n1,a,b,x\n2,c,d,y\n", "2,3", "4", "--text-column Title,body --label-column class"),
    ("text,label\na,x\n", "²", "label", "a.csv:1: no column '²'; the columns are 'text', 'label'"),
    ("text,label\na,x\n", "1", "²", "a.csv:1: no column '1'"),
    ("text,text,label\na,b,x\n", "text", "label", "a.csv:1: 2 columns are called 'text'; rename one of them"),
    ("text,label\na,x\n", "text,", "label", "give one column, or two"),
    ("text,label\na,x\n", "text,label", "label", "--text-column text,label: label is the label column"),
])  # fmt: skip
def test_columns_that_are_not_what_was_meant(tmp_path, content, text, label, message):
    with pytest.raises(InputError) as error:
        rows(tmp_path, content, "a.csv", text, label)
    assert message in str(error.value)


def test_a_first_row_that_is_no_header_is_read(tmp_path):
    assert rows(tmp_path, "text,x\nb,y\nc,x\n", "a.csv", "1", "2")[0] == ("text", "x")


def test_json_by_position_is_of_arrays(tmp_path):
    assert rows(tmp_path, '["a", "x"]\n["b", "y"]\n', "a.jsonl", "1", "2") == [("a", "x"), ("b", "y")]
    with pytest.raises(InputError, match=r"a.jsonl:1: no field '1'; .*The columns are positions \(1, 2\): give arrays"):
        rows(tmp_path, '{"text": "a", "label": "x"}\n', "a.jsonl", "1", "2")
    with pytest.raises(InputError, match="a.jsonl:1: no field '2'"):
        rows(tmp_path, '["a"]\n', "a.jsonl", "1", "2")
    with pytest.raises(InputError, match="a.jsonl:1: expected a JSON object, found list"):
        rows(tmp_path, '["a", "x"]\n', "a.jsonl")


def test_half_a_character_in_json(tmp_path):
    line = '{{"text": "{}", "label": "{}"}}\n'.format
    with pytest.raises(InputError, match=r"a.jsonl:2: the label 'p\\ud83d' holds half of a surrogate pair"):
        rows(tmp_path, line("a", "x") + line("b", "p\\ud83d"), "a.jsonl")
    assert rows(tmp_path, line("a", "p\\ud83d\\ude00"), "a.jsonl") == [("a", "p😀")]
    assert rows(tmp_path, line("a\\ud83d", "x"), "a.jsonl") == [("a\ud83d", "x")]  # what tokenises it writes "?"


def test_a_share_for_test_is_drawn_class_by_class_before_dev(tmp_path):
    write(tmp_path, "text,label\n" + "".join(f"{i},{'xy'[i % 2]}\n" for i in range(40)))
    a, b = (tabular.load(str(tmp_path / "train.csv"), dev, 0.25, "text", "label", 1) for dev in (0.1, 0.4))
    assert (len(a.train), len(a.dev), len(a.test)) == (26, 4, 10) and len(b.dev) == 12
    assert a.test.texts == b.test.texts and sorted(a.test.labels) == [0] * 5 + [1] * 5
    assert len({*a.train.texts, *a.dev.texts, *a.test.texts}) == 40
    with pytest.raises(InputError, match="--test 1.5: a share must lie between 0 and 1"):
        tabular.load(str(tmp_path / "train.csv"), 0.1, 1.5, "text", "label", 1)
