"""The errors of a run on a split that a page shows, worst first. Dimensions: N documents, C classes."""

from collections.abc import Callable, Iterable

import numpy as np

from textcls.metrics.confident import confident_learning, margins

SHOWN = 20


def mistakes(order: str, rows: Iterable[int], describe: Callable[[int], dict]) -> dict:
    """Those of the items with these numbers, in this order, as report/sections.py has them: `describe(number)` gives
    "facts" and "texts" of one."""
    rows = list(rows)
    return {"order": order, "count": len(rows), "items": [describe(row) for row in rows[:SHOWN]]}


def worst_first(wrong: np.ndarray, badness: np.ndarray) -> list[int]:
    """The numbers of the items that are `wrong` (N,) bool, the worst first."""
    rows = np.flatnonzero(wrong)
    return rows[np.argsort(-badness[rows], kind="stable")].tolist()


def suspicious_first(probabilities: np.ndarray, labels: np.ndarray, wrong: np.ndarray) -> tuple[list[int], set[int]]:
    """(the documents that are `wrong` (N,) bool, in order; those of them whose label looks wrong). These come first:
    confident learning finds them, see metrics/confident.py. The others come by how much more probable another class
    is than the label."""
    with np.errstate(invalid="ignore"):  # a class that no document of the split has suspects none
        suspicious = [i for i in confident_learning(probabilities, labels).suspicious.tolist() if wrong[i]]
    others = worst_first(wrong & ~np.isin(np.arange(len(wrong)), suspicious), -margins(probabilities, labels))
    return suspicious + others, set(suspicious)
