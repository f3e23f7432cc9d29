"""Answers over all windows of a question against a search through every pair of tokens."""

import math
import random

import numpy as np
import pytest

from textcls.text import spans
from textcls.text.passages import Placed, windows
from textcls.text.pieces import Pieces
from textcls.text.spans import BEST, LONGEST_ANSWER, Answer, Candidates, candidates, decode


class Marks:
    """The tokens around a text, as a vocabulary has them."""

    begin, between, end = (1,), (2,), (2,)


def passage(rng: random.Random, count: int) -> tuple[str, list[int], list[int]]:
    """A text of so many one-letter words, its pieces' beginnings and ends; the same letters come again and again."""
    words = [rng.choice("abcdé") for _ in range(count)]
    return " ".join(words), [2 * i for i in range(count)], [2 * i + 1 for i in range(count)]


def questions(seed: int, lengths: list[int], max_length: int = 40, stride: int = 7):
    """(windows, passages, placed, logits of each window, float32 (T, 2))."""
    rng, random_ = random.Random(seed), np.random.default_rng(seed)
    texts, starts, ends = zip(*(passage(rng, length) for length in lengths), strict=True)
    pieces = Pieces.join([[5] * length for length in lengths])
    placed = Placed(pieces, np.concatenate([*map(np.int32, starts)]), np.concatenate([*map(np.int32, ends)]))
    asked = Pieces.join([[7] * rng.randrange(0, 9) for _ in lengths])
    rows = windows(asked, pieces, range(len(lengths)), Marks, max_length, stride)
    logits = [random_.normal(size=(length, 2)).astype(np.float32) for length in rows.sequences.rows.lengths]
    return rows, texts, placed, logits


def found_in(rows, logits, order: list[np.ndarray]) -> Candidates:
    """The candidates of windows in batches, padded with numbers that no one may read."""
    parts, best = [], Pieces(rows.best, rows.sequences.rows.offsets)
    for chosen in order:
        lengths = rows.sequences.rows.lengths[chosen]
        padded = np.full((len(chosen), lengths.max(), 2), 1e6, np.float32)
        mask = np.ones((len(chosen), lengths.max()), bool)
        for i, w in enumerate(chosen):
            padded[i, : lengths[i]], mask[i, : lengths[i]] = logits[w], best[w]
        parts.append(candidates(padded, rows.sequences.first[chosen], lengths, mask))
    return Candidates.join(parts, order)


def brute_force(rows, texts, logits, number: int) -> list[tuple[float, str, int, int]]:
    """(score, text, begin, end) of all answers to a question, best first: every pair of tokens of every window, of
    which the first must be among the window's 20 best beginnings, and the second among its 20 best ends."""
    every, best = [], Pieces(rows.best, rows.sequences.rows.offsets)
    for w in np.flatnonzero(rows.questions == number):
        first, length = rows.sequences.first[w], len(logits[w])
        starts = sorted((t for t in range(first, length - 1) if best[w][t]), key=lambda t: -logits[w][t, 0])[:BEST]
        ends = sorted(range(first, length - 1), key=lambda t: -logits[w][t, 1])[:BEST]
        for a in range(length):
            for b in range(length):
                if a in starts and b in ends and a <= b < a + LONGEST_ANSWER:
                    begin, end = 2 * (rows.starts[w] + a - first), 2 * (rows.starts[w] + b - first) + 1
                    score = float(logits[w][a, 0]) + float(logits[w][b, 1])
                    every.append((score, texts[number][begin:end], int(begin), int(end)))
    answers = []
    for answer in sorted(every, key=lambda answer: (-answer[0], answer[2], answer[3])):
        if answer[1] not in {text for _, text, _, _ in answers}:
            answers.append(answer)
    return answers[:BEST]


@pytest.mark.parametrize("seed", range(6))
def test_answers_are_those_of_a_search_through_everything(seed, monkeypatch):
    monkeypatch.setattr(spans, "BLOCK", 2)  # several blocks of questions
    lengths = [60, 3, 1, 33, 100]
    rows, texts, placed, logits = questions(seed, lengths)
    order = np.array_split(np.random.default_rng(seed).permutation(len(logits)), 4)
    answers = decode(found_in(rows, logits, order), rows, placed, texts)
    assert len(answers) == len(lengths)
    for number, ours in enumerate(answers):
        theirs = brute_force(rows, texts, logits, number)
        assert [(a.text, a.start, a.end) for a in ours] == [answer[1:] for answer in theirs]
        total = sum(math.exp(answer[0]) for answer in theirs)
        assert [a.probability for a in ours] == pytest.approx([math.exp(answer[0]) / total for answer in theirs])
        assert all(texts[number][a.start : a.end] == a.text for a in ours)
    assert len(answers[0]) == BEST and len(answers[2]) == 1
    assert decode(found_in(rows, logits, order), rows, placed, texts, 3) == [best[:3] for best in answers]


def test_the_question_the_ends_and_padding_are_never_chosen():
    rows, texts, placed, logits = questions(0, [30])
    for w, values in enumerate(logits):
        values[: rows.sequences.first[w]] = 100
        values[-1] = 100
    answers = decode(found_in(rows, logits, [np.arange(len(logits))]), rows, placed, texts)[0]
    best = brute_force(rows, texts, logits, 0)
    assert [a.text for a in answers] == [text for _, text, _, _ in best] and max(s for s, *_ in best) < 20


def test_a_beginning_counts_where_it_has_most_context():
    """A beginning that is best in a window at whose edge it stands is not taken there; an end may stand anywhere."""
    rows, texts, placed, logits = questions(3, [60])
    assert len(logits) > 2
    for values in logits:
        values[:] = 0
    first = rows.sequences.first[1]
    logits[1][first, 0] = 50  # the first piece of the second window: in the first one it has more context
    logits[1][-2, 1] = 9  # its last piece, which has more context in the third one
    answer = decode(found_in(rows, logits, [np.arange(len(logits))]), rows, placed, texts)[0][0]
    assert answer.start > 2 * rows.starts[1]
    assert answer.end == 2 * (rows.starts[1] + len(logits[1]) - first - 2) + 1


def test_an_answer_has_at_most_thirty_pieces():
    rows, texts, placed, logits = questions(1, [90], max_length=120)
    assert len(logits) == 1
    values, first = logits[0], rows.sequences.first[0]
    values[:] = 0
    values[first, 0], values[first + 29, 1], values[first + 30, 1] = 9, 8, 9
    answer = decode(found_in(rows, logits, [np.arange(1)]), rows, placed, texts)[0][0]
    assert (answer.start, answer.end) == (0, 2 * 29 + 1)


def test_no_answer_where_no_pair_fits():
    """All 20 best beginnings behind all 20 best ends."""
    rows, texts, placed, logits = questions(1, [60], max_length=120)
    values, first = logits[0], rows.sequences.first[0]
    values[:, 0], values[:, 1] = np.arange(len(values)), -np.arange(len(values))
    assert decode(found_in(rows, logits, [np.arange(1)]), rows, placed, texts) == [[]]
    values[first + 59, 1] = 1000
    assert decode(found_in(rows, logits, [np.arange(1)]), rows, placed, texts)[0][0].end == len(texts[0])


def test_equal_scores_stand_in_the_order_of_the_passage():
    rows, _, placed, logits = questions(2, [12])
    for values in logits:
        values[:] = 0
    text = " ".join("abcdefghijkl")
    answers = decode(found_in(rows, logits, [np.arange(len(logits))]), rows, placed, [text])[0]
    assert [(a.start, a.end) for a in answers[:3]] == [(0, 1), (0, 3), (0, 5)]
    assert answers[0] == Answer("a", pytest.approx(1 / BEST), 0, 1)
