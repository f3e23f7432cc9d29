"""Word dropout: whole words that an epoch leaves out of a document (Iyyer et al., 2015, section 3.2)."""

import dataclasses

import numpy as np

from textcls.text.characters import Characters
from textcls.text.pieces import Pieces, Sequences
from textcls.text.vocabulary import Vocabulary


@dataclasses.dataclass(frozen=True)
class WordDropout:
    """Leaves out every word with all its pieces with probability `share`, never the last one of a text, nor what
    `stays`: [CLS] and [SEP]. What is left moves together. `inner`: which pieces go on with a word.

    What is drawn is a pure function of (seed, epoch, row): a resumed run, or one divided among processes, sees what an
    undisturbed run sees.
    """

    share: float
    seed: int
    inner: np.ndarray | None  # (largest id + 1,) bool; None where every token is a word
    stays: tuple[int, ...]

    @classmethod
    def of(cls, share: float, seed: int, vocabulary: Vocabulary | Characters) -> "WordDropout":
        inner = vocabulary.inner() if isinstance(vocabulary, Vocabulary) else None
        return cls(share, seed, inner, (*vocabulary.begin, *vocabulary.end))

    def thinned(self, sequences: Sequences, rows: np.ndarray, epochs: np.ndarray) -> Sequences:
        """Some rows (B,) of the sequences, each without the words that its epoch (B,) leaves out."""
        kept, first = [], []
        for row, epoch in zip(rows.tolist(), epochs.tolist(), strict=True):
            ids, begin = sequences.rows[row], int(sequences.first[row])
            keep = self.keep(ids, begin, np.random.default_rng([self.seed, epoch, row]))
            kept.append(ids[keep])
            first.append(int(keep[:begin].sum()))
        return Sequences(Pieces.join(kept, sequences.rows.spelling), np.asarray(first, np.int64), 0)

    def keep(self, ids: np.ndarray, first: int, random: np.random.Generator) -> np.ndarray:
        """Which tokens of a row (T,) are kept, bool; `first` of them belong to the first text, the others to a
        second."""
        fixed = np.isin(ids, self.stays)
        begins = np.ones(len(ids), bool) if self.inner is None else ~self.inner[ids]
        word = np.cumsum(begins) - 1  # the number of each token's word
        draw = random.random(len(ids))[word]
        keep = draw >= self.share
        for text in (slice(None, first), slice(first, None)):
            words = ~fixed[text]
            if words.any() and not keep[text][words].any():
                keep[text] = draw[text] == draw[text][words].max()
        return keep | fixed
