"""The labels that look wrong of a training file: RUN/suspicious.csv, and the worst of them in words."""

import csv
import io
import pathlib

from textcls.config import TrainConfig
from textcls.report.text import table
from textcls.runtime.files import write_text
from textcls.tasks.documents import text_columns
from textcls.tasks.suspects import Suspects

FILE = "suspicious.csv"
SHOWN, WIDE = 10, 60  # rows that are printed, and letters of their texts


def report(folder: pathlib.Path, config: TrainConfig, texts: list[tuple[str, ...]], found: Suspects) -> list[str]:
    """Write the list, and say what it holds. `texts` are those of all training documents."""
    rows = [[found.places[i], *cells, *texts[i]] for i, cells in found.rows]
    write_csv(folder / FILE, [["place", *found.columns, *text_columns(config)], *rows])
    estimate = ""
    if found.wrong is not None:
        estimate = f"; about {found.wrong:.1%} of the labels are estimated to be wrong (confident learning)"
    if not rows:
        return [f"\nsuspicious labels: none{estimate}"]
    heads = ["place", *found.columns.values(), "text"]
    texts_at = len(heads) - 1
    shown = [[*row[:texts_at], beginning(" | ".join(row[texts_at:]))] for row in rows[:SHOWN]]
    return [
        f"\nsuspicious labels: {len(rows):,} of {found.labels}, all in {folder / FILE}{estimate}",
        f"the worst {len(shown)}:\n\n{table([heads, *shown], right=False)}",
    ]


def write_csv(path: pathlib.Path, rows: list[list[str]]) -> None:
    """UTF-8. Halves of surrogate pairs, which JSON may hold, become escapes."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_text(path, text.getvalue().encode("utf-8", "backslashreplace").decode("utf-8"))


def beginning(text: str) -> str:
    """What fits into a line, of a text of any file."""
    short = " ".join(text.split())[:WIDE]
    return "".join(letter if letter.isprintable() else "?" for letter in short)
