"""Several runs as one result, in tables.

A record is what is known of a run: {"run": its folder, "lr", "seed", "dev": the dev metric of its best epoch, "test":
{metric: value}, "collapsed", "diverged"}. A spread is that of some runs: {"runs": how many, "mean": {metric: value},
"sd": the same, or None where one run has no deviation}.
"""

from collections.abc import Sequence

from textcls.metrics.seeds import MEAN
from textcls.report.text import number, table, title


def seeds_table(records: Sequence[dict], spreads: dict[str, dict]) -> str:
    """A row a seed, with its folder; mean and deviation below."""
    names = list(records[0]["test"])
    rows = [["", *map(title, names), ""]]
    for record in records:
        rows.append([record["run"], *(number(record["test"][name]) for name in names), trouble(record)])
    return table(rows + spread_rows(spreads))


def runs_table(records: Sequence[dict], select: str) -> str:
    """A row a run: learning rate, seed, dev metric, test metrics where there are any, what went wrong."""
    names = next((list(record["test"]) for record in records if record["test"]), [])
    rows = [["learning rate", "seed", f"dev {title(select)}", *map(title, names), ""]]
    for record in records:
        dev = "" if record["dev"] is None else number(record["dev"])
        scores = (number(record["test"][name]) if record["test"] else "" for name in names)
        rows.append([str(record["lr"]), str(record["seed"]), dev, *scores, trouble(record)])
    return table(rows)


def rates_table(rates: Sequence[dict], select: str, selected: float) -> str:
    """A row a learning rate, {"lr", "runs", "mean", "sd"}: the dev metric over its seeds, and which one is selected."""
    rows = [["learning rate", f"mean dev {title(select)}", ""]]
    for rate in rates:
        cell = "" if rate["mean"] is None else spread(rate["mean"], rate["sd"])
        rows.append([str(rate["lr"]), cell, "selected" if rate["lr"] == selected else ""])
    return table(rows)


def selected_table(selected: float, spreads: dict[str, dict]) -> str:
    """The selected learning rate on test."""
    names = next(iter(spreads.values()))["mean"]
    return table([[f"--lr {selected} on test", *map(title, names), ""], *spread_rows(spreads)])


def spread_rows(spreads: dict[str, dict]) -> list[list[str]]:
    """A row for each spread, by what it is called."""
    rows = []
    for name, values in spreads.items():
        sd = values["sd"] or {}
        cells = (spread(mean, sd.get(metric)) for metric, mean in values["mean"].items())
        runs = f"{values['runs']} run{'s' * (values['runs'] > 1)}"
        rows.append([name, *cells, runs] if sd or name != MEAN else [runs, *cells, ""])
    return rows


def spread(mean: float, sd: float | None) -> str:
    return number(mean) if sd is None else f"{number(mean)} ± {number(sd)}"


def trouble(record: dict) -> str:
    return "diverged" if record["diverged"] else "collapsed" if record["collapsed"] else ""
