"""Examples for pre-training: [CLS] A [SEP] B [SEP] with masked words (Devlin et al., 2019, section 3.1 and appendix A).

Everything that is drawn is a pure function of (seed, epoch, example): a resumed run, or one divided among processes,
sees what an undisturbed run sees.

Dimensions: B rows of a batch, T tokens, M masked tokens of a batch.
"""

import dataclasses

import numpy as np
import torch

from textcls.data.shards import Passages, unmark
from textcls.text.batches import Batch, longest_first, shuffled, tokens_of
from textcls.text.pieces import Pieces
from textcls.text.vocabulary import Vocabulary

MASKED = 0.15  # of the tokens, in whole words
KEPT, RANDOM = 0.1, 0.1  # of the masked tokens: left as they are, and replaced by any piece; the others become [MASK]
NEXT, OTHER = 0, 1  # labels of a pair: B follows A, B is from another document


@dataclasses.dataclass(frozen=True)
class Example:
    """`ids` as the model sees them, `first` tokens of them in segment 0; `places` of the masked ones and what stood
    there; `label` is NEXT or OTHER."""

    ids: np.ndarray
    first: int
    places: np.ndarray
    targets: np.ndarray
    label: int


class PairBatches:
    """Documents cut into blocks of at most `max_length` - 3 tokens, as even as can be; a block is an example.

    A block is divided in two, at the beginning of a line where it has one. Half of the time, unless `next_sentence` is
    false, its second part gives way to a passage of another document. Example e of epoch p has the number
    p * (examples) + e, so that `collate(numbers)` needs nothing else.
    """

    divisible = True
    description = ""

    def __init__(
        self,
        passages: Passages,
        vocabulary: Vocabulary,
        max_length: int,
        batch_size: int,
        seed: int = 0,
        next_sentence: bool = True,
    ):
        self.passages, self.max_length, self.batch_size, self.seed = passages, max_length, batch_size, seed
        self.next_sentence, self.pad = next_sentence, vocabulary.pad
        self.cls, self.sep, self.mask = vocabulary.cls, vocabulary.sep, vocabulary.mask
        self.inner, self.ordinary = vocabulary.inner(), vocabulary.ordinary()
        self.count = -(-passages.lengths // (max_length - 3))  # blocks of each document
        self.last = np.cumsum(self.count)  # the example after the last one of each document
        self.document = np.repeat(np.arange(len(passages)), self.count)
        number = np.arange(len(self.document)) - (self.last - self.count)[self.document]
        length, count = passages.lengths[self.document], self.count[self.document]
        self.begin = number * length // count
        self.lengths = (number + 1) * length // count - self.begin + 3  # of each example; of a random B, at most

    def __len__(self) -> int:
        return -(-len(self.lengths) // self.batch_size)

    def order(self, epoch: int) -> list[np.ndarray]:
        numbers = shuffled(self.lengths, self.batch_size, self.seed, epoch)
        return [part + epoch * len(self.lengths) for part in numbers]

    def sorted_order(self) -> list[np.ndarray]:
        return longest_first(self.lengths, self.batch_size)

    def collate(self, numbers: np.ndarray) -> Batch:
        examples = [self.example(*divmod(int(number), len(self.lengths))) for number in numbers]
        rows = Pieces.join([example.ids for example in examples])
        first = np.array([example.first for example in examples])
        inputs, real = tokens_of(rows, np.arange(len(examples)), self.pad, first)
        places = np.concatenate([row * real.shape[1] + e.places for row, e in enumerate(examples)])
        masked = np.concatenate([example.targets for example in examples])
        inputs["places"] = torch.from_numpy(places)  # (M,), counted through the flattened batch
        targets = {
            "tokens": torch.from_numpy(masked),  # (M,), what stood there
            "labels": torch.tensor([example.label for example in examples]),  # (B,)
        }
        counts = {"token": len(masked)} | ({"pair": len(examples)} if self.next_sentence else {})
        return Batch(inputs, targets, numbers, int(real.sum()), counts)

    def example(self, epoch: int, number: int) -> Example:
        random = np.random.default_rng([self.seed, epoch, number])
        document = int(self.document[number])
        block = self.passages.read(document, int(self.begin[number]), int(self.lengths[number]) - 3)
        ids, begins = unmark(block)
        cut = self.cut(random, ids, begins)
        first, second, label = ids[:cut], ids[cut:], NEXT
        if self.next_sentence and random.random() < 0.5:
            second, label = self.elsewhere(random, document, len(second)), OTHER
        row = np.concatenate([[self.cls], first, [self.sep], second, [self.sep]])
        words = np.concatenate([1 + self.words(first), 2 + len(first) + self.words(second)])
        ends = np.concatenate([words[1:], [len(row) - 1]])
        ends[ends == len(first) + 2] -= 1  # between A's last word and B stands [SEP]
        chosen = choose(random, ends - words, len(first) + len(second))
        places = np.sort(np.concatenate([np.arange(words[w], ends[w]) for w in chosen]))
        targets = row[places]
        row[places] = self.replaced(random, targets)
        return Example(row, len(first) + 2, places, targets, label)

    def words(self, ids: np.ndarray) -> np.ndarray:
        """Where words begin: at the first piece, and wherever a piece does not go on with the one before."""
        begins = ~self.inner[ids]
        begins[0] = True
        return np.flatnonzero(begins)

    def cut(self, random: np.random.Generator, ids: np.ndarray, begins: np.ndarray) -> int:
        """Where B begins: a line's beginning, else a word's in the middle half, else the middle."""
        lines = np.flatnonzero(begins[1:]) + 1
        if len(lines):
            return int(random.choice(lines))
        quarter = len(ids) // 4
        middle = np.flatnonzero(~self.inner[ids[quarter : len(ids) - quarter]]) + quarter
        middle = middle[middle > 0]
        return int(random.choice(middle)) if len(middle) else len(ids) // 2

    def elsewhere(self, random: np.random.Generator, document: int, length: int) -> np.ndarray:
        """At most `length` tokens from the beginning of a block of another document. Every such block is as likely:
        documents weigh by their length."""
        block = int(random.integers(len(self.document) - self.count[document]))
        if block >= self.last[document] - self.count[document]:
            block += self.count[document]
        other = int(self.document[block])
        room = int(self.passages.lengths[other])
        start = max(0, min(int(self.begin[block]), room - length))
        return unmark(self.passages.read(other, start, min(length, room)))[0]

    def replaced(self, random: np.random.Generator, targets: np.ndarray) -> np.ndarray:
        """What the model sees in the masked places."""
        draw = random.random(len(targets))
        any_piece = random.choice(self.ordinary, len(targets))
        seen = np.where(draw < KEPT + RANDOM, any_piece, self.mask)
        return np.where(draw < KEPT, targets, seen)


def choose(random: np.random.Generator, lengths: np.ndarray, tokens: int) -> list[int]:
    """Words in random order until they have MASKED of the `tokens`; `lengths` are the words' pieces. The word that goes
    beyond is taken with the probability that makes the share right on average. (Passing over words that do not fit, as
    the original does, would mask long words less often.)"""
    room, chosen, order = MASKED * tokens, [], random.permutation(len(lengths))
    for word, length in zip(order.tolist(), lengths[order].tolist(), strict=True):
        if length > room and random.random() * length >= room:
            break
        chosen.append(word)
        room -= length
        if room <= 0:
            break
    return chosen or [int(order[0])]
