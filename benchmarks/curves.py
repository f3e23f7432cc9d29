"""Loss of pre-training runs against updates and against time: a table, and a plot.

python benchmarks/curves.py --plot curves.svg bert=runs/bert-1,runs/bert-2 trans-blstm-2=runs/tb-1,runs/tb-2

Each argument is a name and the runs that differ in nothing but their seed; lines are means over them, bands their
range. An epoch is taken to last the median of all epochs under its name: a busy machine disturbs single ones.
"""

import argparse
import json
import pathlib

import numpy as np


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("groups", nargs="+", metavar="NAME=RUN,RUN", help="runs to be averaged under a name")
    parser.add_argument("--metric", default="mlm_nll", help="of the dev split (default: mlm_nll)")
    parser.add_argument("--plot", metavar="FILE", help="draw the curves into FILE, .svg or .png (needs matplotlib)")
    arguments = parser.parse_args()
    curves = {name: read(runs.split(","), arguments.metric) for name, runs in split(arguments.groups)}
    print(table(curves, arguments.metric))
    if arguments.plot:
        plot(curves, arguments.metric, pathlib.Path(arguments.plot))


def split(groups: list[str]) -> list[list[str]]:
    return [group.split("=", 1) for group in groups]


def read(runs: list[str], metric: str) -> dict[str, np.ndarray]:
    """{"step" (epochs,), "seconds" (epochs,), "value" (runs, epochs)}."""
    found = []
    for run in runs:
        with open(pathlib.Path(run) / "metrics.jsonl", encoding="utf-8") as file:
            found.append([json.loads(line) for line in file])
    epoch = float(np.median([row["seconds"] for rows in found for row in rows]))
    return {
        "step": np.array([row["step"] for row in found[0]]),
        "seconds": epoch * np.arange(1, len(found[0]) + 1),
        "value": np.array([[row["dev"][metric] for row in rows] for rows in found]),
    }


def at_time(curve: dict[str, np.ndarray], seconds: float) -> float:
    """The mean value after so many seconds, between the epochs' ends by straight lines."""
    return float(np.interp(seconds, curve["seconds"], curve["value"].mean(0)))


def table(curves: dict[str, dict], metric: str) -> str:
    """The value after each epoch, and at the time that the quickest model took for all of them."""
    quickest = min(curve["seconds"][-1] for curve in curves.values())
    steps = next(iter(curves.values()))["step"]
    head = [f"dev {metric} after", *(f"{step} updates" for step in steps), "seconds", f"at {quickest:.0f} s"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name, curve in curves.items():
        mean, sd = curve["value"].mean(0), curve["value"].std(0, ddof=1 if len(curve["value"]) > 1 else 0)
        cells = [f"{m:.3f} ± {s:.3f}" for m, s in zip(mean, sd, strict=True)]
        seconds = curve["seconds"][-1]
        lines.append("| " + " | ".join([name, *cells, f"{seconds:.0f}", f"{at_time(curve, quickest):.3f}"]) + " |")
    return "\n".join(lines)


def plot(curves: dict[str, dict], metric: str, path: pathlib.Path) -> None:
    try:
        import matplotlib
    except ImportError:
        raise SystemExit("error: --plot needs matplotlib: pip install -r benchmarks/requirements.txt") from None
    matplotlib.use("agg")
    matplotlib.rcParams["svg.hashsalt"] = "textcls"  # the same file from the same numbers
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 2, figsize=(9, 3.4), sharey=True, layout="constrained")
    for name, curve in curves.items():
        mean, low, high = (getattr(curve["value"], kind)(0) for kind in ("mean", "min", "max"))
        for panel, at in zip(panels, (curve["step"], curve["seconds"]), strict=True):
            panel.plot(at, mean, marker="o", markersize=3, label=name)
            panel.fill_between(at, low, high, alpha=0.2)
    panels[0].set(xlabel="updates", ylabel=f"dev {metric}")
    panels[1].set(xlabel="seconds of training")
    panels[0].legend(frameon=False)
    for panel in panels:
        panel.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


if __name__ == "__main__":
    main()
