"""Running text for language models, side by side in streams that are read window by window.

Dimensions: B streams, T words of a window, N words, U distinct words, K characters of a word.
"""

import dataclasses
import hashlib
from collections.abc import Iterable

import numpy as np
import torch

from textcls.data.corpus import number_of
from textcls.runtime.errors import InputError
from textcls.text.batches import IGNORED, Batch
from textcls.text.characters import BEGIN, END, FIRST, distinct_words
from textcls.text.pieces import Pieces
from textcls.text.vocabulary import Words

# ---- texts ----------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Text:
    """All words of a split as numbers (N,) int32, <eos> after each line; `ids` (1,) name the text."""

    words: np.ndarray
    ids: np.ndarray

    def __len__(self) -> int:
        return len(self.words)

    @classmethod
    def of(cls, words: np.ndarray, what: str) -> "Text":
        """Raises InputError for a text in which nothing can be predicted; `what` it is."""
        check_size(len(words), what)
        return cls(words, np.array([number_of(words.tobytes().hex())], np.uint64))

    def cut(self, share: float, before: str, after: str) -> tuple["Text", "Text"]:
        """The text without its last `share` of the words, and these; what errors call the two."""
        at = int(len(self.words) * (1 - share))
        return Text.of(self.words[:at], before), Text.of(self.words[at:], after)


@dataclasses.dataclass
class SpelledText:
    """A text for a model that reads characters, and reads every line in both directions.

    `rows` are the words of each line, with sentence begin and end around them, as rows of a spelling (U, K);
    `predicted` (U,) int32 is what each of them is where it is predicted: a word of the vocabulary, <unk>, or <eos> for
    both ends of a line. `ids` (1,) name the text.
    """

    rows: Pieces
    predicted: np.ndarray
    ids: np.ndarray

    def __len__(self) -> int:
        return len(self.rows.tokens) - len(self.rows)

    @property
    def words(self) -> np.ndarray:
        """What is predicted, as Text has it: (N,) int32, <eos> after each line."""
        return np.delete(self.predicted[self.rows.tokens], self.rows.offsets[:-1])

    @classmethod
    def of(cls, rows: Pieces, predicted: np.ndarray, what: str) -> "SpelledText":
        check_size(len(rows.tokens) - len(rows), what)
        digests = (hashlib.blake2b(np.ascontiguousarray(part)).hexdigest()
                   for part in (rows.tokens, rows.offsets, rows.spelling, predicted))  # fmt: skip
        return cls(rows, predicted, np.array([number_of(*digests)], np.uint64))

    @classmethod
    def read(cls, lines: Iterable[str], vocabulary: Words, what: str) -> "SpelledText":
        """`lines` are gone through twice."""
        found, words = distinct_words(vocabulary.tokenizer.pre_tokenizer, lines, vocabulary.word_length)
        numbers = map(vocabulary.tokenizer.token_to_id, words)
        numbers = [vocabulary.unk if number is None else number for number in numbers]
        predicted = np.array([vocabulary.unk] * BEGIN + [vocabulary.eos] * (FIRST - BEGIN) + numbers, np.int32)
        around = np.stack([found.offsets[:-1], found.offsets[1:]], 1).ravel()
        tokens = np.insert(found.tokens, around, np.tile(np.array([BEGIN, END], np.int32), len(found)))
        offsets = found.offsets + 2 * np.arange(len(found) + 1)
        return cls.of(Pieces(tokens, offsets, found.spelling), predicted, what)

    def cut(self, share: float, before: str, after: str) -> tuple["SpelledText", "SpelledText"]:
        """The same between the two lines that are nearest to it. Raises InputError where there is one line alone."""
        if len(self.rows) < 2:
            raise InputError(f"the text is one line, which cannot be divided; give {after} in a file of its own")
        tokens, offsets, spelling = self.rows.tokens, self.rows.offsets, self.rows.spelling
        line = int(np.abs(offsets[1:-1] - len(tokens) * (1 - share)).argmin()) + 1
        first = Pieces(tokens[: offsets[line]], offsets[: line + 1], spelling)
        second = Pieces(tokens[offsets[line] :], offsets[line:] - offsets[line], spelling)
        return SpelledText.of(first, self.predicted, before), SpelledText.of(second, self.predicted, after)

    def both_ways(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """{direction: (rows that are read, words that are predicted there)}, (N + lines,) int32 both. Each
        line is read from one end to the other; at its last place nothing is predicted."""
        offsets, forward = self.rows.offsets, self.rows.tokens
        opposite = np.repeat(offsets[:-1] + offsets[1:] - 1, self.rows.lengths)
        opposite -= np.arange(len(opposite))
        backward = forward[opposite]
        return {name: (read, self._next(read)) for name, read in (("forward", forward), ("backward", backward))}

    def _next(self, read: np.ndarray) -> np.ndarray:
        targets = np.full(len(read), IGNORED, np.int32)
        targets[:-1] = self.predicted[read[1:]]
        targets[self.rows.offsets[1:] - 1] = IGNORED
        return targets


def check_size(count: int, what: str) -> None:
    if count < 2:
        raise InputError(f"{what} has {count} words; at least 2 are needed")


# ---- streams --------------------------------------------------------------------------------------------------------


class Streams:
    """A text of N words as `batch_size` streams side by side, cut into windows of `window` words, for a model that
    predicts each next word and carries its state from window to window. What does not fill a row of streams is left
    out of training; `batch_size` 1 reads every word."""

    divisible = False  # streams stay together, with the state that is carried
    description = ""

    def __init__(self, words: np.ndarray, batch_size: int, window: int):
        length = (len(words) - 1) // batch_size
        assert length > 0, (len(words), batch_size)
        self.words, self.next = side_by_side(words[:-1], batch_size), side_by_side(words[1:], batch_size)
        self.batch_size, self.window, self.length = batch_size, window, length

    def __len__(self) -> int:
        return -(-self.length // self.window)

    def order(self, epoch: int) -> list[np.ndarray]:
        """The windows, one after the other in every epoch: the state that is carried wants it so. Window w of stream s
        has the number w * (streams) + s."""
        return [np.arange(self.batch_size) + number * self.batch_size for number in range(len(self))]

    def sorted_order(self) -> list[np.ndarray]:
        return self.order(0)

    def place(self, numbers: np.ndarray) -> tuple[np.ndarray, slice]:
        """(the streams of these windows, the words of the streams)."""
        window = int(numbers[0]) // self.batch_size
        return numbers % self.batch_size, slice(window * self.window, (window + 1) * self.window)

    def collate(self, numbers: np.ndarray) -> Batch:
        ids, words = (torch.from_numpy(part[self.place(numbers)].astype(np.int64)) for part in (self.words, self.next))
        return Batch({"ids": ids}, {"words": words}, numbers, ids.numel(), {"word": words.numel()})


class SpelledStreams(Streams):
    """The same in both directions at once: at each place of a window one direction reads a word of a line, the other
    one that is as far from the line's other end. Streams are cut where they will, in the middle of lines too."""

    def __init__(self, text: SpelledText, batch_size: int, window: int):
        assert len(text.rows.tokens) >= batch_size, (len(text.rows.tokens), batch_size)
        self.spelling, self.batch_size, self.window = text.rows.spelling, batch_size, window
        self.directions = {
            name: tuple(side_by_side(part, batch_size) for part in parts) for name, parts in text.both_ways().items()
        }
        self.length = len(text.rows.tokens) // batch_size

    def collate(self, numbers: np.ndarray) -> Batch:
        place, read, targets = self.place(numbers), {}, {}
        for name, (rows, words) in self.directions.items():
            read[name] = torch.from_numpy(self.spelling[rows[place]].astype(np.int64))  # (B, T, K)
            targets[name] = torch.from_numpy(words[place].astype(np.int64))
        counts = {name: int((words >= 0).sum()) for name, words in targets.items()}
        inputs = {"ids": read["forward"], "backward": read["backward"]}
        return Batch(inputs, targets, numbers, targets["forward"].numel(), counts)


def side_by_side(values: np.ndarray, streams: int) -> np.ndarray:
    """(N,) -> (B, N // B), without what does not fill a row of streams."""
    length = len(values) // streams
    return values[: streams * length].reshape(streams, length)
