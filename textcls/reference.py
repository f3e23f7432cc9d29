"""The linear model on the documents of a run, kept in RUN/linear: what a network must beat, and what the two are
together."""

import pathlib
from collections.abc import Sequence

import numpy as np
import torch

from textcls import predictor, recipes
from textcls.data.corpus import Corpus
from textcls.metrics.statistics import Interval
from textcls.report.compare import Metrics, pairwise
from textcls.report.text import intervals_table, title
from textcls.runtime.errors import InputError
from textcls.tasks.combination import Kind, kind_of
from textcls.tasks.documents import cached_logits
from textcls.tasks.ensemble import is_tested_on_dev, label_columns, member_probabilities
from textcls.tasks.stacking import fit_weights
from textcls.training import facts
from textcls.training.run import Run

AVERAGE = "their weighted average"


def line(folder: pathlib.Path) -> list[str]:
    """What the linear model got on the same documents, in a line; no line where there is none."""
    path = folder / recipes.REFERENCE / "results.json"
    if not path.exists():
        return []
    if not is_of_the_same_documents(folder):
        return [f"{recipes.REFERENCE:<15} {path.parent} is of other documents, or other labels: no reference"]
    results = facts.check_whole(Run(path.parent).results(), facts.Results, path)
    metric, value = next(iter(results["metrics"].items()), (None, None))
    if metric is None:
        raise InputError(f"{path}: damaged, it has no metrics")
    what = f"{title(metric)} of a bag of words (TF-IDF) trained on the same documents"
    return [f"{recipes.REFERENCE:<15} {value['value']:.4f} {what}: {path.parent}"]


def is_of_the_same_documents(folder: pathlib.Path) -> bool:
    ours, theirs = Run(folder).splits(), Run(folder / recipes.REFERENCE).splits()
    return ours.keys() == theirs.keys() and all(np.array_equal(ours[name], theirs[name]) for name in ours)


def together(folder: pathlib.Path, corpus: Corpus, device: str, quiet: bool) -> list[str]:
    """The run, its reference and their weighted average on the test documents, and how each two of them compare. The
    weights are fitted on the dev documents, which neither was trained on; where these are the test documents too
    (--protocol paper) there is nothing to fit on, and :func:`line` is all."""
    if not is_of_the_same_documents(folder) or is_tested_on_dev(corpus):
        return line(folder)
    names = [str(folder), str(folder / recipes.REFERENCE)]
    kinds, dev, test, temperatures = zip(*(both_logits(name, corpus, device, quiet) for name in names), strict=True)
    kind, model = kinds[0], kinds[0].build("weighted", len(names), len(corpus.labels))
    probabilities = [member_probabilities(logits, kind) for logits in (dev, test)]
    fit_weights(model, probabilities[0], torch.from_numpy(corpus.dev.labels), kind.loss)
    with torch.no_grad():
        average = [model(part).numpy() for part in probabilities]
    parts = zip(names, dev, test, temperatures, strict=True)
    logits = {name: (on_dev / T, on_test / T) for name, on_dev, on_test, T in parts} | {AVERAGE: average}
    weights = " + ".join(f"{weight:.2f} {name}" for weight, name in zip(model.weights.tolist(), names, strict=True))
    return [
        *compared(kind, logits, corpus, [metrics_of(pathlib.Path(name)) for name in names]),
        f"{names[1]}: a bag of words (TF-IDF), trained on the same documents",
        f"{AVERAGE}: of {kind.POOLED}, {weights}, fitted on the {len(corpus.dev):,} dev documents",
    ]


def both_logits(name: str, corpus: Corpus, device: str, quiet: bool) -> tuple[Kind, np.ndarray, np.ndarray, float]:
    """(what the run gives, (N, C) of dev, of test, in the order of the corpus' labels, the temperature that they are
    still to have)."""
    trained = predictor.load(name, device)
    columns = label_columns(trained, corpus.labels, pathlib.Path(name))
    dev, test = (cached_logits(trained, split, quiet)[0][:, columns] for split in (corpus.dev, corpus.test))
    trained.release()
    return kind_of(trained), dev, test, trained.temperature


def metrics_of(folder: pathlib.Path) -> Metrics:
    """Those of a run on its test documents."""
    return {name: Interval(**value) for name, value in Run(folder).results()["metrics"].items()}


def compared(
    kind: Kind, logits: dict[str, tuple[np.ndarray, np.ndarray]], corpus: Corpus, known: Sequence[Metrics]
) -> list[str]:
    """A row for each (N, C), of dev and of test, on the test documents, and a sentence for each two, in which the last
    comes first. `known` are the metrics of all but the last."""
    judged = {
        name: kind.judge(*both, corpus, metrics)
        for (name, both), metrics in zip(logits.items(), [*known, None], strict=True)
    }
    shared = judged[AVERAGE][0]  # a run may have others besides, of documents beside the test split
    rows = {name: {metric: intervals[metric] for metric in shared} for name, (intervals, _) in judged.items()}
    names = [*judged][-1:] + [*judged][:-1]
    return [f"\n{intervals_table(rows)}\n", *pairwise(names, [judged[name][1] for name in names])]
