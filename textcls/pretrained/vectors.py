"""Pretrained word vectors in the common text format: a word and its numbers a line (GloVe), with or without a first
line that says how many there are and how long (word2vec, fastText)."""

import pathlib

import numpy as np
import torch

from textcls.runtime.errors import InputError
from textcls.text.vocabulary import Vocabulary


def read(path: pathlib.Path, vocabulary: Vocabulary) -> tuple[torch.Tensor, torch.Tensor]:
    """(places in the vocabulary (n,), their vectors (n, H)) of the words that have one. Raises InputError for a line
    of another length, for what is no number, and where no word of the vocabulary has a vector."""
    if not path.is_file():
        raise InputError(f"--vectors {path}: no such file")
    places: dict[int, np.ndarray] = {}
    size = None
    with open(path, encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, 1):
            word, *values = line.rstrip().split(" ")
            if number == 1 and len(values) == 1:
                continue  # how many, how long
            size = len(values) if size is None else size
            if len(values) != size:
                raise InputError(f"{path}:{number}: {len(values)} numbers, expected {size} as in the first vector")
            place = vocabulary.tokenizer.token_to_id(word)
            if place is None or place in places:
                continue
            try:
                places[place] = np.array(values, np.float32)
            except ValueError:
                raise InputError(f"{path}:{number}: the vector of {word!r} holds something that is no number") from None
    if not places:
        raise InputError(f"{path}: no word of the training texts has a vector there")
    return torch.tensor(list(places)), torch.from_numpy(np.stack(list(places.values())))
