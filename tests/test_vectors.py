"""Pretrained word vectors in the common text format."""

import numpy as np
import pytest

from textcls.pretrained import vectors
from textcls.runtime.errors import InputError
from textcls.text.vocabulary import UNBROKEN, Vocabulary


@pytest.fixture
def vocabulary():
    return Vocabulary.learn_words(["cat dog mouse"], 100, 1, UNBROKEN)


def write(path, text):
    path.write_text(text, "utf-8")
    return path


@pytest.mark.parametrize("head", ["", "4 2\n"])
def test_words_of_the_vocabulary_are_read(tmp_path, vocabulary, head):
    path = write(tmp_path / "v.txt", head + "cat 1 2\nwhale 3 4\ndog -0.5 1e-3\ncat 9 9\n")
    places, values = vectors.read(path, vocabulary)
    found = {vocabulary.tokenizer.id_to_token(place): row for place, row in zip(places.tolist(), values, strict=True)}
    assert set(found) == {"cat", "dog"}
    assert np.allclose(found["cat"], [1, 2]) and np.allclose(found["dog"], [-0.5, 1e-3])


@pytest.mark.parametrize("text, message", [
    ("cat 1 2\ndog 1 2 3\n", r"v.txt:2: 3 numbers, expected 2"),
    ("cat 1 x\n", r"v.txt:1: the vector of 'cat' holds something that is no number"),
    ("whale 1 2\n", "no word of the training texts has a vector"),
])  # fmt: skip
def test_bad_files_are_refused(tmp_path, vocabulary, text, message):
    with pytest.raises(InputError, match=message):
        vectors.read(write(tmp_path / "v.txt", text), vocabulary)
