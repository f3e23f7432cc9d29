"""Plain text for language modelling: a sentence or paragraph a line, in one file or several, .xz and .gz too."""

import dataclasses
import gzip
import lzma
import pathlib
from collections.abc import Iterable, Iterator
from typing import ClassVar

import numpy as np

from textcls.data.corpus import fingerprint
from textcls.errors import InputError
from textcls.text import Words

OPEN = {".xz": lzma.open, ".gz": gzip.open}


@dataclasses.dataclass
class Text:
    """All words of a split as numbers (N,) int32, <eos> after each line; `ids` (1,) names the text."""

    words: np.ndarray
    ids: np.ndarray

    def __len__(self) -> int:
        return len(self.words)


@dataclasses.dataclass
class LanguageCorpus:
    name: str
    description: str
    vocabulary: Words
    train: Text
    dev: Text
    test: Text | None
    labels: ClassVar[list[str]] = []  # it has no classes: what it predicts are the words of its vocabulary


def load(train: str, dev: str | float, test: str | None, vocab_size: int, vocabulary: Words | None) -> LanguageCorpus:
    """Files by commas. `dev` is a file, or the share of the training text to hold out, taken from its end. The
    vocabulary is learned from the training text unless it is given."""
    files = paths(train)
    if isinstance(dev, float) and not 0.0 < dev < 1.0:
        raise InputError(f"--dev {dev:g}: a share must lie between 0 and 1")
    if vocabulary is None:
        # With a share held out the vocabulary has seen those lines too: which words exist, and not in what order.
        vocabulary = Words.learn(lines(files), vocab_size)
    splits = {"train": vocabulary.encode(lines(files))}
    if isinstance(dev, float):
        cut = int(len(splits["train"]) * (1 - dev))
        splits["train"], splits["dev"] = splits["train"][:cut], splits["train"][cut:]
    else:
        splits["dev"] = vocabulary.encode(lines(paths(dev)))
    if test:
        splits["test"] = vocabulary.encode(lines(paths(test)))
    for name, words in splits.items():
        if len(words) < 2:
            raise InputError(f"the {name} text has {len(words)} words; at least 2 are needed")
    texts = {name: Text(words, identify(words)) for name, words in splits.items()}
    unknown = np.mean(splits["dev"] == vocabulary.tokenizer.token_to_id("<unk>"))
    description = f"{files[0].name}: vocabulary of {len(vocabulary):,} words, {unknown:.1%} of the dev words unknown"
    return LanguageCorpus(files[0].name, description, vocabulary, texts["train"], texts["dev"], texts.get("test"))


def text(path: str, vocabulary: Words) -> Text:
    """Another text in the words of a vocabulary."""
    words = vocabulary.encode(lines(paths(path)))
    if len(words) < 2:
        raise InputError(f"{path}: the text has {len(words)} words; at least 2 are needed")
    return Text(words, identify(words))


def identify(words: np.ndarray) -> np.ndarray:
    return np.array([int.from_bytes(fingerprint(words.tobytes().hex())[:8], "little")], np.uint64)


def paths(given: str) -> list[pathlib.Path]:
    found = [pathlib.Path(part) for part in given.split(",")]
    for path in found:
        if not path.is_file():
            raise InputError(f"{path}: no such file")
    return found


def lines(files: Iterable[pathlib.Path]) -> Iterator[str]:
    """The lines of all files that are not blank."""
    return (line for path in files for line in lines_of(path) if not line.isspace())


def lines_of(path: pathlib.Path) -> Iterator[str]:
    """The lines of a file, one after the other, without holding it. Errors name file and line."""
    number = 0
    try:
        with OPEN.get(path.suffix, open)(path, "rb") as file:
            for line in file:
                number += 1
                yield line.decode("utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{path}:{number}: not UTF-8") from None
    except (lzma.LZMAError, EOFError, gzip.BadGzipFile) as error:
        raise InputError(f"{path}: damaged after line {number} ({error})") from None
