"""Several runs as one result: they differ in nothing but their seed, or in their learning rate and their seed, or in
the part of the training documents that they are tested on.

RUN/seed-N          a run for each of --seeds, where there is one learning rate (or the recipe's)
RUN/lr-X/seed-N     a run for each of several --lr and each seed: a search, in which the dev metric selects the rate
RUN/fold-N          a run for each of --folds
RUN/seeds.json      what came out of the first kind
RUN/search.json     what came out of the second
RUN/folds.json      what came out of the third (out_of_fold.py)
"""

import contextlib
import dataclasses
import math
import pathlib
from collections.abc import Iterator, Sequence

from textcls.config import OPTIONS, RUN, TrainConfig, check_bounds, flag
from textcls.metrics.seeds import MEAN, collapsed, over_seeds, spreads
from textcls.report import search
from textcls.runtime import parallel
from textcls.runtime.errors import InputError
from textcls.runtime.files import write_json, write_text
from textcls.runtime.progress import say
from textcls.training.facts import Results, check_whole
from textcls.training.run import Run, free_folder
from textcls.training.tally import Diverged, is_better, selected

SEEDS, SEARCH, FOLDS = "seeds", "search", "folds"
FORMS = ("seed-*", "lr-*/seed-*", "fold-*")  # of the folders of their runs
IN_WORDS = {SEEDS: "seeds at one learning rate", SEARCH: "a search over learning rates", FOLDS: "folds"}
DIVERGED = "diverged.txt"  # in a run's folder: it is not trained on, and why


@dataclasses.dataclass(frozen=True)
class Member:
    """One of the runs. `lr` is None where all have the same, `fold` where they are not of folds."""

    folder: pathlib.Path
    seed: int
    lr: float | None
    fold: str | None = None

    @property
    def name(self) -> str:
        if self.fold is not None:
            return f"fold {self.fold}"
        return f"seed {self.seed}" if self.lr is None else f"learning rate {self.lr}, seed {self.seed}"

    @property
    def tested(self) -> bool:
        return (self.folder / "results.json").exists()

    @property
    def diverged(self) -> bool:
        return self.lr is not None and not self.tested and (self.folder / DIVERGED).exists()

    @property
    def ended(self) -> bool:
        """Whether there is nothing left to train. A run without a test split goes on, and finds itself at its end."""
        return self.tested or self.diverged

    def result(self) -> dict:
        return check_whole(Run(self.folder).results(), Results, self.folder / "results.json")

    def flags(self, given: dict) -> dict:
        """What `given` for all of them means for this one: a new run, or going on with the one that has begun, which
        keeps its own settings."""
        given = {name: value for name, value in given.items() if name != "folds"}
        if Run(self.folder).exists():
            again = {name: value for name, value in given.items() if OPTIONS[name]["belongs"] != RUN}
            return again | {"resume": str(self.folder)}
        own = {"lr": self.lr, "fold": self.fold}
        own = {name: value for name, value in own.items() if value is not None}
        return given | {"seed": self.seed, "out": str(self.folder)} | own


# ---- what to run ----------------------------------------------------------------------------------------------------


def asked(flags: dict) -> tuple[dict, list[float], list[int]]:
    """(what all runs are told, learning rates to search, seeds) of a command with --seeds, --folds or several --lr; no
    rates where there is no search. Raises InputError for flags that do not go with it."""
    rates = flags["lr"] if isinstance(flags.get("lr"), list) else []
    others = flags.keys() & {"resume", "seeds", "fold", "plan"}
    if "folds" in flags and (others or rates):
        raise InputError(
            f"--folds stands alone: leave out {' and '.join(map(flag, sorted(others)))} (the same command goes on)"
            if others else f"--folds stands alone: give one --lr, not {words(rates)}"
        )  # fmt: skip
    if "seeds" in flags and flags.keys() & {"resume", "seed", "plan"}:
        raise InputError("--seeds stands alone: leave out --seed, --resume and --plan (the same command goes on)")
    if flags.keys() & {"resume", "plan"}:
        raise InputError(
            f"--lr {words(rates)}: several learning rates are a search; leave out --resume and --plan (the same "
            "command goes on)"
        )
    seeds = flags.get("seeds", [flags.get("seed", TrainConfig.seed)])
    for seed in seeds:
        check_bounds("seed", seed)
    for rate in rates:
        check_bounds("lr", rate)
    for name, values in (("seeds", seeds), ("lr", rates)):
        if len(set(values)) < len(values):
            raise InputError(f"{flag(name)} {words(values)}: one of them is given twice")
    common = {name: value for name, value in flags.items() if name != "seeds"}
    return common | ({"lr": rates[0]} if rates else {}), rates, seeds


def words(values: Sequence) -> str:
    return " ".join(map(str, values))


def purpose_of(config: TrainConfig, rates: list[float]) -> str:
    return FOLDS if config.folds is not None else SEARCH if rates else SEEDS


def members(folder: pathlib.Path, config: TrainConfig, rates: list[float], seeds: list[int]) -> list[Member]:
    """In the order in which they are trained: all seeds of a learning rate, then the next one."""
    if config.folds is not None:
        numbers = range(1, config.folds + 1)
        return [Member(folder / f"fold-{n}", config.seed, None, f"{n}/{config.folds}") for n in numbers]
    if not rates:
        return [Member(folder / f"seed-{seed}", seed, None) for seed in seeds]
    return [Member(folder / rate_folder(rate) / f"seed-{seed}", seed, rate) for rate in rates for seed in seeds]


def rate_folder(rate: float | None) -> str:
    return f"lr-{rate}"


def begun(folder: pathlib.Path) -> list[pathlib.Path]:
    """The runs of any kind that `folder` holds."""
    return [path.parent for form in FORMS for path in sorted(folder.glob(f"{form}/config.json"))]


def find_folder(config: TrainConfig, rates: list[float]) -> pathlib.Path:
    """The folder in runs/ in which runs of these settings were begun, so that the same command goes on; else the first
    free one."""
    name = f"{config.model}-{purpose_of(config, rates)}"
    free, count = free_folder(name), 1
    folder = free.with_name(name)
    while folder != free:
        if begun(folder) and not differences(folder, config, rates):
            return folder
        count += 1
        folder = free.with_name(f"{name}-{count}")
    return free


@contextlib.contextmanager
def claimed(folder: pathlib.Path, runs: list[Member]) -> Iterator[None]:
    """While the block lasts no other command writes into `folder`, nor into that of a learning rate in it; one in which
    no run was begun is taken away at its end."""
    with contextlib.ExitStack() as stack:
        for part in dict.fromkeys([folder, *(member.folder.parent for member in runs)]):
            stack.enter_context(Run(part).claimed())
        yield


@contextlib.contextmanager
def noted_if_diverged(member: Member) -> Iterator[None]:
    """In a search a run that diverges is a result: it is noted, and the other ones are trained. Of several processes
    not all need to have seen it: there it ends the command, as it does where there is no search."""
    try:
        yield
    except Diverged as error:
        if member.lr is None or parallel.size() > 1:
            raise
        write_text(member.folder / DIVERGED, f"{error}\n")
        say(f"diverged: {error}")


# ---- whether they are one experiment --------------------------------------------------------------------------------


def check_settings(folder: pathlib.Path, config: TrainConfig, rates: list[float], seeds: list[int]) -> None:
    """Seeds, and learning rates, are one experiment: raise InputError where a run in `folder` has other settings than
    these, or where each would be tested on other documents (all rates at one seed draw the same)."""
    drawn = f"--fold {config.fold}" if config.fold else f"--test {config.test}"
    if (config.fold or isinstance(config.test_split, float)) and not (rates and len(seeds) == 1):
        raise InputError(f"{drawn}: each seed would draw other test documents; give --seeds a --test FILE")
    if Run(folder).exists():
        raise InputError(f"--out {folder} holds a single run; choose another folder")
    for difference in differences(folder, config, rates):
        raise InputError(f"{difference}; choose another --out, or leave out what is different")


def differences(folder: pathlib.Path, config: TrainConfig, rates: list[float]) -> list[str]:
    """In words: every setting of a run in `folder` that is not the same in `config`, but for its folder, its seed or
    fold, in a search its learning rate, and for what may change when a run goes on."""
    fixed = {name for name, option in OPTIONS.items() if option["belongs"] == RUN} - {"out"}
    settings, found, kind = config.stored(), [], purpose_of(config, rates)
    fixed -= {"seed"} if kind != FOLDS else set()
    for run in begun(folder):
        own = FOLDS if run.name.startswith("fold-") else SEARCH if run.parent != folder else SEEDS
        if own != kind:
            found.append(f"{run} is of {IN_WORDS[own]}")
            continue
        # A setting that is new since then is at its default there.
        before, now = vars(TrainConfig()) | Run(run).meta().get("config", {}), settings
        if rates:
            agrees = run.parent.name == rate_folder(before.get("lr"))
            now = settings | {"lr": before.get("lr") if agrees else run.parent.name.removeprefix("lr-")}
        elif kind == FOLDS:
            now = settings | {"fold": f"{run.name.removeprefix('fold-')}/{config.folds}"}
        found += [
            f"{run} was trained with {flag(name)} {before.get(name)}, not {now[name]}"
            for name in sorted(fixed)
            if before.get(name) != now[name]
        ]
    return found


def earlier(folder: pathlib.Path, runs: list[Member]) -> list[Member]:
    """Runs that have ended in `folder` and that the command does not name: they are part of what came out."""
    own, found = {member.folder for member in runs}, []
    for path in begun(folder):
        rate = None if path.parent == folder else float(path.parent.name.removeprefix("lr-"))
        member = Member(path, int(path.name.removeprefix("seed-")), rate)
        if path not in own and member.ended:
            found.append(member)
    return found


def check_data(runs: list[Member]) -> None:
    """Raise InputError where the runs began with different data, or over different weights."""
    folders = [member.folder for member in runs if Run(member.folder).exists()]
    metas = [Run(folder).meta() for folder in folders]
    for what, facts in (
        ("on different data", [meta["source"] for meta in metas]),
        ("over different weights", [weights(meta["backbone"]) for meta in metas]),
    ):
        for folder, fact in zip(folders, facts, strict=True):
            if fact != facts[0]:
                raise InputError(f"{folder} was trained {what} than {folders[0]}: they are one experiment")


def weights(source: dict) -> tuple[str | None, str | None]:
    """Digests of what a run read of a backbone; what it drew itself (--scratch) depends on the seed."""
    drawn = source.get("path") == "backbone"
    return None if drawn else source.get("sha256"), source.get("vectors")


def with_reference(runs: list[Member], reference: str) -> Member:
    """The run beside which the reference stands, or is to be trained: one is enough for all, since they are of the same
    data."""
    tested = [member for member in runs if member.tested] or runs
    return next((member for member in tested if (member.folder / reference).exists()), tested[0])


# ---- what came out --------------------------------------------------------------------------------------------------


def summary(runs: list[Member], select: str) -> str:
    """What the runs came to, in tables; also written beside them. `select` names the dev metric of their best epochs.
    Raises InputError where they are not of the same data, or no learning rate can be selected."""
    check_data(runs)
    results = [member.result() for member in runs if member.tested]
    if any(result["split"] != results[0]["split"] for result in results):
        raise InputError(f"{runs[0].folder.parent}: its runs were tested on different documents, or different labels")
    records = [record(member, select) for member in runs]
    lines = of_seeds(runs, records) if runs[0].lr is None else of_search(runs, records, select)
    return "\n".join([results[0]["data"], *lines] if results else lines)


def record(member: Member, select: str) -> dict:
    """What is known of a run (report/search.py); None stands for what there is not, since JSON has no NaN."""
    result = member.result() if member.tested else None
    best = None if member.diverged else best_epoch(Run(member.folder), select)
    dev = selected({"dev": best}, select) if best and member.lr is not None else math.nan
    return {
        "run": str(member.folder),
        "lr": member.lr,
        "seed": member.seed,
        "dev": dev if math.isfinite(dev) else None,
        "test": {name: value["value"] for name, value in result["metrics"].items()} if result else None,
        "collapsed": collapsed(best, result["chance"]) if result else None,
        "diverged": member.diverged,
    }


def best_epoch(run: Run, select: str) -> dict[str, float]:
    """The dev metrics of the run's best epoch, whose weights it keeps. Raises InputError for a damaged history."""
    advice, best = f"take {run.folder} away, and it is trained again", None
    try:
        for row in run.metrics():
            if is_better(selected(row, select), selected(best, select) if best else None, select):
                best = row
        return {name: float(value) for name, value in best["dev"].items()}
    except InputError as error:
        raise InputError(f"{error}; {advice}") from None
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{run.folder / 'metrics.jsonl'}: missing or damaged; {advice}") from None


def of_seeds(runs: list[Member], records: list[dict]) -> list[str]:
    """A row a seed, mean and standard deviation below; runs that learned nothing are marked, and the mean is given
    with and without them. Also written beside the runs, as seeds.json."""
    tested = [one for one in records if one["test"]]
    if not tested:
        return [no_test_split(records)]
    found = spreads(tested)
    write_json(
        runs[0].folder.parent / "seeds.json",
        {
            "runs": [one["run"] for one in tested],
            "collapsed": [one["collapsed"] for one in tested],
            "mean": found[MEAN]["mean"],
            "sd": found[MEAN]["sd"],
        },
    )
    return [search.seeds_table(tested, found)]


def no_test_split(records: list[dict]) -> str:
    return (
        "no test split, and so no results to summarise; evaluate the runs with: "
        f"python evaluate.py {words([one['run'] for one in records])} --test FILE"
    )


# ---- a search -------------------------------------------------------------------------------------------------------


def of_search(runs: list[Member], records: list[dict], select: str) -> list[str]:
    """All runs, the learning rates by their mean on dev, and the selected one on test; also written beside the runs, as
    search.json."""
    rates = over_seeds(records)
    best = best_rate(rates, select)
    own = [one for one in records if one["lr"] == best]
    found = spreads([one for one in own if one["test"]]) if any(one["test"] for one in own) else {}
    path = runs[0].folder.parent.parent / "search.json"
    facts = {"select": select, "runs": records, "rates": rates, "selected": best}
    write_json(path, facts | {"test": found.get(MEAN), "without_collapsed": found.get("without the collapsed")})
    if best is None:
        raise InputError(f"at every learning rate a run diverged: {path}; try smaller ones")
    tables = [search.runs_table(records, select), search.rates_table(rates, select, best)]
    last = search.selected_table(best, found) if found else no_test_split(own)
    return [f"{part}\n" for part in (*tables, last)] + [f"all runs: {path}"]


def best_rate(rates: list[dict], select: str) -> float | None:
    """The learning rate with the best mean on dev, of equal ones the first; None where none has a mean. What the runs
    got on test plays no part."""
    best = None
    for rate in rates:
        if rate["mean"] is not None and (best is None or is_better(rate["mean"], best["mean"], select)):
            best = rate
    return best["lr"] if best else None
