"""Plain text for pre-training: a sentence or paragraph a line, a blank line between documents, in files (shards) of any
size. Each is read once, as a stream, into a file of tokens in the cache; nothing of it is kept in memory.

A token file holds the word pieces of all lines, one after the other. The first piece of a line is written as -1 - id,
so that lines can be told apart without an index.
"""

import dataclasses
import hashlib
import pathlib
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from textcls.data.corpus import Corpus, check_share, number_of
from textcls.data.decoding import UTF8
from textcls.data.plain import lines_of, paths
from textcls.runtime import files, parallel
from textcls.runtime.cache import cache_folder, needed
from textcls.runtime.errors import InputError
from textcls.runtime.files import fingerprint
from textcls.text import division
from textcls.text.division import chunks
from textcls.text.vocabulary import Vocabulary

CHUNK = 1024  # lines that are tokenised together
SHORTEST = 8  # tokens of a document that is worth a pair


@dataclasses.dataclass(frozen=True)
class Shard:
    """The tokens of one file of text, on the disk. Document i is the tokens `offsets[i]` to `offsets[i + 1]`."""

    path: pathlib.Path
    dtype: np.dtype
    offsets: np.ndarray  # (documents + 1,) int64

    def read(self, start: int, count: int) -> np.ndarray:
        """`count` tokens from `start` on, as stored: by a read, since the pages of a memory map count as ours."""
        size = self.dtype.itemsize
        return np.fromfile(self.path, self.dtype, count, offset=start * size)


@dataclasses.dataclass
class Passages:
    """The documents of a split: number i is document `place[i]` of shard `shard[i]`, `lengths[i]` tokens long.
    `ids` (1,) name what they were read from."""

    shards: list[Shard]
    shard: np.ndarray
    place: np.ndarray
    ids: np.ndarray

    def __post_init__(self):
        self.starts = np.zeros(len(self.shard), np.int64)
        self.lengths = np.zeros(len(self.shard), np.int64)
        for number, shard in enumerate(self.shards):
            own = self.shard == number
            self.starts[own] = shard.offsets[self.place[own]]
            self.lengths[own] = shard.offsets[self.place[own] + 1] - self.starts[own]

    def __len__(self) -> int:
        return len(self.place)

    def read(self, document: int, start: int, count: int) -> np.ndarray:
        """Tokens `start` to `start + count` of a document, the first piece of each line as -1 - id."""
        return self.shards[self.shard[document]].read(int(self.starts[document]) + start, count)

    def documents(self) -> Iterator[np.ndarray]:
        """The ids (int64) of each document, one after the other."""
        for document, length in enumerate(self.lengths):
            yield unmark(self.read(document, 0, int(length)))[0]

    def counts(self) -> np.ndarray:
        """How often each word piece occurs, up to the largest that does."""
        total = np.zeros(0, np.int64)
        for ids in self.documents():
            counts = np.bincount(ids)
            total = np.pad(total, (0, max(0, len(counts) - len(total))))
            total[: len(counts)] += counts
        return total

    def take(self, chosen: np.ndarray) -> "Passages":
        """Some of the documents, under a name of their own."""
        shard, place = self.shard[chosen], self.place[chosen]
        ids = np.array([number_of(str(self.ids), shard.tobytes().hex(), place.tobytes().hex())], np.uint64)
        return Passages(self.shards, shard, place, ids)

    def without(self, dropped: np.ndarray) -> "Passages":
        """The same but for what is of no use."""
        chosen = ~dropped
        return Passages(self.shards, self.shard[chosen], self.place[chosen], self.ids)


def load(
    train: str, dev: str | float, test: str | float | None, vocabulary: Vocabulary, progress: Callable = iter,
    encoding: str = UTF8,
) -> Corpus:  # fmt: skip
    """Files by commas. `dev` and `test` are files, or the share of the documents to hold out (of dev, of those that
    test leaves): which ones is a function of the text alone."""
    check_share(dev)
    check_share(test, "test")
    whole, dropped = passages(train, vocabulary, progress, encoding)
    random = np.random.default_rng(int(whole.ids[0]))
    in_dev = random.random(len(whole)) < dev if isinstance(dev, float) else np.zeros(len(whole), bool)
    in_test = random.random(len(whole)) < test if isinstance(test, float) else np.zeros(len(whole), bool)
    parts = {"train": whole.take(~in_dev & ~in_test), "dev": whole.take(in_dev & ~in_test)}
    if isinstance(dev, str):
        parts["dev"] = passages(dev, vocabulary, progress, encoding)[0]
    if test is not None:
        given = isinstance(test, str)
        parts["test"] = passages(test, vocabulary, progress, encoding)[0] if given else whole.take(in_test)
    for name, part in parts.items():
        check_count(f"the {name} text", part)
    names = [path.name for path in paths(train)]
    tokens = sum(int(part.lengths.sum()) for part in parts.values())
    short = f", {dropped:,} shorter than {SHORTEST} tokens left out" if dropped else ""
    description = f"{names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''}: {tokens:,} tokens{short}"
    return Corpus(names[0], description, [], parts["train"], parts["dev"], parts.get("test"), vocabulary)


def passages(
    names: str, vocabulary: Vocabulary, progress: Callable = iter, encoding: str = UTF8
) -> tuple[Passages, int]:
    """(the documents of the files, how many were too short to be among them)."""
    every = paths(names)
    own = every[parallel.rank() :: parallel.size()]  # each process has its files to tokenise
    made = {path: shard_of(path, vocabulary, encoding) for path in progress(own)}
    parallel.wait()
    shards = [made[path] if path in made else shard_of(path, vocabulary, encoding) for path in every]
    numbers = np.repeat(np.arange(len(shards)), [len(shard.offsets) - 1 for shard in shards])
    places = np.concatenate([np.arange(len(shard.offsets) - 1) for shard in shards])
    digests = (f"{shard.path.name} {len(shard.offsets)}" for shard in shards)
    whole = Passages(shards, numbers, places, np.array([number_of(*digests)], np.uint64))
    long_enough = whole.lengths >= SHORTEST
    return whole.without(~long_enough), int((~long_enough).sum())


def shard_of(path: pathlib.Path, vocabulary: Vocabulary, encoding: str = UTF8) -> Shard:
    """The tokens of a file, from the cache or made now."""
    what = fingerprint(vocabulary.digest, files.sha256(path), *([] if encoding == UTF8 else [encoding]))
    digest = hashlib.blake2b(what, digest_size=16).hexdigest()
    tokens = cache_folder() / f"tokens-{digest}.bin"
    index = tokens.with_suffix(".npz")
    dtype = np.dtype(np.int16 if vocabulary.largest_id < 2**15 else np.int32)
    facts = files.kept_arrays(index)
    if facts and tokens.is_file() and files.crc32(tokens) == facts["crc32"]:
        return Shard(tokens, dtype, facts["offsets"])
    with needed("tokens"):
        tokens.parent.mkdir(parents=True, exist_ok=True)
        offsets = write_tokens(tokens, tokenised(lines_of(path, encoding), vocabulary), dtype)
        files.keep_arrays(index, offsets=offsets, crc32=files.crc32(tokens))
    return Shard(tokens, dtype, offsets)


def write_tokens(path: pathlib.Path, lines: Iterable[tuple[str, np.ndarray]], dtype: np.dtype) -> np.ndarray:
    """Write the word pieces of all lines; where the documents begin, and the end of the last."""
    offsets, end = [0], 0
    with files.replacing(path, by_all=True) as file:
        for line, pieces in lines:
            if line.strip():
                file.write(mark(pieces).astype(dtype).tobytes())
                end += len(pieces)
            elif end > offsets[-1]:
                offsets.append(end)
        if end > offsets[-1]:
            offsets.append(end)
    return np.array(offsets, np.int64)


def tokenised(text: Iterable[str], vocabulary: Vocabulary) -> Iterator[tuple[str, np.ndarray]]:
    """(line, its word pieces) of all lines, a chunk in memory at a time."""
    for chunk in chunks(text, CHUNK, division.CHUNK):
        yield from zip(chunk, vocabulary.encode(chunk), strict=True)


def mark(tokens: np.ndarray) -> np.ndarray:
    """Tokens of a line, the first as -1 - id."""
    marked = tokens.copy()
    marked[:1] = -1 - marked[:1]
    return marked


def unmark(tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(ids int64, true where a line begins) of marked tokens."""
    tokens = tokens.astype(np.int64)
    begins = tokens < 0
    return np.where(begins, -1 - tokens, tokens), begins


def text(names: str, vocabulary: Vocabulary, encoding: str = UTF8) -> Passages:
    """Another text in the word pieces of a vocabulary."""
    split, _ = passages(names, vocabulary, encoding=encoding)
    check_count(names, split)
    return split


def check_count(what: str, part: Passages) -> None:
    """Pairs need a document and another one."""
    if len(part) < 2:
        raise InputError(
            f"{what} has {len(part)} documents of {SHORTEST} tokens or more; at least 2 are needed (a blank line ends "
            "a document)"
        )
