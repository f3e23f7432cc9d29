"""Pretrained word vectors in the common text format."""

import numpy as np
import pytest

from textcls.pretrained import vectors
from textcls.runtime.errors import InputError
from textcls.text.division import UNBROKEN
from textcls.text.vocabulary import Vocabulary


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


@pytest.mark.parametrize("head", ["", "5 2\n", "\ufeff"])
def test_words_that_hold_blanks(tmp_path, head):
    """As GloVe 840B has them: the last fields are the numbers."""
    vocabulary = Vocabulary.learn_words([". . . at cat name@domain.com"], 100, 1, UNBROKEN)
    vocabulary.tokenizer.add_tokens([". . .", "at name@domain.com"])
    text = "cat 1 2\n. . . 3 4\nat name@domain.com 5 6\n. 7 8\n\nwhale in water 9 9\n"
    places, values = vectors.read(write(tmp_path / "v.txt", head + text), vocabulary)
    found = {vocabulary.tokenizer.id_to_token(place): row for place, row in zip(places.tolist(), values, strict=True)}
    expected = {"cat": [1, 2], ". . .": [3, 4], "at name@domain.com": [5, 6], ".": [7, 8]}
    assert {word: row.tolist() for word, row in found.items()} == expected


def test_a_size_that_is_said_leaves_numbers_to_the_words(tmp_path, vocabulary):
    places, values = vectors.read(write(tmp_path / "v.txt", "2 2\ncat 22 1 2\ndog 3 4\n"), vocabulary)
    assert [vocabulary.tokenizer.id_to_token(place) for place in places.tolist()] == ["dog"]
    assert values.tolist() == [[3, 4]]


def test_vectors_of_one_number(tmp_path, vocabulary):
    """"cat 0.5" is a word and its number; two whole numbers are how many and how long."""
    places, values = vectors.read(write(tmp_path / "v.txt", "cat 0.5\ndog 2\n"), vocabulary)
    assert values.tolist() == [[0.5], [2.0]]


@pytest.mark.parametrize("text, message", [
    ("cat 1 2\ndog 1 2 3\n", r"v.txt:2: 3 numbers, expected 2 as in the first vector"),
    ("cat 1 2\ndog 1\n", r"v.txt:2: 1 numbers, expected 2 as in the first vector"),
    ("2 3\ncat 1 2\n", r"v.txt:2: 2 numbers, expected 3 as the first line says"),
    ("cat 1 2\ndog 1 x\n", r"v.txt:2: the vector of 'dog' holds something that is no number: 'x'"),
    ("cat 1 x\n", r"v.txt:1: 'cat 1 x', expected a word and its numbers with blanks between, or how many"),
    ("cat\n", r"v.txt:1: 'cat', expected a word and its numbers"),
    ("\ncat 1 2\n", r"v.txt:1: '', expected a word and its numbers"),
    ("cat\t1\t2\n", r"v.txt:1: .*with blanks between"),
    ("3 0\ncat 1 2\n", r"v.txt:1: '3 0', expected a word and its numbers"),
    ("cat nan 2\n", r"v.txt:1: the vector of 'cat' holds nan, expected finite numbers"),
    ("dog 1 2\ncat 1 -inf\n", r"v.txt:2: the vector of 'cat' holds -inf, expected finite"),
    ("dog 1 2\ncat 1 1e99\n", r"v.txt:2: the vector of 'cat' holds 1e99, expected finite"),
    ("whale 1 2\n", "no word of the training texts has a vector"),
])  # fmt: skip
def test_bad_files_are_refused(tmp_path, vocabulary, text, message):
    with pytest.raises(InputError, match=message):
        vectors.read(write(tmp_path / "v.txt", text), vocabulary)


def test_words_with_capitals_take_the_vector_of_their_lower_case(tmp_path):
    """GloVe has words in lower case alone; where a file has both, each word has its own."""
    words = Vocabulary.learn_words(["Cat cat CAT dog Mouse"], 100, 1, UNBROKEN, lower=False)
    (tmp_path / "v.txt").write_bytes("\ufeffcat 1 2\nCat 3 4\nmouse 5 6\n\n".encode())
    places, found = vectors.read(tmp_path / "v.txt", words)
    names = [words.tokenizer.id_to_token(int(place)) for place in places]
    numbers = dict(zip(names, found.tolist(), strict=True))
    assert numbers == {"cat": [1, 2], "Cat": [3, 4], "CAT": [1, 2], "Mouse": [5, 6]}


@pytest.mark.parametrize("text, message", [
    ("3 2\ncat 1 2\ndog 3 4\n", r"v.txt: the first line says 3 vectors, the file has 2; cut short"),
    ("1 2\ncat 1 2\ndog 3 4\n", r"v.txt: the first line says 1 vectors, the file has 2"),
    ("2\ncat 1 2\n", r"v.txt:1: '2', expected a word and its numbers"),
    ("-1 2\ncat 1 2\n", r"v.txt:2: 2 numbers, expected 1 as in the first vector"),
    ("9 99999999999\ncat 1 2\n", r"v.txt:1: '9 99999999999', expected"),
    (f"{'7' * 5000} 2\ncat 1 2\n", r"v.txt:1: '7777.*…', expected"),
    (f"cat {'1' * 5000} 2\n", "holds 1111.*, expected finite"),
    ("cat 1 2\ndog 1e400 2\n", r"v.txt:2: the vector of 'dog' holds 1e400, expected finite"),
    ("cat 1_0 2\n", r"v.txt:1: 'cat 1_0 2', expected a word and its numbers"),
    ("cat 1 2\ndog 1_0 2\n", r"v.txt:2: the vector of 'dog' holds something that is no number: '1_0'"),
    ("cat 1 2\n 3 4\n 5\n", r"v.txt:3: 1 numbers, expected 2"),
    ("cat 1 2\n" + "x" * (vectors.LONGEST + 1), r"v.txt:2: a line of more than 1,048,576 characters"),
    ("\x1f\udc8bcat 1 2\n", "v.txt: compressed; unpack it before"),
    ("cat\0 1 2\n", "no word of the training texts"),
])  # fmt: skip
def test_odd_lines_are_one_line(tmp_path, vocabulary, text, message):
    (tmp_path / "v.txt").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match=message) as error:
        vectors.read(tmp_path / "v.txt", vocabulary)
    assert "\n" not in str(error.value) and len(str(error.value)) < 300


def test_words_that_are_empty_or_stand_twice_are_no_errors(tmp_path, vocabulary):
    path = write(tmp_path / "v.txt", "5 2\n 7 7\ncat 1 2\n\ncat 3 4\ndog 5 6\nwhale x y\n")
    places, values = vectors.read(path, vocabulary)
    assert values.tolist() == [[1, 2], [5, 6]] and len(places) == 2
