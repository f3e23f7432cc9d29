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

POOLING = "1_Pooling/config.json"  # of sentence encoders
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
    POOLING,
)
INDEX = ".index.json"  # model.safetensors.index.json: which of several files holds which tensor
SHARDS = ("model-*.safetensors", "pytorch_model-*.bin")
PUBLISHED = "published"
PART = r"\w[\w.-]*"  # never "..", which would lead out of the cache
NAME = re.compile(f"{PART}(/{PART})?(@{PART}(/{PART})*)?")  # NAME or OWNER/NAME, and @REVISION: a branch, tag or commit
COMMIT = re.compile("[0-9a-f]{40}")
LARGEST_DOWNLOAD = 32 * 2**30  # bytes of a model from the hub
NANO = pathlib.Path(__file__).parent.parent / "assets" / "nano"  # the small BERT that comes with the library


def find_folder(folder_or_name: str | os.PathLike) -> pathlib.Path:
    """The folder itself, nano's, what a pre-training run has in it, or the hub's files in huggingface_hub's cache."""
    return local_folder(folder_or_name) or fetch_from_hub(str(folder_or_name))


def local_folder(folder_or_name: str | os.PathLike) -> pathlib.Path | None:
    """The same without the hub; None for what may be a name there. Raises InputError for what can be neither."""
    if folder_or_name == "nano":
        return NANO
    path = pathlib.Path(folder_or_name)
    if (path / PUBLISHED / FILES[0]).is_file():
        return path / PUBLISHED
    if path.is_dir():
        return path
    name = str(folder_or_name)
    if path.exists() or not NAME.fullmatch(name):
        raise InputError(f"--bert {name}: no such folder (a folder with {FILES[0]}, {FILES[1]} and {FILES[3]})")
    return None


def find_config(name: str) -> pathlib.Path:
    """config.json of a name on the hub, from huggingface_hub's cache or fetched without the weights."""
    return fetch(name, [FILES[0]]) / FILES[0]


def find_pooling(folder_or_name: str | os.PathLike) -> pathlib.Path | None:
    """POOLING of a model, from the hub without the weights; None where it has none."""
    folder = local_folder(folder_or_name) or fetch(str(folder_or_name), [POOLING])
    return folder / POOLING if (folder / POOLING).is_file() else None


def fetch_from_hub(name: str) -> pathlib.Path:
    folder = fetch(name, [*(f for f in FILES if f != FILES[2]), FILES[1] + INDEX, SHARDS[0]])
    if not any((folder / f).exists() for f in (FILES[1], FILES[1] + INDEX)):
        # older repositories hold only the pickled form
        fetch(pinned(name, revision_of(folder)), [FILES[2], FILES[2] + INDEX, SHARDS[1]])
    return folder


def fetch(name: str, patterns: list[str]) -> pathlib.Path:
    """The folder, in huggingface_hub's cache, of one revision of NAME or NAME@REVISION: what the branch `main`, or
    another, or a tag, leads to now, or the commit itself. Raises InputError."""
    from huggingface_hub import snapshot_download  # comes with `tokenizers`; slow to import, so only here

    repository, _, revision = name.partition("@")
    check_home(name)
    try:
        what = {"revision": revision or None, "allow_patterns": patterns, "tqdm_class": bounded_bar()}
        folder = pathlib.Path(snapshot_download(repository, **what))
    except Exception as error:  # whatever the HTTP client of this version raises
        raise hub_error(name, error) from None
    if COMMIT.fullmatch(revision) and revision_of(folder) not in (None, revision):
        raise InputError(f"--bert {name}: the hub has sent the revision {revision_of(folder)}")
    return folder


def bounded_bar() -> type:
    """The hub's progress bar, which counts the bytes that are to come and that have come: more than LARGEST_DOWNLOAD
    are refused. (Versions of huggingface_hub before 1.0 count files alone, and there it bounds nothing.)"""
    from huggingface_hub.utils import tqdm

    class Bounded(tqdm):
        seen = 0

        def update(self, n=1):
            self.seen += n or 0
            if max(self.seen, self.total or 0) > LARGEST_DOWNLOAD:
                raise InputError(f"more than {LARGEST_DOWNLOAD / 2**30:.0f} GiB; fetch it by hand, and give its folder")
            return super().update(n)

    return Bounded


def check_home(name: str) -> None:
    """Raise InputError where the hub's cache would lie in a folder called "~", for want of a home."""
    said = any(os.environ.get(variable) for variable in ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"))
    if not said and not os.environ.get("XDG_CACHE_HOME") and os.path.expanduser("~") == "~":
        raise InputError(f"--bert {name}: no home directory for the hub's cache; say with HF_HOME where it may lie")


def revision_of(folder: pathlib.Path) -> str | None:
    """The commit that a folder of the hub's cache, .../snapshots/COMMIT, is of; None for any other folder."""
    return folder.name if folder.parent.name == "snapshots" and COMMIT.fullmatch(folder.name) else None


def pinned(name: str, revision: str | None) -> str:
    """NAME@REVISION, whatever revision the name said; the name as it is for None."""
    return name if revision is None else f"{name.partition('@')[0]}@{revision}"


def hub_error(name: str, error: Exception) -> InputError:
    reason = str(error).strip().split("\n")[0] or type(error).__name__
    place = "; HF_HOME says where the hub's cache lies" if isinstance(error, OSError) and error.filename else ""
    return InputError(
        f"--bert {name}: neither a folder nor to be had from the hub ({reason}{place}). Without a network: "
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
        places = files.parse_json(path.read_bytes())["weight_map"]
        names = {str(tensor): os.fspath(name) for tensor, name in places.items()}
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
