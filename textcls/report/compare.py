"""Runs against each other, item by item, in words."""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Protocol

from textcls.metrics.statistics import Interval, holm


class Paired(Protocol):
    """What a run got right of the items of a test split, such as metrics.classification.Correct: `metric` in words,
    `against(other)` -> (difference with its interval, two-sided p)."""

    metric: str

    def against(self, other) -> tuple[Interval, float]: ...


Metrics = dict[str, Interval]
Judged = tuple[Metrics, tuple[Paired, ...]]  # metrics; for comparisons


@dataclasses.dataclass
class Result:
    """Of a run on a test split. `items`, where there are any, are for comparisons item by item; several where they are
    compared by several metrics. `further` makes what a page shows besides: see report/sections.py."""

    summary: dict
    items: Paired | Sequence[Paired] | None = None
    further: Callable[[], dict] = dict

    @property
    def compared(self) -> Sequence[Paired]:
        return self.items if isinstance(self.items, Sequence) else [self.items]


def compare(results: Sequence[Result]) -> list[str]:
    """A sentence for each pair of runs; p corrected by Holm's method where there are more than two runs."""
    first = results[0].summary["split"]
    for kind, what in (("ids", "documents"), ("answers", "labels")):
        if any(result.summary["split"].get(kind) != first.get(kind) for result in results):
            return [f"not compared document by document: the runs were tested on different {what}"]
    if any(result.items is None for result in results):
        return []
    return pairwise([result.summary["run"] for result in results], [result.compared for result in results])


def pairwise(names: Sequence[str], items: Sequence[Sequence[Paired]]) -> list[str]:
    """A sentence for each two of what is called `names`, by each of the metrics that all `items` have."""
    by_metric = [{item.metric: item for item in of_run} for of_run in items]
    shared = [metric for metric in by_metric[0] if all(metric in of_run for of_run in by_metric)]
    lines = [line for metric in shared for line in in_pairs(names, [of_run[metric] for of_run in by_metric])]
    return lines + correction(names)


def correction(names: Sequence[str]) -> list[str]:
    pairs = len(names) * (len(names) - 1) // 2
    return [f"p corrected for {pairs} comparisons (Holm)"] if pairs > 1 else []


def in_pairs(names: Sequence[str], items: Sequence[Paired]) -> list[str]:
    """A sentence for each two of the runs, by one metric."""
    pairs = list(itertools.combinations(range(len(names)), 2))
    differences, p_values = zip(*(items[a].against(items[b]) for a, b in pairs), strict=True)
    return [
        sentence(names[a], names[b], difference, p, items[0].metric)
        for (a, b), difference, p in zip(pairs, differences, holm(list(p_values)), strict=True)
    ]


def sentence(first: str, second: str, difference: Interval, p: float, what: str) -> str:
    """In words how much better or worse `first` is than `second`; the difference and its interval are shares."""
    better = difference.value >= 0
    size = abs(100 * difference.value)
    low, high = sorted((100 * difference.low, 100 * difference.high) if better else
                       (-100 * difference.high, -100 * difference.low))  # fmt: skip
    settled = p < 0.05 and not difference.low <= 0 <= difference.high
    open_end = "" if settled else "; this test split does not settle it"
    return (
        f"{first} is {size:.1f} points {'better' if better else 'worse'} than {second} in {what} "
        f"(95 % interval {low:.1f} to {high:.1f}, p = {p:.2g}){open_end}"
    )
