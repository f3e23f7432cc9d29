"""Several runs that differ in nothing but their seed, as one result."""

import json
import pathlib

import numpy as np

from textcls.report.text import number, table, title
from textcls.runtime.files import write_json

SAME = 0.02  # a score this close to that of always giving the commonest answer is no learning


def summary(folders: list[pathlib.Path]) -> str:
    """A row a seed, mean and standard deviation below; runs that learned nothing are marked, and the mean is given
    with and without them. Also written beside the runs, as seeds.json."""
    paths = [folder / "results.json" for folder in folders]
    results = [json.loads(path.read_text("utf-8")) for path in paths if path.exists()]
    if not results:
        return (
            "no test split, and so no results to summarise; evaluate the runs with: python evaluate.py RUN --test FILE"
        )
    names = list(results[0]["metrics"])
    values = np.array([[result["metrics"][name]["value"] for name in names] for result in results])
    fine = np.array([not collapsed(result) for result in results])
    rows = [["", *map(title, names), ""]]
    for result, numbers, learned in zip(results, values, fine, strict=True):
        rows.append([result["run"], *map(number, numbers), "" if learned else "collapsed"])
    rows.append(["mean ± sd", *spread(values), f"{len(values)} runs"])
    if 0 < fine.sum() < len(fine):
        rows.append(["without the collapsed", *spread(values[fine]), f"{fine.sum()} runs"])
    write_json(
        folders[0].parent / "seeds.json",
        {
            "runs": [result["run"] for result in results],
            "collapsed": (~fine).tolist(),
            "mean": dict(zip(names, values.mean(0).tolist(), strict=True)),
            "sd": dict(zip(names, deviation(values).tolist(), strict=True)),
        },
    )
    return f"{results[0]['data']}\n{table(rows)}"


def collapsed(result: dict) -> bool:
    """Whether the run does no better than always giving the commonest answer."""
    chance, lower_is_better = result["chance"]["value"], result["chance"]["lower_is_better"]
    value = result["metrics"][result["chance"]["metric"]]["value"]
    return value > chance * (1 - SAME) if lower_is_better else value <= chance + SAME * (1 - chance)


def deviation(values: np.ndarray) -> np.ndarray:
    """Of a sample (n - 1 in the denominator); 0 for one run."""
    return values.std(0, ddof=1) if len(values) > 1 else np.zeros(values.shape[1])


def spread(values: np.ndarray) -> list[str]:
    return [f"{number(mean)} ± {number(sd)}" for mean, sd in zip(values.mean(0), deviation(values), strict=True)]
