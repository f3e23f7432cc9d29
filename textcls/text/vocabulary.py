"""Text to ids: BERT's word pieces, RoBERTa's pieces of bytes, or whole words.

Tokenising itself is the `tokenizers` library's work. What is done here is to set it up exactly as BERT's own
tokeniser (google-research/bert, tokenization.py) for a given vocabulary.
"""

import functools
import hashlib
import json
import pathlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

from textcls.runtime import files
from textcls.runtime.cache import cached
from textcls.runtime.errors import InputError
from textcls.runtime.files import fingerprint
from textcls.text import division, published
from textcls.text.division import for_training
from textcls.text.pieces import Pieces
from textcls.text.published import CASING, NAMES, SPECIAL, SPECIAL_OF_BYTES

LARGEST_ALPHABET = 1000  # characters that a learned vocabulary can spell
BLANK = "Ġ"  # how pieces of bytes spell it


class Saved:
    """What every tokeniser of the `tokenizers` library has: a size, a digest, and a file in a run folder. `whose`: what
    errors say of the model that it is for."""

    tokenizer: Tokenizer
    whose = ""

    @classmethod
    def from_folder(cls, folder: pathlib.Path) -> "Saved":
        path = folder / "tokenizer.json"
        try:
            return cls(published.parse_tokenizer(path, cls.whose))
        except FileNotFoundError:
            raise InputError(f"{path}: no such file") from None
        except (TypeError, KeyError, ValueError) as error:  # one that is set up for another kind of model
            raise InputError(f"{path}: not a tokenizer file{cls.whose} ({error})") from None

    def __len__(self) -> int:
        return self.tokenizer.get_vocab_size()

    @property
    def largest_id(self) -> int:
        return max(self.tokenizer.get_vocab().values())

    def check_ids(self, size: int, where: pathlib.Path) -> None:
        """Raise InputError where an id is outside a table of `size` vectors."""
        if self.largest_id >= size:
            piece = self.tokenizer.id_to_token(self.largest_id)
            raise InputError(
                f"{where}: word piece {self.largest_id} ({piece!r:.60}) is outside the {size} embeddings; vocabulary "
                "and weights do not belong together"
            )

    @property
    def digest(self) -> str:
        """sha256 of everything that decides the ids."""
        return hashlib.sha256(self.tokenizer.to_str().encode()).hexdigest()

    def save(self, folder: pathlib.Path) -> None:
        files.write_text(folder / "tokenizer.json", self.tokenizer.to_str(pretty=True))


class Vocabulary(Saved):
    """A tokeniser with its vocabulary: BERT's word pieces, RoBERTa's pieces of bytes, or whole words. `encode` gives no
    special tokens; sequences.py adds `begin` before a text, `end` after the last, `between` two texts. `remark` is what
    a user should know about how its files were read, or ""."""

    remark = ""

    def __init__(self, tokenizer: Tokenizer, where: str = "vocabulary"):
        # A published tokenizer.json may cut and pad by itself (MiniLM's does, at 128): lengths are decided here.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self.of_bytes = isinstance(tokenizer.pre_tokenizer, pre_tokenizers.ByteLevel)
        special = SPECIAL_OF_BYTES if self.of_bytes else SPECIAL
        missing = [token for token in special[:4] if tokenizer.token_to_id(token) is None]
        if missing:
            raise InputError(f"{where}: lacks the special tokens {', '.join(missing)}")
        self.tokenizer = tokenizer
        self.pad, self.unk, self.cls, self.sep, self.mask = map(tokenizer.token_to_id, special)  # mask: None if absent
        self.begin, self.end = (self.cls,), (self.sep,)  # around a text
        self.between = self.end * (2 if self.of_bytes else 1)
        self.keys, self.places = read_pairs(tokenizer)

    @classmethod
    def from_folder(cls, folder: pathlib.Path) -> "Vocabulary":
        """From FOLDER/tokenizer.json, else FOLDER/vocab.txt, else FOLDER/vocab.json and merges.txt, with the casing of
        tokenizer_config.json and the tokens of added_tokens.json where they are present; see published.py."""
        whole, vocab, config = (folder / name for name in ("tokenizer.json", "vocab.txt", "tokenizer_config.json"))
        settings = published.read_object(config)
        casing = published.read_casing(config, settings)
        if whole.is_file():
            tokenizer, remark = published.read_tokenizer(whole, casing, settings.get("tokenizer_class"))
            made = cls(published.with_first_blank(tokenizer, config, settings), str(whole))
        elif vocab.is_file():
            pieces, remark = published.read_vocab(vocab)
            made = cls.from_vocab(pieces, casing, str(vocab))
            remark = "; ".join(filter(None, (remark, published.remark_on_capitals(pieces, casing))))
        elif (folder / "vocab.json").is_file():
            tokenizer, remark = published.read_bytes_pieces(folder), ""
            made = cls(published.with_first_blank(tokenizer, config, settings), str(folder / "vocab.json"))
        else:
            raise InputError(f"{folder}: no vocab.txt or tokenizer.json there")
        published.add_tokens(made.tokenizer, folder, settings)
        made.remark = remark
        return made

    @classmethod
    def from_vocab(cls, vocab: dict[str, int], casing: dict | None = None, where: str = "vocabulary") -> "Vocabulary":
        """A vocabulary {piece: id} with BERT's text rules. `casing`: lowercase, strip_accents, handle_chinese_chars."""
        missing = [token for token in SPECIAL[:4] if token not in vocab]
        if missing:
            raise InputError(f"{where}: lacks the special tokens {', '.join(missing)}")
        tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]", max_input_chars_per_word=100))
        set_bert_rules(tokenizer, casing or {})
        return cls(tokenizer, where)

    @classmethod
    def learn(cls, texts: Iterable[str], vocab_size: int) -> "Vocabulary":
        """A vocabulary of at most `vocab_size` uncased pieces learned from `texts`, the same on every run. `texts` are
        gone through twice, and need not be in memory."""
        tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=100))
        set_bert_rules(tokenizer, {})
        normalize = tokenizer.normalizer.normalize_str
        parts = for_training(tokenizer, map(printable, texts))
        letters = Counter(letter for part in parts for letter in normalize(part))
        alphabet = sorted(sorted(letters, key=lambda letter: (-letters[letter], letter))[:LARGEST_ALPHABET])
        # The trainer numbers the pieces "##x" in the order of a hash table and breaks ties by number. Given first, as
        # if they were special, they have the same numbers every time.
        inner = ["##" + letter for letter in alphabet if not letter.isspace()]
        trainer = trainers.WordPieceTrainer(
            vocab_size=max(vocab_size, len(SPECIAL) + len(alphabet) + len(inner)),
            min_frequency=2,
            special_tokens=[*SPECIAL, *inner],
            initial_alphabet=alphabet,
            limit_alphabet=len(alphabet),
            show_progress=False,
        )
        tokenizer.train_from_iterator(for_training(tokenizer, map(printable, texts)), trainer)
        return cls.from_vocab(tokenizer.get_vocab())

    @classmethod
    def learn_words(
        cls, texts: Sequence[str], vocab_size: int, min_count: int, pattern: str, lower: bool = True
    ) -> "Vocabulary":
        """The `vocab_size` most frequent words that occur `min_count` times, in lower case unless `lower` is false;
        ties in alphabetical order. `pattern` is a regular expression of a word: WORD or UNBROKEN."""
        tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))
        if lower:
            tokenizer.normalizer = normalizers.Lowercase()
        tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), "removed", invert=True)
        learn_words(tokenizer, texts, SPECIAL, vocab_size, min_count)
        tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
        return cls(tokenizer)

    def with_pairs(self, texts: Sequence[str], most: int) -> "Vocabulary":
        """The same with the `most` frequent pairs of neighbouring words of `texts` that occur twice at least, ties in
        the order of their words' ids. They are kept in the vocabulary as "one two", which no word can be; what
        `encode` gives for a text is then its words, and after them its pairs."""
        found = [np.zeros(0, np.int64), *(neighbours(ids)[1] for ids in self.encode(texts))]
        keys, counts = np.unique(np.concatenate(found), return_counts=True)
        frequent = np.argsort(-counts, kind="stable")[: min(most, int((counts > 1).sum()))]
        content = json.loads(self.tokenizer.to_str())
        vocab = content["model"]["vocab"]
        words = {number: word for word, number in vocab.items()}
        for number, key in enumerate(keys[frequent].tolist(), self.largest_id + 1):
            vocab[f"{words[key >> 32]} {words[key % 2**32]}"] = number
        return Vocabulary(Tokenizer.from_str(json.dumps(content)))

    def is_pair(self) -> np.ndarray:
        """(largest id + 1,) bool: ids of pairs of words."""
        result = np.zeros(self.largest_id + 1, bool)
        result[self.places] = True
        return result

    def inner(self) -> np.ndarray:
        """(largest id + 1,) bool: pieces that go on with a word, spelled "##x"; of bytes, those that begin without the
        blank before a word."""
        result, vocab = np.zeros(self.largest_id + 1, bool), self.tokenizer.get_vocab()
        goes_on = (lambda piece: not piece.startswith(BLANK)) if self.of_bytes else lambda piece: piece.startswith("##")
        result[[number for piece, number in vocab.items() if goes_on(piece)]] = True
        return result

    def ordinary(self) -> np.ndarray:
        """The ids of all pieces but the special ones, ascending; "[unused0]" and its like count as special."""
        vocab = self.tokenizer.get_vocab()
        return np.array(sorted(number for piece, number in vocab.items() if not NAMES.fullmatch(piece)), np.int64)

    def publish(self, folder: pathlib.Path) -> None:
        """As published models have it: vocab.txt, its casing in tokenizer_config.json, and tokenizer.json."""
        pieces = {number: piece for piece, number in self.tokenizer.get_vocab().items()}
        lines = [pieces.get(number, f"[unused{number}]") for number in range(self.largest_id + 1)]
        files.write_text(folder / "vocab.txt", "\n".join(lines) + "\n")
        rules = json.loads(self.tokenizer.to_str())["normalizer"] or {}
        casing = {ours: rules[theirs] for ours, theirs in CASING.items() if theirs in rules}
        files.write_json(folder / "tokenizer_config.json", casing)
        self.save(folder)

    def encode(self, texts: Sequence[str], progress: Callable = iter) -> Pieces:
        """Word pieces of each text, in chunks through `progress` (a tqdm, or nothing); pairs, where there are any."""
        rows: list[np.ndarray] = []
        for start in progress(range(0, len(texts), 512)):
            chunk = Pieces(*division.encode(self.tokenizer, map(printable, texts[start : start + 512])))
            rows += map(self._and_pairs, chunk)
        return Pieces.join(rows)

    def encode_words(self, words: Sequence[str]) -> Pieces:
        """The pieces of each word; of bytes, as it is spelled behind a blank."""
        return (self.behind_blank if self.of_bytes else self).encode(words)

    @functools.cached_property
    def behind_blank(self) -> "Vocabulary":
        """The same pieces of bytes, which read the beginning of a text as behind a blank."""
        other = Vocabulary(Tokenizer.from_str(self.tokenizer.to_str()))
        other.tokenizer.pre_tokenizer.add_prefix_space = True
        return other

    def _and_pairs(self, ids: np.ndarray) -> np.ndarray:
        """The ids of words (T,), and after them those of the pairs among them."""
        return np.concatenate([ids, self.pairs_in(ids)[1]]) if len(self.keys) else ids

    def pairs_in(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(where the first word of each pair stands (P,), the ids of the pairs (P,)) among words (T,)."""
        if not len(self.keys):
            return np.zeros(0, np.int64), self.places
        at, wanted = neighbours(ids)
        found = np.searchsorted(self.keys, wanted).clip(max=len(self.keys) - 1)
        known = self.keys[found] == wanted
        return at[known], self.places[found[known]]


class Words(Saved):
    """Words, for language modelling: a vocabulary with <unk>, and <eos> at the end of each line. Where the model reads
    characters, and the vocabulary is what it predicts, `word_length` is how many of them it reads of a word."""

    word_length: int | None = None

    def __init__(self, tokenizer: Tokenizer):
        self.tokenizer = tokenizer
        self.unk, self.eos = tokenizer.token_to_id("<unk>"), tokenizer.token_to_id("<eos>")
        if self.unk is None or self.eos is None:
            raise InputError("lacks <unk> or <eos>, as no vocabulary of a language model does")

    @classmethod
    def learn(cls, lines: Iterable[str], vocab_size: int, pattern: str | None = None) -> "Words":
        """The `vocab_size` most frequent words, <unk> and <eos> among them. A text that spells them out, as the Penn
        Treebank and WikiText do, means these. `pattern`: a regular expression of a word, where it is not whatever
        stands between white space."""
        tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        if pattern:
            tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), "removed", invert=True)
        learn_words(tokenizer, lines, ("<unk>", "<eos>"), vocab_size, 0)
        return cls(tokenizer)

    def encode(self, lines: Iterable[str]) -> np.ndarray:
        """All words as one array, int32, each line ended by <eos>."""
        words, offsets = division.encode(self.tokenizer, lines)
        return np.insert(words, offsets[1:], self.eos)


def neighbours(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(where the first stands, a number) for each two neighbouring words, neither of them unknown: (T,) -> two of
    (T - 1 or fewer,) int64."""
    first, second = ids[:-1].astype(np.int64), ids[1:].astype(np.int64)
    known = np.flatnonzero((first >= len(SPECIAL)) & (second >= len(SPECIAL)))
    return known, (first << 32 | second)[known]


def read_pairs(tokenizer: Tokenizer) -> tuple[np.ndarray, np.ndarray]:
    """(numbers of the pairs, as `neighbours` gives them, ascending (P,); their ids (P,) int32) of a vocabulary of whole
    words; none of others."""
    pairs = []
    if isinstance(tokenizer.model, models.WordLevel):
        vocab = tokenizer.get_vocab()
        spelled = [(word.split(" "), number) for word, number in vocab.items() if " " in word]
        for pair, _ in spelled:
            if pair[0] not in vocab or pair[-1] not in vocab:
                raise InputError(f"vocabulary: a pair of words, {' '.join(pair)!r}, of which it has not both; damaged")
        pairs = sorted((vocab[first] << 32 | vocab[second], number) for (first, second), number in spelled)
    return np.array([key for key, _ in pairs], np.int64), np.array([number for _, number in pairs], np.int32)


def learn_words(
    tokenizer: Tokenizer, texts: Iterable[str], special: Sequence[str], vocab_size: int, min_count: int
) -> None:
    """Give a tokeniser of whole words the `special` ones and after them the most frequent of `texts`, `vocab_size` in
    all. The trainer would number a special word that a text spells a second time, and leave its first number empty."""
    unk = tokenizer.model.unk_token
    trainer = trainers.WordLevelTrainer(vocab_size=vocab_size, min_frequency=min_count, show_progress=False)
    tokenizer.train_from_iterator(for_training(tokenizer, map(printable, texts)), trainer)
    counted = tokenizer.get_vocab()
    words = [word for word in sorted(counted, key=counted.__getitem__) if word not in special]
    words = [*special, *words[: max(0, vocab_size - len(special))]]
    tokenizer.model = models.WordLevel({word: number for number, word in enumerate(words)}, unk)


def set_bert_rules(tokenizer: Tokenizer, casing: dict) -> None:
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=casing.get("tokenize_chinese_chars", True),
        strip_accents=casing.get("strip_accents"),
        lowercase=casing.get("do_lower_case", True),
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    # As in the published tokenisers, a special token spelled out in a text is that token.
    known = [token for token in SPECIAL if tokenizer.token_to_id(token) is not None]
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in known])


def printable(text: str) -> str:
    """Text with lone surrogates replaced: Python strings may hold them, UTF-8 (and the tokeniser) may not."""
    return text.encode("utf-8", "replace").decode("utf-8")


def encode(vocabulary: Vocabulary, texts: Sequence[str], progress: Callable = iter) -> Pieces:
    """`vocabulary.encode(texts)`, kept in the cache under the digest of the vocabulary and the texts."""
    digest = hashlib.blake2b(fingerprint(vocabulary.digest, *texts), digest_size=16).hexdigest()

    def make() -> dict[str, np.ndarray]:
        pieces = vocabulary.encode(texts, progress)
        spelling = {} if pieces.spelling is None else {"spelling": pieces.spelling}
        return {"tokens": pieces.tokens, "offsets": pieces.offsets} | spelling

    arrays = cached(f"pieces-{digest}", make)
    return Pieces(arrays["tokens"], arrays["offsets"], arrays.get("spelling"))
