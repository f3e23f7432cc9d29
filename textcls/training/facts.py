"""What the JSON files of a run folder hold. They are data: somebody may have edited them, or made them up."""

import math
import pathlib
from typing import NotRequired, TypedDict

from textcls.runtime.errors import InputError
from textcls.runtime.kinds import Metric, Scheme, misfit


class Parameters(TypedDict):
    trainable: int
    total: int


class Source(TypedDict):
    """Where the weights came from."""

    name: str
    path: NotRequired[str]
    sha256: NotRequired[str]
    vectors: NotRequired[str]
    kind: NotRequired[str]
    revision: NotRequired[str]
    beside: NotRequired[str]


class Teacher(TypedDict):
    """Of distillation."""

    sha256: str
    unlabelled: NotRequired[str]


class Trained(TypedDict):
    """config.json of a run of train.py; what stands in `config` and `dims` is looked at where they are read."""

    config: dict
    labels: list[str]
    data: str
    source: str
    dims: dict
    vocabulary: str
    backbone: Source
    parameters: Parameters
    device: str
    precision: str
    metrics: NotRequired[list[Metric]]
    scheme: NotRequired[Scheme]
    range: NotRequired[tuple[float, float]]
    teacher: NotRequired[Teacher]


class MemberRun(TypedDict):
    path: str
    sha256: str
    parameters: int


class Combined(TypedDict):
    """config.json of an ensemble."""

    members: list[MemberRun]
    combine: str
    labels: list[str]
    data: str
    parameters: Parameters
    training: str


class Epoch(TypedDict):
    """A line of metrics.jsonl."""

    epoch: int
    seconds: float
    dev: dict[str, float | None]
    memory: dict[str, int]
    loss: NotRequired[float]


class Interval(TypedDict):
    value: float | None
    low: float | None
    high: float | None


class Chance(TypedDict):
    metric: str
    value: float
    lower_is_better: bool


class Folds(TypedDict):
    """folds.json."""

    folds: int
    settings: dict
    labels: list[str]
    documents: int
    sha256: str


class Results(TypedDict):
    """results.json."""

    run: str
    data: str
    documents: int
    split: dict[str, str]
    metrics: dict[str, Interval]
    chance: Chance


class Calibration(TypedDict):
    """calibration.json."""

    run: str
    temperature: float
    documents: int
    confidence: list[float]
    right: list[int]


def check(value: dict, kind: type) -> dict:
    """The value. Raises ValueError naming the first field that is of another kind than those above."""
    if problem := misfit(value, kind, whole=False):
        raise ValueError(problem)
    return value


def numbers(values: dict[str, float | None]) -> dict[str, float]:
    """Numbers that were written as JSON, which has none that are not finite: those are NaN."""
    return {name: math.nan if value is None else value for name, value in values.items()}


def check_whole(value: dict, kind: type, path: pathlib.Path) -> dict:
    """The value, in which nothing may be missing that a run of its kind has. Raises InputError."""
    problem = misfit(value, kind)
    if not problem and len(set(labels := value.get("labels", ()))) < len(labels):
        problem = f"labels has {next(label for label in labels if labels.count(label) > 1)!r} more than once"
    if problem:
        raise InputError(f"{path}: damaged, or not written by textcls ({problem})")
    return value


def of_run(meta: dict) -> type:
    """The kind of a config.json."""
    return Combined if "members" in meta else Trained
