"""Words as characters: the ids of the published scheme, division of texts into words, one token a word."""

import numpy as np
import pytest

from textcls.runtime.errors import InputError
from textcls.text.characters import EMPTY, FIRST, TOKENS, Characters, batch_of, spell, spelled_word
from textcls.text.sequences import assemble, chunks, windows
from textcls.text.vocabulary import Vocabulary

BOW, EOW, PAD = 259, 260, 261  # with the 1 that is added everywhere


def ids_of(word: str, length: int = 50) -> list[int]:
    """As bilm-tf's UnicodeCharsVocabulary has it, by its own words: begin, bytes, end, padding; 1 added."""
    data = list(word.encode("utf-8"))[: length - 2]
    return [BOW, *(byte + 1 for byte in data), EOW] + [PAD] * (length - 2 - len(data))


@pytest.fixture
def characters():
    return Characters.make(TOKENS["words"], 50)


def words_of(pieces, i: int) -> list[str]:
    return [spelled_word(pieces.spelling[token].tolist()) for token in pieces[i]]


WORDS = ["a", "Ab", "naïve", "北京", "🙂", "x" * 47, "x" * 48, "x" * 49, "y" * 10_000, "", "\0", "ÿ" * 24, "ÿ" * 25]


@pytest.mark.parametrize("word", WORDS, ids=lambda word: f"{word[:5]!r}x{len(word)}")
def test_a_word_is_its_bytes_between_marks(word):
    assert spell([word], 50)[FIRST].tolist() == ids_of(word)
    assert spell([word], 12)[FIRST].tolist() == ids_of(word, 12)
    if len(word.encode()) <= 48:
        assert spelled_word(ids_of(word)) == word


def test_the_rows_before_the_words():
    table = spell(["a"], 50)
    assert table[0].tolist() == [0] * 50
    assert table[1].tolist() == ids_of("")
    assert table[2].tolist() == [BOW, 257, EOW] + [PAD] * 47
    assert table[3].tolist() == [BOW, 258, EOW] + [PAD] * 47
    assert table.min() >= 0 and table.max() < 262


def test_texts_are_divided_into_words_and_marks_and_keep_their_case(characters):
    pieces = characters.encode(["The naïve dog's 3.5 tails, THE end!", "the"])
    expected = ["The", "naïve", "dog", "'", "s", "3", ".", "5", "tails", ",", "THE", "end", "!"]
    assert words_of(pieces, 0) == expected and words_of(pieces, 1) == ["the"]
    blanks = Characters.make(TOKENS["blanks"], 50).encode(["do n't  <unk>\tx\ny\r\n"])
    assert words_of(blanks, 0) == ["do", "n't", "<unk>", "x", "y"]


@pytest.mark.parametrize("text", ["", "  ", "\t\u00a0\n"])
def test_a_text_without_a_word_is_one_empty_word(characters, text):
    pieces = characters.encode([text, "a"])
    assert pieces[0].tolist() == [EMPTY] and words_of(pieces, 1) == ["a"]


def test_nothing_but_empty_texts(characters):
    pieces = characters.encode(["", ""])
    assert [part.tolist() for part in pieces] == [[EMPTY], [EMPTY]] and len(pieces.spelling) == FIRST
    assert len(characters.encode([])) == 0


def test_a_lone_surrogate_is_spelled(characters):
    assert len(characters.encode(["a \ud800 b"])[0]) == 3


def test_words_given_as_words_are_one_token_each(characters):
    words = ["a b", "don't", "", "a b", "\ud800"]
    pieces = characters.encode_words(words)
    assert [len(part) for part in pieces] == [1] * 5
    assert words_of(pieces, 0) == ["a b"] and words_of(pieces, 1) == ["don't"]


def test_nothing_stands_around_a_text(characters):
    pieces = characters.encode(["one two three four five"])
    cut = assemble([pieces], characters, 3)
    assert words_of(cut.rows, 0) == ["one", "two", "three"] and cut.first.tolist() == [3] and cut.truncated == 1
    both = windows(pieces, characters, 3, 2, 9)
    assert [words_of(both.rows, i) for i in range(2)] == [["one", "two", "three"], ["three", "four", "five"]]
    chunked = chunks([["one", "a b", "three"], ["four"]], characters, 2)
    rows = [words_of(chunked.sequences.rows, i) for i in range(3)]
    assert rows == [["one", "a b"], ["three"], ["four"]] and chunked.sentences.tolist() == [0, 0, 1]
    assert [part.tolist() for part in chunked.starts] == [[0, 1], [0], [0]]


def test_the_file_of_a_run_says_it_all(characters, tmp_path):
    short = Characters.make(TOKENS["blanks"], 20)
    for made in (characters, short):
        made.save(tmp_path)
        again = Characters.from_folder(tmp_path)
        assert again.digest == made.digest and again.word_length == made.word_length
        ours, theirs = made.encode(["a b, c"]), again.encode(["a b, c"])
        assert np.array_equal(ours.spelling[ours.tokens], theirs.spelling[theirs.tokens])
    assert characters.digest != short.digest


def test_a_file_of_another_kind_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        Characters.from_folder(tmp_path)
    Vocabulary.learn(["a text of words"], 60).save(tmp_path)
    with pytest.raises(InputError, match="not a tokenizer file of a model that reads characters"):
        Characters.from_folder(tmp_path)


def test_sentences_as_a_batch():
    ids, mask = batch_of([["The", "naïve", "x" * 60], [], ["a b"]], 20)
    assert mask.tolist() == [[1, 1, 1], [0, 0, 0], [1, 0, 0]]
    assert ids[0].tolist() == [ids_of(word, 20) for word in ("The", "naïve", "x" * 60)]
    assert ids[2, 0].tolist() == ids_of("a b", 20) and not ids[1].any() and not ids[2, 1:].any()
    assert batch_of([])[0].shape == (0, 0, 50) and batch_of([[]])[0].shape == (1, 0, 50)
