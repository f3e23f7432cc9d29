import json

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
    with pytest.raises(InputError, match="unknown file type '.txt'; known: .csv, .jsonl, .tsv"):
        load(tmp_path, suffix=".txt")
    with pytest.raises(InputError, match="give one column, or two"):
        load(tmp_path, "1,2,3", "1")
