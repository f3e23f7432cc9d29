"""ELMo's weights from HDF5 and options: the vectors are those of a slow reference that reads the same arrays, and those
of the original; what is damaged, or of another biLM, is refused in one line."""

import dataclasses
import json
import os
import pathlib
import sys

import numpy as np
import pytest
import torch

from textcls.models.elmo import BiLM, ElmoConfig
from textcls.models.projected_lstm import ProjectedLSTM
from textcls.pretrained import elmo, hub
from textcls.pretrained.safetensors import read_safetensors, write_safetensors
from textcls.runtime.errors import InputError

TOLERANCE = 1e-5
TINY = ElmoConfig(
    filters=((1, 3), (2, 4), (3, 5)),
    projection=6,
    cells=10,
    layers=3,
    characters=4,
    highways=2,
    cell_clip=0.6,
    proj_clip=0.4,
    word_length=50,
)
TEXT = "The café of Zürich , “ closed ” since 1924".split() + ["antidisestablishmentarianism-" * 3]
CELL = "RNN_{}/RNN/MultiRNNCell/Cell{}/LSTMCell"

# ---- a small published biLM -----------------------------------------------------------------------------------------


def arrays_of(config: ElmoConfig, seed: int = 0) -> dict[str, np.ndarray]:
    """Random weights as a published file has them, so large that both clips cut."""
    rng, (N, P, S, n) = np.random.default_rng(seed), (config.num_filters, config.projection, config.cells, 4)
    shapes = {"char_embed": (261, n), "CNN_proj/W_proj": (N, P), "CNN_proj/b_proj": (P,)}
    for k, (width, count) in enumerate(config.filters):
        shapes |= {f"CNN/W_cnn_{k}": (1, width, n, count), f"CNN/b_cnn_{k}": (count,)}
    for k in range(config.highways):
        shapes |= {f"CNN_high_{k}/W_carry": (N, N), f"CNN_high_{k}/b_carry": (N,)}
        shapes |= {f"CNN_high_{k}/W_transform": (N, N), f"CNN_high_{k}/b_transform": (N,)}
    for direction in range(2):
        for k in range(config.layers):
            cell = CELL.format(direction, k)
            shapes |= {f"{cell}/W_0": (2 * P, 4 * S), f"{cell}/B": (4 * S,), f"{cell}/W_P_0": (S, P)}
    return {name: rng.normal(0, 0.6, shape).astype(np.float32) for name, shape in shapes.items()}


def write_hdf5(path: pathlib.Path, arrays: dict) -> pathlib.Path:
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return path


def published(folder: pathlib.Path, config: ElmoConfig = TINY, arrays: dict | None = None) -> pathlib.Path:
    folder.mkdir(exist_ok=True)
    write_hdf5(folder / "tiny_weights.hdf5", arrays_of(config) if arrays is None else arrays)
    elmo.write_options(config, folder / "tiny_options.json")
    return folder


@pytest.fixture
def folder(tmp_path):
    return published(tmp_path / "elmo")


@pytest.fixture
def own(tmp_path):
    """A folder in our own form, which needs no h5py."""
    torch.manual_seed(0)
    elmo.save_elmo(BiLM(TINY), tmp_path / "own")
    (tmp_path / "own" / "SHA256SUMS").unlink()  # what tests change is another on purpose
    return tmp_path / "own"


def spell(word: str) -> list[int]:
    """The numbers of a word's characters: begin, bytes, end, padding."""
    ids = [259, *(byte + 1 for byte in word.encode()[:48]), 260]
    return ids + [261] * (50 - len(ids))


def batch(texts: list[list[str]]) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(map(len, texts))
    ids = [[spell(word) for word in words] + [[0] * 50] * (longest - len(words)) for words in texts]
    return torch.tensor(ids), torch.tensor([[t < len(words) for t in range(longest)] for words in texts]).long()


@torch.no_grad()
def vectors_of(model: BiLM, texts: list[list[str]]) -> list[np.ndarray]:
    """Of each text (T, L + 1, 2P)."""
    vectors = model(*batch(texts)).numpy()
    return [row[: len(words)] for row, words in zip(vectors, texts, strict=True)]


# ---- the reference --------------------------------------------------------------------------------------------------


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def clip(x, limit):
    return x if limit is None else np.clip(x, -limit, limit)


def token_vector(arrays: dict, config: ElmoConfig, characters: list[int]) -> np.ndarray:
    """(P,) of a word by its characters as the published table counts them: (K,)."""
    embedded, maxima = arrays["char_embed"][characters].astype(float), []
    for k, (width, count) in enumerate(config.filters):
        kernel, bias = arrays[f"CNN/W_cnn_{k}"][0], arrays[f"CNN/b_cnn_{k}"]  # (width, n, count)
        places = range(len(characters) - width + 1)
        sums = [sum(embedded[p + w] @ kernel[w] for w in range(width)) + bias for p in places]
        maxima.append(np.max(sums, 0))
    x = np.concatenate(maxima)
    x = np.maximum(x, 0) if config.activation == "relu" else np.tanh(x)
    for k in range(config.highways):
        high = {name: arrays[f"CNN_high_{k}/{name}"] for name in ("W_carry", "b_carry", "W_transform", "b_transform")}
        carry = sigmoid(x @ high["W_carry"] + high["b_carry"])
        x = carry * np.maximum(x @ high["W_transform"] + high["b_transform"], 0) + (1 - carry) * x
    return x @ arrays["CNN_proj/W_proj"] + arrays["CNN_proj/b_proj"] if "CNN_proj/W_proj" in arrays else x


def run_lstm(arrays: dict, config: ElmoConfig, steps: list, direction: int, layer: int) -> list:
    weights = {name: arrays[f"{CELL.format(direction, layer)}/{name}"] for name in ("W_0", "B", "W_P_0")}
    c, h, outputs = np.zeros(config.cells), np.zeros(config.projection), []
    for x in steps:
        i, j, f, o = np.split(np.concatenate([x, h]) @ weights["W_0"] + weights["B"], 4)
        c = clip(sigmoid(f + 1) * c + sigmoid(i) * np.tanh(j), config.cell_clip)
        h = clip((sigmoid(o) * np.tanh(c)) @ weights["W_P_0"], config.proj_clip)
        outputs.append(h + x if config.skip and layer > 0 else h)
    return outputs


def reference(arrays: dict, config: ElmoConfig, words: list[str]) -> np.ndarray:
    """(T, L + 1, 2P) of one text, in float64, straight from the arrays of the file."""
    padding = [260] * 50
    spelt = [[258, 256, 259], *([258, *word.encode()[:48], 259] for word in words), [258, 257, 259]]
    tokens = [token_vector(arrays, config, (characters + padding)[:50]) for characters in spelt]
    directions = []
    for direction in range(2):
        steps = tokens[::-1] if direction else tokens
        layers = [steps]
        for layer in range(config.layers):
            layers.append(run_lstm(arrays, config, layers[-1], direction, layer))
        directions.append([layer[::-1] if direction else layer for layer in layers])
    both = [np.concatenate([there, back], 1) for there, back in zip(*directions, strict=True)]
    return np.stack(both, 1)[1:-1]


def error(model: BiLM, arrays: dict, config: ElmoConfig, texts: list[list[str]]) -> float:
    pairs = zip(vectors_of(model, texts), texts, strict=True)
    return max(np.abs(ours - reference(arrays, config, words)).max() for ours, words in pairs)


@pytest.mark.parametrize("changes", [
    {},
    {"activation": "tanh", "skip": False},
    {"cell_clip": None, "proj_clip": None, "highways": 0},
    {"layers": 1, "highways": 1, "filters": ((2, 7),)},
], ids=str)  # fmt: skip
def test_the_vectors_are_those_of_the_reference(tmp_path, changes):
    config = dataclasses.replace(TINY, **changes)
    model = elmo.read_elmo(published(tmp_path / "elmo", config))
    assert not model.training and all(p.dtype == torch.float32 and p.is_contiguous() for p in model.parameters())
    assert error(model, arrays_of(config), config, [TEXT, TEXT[3:5], ["a"]]) < TOLERANCE


def test_without_a_projection_the_filters_are_the_vector(tmp_path):
    """bilm-tf projects only where the sizes differ."""
    config = dataclasses.replace(TINY, filters=((1, 2), (3, 4)))
    arrays = {name: array for name, array in arrays_of(config).items() if not name.startswith("CNN_proj")}
    model = elmo.read_elmo(published(tmp_path / "elmo", config, arrays))
    assert error(model, arrays, config, [TEXT]) < TOLERANCE


def test_row_0_of_the_characters_is_zero_and_the_others_are_those_of_the_file(folder):
    weight = elmo.read_elmo(folder).words.embedding.weight
    assert not weight[0].any() and np.array_equal(weight[1:].detach(), arrays_of(TINY)["char_embed"])


@pytest.mark.parametrize("dtype", ["<f8", ">f4", ">f8"])
def test_floats_of_every_size_and_order_become_float32(tmp_path, folder, dtype):
    arrays = {name: array.astype(dtype) for name, array in arrays_of(TINY).items()}
    same(elmo.read_elmo(published(tmp_path / "other", arrays=arrays)), elmo.read_elmo(folder))


def test_half_precision_is_read(tmp_path):
    arrays = {name: array.astype("<f2") for name, array in arrays_of(TINY).items()}
    model = elmo.read_elmo(published(tmp_path / "half", arrays=arrays))
    assert error(model, {name: array.astype(float) for name, array in arrays.items()}, TINY, [TEXT]) < TOLERANCE


# ---- deliberate mistakes --------------------------------------------------------------------------------------------

CHANGES = {
    "skip connections flipped": lambda config: {"skip": not config.skip},
    "no cell clip": lambda config: {"cell_clip": None},
    "no projection clip": lambda config: {"proj_clip": None},
}


def make_mistake(mistake: str, monkeypatch) -> None:
    if mistake == "no forget bias":
        monkeypatch.setattr(ProjectedLSTM, "FORGET", 0.0)
        return
    read, change = elmo.read_options, CHANGES[mistake]
    monkeypatch.setattr(elmo, "read_options", lambda p: dataclasses.replace(c := read(p), **change(c)))


@pytest.mark.parametrize("mistake", ["no forget bias", *CHANGES])
def test_a_mistake_makes_other_vectors_than_the_reference(folder, monkeypatch, mistake):
    assert error(elmo.read_elmo(folder), arrays_of(TINY), TINY, [TEXT]) < TOLERANCE
    make_mistake(mistake, monkeypatch)
    assert error(elmo.read_elmo(folder), arrays_of(TINY), TINY, [TEXT]) > 1000 * TOLERANCE


# ---- the original ---------------------------------------------------------------------------------------------------


@pytest.fixture
def original():
    folder = pathlib.Path(os.environ.get("TEXTCLS_TEST_DATA", "")) / "elmo"
    if "TEXTCLS_TEST_DATA" not in os.environ or not folder.is_dir():
        pytest.skip("needs TEXTCLS_TEST_DATA with the folder elmo: bilm-tf's weights and its own vectors")
    pytest.importorskip("h5py")
    return folder


def original_errors(folder: pathlib.Path, model: BiLM, batches: int) -> list[float]:
    """Of each batch the largest difference of a number in the top layer. Batch i is the i-th sentence of each list."""
    import h5py

    lists, errors = json.loads((folder / "sentences.json").read_text("utf-8")), []
    files = [h5py.File(folder / f"lm_embeddings_{k}.hdf5", "r") for k in range(3)]
    for i in range(batches):
        vectors = vectors_of(model, [sentences[i].split() for sentences in lists])
        tops = [np.concatenate(file[str(i)][...], 1) for file in files]  # (2, T, P) -> (T, 2P)
        assert [top.shape for top in tops] == [ours[:, -1].shape for ours in vectors]
        errors.append(max(np.abs(ours[:, -1] - top).max() for ours, top in zip(vectors, tops, strict=True)))
    return errors


def test_published_weights_are_chosen_among_other_files(original):
    assert elmo.weights_of(original).name == "lm_weights.hdf5"
    config = elmo.read_options(original / "options.json")
    assert config == ElmoConfig(((1, 4), (2, 8), (3, 16), (4, 32), (5, 64)), 16, 64, 2, 4, 2)


def test_the_first_vectors_are_those_of_the_original(original):
    assert original_errors(original, elmo.read_elmo(original), 1)[0] < TOLERANCE


def test_with_carried_states_all_vectors_are_those_of_the_original(original):
    model = elmo.read_elmo(original)
    carrying = BiLM(model.config, carry=True).eval()
    carrying.load_state_dict(model.state_dict())
    assert max(original_errors(original, carrying, 10)) < TOLERANCE
    assert max(original_errors(original, model, 10)) > 1000 * TOLERANCE  # and the states do matter


@pytest.mark.parametrize("mistake, size", [
    ("no forget bias", 1.2),
    ("skip connections flipped", 3.0),
    ("no cell clip", 8e-4),
    ("no projection clip", 0.75),
])  # fmt: skip
def test_a_mistake_makes_other_vectors_than_the_original(original, monkeypatch, mistake, size):
    make_mistake(mistake, monkeypatch)
    assert original_errors(original, elmo.read_elmo(original), 1)[0] == pytest.approx(size, rel=0.02)


# ---- saved and opened -----------------------------------------------------------------------------------------------


def same(a: BiLM, b: BiLM) -> None:
    assert a.config == b.config and a.state_dict().keys() == b.state_dict().keys()
    assert all(torch.equal(a.state_dict()[name], tensor) for name, tensor in b.state_dict().items())
    pairs = zip(vectors_of(a, [TEXT, TEXT[:2]]), vectors_of(b, [TEXT, TEXT[:2]]), strict=True)
    assert all(np.array_equal(x, y) for x, y in pairs)


def test_what_is_saved_opens_with_the_same_vectors_bit_for_bit(tmp_path, folder):
    model = elmo.read_elmo(folder)
    elmo.save_elmo(model, tmp_path / "saved" / "published")
    assert sorted(p.name for p in (tmp_path / "saved" / "published").iterdir()) == [
        "SHA256SUMS",
        "options.json",
        "weights.safetensors",
    ]
    same(elmo.read_elmo(elmo.find_elmo(tmp_path / "saved")), model)


def test_our_own_form_needs_no_h5py(own, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert elmo.read_elmo(own).config == TINY


def test_doubles_are_saved_as_float32_and_what_was_opened_can_be_trained(own):
    model = elmo.read_elmo(own)
    elmo.save_elmo(model.double(), own)
    assert {t.dtype for t in read_safetensors(own / "weights.safetensors").values()} == {torch.float32}
    again = elmo.read_elmo(own)
    with torch.no_grad():
        for parameter in again.parameters():
            assert parameter.requires_grad
            parameter.add_(1.0)  # it must not lie in the read-only file
    same(elmo.read_elmo(own), model.float())


def test_options_come_last(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("full")

    monkeypatch.setattr(elmo, "write_safetensors", fail)
    with pytest.raises(OSError, match="full"):
        elmo.save_elmo(BiLM(TINY), tmp_path / "own")
    assert not list((tmp_path / "own").iterdir())


# ---- options --------------------------------------------------------------------------------------------------------

OPTIONS = {
    "lstm": {
        "cell_clip": 3,
        "use_skip_connections": True,
        "n_layers": 2,
        "proj_clip": 2.5,
        "projection_dim": 128,
        "dim": 1024,
    },
    "char_cnn": {
        "activation": "tanh",
        "filters": [[1, 32], [2, 32], [7, 1024]],
        "n_highway": 1,
        "embedding": {"dim": 16},
        "n_characters": 262,
        "max_characters_per_token": 50,
    },
}
ABSENT = object()


def options_with(**changes) -> dict:
    """OPTIONS with other values at names with `__` for dots."""
    options = json.loads(json.dumps(OPTIONS))
    for name, value in changes.items():
        *sections, last = name.split("__")
        section = options
        for part in sections:
            section = section[part]
        if value is ABSENT:
            del section[last]
        else:
            section[last] = value
    return options


def write_options(path: pathlib.Path, **changes) -> pathlib.Path:
    path.write_text(json.dumps(options_with(**changes)), "utf-8")
    return path


@pytest.mark.parametrize("changes", [
    {},
    {"activation": "tanh", "skip": False, "highways": 0, "layers": 1},
    {"cell_clip": None, "proj_clip": None, "word_length": 20},
], ids=str)  # fmt: skip
def test_options_come_back_as_they_were_written(tmp_path, changes):
    config = dataclasses.replace(TINY, **changes)
    elmo.write_options(config, tmp_path / "options.json")
    assert elmo.read_options(tmp_path / "options.json") == config
    assert json.loads((tmp_path / "options.json").read_text("utf-8"))["char_cnn"]["n_characters"] == 262


def test_published_options_are_read_field_by_field(tmp_path):
    config = elmo.read_options(write_options(tmp_path / "o.json"))
    assert config == ElmoConfig(((1, 32), (2, 32), (7, 1024)), 128, 1024, 2, 16, 1, "tanh", True, 3.0, 2.5, 50)


@pytest.mark.parametrize("changes", [
    {"char_cnn__n_characters": 261},
    {"bidirectional": True, "dropout": 0.1, "n_epochs": 10, "unroll_steps": 20, "n_tokens_vocab": 793471},
    {"bidirectional": None},
], ids=str)  # fmt: skip
def test_what_is_about_training_changes_nothing(tmp_path, changes):
    expected = elmo.read_options(write_options(tmp_path / "plain.json"))
    assert elmo.read_options(write_options(tmp_path / "o.json", **changes)) == expected


@pytest.mark.parametrize("empty", [ABSENT, None])
def test_an_absent_field_means_what_it_means_to_bilm_tf(tmp_path, empty):
    lstm = ("lstm__cell_clip", "lstm__proj_clip", "lstm__use_skip_connections", "lstm__n_layers")
    fields = (*lstm, "char_cnn__n_highway", "char_cnn__activation")
    config = elmo.read_options(write_options(tmp_path / "o.json", **dict.fromkeys(fields, empty)))
    assert (config.cell_clip, config.proj_clip, config.skip, config.layers) == (None, None, False, 1)
    assert (config.highways, config.activation) == (0, "relu")


SIZE, DEPTH = "expected a whole number from 1 to 100000", "expected a whole number from 1 to 100"
CLIP = "expected a positive number, or null for no clip"
PAIR = "expected as each place [width, how many filters], whole numbers from 1 to 100000"
SECTION = "expected an object with the fields of that name"


@pytest.mark.parametrize("name, value, message", [
    ("lstm", ABSENT, f"lstm is absent, {SECTION}"),
    ("lstm", 3, f"lstm is 3, {SECTION}"),
    ("char_cnn", [], f"char_cnn is [], {SECTION}"),
    ("char_cnn__embedding", 16, f"char_cnn.embedding is 16, {SECTION}"),
    ("char_cnn__embedding__dim", ABSENT, f"char_cnn.embedding.dim is absent, {SIZE}"),
    ("lstm__dim", ABSENT, f"lstm.dim is absent, {SIZE}"),
    ("lstm__dim", True, f"lstm.dim is true, {SIZE}"),
    ("lstm__dim", "64", f'lstm.dim is "64", {SIZE}'),
    ("lstm__dim", 0, f"lstm.dim is 0, {SIZE}"),
    ("lstm__dim", 64.0, f"lstm.dim is 64.0, {SIZE}"),
    ("lstm__dim", 10**30, f"lstm.dim is 1{30 * '0'}, {SIZE}"),
    ("lstm__projection_dim", -1, f"lstm.projection_dim is -1, {SIZE}"),
    ("lstm__projection_dim", "x" * 99, f'lstm.projection_dim is "{59 * "x"}…, {SIZE}'),
    ("lstm__n_layers", 0, f"lstm.n_layers is 0, {DEPTH}"),
    ("lstm__n_layers", 101, f"lstm.n_layers is 101, {DEPTH}"),
    ("lstm__cell_clip", 0, f"lstm.cell_clip is 0, {CLIP}"),
    ("lstm__cell_clip", -3, f"lstm.cell_clip is -3, {CLIP}"),
    ("lstm__cell_clip", True, f"lstm.cell_clip is true, {CLIP}"),
    ("lstm__proj_clip", "3", f'lstm.proj_clip is "3", {CLIP}'),
    ("lstm__proj_clip", float("inf"), f"lstm.proj_clip is Infinity, {CLIP}"),
    ("lstm__proj_clip", float("nan"), f"lstm.proj_clip is NaN, {CLIP}"),
    ("lstm__proj_clip", 10**400, "lstm.proj_clip is 1000"),
    ("lstm__use_skip_connections", 1, "lstm.use_skip_connections is 1, expected true or false"),
    ("lstm__use_skip_connections", "no", 'lstm.use_skip_connections is "no", expected true or false'),
    ("char_cnn__n_characters", 260, "char_cnn.n_characters is 260, expected a whole number from 261 to 262"),
    ("char_cnn__n_characters", ABSENT, "char_cnn.n_characters is absent, expected a whole number from 261 to 262"),
    ("char_cnn__n_highway", -1, "char_cnn.n_highway is -1, expected a whole number from 0 to 100"),
    ("char_cnn__n_highway", False, "char_cnn.n_highway is false, expected a whole number from 0 to 100"),
    ("char_cnn__max_characters_per_token", 2, "char_cnn.max_characters_per_token is 2, expected a whole number from 3"),
    ("char_cnn__activation", "gelu", 'char_cnn.activation is "gelu", expected relu or tanh'),
    ("char_cnn__activation", ["relu"], 'char_cnn.activation is ["relu"], expected relu or tanh'),
    ("char_cnn__filters", ABSENT, "char_cnn.filters is absent, expected a list of 1 to 100 pairs"),
    ("char_cnn__filters", [], "char_cnn.filters is [], expected a list of 1 to 100 pairs"),
    ("char_cnn__filters", {"1": 4}, 'char_cnn.filters is {"1": 4}, expected a list of 1 to 100 pairs'),
    ("char_cnn__filters", [[1, 4]] * 101, "expected a list of 1 to 100 pairs"),
    ("char_cnn__filters", [[1, 4], 5], f"char_cnn.filters is 5, {PAIR}"),
    ("char_cnn__filters", [[1, 4, 5]], f"char_cnn.filters is [1, 4, 5], {PAIR}"),
    ("char_cnn__filters", [[0, 4]], f"char_cnn.filters is [0, 4], {PAIR}"),
    ("char_cnn__filters", [[1, True]], f"char_cnn.filters is [1, true], {PAIR}"),
    ("char_cnn__filters", [[51, 4]], "char_cnn.filters is [51, 4], expected no width above char_cnn.max_"),
    ("bidirectional", False, "bidirectional is false, expected true: one direction alone is no biLM"),
])  # fmt: skip
def test_options_that_are_refused(tmp_path, name, value, message):
    path = write_options(tmp_path / "o.json", **{name: value})
    refused(lambda: elmo.read_options(path), f"{path}: ", message)


@pytest.mark.parametrize("content, message", [
    (b"", "not an options file in JSON"),
    (b"{'lstm': 1}", "not an options file in JSON"),
    (b'{"lstm": "\xff"}', "not an options file in JSON ('utf-8' codec can't decode byte 0xff"),
    (b"[1]", "not a JSON object, expected {'lstm': {…}, 'char_cnn': {…}}"),
    (b"null", "not a JSON object"),
    (b"[" * 100_000, "not an options file in JSON"),
    (b'{"lstm":' * 100_000, "not an options file in JSON"),
    (b'{"lstm": 1' + b"0" * 5000 + b"}", "not an options file in JSON"),
], ids=range(8))  # fmt: skip
def test_what_is_no_json_object_is_refused(tmp_path, content, message):
    (tmp_path / "o.json").write_bytes(content)
    refused(lambda: elmo.read_options(tmp_path / "o.json"), f"{tmp_path / 'o.json'}: ", message)


def test_options_that_are_not_there_are_refused(tmp_path):
    refused(lambda: elmo.read_options(tmp_path / "o.json"), f"{tmp_path / 'o.json'}: no such file")


# ---- folders --------------------------------------------------------------------------------------------------------


def refused(function, *parts: str) -> None:
    with pytest.raises(InputError) as caught:
        function()
    message = str(caught.value)
    assert "\n" not in message and all(part in message for part in parts), message


def test_a_folder_is_found_by_its_name_and_in_a_run(tmp_path, own):
    assert elmo.find_elmo(str(own)) == own
    own.rename(tmp_path / hub.PUBLISHED)
    assert elmo.find_elmo(str(tmp_path)) == tmp_path / hub.PUBLISHED


def test_names_of_published_downloads_are_found(tmp_path, folder):
    name = "elmo_2x1024_128_2048cnn_1xhighway"
    (folder / "tiny_options.json").rename(folder / f"{name}_options.json")
    for other in ("vocab.txt", "token_embeddings.hdf5", "._options.json", ".weights.hdf5"):
        (folder / other).write_bytes(b"")
    for end in ("hdf5", "h5"):
        elmo.weights_of(folder).rename(folder / f"{name}_weights.{end}")
        assert elmo.options_of(folder).name == f"{name}_options.json"
        assert elmo.weights_of(folder).name == f"{name}_weights.{end}"
        assert elmo.read_elmo(folder).config == TINY


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    expected = "no such folder (a folder with options.json and weights, or a run of --task lm --model elmo)"
    refused(lambda: elmo.find_elmo(str(tmp_path / "none")), f"--elmo {tmp_path / 'none'}: {expected}")
    (tmp_path / "file").write_bytes(b"")
    refused(lambda: elmo.find_elmo(str(tmp_path / "file")), expected)


WEIGHTS = "expected one weights.safetensors or *weights*.hdf5 or *weights*.h5"


@pytest.mark.parametrize("names, message", [
    ((), "expected one *options.json there; it holds no file of that name"),
    (("weights.safetensors",), "expected one *options.json there; it holds no file of that name"),
    (("a_options.json", "b_options.json"), "expected one *options.json there; it holds a_options.json and b_option"),
    (("options.json",), f"{WEIGHTS} there; it holds no file of that name"),
    (("options.json", "token_embeddings.hdf5", "model.safetensors"), f"{WEIGHTS} there; it holds no file of that name"),
    (("options.json", "a_weights.hdf5", "b_weights.h5"), f"{WEIGHTS} there; it holds a_weights.hdf5 and b_weights.h5"),
    (("options.json", "weights.hdf5", "weights.safetensors"), f"{WEIGHTS} there; it holds weights.hdf5 and w"),
], ids=str)  # fmt: skip
def test_a_folder_with_no_such_file_or_several_is_refused(tmp_path, names, message):
    for name in names:
        (tmp_path / name).write_text(json.dumps(OPTIONS) if name.endswith(".json") else "")
    refused(lambda: elmo.read_elmo(tmp_path), f"{tmp_path}: {message}")


# ---- weights that are refused ---------------------------------------------------------------------------------------

DAMAGED = "not a readable HDF5 file, damaged or cut short ("
UNFIT = "the weights do not fit the model: "
TOP = CELL.format(1, 2)


def weights_refused(folder: pathlib.Path, *parts: str) -> None:
    refused(lambda: elmo.read_elmo(folder), f"{elmo.weights_of(folder)}: ", *parts)


def test_without_h5py_the_extra_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    weights_refused(folder, "HDF5 is read with h5py, which is not installed: pip install -e .[elmo]")


SIGNATURE = b"\x89HDF\r\n\x1a\n"


@pytest.mark.parametrize("content", [b"", b"no HDF5", b"PK\x03\x04" * 1000, SIGNATURE, SIGNATURE * 99])
def test_what_is_no_hdf5_is_refused(folder, content):
    elmo.weights_of(folder).write_bytes(content)
    weights_refused(folder, DAMAGED)


@pytest.mark.parametrize("share", [0.01, 0.3, 0.6, 0.999])
def test_a_file_that_was_cut_short_is_refused(folder, share):
    path = elmo.weights_of(folder)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    weights_refused(folder, DAMAGED)


def test_damaged_bytes_end_in_one_line_or_in_numbers(folder):
    """Wherever the damage is, there is no other exception."""
    path = elmo.weights_of(folder)
    content, rng = path.read_bytes(), np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(content)
        for place in rng.integers(0, 20_000, 20):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            elmo.read_elmo(folder)
        except InputError as problem:
            assert str(problem).startswith(f"{path}: ") and "\n" not in str(problem)


def without(name):
    return lambda arrays: arrays.pop(name)


def set_to(name, value):
    return lambda arrays: arrays.update({name: value(arrays[name]) if callable(value) else value})


@pytest.mark.parametrize("change, message", [
    (without("char_embed"), f"{UNFIT}missing char_embed"),
    (without("CNN_proj/b_proj"), f"{UNFIT}missing CNN_proj/b_proj"),
    (without(f"{TOP}/W_P_0"), f"{UNFIT}missing {TOP}/W_P_0"),
    (lambda arrays: arrays.clear(), "missing CNN/W_cnn_0; missing CNN/W_cnn_1"),
    (lambda arrays: arrays.update({"CNN/W_cnn_3": np.zeros(3)}), f"{UNFIT}unknown CNN/W_cnn_3"),
    (lambda arrays: arrays.update({"CNN_high_2/b_carry": np.zeros(3)}), f"{UNFIT}unknown CNN_high_2"),
    (lambda arrays: arrays.update({f"{CELL.format(0, 3)}/B": np.zeros(40)}), "unknown RNN_0/RNN/MultiRNNCell/Cell3"),
    (lambda arrays: arrays.update({"softmax/other": np.zeros(3)}), f"{UNFIT}unknown softmax/other"),
    (lambda arrays: arrays.update({"a\nb": np.zeros(3)}), f"{UNFIT}unknown 'a\\nb'"),
    (set_to("char_embed", np.zeros((262, 4))), f"{UNFIT}char_embed is (262, 4), expected (261, 4)"),
    (set_to(f"{TOP}/W_0", lambda a: a.T), f"{UNFIT}{TOP}/W_0 is (40, 12), expected (12, 40)"),
    (set_to("CNN/W_cnn_1", lambda a: a[0]), f"{UNFIT}CNN/W_cnn_1 is (2, 4, 4), expected (1, 2, 4, 4)"),
    (set_to("CNN_proj/b_proj", np.float32(1)), f"{UNFIT}CNN_proj/b_proj is (), expected (6,)"),
    (set_to("CNN_proj/b_proj", np.arange(6)), "CNN_proj/b_proj is of int64, expected floats"),
    (set_to("CNN_proj/b_proj", np.ones(6, bool)), "CNN_proj/b_proj is of bool, expected floats"),
    (set_to("CNN_proj/b_proj", np.ones(6, complex)), "CNN_proj/b_proj is of complex128, expected floats"),
    (set_to("CNN_proj/b_proj", np.array([b"a"] * 6)), "CNN_proj/b_proj is of |S1, expected floats"),
    (set_to("CNN_proj/b_proj", "text"), "CNN_proj/b_proj is of object, expected floats"),
    (set_to("CNN_proj/b_proj", np.ones(6, [("x", "f4")])), "CNN_proj/b_proj is of [('x', '<f4')], expected floats"),
    (set_to("CNN_proj/b_proj", np.full(6, np.nan)), "CNN_proj/b_proj holds numbers that are not finite"),
    (set_to(f"{TOP}/B", np.full(40, -np.inf)), f"{TOP}/B holds numbers that are not finite"),
    (set_to("char_embed", np.full((261, 4), 1e300)), "char_embed holds numbers that are not finite"),
], ids=lambda value: value if isinstance(value, str) else "")  # fmt: skip
def test_arrays_that_do_not_fit_are_refused_by_their_names_in_the_file(tmp_path, change, message):
    arrays = arrays_of(TINY)
    change(arrays)
    weights_refused(published(tmp_path / "elmo", arrays=arrays), message)


@pytest.mark.parametrize("changes, message", [
    ({"cells": 11}, "W_0 is (12, 40), expected (12, 44)"),
    ({"projection": 7}, "CNN_proj/W_proj is (12, 6), expected (12, 7)"),
    ({"layers": 2}, "unknown RNN_0/RNN/MultiRNNCell/Cell2"),
    ({"highways": 3}, "missing CNN_high_2/W_carry"),
    ({"filters": ((1, 3), (2, 4), (4, 5))}, "CNN/W_cnn_2 is (1, 3, 4, 5), expected (1, 4, 4, 5)"),
    ({"characters": 5}, "char_embed is (261, 4), expected (261, 5)"),
], ids=str)  # fmt: skip
def test_the_options_of_another_bilm_are_refused(folder, changes, message):
    elmo.write_options(dataclasses.replace(TINY, **changes), elmo.options_of(folder))
    weights_refused(folder, UNFIT, message)


def test_what_only_training_needs_is_left_out(tmp_path, folder):
    more = {"softmax/W": np.zeros((9, 6)), "softmax/b": np.arange(9), "embedding": np.full((9, 6), np.nan)}
    same(elmo.read_elmo(published(tmp_path / "more", arrays=arrays_of(TINY) | more)), elmo.read_elmo(folder))


def link_soft(file, h5py, other):
    file["char_embed"] = h5py.SoftLink("/elsewhere")


def link_inside(file, h5py, other):
    file["elsewhere"] = arrays_of(TINY)["char_embed"]
    file["char_embed"] = h5py.SoftLink("/elsewhere")


def link_external(file, h5py, other):
    file["char_embed"] = h5py.ExternalLink(other, "/char_embed")


def store_elsewhere(file, h5py, other):
    pathlib.Path(f"{other}.raw").write_bytes(bytes(261 * 4 * 4))
    file.create_dataset("char_embed", (261, 4), "<f4", external=[(f"{other}.raw", 0, h5py.h5f.UNLIMITED)])


def store_virtually(file, h5py, other):
    layout = h5py.VirtualLayout((261, 4), "<f4")
    layout[:] = h5py.VirtualSource(other, "char_embed", (261, 4))
    file.create_virtual_dataset("char_embed", layout)


def make_group(file, h5py, other):
    file.create_group("char_embed")


def make_type(file, h5py, other):
    file["char_embed"] = np.dtype("<f4")


def make_empty(file, h5py, other):
    file["char_embed"] = h5py.Empty("<f4")


def make_enormous(file, h5py, other):
    file.create_dataset("char_embed", (2**40, 2**20), "<f4", chunks=(64, 64))  # 4 EiB if it were read


ELSEWHERE = "char_embed has its numbers in another file, expected them in this one"


@pytest.mark.parametrize("make, message", [
    (link_soft, "char_embed is a link to another place, expected the weights themselves"),
    (link_inside, "char_embed is a link to another place"),
    (link_external, "char_embed is a link to another place"),
    (store_elsewhere, ELSEWHERE),
    (store_virtually, ELSEWHERE),
    (make_group, "char_embed is a group, expected a dataset of floats"),
    (make_type, "char_embed is a datatype, expected a dataset of floats"),
    (make_empty, "char_embed is of float32 and of no shape, expected floats"),
    (make_enormous, f"{UNFIT}char_embed is (1099511627776, 1048576), expected (261, 4)"),
])  # fmt: skip
def test_what_is_no_array_in_the_file_itself_is_refused(tmp_path, folder, make, message):
    h5py = pytest.importorskip("h5py")
    other = write_hdf5(tmp_path / "other.hdf5", arrays_of(TINY))
    with h5py.File(elmo.weights_of(folder), "a") as file:
        del file["char_embed"]
        make(file, h5py, str(other))
    weights_refused(folder, message)


def test_groups_that_are_links_or_circles_or_arrays_are_refused(tmp_path, folder):
    h5py = pytest.importorskip("h5py")
    other = write_hdf5(tmp_path / "other.hdf5", arrays_of(TINY))
    path = elmo.weights_of(folder)
    with h5py.File(path, "a") as file:
        file["softmax"] = h5py.ExternalLink(str(other), "/CNN")
    weights_refused(folder, "softmax is a link to another place")
    with h5py.File(path, "a") as file:
        del file["softmax"]
        file["RNN_0/RNN/RNN_0"] = file["RNN_0"]
        file["CNN/self"] = file["/"]
    weights_refused(folder, f"{UNFIT}unknown CNN/self; unknown RNN_0/RNN/RNN_0")
    with h5py.File(path, "a") as file:
        del file["CNN"]
        file["CNN"] = np.zeros(3)
    weights_refused(folder, "CNN is a dataset, expected a group")


def test_our_own_form_is_as_strict(own):
    path = own / "weights.safetensors"
    # copies: the file that they are views of is written anew below
    tensors = {name: tensor.clone() for name, tensor in read_safetensors(path).items()}
    bias = tensors["words.projection.bias"]
    cases = [
        ({"words.projection.bias": None}, f"{UNFIT}missing words.projection.bias"),
        ({"more": bias}, f"{UNFIT}unknown more"),
        ({"words.projection.bias": bias[:5]}, "words.projection.bias is (5,), expected (6,)"),
        ({"words.projection.bias": bias.long()}, "words.projection.bias is of torch.int64"),
        ({"words.projection.bias": bias * torch.nan}, "words.projection.bias holds numbers that are not finite"),
    ]
    for changes, message in cases:
        changed = {name: tensor for name, tensor in (tensors | changes).items() if tensor is not None}
        write_safetensors(changed, path)
        weights_refused(own, message)
    path.write_bytes(b"\xff" * 100)
    weights_refused(own, "the file is damaged or cut short")


def test_weights_that_were_never_written_are_refused(tmp_path):
    """As an interrupted conversion leaves them: every name and shape is there, and reads as zeros."""
    h5py = pytest.importorskip("h5py")
    config = ElmoConfig(filters=((1, 2), (2, 3)), projection=4, cells=6, layers=1)
    elmo.write_options(config, tmp_path / "options.json")
    with h5py.File(tmp_path / "weights.hdf5", "w") as file:
        for name, shape in elmo.shapes(config).items():
            file.create_dataset(name, shape, "f4", chunks=shape)
    refused(lambda: elmo.read_elmo(tmp_path), "was never written, or not to its end")


def test_a_shape_too_large_for_any_machine_is_refused(tmp_path):
    config = ElmoConfig(filters=((1, 2),), projection=50_000, cells=90_000)
    elmo.write_options(config, tmp_path / "options.json")
    refused(lambda: elmo.read_options(tmp_path / "options.json"), "a biLM of 162,000,100,008 numbers, expected at most")
