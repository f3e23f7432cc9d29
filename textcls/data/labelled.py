"""Texts with their label in front, a line each, and texts in a folder for each class.

TREC (Li and Roth, 2002): "DESC:manner How did serfdom develop ?". The label is DESC, or DESC:manner where the label
column is called fine. fastText: "__label__DESC How did serfdom develop ?".
"""

import pathlib
import re
from collections.abc import Iterator

from textcls.data.decoding import LONGEST, UTF8, decoded_lines, held, is_blank
from textcls.runtime.errors import InputError

FORMATS = (".txt", ".label")
FASTTEXT = "__label__"
TREC = re.compile(r"([^ \t:]+):[^ \t]+")
Row = tuple[str, tuple[str, ...], str]


def read_lines(path: pathlib.Path, column: str, encoding: str = UTF8) -> Iterator[Row]:
    """(FILE:LINE, (text,), label) of every line that is not blank. The first of them shows which format it is."""
    fasttext = None
    for number, line in enumerate(decoded_lines(path, encoding), 1):
        if is_blank(line):
            continue
        where, line = f"{path}:{number}", line.rstrip("\r\n")
        if fasttext is None:
            fasttext = FASTTEXT in line
        yield fasttext_row(where, line) if fasttext else trec_row(where, line, column)


def fasttext_row(where: str, line: str) -> Row:
    labels, text = fasttext_parts(line)
    if len(labels) != 1 or labels[0] == FASTTEXT:
        raise InputError(f"{where}: {len(labels)} labels ({' '.join(labels)}), expected one {FASTTEXT}LABEL and a text")
    return where, (text,), labels[0].removeprefix(FASTTEXT)


def fasttext_parts(line: str) -> tuple[list[str], str]:
    """(the words of a line that are labels, the others)."""
    words = re.split("([ \t]+)", line)
    labels = [word for word in words if word.startswith(FASTTEXT)]
    return labels, "".join(word for word in words if word not in labels).strip()


def read_fasttext(path: pathlib.Path, encoding: str = UTF8) -> Iterator[tuple[str, tuple[str, ...], list[str]]]:
    """(FILE:LINE, (text,), names of its labels, as many as there are) of every line that is not blank."""
    for number, line in enumerate(decoded_lines(path, encoding), 1):
        if not is_blank(line):
            labels, text = fasttext_parts(line.rstrip("\r\n"))
            if FASTTEXT in labels:
                raise InputError(f"{path}:{number}: {FASTTEXT} without a name, expected {FASTTEXT}LABEL")
            yield f"{path}:{number}", (text,), [label.removeprefix(FASTTEXT) for label in labels]


def trec_row(where: str, line: str, column: str) -> Row:
    label, _, text = line.lstrip(" \t").partition(" ")
    match = TREC.fullmatch(label)
    if not match:
        raise InputError(
            f"{where}: begins with {label[:40]!r}, expected LABEL:FINE and a text (TREC) or {FASTTEXT}LABEL and a text "
            "(fastText); texts with labels in columns are .csv, .tsv or .jsonl"
        )
    return where, (text.strip(),), label if column == "fine" else match[1]


def read_folder(folder: pathlib.Path, encoding: str = UTF8) -> Iterator[Row]:
    """(FILE, (text,), class) of FOLDER/CLASS/*.txt, in the order of the names; files beside the classes, and hidden
    folders, are left out."""
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not classes:
        raise InputError(f"{folder}: expected a folder for each class, {folder / 'CLASS'}/*.txt; there is none")
    for path in classes:
        files = sorted(file for file in path.iterdir() if file.suffix.lower() == ".txt")
        if not files:
            raise InputError(f"{path}: no .txt file; expected {folder}/CLASS/*.txt")
        for file in files:
            yield str(file), ("".join(held(decoded_lines(file, encoding), str(file), LONGEST)),), path.name
