"""Texts, and pairs of texts, as one row of numbers each: what classification, regression and several labels a text
have in common.

Dimensions: N documents, C outputs of the model (classes, labels, or one score).
"""

import contextlib
import hashlib
import pathlib
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from textcls.config import TrainConfig
from textcls.data import glue, tabular
from textcls.data.corpus import Corpus, Documents
from textcls.data.multilabel import LabelSets
from textcls.data.scores import Scored
from textcls.pretrained.backbone import Backbone, check_pairs, elmo_of, words_of
from textcls.pretrained.features import Features
from textcls.records.formats import of_columns
from textcls.records.lines import LineReader
from textcls.records.plain import PlainLines
from textcls.records.record import Records, Value, in_column
from textcls.runtime import files, parallel
from textcls.runtime.device import Precision, copies_kept
from textcls.runtime.errors import InputError
from textcls.runtime.progress import through
from textcls.tasks import base
from textcls.tasks.answers import Explained
from textcls.tasks.contents import Described
from textcls.text.batches import CPU_TOKENS, Batch, Batches
from textcls.text.characters import Characters
from textcls.text.division import WORD
from textcls.text.pieces import Pieces, Sequences
from textcls.text.sequences import assemble, ends, windows
from textcls.text.vocabulary import Vocabulary, encode
from textcls.text.word_dropout import WordDropout

DEFAULTS = base.DEFAULTS | {
    "text_column": "text",
    "label_column": "label",
    "dropout": 0.3,
    "word_dropout": 0.0,
    "long_documents": "cut",
    "stride": None,
    "max_windows": 8,
}
Text = str | tuple[str, ...]
Split = Documents | LabelSets | Scored
FORMATS = ("csv", "tsv", "jsonl")  # of files to be predicted, beside .json; others have a text a line
OBJECTS = ("jsonl", "json")  # whose answers are printed as objects


# ---- data -----------------------------------------------------------------------------------------------------------


def is_glue(config: TrainConfig) -> bool:
    """Whether the data are a corpus of GLUE."""
    return config.train is None and config.data in glue.CORPORA


def text_columns(config: TrainConfig) -> list[str]:
    """What the texts of a document are called in files: of a corpus of GLUE as it was published."""
    if config.train is not None:
        return tabular.text_columns(config.text_column)
    return list(glue.CORPORA[config.data].texts) if is_glue(config) else ["text"]


def places(config: TrainConfig, count: int, read: Callable) -> list[str]:
    """Where each of the `count` training documents stands: the FILE:LINE of the rows of `read(path)`, seen from the
    file's folder; of a corpus that is built in its number."""
    if config.train is None:
        return [f"{config.data} {number}" for number in range(1, count + 1)]
    train = pathlib.Path(config.train)
    return [where.removeprefix(f"{train.parent}/") for where, *_ in read(train)]


def prepare(load: Callable, config: TrainConfig, recipe: dict) -> tuple[Corpus, Backbone]:
    """The corpus that `load` reads, and what the recipe's model stands on. Raises InputError for pairs where the model
    reads single texts."""
    corpus = base.read(load, config)
    if recipe["input"] == "pieces":
        backbone = base.pieces_backbone(config, recipe)
        if len(corpus.train.texts[0]) > 1:
            check_pairs(backbone)
        return corpus, backbone
    if recipe["input"] == "characters":
        if len(corpus.train.texts[0]) > 1:
            raise InputError(f"--model {config.model} reads one text a document, not pairs")
        return corpus, elmo_of(config)
    train = getattr(corpus.train, "whole", corpus.train)  # with what a teacher tells of, where there is one
    texts = [text for parts in train.texts for text in parts]
    vocabulary = Vocabulary.learn_words(texts, config.vocab_size, config.min_count, WORD, config.lower)
    if recipe["input"] == "bag":  # as many pairs as words: "how many" tells more than "how" and "many"
        vocabulary = vocabulary.with_pairs(texts, min(len(vocabulary), config.vocab_size - len(vocabulary)))
    return corpus, words_of(config, vocabulary)


def sequences(split: Split, vocabulary: Vocabulary, config: TrainConfig, name: str) -> Sequences:
    """The documents of a split as the model reads them."""
    progress = through(f"tokenising {name}", config.quiet)
    sides = [encode(vocabulary, side, progress) for side in zip(*split.texts, strict=True)]
    return sequences_of(sides, vocabulary, config)


def word_dropout(vocabulary: Vocabulary, config: TrainConfig, name: str) -> WordDropout | None:
    """What leaves words out of the split called `name`: of the training data, if asked for."""
    if not config.word_dropout or name != "train":
        return None
    return WordDropout.of(config.word_dropout, config.seed, vocabulary)


def description(split: Split, sequences: Sequences, vocabulary: Vocabulary | Characters, config: TrainConfig) -> str:
    """How many documents there are, how many of them are cut, and whether the vocabulary knows what they say."""
    what = f"up to {config.max_windows} windows" if sequences.documents is not None else f"{config.max_length} tokens"
    share = sequences.truncated / len(split)
    unread = not_known(sequences.rows, vocabulary)
    return f"{len(split)} documents, {share:.1%} longer than {what} (cut: {config.truncate}){unread}"


def not_known(rows: Pieces, vocabulary: Vocabulary | Characters) -> str:
    """Said where more than half of the tokens are unknown, or there is none: most often the vocabulary is another's."""
    if rows.spelling is not None:
        return ""
    around = [*vocabulary.begin, *vocabulary.between, *vocabulary.end]
    of_texts, unknown = int((~np.isin(rows.tokens, around)).sum()), int((rows.tokens == vocabulary.unk).sum())
    if not of_texts:
        return "; none of them has a token: is the vocabulary theirs?"
    share = unknown / of_texts
    return f"; {share:.1%} of their tokens are unknown: is the vocabulary theirs?" if share > 0.5 else ""


def sequences_of(sides: Sequence[Pieces], vocabulary: Vocabulary | Characters, config: TrainConfig) -> Sequences:
    """Documents as the model reads them: one row each, or windows of the long ones."""
    if config.long_documents != "window":
        return assemble(sides, vocabulary, config.max_length, config.truncate)
    if len(sides) > 1:
        raise InputError("--long-documents window reads one text a document, not pairs")
    room = config.max_length - ends(vocabulary)
    stride = config.stride or room // 2
    if stride > room:
        raise InputError(f"--stride {stride} leaves out words: a window holds {room} tokens")
    return windows(sides[0], vocabulary, config.max_length, stride, config.max_windows)


# ---- the model's output ---------------------------------------------------------------------------------------------


def document_logits(model, batch: Batch) -> torch.Tensor:
    """Logits (documents, C): the model's own, or the mean over the windows of each document."""
    logits = model(**batch.inputs)
    owner = batch.targets.get("owner")
    if owner is None:
        return logits
    counts = torch.bincount(owner)
    return logits.new_zeros(len(counts), logits.shape[1]).index_add_(0, owner, logits) / counts[:, None]


@torch.no_grad()
@copies_kept()
def collect_logits(
    model, batches: Batches, device: torch.device, precision: Precision, quiet: bool = True
) -> np.ndarray:
    """Logits of all N documents in their order, float32 (N, C). The model must be in eval mode."""
    assert not model.training
    parts, order = [], parallel.share(batches.sorted_order(CPU_TOKENS if device.type == "cpu" else None))
    for documents in through("evaluating", quiet)(order):
        batch = batches.collate(documents).to(device)
        with precision.autocast(device):
            parts.append(document_logits(model, batch).float())
    shares = parallel.gather((np.concatenate([*order, []]), torch.cat(parts).cpu().numpy() if parts else None))
    documents = np.concatenate([numbers for numbers, _ in shares]).astype(np.int64)
    logits = np.concatenate([part for _, part in shares if part is not None])
    restored = np.empty_like(logits)
    restored[documents] = logits
    return restored


def cached_logits(predictor: "Predictor", split: Split, quiet: bool = True) -> tuple[np.ndarray, float]:
    """(logits (N, C), seconds they took) of a split, kept in RUN/logits under checkpoint, device and data."""
    if not predictor.run.keeps:
        return predictor.timed_logits(split, quiet)
    digest = hashlib.sha256(f"{predictor.digests} {predictor.device.type}".encode() + split.ids.tobytes())
    path = predictor.run.folder / "logits" / f"{digest.hexdigest()[:32]}.npz"
    if cached := files.kept_arrays(path):
        return cached["logits"], float(cached["seconds"])
    logits, seconds = predictor.timed_logits(split, quiet)
    with contextlib.suppress(OSError):  # a run folder that may not be written can still be evaluated
        files.keep_arrays(path, logits=logits, seconds=seconds)  # another command may be evaluating the same run
    return logits, seconds


# ---- prediction -----------------------------------------------------------------------------------------------------


class Predictor(base.Predictor):
    """What gives a row of C numbers for a document of one text or two."""

    @property
    def columns(self) -> int:
        """Texts of a document."""
        return len(text_columns(self.config))

    def checked(self, texts: Sequence[Text]) -> list[Text]:
        """The texts as a list. Raises InputError for a single text that is in no list, and for what is no text."""
        texts = base.listed(texts, "texts", "predict([text])")
        for number, text in enumerate(texts):
            base.check_strings(text if isinstance(text, tuple | list) else (text,), f"text {number}")
        return texts

    def records(self, lines: LineReader, kind: str, columns: dict[str, Value]) -> Records:
        """The documents of a file: csv, tsv, jsonl and json by the run's text columns, else a text a line."""
        if records := of_columns(lines, kind, text_columns(self.config), as_document, columns):
            return records
        check_lines(self)
        return PlainLines(lines, as_document, columns)

    def described(self, split: Split, name: str, quiet: bool) -> Described:
        progress = through(f"tokenising {name}", quiet)
        sides = [encode(self.vocabulary, side, progress) for side in zip(*split.texts, strict=True)]
        cut = sequences_of(sides, self.vocabulary, self.config).truncated
        lengths = np.sum([side.lengths for side in sides], axis=0)
        between = ends(self.vocabulary) + len(self.vocabulary.between) * (len(sides) - 1)
        limit = self.config.max_length - between if self.config.long_documents == "cut" else 0
        return Described(split.texts, lengths, "tokens", limit, cut, self.given(split))

    def given(self, split: Split) -> dict[str, int]:
        """How often each label is given; {} where there are none."""
        return {}

    def outputs(self, logits: torch.Tensor) -> torch.Tensor:
        """The numbers of which answers are made, probabilities or scores, with a gradient: logits (N, C) -> (N, C)."""
        raise NotImplementedError

    def explained(self, logits: np.ndarray) -> list[Explained]:
        """The outputs that are the answer to a text, by its logits (C,)."""
        raise NotImplementedError

    def decisive(self, terms: torch.Tensor) -> tuple[torch.Tensor, str]:
        """Terms of sums that are logits, (F, C): what of them an answer rests on (F, C), and this in words."""
        return terms, "the word's terms of the logit"

    def logits(self, texts: Sequence[Text], quiet: bool = True) -> np.ndarray:
        """float32 (N, C)."""
        batches = self._batches(texts, quiet)
        return collect_logits(self.model, batches, self.device, self.precision, quiet)

    def timed_logits(self, split: Split, quiet: bool) -> tuple[np.ndarray, float]:
        """(logits (N, C), seconds from text to logits). The vectors of a frozen encoder are kept in the cache, where
        other models over it find them; the time they took counts all the same."""
        start, earlier = time.perf_counter(), 0.0
        batches = self._batches(split.texts, quiet)
        if "source" in self.recipe and self.recipe["frozen"](self.config):
            before, weights = time.perf_counter(), self.meta["backbone"]["sha256"]
            features = Features(self.model.get_submodule(self.recipe["source"]), weights, batches, self.precision)
            batches.features, took = features.get(self.device, "texts", quiet)
            earlier = max(0.0, took - (time.perf_counter() - before))
        logits = collect_logits(self.model, batches, self.device, self.precision, quiet)
        return logits, time.perf_counter() - start + earlier

    def _batches(self, texts: Sequence[Text], quiet: bool) -> Batches:
        progress = through("tokenising", quiet)
        sides = [self.vocabulary.encode(side, progress) for side in zip(*map(self._parts, texts), strict=True)]
        self.model.to(self.device)  # only now: the members of an ensemble take turns on the device
        return Batches(sequences_of(sides, self.vocabulary, self.config), None, base.BATCH, pad=self.vocabulary.pad)

    def _parts(self, text: Text) -> tuple[str, ...]:
        parts = (text,) if isinstance(text, str) else tuple(text)
        if len(parts) != self.columns:
            raise InputError(f"{self.run.folder} reads {self.columns} text(s) a document, got {len(parts)}")
        return parts


def in_a_line(labels: Sequence[str], probabilities: Sequence[float], as_json: bool) -> str:
    """The labels of a document with their probabilities: a JSON object, or tab-separated."""
    if as_json:
        return files.json_text({"labels": labels, "probabilities": probabilities}, ensure_ascii=False)
    pairs = zip(map(in_column, labels), probabilities, strict=True)
    return "\t".join(f"{label}\t{probability:.4f}" for label, probability in pairs)


def as_document(where: str, texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(texts)


def check_lines(predictor: Predictor) -> None:
    """Raise InputError where a document is more than a line."""
    if (columns := text_columns(predictor.config))[1:]:
        raise InputError(
            f"{predictor.run.folder} reads pairs of texts; give them with the columns {', '.join(columns)}, and "
            "--format jsonl, csv or tsv"
        )

