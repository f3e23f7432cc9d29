"""What a corpus holds, in numbers: how many items, how long they are, which labels they have, and which of them are in
two splits."""

import dataclasses

import numpy as np

from textcls.data.corpus import Corpus

BINS = 30  # of lengths
PARTS = ("train", "dev", "test")


@dataclasses.dataclass
class Described:
    """A split of N items: the strings of each, their `lengths` (N,) in `unit`, of which a model reads at most `limit`
    (0 where there is no one limit); how many items are `cut`; how often each label is given, {} where there are none.
    """

    items: list[tuple[str, ...]]
    lengths: np.ndarray
    unit: str
    limit: int
    cut: int
    counts: dict[str, int]


def describe(predictor, corpus: Corpus, quiet: bool) -> dict:
    """Of all splits, as report/sections.py has it; {} of a task whose predictor describes no splits."""
    if predictor.described is None:
        return {}
    splits = {name: split for name in PARTS if (split := getattr(corpus, name)) is not None}
    found = {name: predictor.described(split, name, quiet) for name, split in splits.items()}
    first = next(iter(found.values()))
    labels = dict.fromkeys(label for part in found.values() for label in part.counts)
    return {
        "unit": first.unit,
        "limit": first.limit,
        "splits": {name: numbers(part) for name, part in found.items()},
        "bins": bins(first.lengths),
        "labels": {label: {name: part.counts.get(label, 0) for name, part in found.items()} for label in labels},
        "duplicates": duplicates(splits, found, corpus.labels),
    }


def numbers(part: Described) -> dict:
    median, most = np.percentile(part.lengths, [50, 95])
    return {
        "count": len(part.items),
        "empty": sum(not any(text.strip() for text in item) for item in part.items),
        "median": float(median),
        "most": float(most),
        "longest": int(part.lengths.max()),
        "cut": part.cut / len(part.items),
    }


def bins(lengths: np.ndarray) -> list[tuple[float, float, int]]:
    """(low, high, items) of at most BINS bins of equal width, a whole number, from 0 on. The last one holds all that is
    longer than 99 % of the items."""
    width = max(1, int(np.ceil((np.percentile(lengths, 99) + 1) / BINS)))
    places = np.minimum(lengths // width, BINS - 1)
    counts = np.bincount(places)
    return [(float(i * width), float((i + 1) * width), int(count)) for i, count in enumerate(counts)]


def without_space(item: tuple[str, ...]) -> tuple[str, ...]:
    """Its strings with a blank for all white space between two words."""
    return tuple(" ".join(text.split()) for text in item)


def duplicates(splits: dict, found: dict[str, Described], labels: list[str]) -> list[dict]:
    """How many items of a split are, but for white space, in an earlier one too, and how many of these have an answer
    there that is none of theirs."""
    answers = {name: split.answers(labels) for name, split in splits.items()}
    keys = {name: [without_space(item) for item in part.items] for name, part in found.items()}
    pairs = []
    for later, earlier in (("dev", "train"), ("test", "train"), ("test", "dev")):
        if later not in splits or earlier not in splits:
            continue
        known: dict[tuple, set] = {}
        for key, answer in zip(keys[earlier], answers[earlier], strict=True):
            known.setdefault(key, set()).add(answer)
        same = [(key, answer) for key, answer in zip(keys[later], answers[later], strict=True) if key in known]
        otherwise = sum(answer not in known[key] for key, answer in same)
        pairs.append({"in": later, "also in": earlier, "count": len(same), "otherwise": otherwise})
    return pairs
