"""Tagged words in CoNLL files: a word a line with its tag in some column, a blank line between sentences.

Tags mark entities in one of three schemes, which is found out from the training file and converted to BIO:
BIO (IOB2): every entity begins with B-; IOB1: B- only where an entity follows another of its type directly; BIOES (also
BILOU, BMEWO): single words and ends of entities have prefixes of their own.
"""

import dataclasses
import pathlib
import re
from collections.abc import Iterator, Sequence

import numpy as np

from textcls.data.corpus import Corpus, check_share, identify
from textcls.data.tabular import decoded_lines
from textcls.metrics.entities import spans
from textcls.runtime.errors import InputError

TAG = re.compile(r"O|[BIESLUMW]-.+")


@dataclasses.dataclass
class Sentences:
    """N sentences: `words[i]` are strings, `tags[i]` numbers of tags (int64) of the same count. `ids` name the
    sentences by the pool they were read from, their place there and their words."""

    words: list[list[str]]
    tags: list[np.ndarray]
    ids: np.ndarray

    def __len__(self) -> int:
        return len(self.words)

    def answers(self, labels: list[str]) -> list[str]:
        """The tags of every sentence."""
        return [" ".join(labels[tag] for tag in tags) for tags in self.tags]

    def take(self, rows: np.ndarray) -> "Sentences":
        return Sentences([self.words[i] for i in rows], [self.tags[i] for i in rows], self.ids[rows])


def load(train: str, dev: str | float, test: str | None, word_column: str, tag_column: str, seed: int) -> Corpus:
    """`dev` is a file, or the share of the training sentences to hold out. Columns are positions from 1, or from the
    end: -1 is the last. The labels are O, then B-TYPE and I-TYPE of each type."""
    given = {"train": train, "dev": dev, "test": test}
    files = {name: pathlib.Path(path) for name, path in given.items() if isinstance(path, str)}
    rows = {name: list(read(path, position(word_column), position(tag_column))) for name, path in files.items()}
    scheme = find_scheme([tags for _, _, tags in rows["train"]])
    labels = tag_names([tags for _, _, tags in rows["train"]])
    if len(labels) < 2:
        raise InputError(f"{train}: no entity in it: every tag is O")
    splits = {name: encode(name, part, labels) for name, part in rows.items()}
    if isinstance(dev, float):
        splits["train"], splits["dev"] = hold_out(splits["train"], dev, seed)
    name = files["train"].name
    converted = "" if scheme == "BIO" else f" in {scheme}, converted to BIO"
    description = f"{name}: {len(labels) // 2} types of entities{converted}"
    return Corpus(name, description, labels, splits["train"], splits["dev"], splits.get("test"))


def labels(train: str, word_column: str, tag_column: str) -> list[str]:
    """The tags of a training file."""
    return tag_names([tags for _, _, tags in read(pathlib.Path(train), position(word_column), position(tag_column))])


def position(column: str) -> int:
    try:
        place = int(column)
    except ValueError:
        place = 0
    if place == 0:
        raise InputError(
            f"column {column!r}: CoNLL files have no column names; give its place from 1, or -1 for the last"
        )
    return place - 1 if place > 0 else place


def read(path: pathlib.Path, word: int, tag: int | None) -> Iterator[tuple[str, list[str], list[str]]]:
    """(FILE:LINE of its first word, words, tags) of every sentence; without tags where `tag` is None. Columns are
    separated by tabs, or by white space in lines without one. Lines that begin with -DOCSTART- are left out."""
    if not path.exists():
        raise InputError(f"{path}: no such file")
    where, words, tags = "", [], []
    for number, line in enumerate(decoded_lines(path), 1):
        columns = split(line)
        if is_boundary(line):
            if words:
                yield where, words, tags
            words, tags = [], []
            continue
        where = where if words else f"{path}:{number}"
        words.append(pick(columns, word, f"{path}:{number}"))
        if tag is not None:
            tags.append(pick(columns, tag, f"{path}:{number}"))
            if not TAG.fullmatch(tags[-1]):
                raise InputError(
                    f"{path}:{number}: tag {tags[-1]!r} is neither O nor a prefix with a type, such as B-PER or I-PER"
                )
    if words:
        yield where, words, tags
    if not where:
        raise InputError(f"{path}: the file holds no sentence")


def split(line: str) -> list[str]:
    """The columns of a line, none where it is blank."""
    line = line.rstrip("\r\n")
    if not line.strip():
        return []
    return line.split("\t") if "\t" in line else line.split()


def is_boundary(line: str) -> bool:
    """Whether the line ends a sentence: blank, or the beginning of a document."""
    return not line.strip() or line.startswith("-DOCSTART-")


def separator(line: str) -> str:
    """What stands between the columns of this line."""
    return "\t" if "\t" in line or " " not in line.strip() else " "


def pick(columns: list[str], place: int, where: str) -> str:
    try:
        return columns[place]
    except IndexError:
        raise InputError(
            f"{where}: column {place + 1 if place >= 0 else place} is wanted, the line has {len(columns)} "
            "(choose with --text-column and --label-column)"
        ) from None


def find_scheme(sentences: Sequence[Sequence[str]]) -> str:
    """BIOES where other prefixes than B and I occur, BIO where no entity begins with I, else IOB1."""
    if any(tag[0] in "ESLUMW" for tags in sentences for tag in tags):
        return "BIOES"
    for tags in sentences:
        for before, tag in zip(["O", *tags], tags, strict=False):
            if tag[0] == "I" and (before == "O" or before[2:] != tag[2:]):
                return "IOB1"
    return "BIO"


def tag_names(sentences: Sequence[Sequence[str]]) -> list[str]:
    types = sorted({tag[2:] for tags in sentences for tag in tags if tag != "O"})
    return ["O", *(f"{prefix}-{name}" for name in types for prefix in "BI")]


def to_bio(tags: Sequence[str]) -> list[str]:
    """The same entities in BIO, whichever of the schemes they come in."""
    result = ["O"] * len(tags)
    for start, end, name in spans(tags):
        result[start:end] = [f"B-{name}"] + [f"I-{name}"] * (end - start - 1)
    return result


def encode(pool: str, rows: list[tuple[str, list[str], list[str]]], labels: list[str]) -> Sentences:
    numbers = {name: i for i, name in enumerate(labels)}
    for where, _, tags in rows:
        for offset, tag in enumerate(tags):
            if tag != "O" and f"B-{tag[2:]}" not in numbers:
                types = ", ".join(sorted({name[2:] for name in labels[1:]}))
                raise InputError(
                    f"{where}: word {offset + 1} of the sentence has tag {tag!r}, a type that does not occur in the "
                    f"training data; its types: {types}"
                )
    tags = [np.array([numbers[tag] for tag in to_bio(tags)], np.int64) for _, _, tags in rows]
    words = [words for _, words, _ in rows]
    return Sentences(words, tags, identify(pool, words))


def hold_out(pool: Sentences, share: float, seed: int) -> tuple[Sentences, Sentences]:
    """(train, dev): `share` of the sentences, drawn by `seed`, goes to dev."""
    check_share(share)
    count = round(share * len(pool))
    if not 0 < count < len(pool):
        raise InputError(f"--dev {share:g} of {len(pool)} sentences leaves no dev or no train sentence")
    order = np.random.default_rng(seed).permutation(len(pool))
    return pool.take(np.sort(order[count:])), pool.take(np.sort(order[:count]))
