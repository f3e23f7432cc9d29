"""Files that can be made again: downloaded archives and tokenised texts."""

import hashlib
import os
import pathlib
import zipfile
from collections.abc import Callable, Sequence

import numpy as np

from textcls import files
from textcls.data.corpus import fingerprint
from textcls.rows import Pieces
from textcls.text import Vocabulary


def cache_folder() -> pathlib.Path:
    """$TEXTCLS_CACHE, else textcls below $XDG_CACHE_HOME, else ~/.cache/textcls. Not made here."""
    if os.environ.get("TEXTCLS_CACHE"):
        return pathlib.Path(os.environ["TEXTCLS_CACHE"])
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base) / "textcls"


def cached(name: str, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The arrays kept under `name`, made and kept where absent. A damaged file is made anew; a cache folder that
    cannot be written only costs the time."""
    path = cache_folder() / f"{name}.npz"
    try:
        with np.load(path, allow_pickle=False) as kept:
            return dict(kept)
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
        pass
    arrays = make()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.replacing(path, by_all=True) as file:
            np.savez(file, **arrays)
    except OSError:
        pass
    return arrays


def pack(texts: Sequence[str]) -> dict[str, np.ndarray]:
    """Strings as arrays that `cached` can keep: UTF-8, and where each begins."""
    data = [text.encode("utf-8") for text in texts]
    offsets = np.concatenate([[0], np.cumsum([len(part) for part in data], dtype=np.int64)])
    return {"utf8": np.frombuffer(b"".join(data), np.uint8), "offsets": offsets}


def unpack(arrays: dict[str, np.ndarray]) -> list[str]:
    data, offsets = arrays["utf8"].tobytes(), arrays["offsets"].tolist()
    return [data[start:end].decode("utf-8") for start, end in zip(offsets[:-1], offsets[1:], strict=True)]


def encode(tokenizer: Vocabulary, texts: Sequence[str], progress: Callable = iter) -> Pieces:
    """`tokenizer.encode(texts)`, kept under the digest of the tokeniser and the texts."""
    digest = hashlib.blake2b(fingerprint(tokenizer.digest, *texts), digest_size=16).hexdigest()

    def make():
        pieces = tokenizer.encode(texts, progress)
        return {"tokens": pieces.tokens, "offsets": pieces.offsets}

    kept = cached(f"pieces-{digest}", make)
    return Pieces(kept["tokens"], kept["offsets"])
