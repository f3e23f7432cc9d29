"""Labels that look wrong, by what runs say of documents that they were not trained on: RUN/suspicious.csv, and the
worst of them in words.

Dimensions: N documents, C classes.
"""

import csv
import io
import pathlib

import numpy as np

from textcls.config import TrainConfig
from textcls.data import tabular
from textcls.data.corpus import Documents
from textcls.metrics.classification import log_softmax
from textcls.metrics.confident import confident_learning
from textcls.report.text import table
from textcls.runtime.files import write_text
from textcls.tasks.documents import text_columns

FILE = "suspicious.csv"
COLUMNS = ["place", "label", "suggested", "probability_label", "probability_suggested"]
SHOWN, WIDE = 10, 60  # documents that are printed, and letters of their texts


def report(
    folder: pathlib.Path, config: TrainConfig, pool: Documents, classes: list[str], logits: np.ndarray
) -> list[str]:
    """Write the list, and say what it holds. `logits` (N, C) are of the documents of the pool."""
    probabilities = np.exp(log_softmax(logits))
    found = confident_learning(probabilities, pool.labels)
    where, rows = places(config, len(pool)), []
    for i in found.suspicious:
        given, likely = pool.labels[i], found.likely[i]
        shares = [f"{probabilities[i, number]:.4f}" for number in (given, likely)]
        rows.append([where[i], classes[given], classes[likely], *shares, *pool.texts[i]])
    write_csv(folder / FILE, [COLUMNS + text_columns(config), *rows])
    estimate = f"about {found.wrong:.1%} of the labels are estimated to be wrong (confident learning)"
    if not rows:
        return [f"suspicious labels: none; {estimate}"]
    shown = [[*row[: len(COLUMNS)], beginning(" | ".join(row[len(COLUMNS) :]))] for row in rows[:SHOWN]]
    heads = ["place", "label", "suggested", "p(label)", "p(suggested)", "text"]
    return [
        f"suspicious labels: {len(rows):,} of {len(pool):,}, all in {folder / FILE}; {estimate}",
        f"the worst {len(shown)}:\n\n{table([heads, *shown], right=False)}",
    ]


def places(config: TrainConfig, count: int) -> list[str]:
    """Where each of the `count` training documents stands: FILE:LINE, or of a corpus that is built in its number."""
    if config.train is None:
        return [f"{config.data} {number}" for number in range(1, count + 1)]
    train = pathlib.Path(config.train)
    rows = tabular.read(train, tabular.wanted(config.text_column, config.label_column), config.encoding)
    return [where.removeprefix(f"{train.parent}/") for where, _, _ in rows]


def write_csv(path: pathlib.Path, rows: list[list[str]]) -> None:
    """UTF-8. Halves of surrogate pairs, which JSON may hold, become escapes."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_text(path, text.getvalue().encode("utf-8", "backslashreplace").decode("utf-8"))


def beginning(text: str) -> str:
    """What fits into a line, of a text of any file."""
    short = " ".join(text.split())[:WIDE]
    return "".join(letter if letter.isprintable() else "?" for letter in short)
