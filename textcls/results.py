"""How good a trained model is on a test split: one dictionary a run, of the same form for every task.

{"run", "data", "documents", "metrics": {name: {"value", "low", "high"}}, "documents_per_s", "device", "properties", …}
"""

import dataclasses
import json
import pathlib
import time

import numpy as np

from textcls import entities, metrics
from textcls.data import AnyCorpus
from textcls.data.corpus import Documents
from textcls.data.language import LanguageCorpus, Text
from textcls.data.pretraining import Passages, PretrainingCorpus
from textcls.data.tagging import Sentences, TaggedCorpus
from textcls.metrics import Interval
from textcls.predictor import Base, cached_logits, properties


@dataclasses.dataclass
class Result:
    """`items`, for comparisons document by document: right or wrong (N,), or the entities of each sentence."""

    summary: dict
    items: np.ndarray | entities.Counts | None = None


def evaluate(predictor: Base, description: str, part: Documents | Sentences | Text | Passages, quiet: bool) -> dict:
    return measure(predictor, description, part, quiet).summary


def measure(predictor: Base, description: str, part: Documents | Sentences | Text | Passages, quiet: bool) -> Result:
    """`part` is of the run's task."""
    by_task = {"classification": classification, "tagging": tagging, "lm": language, "pretrain": pretraining}
    result = by_task[predictor.config.task](predictor, part, quiet)
    predictor.release()
    common = {
        "run": str(predictor.run.folder),
        "task": predictor.config.task,
        "data": description,
        "documents": len(part),
        "device": str(predictor.device),
        "properties": properties(predictor),
    }
    result.summary = common | result.summary
    return result


def classification(predictor: Base, test: Documents, quiet: bool) -> Result:
    logits, seconds = cached_logits(predictor, test, quiet)
    found, scores = metrics.intervals(logits, test.labels), metrics.Scores(logits, test.labels)
    per_class = scores.per_class()
    summary = {
        "metrics": {name: vars(value) for name, value in found.items()},
        "empty": int(test.empty.sum()),
        "accuracy_non_empty": float(scores.correct[~test.empty].mean()) if not test.empty.all() else None,
        "per_class": {
            label: {name: float(values[i]) for name, values in per_class.items()}
            for i, label in enumerate(predictor.labels)
        },
        "confused": [[predictor.labels[true], predictor.labels[guess], n] for true, guess, n in scores.confused()],
        "documents_per_s": len(test) / seconds,
    }
    return Result(summary, scores.correct)


def tagging(predictor: Base, test: Sentences, quiet: bool) -> Result:
    start = time.perf_counter()
    predicted = predictor.predict(test.words, quiet)
    seconds = time.perf_counter() - start
    true = [[predictor.labels[tag] for tag in tags] for tags in test.tags]
    counts = {sense: entities.count(predicted, true, sense == "strict") for sense in entities.SENSES}
    right = [guess == truth for guess, truth in zip(predicted, true, strict=True)]
    precision, recall, _ = counts["conlleval"].overall()
    summary = {
        "metrics": {
            "f1": vars(counts["conlleval"].interval()),
            "strict_f1": vars(counts["strict"].interval()),
            "precision": vars(Interval(precision)),
            "recall": vars(Interval(recall)),
        },
        "sentences_right": float(np.mean(right)),
        "per_type": {sense: part.per_type() for sense, part in counts.items()},
        "documents_per_s": len(test) / seconds,
    }
    return Result(summary, counts["conlleval"])


def language(predictor: Base, test: Text, quiet: bool) -> Result:
    start = time.perf_counter()
    nll = predictor.nll(test.words, quiet)
    seconds = time.perf_counter() - start
    values = {"perplexity": float(np.exp(nll)), "nll": nll}
    summary = {
        "metrics": {name: vars(Interval(value)) for name, value in values.items()},
        "documents_per_s": len(test) / seconds,
    }
    return Result(summary)


def pretraining(predictor: Base, test: Passages, quiet: bool) -> Result:
    start = time.perf_counter()
    values = predictor.scores(test, quiet)
    seconds = time.perf_counter() - start
    summary = {
        "metrics": {name: vars(Interval(value)) for name, value in values.items()},
        "documents_per_s": len(test) / seconds,
    }
    return Result(summary)


def chance(corpus: AnyCorpus) -> dict:
    """{"metric", "value", "lower_is_better"} of always giving the commonest answer on the test split: the commonest
    class, no entity, or each word or word piece in proportion to its count in the training text."""
    if isinstance(corpus, PretrainingCorpus):
        train, test = corpus.train.counts(), corpus.test.counts()
        train, test = (np.pad(part, (0, max(len(train), len(test)) - len(part))) for part in (train, test))
        nll = -(test * np.log((1.0 + train) / (1.0 + train).sum())).sum() / test.sum()
        return {"metric": "mlm_nll", "value": float(nll), "lower_is_better": True}
    if isinstance(corpus, TaggedCorpus):
        return {"metric": "f1", "value": 0.0, "lower_is_better": False}
    if isinstance(corpus, LanguageCorpus):
        counts = 1.0 + np.bincount(corpus.train.words, minlength=len(corpus.vocabulary))
        nll = -np.log(counts / counts.sum())[corpus.test.words].mean()
        return {"metric": "perplexity", "value": float(np.exp(nll)), "lower_is_better": True}
    commonest = np.bincount(corpus.train.labels).argmax()
    return {"metric": "accuracy", "value": float((corpus.test.labels == commonest).mean()), "lower_is_better": False}


def reference(folder: pathlib.Path) -> str | None:
    """What the linear model in RUN/linear got on the same documents, in a line; None where there is none."""
    path = folder / "linear" / "results.json"
    if not path.exists():
        return None
    accuracy = json.loads(path.read_text("utf-8"))["metrics"]["accuracy"]["value"]
    what = "accuracy of a bag of words (TF-IDF) trained on the same documents"
    return f"{'linear':<15} {accuracy:.4f} {what}: {path.parent}"
