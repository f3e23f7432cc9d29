"""The rows that benchmarks/gpu.py measures, a verdict on each, and the two files that it leaves."""

import dataclasses
import json
import math
import pathlib

from textcls.runtime.errors import InputError
from textcls.runtime.files import write_json, write_text

RESULTS, PAGE = "gpu-results.json", "gpu-results.md"
TEXT = {"at most": "at most {}", "at least": "at least {}", "near": "{}", "yes": "yes", "": ""}


@dataclasses.dataclass(frozen=True)
class Row:
    """A number, and what it was expected to be. `rule` says how the two are compared: "at most", "at least", "near"
    (within `tolerance`, a share of what was expected), "yes" (a truth), or "" for a number of which nobody said
    anything. `basis`: who says so: computed, claimed, asked for. `measured` None: it could not be measured, and `note`
    says why."""

    what: str
    measured: float | bool | str | None
    expected: float | None = None
    rule: str = ""
    basis: str = ""
    unit: str = ""
    tolerance: float = 0.05
    note: str = ""

    @property
    def verdict(self) -> str:
        """holds; falls short by how much; failed; or nothing, where there is nothing to hold."""
        if self.measured is None:
            return "failed" if self.rule else "not measured"
        if self.rule == "yes":
            return "holds" if self.measured else "falls short"
        if not self.rule:
            return ""
        if not math.isfinite(self.measured):
            return "falls short: not finite"
        excess = self.measured / self.expected - 1 if self.expected else math.inf if self.measured > 0 else 0.0
        short = {"at most": excess, "at least": -excess, "near": abs(excess) - self.tolerance}[self.rule]
        if short <= 0:
            return "holds"
        if self.rule == "near":
            return f"falls short: {abs(excess):.0%} {'more' if excess > 0 else 'less'} than predicted"
        return f"falls short by {abs(excess):.0%}" if math.isfinite(excess) else "falls short"


def plain(row: Row) -> dict:
    """For JSON, which has no infinities."""
    fields = dataclasses.asdict(row) | {"verdict": row.verdict}
    return {k: str(v) if isinstance(v, float) and not math.isfinite(v) else v for k, v in fields.items()}


# ---- the files ------------------------------------------------------------------------------------------------------


def read(folder: pathlib.Path, key: dict, afresh: bool) -> dict:
    """{part: what an earlier run left of it}, of the same card, versions and settings. Raises InputError where the file
    is of others, which would be lost; with `afresh` it is."""
    path = folder / RESULTS
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text("utf-8"))
        earlier, parts = found["machine"] | found["settings"], found["parts"]
        problem = next((f"{k} {earlier.get(k)}, now {v}" for k, v in key.items() if earlier.get(k) != v), None)
    except (ValueError, KeyError, TypeError) as error:
        problem, parts = f"not a file of this benchmark: {error}", {}
    if problem and not afresh:
        raise InputError(f"{path}: of others ({problem}); --afresh replaces it, --out FOLDER leaves it alone")
    return {} if problem else parts


def write(folder: pathlib.Path, results: dict) -> None:
    """Both files, each replaced as a whole."""
    write_json(folder / RESULTS, results)
    write_text(folder / PAGE, page(results))


def page(results: dict) -> str:
    machine = results["machine"]
    lines = [f"# {machine['card']}, {results['date']}", ""]
    if machine["device"] == "cpu":
        lines += ["**A rehearsal on a CPU, with tiny shapes: no number below says anything about a GPU.**", ""]
    lines += [f"`{results['command']}`", ""]
    lines += ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in machine.items()), ""]
    lines += [summary(results), ""]
    for part in results["parts"].values():
        lines += [f"## {part['title']}", "", *of_part(part), ""]
    changes = [line for part in results["parts"].values() for line in part.get("changes", [])]
    if changes:
        lines += ["## What the code should say after this", "", "```python", *changes, "```", ""]
    return "\n".join(lines)


def summary(results: dict) -> str:
    verdicts = [row["verdict"] for part in results["parts"].values() for row in part["rows"]]
    counts = {word: sum(v.startswith(word) for v in verdicts) for word in ("holds", "falls short", "failed")}
    states = [f"{name}: {part['state']}" for name, part in results["parts"].items() if part["state"] != "done"]
    text = (
        f"Of {sum(counts.values())} expectations {counts['holds']} hold, {counts['falls short']} fall short, "
        f"{counts['failed']} could not be measured."
    )
    return f"{text} Parts not done: {'; '.join(states)}." if states else text


def of_part(part: dict) -> list[str]:
    lines = [] if part["state"] == "done" else [f"**{part['state']}**", ""]
    if part["rows"]:
        lines += ["| what | measured | expected | by | verdict |", "|---|---|---|---|---|"]
    return lines + [of_row(row) for row in part["rows"]]


def of_row(row: dict) -> str:
    unit = f" {row['unit']}" if row["unit"] else ""
    expected = TEXT[row["rule"]].format(number(row["expected"])) + (unit if row["rule"] not in ("", "yes") else "")
    note = f" ({row['note']})" if row["note"] else ""
    measured = "—" if row["measured"] is None else number(row["measured"]) + unit
    cells = [row["what"] + note, measured, expected, row["basis"], row["verdict"]]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def number(value) -> str:
    """Four digits; words as they are."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str) or value is None or not math.isfinite(value):
        return "" if value is None else str(value)
    if value == int(value) and abs(value) < 1e9:
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
