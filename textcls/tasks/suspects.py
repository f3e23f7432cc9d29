"""Labels that look wrong, by what runs say of documents that they were not trained on. Dimensions: N documents, C classes
or labels."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from textcls.metrics.confident import confident_labels, confident_learning


@dataclasses.dataclass(frozen=True)
class Suspects:
    """`rows` of the number of a document and what is said of a label of it, the worst first, in columns that have a name
    and a shorter one; they are of so many `labels`, in words. `places` say where each document stands, in the order of
    the numbers; `wrong` is the estimated share of wrong labels, where there is an estimate."""

    columns: dict[str, str]
    rows: list[tuple[int, list[str]]]
    labels: str
    places: list[str]
    wrong: float | None = None


def among_classes(shares: np.ndarray, given: np.ndarray, names: Sequence[str], places: list[str]) -> Suspects:
    """Of probabilities (N, C) and a class a document, (N,); `names` are those of the classes."""
    found, rows = confident_learning(shares, given), []
    for i in found.suspicious.tolist():
        pair = given[i], found.likely[i]
        rows.append((i, [*(names[c] for c in pair), *(f"{shares[i, c]:.4f}" for c in pair)]))
    columns = {"label": "label", "suggested": "suggested"}
    columns |= {"probability_label": "p(label)", "probability_suggested": "p(suggested)"}
    return Suspects(columns, rows, f"{len(given):,}", places, found.wrong)


def among_labels(shares: np.ndarray, given: np.ndarray, names: Sequence[str], places: list[str]) -> Suspects:
    """Of probabilities (N, C) and any number of labels a document, bool (N, C): a row for a document and a label that it
    should not have, or lacks."""
    pairs, answers = confident_labels(shares, given).tolist(), ("no", "yes")
    rows = [(i, [names[c], answers[int(given[i, c])], f"{shares[i, c]:.4f}"]) for i, c in pairs]
    labels = f"{given.size:,} ({given.shape[1]} labels of {len(given):,} documents)"
    columns = {"label": "label", "given": "given", "probability": "p(label)"}
    return Suspects(columns, rows, labels, places)
