"""Files that mean harm: one small case of each kind is one line, and nothing of its size is allocated."""

import json
import pathlib
import pickle
import zipfile
from typing import Literal, get_args

import pytest
import torch
from tokenizers import Regex, Tokenizer, pre_tokenizers

from tests.conftest import facts_of_a_run, make_rows, save_tiny, write_csv
from textcls.data import conll, glue
from textcls.data.objects import json_values
from textcls.metrics.classification import ASKED
from textcls.models.bert import Bert, BertConfig
from textcls.models.elmo import ElmoConfig
from textcls.pretrained import backbone, elmo, hub
from textcls.pretrained.bert import read_bert, read_config, scaled
from textcls.pretrained.safetensors import read_safetensors
from textcls.runtime import files
from textcls.runtime.errors import LONGEST, InputError, one_line
from textcls.runtime.kinds import Metric, Scheme, fits, misfit
from textcls.runtime.tensors import load_tensors
from textcls.text import published
from textcls.text.vocabulary import Vocabulary
from textcls.training import facts
from textcls.training.run import Run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    write_csv(folder / "train.csv", make_rows(40))
    write_csv(folder / "test.csv", make_rows(12, 1))
    save_tiny(folder / "bert", [text for text, _ in make_rows(40)])
    return folder


@pytest.fixture
def trained(folder, call):
    """A run of a small BERT, trained once for the module."""
    if not (folder / "run").exists():
        files_of_it = "--train train.csv --test test.csv --bert bert --max-length 16 --epochs 1 --quiet --out run"
        call("train", "--model", "bert", *files_of_it.split())
    return folder / "run"


# ---- JSON -----------------------------------------------------------------------------------------------------------


def in_run(name: str):
    """How a file of a run folder is read."""

    def read(path: pathlib.Path):
        content = path.read_bytes()
        run = Run(path.parent)
        run.create(facts_of_a_run({}, {}), {})
        (run.folder / name).write_bytes(content)
        return {"config.json": run.meta, "metrics.jsonl": run.metrics, "results.json": run.results}[name]()

    return read


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "[" * 980, "1" * 100_000, "\ud800"])
@pytest.mark.parametrize("read", [
    read_config,
    elmo.read_options,
    published.read_object,
    hub.read_index,
    in_run("config.json"),
    in_run("metrics.jsonl"),
    in_run("results.json"),
    lambda path: json_values("FILE:1", path.read_bytes().decode("latin1"), ["text", "label"]),
], ids="config options object index run metrics results rows".split())  # fmt: skip
def test_json_that_no_reader_can_hold(tmp_path, read, text):
    path = tmp_path / "model.safetensors.index.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(InputError):
        read(path)


def test_names_from_files_stay_in_the_line_of_an_error():
    assert one_line("a\nb\x1b[2J\u202e é") == "a\\nb\\x1b[2J\\u202e é"
    assert LONGEST < len(one_line("x" * 10**6)) < LONGEST + 10


# ---- what a run says of itself --------------------------------------------------------------------------------------


@pytest.mark.parametrize("value, hint, right", [
    (1, int, True), (True, int, False), ("a", Literal["a"], True), (["a"], Literal["a"], False), (1, float, True), (1.0, int, False), (None, str | None, True),
    ([1, 2], list[int], True), ([1, "2"], list[int], False), ([[1, 2]], tuple[tuple[int, int], ...], True),
    ([[1, 2, 3]], tuple[tuple[int, int], ...], False), ({"a": 1}, dict[str, float], True), ({"a": []}, dict, True),
])  # fmt: skip
def test_kinds_of_values(value, hint, right):
    assert fits(value, hint) == right


def test_the_names_that_a_run_may_hold_are_those_that_there_are():
    assert set(get_args(Scheme)) == {"BIO", "IOB1", *conll.LETTERS}
    assert set(get_args(Metric)) == {*ASKED, *(name for corpus in glue.CORPORA.values() for name in corpus.metrics)}


def test_the_field_that_does_not_fit_is_named():
    meta = facts_of_a_run({}, {})
    assert misfit(meta, facts.Trained) is None
    assert misfit(meta | {"parameters": {"trainable": "x", "total": 1}}, facts.Trained) == "parameters.trainable is 'x'"
    assert misfit(meta | {"labels": ["a", 3]}, facts.Trained) == "labels[1] is 3"
    del meta["device"]
    assert misfit(meta, facts.Trained) == "device is not there" and misfit(meta, facts.Trained, whole=False) is None


@pytest.mark.parametrize("place, value", [
    ("labels", "abc"), ("labels", []), ("labels", ["a", "b", "a"]), ("data", 3), ("parameters", {}), ("backbone", {"name": 3}), ("dims", []),
    ("dims.hidden_size", 2**31 - 1), ("dims.num_hidden_layers", 200_000), ("dims.hidden_dropout_prob", "x"),
    ("config", []), ("config.max_length", 2**40), ("config.hidden", 1.5), ("config.seed", 2**64), ("config.lr", "1"), ("config.train", "a\0b"),
    ("config.amp", "fp8"), ("config.test", None), ("config.batch_size", True), ("config.new", 1), ("precision", None),
])  # fmt: skip
def test_an_edited_config_of_a_run_is_refused(folder, trained, call, place, value):
    path, names = trained / "config.json", place.split(".")
    text = path.read_text("utf-8")
    meta = files.checked(text)
    part = meta if len(names) == 1 else meta[names[0]]
    part[names[-1]] = value
    path.write_text(json.dumps(meta), "utf-8")
    try:
        assert "run" in call("evaluate", "run", "--quiet", status=2) or names[0] == "config"
    finally:
        path.write_text(text, "utf-8")


def test_shapes_of_other_models_are_held_to_bounds():
    ElmoConfig(filters=[[1, 4]], projection=4, cells=8)
    for change in ({"cells": 10**9}, {"layers": 10**6}, {"activation": "x"}, {"cell_clip": -1.0}, {"filters": []}):
        with pytest.raises(ValueError):
            ElmoConfig(**{"filters": [[1, 4]], "projection": 4, "cells": 8} | change)


# ---- sizes ----------------------------------------------------------------------------------------------------------


def test_the_size_of_a_bert_is_known_before_it_is_built(tiny_shape, monkeypatch):
    bert = Bert(tiny_shape)
    assert tiny_shape.size == sum(p.numel() for p in bert.parameters())
    assert BertConfig().size == 109_482_240  # bert-base-uncased, with its pooler
    monkeypatch.setattr("textcls.runtime.memory.free_memory", lambda: 4 * tiny_shape.size - 1)
    with pytest.raises(InputError, match="out of memory: a BERT of that shape takes"):
        backbone.untrained(tiny_shape, 1)


@pytest.mark.parametrize("flags, message", [
    ("--hidden 1000000000", "out of memory: a bilstm of these settings takes"),
    ("--layers 1000000000", "--layers 1000000000: must be above 0 and below 1001"),
    ("--seed 18446744073709551616", "--seed 18446744073709551616: must be below 2**63"),
    ("--seeds 1 9223372036854775808", "--seed 9223372036854775808: must be below 2**63"),
    ("--epochs 9223372036854775808", "must be below 2**63"),
    ("--weight-decay inf", "--weight-decay inf: must be"),
    ("--dev nan", "--dev nan"),
])  # fmt: skip
def test_numbers_beyond_reason(call, flags, message):
    given = "--model bilstm --bert bert --max-length 16 --train train.csv --quiet --epochs 1 --out new".split()
    given = [word for word in given if "--epochs" not in flags or word not in ("--epochs", "1")]
    assert message in call("train", *given, *flags.split(), status=2)


def test_numbers_of_the_other_scripts(trained, call):
    assert "--seed -1: must be 0 or more" in call("ensemble", "run", "run/linear", "--seed", -1, status=2)
    assert "must be below 2**63" in call("evaluate", "run", "--sample", 3, "--seed", 2**64, status=2)


# ---- tensors --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [[0, 2**70], [0, 2**63], [0, 2**62, 8], [-1], [-2, -2], [1] * 100, [1.0], "1"])
def test_shapes_in_a_safetensors_header(tmp_path, shape):
    size = 0 if isinstance(shape, list) and 0 in shape else 4
    header = json.dumps({"a": {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}}).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(size))
    with pytest.raises(InputError, match="damaged safetensors header"):
        read_safetensors(path)


def test_an_empty_tensor_may_have_any_shape_that_there_is(tmp_path):
    header = json.dumps({"a": {"dtype": "F32", "shape": [0, 2**47, 2**47], "data_offsets": [0, 0]}}).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    assert read_safetensors(path)["a"].shape == (0, 2**47, 2**47)


def pickled(numel: int, size: list[int], stride: list[int], offset: int = 0) -> bytes:
    """The pickle of {"a": a tensor} as torch writes it, with any numbers in it."""

    def plain(value) -> bytes:
        return pickle.dumps(value, 2)[2:-1]

    def several(values) -> bytes:
        return b"(" + b"".join(map(plain, values)) + b"t"

    storage = b"(" + plain("storage") + b"ctorch\nFloatStorage\n" + plain("0") + plain("cpu") + plain(numel) + b"tQ"
    end = b"\x89ccollections\nOrderedDict\n)R"
    arguments = b"(" + storage + plain(offset) + several(size) + several(stride) + end + b"t"
    return b"\x80\x02}(" + plain("a") + b"ctorch._utils\n_rebuild_tensor_v2\n" + arguments + b"Ru."


@pytest.mark.parametrize("numbers", [
    (2**60, [1], [1]), (2**70, [1], [1]), (-1, [1], [1]), (1, [2**40], [1]), (1, [2**40], [0]), (1, [0, 2**70], [1, 1]),
    (1, [-1], [1]), (1, [2], [-1], 1), (1, [1], [1], 2**62), (1, [1], [1], -4),
])  # fmt: skip
def test_shapes_beyond_the_numbers_of_a_checkpoint(tmp_path, numbers):
    path = tmp_path / "best.pt"

    def write(data: bytes) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in (("data.pkl", data), ("data/0", bytes(4)), ("version", b"3\n")):
                archive.writestr(f"archive/{name}", content)

    write(pickled(1, [1], [1]))
    assert load_tensors(path)["a"].tolist() == [0]
    write(pickled(*numbers))
    with pytest.raises(InputError, match="not a readable checkpoint"):
        load_tensors(path)


@pytest.mark.parametrize("tensor", [
    torch.zeros(1).expand(2**20, 2**20), torch.zeros(2, 2, device="meta"), torch.zeros(4, 4).to_sparse(),
], ids="expanded meta sparse".split())  # fmt: skip
def test_tensors_without_numbers_of_their_own(tmp_path, tensor):
    torch.save({"model": [{"w": tensor}]}, tmp_path / "best.pt")
    with pytest.raises(InputError, match="not a readable checkpoint"):
        load_tensors(tmp_path / "best.pt")


def test_names_of_tensors_are_strings(tmp_path, tiny_shape):
    files.write_json(tmp_path / "config.json", vars(tiny_shape))
    torch.save({1: torch.zeros(2)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match="expected a dictionary of tensors"):
        read_bert(tmp_path)


def test_scales_of_rows_do_not_make_a_matrix_of_a_column():
    with pytest.raises(InputError, match="expected a number a row"):
        scaled({"w": torch.zeros(10**6, 1, dtype=torch.int8), "w.scale": torch.zeros(1, 10**6, dtype=torch.float16)})


# ---- vocabularies ---------------------------------------------------------------------------------------------------


def change(path: pathlib.Path, edit) -> None:
    content = json.loads(path.read_text("utf-8"))
    edit(content)
    path.write_text(json.dumps(content), "utf-8")


TEN_FOR_ONE = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 10}
GROWING = {"type": "Sequence", "normalizers": [TEN_FOR_ONE] * 9}


@pytest.mark.parametrize("edit, message", [
    (lambda c: c["model"]["vocab"].update(zz=10**9), "a piece has the id 1000000000"),
    (lambda c: c["model"]["vocab"].update(zz=5000), "is outside the"),
    (lambda c: c["model"]["vocab"].pop("[UNK]"), "lacks '[UNK]'"),
    (lambda c: c.update(normalizer=GROWING), "1000 times as long"),
], ids="far outside unknown growing".split())  # fmt: skip
def test_a_tokenizer_of_a_run_that_means_harm(folder, trained, call, edit, message):
    """Its digest is written anew: whoever can write the one can write the other."""
    path, config = trained / "tokenizer.json", trained / "config.json"
    before = path.read_bytes(), config.read_bytes()
    try:
        change(path, edit)
        if "1000000000" not in message:  # the library would count so far
            tokenizer = Tokenizer.from_file(str(path))
            digest = files.hashlib.sha256(tokenizer.to_str().encode()).hexdigest()
            files.write_json(config, files.checked(config.read_bytes()) | {"vocabulary": digest})
        (folder / "texts.txt").write_text("a text\n", "utf-8")
        assert message in call("evaluate", "run", "--predict", "texts.txt", status=2)
    finally:
        path.write_bytes(before[0])
        config.write_bytes(before[1])


def test_rules_that_come_to_no_end():
    vocabulary = Vocabulary.learn(["a text of words"], 60)
    vocabulary.tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("(a+)+$"), "removed")
    with pytest.raises(InputError, match="the rules of this vocabulary do not divide the texts"):
        vocabulary.encode(["a" * 40 + "b"])


def test_names_of_new_folders_are_flushed(tmp_path, monkeypatch):
    flushed = []
    monkeypatch.setattr(files, "flush_folder", flushed.append)
    files.make_folder(tmp_path / "a" / "b")
    assert sorted(flushed) == [tmp_path, tmp_path / "a"] and (tmp_path / "a" / "b").is_dir()
    files.make_folder(tmp_path / "a" / "b")
    assert len(flushed) == 2
