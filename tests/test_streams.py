"""Texts for a model that reads lines both ways: against lists built line by line."""

import numpy as np
import pytest

from textcls.runtime.errors import InputError
from textcls.tasks.streams import SpelledStreams, SpelledText
from textcls.text.characters import TOKENS, spelled_word
from textcls.text.vocabulary import Words

LINES = ["the ship saw Turin\n", "ada\r\n", "The end , of it all\n", "ship ship ship unseen"]


@pytest.fixture(params=TOKENS.values(), ids=TOKENS)
def vocabulary(request):
    vocabulary = Words.learn(LINES[:3], 100, request.param)
    vocabulary.word_length = 20
    return vocabulary


@pytest.fixture
def text(vocabulary):
    return SpelledText.read(LINES, vocabulary, "the text")


def expected(vocabulary, backward: bool) -> tuple[list[str], list[int]]:
    """(what is read, what is predicted), line by line."""
    read, predicted = [], []
    for line in LINES:
        words = line.split()[:: -1 if backward else 1]
        read += ["</S>" if backward else "<S>", *words, "<S>" if backward else "</S>"]
        numbers = [vocabulary.tokenizer.token_to_id(word) for word in words]
        predicted += [*(vocabulary.unk if n is None else n for n in numbers), vocabulary.eos, -100]
    return read, predicted


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_each_direction_predicts_its_own_next_word(text, vocabulary, direction):
    rows, targets = text.both_ways()[direction]
    read, predicted = expected(vocabulary, direction == "backward")
    assert [spelled_word(text.rows.spelling[row].tolist()) for row in rows] == read
    assert targets.tolist() == predicted


def test_words_are_those_of_a_text_that_is_not_spelled(text, vocabulary):
    assert text.words.tolist() == vocabulary.encode(LINES).tolist() and len(text) == len(text.words)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.7])
def test_a_share_is_cut_off_between_two_lines(text, share):
    first, second = text.cut(share, "the train text", "the dev text")
    assert [*first.words, *second.words] == text.words.tolist()
    assert len(first.rows) + len(second.rows) == 4
    for part in (first, second):
        assert part.rows.offsets[0] == 0 and part.rows.offsets[-1] == len(part.rows.tokens)
    assert first.ids != second.ids


def test_the_smallest_share_is_a_line(text):
    assert len(text.cut(1e-9, "the train text", "the dev text")[1].rows) == 1


def test_one_line_is_not_divided(vocabulary):
    line = SpelledText.read(LINES[:1], vocabulary, "the text")
    with pytest.raises(InputError, match="one line, which cannot be divided; give the dev text in a file of its own"):
        line.cut(0.5, "the train text", "the dev text")


@pytest.mark.parametrize("batch_size, window", [(1, 4), (2, 3), (3, 100)])
def test_streams_read_everything_in_order(text, batch_size, window):
    streams = SpelledStreams(text, batch_size, window)
    batches = [streams.collate(numbers) for numbers in streams.order(0)]
    length = len(text.rows.tokens) // batch_size
    for name, key in (("forward", "ids"), ("backward", "backward")):
        rows, targets = text.both_ways()[name]
        read = np.concatenate([batch.inputs[key].numpy() for batch in batches], 1)  # (B, T, K)
        assert np.array_equal(read, text.rows.spelling[rows[: batch_size * length]].reshape(batch_size, length, -1))
        predicted = np.concatenate([batch.targets[name].numpy() for batch in batches], 1)
        assert predicted.flatten().tolist() == targets[: batch_size * length].tolist()
        assert sum(batch.counts[name] for batch in batches) == (predicted >= 0).sum()


def test_processes_take_streams_that_are_their_own(text):
    streams = SpelledStreams(text, 4, 3)
    whole = streams.collate(streams.order(0)[1])
    for rank in range(2):
        part = streams.collate(streams.order(0)[1][rank::2])
        for name in whole.inputs:
            assert (part.inputs[name] == whole.inputs[name][rank::2]).all()


def test_the_same_text_has_the_same_name_and_another_has_another(vocabulary, text):
    assert SpelledText.read(LINES, vocabulary, "x").ids == text.ids
    assert SpelledText.read([LINES[0], "adb", *LINES[2:]], vocabulary, "x").ids != text.ids
