"""From word pieces to the sequences that models read: cutting, pairs, windows, sentences in rows."""

import itertools

import numpy as np
import pytest

from textcls.tasks.documents import not_known
from textcls.text.division import UNBROKEN, WORD
from textcls.text.pieces import Pieces
from textcls.text.sequences import assemble, chunks, cut, share_room, windows
from textcls.text.vocabulary import SPECIAL, Vocabulary


def test_join_keeps_the_texts_apart():
    pieces = Pieces.join([[1, 2], [], [3]])
    assert len(pieces) == 3 and pieces.lengths.tolist() == [2, 0, 1]
    assert [text.tolist() for text in pieces] == [[1, 2], [], [3]]
    assert len(Pieces.join([])) == 0


def longest_first(a: int, b: int, room: int) -> list[int]:
    """Take one token at a time from the longer text (the second where equal): the slow definition."""
    while a + b > room:
        if a > b:
            a -= 1
        else:
            b -= 1
    return [a, b]


def test_pairs_share_the_room_as_longest_first_does():
    for a, b, room in itertools.product(range(9), range(9), range(2, 14)):
        assert share_room([a, b], room) == longest_first(a, b, room), (a, b, room)


@pytest.mark.parametrize(
    "truncate, expected", [("head", [0, 1, 2, 3, 4]), ("tail", [5, 6, 7, 8, 9]), ("headtail", [0, 1, 2, 8, 9])]
)
def test_cut(truncate, expected):
    assert cut(np.arange(10), 5, truncate) == expected
    assert cut(np.arange(3), 5, truncate) == [0, 1, 2]


def test_assemble():
    vocabulary = Vocabulary.from_vocab({piece: number for number, piece in enumerate(SPECIAL)})
    a, b = Pieces.join([[10, 11], [12] * 9, []]), Pieces.join([[20], [21] * 9, [22]])
    cls, sep = vocabulary.cls, vocabulary.sep
    single = assemble([a], vocabulary, 8)
    assert [single.rows[i].tolist() for i in range(3)] == [[cls, 10, 11, sep], [cls, *[12] * 6, sep], [cls, sep]]
    assert single.truncated == 1
    pairs = assemble([a, b], vocabulary, 10)
    assert pairs.rows[1].tolist() == [cls, *[12] * 4, sep, *[21] * 3, sep]
    assert pairs.first.tolist() == [4, 6, 2]
    assert pairs.rows[2].tolist() == [cls, sep, 22, sep]


# ---- windows --------------------------------------------------------------------------------------------------------

LENGTHS = (1, 0, 40, 6, 7, 19)


def in_windows():
    """(texts of LENGTHS words, the same in windows)."""
    words = [f"word{i}" for i in range(40)]
    vocabulary = Vocabulary.learn_words([" ".join(words)], 100, 1, WORD)
    texts = vocabulary.encode([" ".join(words[:n]) for n in LENGTHS])
    return texts, windows(texts, vocabulary, max_length=8, stride=3, most=5)


def test_windows_cover_a_text_up_to_the_most():
    texts, sequences = in_windows()
    for number, text in enumerate(texts):
        rows = [sequences.rows[row][1:-1] for row in np.flatnonzero(sequences.documents == number)]
        assert len(rows) <= 5 and all(len(row) <= 6 for row in rows)
        starts = [0, 3, 6, 9, 12][: len(rows)]
        if len(text) <= 18:
            starts[-1] = max(0, len(text) - 6)  # the last window ends with the text
            assert set(np.concatenate(rows)) == set(text)
        for start, row in zip(starts, rows, strict=True):
            assert row.tolist() == text[start : start + 6].tolist()
    assert sequences.truncated == 2


# ---- tagged words ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_length", [8, 9, 16, 128])
def test_long_sentences_are_split_between_words_and_nothing_is_lost(max_length):
    random = np.random.default_rng(0)
    words = [f"w{i}" for i in range(12)]
    vocabulary = Vocabulary.learn_words([" ".join(words)], 100, 1, UNBROKEN)
    sentences = [list(random.choice(words, n)) for n in (1, 30, 7, 6, 13)]
    made = chunks(sentences, vocabulary, max_length)
    rows, starts = made.sequences.rows, made.starts
    assert max(rows.lengths) <= max_length
    for number, sentence in enumerate(sentences):
        found = []
        for row in np.flatnonzero(made.sentences == number):
            assert rows[row][0] == vocabulary.cls and rows[row][-1] == vocabulary.sep
            found += [vocabulary.tokenizer.id_to_token(rows[row][start]) for start in starts[row]]
        assert found == sentence


def test_a_word_of_many_pieces_is_tagged_once_and_an_empty_one_too():
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "##b", "c"]
    vocabulary = Vocabulary.from_vocab({piece: i for i, piece in enumerate(pieces)})
    made = chunks([["abbb", "\u200b", "c", "abbbbbbbbbbbb"]], vocabulary, 8)
    first, second = ([vocabulary.tokenizer.id_to_token(i) for i in made.sequences.rows[row]] for row in range(2))
    assert first == ["[CLS]", "a", "##b", "##b", "##b", "[UNK]", "c", "[SEP]"]
    assert made.starts[0].tolist() == [1, 5, 6]
    assert second == ["[CLS]", "a", *["##b"] * 5, "[SEP]"]
    assert made.starts[1].tolist() == [1] and made.sentences.tolist() == [0, 0]


@pytest.mark.parametrize("texts, said", [
    (["a b", "c a"], ""),
    (["a x", "y c"], ""),  # half of the tokens
    (["a x", "y z"], "; 75.0% of their tokens are unknown: is the vocabulary theirs?"),
    (["", " "], "; none of them has a token: is the vocabulary theirs?"),
])  # fmt: skip
def test_a_vocabulary_that_does_not_know_the_texts_is_said(texts, said):
    vocabulary = Vocabulary.learn_words(["a b c"] * 2, 20, 1, WORD)
    rows = assemble([vocabulary.encode(texts)], vocabulary, 8).rows
    assert not_known(rows, vocabulary) == said
