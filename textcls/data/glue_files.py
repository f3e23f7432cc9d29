"""The files of GLUE's corpora as they were published: a table of what is in them, and their rows.

Every file is a TSV whose quotes are text. Where there is a header, its names are held against the table; columns are
taken by position. CoLA, MRPC and STS-B are also read as they were distributed before GLUE, and SST-2 with its columns
the other way round.
"""

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence

from textcls.data.decoding import OtherEncoding, decoded_lines
from textcls.runtime.errors import InputError

LAST = -1
DROPPED = "-"  # of MNLI: the annotators did not agree
MSR_TRAIN, MSR_TEST = "msr_paraphrase_train.txt", "msr_paraphrase_test.txt"
Row = tuple[str, tuple[str, ...], str]  # FILE:LINE, texts, label ("" where there is none)


@dataclasses.dataclass(frozen=True)
class Form:
    """A published form of a file: `widths`, how many columns a row may have; the places of its texts and its label;
    `header` {place: name}, nothing where the file has none."""

    widths: tuple[int, ...]
    texts: tuple[int, ...]
    label: int | None
    header: dict[int, str] = dataclasses.field(default_factory=dict)

    def is_header(self, fields: list[str]) -> bool:
        """Whether a first row is this form's header."""
        if not self.header or len(fields) not in self.widths:
            return False
        return all(fields[place].strip() == name for place, name in self.header.items())

    def in_words(self) -> str:
        widths = " or ".join(map(str, self.widths))
        if not self.header:
            return f"no header, and {widths} columns"
        places = {place: "last" if place == LAST else f"column {place + 1}" for place in self.header}
        return f"a header of {widths} columns, " + ", ".join(f"{n!r} {places[place]}" for place, n in self.header.items())


@dataclasses.dataclass(frozen=True)
class Release:
    """File names of a distribution; several names of one split are read as one. `dev` is empty where it has none, and
    then it is `test`, labelled, that is tested on."""

    train: tuple[str, ...]
    dev: tuple[str, ...]
    test: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Source:
    """What was published of a corpus. `texts`, `labels`: their names, in the published order (no labels: scores).
    `metrics`: what GLUE judges it by, the main one first. `tests` {file of a submission: names that its texts may stand
    in}. `beside` {name: file}: further dev sets. `folders`, where files may stand below the corpus' own. `short`:
    whether broken rows are left out."""

    title: str
    texts: tuple[str, ...]
    labels: tuple[str, ...]
    metrics: tuple[str, ...]
    labelled: tuple[Form, ...]
    unlabelled: Form
    releases: tuple[Release, ...]
    tests: dict[str, tuple[str, ...]]
    beside: dict[str, str] = dataclasses.field(default_factory=dict)
    folders: tuple[str, ...] = ()
    short: bool = False


GLUE = Release(("train.tsv",), ("dev.tsv",))
NLI = ("entailment", "not_entailment")
CORPORA = {
    "cola": Source(
        "CoLA", ("sentence",), ("0", "1"), ("matthews", "accuracy"),
        (Form((4,), (3,), 1),),
        Form((2,), (1,), None, {0: "index", 1: "sentence"}),
        (GLUE, Release(("in_domain_train.tsv",), ("in_domain_dev.tsv", "out_of_domain_dev.tsv"))),
        {"CoLA": ("test.tsv",)},
        folders=("cola_public/raw", "raw", "original/raw"),
    ),
    "sst-2": Source(
        "SST-2", ("sentence",), ("0", "1"), ("accuracy",),
        (
            Form((2,), (0,), 1, {0: "sentence", 1: "label"}),
            Form((2,), (1,), 0, {0: "label", 1: "sentence"}),
            Form((2,), (1,), 0, {0: "label", 1: "content"}),
        ),
        Form((2,), (1,), None, {0: "index", 1: "sentence"}),
        (GLUE,),
        {"SST-2": ("test.tsv",)},
    ),
    "mrpc": Source(
        "MRPC", ("#1 String", "#2 String"), ("0", "1"), ("positive_f1", "accuracy"),
        (Form((5,), (3, 4), 0, {0: "Quality", 3: "#1 String", 4: "#2 String"}),),
        Form((5,), (3, 4), None, {0: "index", 3: "#1 String", 4: "#2 String"}),
        (GLUE, Release((MSR_TRAIN,), (), (MSR_TEST,))),
        {"MRPC": ("test.tsv", MSR_TEST)},
    ),
    "qqp": Source(
        "QQP", ("question1", "question2"), ("0", "1"), ("positive_f1", "accuracy"),
        (Form((6,), (3, 4), 5, {3: "question1", 4: "question2", 5: "is_duplicate"}),),
        Form((3,), (1, 2), None, {0: "id", 1: "question1", 2: "question2"}),
        (GLUE,),
        {"QQP": ("test.tsv",)},
        short=True,
    ),
    "sts-b": Source(
        "STS-B", ("sentence1", "sentence2"), (), ("spearman", "pearson"),
        (Form((10,), (7, 8), 9, {7: "sentence1", 8: "sentence2", 9: "score"}), Form((7, 9), (5, 6), 4)),
        Form((9,), (7, 8), None, {0: "index", 7: "sentence1", 8: "sentence2"}),
        (GLUE, Release(("sts-train.tsv",), ("sts-dev.tsv",))),
        {"STS-B": ("test.tsv",)},
    ),
    "mnli": Source(
        "MNLI", ("sentence1", "sentence2"), ("contradiction", "entailment", "neutral"), ("accuracy",),
        (Form((12, 16), (8, 9), LAST, {8: "sentence1", 9: "sentence2", LAST: "gold_label"}),),
        Form((10,), (8, 9), None, {0: "index", 8: "sentence1", 9: "sentence2"}),
        (Release(("train.tsv",), ("dev_matched.tsv",)),),
        {"MNLI-m": ("test_matched.tsv",), "MNLI-mm": ("test_mismatched.tsv",)},
        beside={"mm": "dev_mismatched.tsv"},
    ),
    "qnli": Source(
        "QNLI", ("question", "sentence"), NLI, ("accuracy",),
        (Form((4,), (1, 2), 3, {1: "question", 2: "sentence", 3: "label"}),),
        Form((3,), (1, 2), None, {0: "index", 1: "question", 2: "sentence"}),
        (GLUE,),
        {"QNLI": ("test.tsv",)},
    ),
    "rte": Source(
        "RTE", ("sentence1", "sentence2"), NLI, ("accuracy",),
        (Form((4,), (1, 2), 3, {1: "sentence1", 2: "sentence2", 3: "label"}),),
        Form((3,), (1, 2), None, {0: "index", 1: "sentence1", 2: "sentence2"}),
        (GLUE,),
        {"RTE": ("test.tsv",)},
    ),
}  # fmt: skip


# ---- rows -----------------------------------------------------------------------------------------------------------


def labelled_rows(source: Source, path: pathlib.Path, counts: dict[str, int]) -> Iterator[Row]:
    """Rows with a label, without those that nobody can learn from; `counts` gets {what these are: how many}."""
    form, empty = None, True
    for where, row in fields_of(path):
        if form is None:
            form = labelled_form(source, where, row)
            if form.header:  # of the widths that there are this is the file's
                form = dataclasses.replace(form, widths=(len(row),))
                continue
        empty = False
        if source.short and len(row) < form.widths[0]:
            counts["short"] = counts.get("short", 0) + 1
            continue
        check_width(where, row, form)
        label = row[form.label].strip()
        if source.beside and label == DROPPED:
            counts["unlabelled"] = counts.get("unlabelled", 0) + 1
            continue
        yield where, tuple(row[place] for place in form.texts), label
    if empty:
        raise InputError(f"{path}: the file holds no rows")


def unlabelled_rows(source: Source, path: pathlib.Path) -> Iterator[Row]:
    """Rows without a label. None is skipped, since the server wants an answer to each: what a short one lacks is
    empty."""
    form, empty = None, True
    for where, row in fields_of(path):
        if form is None:
            form = unlabelled_form(source, where, row)
            continue
        empty = False
        if source.short:
            row += [""] * (form.widths[0] - len(row))
        check_width(where, row, form)
        yield where, tuple(row[place] for place in form.texts), ""
    if empty:
        raise InputError(f"{path}: the file holds no rows")


def fields_of(path: pathlib.Path) -> Iterator[tuple[str, list[str]]]:
    """(FILE:LINE, columns) of every line that is not empty."""
    if not path.is_file():
        raise InputError(f"{path}: {'a folder, and no file' if path.is_dir() else 'no such file'}")
    try:
        for number, line in enumerate(decoded_lines(path), 1):
            if line := line.rstrip("\r\n"):
                yield f"{path}:{number}", line.split("\t")
    except OtherEncoding as error:
        raise InputError(error.what) from None  # --encoding is for files of one's own


def check_width(where: str, row: list[str], form: Form) -> None:
    if len(row) not in form.widths:
        raise InputError(f"{where}: {len(row)} columns, expected {' or '.join(map(str, form.widths))}")


def labelled_form(source: Source, where: str, row: list[str]) -> Form:
    """The published form that a first row shows. Raises InputError for a file of another kind."""
    for form in source.labelled:
        if form.is_header(row):
            return form
    if source.unlabelled.is_header(row):
        raise InputError(
            f"{where}: {header_of(row)} is the header of {source.title}'s test file, which has no labels to be compared "
            f"with; expected {expected(source.labelled)} (its predictions: --submission)"
        )
    for form in source.labelled:
        if not form.header and len(row) in form.widths and not owner(row):
            return form
    raise InputError(f"{where}: {header_of(row)}{owner(row)}; expected for {source.title}: {expected(source.labelled)}")


def unlabelled_form(source: Source, where: str, row: list[str]) -> Form:
    if source.unlabelled.is_header(row):
        return source.unlabelled
    labels = any(form.is_header(row) for form in source.labelled)
    what = " is the header of a file with labels" if labels else owner(row)
    raise InputError(
        f"{where}: {header_of(row)}{what}; expected for {source.title}'s test file: {expected([source.unlabelled])}"
    )


def owner(row: list[str]) -> str:
    """Of which corpus a first row is the header, in words; nothing where it is that of none."""
    titles = [of.title for of in CORPORA.values() if any(form.is_header(row) for form in (*of.labelled, of.unlabelled))]
    return f" is a header of {' or '.join(titles)}" if titles else ""


def header_of(row: list[str]) -> str:
    return repr(" ".join(row)[:60])


def expected(forms: Sequence[Form]) -> str:
    return ", or ".join(form.in_words() for form in forms)
