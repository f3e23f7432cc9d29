"""A number for a text, or for a pair of texts, such as how alike two sentences are. Dimensions: B rows of a batch, N
documents."""

import os
import sys
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch.nn import functional as F

from textcls.config import TrainConfig
from textcls.data import folds, glue, scores, tabular
from textcls.data.corpus import Corpus
from textcls.data.scores import Scored
from textcls.metrics import regression as metrics
from textcls.metrics.regression import Fit, Predicted
from textcls.pretrained.backbone import Backbone
from textcls.records import stream
from textcls.records.formats import ending_of
from textcls.records.record import Value
from textcls.report.compare import Judged, Result
from textcls.report.text import in_digits
from textcls.runtime.device import Precision
from textcls.runtime.errors import InputError
from textcls.runtime.files import json_text
from textcls.tasks import base, documents
from textcls.tasks.answers import Asked, Explained
from textcls.tasks.documents import Text, cached_logits, collect_logits, document_logits, is_glue
from textcls.tasks.mistakes import mistakes, worst_first
from textcls.text.batches import Batch, Batches
from textcls.text.vocabulary import Vocabulary
from textcls.training.run import Run

UNIT = "documents"
LABELS = "score"
POINTS = 1000  # that a page shows
SELECT = ("spearman", "pearson", "loss")
DEFAULTS = {name: value for name, value in documents.DEFAULTS.items() if name != "label_smoothing"} | {
    "select": "spearman",
}


# ---- data -----------------------------------------------------------------------------------------------------------


def load(config: TrainConfig, progress: Callable = iter, vocabulary: Vocabulary | None = None) -> Corpus:
    """Your own files where --train is given, else the corpus of GLUE that has scores."""
    corpus = load_whole(config, progress)
    return scores.check(folds.cut(corpus, config.fold, config.dev_split, config.seed, UNIT))


def load_whole(config: TrainConfig, progress: Callable) -> Corpus:
    """The corpus as it is, whatever fold is asked for."""
    if is_glue(config):
        share = config.dev_split if isinstance(config.dev_split, float) else 0.1
        return glue.load(config.data, config.data_dir, config.protocol, share, config.seed, progress)
    columns = config.text_column, config.label_column
    return scores.load(config.train, config.dev_split, config.test_split, *columns, config.seed, config.encoding)


def count_labels(config: TrainConfig) -> int:
    """The model's outputs: one."""
    return 1


def prepare(config: TrainConfig, run: Run, recipe: dict) -> tuple[Corpus, Backbone]:
    return documents.prepare(load, config, recipe)


class ScoreBatches(Batches):
    """Documents with a score each, float32 (N,) as the model's output is."""

    def collate(self, documents: np.ndarray) -> Batch:
        batch = super().collate(documents)
        batch.targets["scores"] = batch.targets.pop("labels").float()  # (B,)
        batch.counts = {"score": len(documents)}
        return batch


def batches(split: Scored, vocabulary: Vocabulary, config: TrainConfig, name: str) -> ScoreBatches:
    sequences = documents.sequences(split, vocabulary, config, name)
    result = ScoreBatches(sequences, split.scores, config.batch_size, config.seed, vocabulary.pad)
    result.word_dropout = documents.word_dropout(vocabulary, config, name)
    of = f"scores from {split.scores.min():g} to {split.scores.max():g}, {split.scores.mean():.3g} on average"
    result.description = f"{documents.description(split, sequences, vocabulary, config)}; {of}"
    return result


# ---- training -------------------------------------------------------------------------------------------------------


def loss(config: TrainConfig, corpus: Corpus) -> Callable:
    return base.penalised(squared_error(), config.mix_l2)


def squared_error() -> Callable:
    """Squared error, summed over the batch."""

    def loss_fn(model, batch: Batch, carry):
        predicted = document_logits(model, batch).float()[:, 0]  # (documents,)
        return {"score": F.mse_loss(predicted, batch.targets["scores"], reduction="sum")}, carry

    return loss_fn


# ---- evaluation -----------------------------------------------------------------------------------------------------


def within(logits: np.ndarray, bounds: Sequence[float]) -> np.ndarray:
    """The model's outputs (N, 1) as scores (N,) in float64, none beyond those of the training data."""
    return np.clip(logits[:, 0].astype(np.float64), *bounds)


def evaluate(
    batches: Batches, corpus: Corpus, device: torch.device, precision: Precision, quiet: bool = True
) -> Callable:
    """(model) -> {spearman, pearson, nll: the mean squared error, which is the negative log-likelihood of a normal
    distribution but for its constants} on these batches."""

    def values(model) -> dict[str, float]:
        logits = collect_logits(model, batches, device, precision, quiet)
        fit = Fit(within(logits, corpus.facts["range"]), batches.labels)
        return {"spearman": fit.spearman(), "pearson": fit.pearson(), "nll": fit.mse()}

    return values


def result(predictor: "Predictor", split: Scored, quiet: bool) -> Result:
    logits, seconds = cached_logits(predictor, split, quiet)
    predicted = within(logits, predictor.range)
    intervals = metrics.intervals(predicted, split.scores)
    summary = {
        "metrics": {name: vars(value) for name, value in intervals.items()},
        "documents_per_s": len(split) / seconds,
    }
    return Result(summary, Predicted(Fit(predicted, split.scores)), lambda: further(predicted, split))


def further(predicted: np.ndarray, split: Scored) -> dict:
    """What a page shows besides: predicted beside true scores, of at most about POINTS documents, and the errors."""
    points = np.stack([split.scores, predicted], 1)[:: -(-len(split) // POINTS)]

    def describe(i: int) -> dict:
        facts = {"predicted": in_digits(predicted[i]), "true": in_digits(split.scores[i])}
        return {"facts": facts, "texts": split.texts[i]}

    off = np.abs(predicted - split.scores)
    return {"fit": points.tolist(), "errors": mistakes("the largest first", worst_first(off > 0, off), describe)}


def chance(corpus: Corpus) -> dict:
    """Of one score for all."""
    return {"metric": "spearman", "value": 0.0, "lower_is_better": False}


# ---- prediction -----------------------------------------------------------------------------------------------------


class Predictor(documents.Predictor):
    """A regressor."""

    @property
    def range(self) -> tuple[float, float]:
        """Of the training scores."""
        if "range" not in self.meta:
            raise InputError(f"{self.run.folder / 'config.json'}: damaged, it has no range of scores")
        return self.meta["range"]

    def predict(self, texts: Sequence[Text]) -> np.ndarray:
        """The score of each text, float64 (N,), within the range of the training scores. Raises InputError for a single
        text that is in no list, and for what is no text."""
        texts = self.checked(texts)
        return within(self.logits(texts), self.range) if texts else np.zeros(0)

    def outputs(self, logits: torch.Tensor) -> torch.Tensor:
        """Within the range of the training scores, as `predict` has them: beyond it they change no more."""
        return logits.clamp(*self.range)

    def explained(self, logits: np.ndarray) -> list[Explained]:
        low, high = self.range
        end = "lowest" if logits[0] < low else "highest" if logits[0] > high else ""
        return [Explained(0, None, number=f"the score{f', kept at the {end} of the training scores' if end else ''}")]

    def out_of_fold(self, split: Scored, quiet: bool) -> tuple[dict, dict]:
        return {"labels": split.scores, "scores": within(cached_logits(self, split, quiet)[0], self.range)}, {}

    @staticmethod
    def judge(arrays: dict[str, np.ndarray], corpus: Corpus) -> Judged:
        pair = arrays["scores"], arrays["labels"]
        return metrics.intervals(*pair), (Predicted(Fit(*pair)),)

    def answer_columns(self, asked: Asked) -> dict[str, Value]:
        if asked != Asked():
            raise InputError(f"{self.run.folder} predicts a number, and no labels: no --top-k, no --all-probabilities")
        return {"score": None}

    def answers(self, texts: Sequence[Text], asked: Asked) -> list[list[Value]]:
        """The score of each text."""
        return [[score] for score in self.predict(texts).tolist()]

    def read(self, path: str) -> Scored:
        if is_glue(self.config):
            return glue.read(self.config.data, path)
        columns = tabular.wanted(self.config.text_column, self.config.label_column)
        return scores.read(path, columns, self.config.encoding)


def predict_file(predictor: Predictor, source: str | os.PathLike, arguments) -> None:
    """Stream scores, a line a document: numbers, or one JSON object a line for JSON. Of CSV, TSV and JSON the run's
    text columns are read. What comes before a line that cannot be read is answered."""
    if arguments.top_k > 1:
        raise InputError(f"--top-k {arguments.top_k}: {predictor.run.folder} predicts a number, and no labels")
    kind = arguments.format or ending_of(source)
    for texts in stream.items(predictor, source, kind):
        for score in predictor.predict(texts).tolist():
            print(json_text({"score": score}) if kind in documents.OBJECTS else in_digits(score))
        sys.stdout.flush()
