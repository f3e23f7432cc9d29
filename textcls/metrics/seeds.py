"""Runs that differ in their seed alone: mean and deviation, and which of them learned nothing.

A record is what is known of a run: see report/search.py.
"""

import math
from collections.abc import Sequence

import numpy as np

SAME = 0.02  # a score this close to that of always giving the commonest answer is no learning
MEAN = "mean ± sd"  # the spread of all runs


def collapsed(dev: dict[str, float], chance: dict) -> bool:
    """Whether a run is no better than always giving the commonest answer, or hardly (SAME of the way from there to
    perfect). By its dev metrics: who leaves out runs by what they got on test has chosen by test."""
    value, constant = dev[chance["metric"]], chance["value"]
    if chance["lower_is_better"]:
        return value > constant * (1 - SAME)
    return value <= constant + SAME * (1 - constant)


def spreads(tested: Sequence[dict]) -> dict[str, dict]:
    """Mean and standard deviation on test (of a sample, n - 1 in the denominator; None for one run) of the records of
    all runs and, where some collapsed, of the others."""
    groups = {MEAN: tested, "without the collapsed": [one for one in tested if not one["collapsed"]]}
    if len(groups["without the collapsed"]) in (0, len(tested)):
        del groups["without the collapsed"]
    found = {}
    for what, group in groups.items():
        values = np.array([list(one["test"].values()) for one in group])
        mean = dict(zip(group[0]["test"], values.mean(0).tolist(), strict=True))
        sd = dict(zip(mean, values.std(0, ddof=1).tolist(), strict=True)) if len(group) > 1 else None
        found[what] = {"runs": len(group), "mean": mean, "sd": sd}
    return found


def over_seeds(records: list[dict]) -> list[dict]:
    """The dev metric of each learning rate over its seeds, {"lr", "runs", "mean", "sd"}, in the order in which they
    were given; no mean where a run diverged."""
    found = []
    for rate in dict.fromkeys(one["lr"] for one in records):
        dev = [one["dev"] for one in records if one["lr"] == rate]
        whole = None not in dev
        # fsum rounds once, whatever the order: rates with the same scores for other seeds are equal to the last bit.
        mean = math.fsum(dev) / len(dev) if whole else None
        sd = float(np.std(dev, ddof=1)) if whole and len(dev) > 1 else None
        found.append({"lr": rate, "runs": len(dev), "mean": mean, "sd": sd})
    return found
