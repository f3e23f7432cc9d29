"""ELMo's biLM from published weights (an options file and HDF5, as allenai/bilm-tf writes them) or from our own
safetensors: read without following anything out of a file, loaded strictly; and written.

A folder holds one *options.json, and weights.safetensors or one *weights*.hdf5 (*.h5). A run of --task lm --model elmo
holds such a folder as RUN/published.
"""

import errno
import fnmatch
import itertools
import json
import os
import pathlib
import sys

import numpy as np
import torch

from textcls.models.elmo import ACTIVATIONS, CHARACTERS, DEEPEST, LARGEST, MOST, BiLM, ElmoConfig
from textcls.pretrained.bert import load_strictly
from textcls.pretrained.hub import PUBLISHED
from textcls.pretrained.safetensors import read_safetensors, write_safetensors
from textcls.runtime import files
from textcls.runtime.digests import check, note_digests
from textcls.runtime.errors import InputError
from textcls.runtime.tensors import check_fit

OPTIONS = "options.json"
WEIGHTS = ("weights.safetensors", "*weights*.hdf5", "*weights*.h5")
LEFT_OUT = ("embedding", "softmax/W", "softmax/b")  # of a file: needed to train, not to make vectors
CELL = "RNN_{}/RNN/MultiRNNCell/Cell{}/LSTMCell"  # of a direction (0 forward, 1 backward) and a layer
REQUIRED = object()  # in place of a default


def load_elmo(folder_or_run: str | os.PathLike, carry: bool = False) -> BiLM:
    """A :class:`BiLM` in eval mode, in float32: `bilm(ids (B, T, K), mask (B, T)) -> (B, T, L + 1, 2P)`; what spells
    words is text/characters.py. `folder_or_run`: a folder with an options file and weights, or a run of --task lm
    --model elmo. Raises :class:`InputError` naming the missing, unknown or mis-shaped tensors."""
    bilm = read_elmo(find_elmo(folder_or_run))
    bilm.carry = carry
    return bilm


def find_elmo(name: str | os.PathLike) -> pathlib.Path:
    """The folder itself, or what a run of --task lm --model elmo has in it."""
    path = pathlib.Path(name)
    if candidates(path / PUBLISHED, f"*{OPTIONS}"):
        return path / PUBLISHED
    if path.is_dir():
        return path
    raise InputError(
        f"--elmo {name}: no such folder (a folder with {OPTIONS} and weights, or a run of --task lm --model elmo)"
    )


def options_of(folder: pathlib.Path) -> pathlib.Path:
    """The one options file of a folder."""
    return only(folder, f"*{OPTIONS}")


def weights_of(folder: pathlib.Path) -> pathlib.Path:
    """The one file of weights of a folder."""
    return only(folder, *WEIGHTS)


def only(folder: pathlib.Path, *patterns: str) -> pathlib.Path:
    found = candidates(folder, *patterns)
    if len(found) != 1:
        names = " and ".join(path.name for path in found) or "no file of that name"
        raise InputError(f"{folder}: expected one {' or '.join(patterns)} there; it holds {names}")
    return found[0]


def candidates(folder: pathlib.Path, *patterns: str) -> list[pathlib.Path]:
    """Files of a folder, but for hidden ones, whose name fits a pattern."""
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    fitting = [path for path in paths if any(fnmatch.fnmatchcase(path.name, pattern) for pattern in patterns)]
    return [path for path in fitting if path.is_file() and not path.name.startswith(".")]


def read_options(path: pathlib.Path) -> ElmoConfig:
    """The shape of a biLM from an options file; what else stands there is about training, and skipped. A field that is
    absent or null means what it means to bilm-tf: one layer, no highway, no skip connections, no clip. Raises
    InputError with the field, its value and what is expected."""
    check(path)
    try:
        values = files.parse_json(path.read_text("utf-8-sig"))
        if not isinstance(values, dict):
            raise InputError(f"{path}: not a JSON object, expected {{'lstm': {{…}}, 'char_cnn': {{…}}}}")
        return config_of(values, path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except ValueError as error:  # not JSON, or not UTF-8
        raise InputError(f"{path}: not an options file in JSON ({error})") from None


def config_of(values: dict, path: pathlib.Path) -> ElmoConfig:
    def field(name: str, default, fits, expected: str):
        value = value_at(values, name, path)
        if default is REQUIRED if value is None else not fits(value):
            raise wrong(path, name, value, expected)
        return default if value is None else value

    def whole(name: str, default=REQUIRED, least: int = 1, most: int = LARGEST) -> int:
        return field(name, default, lambda n: is_whole(n, least, most), f"a whole number from {least} to {most}")

    def clip(name: str) -> float | None:  # at 0 TensorFlow cuts everything off, and others nothing
        value = field(f"lstm.{name}", None, is_positive, "a positive number, or null for no clip")
        return None if value is None else float(value)

    field("bidirectional", True, lambda value: value is True, "true: one direction alone is no biLM")
    whole("char_cnn.n_characters", REQUIRED, CHARACTERS - 1, CHARACTERS)  # without and with padding of texts
    word_length = whole("char_cnn.max_characters_per_token", REQUIRED, 3)  # begin, a character, end
    config = ElmoConfig(
        filters=filters_of(value_at(values, "char_cnn.filters", path), word_length, path),
        projection=whole("lstm.projection_dim"),
        cells=whole("lstm.dim"),
        layers=whole("lstm.n_layers", 1, 1, DEEPEST),
        characters=whole("char_cnn.embedding.dim"),
        highways=whole("char_cnn.n_highway", 0, 0, DEEPEST),
        activation=field("char_cnn.activation", "relu", lambda name: name in [*ACTIVATIONS], " or ".join(ACTIVATIONS)),
        skip=field("lstm.use_skip_connections", False, lambda value: type(value) is bool, "true or false"),
        cell_clip=clip("cell_clip"),
        proj_clip=clip("proj_clip"),
        word_length=word_length,
    )
    if size_of(config) > MOST:
        raise InputError(f"{path}: a biLM of {size_of(config):,} numbers, expected at most {MOST:,}")
    return config


def size_of(config: ElmoConfig) -> int:
    """Weights of the matrices, but for the filters."""
    P, S, N = config.projection, config.cells, config.num_filters
    return 2 * config.layers * (8 * P * S + S * P) + 2 * config.highways * N * N + N * P


def value_at(values: dict, name: str, path: pathlib.Path) -> object:
    """What stands at a name with dots; None where it is absent."""
    *sections, last = name.split(".")
    for number, section in enumerate(sections, 1):
        values = values.get(section)
        if not isinstance(values, dict):
            raise wrong(path, ".".join(sections[:number]), values, "an object with the fields of that name")
    return values.get(last)


def is_whole(value: object, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most  # a bool is an int to isinstance


def is_positive(value: object) -> bool:
    return type(value) in (int, float) and 0 < value <= sys.float_info.max


def filters_of(filters: object, word_length: int, path: pathlib.Path) -> tuple[tuple[int, int], ...]:
    name = "char_cnn.filters"
    if not isinstance(filters, list) or not 0 < len(filters) <= DEEPEST:
        raise wrong(path, name, filters, f"a list of 1 to {DEEPEST} pairs [width, how many filters]")
    for pair in filters:
        if not isinstance(pair, list) or len(pair) != 2 or not all(is_whole(size, 1, LARGEST) for size in pair):
            raise wrong(path, name, pair, f"as each place [width, how many filters], whole numbers from 1 to {LARGEST}")
        if pair[0] > word_length:
            raise wrong(path, name, pair, f"no width above char_cnn.max_characters_per_token, {word_length}")
    return tuple(map(tuple, filters))


def wrong(path: pathlib.Path, name: str, value: object, expected: str) -> InputError:
    text = json.dumps(value)
    shown = "absent" if value is None else text if len(text) <= 60 else text[:60] + "…"
    return InputError(f"{path}: {name} is {shown}, expected {expected}")


def write_options(config: ElmoConfig, path: pathlib.Path, more: dict | None = None) -> None:
    """In the published form, which does not say how many words a language model chooses from; `more` stands beside."""
    lstm = {
        "cell_clip": config.cell_clip,
        "use_skip_connections": config.skip,
        "n_layers": config.layers,
        "proj_clip": config.proj_clip,
        "projection_dim": config.projection,
        "dim": config.cells,
    }
    char_cnn = {
        "embedding": {"dim": config.characters},
        "filters": config.filters,
        "n_highway": config.highways,
        "n_characters": CHARACTERS,
        "max_characters_per_token": config.word_length,
        "activation": config.activation,
    }
    files.write_json(path, {"lstm": lstm, "char_cnn": char_cnn} | (more or {}))


def tokens_of(folder: pathlib.Path) -> str | None:
    """What a word was in the text that the biLM of a folder was trained on, where its options file, which
    :func:`read_options` has accepted, says so: ours do."""
    tokens = json.loads(options_of(folder).read_text("utf-8-sig")).get("tokens")
    return tokens if isinstance(tokens, str) else None


def read_elmo(folder: pathlib.Path) -> BiLM:
    """The biLM of a folder in eval mode, in float32. Raises :class:`InputError` naming the missing, unknown or
    mis-shaped weights as they are named in the file."""
    config, path = read_options(options_of(folder)), weights_of(folder)
    with torch.device("meta"):
        model = BiLM(config)
    check(path)
    ours = path.suffix == ".safetensors"
    stored = read_safetensors(path) if ours else read_hdf5(path, config)
    for name, tensor in stored.items():
        if not tensor.to(torch.float32).isfinite().all():
            raise InputError(f"{path}: {name} holds numbers that are not finite, expected finite ones")
    load_strictly(model, stored if ours else our_tensors(stored, config), path)
    return model.eval()


def save_elmo(bilm: BiLM, folder: pathlib.Path, more: dict | None = None) -> None:
    """weights.safetensors (float32, in the names of the network) and options.json, which comes last: with it the folder
    is complete; `more` stands there beside the shape."""
    files.make_folder(folder)
    weights = {name: tensor.to(torch.float32).contiguous() for name, tensor in bilm.state_dict().items()}
    write_safetensors(weights, folder / WEIGHTS[0])
    write_options(bilm.config, folder / OPTIONS, more)
    note_digests(folder)


def read_hdf5(path: pathlib.Path, config: ElmoConfig) -> dict[str, torch.Tensor]:
    """{name in the file: float32 tensor} of a published file. Shapes are compared before anything is read."""
    try:
        import h5py
    except ImportError:
        raise InputError(f"{path}: HDF5 is read with h5py, which is not installed: pip install -e .[elmo]") from None
    wanted = {name: torch.empty(shape, device="meta") for name, shape in shapes(config).items()}
    try:
        with h5py.File(path, "r") as file:
            if config.num_filters == config.projection and "CNN_proj" not in set(file):  # as bilm-tf leaves it
                wanted = {name: tensor for name, tensor in wanted.items() if not name.startswith("CNN_proj/")}
            given = members(file, {*wanted, *LEFT_OUT}, path)
            given = {name: dataset for name, dataset in given.items() if name not in LEFT_OUT}
            for name in wanted.keys() & given.keys():
                check_dataset(given[name], name, path)
            check_fit(wanted, given, path)
            return {name: numbers_of(given[name], name, path) for name in wanted}
    except InputError:
        raise
    except PermissionError:  # h5py's names no file
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path)) from None
    except Exception as error:  # h5py raises OSError, RuntimeError, KeyError, ValueError, …
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: not a readable HDF5 file, damaged or cut short ({reason})") from None


def shapes(config: ElmoConfig) -> dict[str, tuple[int, ...]]:
    """{name: shape} of a published file. Its matrices stand for x @ W, and there is no row for the padding of texts."""
    N, P, S = config.num_filters, config.projection, config.cells
    result = {"char_embed": (CHARACTERS - 1, config.characters), "CNN_proj/W_proj": (N, P), "CNN_proj/b_proj": (P,)}
    for k, (width, count) in enumerate(config.filters):
        result |= {f"CNN/W_cnn_{k}": (1, width, config.characters, count), f"CNN/b_cnn_{k}": (count,)}
    for k, gate in itertools.product(range(config.highways), ("carry", "transform")):
        result |= {f"CNN_high_{k}/W_{gate}": (N, N), f"CNN_high_{k}/b_{gate}": (N,)}
    for direction, k in itertools.product((0, 1), range(config.layers)):
        cell = CELL.format(direction, k)
        result |= {f"{cell}/W_0": (2 * P, 4 * S), f"{cell}/B": (4 * S,), f"{cell}/W_P_0": (S, P)}
    return result


def members(file, known: set[str], path: pathlib.Path) -> dict:
    """{name: dataset} of an open HDF5 file, in the groups that lead to known names; what is unknown is named and not
    opened. A link is never followed: it could lead to another file, or in circles."""
    import h5py

    groups = {str(parent) for name in known for parent in pathlib.PurePosixPath(name).parents}
    result, waiting = {}, [""]
    while waiting:
        above = waiting.pop()
        for name in (above + part for part in file[above or "/"]):
            if name not in known and name not in groups:
                result[name if name.isprintable() else ascii(name)] = None
            elif file.id.links.get_info(name.encode()).type != h5py.h5l.TYPE_HARD:
                raise InputError(f"{path}: {name} is a link to another place, expected the weights themselves")
            elif name in known:
                result[name] = file[name]
            elif isinstance(file[name], h5py.Group):
                waiting.append(f"{name}/")
            else:
                raise InputError(f"{path}: {name} is a dataset, expected a group")
    return result


def check_dataset(dataset, name: str, path: pathlib.Path) -> None:
    """Floats that lie in the file itself."""
    import h5py

    if not isinstance(dataset, h5py.Dataset):
        raise InputError(f"{path}: {name} is a {type(dataset).__name__.lower()}, expected a dataset of floats")
    if dataset.is_virtual or dataset.external:
        raise InputError(f"{path}: {name} has its numbers in another file, expected them in this one")
    if dataset.dtype.kind != "f" or dataset.shape is None:
        shape = " and of no shape" if dataset.shape is None else ""
        raise InputError(f"{path}: {name} is of {dataset.dtype}{shape}, expected floats")


def numbers_of(dataset, name: str, path: pathlib.Path) -> torch.Tensor:
    import h5py

    if dataset.id.get_space_status() != h5py.h5d.SPACE_STATUS_ALLOCATED:  # it would read as zeros, of any size
        raise InputError(f"{path}: {name} was never written, or not to its end")
    with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and refused
        return torch.from_numpy(np.array(dataset[...]).astype(np.float32))


def our_tensors(stored: dict[str, torch.Tensor], config: ElmoConfig) -> dict[str, torch.Tensor]:
    """Published names -> ours. torch's own layers have their matrices transposed, ours (of the LSTMs) do not, and hold
    both directions; the characters have a row of zeros in front, for the padding of texts."""
    if "CNN_proj/W_proj" not in stored:
        P = config.projection
        stored = stored | {"CNN_proj/W_proj": torch.eye(P), "CNN_proj/b_proj": torch.zeros(P)}
    result = {
        "words.embedding.weight": torch.cat([torch.zeros(1, config.characters), stored["char_embed"]]),
        "words.projection.weight": stored["CNN_proj/W_proj"].T,
        "words.projection.bias": stored["CNN_proj/b_proj"],
    }
    for k in range(len(config.filters)):  # (1, width, characters, filters) -> (filters, characters, width)
        result[f"words.convolutions.{k}.weight"] = stored[f"CNN/W_cnn_{k}"][0].permute(2, 1, 0)
        result[f"words.convolutions.{k}.bias"] = stored[f"CNN/b_cnn_{k}"]
    for k, gate in itertools.product(range(config.highways), ("carry", "transform")):
        result[f"words.highways.{k}.{gate}.weight"] = stored[f"CNN_high_{k}/W_{gate}"].T
        result[f"words.highways.{k}.{gate}.bias"] = stored[f"CNN_high_{k}/b_{gate}"]
    for k, (ours, theirs) in itertools.product(
        range(config.layers), (("weight", "W_0"), ("bias", "B"), ("projection", "W_P_0"))
    ):
        result[f"lstms.{k}.{ours}"] = torch.stack([stored[f"{CELL.format(d, k)}/{theirs}"] for d in (0, 1)])
    return {name: tensor.contiguous() for name, tensor in result.items()}
