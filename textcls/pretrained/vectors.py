"""Pretrained word vectors in the common text format: a word and its numbers a line (GloVe), with or without a first
line that says how many there are and how long (word2vec, fastText). A word may hold blanks, as ". . ." does in GloVe:
the last fields are the numbers, as many as the first line has or says."""

import functools
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from textcls.runtime import files
from textcls.runtime.errors import InputError
from textcls.text.vocabulary import SPECIAL, Vocabulary

LONGEST = 1 << 20  # characters of a line
LARGEST_SIZE = 1 << 16  # numbers of a vector
PACKED = (b"\x1f\x8b", b"BZh", b"\xfd7z", b"PK\x03")  # how compressed files begin


def read(path: pathlib.Path, vocabulary: Vocabulary) -> tuple[torch.Tensor, torch.Tensor]:
    """(places in the vocabulary (n,), their vectors (n, H)) of the words that have one; of a word that stands there
    twice the first. A word with capitals that the file has in lower case alone, as GloVe does, takes that vector. Raises
    InputError for a line of another length, for what is no finite number, where the first line says another count than
    there are, and where no word of the vocabulary has a vector."""
    if not path.is_file():
        raise InputError(f"--vectors {path}: no such file")
    exact: dict[int, np.ndarray] = {}
    lowered: dict[int, np.ndarray] = {}
    with_capitals, size, said, count = capitals(vocabulary), 0, None, 0
    for number, line in enumerate(lines_of(path), 1):
        where = f"{path}:{number}"
        fields = fields_of(line)
        if number == 1:
            size, said = first_line(fields, where)
            if said is not None:
                continue
        if not line.strip():
            continue
        count += 1
        word, values = split(fields, size, said is not None, where)
        place, others = vocabulary.tokenizer.token_to_id(word), with_capitals.get(word, ())
        if place is None and not others:
            continue
        vector = numbers_of(values, word, where)
        if place is not None:
            exact.setdefault(place, vector)
        for other in others:
            lowered.setdefault(other, vector)
    if said not in (None, count):
        raise InputError(f"{path}: the first line says {said:,} vectors, the file has {count:,}; cut short, or mend it")
    places = lowered | exact
    if not places:
        raise InputError(f"{path}: no word of the training texts has a vector there")
    return torch.tensor(list(places)), torch.from_numpy(np.stack(list(places.values())))


def lines_of(path: pathlib.Path) -> Iterator[str]:
    """The lines of a file, which end with LF, CR LF or CR; what is no UTF-8 is replaced. Raises InputError for a line
    that is too long, and where the file is compressed."""
    with open(path, "rb") as file:
        if file.read(3).startswith(PACKED):
            raise InputError(f"--vectors {path}: compressed; unpack it before")
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        for number, line in enumerate(iter(functools.partial(file.readline, LONGEST + 1), ""), 1):
            if len(line) > LONGEST:
                raise InputError(f"{path}:{number}: a line of more than {LONGEST:,} characters, and no vector")
            yield line


def write(path: pathlib.Path, names: Sequence[str], vectors: torch.Tensor) -> None:
    """Vectors (n, H) of n words as :func:`read` reads them, how many and how long in the first line."""
    with files.replacing(path) as file:
        file.write(f"{len(names)} {vectors.shape[1]}\n".encode())
        for name, row in zip(names, vectors.tolist(), strict=True):
            file.write(f"{name} {' '.join(f'{value:.5g}' for value in row)}\n".encode())


def fields_of(line: str) -> list[str]:
    """What stands between blanks. The first field is the beginning of the word, though it be empty."""
    first, *rest = line.rstrip().split(" ")
    return [first, *filter(None, rest)]


def first_line(fields: list[str], where: str) -> tuple[int, int | None]:
    """(how many numbers a vector has, how many vectors there are where the first line says so and is none itself)."""
    sizes = len(fields) == 2 and all(field.isdecimal() for field in fields)
    if sizes and max(map(len, fields)) < 19 and 0 < int(fields[1]) <= LARGEST_SIZE:
        return int(fields[1]), int(fields[0])
    if not sizes and len(fields) > 1 and all(map(is_number, fields[1:])):
        return len(fields) - 1, None
    line = " ".join(fields)
    shown = line if len(line) <= 60 else line[:60] + "…"
    raise InputError(
        f"{where}: {shown!r}, expected a word and its numbers with blanks between, or how many words there are and how "
        "long their vectors"
    )


def split(fields: list[str], size: int, said: bool, where: str) -> tuple[str, list[str]]:
    """The word, and the fields of its `size` numbers. Where the size is taken from a vector, a number before them is
    one too many rather than a part of the word."""
    word, values = fields[:-size], fields[-size:]
    if not word or (not said and len(word) > 1 and is_number(word[-1])):
        expected = "as the first line says" if said else "as in the first vector"
        raise InputError(f"{where}: {len(fields) - 1} numbers, expected {size} {expected}")
    return " ".join(word), values


def numbers_of(values: list[str], word: str, where: str) -> np.ndarray:
    """(H,) float32."""
    for value in values:
        if not is_number(value):
            raise InputError(f"{where}: the vector of {word[:40]!r} holds something that is no number: {value[:40]!r}")
    with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and refused
        numbers = np.array(values, np.float64).astype(np.float32)
    if not np.isfinite(numbers).all():
        value = values[int(np.flatnonzero(~np.isfinite(numbers))[0])]
        raise InputError(f"{where}: the vector of {word[:40]!r} holds {value[:40]}, expected finite numbers")
    return numbers


def is_number(field: str) -> bool:
    try:
        float(field)
        return "_" not in field  # Python reads 1_5 as 15
    except ValueError:
        return False


def capitals(vocabulary: Vocabulary) -> dict[str, list[int]]:
    """{word in lower case: places of the words that are it but for their capitals}."""
    result: dict[str, list[int]] = {}
    for word, place in vocabulary.tokenizer.get_vocab().items():
        if word != word.lower() and word not in SPECIAL:
            result.setdefault(word.lower(), []).append(place)
    return result
