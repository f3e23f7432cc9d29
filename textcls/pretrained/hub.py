"""Where a published model is: a folder, the one that comes with the library, a pre-training run's, or the hub's files.

A folder holds config.json, model.safetensors or pytorch_model.bin, and vocab.txt or tokenizer.json. A pre-training run
holds such a folder as RUN/published.
"""

import os
import pathlib
import re

from textcls.runtime.errors import InputError

FILES = (
    "config.json",
    "model.safetensors",
    "pytorch_model.bin",
    "vocab.txt",
    "tokenizer.json",
    "tokenizer_config.json",
)
PUBLISHED = "published"
NANO = pathlib.Path(__file__).parent.parent / "assets" / "nano"  # the small BERT that comes with the library


def find_folder(folder_or_name: str | os.PathLike) -> pathlib.Path:
    """The folder itself, nano's, what a pre-training run has in it, or the hub's files in huggingface_hub's cache
    (which checks their digests)."""
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
        folder = pathlib.Path(snapshot_download(name, allow_patterns=[f for f in FILES if f != FILES[2]]))
        if not (folder / FILES[1]).exists():  # older repositories hold only the pickled form
            snapshot_download(name, allow_patterns=[FILES[2]])
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
    for name in FILES[1:3]:
        if (folder / name).is_file():
            return folder / name
    raise InputError(f"{folder}: holds neither {FILES[1]} nor {FILES[2]}")
