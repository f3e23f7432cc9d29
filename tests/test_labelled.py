"""Texts with a label in front, a folder for each class, and JSON files of several splits."""

import json

import pytest

from textcls.data import tabular
from textcls.runtime.errors import InputError

TREC = "DESC:manner How did it begin ?\nENTY:animal What is\u00a0it ?\n\nDESC:def What is a fox ?\n"
FASTTEXT = "__label__DESC How did it begin ?\n__label__ENTY What is\u00a0it ?\n\nWhat is a fox ? __label__DESC\n"
ROWS = [("How did it begin ?", "DESC"), ("What is\u00a0it ?", "ENTY"), ("What is a fox ?", "DESC")]


def rows(path, label="label", text="text", encoding="utf-8", split="train"):
    read = tabular.read(path, tabular.wanted(text, label), encoding, split)
    return [(*texts, label) for _, texts, label in read]


@pytest.mark.parametrize("text", [TREC, FASTTEXT, "\ufeff" + TREC])
@pytest.mark.parametrize("name", ["a.txt", "a.label", "a.TXT"])
def test_lines_with_their_label(tmp_path, text, name):
    (tmp_path / name).write_text(text, "utf-8")
    assert rows(tmp_path / name) == ROWS


def test_fine_labels_and_latin1(tmp_path):
    (tmp_path / "a.label").write_bytes("DESC:def What is a se\xf1or ?\nNUM:count How many ?\n".encode("latin1"))
    assert rows(tmp_path / "a.label", "fine", encoding="latin1")[0] == ("What is a se\xf1or ?", "DESC:def")
    with pytest.raises(InputError, match="a.label:1: byte 0xf1 .*--encoding latin1"):
        rows(tmp_path / "a.label")


@pytest.mark.parametrize("text, message", [
    ("good text\n", "a.txt:1: begins with 'good', expected LABEL:FINE"),
    ("A:x one\nno label\n", "a.txt:2: begins with 'no'"),
    ("__label__a one\ntwo\n", "a.txt:2: 0 labels"),
    ("__label__a __label__b one\n", "a.txt:1: 2 labels (__label__a __label__b)"),
    ("\n", "a.txt: the file holds no rows"),
])  # fmt: skip
def test_lines_without_a_label_are_refused(tmp_path, text, message):
    (tmp_path / "a.txt").write_text(text, "utf-8")
    with pytest.raises(InputError) as error:
        rows(tmp_path / "a.txt")
    assert message in str(error.value)
    (tmp_path / "a.txt").write_text("A:x one\n", "utf-8")
    with pytest.raises(InputError, match="a.txt:1: one text a document, --text-column wants 2"):
        rows(tmp_path / "a.txt", text="a,b")


def test_a_folder_for_each_class(tmp_path):
    for label, names in (("pos", "ab"), ("neg", "c"), (".git", "d")):
        (tmp_path / "data" / label).mkdir(parents=True)
        for name in names:
            (tmp_path / "data" / label / f"{name}.txt").write_text(f"text {name}\nand more\n", "utf-8")
    (tmp_path / "data" / "readme.txt").write_text("beside the classes", "utf-8")
    text = "text {}\nand more\n".format
    assert rows(tmp_path / "data") == [(text("c"), "neg"), (text("a"), "pos"), (text("b"), "pos")]
    (tmp_path / "data" / "odd").mkdir()
    with pytest.raises(InputError, match="odd: no .txt file; expected .*/CLASS/"):
        rows(tmp_path / "data")
    with pytest.raises(InputError, match="expected a folder for each class"):
        rows(tmp_path / "data" / "odd")


def test_json_of_several_splits_brings_its_own_dev_and_test(tmp_path):
    path = tmp_path / "data_full.json"
    content = {"train": [["a", "x"], ["b", "y"]] * 5, "val": [["c", "x"]], "test": [["d", "y"], ["e", "x"]]}
    content |= {"oos_train": [["f", "oos"]] * 2, "oos_test": [["g", "oos"]]}
    path.write_text(json.dumps(content), "utf-8")
    corpus = tabular.load(str(path), 0.1, None, "text", "label", 1)
    assert corpus.labels == ["oos", "x", "y"] and len(corpus.train) == 12
    assert corpus.dev.texts == [("c",)] and corpus.test.texts == [("d",), ("e",), ("g",)]
    held_out = tabular.load(str(path), 0.2, None, "text", "label", 1)
    assert len(held_out.dev) == 3 and len(held_out.train) == 9  # one of each class
    assert rows(path, split="test") == [("d", "y"), ("e", "x"), ("g", "oos")]


@pytest.mark.parametrize("content, message", [
    ('{"train": [["a", "x", "z"]]}', "a.json: train, row 1: expected [text, label], found"),
    ('{"data": []}', "expected an array of rows, or an object with the array 'train'; found the names 'data'"),
    ('{"text": "a", "label": "x"}\n{"text": "b", "label": "y"}\n', "a.json:2: not JSON (Extra data; a file of an"),
    ("[1]", "a.json: row 1: expected a JSON object, found int"),
    ("3", "found int"),
])  # fmt: skip
def test_other_json_is_refused(tmp_path, content, message):
    (tmp_path / "a.json").write_text(content, "utf-8")
    with pytest.raises(InputError) as error:
        rows(tmp_path / "a.json")
    assert message in str(error.value)


def test_json_of_rows(tmp_path):
    (tmp_path / "a.json").write_text('[{"text": "a", "label": "x"}, {"text": "b", "label": "y"}]', "utf-8")
    assert rows(tmp_path / "a.json") == [("a", "x"), ("b", "y")]
