"""Questions in files that are to be answered."""

from collections.abc import Sequence

from textcls.data import squad
from textcls.records.document import SQUAD, Item, array_items
from textcls.runtime.errors import InputError


def no_lines(name: str) -> InputError:
    return InputError(f"{name}: questions and contexts are no lines; give SQuAD's .json, or a table")


def as_pair(where: str, texts: Sequence[str]) -> tuple[str, str]:
    question, context = texts
    squad.check(where, question, context)
    return question, context


def asked_in(content: object, name: str, wanted: Sequence[str]) -> tuple[tuple, list[Item]]:
    """What a JSON document asks, for JsonDocument."""
    if not isinstance(content, dict):
        return array_items(content, name, wanted, as_pair)
    rows = list(squad.squad_rows(content, name, answered=False))
    paragraphs = (paragraph for article in content["data"] for paragraph in article["paragraphs"])
    objects = [item for paragraph in paragraphs for item in paragraph["qas"]]
    return SQUAD, [(row.where, item, (row.question, row.context)) for row, item in zip(rows, objects, strict=True)]
