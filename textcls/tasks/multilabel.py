"""Any number of labels for a text, or for a pair of texts. Dimensions: B rows of a batch, C labels, N documents."""

import os
import pathlib
import sys
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch.nn import functional as F

from textcls.config import TrainConfig
from textcls.data import folds
from textcls.data import multilabel as data
from textcls.data.corpus import Corpus
from textcls.data.multilabel import Columns, LabelSets
from textcls.metrics import multilabel as metrics
from textcls.metrics.multilabel import METRICS, LabelScores, choose_thresholds, sigmoid
from textcls.pretrained.backbone import Backbone
from textcls.records import stream
from textcls.records.formats import ending_of
from textcls.records.record import Several, Value
from textcls.report.compare import Judged, Result
from textcls.runtime.device import Precision
from textcls.runtime.progress import say
from textcls.tasks import base, documents
from textcls.tasks.answers import Asked, Explained, ranked
from textcls.tasks.documents import Text, cached_logits, collect_logits, document_logits
from textcls.tasks.mistakes import mistakes, worst_first
from textcls.tasks.suspects import Suspects, among_labels
from textcls.text.batches import Batch, Batches
from textcls.text.vocabulary import Vocabulary
from textcls.training.run import Run

UNIT = "documents"
LABELS = "labels"
SELECT = ("micro_f1", "macro_f1", "subset_accuracy", "map", "loss")
DEFAULTS = {name: value for name, value in documents.DEFAULTS.items() if name != "label_smoothing"} | {
    "label_separator": None,
    "select": "micro_f1",
}


# ---- data -----------------------------------------------------------------------------------------------------------


def load(config: TrainConfig, progress: Callable = iter, vocabulary: Vocabulary | None = None) -> Corpus:
    splits = config.train, config.dev_split, config.test_split
    whole = data.load(*splits, columns(config), config.seed, config.encoding)
    corpus = folds.cut(whole, config.fold, config.dev_split, config.seed, UNIT)
    data.check(corpus.name, corpus.labels, corpus.train)
    return corpus


def columns(config: TrainConfig) -> Columns:
    return Columns.of(config.text_column, config.label_column, config.label_separator)


def count_labels(config: TrainConfig) -> int:
    rows = data.read(pathlib.Path(config.train), columns(config), config.encoding)
    return len(data.names_of(rows, columns(config)))


def prepare(config: TrainConfig, run: Run, recipe: dict) -> tuple[Corpus, Backbone]:
    corpus, backbone = documents.prepare(load, config, recipe)
    say(*warnings(corpus, config))
    return corpus, backbone


def warnings(corpus: Corpus, config: TrainConfig) -> list[str]:
    """A sentence where no training document has two labels: most often the separator is another."""
    if corpus.train.labels.sum(1).max() > 1:
        return []
    of, longest = columns(config), max(corpus.labels, key=len)
    divided = f"; labels are divided by {of.separator!r} (--label-separator), and one of them is {longest!r}"
    return [f"warning: no training document has more than one label{divided if len(of.labels) == 1 else ''}"]


def batches(split: LabelSets, vocabulary: Vocabulary, config: TrainConfig, name: str) -> Batches:
    sequences = documents.sequences(split, vocabulary, config, name)
    result = Batches(sequences, split.labels, config.batch_size, config.seed, vocabulary.pad)
    result.word_dropout = documents.word_dropout(vocabulary, config, name)
    counts = split.labels.sum(1)
    of = f"{counts.mean():.2f} labels a document, {(counts == 0).sum()} without any"
    result.description = f"{documents.description(split, sequences, vocabulary, config)}; {of}"
    return result


# ---- training -------------------------------------------------------------------------------------------------------


def loss(config: TrainConfig, corpus: Corpus) -> Callable:
    weights = positive_weights(corpus.train.labels) if config.class_weights == "balanced" else None
    return base.penalised(sigmoid_cross_entropy(weights), config.mix_l2)


def sigmoid_cross_entropy(weights: torch.Tensor | None = None) -> Callable:
    """The cross-entropy of each label, there or not, summed over labels and over the batch, to be divided by documents;
    `weights` (C,) scale it where the label is there."""

    def loss_fn(model, batch: Batch, carry):
        return {"label": label_loss(document_logits(model, batch).float(), batch.targets["labels"], weights)}, carry

    return loss_fn


def label_loss(logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
    """Summed: (documents, C), (documents, C) bool, (C,) -> (). In the precision of the logits."""
    scale = None if weights is None else weights.to(logits)
    return F.binary_cross_entropy_with_logits(logits, labels.to(logits), pos_weight=scale, reduction="sum")


def positive_weights(labels: np.ndarray) -> torch.Tensor:
    """(N - N_c) / N_c for each label c: the documents that have it weigh as much as those that have not."""
    counts = labels.sum(0)
    return torch.tensor((len(labels) - counts) / counts, dtype=torch.float32)


# ---- evaluation -----------------------------------------------------------------------------------------------------


def evaluate(
    batches: Batches, corpus: Corpus | None, device: torch.device, precision: Precision, quiet: bool = True
) -> Callable:
    """(model) -> {micro_f1, macro_f1, subset_accuracy, map, nll} on these batches, at the thresholds that suit them
    best. The model keeps these as its buffer `thresholds` (C,): they are part of the epoch's weights."""

    def scores(model) -> dict[str, float]:
        logits = collect_logits(model, batches, device, precision, quiet)
        thresholds = choose_thresholds(logits, batches.labels)
        model.thresholds.copy_(torch.from_numpy(thresholds))
        return scores_at(thresholds, logits, batches.labels)

    return scores


def scores_at(thresholds: np.ndarray, logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """{micro_f1, macro_f1, subset_accuracy, map, nll} of logits (N, C) at thresholds (C,)."""
    scores = LabelScores(logits, labels, thresholds)
    return {name: metric(scores) for name, metric in METRICS.items()}


def result(predictor: "Predictor", split: LabelSets, quiet: bool) -> Result:
    logits, seconds = cached_logits(predictor, split, quiet)
    scores = LabelScores(logits, split.labels, predictor.thresholds)
    intervals, of_labels = scores.intervals()
    numbers = scores.per_label() | {"threshold": predictor.thresholds}
    summary = {
        "metrics": {name: vars(value) for name, value in intervals.items()},
        "per_label": {
            label: {name: float(values[i]) for name, values in numbers.items()}
            | {name: vars(values[i]) for name, values in of_labels.items()}
            for i, label in enumerate(predictor.labels)
        },
        "remarks": [in_words(scores)],
        "documents_per_s": len(split) / seconds,
    }
    return Result(summary, metrics.paired(scores), lambda: further(predictor, split, logits))


def further(predictor: "Predictor", split: LabelSets, logits: np.ndarray) -> dict:
    """What a page shows besides: the documents with a label that is on the wrong side of its threshold, by how far."""
    shares, limits = sigmoid(logits), predictor.thresholds
    predicted = shares >= limits
    off = np.where(predicted != split.labels, np.abs(shares - limits), -1.0).max(1)  # (N,)

    def names(i: int, which: np.ndarray) -> str:
        return ", ".join(f"{predictor.labels[c]} {shares[i, c]:.1%}" for c in np.flatnonzero(which))

    def describe(i: int) -> dict:
        true, found = split.labels[i], predicted[i]
        kinds = {"right": true & found, "missed": true & ~found, "too many": found & ~true}
        return {"facts": {kind: names(i, of) for kind, of in kinds.items() if of.any()}, "texts": split.texts[i]}

    order = "the one furthest from a label's threshold first"
    return {"errors": mistakes(order, worst_first(off >= 0, off), describe)}


def in_words(scores: LabelScores) -> str:
    """How many labels documents have, and get."""
    true, predicted = scores.labels, scores.predicted
    counts = f"labels a document: {true.sum(1).mean():.2f} true, {predicted.sum(1).mean():.2f} predicted"
    return f"{counts}; documents without any: {(~true.any(1)).sum()} true, {(~predicted.any(1)).sum()} predicted"


def chance(corpus: Corpus) -> dict:
    """Of one answer to all: so many of the labels that most training documents have as are best there."""
    counts = corpus.train.labels.sum(0)
    order = np.argsort(-counts, kind="stable")
    right, given = np.cumsum(counts[order]), np.arange(1, len(order) + 1) * len(corpus.train)
    best = order[: int(np.argmax(2 * right / (given + counts.sum()))) + 1]
    dev = corpus.dev.labels
    both, answered = int(dev[:, best].sum()), len(best) * len(dev)
    return {"metric": "micro_f1", "value": 2 * both / (answered + int(dev.sum())), "lower_is_better": False}


# ---- prediction -----------------------------------------------------------------------------------------------------


class Predictor(documents.Predictor):
    """What gives a text any number of labels."""

    def given(self, split: LabelSets) -> dict[str, int]:
        return dict(zip(self.labels, split.labels.sum(0).tolist(), strict=True))

    def out_of_fold(self, split: LabelSets, quiet: bool) -> tuple[dict, dict]:
        logits, _ = cached_logits(self, split, quiet)
        return {"labels": split.labels, "logits": logits}, {"thresholds": self.thresholds}

    @staticmethod
    def judge(arrays: dict[str, np.ndarray], corpus: Corpus) -> Judged:
        """Each document at the thresholds of its fold."""
        scores = LabelScores(arrays["logits"], arrays["labels"], arrays["thresholds"][arrays["folds"] - 1])
        return scores.intervals()[0], metrics.paired(scores)

    @staticmethod
    def suspects(arrays: dict[str, np.ndarray], corpus: Corpus, config: TrainConfig) -> Suspects:
        shares = sigmoid(arrays["logits"])
        places = documents.places(config, len(shares), lambda path: data.read(path, columns(config), config.encoding))
        return among_labels(shares, arrays["labels"], corpus.labels, places)

    @property
    def thresholds(self) -> np.ndarray:
        """Of each label's probability, as chosen on the dev documents: float64 (C,) in the order of `labels`."""
        return self.model.thresholds.cpu().numpy()

    def predict(self, texts: Sequence[Text]) -> tuple[list[list[str]], np.ndarray]:
        """(the labels of each text whose probability is at least their threshold, the most probable first, maybe none;
        probabilities (N, C) in the order of `labels`). Raises InputError for a single text that is in no list, and for
        what is no text."""
        texts = self.checked(texts)
        if not texts:
            return [], np.zeros((0, len(self.labels)))
        probabilities = sigmoid(self.logits(texts))
        return [[self.labels[i] for i in self.chosen(row)] for row in probabilities], probabilities

    def chosen(self, probabilities: np.ndarray) -> np.ndarray:
        """Which labels a text gets, the most probable first: probabilities (C,) -> numbers of labels."""
        order = np.argsort(-probabilities, kind="stable")
        return order[probabilities[order] >= self.thresholds[order]]

    def outputs(self, logits: torch.Tensor) -> torch.Tensor:
        return logits.sigmoid()

    def explained(self, logits: np.ndarray) -> list[Explained]:
        """The labels that a text gets; where it gets none, the most probable one."""
        probabilities = sigmoid(logits)
        chosen = self.chosen(probabilities)
        best = chosen if len(chosen) else [probabilities.argmax()]
        return [Explained(int(i), self.labels[i], predicted=len(chosen) > 0) for i in best]

    def answer_columns(self, asked: Asked) -> dict[str, Value]:
        """labels and their probabilities, lists in JSON, elsewhere with the run's separator between; or label and
        probability of the best ones, where it was said how many; or labels, and then the probability of every label."""
        if asked.all_probabilities:
            return {"labels": None} | {f"probability_{label}": None for label in self.labels}
        if asked.ranked:
            return ranked({"label": "", "probability": None}, min(asked.top_k, len(self.labels)))
        return {"labels": None, "probabilities": None}

    def answers(self, texts: Sequence[Text], asked: Asked) -> list[list[Value]]:
        """A value of each of these columns for each text."""
        separator, answers = columns(self.config).separator, []
        for row in self.predict(texts)[1]:
            best = self.chosen(row)
            names = Several([self.labels[i] for i in best], separator)
            if asked.all_probabilities:
                answers.append([names, *row.tolist()])
            elif asked.ranked:
                best = np.argsort(-row, kind="stable")[: asked.top_k]
                answers.append([value for i in best for value in (self.labels[i], float(row[i]))])
            else:
                answers.append([names, Several(row[best].tolist(), separator)])
        return answers

    def read(self, path: str) -> LabelSets:
        rows = data.read(pathlib.Path(path), columns(self.config), self.config.encoding, "test")
        return data.encode("test", rows, self.labels)


def predict_file(predictor: Predictor, source: str | os.PathLike, arguments) -> None:
    """Stream the labels of each document with their probabilities, or with --top-k K its K most probable labels:
    tab-separated, an empty line where there is none, or one JSON object a line for JSON. Of CSV, TSV and JSON the run's
    text columns are read. What comes before a line that cannot be read is answered."""
    kind = arguments.format or ending_of(source)
    for texts in stream.items(predictor, source, kind):
        for row in predictor.predict(texts)[1]:
            best = np.argsort(-row, kind="stable")[: arguments.top_k] if arguments.ranked else predictor.chosen(row)
            names = [predictor.labels[i] for i in best]
            print(documents.in_a_line(names, row[best].tolist(), kind in documents.OBJECTS))
        sys.stdout.flush()
