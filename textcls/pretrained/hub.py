"""Where a published model is: a folder, the one that comes with the library, a pre-training run's, or the hub's files.

A folder holds config.json, model.safetensors or pytorch_model.bin (whole, or an index and the files that it names), and
vocab.txt or tokenizer.json. A pre-training run holds such a folder as RUN/published.
"""

import hashlib
import os
import pathlib
import re

from textcls.runtime import files
from textcls.runtime.errors import InputError

FILES = (
    "config.json",
    "model.safetensors",
    "pytorch_model.bin",
    "vocab.txt",
    "tokenizer.json",
    "tokenizer_config.json",
    "added_tokens.json",
    "special_tokens_map.json",
    "vocab.json",
    "merges.txt",
)
INDEX = ".index.json"  # model.safetensors.index.json: which of several files holds which tensor
SHARDS = ("model-*.safetensors", "pytorch_model-*.bin")
PUBLISHED = "published"
NANO = pathlib.Path(__file__).parent.parent / "assets" / "nano"  # the small BERT that comes with the library


def find_folder(folder_or_name: str | os.PathLike) -> pathlib.Path:
    """The folder itself, nano's, what a pre-training run has in it, or the hub's files in huggingface_hub's cache."""
    if folder_or_name == "nano":
        return NANO
    path = pathlib.Path(folder_or_name)
    if (path / PUBLISHED / FILES[0]).is_file():
        return path / PUBLISHED
    if path.is_dir():
        return path
    name = str(folder_or_name)
    if path.exists() or not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) or name.startswith("."):
        raise InputError(f"--bert {name}: no such folder (a folder with {FILES[0]}, {FILES[1]} and {FILES[3]})")
    return fetch_from_hub(name)


def find_config(name: str) -> pathlib.Path:
    """config.json of a name on the hub, from huggingface_hub's cache or fetched without the weights."""
    from huggingface_hub import hf_hub_download

    try:
        return pathlib.Path(hf_hub_download(name, FILES[0]))
    except Exception as error:
        raise hub_error(name, error) from None


def fetch_from_hub(name: str) -> pathlib.Path:
    from huggingface_hub import snapshot_download  # comes with `tokenizers`; slow to import, so only here

    try:
        wanted = [f for f in FILES if f != FILES[2]]
        folder = pathlib.Path(snapshot_download(name, allow_patterns=[*wanted, FILES[1] + INDEX, SHARDS[0]]))
        if not any((folder / f).exists() for f in (FILES[1], FILES[1] + INDEX)):
            # older repositories hold only the pickled form
            snapshot_download(name, allow_patterns=[FILES[2], FILES[2] + INDEX, SHARDS[1]])
        return folder
    except Exception as error:  # whatever the HTTP client of this version raises
        raise hub_error(name, error) from None


def hub_error(name: str, error: Exception) -> InputError:
    reason = str(error).strip().split("\n")[0] or type(error).__name__
    return InputError(
        f"--bert {name}: neither a folder nor to be had from the hub ({reason}). Without a network: "
        f"put {FILES[0]}, {FILES[1]} and {FILES[3]} into a folder and give it with --bert"
    )


def weights_file(folder: pathlib.Path) -> pathlib.Path:
    """The file of the weights, or of several files the index."""
    for name in FILES[1:3]:
        for path in (folder / name, folder / (name + INDEX)):
            if path.is_file():
                return path
    raise InputError(f"{folder}: holds neither {FILES[1]} nor {FILES[2]}")


def read_index(path: pathlib.Path) -> dict[str, pathlib.Path]:
    """{name of a tensor: its file} of an index. Raises InputError for a file that is not there, or not in the folder
    of the index."""
    try:
        names = {str(tensor): os.fspath(name) for tensor, name in files.parse_json(path.read_bytes())["weight_map"].items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path}: not an index of weights, {{'weight_map': {{tensor: file}}}} ({error})") from None
    kind = pathlib.PurePath(path.name.removesuffix(INDEX)).suffix
    for name in sorted(set(names.values())):
        if name in ("", ".", "..") or "\\" in name or "\0" in name or pathlib.PurePath(name).name != name:
            raise InputError(f"{path}: names {name!r}, expected a file in the same folder")
        if pathlib.PurePath(name).suffix != kind:
            raise InputError(f"{path}: names {name!r}, expected a {kind} file")
        if not path.with_name(name).is_file():
            raise InputError(f"{path}: names {name}, which is not in the folder")
    return {tensor: path.with_name(name) for tensor, name in names.items()}


def weights_sha256(path: pathlib.Path) -> str:
    """The digest of the weights: of their file, or of the index and every file that it names."""
    if not path.name.endswith(INDEX):
        return files.sha256(path)
    parts = [path, *sorted(set(read_index(path).values()))]
    return hashlib.sha256("".join(f"{part.name} {files.sha256(part)}\n" for part in parts).encode()).hexdigest()
