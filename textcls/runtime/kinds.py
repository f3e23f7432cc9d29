"""Whether values that come from a file are of the kind that a field is for."""

import types
import typing
from typing import Literal

# What config.json says of the training data, in a run and in what is exported of it.
Metric = Literal["matthews", "positive_f1", "accuracy", "spearman", "pearson"]
Scheme = Literal["BIO", "IOB1", "BIOES", "BILOU", "BMEWO", "BMES", "BIEWO"]


def misfit(value, hint, name: str = "", whole: bool = True) -> str | None:
    """Where a value, as JSON has it, is not of a type: the place, with dots, and what stands there; None where it fits.
    A list does for a tuple, and a whole number for a float. A TypedDict may hold more than it names, and less of what
    it requires unless it must be `whole`."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    wrong = f"{name} is {value!r:.60}"
    if isinstance(hint, types.UnionType):
        found = [misfit(value, part, name, whole) for part in parts]
        return None if None in found else max(found, key=len)
    if origin is Literal:
        return None if isinstance(value, str) and value in parts else wrong
    if origin is typing.NotRequired:
        return misfit(value, parts[0], name, whole)
    if typing.is_typeddict(hint):
        return wrong if not isinstance(value, dict) else missing_or_misfit(value, hint, name, whole)
    if origin is dict:
        items = value.items() if isinstance(value, dict) else ()
        found = (misfit(item, parts[1], f"{name}.{key}", whole) for key, item in items)
        return wrong if not isinstance(value, dict) else next(filter(None, found), None)
    if origin in (list, tuple):
        if not isinstance(value, list | tuple):
            return wrong
        kinds = parts if origin is tuple and ... not in parts else parts[:1] * len(value)
        pairs = zip(value, kinds, strict=True) if len(kinds) == len(value) else ()
        found = (misfit(item, kind, f"{name}[{place}]", whole) for place, (item, kind) in enumerate(pairs))
        return wrong if len(kinds) != len(value) else next(filter(None, found), None)
    return None if type(value) is hint or hint is float and type(value) is int else wrong


def missing_or_misfit(value: dict, hint, name: str, whole: bool) -> str | None:
    """The same of an object whose fields are named."""
    for field, kind in typing.get_type_hints(hint).items():
        place = f"{name}.{field}" if name else field
        if field in value:
            if problem := misfit(value[field], kind, place, whole):
                return problem
        elif whole and field in hint.__required_keys__:
            return f"{place} is not there"
    return None


def fits(value, hint) -> bool:
    return misfit(value, hint) is None
