"""Long texts in parts for the tokeniser, which takes 50 to 450 bytes of memory for a byte of text.

A text is divided before a character at which the tokeniser would divide it in any case, so that its tokens are those of
its parts, one after the other. Which characters these are depends on how it finds words:

- Where words are what is between white space, before each blank, tab and line end. BERT's own rules set punctuation
  marks and Chinese characters apart from what precedes them, whatever that is: before these as well.
- Where a blank begins a word (byte-level BPE, SentencePiece), before a blank that follows a printing ASCII character.
- Not where an added token holds the character: it might begin before it.

Normalising comes first, and does not look beyond such a character: it changes characters one by one, but for marks,
which join the character before them; none of these characters is a mark, or another one with a mark. Of other
tokenisers nothing is known; they read texts of at most LONGEST_PART characters. tests/test_division.py compares with
whole texts.
"""

import array
import dataclasses
import functools
import json
import re
import string
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from tokenizers import Encoding, Tokenizer, models

from textcls.runtime.errors import InputError
from textcls.text.published import rules_hold

PART = 1 << 16  # characters after which a part ends at the next place where it may
LONGEST_PART = 1 << 20  # characters
CHUNK = 1 << 18  # characters that are tokenised together
ONE_BY_ONE = ("BertNormalizer", "Lowercase", "StripAccents", "NFC", "NFD", "NFKC", "NFKD")  # normalisers, as said above
WORD = r"\w+|[^\w\s]"  # words, and single punctuation marks
UNBROKEN = r"[^ \t]+"  # whatever stands between blanks and tabs, a no-break space among them
IN_LINES = r"[^ \t\r\n]+"  # the same, and line ends between words as well
APART = {WORD: " \t\n\r", UNBROKEN: " \t", IN_LINES: " \t\n\r"}  # what is in no word, and divides words
CHINESE = "".join(map(chr, range(0x4E00, 0xA000)))
# An underscore is a letter to tokens that are single words, and < = > with a stroke (a mark) are no punctuation in NFC.
PUNCTUATION = "".join(set(string.punctuation) - set("_<=>"))
ESCAPED = {ord(letter): f"\\{letter}" for letter in "\\]^-"}  # in a class of characters
LONG_WORD = re.compile(f"([A-Za-z0-9]{{{PART}}})[A-Za-z0-9]+")


@dataclasses.dataclass(frozen=True)
class Rules:
    """How texts may be divided for a tokeniser. `before`: what a part may begin with, None where nothing is known.
    `shortens`: whether letters and digits without end are an unknown word, so that the first PART of them will do."""

    before: re.Pattern | None
    shortens: bool

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> "Rules":
        normalizers = parts_of(state(tokenizer.normalizer), "normalizers")
        first, *then = [*parts_of(state(tokenizer.pre_tokenizer), "pretokenizers"), {"type": "none"}]
        added = added_tokens(tokenizer)
        spelled, dividing = set("".join(added)), white_space(first)
        if not all(part["type"] in ONE_BY_ONE for part in normalizers):
            return cls(None, False)
        if blank_begins_word(first) and " " not in spelled:
            stripping = any(token.rstrip for token in tokenizer.get_added_tokens_decoder().values())
            return cls(None if stripping else re.compile("(?<=[!-~]) "), False)
        if not dividing or any(letter.isspace() for letter in spelled):
            return cls(None, False)
        if first["type"] == "BertPreTokenizer":
            dividing += "".join(letter for letter in PUNCTUATION if letter not in spelled)
        if sets_chinese_apart(tokenizer, normalizers, spelled):
            dividing += CHINESE
        around = all(len(token) < PART and not token[end].isalnum() for token in added for end in (0, -1))
        shortens = around and len(then) == 1 and longest_known_word(tokenizer) < PART
        return cls(re.compile(f"[{dividing.translate(ESCAPED)}]"), shortens)

    def divide(self, text: str) -> Iterator[tuple[str, bool]]:
        """(part, whether it is the last one) of a text. Raises InputError for more than LONGEST_PART characters without
        a place where the text may be divided."""
        start = 0
        while start < len(text) or not start:
            match = self.before.search(text, start + PART) if self.before else None
            end = match.start() if match else len(text)
            if end - start > LONGEST_PART:
                raise unbroken(text[start:end], self.before is not None)
            yield text[start:end], end == len(text)
            start = end or 1

    def shortened(self, text: str) -> str:
        """A text with the same tokens, in which no word of letters and digits is without end."""
        return LONG_WORD.sub(r"\1", text) if self.shortens else text


def unbroken(part: str, divides: bool) -> InputError:
    where = "without a blank between them" if divides else "in one text"
    return InputError(
        f"{len(part):,} characters {where}, which begin {part[:40]!r}; the tokeniser reads at most {LONGEST_PART:,}"
    )


# ---- what a tokeniser is made of ------------------------------------------------------------------------------------


def state(component) -> dict | None:
    """A normaliser or pre-tokeniser as tokenizer.json has it."""
    return None if component is None else json.loads(component.__getstate__())


def parts_of(component: dict | None, name: str) -> list[dict]:
    """The components of a sequence, in their order, or the one that it is."""
    if component is None:
        return []
    if component["type"] != "Sequence":
        return [component]
    return [part for inner in component[name] for part in parts_of(inner, name)]


def blank_begins_word(words: dict) -> bool:
    if words["type"] == "ByteLevel":
        return words.get("use_regex", True)
    return words["type"] == "Metaspace" and words.get("split", True)


def white_space(words: dict) -> str:
    """White space at which a pre-tokeniser always divides a text."""
    if words["type"] == "Split":
        alone = words["behavior"] == "Removed" and words["invert"]
        return APART.get(words["pattern"].get("Regex", ""), "") if alone else ""
    return " \t\n\r" if words["type"] in ("BertPreTokenizer", "Whitespace", "WhitespaceSplit") else ""


def added_tokens(tokenizer: Tokenizer) -> list[str]:
    """The tokens that are looked for in a text before anything else, and what they are in a normalised one."""
    tokens = [token.content for token in tokenizer.get_added_tokens_decoder().values() if token.content]
    if tokenizer.normalizer is None:
        return tokens
    return [*tokens, *filter(None, map(tokenizer.normalizer.normalize_str, tokens))]


def sets_chinese_apart(tokenizer: Tokenizer, normalizers: list[dict], spelled: set[str]) -> bool:
    """Whether each Chinese character is a word of its own, and of no added token."""
    apart = any(part["type"] == "BertNormalizer" and part["handle_chinese_chars"] for part in normalizers)
    single = any(token.single_word for token in tokenizer.get_added_tokens_decoder().values())
    return apart and not single and spelled.isdisjoint(CHINESE)


def longest_known_word(tokenizer: Tokenizer) -> float:
    """Characters of the longest word that is not unknown."""
    model = tokenizer.model
    if isinstance(model, models.WordPiece):
        return model.max_input_chars_per_word
    if isinstance(model, models.WordLevel):
        return max(map(len, tokenizer.get_vocab()), default=0)
    return float("inf")


# ---- texts ----------------------------------------------------------------------------------------------------------


def chunks(items: Iterable, most: int, size: int, size_of: Callable = len) -> Iterator[list]:
    """Lists of at most `most` items, none of more than `size` by `size_of` unless it is one item."""
    chunk, total = [], 0
    for item in items:
        own = size_of(item)
        if chunk and (len(chunk) == most or total + own > size):
            yield chunk
            chunk, total = [], 0
        chunk.append(item)
        total += own
    if chunk:
        yield chunk


def parts(rules: Callable[[], Rules], texts: Iterable[str], shorten: bool = False) -> Iterator[tuple[str, bool]]:
    """(part, whether its text ends with it) of all texts; the rules are asked for where a text is long."""
    for text in texts:
        if len(text) <= PART:
            yield text, True
        else:
            yield from rules().divide(rules().shortened(text) if shorten else text)


def rules_of(tokenizer: Tokenizer) -> Callable[[], Rules]:
    """The rules for a tokeniser, looked for when they are needed."""
    return functools.cache(functools.partial(Rules.of, tokenizer))


def for_training(tokenizer: Tokenizer, texts: Iterable[str]) -> Iterator[str]:
    """The parts of all texts. A tokeniser that is being trained does not say what it is made of: it is asked before."""
    rules = Rules.of(tokenizer)
    return (part for part, _ in parts(lambda: rules, texts))


def tokenised(encode: Callable, divided: Iterable[tuple[str, bool]]) -> Iterator[tuple[str, Encoding, bool]]:
    """(part, its Encoding, whether its text ends with it). `encode` is encode_batch or encode_batch_fast of a tokeniser,
    of whose work one chunk is in memory at a time."""
    for chunk in chunks(divided, CHUNK, CHUNK, lambda part: len(part[0])):
        texts, ends = zip(*chunk, strict=True)
        with rules_hold():
            encodings = encode(texts, add_special_tokens=False)
        yield from zip(texts, encodings, ends, strict=True)


def encode(tokenizer: Tokenizer, texts: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
    """(the ids of N texts, one text after the other, (T,) int32; where each begins, and the end of the last, (N + 1,)
    int64), without special tokens."""
    ends, tokens = [0], array.array("i")
    for _, encoding, last in tokenised(tokenizer.encode_batch_fast, parts(rules_of(tokenizer), texts, shorten=True)):
        tokens.extend(encoding.ids)
        if last:
            ends.append(len(tokens))
    return np.frombuffer(tokens, np.int32), np.array(ends, np.int64)
