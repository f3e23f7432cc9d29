import dataclasses
import http.server
import json
import os
import pathlib
import pickle
import shutil
import threading

import pytest
import torch

import train
from tests.conftest import make_rows, write_csv
from tests.launch import Launched
from textcls import Bert, BertConfig, load_bert
from textcls.pretrained import hub as hub_files
from textcls.pretrained.bert import in_8_bits, load_strictly, our_names, read_config, read_weights, save_bert
from textcls.pretrained.hub import find_folder
from textcls.pretrained.safetensors import read_safetensors, write_safetensors
from textcls.runtime.errors import InputError, exit_on_input_error
from textcls.training.run import Run


def save(folder: pathlib.Path, tensors: dict, shape, binary=False, **config) -> pathlib.Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", **dataclasses.asdict(shape), **config}))
    if binary:
        torch.save(tensors, folder / "pytorch_model.bin")
    else:
        write_safetensors(tensors, folder / "model.safetensors")
    return folder


@pytest.fixture
def bert(tiny_shape):
    torch.manual_seed(0)
    return Bert(tiny_shape).eval()


def same(a: Bert, b: Bert) -> bool:
    return all(torch.equal(a.state_dict()[name], tensor) for name, tensor in b.state_dict().items())


@pytest.mark.parametrize("binary", [False, True])
def test_every_accepted_naming(tmp_path, bert, tiny_shape, binary):
    """`bert.` or not, gamma and beta, other heads, position ids."""
    plain = bert.state_dict()
    legacy = {}
    for name, tensor in plain.items():
        if "LayerNorm" in name:
            name = name.replace("weight", "gamma").replace("bias", "beta")
        legacy["bert." + name] = tensor
    legacy |= {"cls.predictions.bias": torch.zeros(60), "bert.embeddings.position_ids": torch.arange(32)[None]}
    extra = plain | {"embeddings.position_ids": torch.arange(32)[None]}
    for i, tensors in enumerate((plain, legacy, extra)):
        loaded = load_bert(save(tmp_path / str(i), tensors, tiny_shape, binary))
        assert same(loaded, bert) and not loaded.training


def test_half_precision_becomes_float32(tmp_path, bert, tiny_shape):
    for dtype in (torch.float16, torch.bfloat16):
        half = {name: tensor.to(dtype) for name, tensor in bert.state_dict().items()}
        loaded = load_bert(save(tmp_path / str(dtype), half, tiny_shape))
        for name, tensor in loaded.state_dict().items():
            assert tensor.dtype == torch.float32
            assert torch.equal(tensor, half[name].float())


@pytest.mark.parametrize("prefix", ["", "bert."])
def test_rows_of_8_bits_become_float32(tmp_path, bert, tiny_shape, prefix):
    """Each number is rounded by half a step of its row at most, rows of zeros stay so, and nothing else changes."""
    name, state = "embeddings.word_embeddings.weight", dict(bert.state_dict())
    state[name][3], state[name][4] = 0.0, state[name][4] * 1e3
    packed = {prefix + key: t for key, t in state.items() if key != name}
    path = save(tmp_path, packed | in_8_bits(prefix + name, state[name]), tiny_shape)
    loaded = load_bert(path).state_dict()
    step = state[name].abs().amax(1, keepdim=True) / 127
    assert ((loaded[name] - state[name]).abs() <= 0.6 * step + 1e-7).all()
    assert all(torch.equal(loaded[key], state[key]) for key in state if key != name)


def test_strict_both_ways_and_names_everything(tmp_path, bert, tiny_shape):
    tensors = bert.state_dict()
    del tensors["pooler.dense.bias"], tensors["encoder.layer.1.output.dense.weight"]
    tensors["encoder.layer.2.surprise"] = torch.zeros(1)
    tensors["pooler.dense.weight"] = torch.zeros(3, 4)
    with pytest.raises(InputError) as error:
        load_bert(save(tmp_path / "a", tensors, tiny_shape))
    for part in (
        "missing pooler.dense.bias",
        "missing encoder.layer.1.output.dense.weight",
        "unknown encoder.layer.2.surprise",
        "pooler.dense.weight is (3, 4), expected (16, 16)",
    ):
        assert part in str(error.value)
    with pytest.raises(InputError, match="another tensor"):
        our_names({"bert.x.gamma": torch.zeros(1), "bert.x.weight": torch.zeros(1)})
    words = "embeddings.word_embeddings.weight"
    with pytest.raises(InputError, match="another tensor"):
        our_names({f"bert.{words}": torch.zeros(1), words: torch.zeros(1)})


def test_loaded_weights_can_be_trained(tmp_path, bert, tiny_shape):
    """They must not lie in the read-only memory map."""
    loaded = load_bert(save(tmp_path / "a", bert.state_dict(), tiny_shape))
    with torch.no_grad():
        for parameter in loaded.parameters():
            parameter.add_(1.0)
    again = load_bert(tmp_path / "a")
    assert same(again, bert)


def test_what_we_save_opens_elsewhere(tmp_path, bert, tiny_shape):
    safetensors = pytest.importorskip("safetensors.torch")
    save_bert(bert, tmp_path / "a")
    theirs = safetensors.load_file(tmp_path / "a" / "model.safetensors")
    assert theirs.keys() == bert.state_dict().keys()
    assert all(torch.equal(theirs[name], tensor) for name, tensor in bert.state_dict().items())
    assert same(load_bert(tmp_path / "a"), bert)
    transformers = pytest.importorskip("transformers")
    model = transformers.BertModel.from_pretrained(tmp_path / "a").eval()
    ids = torch.tensor([[3, 1, 4]])
    assert (model(ids).last_hidden_state - bert(ids)[0]).abs().max() < 1e-5


def test_we_read_what_the_official_writer_writes(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    tensors = {
        "a": torch.randn(3, 4),
        "b": torch.randn(2).half(),
        "c": torch.randn(5).bfloat16(),
        "d": torch.arange(6).view(2, 3),
        "empty": torch.zeros(0, 4),
        "scalar": torch.tensor(2.5),
    }
    safetensors.save_file(tensors, tmp_path / "x.safetensors")
    ours = read_safetensors(tmp_path / "x.safetensors")
    assert ours.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert ours[name].dtype == tensor.dtype and torch.equal(ours[name], tensor)


# ---- hostile and damaged files --------------------------------------------------------------------------------------


def raw(path: pathlib.Path, header, data: bytes, length: int | None = None) -> pathlib.Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
    return path


def entry(begin, end, shape=(2,), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    "header, data, length, message",
    [
        ({"a": entry(0, 8)}, b"1234567", None, "end at byte 8 of 7"),
        ({"a": entry(0, 8)}, b"123456789", None, "end at byte 8 of 9"),
        ({"a": entry(0, 8), "b": entry(4, 12)}, bytes(12), None, "b overlaps a"),
        ({"a": entry(0, 8), "b": entry(12, 20)}, bytes(20), None, "b leaves a gap after a"),
        ({"a": entry(4, 12)}, bytes(12), None, "gap after the header"),
        ({"a": entry(0, 8, (3,))}, bytes(8), None, "8 bytes for shape"),
        ({"a": entry(0, 8, (-1, -2))}, bytes(8), None, "has shape"),
        ({"a": entry(8, 0)}, bytes(8), None, "-8 bytes"),
        ({"a": entry(0, 8, dtype="F8")}, bytes(8), None, "a has dtype F8, known: F32, F16, BF16, F64, I64"),
        ({"a": entry(0, 8, (2.0,))}, bytes(8), None, "has shape"),
        ({"a": {"dtype": "F32"}}, b"", None, "damaged safetensors header"),
        ({"a": 3}, b"", None, "damaged safetensors header"),
        (b"[1]", b"", None, "damaged safetensors header"),
        (b"{oops", b"", None, "damaged safetensors header"),
        (b"\xff\xff", b"", None, "damaged safetensors header"),
        (b"[" * 100_000, b"", None, "damaged safetensors header"),
        (b"{}", b"", 1 << 62, "header of 4611686018427387904 bytes"),
        (b"{}", b"", 3, "header of 3 bytes in a file of 10"),
    ],
)
def test_bad_safetensors(tmp_path, header, data, length, message):
    with pytest.raises(InputError) as error:
        read_weights(raw(tmp_path / "x.safetensors", header, data, length))
    assert message in str(error.value)


def test_every_truncation_is_noticed(tmp_path, bert, tiny_shape):
    folder = save(tmp_path / "a", bert.state_dict(), tiny_shape)
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    for size in (0, 7, 8, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(InputError, match="model.safetensors"):
            load_bert(folder)


class Evil:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (self.target,)


def test_pickles_never_run_code(tmp_path, tiny_shape):
    target = str(tmp_path / "owned")
    for i, content in enumerate((pickle.dumps(Evil(target)), pickle.dumps({"a": Evil(target)}), b"junk", b"")):
        folder = save(tmp_path / str(i), {}, tiny_shape, binary=True)
        (folder / "pytorch_model.bin").write_bytes(content)
        with pytest.raises(InputError, match="pytorch_model.bin"):
            load_bert(folder)
    folder = save(tmp_path / "zip", {"a": Evil(target)}, tiny_shape, binary=True)
    with pytest.raises(InputError, match="pytorch_model.bin"):
        load_bert(folder)
    assert not os.path.exists(target)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"model_type": "albert"}, "model_type is 'albert'"),
        ({"position_embedding_type": "relative_key"}, "absolute"),
        ({"hidden_size": 17}, "not a multiple"),
        ({"num_hidden_layers": "2"}, "must be int"),
        ({"is_decoder": True}, "is_decoder"),
    ],
)
def test_architectures_that_are_not_ours(tmp_path, bert, tiny_shape, change, message):
    with pytest.raises(InputError, match=message):
        load_bert(save(tmp_path / "a", bert.state_dict(), tiny_shape, **change))


def test_incomplete_folders_and_odd_names(tmp_path):
    (tmp_path / "empty").mkdir()
    for name, message in (
        (tmp_path / "empty", "config.json: no such file"),
        (tmp_path / "none", "no such folder"),
        ("a/b/c", "no such folder"),
        ("../x", "no such folder"),
    ):
        with pytest.raises(InputError, match=message):
            load_bert(name)
    sizes = dataclasses.asdict(BertConfig())
    for name in ("num_attention_heads", "max_position_embeddings"):  # no guess, with --scratch neither
        (tmp_path / "empty" / "config.json").write_text(json.dumps(sizes | {name: None}))
        with pytest.raises(InputError, match=f"empty/config.json: not the config.json of a BERT: it has no {name}$"):
            read_config(tmp_path / "empty" / "config.json")
    (tmp_path / "empty" / "config.json").write_text(json.dumps(sizes))
    with pytest.raises(InputError, match="neither model.safetensors nor pytorch_model.bin"):
        load_bert(tmp_path / "empty")


def test_load_strictly_fills_meta_models(tmp_path, bert, tiny_shape):
    with torch.device("meta"):
        empty = Bert(tiny_shape)
    load_strictly(empty, bert.state_dict(), tmp_path)
    assert same(empty, bert)


# ---- the hub --------------------------------------------------------------------------------------------------------


class Hub(http.server.BaseHTTPRequestHandler):
    """Just enough of the hub: the list of files of one repository, and the files."""

    files: dict[str, bytes] = {}
    asked: list[str] = []

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = self.path.split("?")[0]
        self.asked.append(path)
        name = path.split("/resolve/")[-1].partition("/")[2]
        if path.startswith("/api/models/tiny/bert"):
            content = json.dumps(
                {"id": "tiny/bert", "sha": "c" * 40, "siblings": [{"rfilename": n} for n in self.files]}
            )
            if "/tree/" in path:
                content = json.dumps(
                    [{"type": "file", "path": n, "size": len(b), "oid": "d" * 40} for n, b in self.files.items()]
                )
            self.reply(content.encode(), "application/json")
        elif path.startswith("/tiny/bert/resolve/") and name in self.files:
            self.reply(self.files[name], "application/octet-stream")
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def reply(self, content: bytes, kind: str):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", '"' + "e" * 32 + str(len(content)) + '"')
        self.send_header("X-Repo-Commit", "c" * 40)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def hub(tmp_path, bert, tiny_shape):
    folder = save(tmp_path / "source", bert.state_dict(), tiny_shape)
    Hub.files = {p.name: p.read_bytes() for p in folder.iterdir()} | {"vocab.txt": b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n"}
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@exit_on_input_error
def print_pooler(arguments: list[str]) -> None:
    print(load_bert(arguments[0]).pooler.dense.weight.sum().item())


def fetch(name: str, home: pathlib.Path, **environment: str) -> Launched:
    """Load a BERT in a process of its own, which reads the variables anew."""
    home.mkdir(exist_ok=True)
    variables = {"HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "no_proxy": "127.0.0.1"} | environment
    process = Launched(home, print_pooler, name, **variables)
    process.wait(120)
    return process


def test_fetched_from_the_hub_once_then_from_its_cache(tmp_path, hub, bert):
    first = fetch("tiny/bert", tmp_path / "home", HF_ENDPOINT=hub)
    assert first.returncode == 0, first.stderr
    assert float(first.stdout) == pytest.approx(bert.pooler.dense.weight.sum().item())
    again = fetch("tiny/bert", tmp_path / "home", HF_ENDPOINT="http://127.0.0.1:9", HF_HUB_OFFLINE="1")
    assert again.stdout == first.stdout


def test_weights_in_several_files_are_fetched_with_their_index(tmp_path, hub, bert):
    weights, size = Hub.files.pop("model.safetensors"), bert.pooler.dense.weight.sum().item()
    shard = "model-00001-of-00001.safetensors"
    weight_map = dict.fromkeys(bert.state_dict(), shard)
    Hub.files |= {shard: weights, "model.safetensors.index.json": json.dumps({"weight_map": weight_map}).encode()}
    Hub.files["pytorch_model.bin"] = b"not wanted"
    result = fetch("tiny/bert", tmp_path / "home", HF_ENDPOINT=hub)
    assert float(result.stdout) == pytest.approx(size), result.stderr
    assert not list((tmp_path / "home").rglob("pytorch_model.bin"))


def test_repositories_that_hold_only_the_pickled_form(tmp_path, hub, bert, tiny_shape):
    folder = save(tmp_path / "binary", bert.state_dict(), tiny_shape, binary=True)
    Hub.files = {p.name: p.read_bytes() for p in folder.iterdir()}
    result = fetch("tiny/bert", tmp_path / "home", HF_ENDPOINT=hub)
    assert float(result.stdout) == pytest.approx(bert.pooler.dense.weight.sum().item()), result.stderr


@exit_on_input_error
def train_on(arguments: list[str]) -> int:
    return train.main(arguments)


def test_a_run_notes_the_revision_and_goes_on_with_it(tmp_path, hub, bert):
    """It is told of the branch, and keeps the commit: resumed, and with another cache, it asks for that one."""
    home = tmp_path / "home"
    home.mkdir()
    Hub.files["vocab.txt"] = "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefgh"]).encode()
    write_csv(home / "train.csv", make_rows(20))
    variables = {"HF_HUB_DISABLE_XET": "1", "no_proxy": "127.0.0.1", "HF_ENDPOINT": hub}

    def command(*arguments, cache: str = "hub") -> Launched:
        process = Launched(home, train_on, *arguments, "--quiet", HF_HOME=str(tmp_path / cache), **variables)
        assert process.wait(120) == 0, process.stderr
        return process

    settings = "--bert tiny/bert --hidden 4 --max-length 8 --train train.csv --epochs 1 --out run".split()
    command("--model", "bilstm", *settings)
    source = Run(home / "run").meta()["backbone"]
    assert source["revision"] == "c" * 40 and source["name"] == "tiny/bert"
    Hub.asked.clear()
    assert f"revision {'c' * 12} on the hub" in command("--resume", "run").stdout
    shutil.rmtree(tmp_path / "hub")
    command("--resume", "run", cache="other")
    assert Hub.asked and not any("main" in path for path in Hub.asked)


def test_what_a_sentence_encoder_says_of_its_pooling_is_fetched(tmp_path, hub):
    """For a plan without the weights; a model that has no such file is as before."""
    variables = {"HF_HUB_DISABLE_XET": "1", "no_proxy": "127.0.0.1", "HF_ENDPOINT": hub}

    def plan(cache: str) -> str:
        arguments = "--model bert --bert tiny/bert --max-length 8 --plan".split()
        process = Launched(tmp_path, train_on, *arguments, HF_HOME=str(tmp_path / cache), **variables)
        assert process.wait(120) == 0, process.stderr
        return process.stdout

    Hub.asked.clear()
    assert "pooling: " not in plan("without")
    Hub.files["1_Pooling/config.json"] = b'{"pooling_mode": "mean"}'
    assert plan("with").startswith("pooling: mean, as tiny/bert/1_Pooling/config.json says\n")
    assert Hub.asked and not any("model.safetensors" in path for path in Hub.asked)
    fetched = fetch("tiny/bert", tmp_path / "all", HF_ENDPOINT=hub)
    assert fetched.returncode == 0 and list((tmp_path / "all").rglob("1_Pooling/config.json"))


def test_a_revision_is_asked_for_by_name(tmp_path, hub):
    result = fetch(f"tiny/bert@{'c' * 40}", tmp_path / "home", HF_ENDPOINT=hub)
    assert result.returncode == 0, result.stderr
    for name in ("tiny/bert@../../x", "tiny/../bert", "../bert@main", "tiny/bert@"):
        with pytest.raises(InputError, match="no such folder"):
            find_folder(name)


@exit_on_input_error
def fetch_little(arguments: list[str]) -> None:
    hub_files.LARGEST_DOWNLOAD = 1000
    load_bert(arguments[0])


def test_a_download_from_the_hub_is_bounded(tmp_path, hub):
    variables = {"HF_HUB_DISABLE_XET": "1", "no_proxy": "127.0.0.1", "HF_ENDPOINT": hub, "HF_HOME": str(tmp_path / "h")}
    process = Launched(tmp_path, fetch_little, "tiny/bert", **variables)
    assert process.wait(120) == 2 and "fetch it by hand, and give its folder" in process.stderr
    assert not list((tmp_path / "h").rglob("model.safetensors"))


def test_no_home_for_the_cache_of_the_hub(monkeypatch):
    for name in ("HOME", "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    with pytest.raises(InputError, match="no home directory for the hub's cache; say with HF_HOME"):
        find_folder("tiny/bert")


def test_no_network_says_where_to_put_the_files(tmp_path):
    result = fetch("bert-base-uncased", tmp_path / "home", HF_ENDPOINT="http://127.0.0.1:9", HF_HUB_OFFLINE="1")
    assert result.returncode == 2
    assert result.stderr.startswith("error: --bert bert-base-uncased: neither a folder nor to be had from the hub")
    assert "put config.json, model.safetensors and vocab.txt into a folder" in result.stderr
    assert "Traceback" not in result.stderr
