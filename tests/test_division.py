"""Long texts in parts: the tokens are those of the whole text."""

import pathlib

import numpy as np
import pytest
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

from textcls.runtime.errors import InputError
from textcls.text import division
from textcls.text.characters import TOKENS, Characters
from textcls.text.division import UNBROKEN, WORD
from textcls.text.passages import place
from textcls.text.vocabulary import SPECIAL, Vocabulary, Words, printable

NANO = pathlib.Path(__file__).parent.parent / "textcls" / "assets" / "nano"
# What tokenisers look at: marks, controls, marks that join, ideographs, letters of other scripts, spelled-out tokens.
BITS = [
    *"aZ09_.,-'!?[]<=>#+/\\^ \t\n\r", "  ", "\r\n", " \t ", "word", "Covid", "new york", "don't", "[MASK]",
    "[SEP]", "##s", "e\u0301", "\u0301", "\u20dd", "\u0338", " \u0338", "=\u0338", "\u00e9", "\u0130", "\u03a3", "\u00df",
    "\u00a0", "\u3000", "\u2003", "\u0085", "\u2028", "\0", "\x07", "\ufffd", "\u200b", "\u200d", "\ufeff", "中", "文", "。", "、",
    "ไทย", "각", "\u1100\u1161", "½", "…", "－", "ﬁ", "🙂", "👩\u200d👧", "\ud800", "▁", "Ġ", "covid", "York",
]  # fmt: skip


def random_text(random: np.random.Generator, size: int) -> str:
    return "".join(random.choice(BITS, size))


def learned(model, trainer, normalizer, words, added=()) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, words
    random = np.random.default_rng(1)
    tokenizer.train_from_iterator([printable(random_text(random, 200)) for _ in range(40)], trainer)
    tokenizer.add_tokens(list(added))
    return tokenizer


def word_pieces(normalizer=None, words=None, added=()) -> Tokenizer:
    trainer = trainers.WordPieceTrainer(vocab_size=400, special_tokens=list(SPECIAL), show_progress=False)
    model = models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=100)
    words = words or pre_tokenizers.BertPreTokenizer()
    return learned(model, trainer, normalizer or normalizers.BertNormalizer(), words, added)


def byte_pairs(words, normalizer=None, added=()) -> Tokenizer:
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = list(SPECIAL)
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    return learned(models.BPE(unk_token="[UNK]"), trainer, normalizer, words, added)


def whole_words(words, normalizer=None) -> Tokenizer:
    trainer = trainers.WordLevelTrainer(special_tokens=list(SPECIAL), show_progress=False)
    return learned(models.WordLevel(unk_token="[UNK]"), trainer, normalizer, words)


def unigrams(words, normalizer=None) -> Tokenizer:
    trainer = trainers.UnigramTrainer(
        vocab_size=200, special_tokens=list(SPECIAL), unk_token="[UNK]", show_progress=False
    )
    return learned(models.Unigram(), trainer, normalizer, words)


def split(pattern: str):
    return pre_tokenizers.Split(Regex(pattern), "removed", invert=True)


AWKWARD = [
    AddedToken("new york"), AddedToken("covid", single_word=True), AddedToken("don't", normalized=True),
    AddedToken("#+", lstrip=True, rstrip=True), AddedToken("Zürich", normalized=True), AddedToken("文"),
]  # fmt: skip
KINDS = {
    "nano": lambda: Vocabulary.from_folder(NANO).tokenizer,
    "bert": word_pieces,
    "bert-cased": lambda: word_pieces(normalizers.BertNormalizer(lowercase=False, strip_accents=False)),
    "bert-no-chinese": lambda: word_pieces(normalizers.BertNormalizer(handle_chinese_chars=False, clean_text=False)),
    "bert-added": lambda: word_pieces(added=AWKWARD),
    "bert-added-words": lambda: word_pieces(added=[AddedToken("covid", single_word=True), AddedToken("a-9")]),
    "bert-nfkc": lambda: word_pieces(normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])),
    "bert-nfc": lambda: word_pieces(normalizers.NFC()),
    "white-space": lambda: word_pieces(normalizers.NFD(), pre_tokenizers.WhitespaceSplit()),
    "digits": lambda: word_pieces(
        None, pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Digits(True)])
    ),
    "bytes": lambda: byte_pairs(pre_tokenizers.ByteLevel(add_prefix_space=False)),
    "bytes-prefix": lambda: byte_pairs(pre_tokenizers.ByteLevel(add_prefix_space=True), normalizers.NFC()),
    "bytes-mask": lambda: byte_pairs(
        pre_tokenizers.ByteLevel(add_prefix_space=True), added=[AddedToken("#+", lstrip=True)]
    ),
    "metaspace": lambda: unigrams(pre_tokenizers.Metaspace(), normalizers.NFKC()),
    "metaspace-first": lambda: unigrams(pre_tokenizers.Metaspace(prepend_scheme="first")),
    "words": lambda: whole_words(split(WORD), normalizers.Lowercase()),
    "unbroken": lambda: whole_words(split(UNBROKEN)),
    "lines": lambda: whole_words(split(TOKENS["blanks"])),
}


@pytest.fixture
def small(monkeypatch):
    """Parts of a few characters."""
    monkeypatch.setattr(division, "PART", 12)
    monkeypatch.setattr(division, "CHUNK", 50)
    monkeypatch.setattr(division, "LONG_WORD", division.re.compile("([A-Za-z0-9]{12})[A-Za-z0-9]+"))


@pytest.mark.parametrize("kind", KINDS)
def test_the_tokens_of_the_parts_are_those_of_the_whole(kind, small):
    tokenizer, random = KINDS[kind](), np.random.default_rng(0)
    rules = division.Rules.of(tokenizer)
    assert rules.before or kind == "bert-added"  # two of its tokens hold a blank, so nothing is sure
    texts = [printable(random_text(random, int(random.integers(0, 120)))) for _ in range(400)]
    parts = list(division.parts(lambda: rules, texts))
    assert "".join(part for part, _ in parts) == "".join(texts) and sum(last for _, last in parts) == len(texts)
    assert len(parts) > 2 * len(texts) or kind == "bert-added"
    tokens, offsets = division.encode(tokenizer, texts)
    whole = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    assert [tokens[start:end].tolist() for start, end in zip(offsets[:-1], offsets[1:], strict=True)] == whole


def test_the_characters_of_pieces_are_those_in_the_whole_text(small):
    vocabulary, random = Vocabulary.from_folder(NANO), np.random.default_rng(2)
    texts = [random_text(random, int(random.integers(0, 120))) for _ in range(300)]
    placed = place(vocabulary, texts)
    for number, text in enumerate(texts):
        alone = vocabulary.tokenizer.encode(printable(text), add_special_tokens=False)
        starts, ends = placed.places(number)
        assert placed.pieces[number].tolist() == alone.ids
        assert starts.tolist() == [start for start, _ in alone.offsets]
        assert all(end >= own for end, (_, own) in zip(ends.tolist(), alone.offsets, strict=True))


def test_a_word_of_letters_and_digits_without_end_is_unknown(small):
    """Where the tokeniser knows no word that is as long, and no added token may begin or end in it."""
    random, vocab = np.random.default_rng(3), {"[UNK]": 0, "a": 1, "##a": 2, "a9": 3, ".": 4, "[MASK]": 5}
    pieces = models.WordPiece(vocab, unk_token="[UNK]", max_input_chars_per_word=11)
    longer = models.WordPiece(vocab, unk_token="[UNK]", max_input_chars_per_word=12)
    words = models.WordLevel({"[UNK]": 0, "a" * 11: 1}, unk_token="[UNK]")
    for model, added, shortens in [
        (pieces, "[MASK]", True), (pieces, "a]", False), (pieces, "[a", False), (longer, "[MASK]", False),
        (words, "[MASK]", True), (models.WordLevel({"[UNK]": 0, "a" * 12: 1}, unk_token="[UNK]"), "[MASK]", False),
    ]:  # fmt: skip
        tokenizer = Tokenizer(model)
        tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
        tokenizer.add_tokens([added])
        assert division.Rules.of(tokenizer).shortens == shortens
        texts = ["".join(random.choice([*"aA9.[] ", "\u0301", "a" * 13, "9" * 40], 30)) for _ in range(100)]
        tokens, offsets = division.encode(tokenizer, texts)
        for text, start, end in zip(texts, offsets[:-1], offsets[1:], strict=True):
            assert tokens[start:end].tolist() == tokenizer.encode(text, add_special_tokens=False).ids


def test_long_texts_as_they_are():
    """Parts as long as they are in use: megabytes in one word, and what cannot be divided."""
    vocabulary = Vocabulary.from_folder(NANO)
    rules = division.Rules.of(vocabulary.tokenizer)
    word = "x1" * (2 * division.LONGEST_PART)
    assert rules.shortens and len(rules.shortened(word)) == division.PART
    expected = vocabulary.encode([f"a {99 * 'xyé'}. b"])
    assert vocabulary.encode([f"a {word}é. b"])[0].tolist() == expected[0].tolist()
    with pytest.raises(InputError, match=r"1,048,577 characters without a blank between them, which begin 'ก+'; the tok"):
        vocabulary.encode(["ก" * (division.LONGEST_PART + 1)])
    whole = Vocabulary(KINDS["bert-added"]())
    with pytest.raises(InputError, match=r"2,097,152 characters in one text, which begin 'a a"):
        whole.encode(["a " * division.LONGEST_PART])


def test_words_and_characters_of_texts_in_parts_are_those_of_whole_texts(monkeypatch):
    random = np.random.default_rng(4)
    texts = [random_text(random, 80) for _ in range(60)]
    lines = [printable(text) for text in texts]

    def everything():
        pieces = Vocabulary.learn(texts, 300)
        bag = Vocabulary.learn_words(texts, 200, 1, WORD).with_pairs(texts, 50)
        words, spelled = Words.learn(lines, 100), Characters.make(TOKENS["words"], 12).encode(texts)
        known = [words.tokenizer.id_to_token(i) for i in words.encode(lines)]
        return (pieces.digest, pieces.encode(texts).tokens.tolist(), bag.encode(texts).tokens.tolist(), known,
                spelled.spelling[spelled.tokens].tolist(), spelled.offsets.tolist())  # fmt: skip

    before = everything()
    monkeypatch.setattr(division, "PART", 12)
    monkeypatch.setattr(division, "CHUNK", 50)
    assert everything() == before
