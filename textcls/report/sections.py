"""What a page says of trained runs, from dictionaries: results as textcls.predictor.evaluate gives them, what a task
has to show besides (Result.further), and what textcls.page found in the run's folder."""

import math
from collections.abc import Sequence

from textcls.metrics.statistics import Interval
from textcls.report import html, svg
from textcls.report.compare import Result, compare
from textcls.report.html import charts, figure, paragraph, preformatted, section, table
from textcls.report.svg import Series
from textcls.report.text import (
    interval,
    non_empty,
    number,
    per_class_rows,
    per_label_rows,
    per_type_rows,
    probabilities_rows,
    share,
    side_by_side_rows,
    title,
)

LOSS = "nll"  # what dev metrics call that
MOST = 120  # classes of a confusion matrix that can be read


def page(heading: str, command: str, runs: Sequence[dict], results: Sequence[Result], corpora: str = "") -> str:
    """Of each run {"command", "settings", "data", "history", "select", "resources", "remarks"}; the results in the same
    order. Several runs are compared first, those of several `corpora` in the table that is given."""
    names = [f"run-{i + 1}" for i in range(len(runs))]
    body = [html.command(command)]
    if len(runs) > 1:
        targets = {name: result.summary["run"] for name, result in zip(names, results, strict=True)}
        body += [html.links("runs", targets), comparison(results, corpora)]
    for name, run, result in zip(names, runs, results, strict=True):
        body.append(section(result.summary["run"], of_run(name, run, result), name, level=2))
    return html.page(heading, body)


def comparison(results: Sequence[Result], corpora: str) -> str:
    if corpora:
        return section("Side by side", [preformatted(corpora)], "compared", level=2)
    data, rows = side_by_side_rows([result.summary for result in results])
    sentences = map(paragraph, compare(results))
    parts = [*map(paragraph, data), table("", rows, words=True), *sentences]
    return section("Side by side", parts, "compared", level=2)


def of_run(name: str, run: dict, result: Result) -> list[str]:
    """Its sections, of those that have something to say; links to them begin with `name`."""
    summary, further = result.summary, result.further()
    parts = {
        "Results": results(summary, run["remarks"]),
        "Classes": classes(summary, further),
        "Confusion": confusion(summary, further),
        "Predicted and true": fit(further),
        "Probabilities": probabilities(summary),
        "Errors": errors(further),
        "Training": training(run["history"], run["select"]),
        "Data": data(run["data"]),
        "Memory and time": resources(run["resources"], summary),
        "Settings": settings(run, summary),
    }
    parts = {heading: [part for part in of if part] for heading, of in parts.items()}
    places = {f"{name}-{i}": heading for i, heading in enumerate(heading for heading in parts if parts[heading])}
    return [
        paragraph(f"{summary['data']}: {summary['documents']:,} {summary['unit']}"),
        html.links(f"sections of {summary['run']}", places),
        *(section(heading, parts[heading], place) for place, heading in places.items()),
    ]


# ---- results --------------------------------------------------------------------------------------------------------


def results(summary: dict, remarks: Sequence[str]) -> list[str]:
    rows = [["", "value", "95 % interval"]]
    for name, value in summary["metrics"].items():
        ends = "" if value["low"] is None else f"{number(value['low'])} to {number(value['high'])}"
        rows.append([title(name), number(value["value"]), ends])
    empty = [f"accuracy of the others: {non_empty(summary)}"] if summary.get("empty") else []
    others = [*empty, *summary.get("remarks", []), *remarks]
    return [table(f"On {summary['documents']:,} {summary['unit']}", rows), *map(paragraph, others)]


def classes(summary: dict, further: dict) -> list[str]:
    """A row a class, label or type, with the interval of its F1 where that is known."""
    parts = []
    if "per_class" in summary:
        known = further.get("per_class", {})
        parts.append(with_intervals("Of each class", per_class_rows(summary["per_class"]), known))
    if "per_label" in summary:
        parts.append(of_labels(summary["per_label"]))
    for sense, types in summary.get("per_type", {}).items():
        known = further.get("per_type", {}) if sense == "conlleval" else {}
        parts.append(with_intervals(f"Of each type of entity ({sense})", per_type_rows(sense, types), known))
    return parts


def with_intervals(caption: str, rows: list[list[str]], known: dict[str, dict[str, dict]]) -> str:
    """The rows, whose columns from the second on are precision, recall and F1, with the intervals of these: {class:
    {metric: interval}}."""
    if not known:
        return table(caption, rows)
    filled, marks = [[rows[0][i] for i in (0, 4, 3, 1, 2)]], []
    for row in rows[1:]:
        values = known[row[0]]
        filled.append([row[0], row[4], *(share(values[name]) for name in ("f1", "precision", "recall"))])
        marks.append(whisker(values["f1"]))
    return table(f"{caption}, with 95 % intervals; the line: F1 from 0 to 1", filled, marks=marks)


def of_labels(labels: dict[str, dict]) -> str:
    rows = [[row[i] for i in (0, 6, 4, 5, 2, 3, 1)] for row in per_label_rows(labels)]
    marks = [whisker(values["f1"]) for values in labels.values()]
    return table("Of each label, with 95 % intervals; the line: F1 from 0 to 1", rows, marks=marks)


def whisker(value: dict) -> str:
    return svg.interval(value["value"], value["low"], value["high"], f"F1 {share(value)}")


def confusion(summary: dict, further: dict) -> list[str]:
    if "confusion" not in further:
        return []
    labels = list(summary["per_class"])
    rows = [["true", "predicted", "documents"], *([true, guess, f"{n:,}"] for true, guess, n in summary["confused"])]
    most = table("Most frequent confusions", rows, words=True)
    if len(labels) > MOST:
        return [most]
    what = (
        "Documents of each true class (down) by predicted class (across). Blue: right; orange: wrong; the fuller the "
        "colour, the larger the share of the true class."
    )
    return [figure(svg.confusion("Confusion matrix", labels, further["confusion"]), what), most]


def fit(further: dict) -> list[str]:
    if "fit" not in further:
        return []
    points = further["fit"]
    drawing = svg.scatter("Predicted and true scores", points, ("true", "predicted"))
    return [figure(drawing, f"{len(points):,} documents; on the dashed line both scores are equal.")]


# ---- probabilities --------------------------------------------------------------------------------------------------


def probabilities(summary: dict) -> list[str]:
    """Reliability, and how right the surest answers are."""
    if "probabilities" not in summary:
        return []
    found = summary["probabilities"]
    lines, reliable, answered = probabilities_rows(found, summary)
    bins, coverage = found["reliability"], found["coverage"]
    drawn = Series(
        "answers",
        [(part["confidence"], part["accuracy"]["value"]) for part in bins],
        [(part["accuracy"]["low"], part["accuracy"]["high"]) for part in bins],
        joined=False,
    )
    curve = Series(
        "answered, right",
        [(row["answered"] / summary["documents"], row["accuracy"]["value"]) for row in coverage],
        [(row["accuracy"]["low"], row["accuracy"]["high"]) for row in coverage],
    )
    ece = interval(Interval(**summary["metrics"]["ece"]))
    first = svg.reliability("Reliability diagram", drawn, ("mean probability of the answer", "share that is right"))
    second = svg.shares("Accuracy by coverage", curve, ("share that is answered", "share that is right"))
    return [
        *map(paragraph, lines),
        charts([
            figure(first, f"Reliability, with 95 % intervals; on the dashed line probabilities are honest. ECE {ece}"),
            figure(second, "The surest answers alone: how many of them are right, with 95 % intervals."),
        ]),
        table("Answers by their probability", reliable),
        table("The surest answers alone", answered),
    ]  # fmt: skip


# ---- errors ---------------------------------------------------------------------------------------------------------


def errors(further: dict) -> list[str]:
    """{"order": in which order they come, "count": how many there are, "items": [{"facts": {name: value}, "texts",
    "suspicious"}]}."""
    if "errors" not in further:
        return []
    found = further["errors"]
    if not found["count"]:
        return [paragraph("none")]
    shown = f"{len(found['items'])} of {found['count']:,}, {found['order']}"
    return [paragraph(shown), *map(error, found["items"])]


def error(item: dict) -> str:
    facts = "; ".join(f"{name} {value}" if name else value for name, value in item["facts"].items())
    notes = [paragraph("suspicious: the label may be the error", "note")] if item.get("suspicious") else []
    texts = map(html.text, item["texts"])
    return "\n".join(["<section>", paragraph(facts, "answer"), *notes, *texts, "</section>"])


# ---- training -------------------------------------------------------------------------------------------------------


def training(history: Sequence[dict], select: str) -> list[str]:
    """Loss and dev metrics by epoch, {"epoch", "loss", "dev": {metric: value}, "seconds"} each; `select` chose the best
    one."""
    if not history:
        return []
    epochs = [row["epoch"] for row in history]
    chosen = LOSS if select == "loss" else select
    values = [row["dev"].get(chosen) for row in history]
    best = None
    if None not in values:
        best = epochs[values.index(min(values) if chosen == LOSS else max(values))]
    drawings = []
    if len(history) > 1:
        drawings = [losses(history, best), metrics(history, chosen, best)]
    names = list(history[0]["dev"])
    rows = [["epoch", "loss", *(f"dev {title(name)}" for name in names), "s"]]
    for row in history:
        scores = (number(row["dev"][name]) if name in row["dev"] else "" for name in names)
        loss = number(row["loss"]) if "loss" in row else ""
        rows.append([f"{row['epoch']}{' (best)' * (row['epoch'] == best)}", loss, *scores, f"{row['seconds']:.1f}"])
    return [charts(drawings), table("Epochs; loss on the training documents, the rest on dev", rows)]


def losses(history: Sequence[dict], best: int | None) -> str:
    both = {"train": [row.get("loss") for row in history], "dev": [row["dev"].get(LOSS) for row in history]}
    epochs = [row["epoch"] for row in history]
    known = {name: values for name, values in both.items() if None not in values and all(map(math.isfinite, values))}
    found = [Series(name, list(zip(epochs, values, strict=True))) for name, values in known.items()]
    return figure(svg.curves("Loss by epoch", found, ("epoch", "loss"), best), f"Loss.{dotted(best)}") if found else ""


def metrics(history: Sequence[dict], chosen: str, best: int | None) -> str:
    """The dev metrics that are shares, as many as there is room for; of others the one that chooses."""
    names = [name for name in history[0]["dev"] if not name.endswith(LOSS)]
    small = [name for name in names if all(-1 <= row["dev"].get(name, 2) <= 1 for row in history)]
    whole = [name for name in names if all(math.isfinite(row["dev"].get(name, math.nan)) for row in history)]
    names = small or [name for name in whole if name == chosen]
    while sum(map(svg.wide, map(title, names))) > svg.WIDTH:
        names.pop()
    found = [Series(title(name), [(row["epoch"], row["dev"][name]) for row in history]) for name in names]
    if not found:
        return ""
    return figure(svg.curves("Dev metrics by epoch", found, ("epoch", ""), best), f"On dev.{dotted(best)}")


def dotted(best: int | None) -> str:
    return "" if best is None else f" Dotted: epoch {best}, the best by dev."


# ---- data -----------------------------------------------------------------------------------------------------------


def data(found: dict) -> list[str]:
    """{"problem": why there are no numbers}, or {"unit": of lengths, "limit", "splits": {name: {"count", "empty",
    "median", "most", "longest", "cut"}}, "bins": of the training documents' lengths, "labels": {label: {split: count}},
    "duplicates": [{"in", "also in", "count", "otherwise": with another answer}]}."""
    if "problem" in found:
        return [paragraph(found["problem"])]
    if not found:
        return []
    unit, names = found["unit"], list(found["splits"])
    heads = {"count": "items", "empty": "empty", "median": f"{unit}, median", "most": f"{unit}, 95 % have at most"}
    rows = [["", *names]]
    for name, of in (heads | {"longest": f"{unit}, longest", "cut": "cut"}).items():
        cells = [split[name] for split in found["splits"].values()]
        rows.append([of, *(f"{cell:.1%}" if name == "cut" else f"{cell:,.0f}" for cell in cells)])
    length = svg.histogram("Lengths", found["bins"], (unit, "items"), found["limit"])
    labels = [["", *names]]
    labels += [[label, *(f"{counts[name]:,}" for name in names)] for label, counts in found["labels"].items()]
    return [
        table("Splits", rows),
        figure(length, f"Lengths of the training items in {unit}; the last bar holds all longer ones."),
        table("How often each label is given", labels),
        table("Items that are in two splits, but for white space", duplicates(found["duplicates"])),
    ]


def duplicates(pairs: Sequence[dict]) -> list[list[str]]:
    rows = [["", "items", "with another answer"]]
    for pair in pairs:
        rows.append([f"{pair['in']}, also in {pair['also in']}", f"{pair['count']:,}", f"{pair['otherwise']:,}"])
    return rows


# ---- memory, time, settings -----------------------------------------------------------------------------------------


def resources(found: dict, summary: dict) -> list[str]:
    """{"memory": rows, "step": a sentence}, nothing of a run without a ledger.json."""
    speed = f"{summary['documents_per_s']:,.0f} {summary['unit']}/s on {summary['device']} in evaluation"
    memory = [table("A training step", found["memory"]), paragraph(found["step"])] if found else []
    return [*memory, paragraph(speed)]


def settings(run: dict, summary: dict) -> list[str]:
    model = [["", ""], *([name, value] for name, value in summary["properties"].items() if value)]
    pairs = [[name, str(value)] for name, value in run["settings"].items()]
    return [
        html.command(run["command"]) if run["command"] else "",
        table("Model", model, words=True),
        table("Settings", [["", ""], *pairs], words=True),
    ]
