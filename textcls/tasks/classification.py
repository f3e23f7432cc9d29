"""A class for a text, or for a pair of texts. Dimensions: B rows of a batch, C classes, N documents."""

import contextlib
import hashlib
import json
import os
import pathlib
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch.nn import functional as F

from textcls.config import TrainConfig
from textcls.data import newsgroups, pydocs, tabular
from textcls.data.corpus import Corpus, Documents
from textcls.metrics import classification as metrics
from textcls.metrics.classification import Correct, Scores, log_softmax
from textcls.pretrained.backbone import Backbone, check_pairs, elmo_of, words_of
from textcls.pretrained.features import Features
from textcls.report.compare import Result
from textcls.runtime import files, parallel
from textcls.runtime.device import Precision
from textcls.runtime.errors import InputError
from textcls.runtime.progress import through
from textcls.tasks import base
from textcls.text.batches import CPU_TOKENS, Batch, Batches
from textcls.text.characters import Characters
from textcls.text.pieces import Pieces, Sequences
from textcls.text.sequences import assemble, ends, windows
from textcls.text.vocabulary import WORD, Vocabulary, encode
from textcls.training.run import Run

UNIT = "documents"
LABELS = "classes"
SELECT = ("accuracy", "macro_f1", "loss")
DEFAULTS = base.DEFAULTS | {
    "text_column": "text",
    "label_column": "label",
    "select": "accuracy",
    "dropout": 0.3,
    "long_documents": "cut",
    "stride": None,
    "max_windows": 8,
}
DATA = {"20newsgroups": newsgroups.CLASSES, "pydocs": pydocs.CLASSES}  # the built-in corpora, and how many classes
Text = str | tuple[str, ...]
FORMATS = ("csv", "tsv", "jsonl")  # of files to be predicted, by their ending; others have a text a line
SEPARATING = re.compile("[\t\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")


# ---- data -----------------------------------------------------------------------------------------------------------


def load(config: TrainConfig, progress: Callable = iter, vocabulary: Vocabulary | None = None) -> Corpus:
    """Your own files where --train is given, else a built-in corpus."""
    dev, columns = config.dev_split, (config.text_column, config.label_column)
    if config.train is not None:
        return tabular.load(config.train, dev, config.test_split, *columns, config.seed, config.encoding)
    share = dev if isinstance(dev, float) else 0.1
    if config.data == "pydocs":
        return pydocs.load(config.seed, share, progress=progress)
    return newsgroups.load(config.data_dir, config.keep_parts, config.seed, share, progress, config.quiet)


def count_labels(config: TrainConfig) -> int:
    if config.train is None:
        return DATA[config.data]
    return len(tabular.labels(config.train, config.text_column, config.label_column, config.encoding))


def prepare(config: TrainConfig, run: Run, recipe: dict) -> tuple[Corpus, Backbone]:
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
    texts = [text for parts in corpus.train.texts for text in parts]
    vocabulary = Vocabulary.learn_words(texts, config.vocab_size, config.min_count, WORD, config.lower)
    if recipe["input"] == "bag":  # as many pairs as words: "how many" tells more than "how" and "many"
        vocabulary = vocabulary.with_pairs(texts, min(len(vocabulary), config.vocab_size - len(vocabulary)))
    return corpus, words_of(config, vocabulary)


def batches(split: Documents, vocabulary: Vocabulary, config: TrainConfig, name: str) -> Batches:
    progress = through(f"tokenising {name}", config.quiet)
    sides = [encode(vocabulary, side, progress) for side in zip(*split.texts, strict=True)]
    sequences = sequences_of(sides, vocabulary, config)
    result = Batches(sequences, split.labels, config.batch_size, config.seed, vocabulary.pad)
    what = f"up to {config.max_windows} windows" if sequences.documents is not None else f"{config.max_length} tokens"
    share = sequences.truncated / len(split)
    result.description = f"{len(split)} documents, {share:.1%} longer than {what} (cut: {config.truncate})"
    return result


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


# ---- training -------------------------------------------------------------------------------------------------------


def loss(config: TrainConfig, corpus: Corpus) -> Callable:
    weights = None
    if config.class_weights == "balanced":
        weights = balanced_weights(corpus.train.labels, len(corpus.labels))
    return base.penalised(cross_entropy(weights, config.label_smoothing), config.mix_l2)


def cross_entropy(weights: torch.Tensor | None = None, smoothing: float = 0.0) -> Callable:
    """Cross-entropy summed over the batch; `weights` (C,) scale each document by its class, `smoothing` is the share
    of probability spread over all classes (Szegedy et al., 2016, section 7)."""

    def loss_fn(model, batch: Batch, carry):
        logits = document_logits(model, batch).float()  # (documents, C)
        scale = None if weights is None else weights.to(logits.device)
        labels = batch.targets["labels"]
        return {"label": F.cross_entropy(logits, labels, scale, reduction="sum", label_smoothing=smoothing)}, carry

    return loss_fn


def document_logits(model, batch: Batch) -> torch.Tensor:
    """Logits (documents, C): the model's own, or the mean over the windows of each document."""
    logits = model(**batch.inputs)
    owner = batch.targets.get("owner")
    if owner is None:
        return logits
    counts = torch.bincount(owner)
    return logits.new_zeros(len(counts), logits.shape[1]).index_add_(0, owner, logits) / counts[:, None]


def balanced_weights(labels: np.ndarray, num_labels: int) -> torch.Tensor:
    """N / (C * N_c) for each class c: every class has the same total weight, and the mean over documents is 1."""
    counts = np.bincount(labels, minlength=num_labels)
    return torch.tensor(len(labels) / (num_labels * counts), dtype=torch.float32)


# ---- evaluation -----------------------------------------------------------------------------------------------------


def evaluate(
    batches: Batches, corpus: Corpus | None, device: torch.device, precision: Precision, quiet: bool = True
) -> Callable:
    """(model) -> {accuracy, macro_f1, nll} on these batches."""

    def scores(model) -> dict[str, float]:
        scores = Scores(collect_logits(model, batches, device, precision, quiet), batches.labels)
        return {"accuracy": scores.accuracy(), "macro_f1": scores.macro_f1(), "nll": scores.nll()}

    return scores


@torch.no_grad()
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


def result(predictor: "Predictor", split: Documents, quiet: bool) -> Result:
    logits, seconds = cached_logits(predictor, split, quiet)
    intervals, scores = metrics.intervals(logits, split.labels), Scores(logits, split.labels)
    per_class, labels = scores.per_class(), predictor.labels
    summary = {
        "metrics": {name: vars(value) for name, value in intervals.items()},
        "empty": int(split.empty.sum()),
        "accuracy_non_empty": float(scores.correct[~split.empty].mean()) if not split.empty.all() else None,
        "per_class": {
            label: {name: float(values[i]) for name, values in per_class.items()} for i, label in enumerate(labels)
        },
        "confused": [[labels[true], labels[guess], count] for true, guess, count in scores.confused()],
        "documents_per_s": len(split) / seconds,
    }
    return Result(summary, Correct(scores.correct))


def chance(corpus: Corpus) -> dict:
    """Of the commonest class."""
    commonest = np.bincount(corpus.train.labels).argmax()
    return {"metric": "accuracy", "value": float((corpus.test.labels == commonest).mean()), "lower_is_better": False}


def cached_logits(predictor: "Predictor", split: Documents, quiet: bool = True) -> tuple[np.ndarray, float]:
    """(logits (N, C), seconds they took) of a split, kept in RUN/logits under checkpoint, device and data."""
    rests_on = [files.sha256(predictor.run.folder / name) for name in ("best.pt", "config.json")]
    digest = hashlib.sha256(f"{rests_on} {predictor.device.type}".encode() + split.ids.tobytes())
    path = predictor.run.folder / "logits" / f"{digest.hexdigest()[:32]}.npz"
    cached = files.read_arrays(path) or {}
    if "seconds" in cached and cached["logits"].shape == (len(split), len(predictor.labels)):
        return cached["logits"], float(cached["seconds"])
    logits, seconds = predictor.timed_logits(split, quiet)
    with contextlib.suppress(OSError):  # a run folder that may not be written can still be evaluated
        path.parent.mkdir(exist_ok=True)
        with files.replacing(path, by_all=True) as file:  # another command may be evaluating the same run
            np.savez(file, logits=logits, seconds=seconds)
    return logits, seconds


# ---- prediction -----------------------------------------------------------------------------------------------------


class Predictor(base.Predictor):
    """A classifier. `columns` texts make one document."""

    @property
    def columns(self) -> int:
        return len(tabular.text_columns(self.config.text_column)) if self.config.train else 1

    def predict(self, texts: Sequence[Text]) -> tuple[list[str], np.ndarray]:
        """(the most probable label of each text, probabilities (N, C) in the order of `labels`). Raises InputError for
        a single text that is in no list, and for what is no text."""
        texts = base.listed(texts, "texts", "predict([text])")
        for number, text in enumerate(texts):
            base.check_strings(text if isinstance(text, tuple | list) else (text,), f"text {number}")
        if not texts:
            return [], np.zeros((0, len(self.labels)))
        probabilities = np.exp(log_softmax(self.logits(texts)))
        return [self.labels[i] for i in probabilities.argmax(1)], probabilities

    def logits(self, texts: Sequence[Text], quiet: bool = True) -> np.ndarray:
        """float32 (N, C)."""
        batches = self._batches(texts, quiet)
        return collect_logits(self.model, batches, self.device, self.precision, quiet)

    def timed_logits(self, split: Documents, quiet: bool) -> tuple[np.ndarray, float]:
        """(logits (N, C), seconds from text to logits). The vectors of a frozen encoder are kept in the cache, where
        other models over it find them; the time they took counts all the same."""
        start, earlier = time.perf_counter(), 0.0
        batches = self._batches(split.texts, quiet)
        if self.config.encoder == "frozen":
            before, weights = time.perf_counter(), self.meta["backbone"]["sha256"]
            features = Features(self.model.get_submodule(self.recipe["source"]), weights, batches, self.precision)
            batches.features, took = features.get(self.device, "texts", quiet)
            earlier = max(0.0, took - (time.perf_counter() - before))
        logits = collect_logits(self.model, batches, self.device, self.precision, quiet)
        return logits, time.perf_counter() - start + earlier

    def read(self, path: str) -> Documents:
        columns = tabular.wanted(self.config.text_column, self.config.label_column)
        rows = tabular.read(pathlib.Path(path), columns, self.config.encoding, "test")
        return tabular.encode_labels("test", list(rows), self.labels)

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


def predict_file(predictor: Predictor, source: str | os.PathLike, arguments) -> None:
    """Stream labels and probabilities: tab-separated, or one JSON object a line for JSON Lines. Of CSV, TSV and JSON
    Lines the run's text columns are read. What comes before a line that cannot be read is answered."""
    ending = pathlib.Path(source).suffix.lower().removeprefix(".")
    kind = arguments.format or (ending if ending in FORMATS else "lines")
    for texts in base.chunks_of(read_texts(predictor, source, kind), base.chunk_size(source)):
        emit(predictor, texts, arguments.top_k, kind == "jsonl")


def read_texts(predictor: Predictor, source: str | os.PathLike, kind: str) -> Iterator[tuple[str, ...]]:
    """The texts of each document of a file in one of FORMATS, or a text a line."""
    config, name = predictor.config, base.name_of(source)
    columns = tabular.text_columns(config.text_column) if config.train else ["text"]
    lines = base.lines_of(source, config.encoding)
    if kind == "jsonl":
        rows = tabular.json_lines(lines, name, columns)
    elif kind in ("csv", "tsv"):
        table = tabular.read_table(again(lines, source, config.encoding), name, columns, kind == "tsv")
        rows = tabular.without_header(table, columns)
    elif len(columns) > 1:
        raise InputError(
            f"{predictor.run.folder} reads pairs of texts; give them with the columns {', '.join(columns)}, and "
            "--format jsonl, csv or tsv"
        )
    else:
        rows = (("", (line.rstrip("\r\n"),)) for line in lines)
    return (tuple(texts) for _, texts in rows)


def again(lines: Iterator[str], source: str | os.PathLike, encoding: str) -> Callable[[], Iterator[str]]:
    """What gives the lines of a source from the first on, as often as it is called: a file is opened anew, standard
    input is kept in memory."""
    if str(source) != "-":
        return lambda: base.lines_of(source, encoding)
    kept = list(lines)
    return lambda: iter(kept)


def emit(predictor: Predictor, texts: list[tuple[str, ...]], top_k: int, as_json: bool) -> None:
    _, probabilities = predictor.predict(texts)
    for row in probabilities:
        best = np.argsort(-row, kind="stable")[:top_k]
        if as_json:
            values = {"labels": [predictor.labels[i] for i in best], "probabilities": [float(row[i]) for i in best]}
            print(json.dumps(values, ensure_ascii=False))
        else:
            print("\t".join(f"{in_column(predictor.labels[i])}\t{row[i]:.4f}" for i in best))
    sys.stdout.flush()


def in_column(label: str) -> str:
    """A label as tab-separated answers have it: a tab in it is written \\t, a line break \\n, so that columns stay
    columns. JSON Lines has it as it is."""
    return SEPARATING.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), label)
