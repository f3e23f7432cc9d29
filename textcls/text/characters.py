"""Words -> characters: what ELMo reads in place of a vocabulary. Whatever word comes, it can be spelled.

Dimensions: U distinct words, K characters of a word.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

from textcls.models.elmo import LARGEST, SENTENCE_BEGIN, SENTENCE_END, WORD_BEGIN, WORD_END, WORD_PADDING
from textcls.text import division
from textcls.text.division import IN_LINES, WORD, for_training
from textcls.text.pieces import Pieces
from textcls.text.published import rules_hold
from textcls.text.vocabulary import Saved, printable

# What a word is: a punctuation mark too, or all that is between blanks, tabs and line ends (texts have these, and the
# lines of a file end with them).
TOKENS = {"words": WORD, "blanks": IN_LINES}
PADDING, EMPTY, BEGIN, END = range(4)  # the first rows of every spelling; a text without a word is one empty word
FIRST = 4  # the row of the first word


class Characters(Saved):
    """How texts are divided into words, and how many characters of a word are read. Words keep their case."""

    pad = PADDING
    whose = " of a model that reads characters"
    begin, between, end = (), (), ()  # BiLM adds sentence begin and end itself

    def __init__(self, tokenizer: Tokenizer):
        self.tokenizer = tokenizer
        self.word_length = tokenizer.padding["length"]
        if not 3 <= self.word_length <= LARGEST:  # begin, a character, end
            raise ValueError(f"words of {self.word_length} characters")

    @classmethod
    def make(cls, pattern: str, word_length: int) -> "Characters":
        tokenizer = Tokenizer(models.WordLevel({"": 0}, unk_token=""))
        tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), "removed", invert=True)
        tokenizer.enable_padding(length=word_length)
        return cls(tokenizer)

    def encode(self, texts: Sequence[str], progress: Callable = iter) -> Pieces:
        """The words of each text as rows of the `spelling` that comes with them."""
        found, _ = distinct_words(self.tokenizer.pre_tokenizer, Printable(texts), self.word_length, progress)
        empty = found.lengths == 0
        tokens = np.insert(found.tokens, found.offsets[:-1][empty], EMPTY)
        return Pieces(tokens, found.offsets + np.concatenate([[0], np.cumsum(empty)]), found.spelling)

    def encode_words(self, words: Sequence[str]) -> Pieces:
        """One token for each word, though it may hold blanks."""
        rows = np.arange(FIRST, FIRST + len(words), dtype=np.int32)
        return Pieces(rows, np.arange(len(words) + 1), spell([printable(word) for word in words], self.word_length))


class Printable:
    """Texts without lone surrogates, as often as they are asked for."""

    def __init__(self, texts: Sequence[str]):
        self.texts = texts

    def __iter__(self) -> Iterator[str]:
        return map(printable, self.texts)


def distinct_words(
    pre_tokenizer, texts: Iterable[str], word_length: int, progress: Callable = iter
) -> tuple[Pieces, list[str]]:
    """(the words of each text as rows of their spelling; the words that the rows from FIRST on spell, the commonest
    first). `texts` are gone through twice."""
    tokenizer = Tokenizer(models.WordLevel({}, unk_token=""))
    tokenizer.pre_tokenizer = pre_tokenizer
    trainer = trainers.WordLevelTrainer(vocab_size=2**31, min_frequency=0, show_progress=False)
    with rules_hold():
        tokenizer.train_from_iterator(for_training(tokenizer, texts), trainer)
    vocab = tokenizer.get_vocab()
    words = sorted(vocab, key=vocab.__getitem__)
    tokens, offsets = division.encode(tokenizer, progress(texts))
    return Pieces(tokens + np.int32(FIRST), offsets, spell(words, word_length)), words


def spell(words: Sequence[str], word_length: int) -> np.ndarray:
    """int16 (FIRST + U, K): padding, the empty word, sentence begin, sentence end, and the words: WORD_BEGIN, each byte
    of their UTF-8 plus 1 as far as there is room, WORD_END, padding (allenai/bilm-tf, UnicodeCharsVocabulary; with 1
    added everywhere)."""
    table = np.full((FIRST + len(words), word_length), WORD_PADDING, np.int16)
    table[PADDING] = 0
    table[EMPTY, :2] = WORD_BEGIN, WORD_END
    for row, character in ((BEGIN, SENTENCE_BEGIN), (END, SENTENCE_END)):
        table[row, :3] = WORD_BEGIN, character, WORD_END
    for row, word in enumerate(words, FIRST):
        data = word.encode("utf-8")[: word_length - 2]
        table[row, 0] = WORD_BEGIN
        table[row, 1 : 1 + len(data)] = np.frombuffer(data, np.uint8).astype(np.int16) + 1
        table[row, 1 + len(data)] = WORD_END
    return table


def batch_of(sentences: Sequence[Sequence[str]], word_length: int = 50) -> tuple[torch.Tensor, torch.Tensor]:
    """Sentences of words as a biLM reads them: (ids (B, T, K), mask (B, T)), int64."""
    lengths = torch.tensor([len(words) for words in sentences])
    mask = (torch.arange(int(lengths.max()) if len(lengths) else 0) < lengths[:, None]).long()
    ids = torch.zeros(*mask.shape, word_length, dtype=torch.long)
    words = [printable(word) for words in sentences for word in words]
    ids[mask.bool()] = torch.from_numpy(spell(words, word_length)[FIRST:].astype(np.int64))
    return ids, mask


def spelled_word(characters: Sequence[int]) -> str:
    """The word that has these characters, as far as they reach."""
    for character, name in ((SENTENCE_BEGIN, "<S>"), (SENTENCE_END, "</S>")):
        if character in characters:
            return name
    return bytes(c - 1 for c in characters if 1 <= c <= 256).decode("utf-8", "replace")
