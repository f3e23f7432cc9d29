"""Tagged words in CoNLL files: a word a line with its tag in some column, a blank line between sentences.

Tags mark entities in one of three schemes, which is found out from the training file and converted to BIO:
BIO (IOB2): every entity begins with B-; IOB1: B- only where an entity follows another of its type directly; BIOES (also
BILOU, BMEWO): single words and ends of entities have prefixes of their own.

Columns are divided by tabs, or by blanks in lines without one, and by no other white space; blanks at the end of a
line are no column. Lines that begin with -DOCSTART- are left out. So are, of CoNLL-U, comments before a sentence (a
line that begins with # and has no tag, or other columns than the words have) and, where words have numbers before
them, the lines of ranges (1-2) and of empty nodes (3.1).
"""

import dataclasses
import pathlib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from textcls.data.corpus import Corpus, draw, identify
from textcls.data.dealing import by_labels
from textcls.data.decoding import BLANKS, UTF8, decoded_lines, is_blank
from textcls.metrics.entities import spans
from textcls.runtime.errors import InputError

TAG = re.compile(r"O|[BIESLUMW]-.+")
DOCUMENT = "-DOCSTART-"
LONGEST_SENTENCE = 1 << 18  # characters, of a stream to be tagged: what has no blank line is not held in memory
CONLLU = re.compile(r"\d+-\d+|\d+\.\d+")  # the number of a range of words, and of an empty node
# What begins, goes on with, and ends an entity of two words or more, and what one of a single word has.
LETTERS = {"BIOES": "BIES", "BILOU": "BILU", "BMEWO": "BMEW", "BMES": "BMES", "BIEWO": "BIEW"}


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

    @property
    def items(self) -> list[list[str]]:
        """The strings by which each sentence is named."""
        return self.words

    def hold_out(self, share: float, seed: int, name: str = "dev") -> tuple["Sentences", "Sentences"]:
        """(train, dev), drawn by the seed. `name`: dev, or test."""
        return draw(self, share, seed, name, "train sentence")

    def deal(self, parts: int, seed: int, labels: list[str]) -> np.ndarray:
        """The part of each sentence, (N,) from 0, in which those with an entity of each type, and those without any, are
        spread as evenly as can be."""
        has = np.zeros((len(self), len(labels)), bool)
        for sentence, tags in zip(has, self.tags, strict=True):
            sentence[tags] = True
        begun = has[:, 1::2]  # the labels are O, then B and I of each type, and every entity begins with B
        return by_labels(begun, np.full(parts, 1 / parts), seed)


def load(
    train: str, dev: str | float, test: str | float | None, word_column: str, tag_column: str, seed: int,
    encoding: str = UTF8,
) -> Corpus:  # fmt: skip
    """`dev` and `test` are files, or the share of the training sentences to hold out, test first. Columns are positions
    from 1, or from the end: -1 is the last. The labels are O, then B-TYPE and I-TYPE of each type."""
    given, places = {"train": train, "dev": dev, "test": test}, (position(word_column), position(tag_column))
    files = {name: pathlib.Path(path) for name, path in given.items() if isinstance(path, str)}
    rows = {name: list(read(path, *places, encoding)) for name, path in files.items()}
    scheme = find_scheme([tags for _, _, tags in rows["train"]])
    labels = tag_names([tags for _, _, tags in rows["train"]])
    if len(labels) < 2:
        raise InputError(f"{train}: no entity in it: every tag is O")
    splits = {name: encode(name, part, labels) for name, part in rows.items()}
    for name, share in (("test", test), ("dev", dev)):
        if isinstance(share, float):
            splits["train"], splits[name] = splits["train"].hold_out(share, seed, name)
    name = files["train"].name
    converted = "" if scheme == "BIO" else f" in {scheme}, converted to BIO"
    description, facts = f"{name}: {len(labels) // 2} types of entities{converted}", {"scheme": scheme}
    return Corpus(name, description, labels, splits["train"], splits["dev"], splits.get("test"), facts=facts)


def labels(train: str, word_column: str, tag_column: str, encoding: str = UTF8) -> list[str]:
    """The tags of a training file."""
    places = position(word_column), position(tag_column)
    return tag_names([tags for _, _, tags in read(pathlib.Path(train), *places, encoding)])


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


def read(path: pathlib.Path, word: int, tag: int, encoding: str = UTF8) -> Iterator[tuple[str, list[str], list[str]]]:
    """(FILE:LINE of its first word, words, tags) of every sentence."""
    if not path.is_file():
        raise InputError(f"{path}: {'a folder, and no CoNLL file' if path.is_dir() else 'no such file'}")
    empty = True
    for lines in sentences(decoded_lines(path, encoding), str(path), word, tag):
        lines = [line for line in lines if line.word is not None]
        tags = [pick(line.columns, tag, line.where) for line in lines]
        for line, name in zip(lines, tags, strict=True):
            if not TAG.fullmatch(name):
                raise InputError(
                    f"{line.where}: tag {name!r} is neither O nor a prefix with a type, such as B-PER or I-PER"
                )
        if lines:
            empty = False
            yield lines[0].where, [line.word for line in lines], tags
    if empty:
        raise InputError(f"{path}: the file holds no sentence")


# ---- lines ----------------------------------------------------------------------------------------------------------


class Line(NamedTuple):
    """A line without its end and the blanks before it; `word` is None where it is none: a blank line, the beginning of
    a document, a comment, or one of CoNLL-U's ranges and empty nodes."""

    where: str
    text: str
    columns: list[str]
    word: str | None = None

    def column(self, tag: str | None) -> str:
        """What stands in one more column: the tag of its word, or what keeps the columns of other lines in step."""
        if not self.text or self.text.startswith("#") and self.word is None:
            return ""
        filler = "O" if self.text.startswith(DOCUMENT) else "_"
        return separator(self.text) + (tag if self.word is not None else filler)


def sentences(lines: Iterable[str], name: str, word: int, tag: int) -> Iterator[list[Line]]:
    """The lines of each sentence with their words. `name` is what errors call the file; `tag` tells a token # from a
    comment."""
    for block, width in blocks(lines, name):
        yield with_words(block, width, word, tag)


def blocks(
    lines: Iterable[str], name: str, longest: float = float("inf")
) -> Iterator[tuple[list[Line], int | None]]:
    """(the lines of each sentence with what ends it, columns of the sentence before), before words are looked for. A
    blank line ends a sentence, or the beginning of a document, or that it has `longest` characters."""
    block, width, size = [], None, 0
    for number, text in enumerate(lines, 1):
        text = text.rstrip(f"{BLANKS}\r\n")
        if "\r" in text:
            raise InputError(f"{name}:{number}: lines end with CR alone; convert the file (tr '\\r' '\\n' < OLD > NEW)")
        block.append(Line(f"{name}:{number}", text, split(text)))
        size += len(text) + 1
        if is_boundary(text) or size >= longest:
            yield block, width
            width = next((len(line.columns) for line in block if is_ordinary(line)), width)
            block, size = [], 0
    if block:
        yield block, width


def with_words(block: list[Line], width: int | None, word: int, tag: int) -> list[Line]:
    """The lines of a sentence with their words. `width`: columns of the sentence before, if there was one."""
    ordinary = next((line.columns for line in block if is_ordinary(line)), None)
    tagged = ordinary is None or has_tag(ordinary, tag)
    width = len(ordinary) if ordinary else width
    numbered = any(line.columns[:1] and line.columns[0].isdecimal() for line in block)
    result, first = [], True
    for line in block:
        first = first and line.text.startswith("#") and is_comment(line.columns, width, tag, tagged)
        other = word != 0 and numbered and line.columns and CONLLU.fullmatch(line.columns[0])
        if first or other or is_boundary(line.text):
            result.append(line)
        else:
            result.append(line._replace(word=pick(line.columns, word, line.where)))
    return result


def is_ordinary(line: Line) -> bool:
    return not is_boundary(line.text) and not line.text.startswith("#")


def is_comment(columns: list[str], width: int | None, tag: int, tagged: bool) -> bool:
    """Whether a line that begins with # before a sentence is about it, and not its first word: it has other columns
    than the words have (`width`, where that is known), or no tag where they have one."""
    if width is not None and len(columns) != width:
        return True
    if tagged and len(columns) > 1:
        return not has_tag(columns, tag)
    return False


def has_tag(columns: list[str], tag: int) -> bool:
    return -len(columns) <= tag < len(columns) and TAG.fullmatch(columns[tag]) is not None


def split(line: str) -> list[str]:
    """The columns of a line, none where it is blank: what stands between tabs, or, where there is none, between blanks.
    Other white space (a no-break space) is part of a column."""
    line = line.rstrip(f"{BLANKS}\r\n")
    if "\t" in line.lstrip(" "):
        return [column.strip(BLANKS) for column in line.split("\t")]
    return [column for column in line.split(" ") if column]


def is_boundary(line: str) -> bool:
    """Whether the line ends a sentence: blank, or the beginning of a document."""
    return is_blank(line) or line.startswith(DOCUMENT)


def separator(line: str) -> str:
    """What stands between the columns of this line."""
    return "\t" if "\t" in line or " " not in line.strip(BLANKS) else " "


def pick(columns: list[str], place: int, where: str) -> str:
    try:
        column = columns[place]
    except IndexError:
        raise InputError(
            f"{where}: column {place + 1 if place >= 0 else place} is wanted, the line has {len(columns)} "
            "(choose with --text-column and --label-column)"
        ) from None
    if not column:
        raise InputError(f"{where}: column {place + 1 if place >= 0 else place} is empty")
    return column


# ---- tags -----------------------------------------------------------------------------------------------------------


def find_scheme(sentences: Sequence[Sequence[str]]) -> str:
    """BIOES, or what it is called with other letters, where other prefixes than B and I occur; BIO where no entity
    begins with I, else IOB1."""
    prefixes = {tag[0] for tags in sentences for tag in tags if tag != "O"}
    if prefixes & set("ESLUMW"):
        return next((name for name, letters in LETTERS.items() if prefixes <= set(letters)), "BIOES")
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


def from_bio(tags: Sequence[str], scheme: str) -> list[str]:
    """The entities of tags in BIO as another scheme writes them, one that :func:`find_scheme` names."""
    if scheme == "BIO":
        return list(tags)
    result, before = ["O"] * len(tags), None
    for start, end, name in spans(tags):
        if scheme == "IOB1":
            result[start:end] = [f"I-{name}"] * (end - start)
            result[start] = f"{'B' if before == (start, name) else 'I'}-{name}"
            before = end, name
        else:
            begin, inside, last, single = LETTERS[scheme]
            prefixes = [single] if end - start == 1 else [begin, *inside * (end - start - 2), last]
            result[start:end] = [f"{prefix}-{name}" for prefix in prefixes]
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
