"""A class for a text, or for a pair of texts. Dimensions: B rows of a batch, C classes, N documents."""

import os
import pathlib
import sys
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch.nn import functional as F

from textcls.config import TrainConfig
from textcls.data import folds, glue, newsgroups, pydocs, tabular
from textcls.data.corpus import Corpus, Documents, check
from textcls.metrics import classification as metrics
from textcls.metrics.classification import ASKED, Scores, log_softmax
from textcls.metrics.statistics import Interval, bootstrap
from textcls.pretrained.backbone import Backbone
from textcls.records import stream
from textcls.records.formats import ending_of
from textcls.records.record import Value
from textcls.report.compare import Judged, Result
from textcls.runtime.device import Precision
from textcls.runtime.errors import InputError
from textcls.tasks import base, documents, probabilities
from textcls.tasks.answers import Asked, Explained, ranked
from textcls.tasks.distillation import Taught, TaughtBatches, distilled, with_unlabelled
from textcls.tasks.documents import Text, cached_logits, collect_logits, document_logits, is_glue
from textcls.tasks.mistakes import mistakes, suspicious_first
from textcls.tasks.suspects import Suspects, among_classes
from textcls.text.batches import IGNORED, Batch, Batches
from textcls.text.vocabulary import Vocabulary
from textcls.training.run import Run

UNIT = "documents"
LABELS = "classes"
SELECT = ("accuracy", "macro_f1", "loss", *ASKED)
DEFAULTS = documents.DEFAULTS | {"select": "accuracy", "teacher": None, "unlabelled": None, "teacher_weight": None}
DATA = {  # the built-in corpora, and how many classes they have
    "20newsgroups": newsgroups.CLASSES,
    "pydocs": pydocs.CLASSES,
    **{name: len(task.labels) for name, task in glue.CORPORA.items()},
}


# ---- data -----------------------------------------------------------------------------------------------------------


def load(config: TrainConfig, progress: Callable = iter, vocabulary: Vocabulary | None = None) -> Corpus:
    """Your own files where --train is given, else a built-in corpus; of a fold that part as the test split. Its `facts`
    name the metrics that it is judged by, where these are not the usual ones."""
    corpus = folds.cut(load_whole(config, progress), config.fold, config.dev_split, config.seed, UNIT)
    return with_metric(check(corpus), config.select)


def load_whole(config: TrainConfig, progress: Callable = iter) -> Corpus:
    """The corpus as it is, whatever fold is asked for."""
    dev, columns = config.dev_split, (config.text_column, config.label_column)
    share = dev if isinstance(dev, float) else 0.1
    if config.train is not None:
        return tabular.load(config.train, dev, config.test_split, *columns, config.seed, config.encoding)
    if is_glue(config):
        return glue.load(config.data, config.data_dir, config.protocol, share, config.seed, progress)
    if config.data == "pydocs":
        return pydocs.load(config.seed, share, progress=progress)
    return newsgroups.load(config.data_dir, config.keep_parts, config.seed, share, progress, config.quiet)


def read_rows(config: TrainConfig, path: pathlib.Path, split: str = "train") -> Iterator[tabular.Row]:
    """The rows of a file of your own."""
    columns = tabular.wanted(config.text_column, config.label_column)
    return tabular.read(path, columns, config.encoding, split)


def with_metric(corpus: Corpus, name: str | None) -> Corpus:
    """The corpus, judged by this metric too, where it is one of those that are asked for."""
    if name in ASKED:
        if name == "positive_f1" and len(corpus.labels) != 2:
            count = len(corpus.labels)
            raise InputError(f"--select {name}: the second of two classes is the positive one, but there are {count}")
        corpus.facts["metrics"] = list(dict.fromkeys([*corpus.facts.get("metrics", ()), name]))
    return corpus


def count_labels(config: TrainConfig) -> int:
    if config.train is None:
        return DATA[config.data]
    return len(tabular.labels(config.train, config.text_column, config.label_column, config.encoding))


def prepare(config: TrainConfig, run: Run, recipe: dict) -> tuple[Corpus, Backbone]:
    return documents.prepare(load_to_train, config, recipe)


def load_to_train(config: TrainConfig, progress: Callable = iter, vocabulary: Vocabulary | None = None) -> Corpus:
    """The same with what a model learns from beside the labelled documents."""
    return with_unlabelled(load(config, progress, vocabulary), config)


def batches(split: Documents, vocabulary: Vocabulary, config: TrainConfig, name: str) -> Batches:
    whole = split.whole if isinstance(split, Taught) else split
    sequences = documents.sequences(whole, vocabulary, config, name)
    settings = config.batch_size, config.seed, vocabulary.pad
    if isinstance(split, Taught):
        result = TaughtBatches(sequences, whole.labels, split.probabilities, *settings)
    else:
        result = Batches(sequences, whole.labels, *settings)
    result.word_dropout = documents.word_dropout(vocabulary, config, name)
    result.description = documents.description(whole, sequences, vocabulary, config)
    return result


# ---- training -------------------------------------------------------------------------------------------------------


def loss(config: TrainConfig, corpus: Corpus) -> Callable:
    weights = None
    if config.class_weights == "balanced":
        weights = balanced_weights(corpus.train.labels, len(corpus.labels))
    smoothing = config.label_smoothing
    if config.teacher is None:
        return base.penalised(cross_entropy(weights, smoothing), config.mix_l2)
    loss_fn = distilled(lambda logits, labels: label_loss(logits, labels, weights, smoothing), config.teacher_weight)
    return base.penalised(loss_fn, config.mix_l2)


def cross_entropy(weights: torch.Tensor | None = None, smoothing: float = 0.0) -> Callable:
    """Cross-entropy summed over the batch; `weights` (C,) scale each document by its class, `smoothing` is the share
    of probability spread over all classes (Szegedy et al., 2016, section 7)."""

    def loss_fn(model, batch: Batch, carry):
        logits = document_logits(model, batch).float()  # (documents, C)
        return {"label": label_loss(logits, batch.targets["labels"], weights, smoothing)}, carry

    return loss_fn


def label_loss(
    logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None = None, smoothing: float = 0.0
) -> torch.Tensor:
    """Of the documents that have a label, summed: (documents, C), (documents,), (C,) -> (). In the precision of the
    logits."""
    scale = None if weights is None else weights.to(logits)
    return F.cross_entropy(logits, labels, scale, ignore_index=IGNORED, reduction="sum", label_smoothing=smoothing)


def balanced_weights(labels: np.ndarray, num_labels: int) -> torch.Tensor:
    """N / (C * N_c) for each class c: every class has the same total weight, and the mean over documents is 1."""
    counts = np.bincount(labels, minlength=num_labels)
    return torch.tensor(len(labels) / (num_labels * counts), dtype=torch.float32)


# ---- evaluation -----------------------------------------------------------------------------------------------------


def evaluate(
    batches: Batches, corpus: Corpus | None, device: torch.device, precision: Precision, quiet: bool = True
) -> Callable:
    """(model) -> {accuracy, macro_f1, nll} on these batches, before them what else the corpus is judged by."""
    asked = [name for name in asked_for(corpus.facts if corpus else {}) if name in ASKED]

    def scores(model) -> dict[str, float]:
        scores = Scores(collect_logits(model, batches, device, precision, quiet), batches.labels)
        values = {"accuracy": scores.accuracy(), "macro_f1": scores.macro_f1(), "nll": scores.nll()}
        return {name: ASKED[name](scores) for name in asked} | values

    return scores


def asked_for(facts: dict) -> list[str]:
    """The metrics that a corpus is judged by, the main one first; none where these are the usual ones. `facts` are the
    corpus', or what a run's config.json kept of them."""
    return facts.get("metrics", [])


def result(predictor: "Predictor", split: Documents, quiet: bool) -> Result:
    raw, seconds = cached_logits(predictor, split, quiet)
    logits = raw / predictor.temperature
    intervals = metrics.intervals(logits, split.labels, first=asked_for(predictor.meta))
    intervals = in_order(intervals, {name: accuracy_of(predictor, part, quiet) for name, part in split.beside.items()})
    scores = Scores(logits, split.labels)
    per_class, labels = scores.per_class(), predictor.labels
    summary = {
        "metrics": {name: vars(value) for name, value in intervals.items()},
        "empty": int(split.empty.sum()),
        "accuracy_non_empty": float(scores.correct[~split.empty].mean()) if not split.empty.all() else None,
        "per_class": {
            label: {name: float(values[i]) for name, values in per_class.items()} for i, label in enumerate(labels)
        },
        "confused": [[labels[true], labels[guess], count] for true, guess, count in scores.confused()],
        "probabilities": probabilities.report(raw, split.labels, predictor.temperature, predictor.threshold),
        "documents_per_s": len(split) / seconds,
    }
    summary |= {"remarks": split.remarks} if split.remarks else {}
    items = metrics.paired(scores, asked_for(predictor.meta))
    return Result(summary, items, lambda: further(predictor, split, logits))


def further(predictor: "Predictor", split: Documents, logits: np.ndarray) -> dict:
    """What a page shows besides: the confusion matrix, intervals of each class, the errors."""
    scores, labels, shares = Scores(logits, split.labels), predictor.labels, np.exp(log_softmax(logits))
    rows, suspicious = suspicious_first(shares, split.labels, ~scores.correct)

    def describe(i: int) -> dict:
        numbers = {"predicted": scores.predicted[i], "labelled": split.labels[i]}
        facts = {name: f"{labels[number]} {shares[i, number]:.1%}" for name, number in numbers.items()}
        return {"facts": facts, "texts": split.texts[i], "suspicious": i in suspicious}

    return {
        "confusion": scores.confusion().tolist(),
        "per_class": {
            label: {name: vars(value) for name, value in values.items()}
            for label, values in zip(labels, scores.class_intervals(), strict=True)
        },
        "errors": mistakes("suspicious labels first, then the most confident", rows, describe),
    }


def in_order(intervals: dict[str, Interval], beside: dict[str, Interval]) -> dict[str, Interval]:
    """The metrics, and after the accuracy that on each of the documents beside, such as accuracy_mm."""
    result = {}
    for name, value in intervals.items():
        result[name] = value
        if name == "accuracy":
            result |= {f"accuracy_{of}": accuracy for of, accuracy in beside.items()}
    return result


def accuracy_of(predictor: "Predictor", split: Documents, quiet: bool) -> Interval:
    scores = Scores(cached_logits(predictor, split, quiet)[0], split.labels)
    return bootstrap(lambda weights: scores.accuracy(weights)[:, None], len(split))[0]


def chance(corpus: Corpus) -> dict:
    """Of one answer to all: the commonest class; by F1 of the positive class, that one."""
    judged, dev = asked_for(corpus.facts)[:1], corpus.dev.labels
    if judged == ["matthews"]:
        return {"metric": "matthews", "value": 0.0, "lower_is_better": False}
    if judged == ["positive_f1"]:
        share = float((dev == 1).mean())
        return {"metric": "positive_f1", "value": 2 * share / (1 + share), "lower_is_better": False}
    commonest = np.bincount(corpus.train.labels).argmax()
    return {"metric": "accuracy", "value": float((dev == commonest).mean()), "lower_is_better": False}


# ---- prediction -----------------------------------------------------------------------------------------------------


class Predictor(documents.Predictor):
    """A classifier. `temperature` divides its logits; an answer less probable than `threshold` is none: ""."""

    def __init__(self, run: Run, meta: dict, *parts):
        super().__init__(run, meta, *parts)
        self.temperature = float((run.calibration() or {}).get("temperature", 1.0))

    def predict(self, texts: Sequence[Text]) -> tuple[list[str], np.ndarray]:
        """(the most probable label of each text, probabilities (N, C) in the order of `labels`). Raises InputError for
        a single text that is in no list, and for what is no text."""
        texts = self.checked(texts)
        if not texts:
            return [], np.zeros((0, len(self.labels)))
        probabilities = self.probabilities(self.logits(texts))
        return [self.answer(row) for row in probabilities], probabilities

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Logits (N, C) -> (N, C)."""
        return np.exp(log_softmax(logits / self.temperature))

    def answer(self, probabilities: np.ndarray) -> str:
        """The most probable label of one text (C,), or "" where it is less probable than the threshold."""
        best = int(probabilities.argmax())
        return self.labels[best] if probabilities[best] >= self.threshold else ""

    def outputs(self, logits: torch.Tensor) -> torch.Tensor:
        return (logits / self.temperature).softmax(1)

    def explained(self, logits: np.ndarray) -> list[Explained]:
        probabilities = self.probabilities(logits[None])[0]
        best = int(probabilities.argmax())
        return [Explained(best, self.labels[best], predicted=self.answer(probabilities) == self.labels[best])]

    def decisive(self, terms: torch.Tensor) -> tuple[torch.Tensor, str]:
        """Without what is the same for every class, which changes no probability."""
        return terms - terms.mean(1, keepdim=True), "the word's terms of the logit, less their mean over the classes"

    def calibrate(self, corpus: Corpus, quiet: bool) -> list[str]:
        """Fit the temperature on the dev documents that the model was not trained on, and keep it in the run."""
        usable = probabilities.unseen(corpus)
        if not usable.any():
            return ["temperature 1: no dev document that was neither trained on nor is to be tested on"]
        logits, _ = cached_logits(self, corpus.dev, quiet)
        values = probabilities.fit(logits[usable], corpus.dev.labels[usable])
        self.run.write_calibration(values)
        self.temperature = values["temperature"]
        return [probabilities.sentence(values)]

    def out_of_fold(self, split: Documents, quiet: bool) -> tuple[dict, dict]:
        logits, _ = cached_logits(self, split, quiet)
        return {"labels": split.labels, "logits": logits}, {"temperatures": self.temperature}

    @staticmethod
    def judge(arrays: dict[str, np.ndarray], corpus: Corpus) -> Judged:
        pair, first = (probabilities.calibrated(arrays), arrays["labels"]), asked_for(corpus.facts)
        return metrics.intervals(*pair, first=first), metrics.paired(Scores(*pair), first)

    @staticmethod
    def suspects(arrays: dict[str, np.ndarray], corpus: Corpus, config: TrainConfig) -> Suspects:
        shares = np.exp(log_softmax(probabilities.calibrated(arrays)))
        places = documents.places(config, len(shares), lambda path: read_rows(config, path))
        return among_classes(shares, arrays["labels"], corpus.labels, places)

    def given(self, split: Documents) -> dict[str, int]:
        return dict(zip(self.labels, np.bincount(split.labels, minlength=len(self.labels)).tolist(), strict=True))

    def answer_columns(self, asked: Asked) -> dict[str, Value]:
        """label and probability of the best answers, or of the best one and then the probability of every label."""
        best = {"label": "", "probability": None}
        if asked.all_probabilities:
            return best | {f"probability_{label}": None for label in self.labels}
        return ranked(best, min(asked.top_k, len(self.labels)))

    def answers(self, texts: Sequence[Text], asked: Asked) -> list[list[Value]]:
        """A value of each of these columns for each text."""
        labels, probabilities = self.predict(texts)
        count = 1 if asked.all_probabilities else asked.top_k
        best = np.argsort(-probabilities, axis=1, kind="stable")[:, :count]  # (N, K)
        answers = []
        for label, row, numbers in zip(labels, probabilities.tolist(), best.tolist(), strict=True):
            answer = [value for i in numbers for value in (self.labels[i], row[i])]
            answer[0] = label  # none, where it is below the threshold
            answers.append(answer + row if asked.all_probabilities else answer)
        return answers

    def read(self, path: str) -> Documents:
        if is_glue(self.config):
            return glue.read(self.config.data, path)
        return tabular.encode_labels("test", list(read_rows(self.config, pathlib.Path(path), "test")), self.labels)


def predict_file(predictor: Predictor, source: str | os.PathLike, arguments) -> None:
    """Stream labels and probabilities: tab-separated, or one JSON object a line for JSON. Of CSV, TSV and JSON the
    run's text columns are read. What comes before a line that cannot be read is answered."""
    kind = arguments.format or ending_of(source)
    for texts in stream.items(predictor, source, kind):
        for answer in predictor.answers(texts, Asked(arguments.top_k)):
            print(documents.in_a_line(answer[::2], answer[1::2], kind in documents.OBJECTS))
        sys.stdout.flush()
