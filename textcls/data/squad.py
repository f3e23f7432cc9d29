"""Questions about passages, whose answers are pieces of these: SQuAD 1.1 (Rajpurkar et al., 2016, arXiv:1606.05250),
and tables of one's own.

.json                    {"data": [{"title", "paragraphs": [{"context", "qas": [{"id", "question", "answers":
                         [{"text", "answer_start"}, …]}, …]}, …]}, …]}; or an array of rows as in JSON Lines
.jsonl .csv .tsv         columns question, context, answer; and if there are such, answer_start, id, title

An answer_start counts characters from 0. Where the answer does not stand there, the occurrence that is nearest counts;
where a table has none, the answer must occur once. Only strings and places of characters leave this file.
"""

import dataclasses
import functools
import pathlib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from textcls.data.corpus import Corpus, check_share, identify
from textcls.data.dealing import by_group, linked, numbered, whole_groups
from textcls.data.decoding import LARGEST, LONGEST, UTF8, check_length, decoded_lines
from textcls.data.objects import json_lines, parsed, values_of
from textcls.data.tables import by_position, read_table
from textcls.runtime.errors import InputError
from textcls.runtime.files import file_names, paths_of

FORMATS = (".json", ".jsonl", ".csv", ".tsv")
WHOLE = re.compile(r"-?[0-9]{1,18}(\.0+)?")  # 9.0 is what pandas writes of 9 in a column with gaps
Lines = Callable[[], Iterator[str]]


class Gold(NamedTuple):
    """An answer that people gave: `start` is its first character in the passage, None where it does not occur there.
    `mended`: the file said another place."""

    text: str
    start: int | None
    mended: bool = False


@dataclasses.dataclass
class Questions:
    """N questions: `golds[i]` are the answers to `questions[i]` in `contexts[i]`, none where they are to be found.
    `names` are the file's own ids; `titles` the articles, "" where the file has none. `ids` (N,) uint64 name the
    questions by the pool they were read from, their place there and their strings."""

    questions: list[str]
    contexts: list[str]
    golds: list[list[Gold]]
    names: list[str]
    titles: list[str]
    ids: np.ndarray

    def __len__(self) -> int:
        return len(self.questions)

    def answers(self, labels: list[str]) -> list[str]:
        """The gold answers to each question, with their places."""
        return ["\n".join(f"{gold.start} {gold.text}" for gold in golds) for golds in self.golds]

    def take(self, rows: np.ndarray) -> "Questions":
        lists = self.questions, self.contexts, self.golds, self.names, self.titles
        return Questions(*([part[i] for i in rows] for part in lists), self.ids[rows])

    @property
    def items(self) -> list[tuple[str, str]]:
        """The strings by which each question is named."""
        return list(zip(self.questions, self.contexts, strict=True))

    def hold_out(self, share: float, seed: int, name: str = "dev") -> tuple["Questions", "Questions"]:
        """(train, dev): the questions of whole contexts, drawn by `seed`, as many as fit into `share` of all; a context
        that was trained on would tell of the answers to its other questions. `name`: dev, or test."""
        check_share(share, name)
        contexts = numbered(self.contexts)
        held = whole_groups(contexts, round(share * len(self)), seed)
        if not held.any() or held.all():
            raise InputError(
                f"--{name} {share:g} of {len(self)} questions about {contexts.max() + 1} contexts, which stay whole, "
                f"leaves no {name} or no train question; give a file with --{name} FILE"
            )
        return self.take(np.flatnonzero(~held)), self.take(np.flatnonzero(held))

    def deal(self, parts: int, seed: int, labels: list[str]) -> np.ndarray:
        """The part of each question, (N,) from 0: articles stay whole, and where a question has no title its context;
        what is asked about a context is in one part, whatever the titles are. Where there are fewer articles than parts
        contexts alone stay whole: some files have one title for all."""
        groups, contexts = linked(self.titles, self.contexts), numbered(self.contexts)
        if (count := contexts.max() + 1) < parts:
            raise InputError(f"{parts} folds want as many contexts, which stay whole; there are {count}: take fewer")
        return by_group(groups if groups.max() + 1 >= parts else contexts, parts, seed)

    def remarks(self) -> list[str]:
        """What a reader of results should know of the answers."""
        mended = sum(any(gold.mended for gold in golds) for golds in self.golds)
        absent = sum(bool(golds) and all(gold.start is None for gold in golds) for golds in self.golds)
        remarks = [f"answer_start mended to the nearest occurrence: {mended:,}"] if mended else []
        return remarks + ([f"answers that are not in their context: {absent:,}"] if absent else [])


class Row(NamedTuple):
    """A question as its file has it, and where it stands: FILE:LINE, or the path inside a JSON file."""

    where: str
    question: str
    context: str
    golds: list[Gold]
    name: str
    title: str


def load(
    train: str, dev: str | float, test: str | float | None, columns: Sequence[str], seed: int, encoding: str = UTF8
) -> Corpus:
    """`train` is a file, or several with commas between; so are `dev` and `test`, or else shares of the training
    questions to hold out, test first. `columns`: question, context and answer of a table."""
    given = {"train": train, "dev": dev, "test": test}
    splits = {name: read(path, columns, encoding, name) for name, path in given.items() if isinstance(path, str)}
    pool, name = splits["train"], file_names(train)
    description = "; ".join([f"{name}: contexts {len(set(pool.contexts)):,}", *pool.remarks()])
    for part, share in (("test", test), ("dev", dev)):
        if isinstance(share, float):
            splits["train"], splits[part] = splits["train"].hold_out(share, seed, part)
    return learnable(Corpus(name, description, [], splits["train"], splits["dev"], splits.get("test")))


def read(names: str, columns: Sequence[str], encoding: str = UTF8, split: str = "train") -> Questions:
    """All questions of one file or several, which must have answers. Rows without an id are numbered throughout, as if
    the files were one."""
    rows: list[Row] = []
    for path in paths_of(names):
        check_format(path, columns)
        kind = path.suffix.lower()[1:]
        lines = functools.partial(decoded_lines, path, encoding, longest(kind))
        rows += rows_of(lines, str(path), kind, columns, before=len(rows))
    return questions(split, rows, names)


def longest(kind: str) -> int:
    """Bytes of a line of a file in one of FORMATS: SQuAD's JSON is one line."""
    return LARGEST if kind == "json" else LONGEST


def check_format(path: pathlib.Path, columns: Sequence[str]) -> None:
    """Raise InputError for what is no file of FORMATS."""
    if not path.exists():
        raise InputError(f"{path}: no such file")
    ending = path.suffix.lower()
    if path.is_dir() or ending not in FORMATS:
        what = "a folder" if path.is_dir() else f"unknown file type {ending or path.name!r}"
        raise InputError(f"{path}: {what}; known: SQuAD's .json, and .jsonl, .csv and .tsv with {', '.join(columns)}")


def questions(pool: str, rows: Sequence[Row], name: str) -> Questions:
    """The rows of the source called `name`. Raises InputError where there are none, or two of one id."""
    if not rows:
        raise InputError(f"{name}: no question in it")
    seen: dict[str, str] = {}
    for row in rows:
        if row.name in seen:
            raise InputError(f"{row.where}: the id {row.name!r} is that of {seen[row.name]} too; answers go by it")
        seen[row.name] = row.where
    ids = identify(pool, [(row.question, row.context) for row in rows])
    lists = zip(*((row.question, row.context, row.golds, row.name, row.title) for row in rows), strict=True)
    return Questions(*map(list, lists), ids)


def is_of_articles_trained_on(corpus: Corpus) -> bool:
    """Whether some of the test questions are about articles, by their titles, that training questions are about."""
    return not set(corpus.train.titles).isdisjoint({*corpus.test.titles} - {""})


def learnable(corpus: Corpus) -> Corpus:
    """The corpus, in which there is something to learn. Raises InputError where there is not."""
    if all(gold.start is None for golds in corpus.train.golds for gold in golds):
        raise InputError(f"{corpus.name}: no answer occurs in its context; there is nothing to learn")
    return corpus


# ---- rows -----------------------------------------------------------------------------------------------------------


def rows_of(
    lines: Lines, name: str, kind: str, columns: Sequence[str], answered: bool = True, before: int = 0
) -> Iterator[Row]:
    """The questions of a source in one of FORMATS. `lines` gives its lines from the first on, whenever it is called;
    `name` is what errors call it; `answered`: whether answers must be there; `before`: how many questions came before,
    to number those without an id."""
    if kind == "json":
        content = parsed(lines(), name)
        if isinstance(content, dict):
            yield from squad_rows(content, name, answered)
            return
        if not isinstance(content, list):
            raise InputError(f'{name}: expected {{"data": […]}} as SQuAD 1.1 has it, found {type(content).__name__}')
    needed, optional = optional_columns(columns, answered)
    if kind == "json":
        places = (f"{name}: row {number}" for number in range(1, len(content) + 1))
        rows = ((where, values_of(where, row, needed, optional)) for where, row in zip(places, content, strict=True))
    elif kind == "jsonl":
        rows = json_lines(lines(), name, needed, optional)
    else:
        rows = read_table(lines, name, needed, kind == "tsv", optional)
    named = None
    for number, (where, values) in enumerate(rows, before + 1):
        found = dict(zip((*needed, *optional), values, strict=True))
        own = found["id"] if "id" in optional and found["id"].strip() else ""
        if named not in (None, bool(own)):
            raise InputError(
                f"{where}: {'an' if own else 'no'} id, unlike the rows before it; expected one in each, or in none"
            )
        named = bool(own)
        yield table_row(where, own or str(number), found, columns, answered)


def optional_columns(columns: Sequence[str], answered: bool) -> tuple[list[str], list[str]]:
    """(columns that must be there, columns that may be)."""
    if by_position(columns[:1]):
        raise InputError(f"--text-column {','.join(columns[:2])}: give names of columns, not positions, of questions")
    if not answered:
        return list(columns[:2]), [name for name in ("id",) if name not in columns]
    return list(columns), [name for name in (f"{columns[2]}_start", "id", "title") if name not in columns]


def table_row(where: str, name: str, values: dict[str, str], columns: Sequence[str], answered: bool) -> Row:
    question, context = values[columns[0]], values[columns[1]]
    check(where, question, context)
    golds = []
    if answered:
        answer, start = values[columns[2]], values.get(f"{columns[2]}_start", "").strip()
        if start and not WHOLE.fullmatch(start):
            raise InputError(
                f"{where}: {columns[2]}_start is {start[:40]!r}, expected a whole number: the answer's first character, "
                "from 0"
            )
        golds.append(find(where, context, answer, int(start.split(".")[0]) if start else None))
    return Row(where, question, context, golds, name, "" if "title" in columns else values.get("title", ""))


def check(where: str, question: str, context: str) -> None:
    for what, text in (("question", question), ("context", context)):
        if not text.strip():
            raise InputError(f"{where}: the {what} is empty")
        check_length(where, text)


def find(where: str, context: str, answer: str, start: int | None) -> Gold:
    """A gold answer in its context, without blanks at its ends: where it is said to stand, else at the nearest place;
    without a place it must occur once."""
    text = answer.strip()
    if not text:
        raise InputError(f"{where}: the answer is empty; every question of SQuAD 1.1 has one")
    if start is None:
        places = occurrences(context, text)
        if len(places) > 1:
            raise InputError(
                f"{where}: the answer {text[:60]!r} occurs {len(places)} times in its context; say which in a column "
                "answer_start: its first character, from 0"
            )
        return Gold(text, places[0] if places else None)
    start += len(answer) - len(answer.lstrip())
    if start >= 0 and context.startswith(text, start):
        return Gold(text, start)
    places = occurrences(context, text)
    nearest = min(places, key=lambda place: abs(place - start)) if places else None
    return Gold(text, nearest, mended=nearest is not None)


def occurrences(context: str, text: str) -> list[int]:
    """Every place at which `text` begins, overlapping ones too."""
    places, place = [], context.find(text)
    while place >= 0:
        places.append(place)
        place = context.find(text, place + 1)
    return places


# ---- SQuAD's JSON ---------------------------------------------------------------------------------------------------


def squad_rows(content: dict, name: str, answered: bool) -> Iterator[Row]:
    """The questions of {"data": […]}; errors name the path inside the file."""
    check_version(content, name)
    for a, article in enumerate(field(content, "data", list, name)):
        at_article = f"{name}: data[{a}]"
        title = field(article, "title", str, at_article) if "title" in checked(article, at_article) else ""
        for p, paragraph in enumerate(field(article, "paragraphs", list, at_article)):
            at_paragraph = f"{at_article}.paragraphs[{p}]"
            context = field(paragraph, "context", str, at_paragraph)
            for q, item in enumerate(field(paragraph, "qas", list, at_paragraph)):
                where = f"{at_paragraph}.qas[{q}]"
                question, number = field(item, "question", str, where), field(item, "id", str, where)
                if not number.strip():
                    raise InputError(f"{where}.id is empty; answers go by it")
                check(where, question, context)
                yield Row(where, question, context, golds_of(item, context, where) if answered else [], number, title)


def check_version(content: dict, name: str) -> None:
    """Raise InputError for SQuAD 2.0: it has questions without an answer, and a model that was not told so answers."""
    items = [
        item
        for article in listed(content, "data")
        for paragraph in listed(article, "paragraphs")
        for item in listed(paragraph, "qas")
    ]
    impossible = sum(isinstance(item, dict) and item.get("is_impossible") is True for item in items)
    if impossible:
        raise InputError(
            f"{name}: SQuAD 2.0: {impossible:,} of its {len(items):,} questions have no answer (is_impossible); "
            "SQuAD 1.1 is read, in which every question has one"
        )


def listed(value: object, key: str) -> list:
    found = value.get(key) if isinstance(value, dict) else None
    return found if isinstance(found, list) else []


def golds_of(item: dict, context: str, where: str) -> list[Gold]:
    golds = []
    for n, answer in enumerate(field(item, "answers", list, where)):
        at = f"{where}.answers[{n}]"
        start = field(answer, "answer_start", int, at)
        golds.append(find(at, context, field(answer, "text", str, at), start))
    if not golds:
        raise InputError(f"{where}: no answers; a file without them can be answered (--predict), not learned or scored")
    return golds


def checked(value: object, where: str) -> dict:
    if not isinstance(value, dict):
        raise InputError(f"{where}: expected an object, found {type(value).__name__}")
    return value


def field(value: object, key: str, kind: type, where: str):
    """A field of an object. Raises InputError where it is not there, or of another kind."""
    names = {list: "an array", str: "text", int: "a whole number"}
    if key not in checked(value, where):
        found = ", ".join(map(repr, value)) or "nothing"
        raise InputError(f"{where}: no {key!r}, expected {names[kind]}; it has {found:.200}")
    if not isinstance(value[key], kind) or isinstance(value[key], bool):
        raise InputError(f"{where}.{key}: expected {names[kind]}, found {value[key]!r:.60}")
    return value[key]
