"""The linear model on the documents of a run, kept in RUN/linear: what a network must beat, and what the two are
together."""

import pathlib

import numpy as np
import torch

from textcls import predictor, recipes
from textcls.data.corpus import Corpus
from textcls.metrics.classification import ASKED, AskedScores, Correct, Scores, intervals
from textcls.models.ensemble import WeightedEnsemble
from textcls.report.compare import pairwise
from textcls.report.text import intervals_table, title
from textcls.runtime.errors import InputError
from textcls.tasks.classification import asked_for
from textcls.tasks.documents import cached_logits
from textcls.tasks.ensemble import fit_weights, is_tested_on_dev, label_columns, member_probabilities
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
    dev, test = zip(*(both_logits(name, corpus, device, quiet) for name in names), strict=True)
    model = WeightedEnsemble(len(names), len(corpus.labels))
    fit_weights(model, member_probabilities(dev), torch.from_numpy(corpus.dev.labels))
    with torch.no_grad():
        average = model(member_probabilities(test)).numpy()
    weights = " + ".join(f"{weight:.2f} {name}" for weight, name in zip(model.weights.tolist(), names, strict=True))
    return [
        *compared(dict(zip(names, test, strict=True)) | {AVERAGE: average}, corpus),
        f"{names[1]}: a bag of words (TF-IDF), trained on the same documents",
        f"{AVERAGE}: of log-probabilities, {weights}, fitted on the {len(corpus.dev):,} dev documents",
    ]


def both_logits(name: str, corpus: Corpus, device: str, quiet: bool) -> tuple[np.ndarray, np.ndarray]:
    """(N, C) of dev and of test, in the order of the corpus' labels."""
    trained = predictor.load(name, device)
    columns = label_columns(trained, corpus.labels, pathlib.Path(name))
    dev, test = (cached_logits(trained, split, quiet)[0][:, columns] for split in (corpus.dev, corpus.test))
    trained.release()
    return dev, test


def compared(logits: dict[str, np.ndarray], corpus: Corpus) -> list[str]:
    """A row for each (N, C) on the test documents, and a sentence for each two, in which the last comes first."""
    labels, first = corpus.test.labels, asked_for(corpus.facts)
    rows = {name: intervals(values, labels, first=first) for name, values in logits.items()}
    scores = {name: Scores(logits[name], labels) for name in [*logits][-1:] + [*logits][:-1]}
    lines = pairwise(list(scores), [Correct(of.correct) for of in scores.values()])
    for metric in [name for name in first[:1] if name in ASKED]:
        lines = pairwise(list(scores), [AskedScores(of, metric) for of in scores.values()]) + lines
    return [f"\n{intervals_table(rows)}\n", *lines]
