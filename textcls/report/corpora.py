"""Runs of several corpora in one table: a row a model, a column a corpus, and the mean over the columns.

The form of Table 5 in Huang et al. (2020, arXiv:2003.07000), and of GLUE: each corpus with its main metric x 100.
"""

import dataclasses
import itertools
from collections.abc import Callable, Sequence

from textcls.report.compare import Result, compare
from textcls.report.text import number, table, title

NO_SHARES = ("nll", "perplexity", "mse")  # what ends so is no share of something: not x 100, and in no average


@dataclasses.dataclass(frozen=True, eq=False)
class Entry:
    """A run of the table: its result, the name of its `model` and of what that stands on (`backbone`), and its
    `corpus`: a built-in corpus, or the path of its training file."""

    result: Result
    model: str
    backbone: str
    corpus: str

    @property
    def run(self) -> str:
        return self.result.summary["run"]


def columns(entries: Sequence[Entry]) -> list[list[Entry]]:
    """The entries by their corpus, in the order given. Runs of one task are of one corpus where they were trained on
    the same one, or tested on the same items."""
    found: list[list[Entry]] = []
    for entry in entries:
        same = [column for column in found if any(is_same_corpus(entry, other) for other in column)]
        if not same:
            found.append([entry])
            continue
        same[0] += [*itertools.chain(*same[1:]), entry]  # the entry may be what shows that several are of one corpus
        found = [column for column in found if column not in same[1:]]
    return found


def is_same_corpus(one: Entry, other: Entry) -> bool:
    first, second = one.result.summary, other.result.summary
    return first["task"] == second["task"] and (one.corpus == other.corpus or first["split"] == second["split"])


def corpora_table(entries: Sequence[Entry]) -> str:
    """A row a model, a column a corpus with its main metric, the average; which runs stand in a row; and where several
    runs are of one corpus, what :func:`compare` says of them."""
    by_corpus = columns(entries)
    names, heads = row_names(by_corpus), heads_of(by_corpus)
    metrics = [main_metric(column) for column in by_corpus]
    shares = [place for place, metric in enumerate(metrics) if not metric.endswith(NO_SHARES)]
    cells: dict[str, dict[int, float]] = {}
    for entry in entries:
        place = next(place for place, column in enumerate(by_corpus) if entry in column)
        cells.setdefault(names[entry.run], {})[place] = entry.result.summary["metrics"][metrics[place]]["value"]
    scored = [f"{head} {title(metric)}" for head, metric in zip(heads, metrics, strict=True)]
    rows = [["", *scored, "average"]]
    for name, values in cells.items():
        shown = [cell(values.get(place), place in shares) for place in range(len(by_corpus))]
        rows.append([name, *shown, average(values, shares)])
    rows = rows if len(shares) > 1 else [row[:-1] for row in rows]
    lines = [table(rows), "", note(heads, metrics, shares)]
    lines += [f"{name}: {', '.join(dict.fromkeys(e.run for e in entries if names[e.run] == name))}" for name in cells]
    for head, column in zip(heads, by_corpus, strict=True):
        sentences = compare([entry.result for entry in column]) if len(column) > 1 else []
        lines += ["", f"{head}:", *sentences] if sentences else []
    return "\n".join(lines)


def main_metric(column: Sequence[Entry]) -> str:
    """The one that a task names first."""
    return next(iter(column[0].result.summary["metrics"]))


def cell(value: float | None, is_share: bool) -> str:
    if value is None:
        return ""
    return f"{100 * value:.1f}" if is_share else number(value)


def average(values: dict[int, float], shares: Sequence[int]) -> str:
    """Of the columns that hold shares, each counted once; blank where there are none, or the model lacks one."""
    if not shares or any(place not in values for place in shares):
        return ""
    return cell(sum(values[place] for place in shares) / len(shares), True)


def note(heads: Sequence[str], metrics: Sequence[str], shares: Sequence[int]) -> str:
    """How to read the numbers."""
    if not shares:
        return "no average: these are no shares"
    others = [f"{head} ({title(metric)})" for place, (head, metric) in enumerate(zip(heads, metrics, strict=True))
              if place not in shares]  # fmt: skip
    without = f" but {', '.join(others)}" if others else ""
    return f"x 100{without}; the average is the mean of the columns{without}" if len(shares) > 1 else f"x 100{without}"


# ---- names ----------------------------------------------------------------------------------------------------------


def row_names(by_corpus: Sequence[Sequence[Entry]]) -> dict[str, str]:
    """{run: the name of its row}: the model; with what it stands on where one model stands on several things; with what
    tells their paths apart where a corpus has several runs of it."""
    places = {entry.run: place for place, column in enumerate(by_corpus) for entry in column}
    entries = [entry for column in by_corpus for entry in column]
    names = {}
    for model in dict.fromkeys(entry.model for entry in entries):
        own = [entry for entry in entries if entry.model == model]
        backbones = dict.fromkeys(entry.backbone for entry in own)
        for backbone in backbones:
            runs = [entry.run for entry in own if entry.backbone == backbone]
            parts = tell_apart(list(dict.fromkeys(runs)), lambda run: places[run])
            for run in runs:
                more = [part for part in (backbone if len(backbones) > 1 else "", parts[run]) if part]
                names[run] = f"{model} ({', '.join(more)})" if more else model
    return names


def heads_of(by_corpus: Sequence[Sequence[Entry]]) -> list[str]:
    """What each corpus is called: a built-in one by its name, a test file by its own; files of one name with what tells
    their tasks and the paths of their training files apart."""
    heads, paths = [], []
    for first, *_ in by_corpus:
        data, task = first.result.summary["data"], first.result.summary["task"]
        is_file = "/" in first.corpus or "\\" in first.corpus
        heads.append((data.rpartition(" (")[0] or data) if is_file else first.corpus)
        paths.append(f"{task}/{first.corpus}")
    for name in {name for name in heads if heads.count(name) > 1}:
        alike = [place for place, head in enumerate(heads) if head == name]
        parts = tell_apart([paths[place] for place in alike], lambda path: None)
        for place in alike:
            heads[place] = f"{name} ({parts[paths[place]]})"
    return heads


def tell_apart(paths: Sequence[str], place: Callable[[str], object]) -> dict[str, str]:
    """{path: one of its parts}, such that no two paths of one `place` have the same; "" for all where the places alone
    tell them apart. Of the parts that do it, counted from the end, the one with the fewest names (so that paths of
    different places share theirs), and of these the last; where none does it, the whole path."""
    if len({place(path) for path in paths}) == len(paths):
        return dict.fromkeys(paths, "")
    split = {path: path.replace("\\", "/").split("/") for path in paths}
    apart = []
    for depth in range(1, min(map(len, split.values())) + 1):
        names = {path: parts[-depth] for path, parts in split.items()}
        if len({(place(path), name) for path, name in names.items()}) == len(paths):
            apart.append(names)
    whole = dict(zip(paths, paths, strict=True))
    return min([*apart, whole], key=lambda names: len(set(names.values())))
