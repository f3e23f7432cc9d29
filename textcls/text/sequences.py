"""[CLS] A [SEP] (B [SEP]): the sequences that models read, made of word pieces; long texts cut, or in several rows.

What stands around a text is the vocabulary's: [CLS] and [SEP], or nothing where words are read by their characters.
"""

from collections.abc import Sequence

import numpy as np

from textcls.runtime.errors import InputError
from textcls.text.characters import Characters
from textcls.text.pieces import Chunks, Pieces, Sequences
from textcls.text.vocabulary import Vocabulary

Reads = Vocabulary | Characters


def assemble(sides: Sequence[Pieces], vocabulary: Reads, max_length: int, truncate: str = "head") -> Sequences:
    """[CLS] A [SEP], or [CLS] A [SEP] B [SEP], at most `max_length` tokens a row. `sides`: one Pieces, or two. Between
    two stands what the vocabulary has there."""
    rows, first, truncated = [], [], 0
    after = [vocabulary.between] * (len(sides) - 1) + [vocabulary.end]
    room = max_length - len(vocabulary.begin) - sum(map(len, after))
    if room < len(sides):
        raise InputError(f"--max-length {max_length} leaves no room for the text; give at least 8")
    for texts in zip(*sides, strict=True):
        keeps = share_room([len(text) for text in texts], room)
        truncated += any(keep < len(text) for keep, text in zip(keeps, texts, strict=True))
        row = [*vocabulary.begin]
        for text, keep, ending in zip(texts, keeps, after, strict=True):
            row += [*cut(text, keep, truncate), *ending]
        rows.append(row)
        first.append(len(vocabulary.begin) + keeps[0] + len(after[0]))
    return Sequences(Pieces.join(rows, sides[0].spelling), np.asarray(first, np.int64), truncated)


def windows(texts: Pieces, vocabulary: Reads, max_length: int, stride: int, most: int) -> Sequences:
    """[CLS] window [SEP] for windows of `max_length` - 2 tokens that begin every `stride` tokens, at most `most` of
    a text; the last one ends with the text."""
    room, rows, documents, truncated = max_length - ends(vocabulary), [], [], 0
    for number, text in enumerate(texts):
        starts = [0]
        while starts[-1] + room < len(text) and len(starts) < most:
            starts.append(min(starts[-1] + stride, max(0, len(text) - room)))
        truncated += starts[-1] + room < len(text)
        rows += [[*vocabulary.begin, *text[start : start + room], *vocabulary.end] for start in starts]
        documents += [number] * len(starts)
    lengths = np.array([len(row) for row in rows], np.int64)
    joined = Pieces.join(rows, texts.spelling)
    return Sequences(joined, lengths, truncated, np.asarray(documents, np.int64))


def ends(vocabulary: Reads) -> int:
    """Tokens around a text."""
    return len(vocabulary.begin) + len(vocabulary.end)


def chunks(sentences: Sequence[Sequence[str]], vocabulary: Reads, max_length: int) -> Chunks:
    """Words as [CLS] pieces [SEP]. A sentence of more than `max_length` tokens goes on in another row, between two
    words; a word without a piece is unknown, and one of more than a whole row keeps its first pieces."""
    distinct = sorted({word for words in sentences for word in words})
    encoded = vocabulary.encode_words(distinct)
    room = max_length - ends(vocabulary)
    pieces = {word: encoded[i][:room].tolist() or [vocabulary.unk] for i, word in enumerate(distinct)}
    most = max_length - len(vocabulary.end)  # tokens of a row before what ends it
    rows, starts, numbers = [], [], []
    for number, words in enumerate(sentences):
        rows.append([*vocabulary.begin])
        starts.append([])
        for word in words:
            tokens = pieces[word]
            if len(rows[-1]) + len(tokens) > most:
                rows[-1] += vocabulary.end
                numbers.append(number)
                rows.append([*vocabulary.begin])
                starts.append([])
            starts[-1].append(len(rows[-1]))
            rows[-1] += tokens
        rows[-1] += vocabulary.end
        numbers.append(number)
    lengths = np.array([len(row) for row in rows], np.int64)
    joined = Pieces.join(rows, encoded.spelling)
    return Chunks(Sequences(joined, lengths, 0), Pieces.join(starts), np.asarray(numbers, np.int64))


def share_room(lengths: Sequence[int], room: int) -> list[int]:
    """Tokens that each text keeps of `room`: all, or the longer text gives way first until both are equal."""
    if len(lengths) == 1:
        return [min(lengths[0], room)]
    first, second = lengths
    if first + second <= room:
        return [first, second]
    keep = min(first, max(room - second, room - room // 2))
    return [keep, room - keep]


def cut(tokens: np.ndarray, keep: int, truncate: str) -> list[int]:
    """`keep` tokens: the first, the last, or as many from either end (Sun et al., 2019, section 5.3.1)."""
    if len(tokens) <= keep:
        return tokens.tolist()
    if truncate == "head":
        return tokens[:keep].tolist()
    if truncate == "tail":
        return tokens[len(tokens) - keep :].tolist()
    head = keep - keep // 2
    return [*tokens[:head].tolist(), *tokens[len(tokens) - keep // 2 :].tolist()]
