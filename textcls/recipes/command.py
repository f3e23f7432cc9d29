"""From the flags of a command to complete settings and a run folder: a new run's, or one that is resumed."""

import dataclasses
import os

from textcls.config import OPTIONS, RUN, TrainConfig, flag
from textcls.recipes import complete
from textcls.runtime import parallel
from textcls.runtime.errors import InputError
from textcls.training.run import Run, free_folder


def settings(flags: dict) -> tuple[TrainConfig, Run, dict | None]:
    """(complete settings, run folder, what to resume from) for the flags that were given."""
    if "resume" in flags:
        return resumed(flags)
    config = complete(absolute(TrainConfig(**flags)))
    name = config.model if config.task == TrainConfig.task else f"{config.model}-{config.task}"
    claim = not config.plan and parallel.is_first()
    run = Run(parallel.from_first(str(config.out or free_folder(name, claim))))
    return dataclasses.replace(config, out=str(run.folder)), run, None


def absolute(config: TrainConfig) -> TrainConfig:
    """The same with the paths of files that exist in full: a run is judged, and goes on, wherever one stands."""
    paths = {name: getattr(config, name) for name in ("train", "test", "data_dir", "vectors")}
    paths["dev"] = config.dev_split if isinstance(config.dev_split, str) else None
    paths["bert"] = config.bert if config.bert != "nano" else None
    return dataclasses.replace(config, **{name: full(path) for name, path in paths.items() if path is not None})


def full(paths: str) -> str:
    """Paths with commas between, where all of them exist; what is no path stays as it is."""
    parts = [paths] if os.path.exists(paths) else paths.split(",")
    return ",".join(map(os.path.abspath, parts)) if all(map(os.path.exists, parts)) else paths


def resumed(flags: dict) -> tuple[TrainConfig, Run, dict | None]:
    """The run's own settings, but for those that belong to the command."""
    fixed = [name for name in flags if OPTIONS[name]["belongs"] == RUN]
    if fixed:
        raise InputError(f"--resume keeps the settings of its run; leave out {', '.join(map(flag, sorted(fixed)))}")
    run = Run(flags["resume"])
    meta = run.meta()
    if "members" in meta:
        raise InputError(f"{run.folder}: an ensemble; fit it again with ensemble.py")
    try:
        config = complete(TrainConfig(**(meta["config"] | flags)))
    except (KeyError, TypeError) as error:
        raise InputError(f"{run.folder / 'config.json'}: damaged, or of another version ({error})") from None
    last = run.load("last.pt") if (run.folder / "last.pt").exists() else None
    return config, run, last
