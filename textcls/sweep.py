"""Several runs that differ in nothing but their seed, as one result."""

import json
import pathlib

import numpy as np

from textcls.config import OPTIONS, RUN, TrainConfig, flag
from textcls.report.text import number, table, title
from textcls.runtime.errors import InputError
from textcls.runtime.files import write_json
from textcls.training.run import Run, free_folder

SAME = 0.02  # a score this close to that of always giving the commonest answer is no learning


def find_folder(name: str, config: TrainConfig) -> pathlib.Path:
    """The folder in runs/ in which runs of these settings were begun, so that the same command goes on; else the first
    free one."""
    free, number = free_folder(name), 1
    folder = free.with_name(name)
    while folder != free:
        if any(folder.glob("seed-*/config.json")) and not differences(folder, config):
            return folder
        number += 1
        folder = free.with_name(f"{name}-{number}")
    return free


def check_settings(folder: pathlib.Path, config: TrainConfig) -> None:
    """Seeds are one experiment: raise InputError where a run in `folder` has other settings than these, or where each
    would be tested on other documents."""
    if isinstance(config.test_split, float):
        raise InputError(f"--test {config.test}: each seed would draw other test documents; give --seeds a --test FILE")
    for difference in differences(folder, config):
        raise InputError(f"{difference}; choose another --out, or leave out what is different")


def differences(folder: pathlib.Path, config: TrainConfig) -> list[str]:
    """In words: every setting of a run in `folder` that is not the same in `config`, but for its seed and its folder, and
    for what may change when a run goes on."""
    fixed = {name for name, option in OPTIONS.items() if option["belongs"] == RUN} - {"seed", "out"}
    settings, found = config.stored(), []
    for path in sorted(folder.glob("seed-*/config.json")):
        before = Run(path.parent).meta().get("config", {})
        found += [
            f"{path.parent} was trained with {flag(name)} {before.get(name)}, not {settings[name]}"
            for name in sorted(fixed)
            if before.get(name) != settings[name]
        ]
    return found


def check_data(folders: list[pathlib.Path]) -> None:
    """Raise InputError where the runs began with different data, or over different weights."""
    folders = [folder for folder in folders if Run(folder).exists()]
    metas = [Run(folder).meta() for folder in folders]
    for what, facts in (
        ("on different data", [meta["source"] for meta in metas]),
        ("over different weights", [weights(meta["backbone"]) for meta in metas]),
    ):
        for folder, fact in zip(folders, facts, strict=True):
            if fact != facts[0]:
                raise InputError(f"{folder} was trained {what} than {folders[0]}: seeds are one experiment")


def weights(source: dict) -> tuple[str | None, str | None]:
    """Digests of what a run read of a backbone; what it drew itself (--scratch) depends on the seed."""
    drawn = source.get("path") == "backbone"
    return None if drawn else source.get("sha256"), source.get("vectors")


def summary(folders: list[pathlib.Path]) -> str:
    """A row a seed, mean and standard deviation below; runs that learned nothing are marked, and the mean is given
    with and without them. Also written beside the runs, as seeds.json."""
    check_data(folders)
    tested = [folder for folder in folders if (folder / "results.json").exists()]
    results = [json.loads((folder / "results.json").read_text("utf-8")) for folder in tested]
    if not results:
        return (
            "no test split, and so no results to summarise; evaluate the runs with: "
            f"python evaluate.py {' '.join(map(str, folders))} --test FILE"
        )
    if any(result["split"] != results[0]["split"] for result in results):
        raise InputError(f"{folders[0].parent}: its runs were tested on different documents, or different labels")
    names = list(results[0]["metrics"])
    values = np.array([[result["metrics"][name]["value"] for name in names] for result in results])
    fine = np.array([not collapsed(result) for result in results])
    rows = [["", *map(title, names), ""]]
    for folder, numbers, learned in zip(tested, values, fine, strict=True):
        rows.append([str(folder), *map(number, numbers), "" if learned else "collapsed"])
    rows.append(["mean ± sd", *spread(values), f"{len(values)} runs"])
    if 0 < fine.sum() < len(fine):
        rows.append(["without the collapsed", *spread(values[fine]), f"{fine.sum()} runs"])
    write_json(
        folders[0].parent / "seeds.json",
        {
            "runs": list(map(str, tested)),
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
