"""From the flags of a command to complete settings and a run folder: a new run's, or one that is resumed."""

import dataclasses
import os
import shlex

from textcls.config import OPTIONS, RUN, TrainConfig, check_kind, flag
from textcls.pretrained.hub import POOLING, pinned
from textcls.pretrained.pooling import SAME, read_pooling
from textcls.recipes import RECIPES, REFERENCE, choose, complete, read_dims
from textcls.runtime import parallel
from textcls.runtime.errors import InputError
from textcls.runtime.files import paths_of
from textcls.runtime.progress import say
from textcls.training.run import Run, free_folder


def are_several(flags: dict) -> bool:
    """Whether the flags ask for several runs."""
    return bool(flags.keys() & {"seeds", "folds"}) or isinstance(flags.get("lr"), list)


def settings(flags: dict) -> tuple[TrainConfig, Run, dict | None]:
    """(complete settings, run folder, what to resume from) for the flags that were given."""
    if "resume" in flags:
        return resumed(flags)
    config = whole(flags)
    name = config.model if config.task == TrainConfig.task else f"{config.model}-{config.task}"
    claim = not config.plan and parallel.is_first()
    run = Run(parallel.from_first(str(config.out or free_folder(name, claim))))
    return dataclasses.replace(config, out=str(run.folder)), run, None


def whole(flags: dict) -> TrainConfig:
    """The complete settings of a new run."""
    config = complete(absolute(told(flags)))
    return dataclasses.replace(config, pooling=chosen_pooling(flags, config))


def chosen_pooling(flags: dict, config: TrainConfig) -> str | None:
    """--pooling. A model that pools BERT's tokens does it as the backbone's files say, which is told, unless the flags
    do, or the backbone begins at random; where it cannot, or they say nothing, as its recipe says."""
    poolings = choose(config).get("poolings", ())
    if "pooling" in flags or config.scratch or not poolings:
        return config.pooling
    said = parallel.from_first(read_pooling(config.bert) if parallel.is_first() else None)
    if said is None:
        return config.pooling
    where = f"{os.path.join(flags['bert'], POOLING)} says"
    if said in SAME and said in poolings:
        say(f"pooling: {said}, as {where}")
        return said
    say(f"pooling: {config.pooling}, while {where} {said}: --model {config.model} has no such")
    return config.pooling


def told(flags: dict) -> TrainConfig:
    """What the flags say, with the task's first model where they name none and the usual one is not there for it."""
    config = TrainConfig(**flags)
    models = [model for model, task in RECIPES if task == config.task]
    if "model" in flags or config.model in models or not models:
        return config
    return dataclasses.replace(config, model=models[0])


def absolute(config: TrainConfig) -> TrainConfig:
    """The same with the paths of files that exist in full: a run is judged, and goes on, wherever one stands."""
    names = "train data_dir vectors elmo elmo_options teacher unlabelled".split()
    paths = {name: getattr(config, name) for name in names}
    paths["dev"] = config.dev_split if isinstance(config.dev_split, str) else None
    paths["test"] = config.test_split if isinstance(config.test_split, str) else None
    paths["bert"] = config.bert if config.bert != "nano" else None
    return dataclasses.replace(config, **{name: full(path) for name, path in paths.items() if path is not None})


def full(paths: str) -> str:
    """Paths with commas between, where all of them exist; what is no path stays as it is."""
    parts = paths_of(paths)
    return ",".join(map(os.path.abspath, parts)) if paths and all(map(os.path.exists, parts)) else paths


def resumed(flags: dict) -> tuple[TrainConfig, Run, dict | None]:
    """The run's own settings, but for those that belong to the command."""
    fixed = [name for name in flags if OPTIONS[name]["belongs"] == RUN]
    if fixed:
        raise InputError(f"--resume keeps the settings of its run; leave out {', '.join(map(flag, sorted(fixed)))}")
    check_kind("resume", flags["resume"])
    run = Run(flags["resume"])
    meta = run.whole_meta()
    if "members" in meta:
        raise InputError(f"{run.folder}: an ensemble; fit it again with ensemble.py")
    try:
        config = complete(TrainConfig(**(meta["config"] | flags)))
        read_dims(config, meta["dims"])
        config = dataclasses.replace(config, bert=pinned(config.bert, meta["backbone"].get("revision")))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{run.folder / 'config.json'}: damaged, or of another version ({error})") from None
    last = run.load("last.pt") if (run.folder / "last.pt").exists() else None
    return config, run, last


def next_command(flags: dict, config: TrainConfig, run: Run) -> str:
    """A command that works: evaluation, on the dev file where there is no test split; or, where there is neither, the
    same training with a test split."""
    evaluate = ["python", "evaluate.py", str(run.folder)]
    if (run.folder / "results.json").exists():
        return shlex.join(evaluate)
    if isinstance(config.dev_split, str):
        return shlex.join([*evaluate, "--test", config.dev])
    if "resume" in flags:
        return f"{shlex.join(evaluate)} --test FILE"
    same = {name: value for name, value in flags.items() if name != "out"}
    return shlex.join(["python", "train.py", *as_given(same), "--test", "0.2"])


def better(flags: dict, config: TrainConfig, run: Run) -> list[str]:
    """Commands that make more of a run: the average with its reference as a run of its own; a larger backbone than the
    embedded one. None where there is no reference to average with, or the run goes on with an earlier one."""
    linear = run.folder / REFERENCE
    if "resume" in flags or not (linear / "results.json").exists():
        return []
    words = ["python", "ensemble.py", str(run.folder), str(linear)]
    lines = [f"their average, to keep: {shlex.join(words)}"] * (config.protocol != "paper")
    if config.bert == TrainConfig.bert and RECIPES[config.model, config.task]["input"] == "pieces":
        larger = {"model": "bert", "bert": "bert-base-uncased"}
        data = {name: value for name, value in flags.items() if name == "task" or OPTIONS[name]["group"] == "data"}
        lines.append(f"a larger backbone: {shlex.join(['python', 'train.py', *as_given(larger | data)])}")
    return lines


def as_given(flags: dict) -> list[str]:
    """Flags as they are typed."""
    words = []
    for name, value in flags.items():
        if isinstance(value, bool):
            words.append(flag(name) if value else flag(f"no_{name}"))
        else:
            words += [flag(name), str(value)]
    return words
