"""Questions and passages as rows of word pieces: `[CLS] question [SEP] window [SEP]`, with the way back to characters.

Windows, their steps and the window in which a piece has most context are those of google-research/bert, run_squad.py.
What differs is the way back: pieces know their characters from the `tokenizers` library, so that an answer is a piece
of its passage, character by character, whatever became of its accents, blanks and capitals on the way to the model.

Dimensions: N texts or questions, W windows, P pieces of a passage.
"""

import dataclasses
import hashlib
import unicodedata
from collections.abc import Callable, Sequence

import numpy as np

from textcls.runtime.cache import cached
from textcls.runtime.files import fingerprint
from textcls.text.division import parts, rules_of, tokenised
from textcls.text.pieces import Pieces, Sequences
from textcls.text.vocabulary import Vocabulary, printable

MARKS = ("Mn", "Me")  # characters that stand on the one before them: accents, vowel signs, variation selectors
JOINED = "\u200c\u200d" + "".join(map(chr, range(0xE0020, 0xE0080)))  # zero-width joiners, the letters of a flag
LONGEST_QUESTION = 64  # pieces
EDGE = 0.01  # what a window's length counts where two windows give a piece as much context


# ---- pieces with their characters -----------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Placed:
    """N texts as pieces: piece j of all is characters `starts[j]` to `ends[j]` (int32) of its text."""

    pieces: Pieces
    starts: np.ndarray
    ends: np.ndarray

    def places(self, text: int) -> tuple[np.ndarray, np.ndarray]:
        """(starts, ends) of the pieces of one text."""
        part = slice(self.pieces.offsets[text], self.pieces.offsets[text + 1])
        return self.starts[part], self.ends[part]


def place(vocabulary: Vocabulary, texts: Sequence[str], progress: Callable = iter) -> Placed:
    """The pieces of each text with the characters that each stands for, from the tokeniser's own offsets. A mark that
    the tokeniser drops (an accent, a vowel sign) belongs to the piece before it."""
    tokenizer, tokens, starts, ends, offsets = vocabulary.tokenizer, [], [], [], [0]
    rules = rules_of(tokenizer)
    count = before = 0  # pieces so far, and characters of the text so far
    for begin in progress(range(0, len(texts), 512)):
        divided = parts(rules, map(printable, texts[begin : begin + 512]))  # as many characters as before
        for part, encoding, last in tokenised(tokenizer.encode_batch, divided):
            own = np.asarray(encoding.offsets, np.int32).reshape(-1, 2)
            tokens.append(np.asarray(encoding.ids, np.int32))
            starts.append(own[:, 0] + before)
            ends.append(with_marks(part, own) + before)
            count += len(own)
            before += len(part)
            if last:
                offsets.append(count)
                before = 0
    tokens, starts, ends = (np.concatenate([np.zeros(0, np.int32), *part]) for part in (tokens, starts, ends))
    return Placed(Pieces(tokens, np.array(offsets, np.int64)), starts, ends)


def place_cached(vocabulary: Vocabulary, texts: Sequence[str], progress: Callable = iter) -> Placed:
    """The same, kept in the cache under the digest of the vocabulary and the texts."""
    digest = hashlib.blake2b(fingerprint(vocabulary.digest, *map(printable, texts)), digest_size=16).hexdigest()

    def make() -> dict[str, np.ndarray]:
        placed = place(vocabulary, texts, progress)
        return {
            "tokens": placed.pieces.tokens,
            "offsets": placed.pieces.offsets,
            "starts": placed.starts,
            "ends": placed.ends,
        }

    arrays = cached(f"places-{digest}", make)
    return Placed(Pieces(arrays["tokens"], arrays["offsets"]), arrays["starts"], arrays["ends"])


def with_marks(text: str, offsets: np.ndarray) -> np.ndarray:
    """The ends of pieces (P,), moved behind the marks that follow, as far as the next piece's beginning."""
    ends = offsets[:, 1].copy()
    if text.isascii():
        return ends
    limits = [*offsets[1:, 0].tolist(), len(text)]
    for j, (end, limit) in enumerate(zip(ends.tolist(), limits, strict=False)):
        while end < limit and (unicodedata.category(text[end]) in MARKS or text[end] in JOINED):
            end += 1
        ends[j] = end
    return ends


# ---- windows --------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Windows:
    """W rows `[CLS] question [SEP] window [SEP]` for N questions about passages.

    Row w is about question `questions[w]` (ascending) and begins at piece `starts[w]` of its passage; `about` (N,) are
    the passages of the questions. `best` (all tokens of the rows,) bool: pieces of the passage that have most context
    in this row; of the rows of a question exactly one says so of each piece.
    """

    sequences: Sequences
    questions: np.ndarray
    starts: np.ndarray
    about: np.ndarray
    best: np.ndarray

    def take(self, chosen: np.ndarray) -> "Windows":
        """Some of the windows, in this order."""
        rows, best = self.sequences.rows, Pieces(self.best, self.sequences.rows.offsets)
        joined = Pieces.join([rows[i] for i in chosen])
        parts = [np.zeros(0, bool), *(best[i] for i in chosen)]
        return Windows(
            Sequences(joined, self.sequences.first[chosen], self.sequences.truncated),
            self.questions[chosen],
            self.starts[chosen],
            self.about,
            np.concatenate(parts),
        )


def windows(
    questions: Pieces, passages: Pieces, about: Sequence[int], vocabulary: Vocabulary, max_length: int, stride: int
) -> Windows:
    """The windows of every question over its passage, number `about[i]`. Of a question the first 64 pieces are read
    (and never more than half of `max_length`). A window has as many pieces as fit, and the next one begins `stride`
    pieces later, or where it ends if it is shorter than that. A passage without pieces has no window."""
    rows, first, owners, begins, best, cut = [], [], [], [], [np.zeros(0, bool)], 0
    for number, passage in enumerate(about):
        question, text = questions[number], passages[passage]
        limit = longest_question(max_length)
        cut += len(question) > limit
        head = [*vocabulary.begin, *question[:limit].tolist(), *vocabulary.between]
        room = max_length - len(head) - len(vocabulary.end)
        starts = window_starts(len(text), room, stride)
        richest = most_context(len(text), starts, room) if len(starts) > 1 else np.zeros(len(text), np.int64)
        for k, start in enumerate(starts):
            part = text[start : start + room]
            rows.append(np.concatenate([head, part, vocabulary.end]))
            best += [np.zeros(len(head), bool), richest[start : start + room] == k, np.zeros(len(vocabulary.end), bool)]
        first += [len(head)] * len(starts)
        owners += [number] * len(starts)
        begins += starts
    sequences = Sequences(Pieces.join(rows), np.asarray(first, np.int64), cut)
    numbers = (np.asarray(part, np.int64) for part in (owners, begins, about))
    return Windows(sequences, *numbers, np.concatenate(best))


def longest_question(max_length: int) -> int:
    """Pieces of a question that are read: 64, but no more than half of a short row."""
    return min(LONGEST_QUESTION, max_length // 2)


def window_starts(length: int, room: int, stride: int) -> list[int]:
    """The first piece of each window of `room` pieces over a passage of `length`: the last one reaches the end."""
    assert room > 0, room
    starts = [0] if length else []
    while starts and starts[-1] + room < length:
        starts.append(starts[-1] + min(room, stride))
    return starts


def most_context(length: int, starts: Sequence[int], room: int) -> np.ndarray:
    """For each of the P pieces of a passage the number of the window in which it has most context: the fewer of the
    pieces to its left and to its right, and a hundredth of the window's length; the first of equals. (P,) int64."""
    richest, most = np.zeros(length, np.int64), np.full(length, -np.inf)
    for k, start in enumerate(starts):
        window = slice(start, start + room)
        size = len(most[window])
        left = np.arange(size)
        context = np.minimum(left, size - 1 - left) + EDGE * size
        more = context > most[window]
        richest[window][more], most[window][more] = k, context[more]
    return richest


# ---- answers --------------------------------------------------------------------------------------------------------


def locate(starts: np.ndarray, ends: np.ndarray, begin: int, end: int) -> tuple[int, int] | None:
    """(first, last) of the pieces that hold the characters `begin` to `end` of a text, no piece more; None where no
    piece does. It is what run_squad's _improve_answer_span finds, and the right one where the answer's pieces occur
    twice in a word."""
    first = int(np.searchsorted(ends, begin, "right"))
    last = int(np.searchsorted(starts, end, "left")) - 1
    return (first, last) if first <= last else None


def targets(windows: Windows, answers: Sequence[tuple[int, int] | None]) -> np.ndarray:
    """(W, 2) int64: the tokens at which the answer begins and ends in each window. `answers[i]` are the first and the
    last piece of the answer to question i in its passage. A window without all of it points at [CLS], token 0."""
    result = np.zeros((len(windows.starts), 2), np.int64)
    room = windows.sequences.rows.lengths - windows.sequences.first - 1  # pieces of the passage in each window
    for w, number in enumerate(windows.questions):
        span = answers[number]
        if span is not None and windows.starts[w] <= span[0] and span[1] < windows.starts[w] + room[w]:
            result[w] = np.asarray(span) - windows.starts[w] + windows.sequences.first[w]
    return result
