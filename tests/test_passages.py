"""Windows of passages against a slow reading of run_squad's rules, and the way from pieces back to characters."""

import random
import re

import numpy as np
import pytest

from textcls.text.passages import locate, most_context, place, place_cached, targets, window_starts, windows
from textcls.text.pieces import Pieces
from textcls.text.vocabulary import Vocabulary

WORDS = "the sun rose over cold hills while café owners slept résumé naïve".split()
WORDS += "1895 1943 ( ) - . , ' electron ##ics ##s un ##aff ##able".split()
LETTERS = sorted({letter for word in WORDS for letter in word if letter.isalnum()})
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    plain = [word.replace("é", "e").replace("ï", "i") for word in WORDS]
    pieces = [*SPECIAL, *plain, *"日 本 ##本 हिनदी 😀 ##😀".split(), *LETTERS, *(f"##{letter}" for letter in LETTERS)]
    return Vocabulary.from_vocab({piece: i for i, piece in enumerate(dict.fromkeys(pieces))})


# ---- windows --------------------------------------------------------------------------------------------------------


def slow_windows(length: int, room: int, stride: int) -> list[tuple[int, int]]:
    """(start, length) of the windows, as run_squad's convert_examples_to_features makes them."""
    spans, start = [], 0
    while start < length:
        size = min(length - start, room)
        spans.append((start, size))
        if start + size == length:
            break
        start += min(size, stride)
    return spans


def slow_max_context(spans: list[tuple[int, int]], position: int) -> int:
    """The window in which a piece has most context, as run_squad's _check_is_max_context compares them."""
    best_score, best = None, None
    for number, (start, size) in enumerate(spans):
        if not start <= position <= start + size - 1:
            continue
        score = min(position - start, start + size - 1 - position) + 0.01 * size
        if best_score is None or score > best_score:
            best_score, best = score, number
    return best


@pytest.mark.parametrize("room, stride", [(5, 2), (5, 5), (5, 9), (1, 1), (8, 3), (61, 128), (20, 7), (320, 128)])
def test_windows_and_most_context_are_those_of_run_squad(room, stride):
    """Of 320 pieces, as real windows have, the length of the last one decides, too: a hundredth of it is above 1."""
    for length in (*range(70), 321, 400, 449, 500, 577, 700):
        spans, starts = slow_windows(length, room, stride), window_starts(length, room, stride)
        assert starts == [start for start, _ in spans]
        if starts:
            slow = [slow_max_context(spans, position) for position in range(length)]
            assert most_context(length, starts, room).tolist() == slow, (length, spans)


def random_pieces(rng: random.Random, counts: list[int]) -> Pieces:
    return Pieces.join([[rng.randrange(10, 40) for _ in range(count)] for count in counts])


def test_rows_are_question_and_window(vocabulary):
    rng = random.Random(0)
    questions, passages = random_pieces(rng, [3, 90, 0, 1]), random_pieces(rng, [40, 5, 0])
    about = [0, 0, 1, 2]
    found = windows(questions, passages, about, vocabulary, 24, 6)
    assert found.sequences.truncated == 1 and found.about.tolist() == about
    rows = iter(range(len(found.starts)))
    for number, passage in enumerate(about):
        question = questions[number][:12]  # half of 24
        room = 24 - 3 - len(question)
        for start, size in slow_windows(len(passages[passage]), room, 6):
            w = next(rows)
            part = passages[passage][start : start + size]
            expected = [vocabulary.cls, *question, vocabulary.sep, *part, vocabulary.sep]
            assert found.sequences.rows[w].tolist() == expected and len(expected) <= 24
            assert (found.questions[w], found.starts[w], found.sequences.first[w]) == (number, start, len(question) + 2)
    assert next(rows, None) is None and 3 not in found.questions  # a passage without pieces
    for number in (0, 1, 2):  # each piece has most context in one window
        counts = np.zeros(len(passages[about[number]]), int)
        for w in np.flatnonzero(found.questions == number):
            offset = found.sequences.rows.offsets
            best = np.flatnonzero(found.best[offset[w] : offset[w + 1]]) - found.sequences.first[w] + found.starts[w]
            counts[best] += 1
        assert (counts == 1).all()


def test_the_longest_question_of_a_long_row_is_64(vocabulary):
    rng = random.Random(0)
    found = windows(random_pieces(rng, [10_000]), random_pieces(rng, [900]), [0], vocabulary, 384, 128)
    assert set(found.sequences.first) == {66} and set(found.sequences.rows.lengths[:-1]) == {384}
    assert found.starts.tolist() == [0, 128, 256, 384, 512, 640]


def test_targets_point_at_the_answer_or_at_cls(vocabulary):
    rng = random.Random(1)
    questions, passages = random_pieces(rng, [4, 2, 3]), random_pieces(rng, [50, 30])
    found = windows(questions, passages, [0, 1, 0], vocabulary, 20, 5)
    answers = [(17, 19), (0, 25), None]
    for w, (begin, end) in enumerate(targets(found, answers)):
        row, number = found.sequences.rows[w], found.questions[w]
        last = found.starts[w] + len(row) - found.sequences.first[w] - 2  # the window's last piece
        span = answers[number]
        inside = span is not None and found.starts[w] <= span[0] and span[1] <= last
        if inside:
            assert row[begin : end + 1].tolist() == passages[[0, 1, 0][number]][span[0] : span[1] + 1].tolist()
        else:
            assert (begin, end) == (0, 0)
    whole = targets(found, answers)[:, 0] > 0
    assert whole[found.questions == 0].sum() == 2 and not whole[found.questions != 0].any()
    taken = found.take(np.flatnonzero(found.questions != 1))
    assert np.array_equal(targets(taken, answers), targets(found, answers)[found.questions != 1])
    assert len(taken.best) == len(taken.sequences.rows.tokens)


# ---- characters -----------------------------------------------------------------------------------------------------

ODD = [
    "café résumé naïve",
    "cafe\u0301 re\u0301sume\u0301 nai\u0308ve\u0301",  # the same, decomposed
    "the\u00a0sun\u202frose\u3000over\tcold\r\nhills",
    "日本日本 sun日rose",
    "हिन्दी sun",
    "😀😀 the 😀sun",
    "sun\u200brose \u200dun\u00adaffable",
    "[SEP] sun [CLS]",
    "(1895-1943), 'electronics'.",
    "x" * 150 + " sun",
    "su\ud800n rose",
    "\x00\x01",
    "",
    "İSTANBUL ﬁ ½ ǅ Å THE SUN",
]


@pytest.mark.parametrize("text", ODD, ids=ascii)
def test_pieces_know_their_characters(vocabulary, text):
    placed = place(vocabulary, ["the sun", text])
    assert placed.pieces[1].tolist() == vocabulary.encode([text])[0].tolist()
    starts, ends = placed.places(1)
    assert len(starts) == len(ends) == len(placed.pieces[1])
    assert (starts < ends).all() and (ends[:-1] <= starts[1:]).all()
    names = [vocabulary.tokenizer.id_to_token(number) for number in placed.pieces[1]]
    for name, start, end in zip(names, starts, ends, strict=True):
        assert not text[start:end].isspace() and text[start:end]
        if text[start:end].isascii() and name not in SPECIAL:
            assert name.removeprefix("##") == re.sub(r"[\x00-\x1f]", "", text[start:end]).lower()


def test_marks_stay_with_their_letters(vocabulary):
    """Accents and vowel signs; a joiner that ends a Malayalam word; the letters that make a black flag England's."""
    england = "\U0001f3f4" + "".join(chr(0xE0000 + ord(letter)) for letter in "gbeng") + "\U000e007f"
    words = ["cafe\u0301", "हिन्दी", "nai\u0308ve", "അവന്\u200d", england]
    text = " ".join(words)
    starts, ends = place(vocabulary, [text]).places(0)
    assert [text[a:b] for a, b in zip(starts, ends, strict=True)] == words


def test_places_are_kept_in_the_cache(vocabulary, cache):
    texts = ["the sun rose", "cafe\u0301", "lone \ud800 half"]
    first, again = place_cached(vocabulary, texts), place_cached(vocabulary, texts)
    assert len(list(cache.glob("places-*.npz"))) == 1
    for ours in (first, again):
        theirs = place(vocabulary, texts)
        assert np.array_equal(ours.starts, theirs.starts) and np.array_equal(ours.ends, theirs.ends)
        assert np.array_equal(ours.pieces.tokens, theirs.pieces.tokens)


def slow_improve(pieces: list[str], start: int, end: int, answer: str) -> tuple[int, int]:
    """run_squad's _improve_answer_span: the first run of pieces within these that spells the answer."""
    for first in range(start, end + 1):
        for last in range(end, first - 1, -1):
            if " ".join(pieces[first : last + 1]) == answer:
                return first, last
    return start, end


@pytest.mark.parametrize("text, answer", [
    ("the cold hills", "cold"),
    ("over (1895-1943) the", "1895"),
    ("over (1895-1943) the", "1943"),
    ("over (1895-1943). the", "1895-1943"),
    ("the 'sun' rose.", "sun' rose"),
    ("unaffable owners", "un"),
    ("electrons rose", "electron"),
    ("the CAFÉ owners", "CAFÉ"),
    ("日本日 sun", "本"),
])  # fmt: skip
def test_answers_are_tightened_as_by_run_squad(vocabulary, text, answer):
    placed, begin = place(vocabulary, [text]), text.index(answer)
    names = [vocabulary.tokenizer.id_to_token(number) for number in placed.pieces[0]]
    starts, ends = placed.places(0)
    words = [match.span() for match in re.finditer(r"\S+", text)]
    reach = [span for span in words if span[0] < begin + len(answer) and span[1] > begin]  # whole words
    first = min(i for i in range(len(starts)) if starts[i] >= reach[0][0])
    last = max(i for i in range(len(ends)) if ends[i] <= reach[-1][1])
    spelled = " ".join(vocabulary.tokenizer.id_to_token(number) for number in vocabulary.encode([answer])[0])
    found = locate(starts, ends, begin, begin + len(answer))
    assert found == slow_improve(names, first, last, spelled)
    assert text[starts[found[0]] : ends[found[1]]] == answer


def test_an_answer_inside_a_piece_is_that_piece(vocabulary):
    starts, ends = place(vocabulary, ["the hills \u200b slept"]).places(0)
    assert locate(starts, ends, 5, 8) == (1, 1)  # ill
    assert locate(starts, ends, 2, 5) == (0, 1)  # e h
    assert locate(starts, ends, 10, 11) is None  # a character without a piece
    assert locate(starts, ends, 10, 14) == (2, 2)
