"""Runs of several corpora in one table: a row a model, a column a corpus, and the mean over the columns.

The form of Table 5 in Huang et al. (2020, arXiv:2003.07000), and of GLUE: each corpus with its main metric x 100, of
MNLI for matched and mismatched, each of which counts in the mean as in Table 1 of Devlin et al. (2019).
"""

import dataclasses
import itertools
from collections.abc import Callable, Sequence

from textcls.report.compare import Result, compare
from textcls.report.text import number, table, title

Score = tuple[str, str]  # a column: what its corpus is called, and a metric
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
    """A row a model, a column a corpus with its main metric (two columns where that is measured on two sets), the
    average; which runs stand in a row; what was tested on; and where several runs are of one corpus, what
    :func:`compare` says of them."""
    by_corpus = columns(entries)
    names, heads = row_names(by_corpus), heads_of(by_corpus)
    scores = [(head, name) for head, column in zip(heads, by_corpus, strict=True) for name in main_metrics(column)]
    shares = [score for score in scores if is_share(score)]
    cells: dict[str, dict[Score, float]] = {}
    for entry in entries:
        head = next(head for head, column in zip(heads, by_corpus, strict=True) if entry in column)
        metrics = entry.result.summary["metrics"]
        values = {(head, name): value["value"] for name, value in metrics.items() if (head, name) in scores}
        cells.setdefault(names[entry.run], {}).update(values)
    rows = [["", *(f"{head} {title(metric)}" for head, metric in scores), "average"]]
    for name, values in cells.items():
        rows.append([name, *(cell(values.get(score), is_share(score)) for score in scores), average(values, shares)])
    rows = rows if len(shares) > 1 else [row[:-1] for row in rows]
    lines = [table(rows), "", note(scores, shares)]
    lines += [f"{name}: {', '.join(dict.fromkeys(e.run for e in entries if names[e.run] == name))}" for name in cells]
    for head, column in zip(heads, by_corpus, strict=True):
        lines += [f"{head}: {sentence}" for sentence in tested_on(column)]
    for head, column in zip(heads, by_corpus, strict=True):
        sentences = compare([entry.result for entry in column]) if len(column) > 1 else []
        lines += ["", f"{head}:", *sentences] if sentences else []
    return "\n".join(lines)


def main_metrics(column: Sequence[Entry]) -> list[str]:
    """The one that a task names first, of those that all runs of the column have; and the same on documents beside
    these, such as accuracy_mm."""
    first, *others = (entry.result.summary["metrics"] for entry in column)
    names = [name for name in first if all(name in other for other in others)]
    return [names[0], *(name for name in names if name.startswith(f"{names[0]}_"))]


def is_share(score: Score) -> bool:
    return not score[1].endswith(NO_SHARES)


def tested_on(column: Sequence[Entry]) -> list[str]:
    """What the results of a corpus say of their data: how it was split, on what the epoch was chosen. With the runs
    where these differ."""
    runs: dict[str, list[str]] = {}
    for entry in column:
        runs.setdefault(entry.result.summary["data"], []).append(entry.run)
    if len(runs) == 1:
        return list(runs)
    return [f"{data}: {', '.join(dict.fromkeys(names))}" for data, names in runs.items()]


def cell(value: float | None, is_share: bool) -> str:
    if value is None:
        return ""
    return f"{100 * value:.1f}" if is_share else number(value)


def average(values: dict[Score, float], shares: Sequence[Score]) -> str:
    """Of the columns that hold shares, each counted once; blank where there are none, or the model lacks one."""
    if not shares or any(score not in values for score in shares):
        return ""
    return cell(sum(values[score] for score in shares) / len(shares), True)


def note(scores: Sequence[Score], shares: Sequence[Score]) -> str:
    """How to read the numbers."""
    if not shares:
        return "no average: these are no shares"
    others = [f"{head} ({title(metric)})" for head, metric in scores if not is_share((head, metric))]
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
