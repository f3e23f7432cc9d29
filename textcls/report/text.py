"""Results as text: numbers with intervals, and tables with aligned columns."""

from collections.abc import Sequence

from textcls.metrics.statistics import Interval

TITLES = {
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
    "micro_f1": "micro-F1",
    "map": "mAP",
    "nll": "NLL",
    "ece": "ECE",
    "f1": "F1 (conlleval)",
    "strict_f1": "F1 (strict)",
    "precision": "precision",
    "recall": "recall",
    "perplexity": "perplexity",
    "mlm_nll": "masked NLL",
    "mlm_accuracy": "masked accuracy",
    "nsp_nll": "pair NLL",
    "nsp_accuracy": "pair accuracy",
    "accuracy_mm": "accuracy (mm)",
    "positive_f1": "F1 (positive)",
    "matthews": "Matthews",
    "spearman": "Spearman",
    "pearson": "Pearson",
    "mse": "squared error",
    "mae": "absolute error",
    "answer_f1": "F1",
    "exact_match": "EM",
}


def title(metric: str) -> str:
    return TITLES.get(metric, metric.replace("_", " "))


def number(value: float) -> str:
    """Four decimals for shares and losses; two where there are many before the point, as in a perplexity; of what these
    would call 0, two digits."""
    if 0 < abs(value) < 5e-5:
        return f"{value:.1e}"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.2f}"


def in_digits(score: float) -> str:
    """Four decimals, or four digits of what is smaller."""
    return f"{score:.4f}" if score == 0 or abs(score) >= 1e-3 else f"{score:.4g}"


def interval(value: Interval) -> str:
    if value.low is None:
        return number(value.value)
    return f"{number(value.value)} [{number(value.low)}, {number(value.high)}]"


def intervals_table(rows: dict[str, dict[str, Interval]]) -> str:
    """A row for each name, a column for each metric; all rows have the same ones."""
    heads = [["", *map(title, next(iter(rows.values())))]]
    return table(heads + [[name, *map(interval, values.values())] for name, values in rows.items()])


def table(rows: Sequence[Sequence[str]], right: bool = True) -> str:
    """Rows of cells with aligned columns, the first to the left; the first row is the head."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for number, row in enumerate(rows):
        cells = [row[0].ljust(widths[0])]
        cells += [
            cell.rjust(width) if right else cell.ljust(width) for cell, width in zip(row[1:], widths[1:], strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
        if number == 0:
            lines.append("  ".join("-" * width for width in widths))
    return "\n".join(lines)


def headline(result: dict) -> list[str]:
    """A line a metric, with accuracy on the non-empty documents where some are empty; and what the task remarks."""
    lines = [f"{title(name):<15} {interval(Interval(**value))}" for name, value in result["metrics"].items()]
    if result.get("empty"):
        lines.insert(list(result["metrics"]).index("accuracy") + 1, f"{'non-empty':<15} {non_empty(result)}")
    return lines + result.get("remarks", [])


def non_empty(result: dict) -> str:
    """The accuracy on the documents that are not empty, of a result that has empty ones."""
    share, empty, count = result["accuracy_non_empty"], result["empty"], result["documents"]
    return f"{'none' if share is None else number(share)} ({empty} of {count} documents are empty)"


def details(result: dict) -> list[str]:
    """What else there is to say of a run: classes and confusions, labels, or types of entities."""
    parts = []
    if "per_class" in result:
        parts += [table(per_class_rows(result["per_class"])), confusions(result["confused"])]
    if "per_label" in result:
        parts.append(table(per_label_rows(result["per_label"])))
    if "probabilities" in result:
        parts += probabilities(result["probabilities"], result)
    for sense, types in result.get("per_type", {}).items():
        parts.append(table(per_type_rows(sense, types)))
    return parts


def probabilities(found: dict, result: dict) -> list[str]:
    """What a temperature did, how right answers are that are so sure, and how right those are that are left when the
    others are not given."""
    lines, rows, answered = probabilities_rows(found, result)
    return [*lines[:-1], table(rows), f"{table(answered)}\n{lines[-1]}"]


def probabilities_rows(found: dict, result: dict) -> tuple[list[str], list[list[str]], list[list[str]]]:
    """(sentences, the rows of reliability, those of what is answered)."""
    rows = [["probability", "documents", "mean", "right [95 % interval]"]]
    for part in found["reliability"]:
        at = f"{part['low']:.3f} to {part['high']:.3f}"
        rows.append([at, str(part["documents"]), f"{part['confidence']:.3f}", share(part["accuracy"])])
    answered = [["answered", "documents", "from probability", "right [95 % interval]"]]
    for row in [*found["coverage"], *([found["at_threshold"]] if "at_threshold" in found else [])]:
        part = f"{row['answered'] / result['documents']:.0%}{', as asked' * (row is found.get('at_threshold'))}"
        answered.append([part, str(row["answered"]), f"{row['threshold']:.4f}", share(row["accuracy"])])
    area = f"area under the risk-coverage curve (AURC): {number(found['aurc'])}"
    return [*temperature(found, result["metrics"]), area], rows, answered


def temperature(found: dict, metrics: dict) -> list[str]:
    """A line on what it changed on these documents; none where it is 1."""
    if found["temperature"] == 1:
        return []
    before, difference = found["before"], found["nll_difference"]
    changes = (f"{title(name)} {number(before[name])} -> {number(metrics[name]['value'])}" for name in before)
    interval = f"{difference['value']:+.4f} [{difference['low']:+.4f}, {difference['high']:+.4f}]"
    return [f"temperature {found['temperature']:.3f}: {', '.join(changes)}; NLL {interval}, document by document"]


def share(value: dict) -> str:
    return f"{value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"


def per_class_rows(classes: dict[str, dict]) -> list[list[str]]:
    rows = [["class", "precision", "recall", "F1", "documents"]]
    for label, values in classes.items():
        shares = (f"{values[name]:.3f}" for name in ("precision", "recall", "f1"))
        rows.append([label, *shares, str(int(values["support"]))])
    return rows


def per_label_rows(labels: dict[str, dict]) -> list[list[str]]:
    rows = [["label", "threshold", "precision", "recall", "F1", "average precision", "documents"]]
    for label, values in labels.items():
        shares = (f"{values[name]:.3f}" for name in ("threshold", "precision", "recall"))
        intervals = (share(values[name]) for name in ("f1", "average_precision"))
        rows.append([label, *shares, *intervals, str(int(values["support"]))])
    return rows


def per_type_rows(sense: str, types: dict[str, tuple]) -> list[list[str]]:
    rows = [[f"type ({sense})", "precision", "recall", "F1", "entities"]]
    return rows + [[name, *(f"{value:.3f}" for value in values[:3]), str(values[3])] for name, values in types.items()]


def confusions(confused: Sequence[tuple[str, str, int]]) -> str:
    rows = [["true", "predicted", "documents"]] + [[true, guess, str(count)] for true, guess, count in confused]
    return table(rows, right=False) if len(rows) > 1 else "no confusions"


def side_by_side(results: Sequence[dict]) -> str:
    """Properties and results in the form people put in a report: one column a run."""
    lines, rows = side_by_side_rows(results)
    return "\n".join(lines) + f"\n\n{table(rows, right=False)}"


def side_by_side_rows(results: Sequence[dict]) -> tuple[list[str], list[list[str]]]:
    """(what the runs were tested on, the rows)."""
    names = list(dict.fromkeys(name for result in results for name in result["properties"]))
    rows = [["", *(result["run"] for result in results)]]
    rows += [[name, *(str(result["properties"].get(name, "")) for result in results)] for name in names]
    for name in dict.fromkeys(name for result in results for name in result["metrics"]):
        found = [result["metrics"].get(name) for result in results]  # what one run was selected by, others may lack
        values = [Interval(**value) if value else None for value in found]
        rows.append([f"test {title(name)}", *(number(v.value) if v else "" for v in values)])
        if any(v and v.low is not None for v in values):
            rows.append(["  95 % interval", *(f"{number(v.low)} to {number(v.high)}" if v else "" for v in values)])
    rows.append([f"test {results[0]['unit']}/s", *(f"{r['documents_per_s']:.0f} on {r['device']}" for r in results)])
    lines = [f"test data: {name}" for name in dict.fromkeys(result["data"] for result in results)]
    if len(lines) > 1:
        rows.append(["test data", *(result["data"] for result in results)])
    return lines, rows
