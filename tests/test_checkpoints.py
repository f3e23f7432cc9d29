"""Weights as others save them: without a pooler, in several files, wrapped, with counters and foreign heads."""

import json
import pathlib
import subprocess
import tarfile

import pytest
import torch

import textcls
from textcls import Bert, BertConfig, load_bert
from textcls.pretrained.backbone import published, reload
from textcls.pretrained.bert import read_bert
from textcls.pretrained.hub import weights_file, weights_sha256
from textcls.pretrained.safetensors import read_safetensors, write_safetensors
from textcls.recipes.common import share_bert
from textcls.runtime.digests import SUMS, note_digests
from textcls.runtime.errors import InputError
from textcls.runtime.files import sha256
from textcls.runtime.tensors import load_tensors
from textcls.text.vocabulary import Vocabulary

PAIRS = "a,b,y\n" + "".join(f"{a} {a},{b},{y}\n" for a, b, y in [("red", "sky", "x"), ("blue", "sea", "z")] * 6)
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the scripts run: training files."""
    folder = tmp_path_factory.mktemp("checkpoints")
    (folder / "pairs.csv").write_text(PAIRS)
    return folder


@pytest.fixture
def weights(tiny_shape):
    torch.manual_seed(0)
    return Bert(dims(tiny_shape)).state_dict()


def dims(tiny_shape, **changes) -> BertConfig:
    return BertConfig(**vars(tiny_shape) | {"vocab_size": 80} | changes)


def write(folder: pathlib.Path, tiny_shape, weights=None, shards=None, binary=None, **changes) -> pathlib.Path:
    """A published folder with the weights in one file, in `shards` {file: tensors}, or in a `binary` file."""
    folder.mkdir(exist_ok=True)
    vocabulary = Vocabulary.learn(["red blue sky sea"] * 3, 60)
    assert len(vocabulary) <= 80
    vocabulary.publish(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", **vars(dims(tiny_shape, **changes))}))
    if weights is not None:
        write_safetensors(weights, folder / "model.safetensors")
    if binary is not None:
        torch.save(binary, folder / "pytorch_model.bin")
    for name, tensors in (shards or {}).items():
        write_safetensors(tensors, folder / name)
    if shards:
        write_index(folder, {name: file for file, tensors in shards.items() for name in tensors})
    return folder


def write_index(folder: pathlib.Path, weight_map) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def halves(weights: dict) -> dict[str, dict]:
    names = list(weights)
    parts = names[: len(names) // 2], names[len(names) // 2 :]
    return {file: {name: weights[name] for name in part} for file, part in zip(SHARDS, parts, strict=True)}


def same(bert: Bert, weights: dict) -> bool:
    state = bert.state_dict()
    return state.keys() == weights.keys() and all(torch.equal(state[name], weights[name]) for name in state)


def without_pooler(weights: dict) -> dict:
    return {name: tensor for name, tensor in weights.items() if not name.startswith("pooler.")}


# ---- the pooler -----------------------------------------------------------------------------------------------------


def test_weights_without_a_pooler_open_without_one(tmp_path, tiny_shape, weights):
    saved = {"bert." + name: tensor for name, tensor in without_pooler(weights).items()}
    bert = load_bert(write(tmp_path / "a", tiny_shape, saved | {"classifier.weight": torch.zeros(3, 16)}))
    assert bert.pooler is None and same(bert, without_pooler(weights))
    hidden, pooled = bert(torch.tensor([[2, 5, 3]]))
    assert hidden.shape == (1, 3, 16) and pooled is None


def test_half_a_pooler_is_damage(tmp_path, tiny_shape, weights):
    del weights["pooler.dense.bias"]
    with pytest.raises(InputError, match="missing pooler.dense.bias"):
        load_bert(write(tmp_path / "a", tiny_shape, weights))


def test_a_model_keeps_the_pooler_that_it_drew(tmp_path, tiny_shape, weights):
    backbone = published(str(write(tmp_path / "a", tiny_shape, without_pooler(weights))))

    def classifier(seed):
        torch.manual_seed(seed)
        model = textcls.BertClassifier(backbone.dims, 2)
        share_bert(model, "bert", backbone)
        return model.bert

    one, again, other = classifier(1), classifier(1), classifier(2)
    assert torch.equal(one.pooler.dense.weight, again.pooler.dense.weight)
    assert not torch.equal(one.pooler.dense.weight, other.pooler.dense.weight)
    assert (one.pooler.dense.bias == 0).all() and 0.015 < one.pooler.dense.weight.std() < 0.025
    for bert in (one, other):
        assert all(torch.equal(bert.state_dict()[name], t) for name, t in without_pooler(weights).items())


@pytest.mark.parametrize("model, said", [("bert", True), ("blstm", True), ("bilstm", False), ("bert-lstm", False)])
def test_runs_say_where_the_pooler_is_new(call, folder, tiny_shape, weights, model, said):
    write(folder / "no-pooler", tiny_shape, without_pooler(weights))
    options = f"--model {model} --bert no-pooler --train pairs.csv --text-column a --label-column y --dev 0.3".split()
    printed = call("train", *options, "--epochs", 1, "--max-length", 8, "--out", f"{model}-run")
    assert ("its weights have no pooler, which begins at random" in printed) == said
    assert len(textcls.load(folder / f"{model}-run").predict(["red sky"])[0]) == 1


# ---- several files --------------------------------------------------------------------------------------------------


def test_several_files_with_an_index(tmp_path, tiny_shape, weights):
    folder = write(tmp_path / "a", tiny_shape, shards=halves(weights))
    assert same(load_bert(folder), weights)
    (tmp_path / "b").mkdir()
    for number, (file, part) in enumerate(halves(weights).items()):
        torch.save(part, tmp_path / "b" / f"{number}.bin")
    folder = write(tmp_path / "b", tiny_shape)
    weight_map = {name: f"{number}.bin" for number, part in enumerate(halves(weights).values()) for name in part}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    assert same(load_bert(folder), weights)


def test_the_digest_covers_every_file(tmp_path, tiny_shape, weights):
    folder = write(tmp_path / "a", tiny_shape, shards=halves(weights))
    before = weights_sha256(weights_file(folder))
    source = published(str(folder)).source
    assert source["sha256"] == before
    assert same(reload(source, tmp_path).bert, weights)
    for file in SHARDS:
        content = (folder / file).read_bytes()
        (folder / file).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(InputError, match="is not that of the backbone this run was trained on"):
            reload(source, tmp_path)
        (folder / file).write_bytes(content)
    assert weights_sha256(weights_file(folder)) == before


@pytest.mark.parametrize("where", ["beside", "cache of the hub"])
@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "vocab.txt", "tokenizer_config.json"])
def test_files_that_are_not_those_noted_are_damaged(tmp_path, tiny_shape, weights, where, name):
    folder = write(tmp_path / "a", tiny_shape, weights)
    path = folder / name
    (folder / "tokenizer.json").unlink()
    if where == "beside":
        note_digests(folder)
        assert subprocess.run(["sha256sum", "--strict", "-c", SUMS], cwd=folder).returncode == 0
    else:
        large = path.suffix == ".safetensors"
        digest = sha256(path) if large else subprocess.check_output(["git", "hash-object", path], text=True).strip()
        path.rename(tmp_path / digest)
        path.symlink_to(tmp_path / digest)
    assert published(str(folder)).vocabulary.digest and same(load_bert(folder), weights)
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"/{name}: damaged, its digest is \w{{16}}…, noted was \w{{16}}…; "):
        published(str(folder))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"embeddings.LayerNorm.bias": "gone.safetensors"}, "names gone.safetensors, which is not in the folder"),
        ({"embeddings.LayerNorm.bias": "../x.safetensors"}, "names '../x.safetensors', expected a file in the same"),
        ({"embeddings.LayerNorm.bias": "/x.safetensors"}, "names '/x.safetensors', expected a file in the same folder"),
        ({"embeddings.LayerNorm.bias": ".."}, "names '..', expected a file in the same folder"),
        ({"embeddings.LayerNorm.bias": "config.json"}, "names 'config.json', expected a .safetensors file"),
        ({"embeddings.LayerNorm.bias": SHARDS[1]}, f"embeddings.LayerNorm.bias should be in {SHARDS[1]}, and is not"),
        ({"embeddings.LayerNorm.bias": 3}, "not an index of weights"),
        (None, "not an index of weights"),
    ],
)
def test_bad_indexes_are_named(tmp_path, tiny_shape, weights, change, message):
    folder = write(tmp_path / "a", tiny_shape, shards=halves(weights))
    places = {name: file for file, part in halves(weights).items() for name in part}
    write_index(folder, change and places | change)
    with pytest.raises(InputError) as error:
        load_bert(folder)
    assert message in str(error.value) and "index.json" in str(error.value)


# ---- wrapped, with other tensors, in other kinds of numbers ---------------------------------------------------------


@pytest.mark.parametrize("prefix", ["module.", "model.", "module.model.bert.", "_orig_mod.bert.", "bert."])
@pytest.mark.parametrize("wrapper", ["state_dict", "model", None])
def test_what_trainers_put_around_a_model(tmp_path, tiny_shape, weights, prefix, wrapper):
    named = {prefix + name: tensor for name, tensor in weights.items()}
    content = {wrapper: named, "epoch": 3} if wrapper else named
    assert same(load_bert(write(tmp_path / "a", tiny_shape, binary=content)), weights)


def test_counters_and_heads_are_no_weights_of_the_encoder(tmp_path, tiny_shape, weights):
    extra = {
        "bert.embeddings.position_ids": torch.arange(32)[None],
        "bert.embeddings.token_type_ids": torch.zeros(1, 32, dtype=torch.int64),
        "classifier.weight": torch.zeros(3, 16, dtype=torch.float64),
        "crf.transitions": torch.zeros(3, 3),
        "crf.flags": torch.zeros(3, dtype=torch.bool),
        "steps": torch.zeros(1, dtype=torch.int32),
    } | {f"mlp.{i}.weight": torch.zeros(1) for i in range(200)}
    named = {"bert." + name: tensor for name, tensor in weights.items()}
    folder = write(tmp_path / "a", tiny_shape, named | extra)
    bert, left_out = read_bert(folder)
    assert same(bert, weights)
    assert left_out == "mlp.* (200), crf.* (2), classifier.* (1) and 1 others left out"
    assert published(str(folder)).description.endswith(left_out)
    plain = {name.removeprefix("bert."): tensor for name, tensor in (named | extra).items()}
    assert same(load_bert(write(tmp_path / "b", tiny_shape, plain)), weights)


def test_what_is_inside_the_encoder_is_not_left_out(tmp_path, tiny_shape, weights):
    adapters = {f"encoder.layer.0.adapter.{i}": torch.zeros(1) for i in range(200)}
    for i, prefix in enumerate(("", "bert.")):
        named = {prefix + name: tensor for name, tensor in (weights | adapters).items()}
        with pytest.raises(InputError, match="unknown encoder.layer.0.adapter.0; .* … and 197 more") as error:
            load_bert(write(tmp_path / str(i), tiny_shape, named))
        assert len(str(error.value)) < 500


def test_another_architecture_is_not_taken_for_a_bert(tmp_path, tiny_shape, weights):
    named = {"roberta." + name: tensor for name, tensor in weights.items()} | {"lm_head.bias": torch.zeros(1)}
    with pytest.raises(InputError, match=r"holds no BERT, but roberta.\* \(\d+\), lm_head.\* \(1\)$"):
        load_bert(write(tmp_path / "a", tiny_shape, named))
    with pytest.raises(InputError, match="holds no BERT, and no tensor at all$"):
        load_bert(write(tmp_path / "b", tiny_shape, {}))


def test_double_precision_becomes_float32_and_whole_numbers_are_refused(tmp_path, tiny_shape, weights):
    double = {name: tensor.double() for name, tensor in weights.items()}
    assert same(load_bert(write(tmp_path / "a", tiny_shape, double)), weights)
    name = "encoder.layer.0.output.dense.weight"
    quantised = weights | {name: torch.ones(weights[name].shape, dtype=torch.int8)}
    with pytest.raises(InputError, match=f"{name} is of torch.int8, as quantised weights are; expected floats"):
        load_bert(write(tmp_path / "b", tiny_shape, quantised))


def test_every_kind_of_number_is_read(tmp_path):
    """Those of one byte first: what follows does not lie on a boundary of its own size."""
    kinds = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float16)
    kinds += (torch.bfloat16, torch.float32, torch.float64)
    tensors = {str(kind): torch.tensor([[0, 1, 1]]).to(kind) for kind in kinds}
    write_safetensors(tensors, tmp_path / "x.safetensors")
    found = read_safetensors(tmp_path / "x.safetensors")
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name].clone(), tensor), name
    official = pytest.importorskip("safetensors.torch").load_file(tmp_path / "x.safetensors")
    assert all(torch.equal(official[name], tensor) for name, tensor in tensors.items())


# ---- token types, and the mask --------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["bert", "bilstm", "bert-lstm"])
def test_pairs_need_two_token_types(call, folder, tiny_shape, weights, model):
    name = "embeddings.token_type_embeddings.weight"
    write(folder / "one-type", tiny_shape, weights | {name: weights[name][:1].clone()}, type_vocab_size=1)
    options = f"--model {model} --bert one-type --train pairs.csv --label-column y --dev 0.3 --epochs 1".split()
    error = call("train", *options, "--max-length", 8, "--text-column", "a,b", "--out", f"{model}-pair", status=2)
    assert "--bert one-type: pairs need two token types, it has 1 (type_vocab_size)" in error
    assert not (folder / f"{model}-pair").exists()
    call("train", *options, "--max-length", 8, "--text-column", "a", "--out", f"{model}-single")


def test_pre_training_needs_a_mask_and_two_types(call, folder, tiny_shape, weights):
    (folder / "plain.txt").write_text("red sky\nblue sea\n\nsea sky\nred red\n" * 8)
    options = "--task pretrain --model bert --train plain.txt --dev 0.2 --max-length 16".split()
    name = "embeddings.token_type_embeddings.weight"
    write(folder / "one-type", tiny_shape, weights | {name: weights[name][:1].clone()}, type_vocab_size=1)
    assert "two token types" in call("train", *options, "--bert", "one-type", "--out", "p1", status=2)
    pieces = (write(folder / "no-mask", tiny_shape, weights) / "vocab.txt").read_text().replace("[MASK]", "[unused1]")
    (folder / "no-mask" / "vocab.txt").write_text(pieces)
    (folder / "no-mask" / "tokenizer.json").unlink()
    assert "its vocabulary has no [MASK]" in call("train", *options, "--bert", "no-mask", "--out", "p2", status=2)
    single = "--model bert --bert no-mask --train pairs.csv --text-column a --label-column y --dev 0.3".split()
    call("train", *single, "--epochs", 1, "--max-length", 8, "--out", "masked")


def test_a_checkpoint_is_never_read_as_a_tar_archive(tmp_path):
    """torch takes one for a file of 2016, and tarfile looks for numbers in its headers in quadratic time."""
    member = tarfile.TarInfo("storages")
    member.type, member.size = tarfile.XHDTYPE, 400_000
    path = tmp_path / "best.pt"
    path.write_bytes(member.tobuf(tarfile.USTAR_FORMAT) + b"7" * 400_384)
    with pytest.raises(InputError, match="best.pt: not a readable checkpoint"):
        load_tensors(path)
