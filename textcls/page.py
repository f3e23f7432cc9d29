"""A page on trained runs, with all that their folders and their corpora say: `evaluate.py RUN… --html PAGE`."""

import dataclasses
import pathlib
import shlex
from collections.abc import Sequence
from typing import Any

from textcls import recipes, reference
from textcls.config import TrainConfig
from textcls.ledger import history
from textcls.recipes.command import as_given
from textcls.report import sections
from textcls.report.compare import Result
from textcls.runtime.errors import InputError
from textcls.runtime.files import write_text
from textcls.runtime.progress import through
from textcls.tasks import TASKS, contents
from textcls.tasks.base import Predictor, check_split
from textcls.training import facts

TOGETHER = ("model", "task", "data", "train", "text_column", "label_column")  # which decide what other settings are


def check_path(path: str) -> None:
    """Raise InputError, before there is anything to write, where no file can be."""
    if pathlib.Path(path).is_dir():
        raise InputError(f"--html {path}: a folder; give the name of a file in it, such as report.html")
    if not pathlib.Path(path).parent.is_dir():
        raise InputError(f"--html {path}: there is no folder {pathlib.Path(path).parent}")


def write(arguments, runs: Sequence[dict], results: Sequence[Result], corpora: str) -> None:
    """`runs` as :func:`of_run` gives them, with their results; `corpora`, where there are several, as a table."""
    names = ", ".join(pathlib.Path(result.summary["run"]).name for result in results)
    typed = shlex.join(["python", "evaluate.py", *arguments.typed])
    write_text(pathlib.Path(arguments.html), sections.page(f"Report on {names}", typed, runs, results, corpora))


def of_run(predictor: Predictor, test: Any, chosen: Sequence[str], arguments) -> dict:
    """What is known of a run besides its result on the split `test`; see report/sections.py. `chosen` is what was said
    of its threshold."""
    meta, run = predictor.meta, predictor.run
    settings = {name: value for name, value in meta.get("config", {}).items() if value not in (None, "")}
    of_reference = reference.line(run.folder) if not arguments.test else []
    where = run.folder / "metrics.jsonl"
    return {
        "command": command(meta),
        "settings": settings | {"textcls": meta.get("textcls", "?"), "data": meta.get("data", "?")},
        "data": data(predictor, test, arguments),
        "history": [] if "members" in meta else [facts.check_whole(row, facts.Epoch, where) for row in run.metrics()],
        "select": predictor.config.select,
        "resources": history.in_words(run),
        "remarks": [*chosen, *of_reference],
    }


def command(meta: dict) -> str:
    """What makes such a run, with the settings that are not as ever; "" of what was trained elsewhere."""
    if "members" in meta:
        members = [member["path"] for member in meta["members"]]
        return shlex.join(["python", "ensemble.py", *members, "--combine", meta["combine"]])
    if "textcls" not in meta:
        return ""
    stored = meta["config"]
    usual = dataclasses.asdict(TrainConfig())
    try:
        together = {name: stored[name] for name in TOGETHER if stored.get(name) is not None}
        usual |= recipes.defaults(TrainConfig(**together)) | {"model": None}
    except (InputError, TypeError):
        pass  # the flags are more than are needed
    given = {name: value for name, value in stored.items() if value is not None and value != usual.get(name)}
    return shlex.join(["python", "train.py", *as_given(given)])


def data(predictor: Predictor, test: Any, arguments) -> dict:
    """The statistics of the corpus, with `test` for its test split; {"problem": …} where it is not there any more, or
    has changed since."""
    run, task = predictor.run, TASKS[predictor.config.task]
    if not run.keeps:
        return {}
    config = dataclasses.replace(predictor.config, data_dir=arguments.data_dir or predictor.config.data_dir)
    try:
        corpus = task.load(config, through("reading", arguments.quiet), predictor.vocabulary)
        for name in ("train", "dev"):
            check_split(run, name, getattr(corpus, name), predictor.labels)
    except (InputError, OSError) as error:
        return {"problem": f"No statistics: {error}"}
    corpus.test = test
    return contents.describe(predictor, corpus, arguments.quiet)
