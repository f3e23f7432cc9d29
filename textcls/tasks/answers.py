"""What is asked of a model's answers: how many of them, and with which numbers; and which of them words count for."""

import dataclasses
from typing import NamedTuple


@dataclasses.dataclass(frozen=True)
class Asked:
    """For each item its `top_k` best answers, best first, or the best one and the probabilities of all labels. `ranked`:
    the number was said, and is not for a model to choose that gives any number of labels."""

    top_k: int = 1
    all_probabilities: bool = False
    ranked: bool = False


def ranked(columns: dict, count: int) -> dict:
    """The columns of the `count` best answers: as they are, then with _2, _3, … after their names."""
    ranks = ["", *(f"_{rank}" for rank in range(2, count + 1))]
    return {f"{name}{rank}": empty for rank in ranks for name, empty in columns.items()}


class Explained(NamedTuple):
    """An answer that words count for: number `column` of the model's outputs. `label`: what it is the probability of,
    None where it is a score. `predicted`: whether the label reaches its threshold, so that it is given. `number`: what
    the output is, in words."""

    column: int
    label: str | None
    predicted: bool = True
    number: str = "the probability"
