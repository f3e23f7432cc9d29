"""From what a reader gives to what a model reads: one function a task."""

from collections.abc import Sequence

import numpy as np

from textcls.batch import Batches, Streams, TagBatches
from textcls.config import TrainConfig
from textcls.data.cache import encode
from textcls.data.corpus import Documents
from textcls.data.language import Text
from textcls.data.pretraining import Passages
from textcls.data.tagging import Sentences
from textcls.errors import InputError
from textcls.pairs import PairBatches
from textcls.progress import through
from textcls.rows import Pieces, Sequences
from textcls.text import Vocabulary, Words


def documents(part: Documents, vocabulary: Vocabulary, config: TrainConfig, name: str) -> Batches:
    """The documents of a split as batches; says how many are longer than the model reads."""
    progress = through(f"tokenising {name}", config.quiet)
    sequences = assemble([encode(vocabulary, side, progress) for side in zip(*part.texts, strict=True)],
                         vocabulary, config)  # fmt: skip
    what = f"up to {config.max_windows} windows" if sequences.documents is not None else f"{config.max_length} tokens"
    print(f"{name}: {len(part)} documents, {sequences.truncated / len(part):.1%} longer than {what}"
          f" (cut: {config.truncate})")  # fmt: skip
    return Batches(sequences, part.labels, config.batch_size, config.seed, vocabulary.pad)


def texts(sides: Sequence[Sequence[str]], vocabulary: Vocabulary, config: TrainConfig, batch_size: int, quiet: bool):
    """Texts without labels, to be predicted."""
    progress = through("tokenising", quiet)
    sequences = assemble([vocabulary.encode(side, progress) for side in sides], vocabulary, config)
    return Batches(sequences, np.zeros(len(sides[0]), np.int64), batch_size, pad=vocabulary.pad)


def assemble(sides: Sequence[Pieces], vocabulary: Vocabulary, config: TrainConfig) -> Sequences:
    if config.long_documents != "window":
        return vocabulary.assemble(sides, config.max_length, config.truncate)
    if len(sides) > 1:
        raise InputError("--long-documents window reads one text a document, not pairs")
    stride = config.stride or (config.max_length - 2) // 2
    if stride > config.max_length - 2:
        raise InputError(f"--stride {stride} leaves out words: a window holds {config.max_length - 2} tokens")
    return vocabulary.windows(sides[0], config.max_length, stride, config.max_windows)


def sentences(part: Sentences, vocabulary: Vocabulary, config: TrainConfig, name: str) -> TagBatches:
    chunks = vocabulary.chunks(part.words, config.max_length)
    split = len(chunks.starts) - len(part)
    print(f"{name}: {len(part)} sentences, {sum(map(len, part.words)):,} words; {split} rows more for long sentences")
    return TagBatches(chunks, split_tags(part.tags, chunks.starts), config.batch_size, config.seed, vocabulary.pad)


def split_tags(tags: Sequence[np.ndarray], starts: Pieces) -> Pieces:
    """The tags of sentences, divided as their words are among the rows."""
    return Pieces(np.concatenate(tags).astype(np.int32), starts.offsets)


def streams(part: Text, vocabulary: Words, config: TrainConfig, name: str) -> Streams:
    """The training text side by side; any other in one stream, so that its perplexity is that of all its words."""
    print(f"{name}: {len(part):,} words")
    if name != "train":
        return one_stream(part.words, vocabulary, config.max_length)
    if len(part) <= config.batch_size:
        raise InputError(f"the training text has {len(part)} words, too few for --batch-size {config.batch_size}")
    return Streams(part.words, config.batch_size, config.max_length)


def one_stream(words: np.ndarray, vocabulary: Words, window: int) -> Streams:
    """A text from its first word on, as if the line before had just ended: every word is predicted."""
    return Streams(np.concatenate([[vocabulary.eos], words]), 1, window)


def pairs(part: Passages, vocabulary: Vocabulary, config: TrainConfig, name: str) -> PairBatches:
    """Documents of plain text as masked pairs."""
    batches = PairBatches(part, vocabulary, config.max_length, config.batch_size, config.seed, config.next_sentence)
    print(f"{name}: {len(part):,} documents, {int(part.lengths.sum()):,} tokens, {len(batches.lengths):,} examples")
    return batches
