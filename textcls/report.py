"""Results as text: numbers with intervals, and tables with aligned columns."""

from collections.abc import Sequence

import numpy as np

from textcls.metrics import Interval, Scores

TITLES = {"accuracy": "accuracy", "macro_f1": "macro-F1", "nll": "NLL", "ece": "ECE"}


def interval(value: Interval) -> str:
    return f"{value.value:.4f} [{value.low:.4f}, {value.high:.4f}]"


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


def per_class(scores: Scores, labels: Sequence[str]) -> str:
    parts = scores.per_class()
    rows = [["class", "precision", "recall", "F1", "documents"]]
    for i, label in enumerate(labels):
        rows.append(
            [label, *(f"{parts[name][i]:.3f}" for name in ("precision", "recall", "f1")), str(int(parts["support"][i]))]
        )
    return table(rows)


def confusions(scores: Scores, labels: Sequence[str], most: int = 10) -> str:
    rows = [["true", "predicted", "documents"]]
    rows += [[labels[true], labels[predicted], str(count)] for true, predicted, count in scores.confused(most)]
    return table(rows, right=False) if len(rows) > 1 else "no confusions"


def summary(results: dict[str, Interval], correct: np.ndarray, empty: np.ndarray) -> list[str]:
    """A line a metric, with accuracy on the non-empty documents where some are empty."""
    lines = [f"{TITLES[name]:<10} {interval(value)}" for name, value in results.items()]
    if empty.any():
        lines.insert(
            1,
            f"{'non-empty':<10} {correct[~empty].mean():.4f} ({int(empty.sum())} of {len(empty)} documents are empty)",
        )
    return lines
