"""The command line of `train.py`, derived from the fields of TrainConfig; and what other scripts share."""

import argparse
import dataclasses
import types
import typing
from collections.abc import Iterable, Sequence

from textcls.config import OPTIONS, TrainConfig, flag
from textcls.runtime.errors import InputError


def parser(description: str, choices: dict[str, Iterable[str]] | None = None) -> argparse.ArgumentParser:
    """An argument parser with a flag for each field of TrainConfig, in groups. `choices` {field: names} come from the
    tables in which the names live. Flags that are not given are absent from its result, so that it can be told what the
    user said from what is a default."""
    result = argparse.ArgumentParser(
        usage="%(prog)s [--FLAG VALUE] ...",  # all of them in a row would hide the examples
        description=description,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    groups = {name: result.add_argument_group(name) for name in dict.fromkeys(o["group"] for o in OPTIONS.values())}
    hints = typing.get_type_hints(TrainConfig)
    for field in dataclasses.fields(TrainConfig):
        names = (choices or {}).get(field.name, field.metadata["choices"])
        add_flag(groups[field.metadata["group"]], field, hints[field.name], names)
    return result


def of_runs(runs: str, description: str) -> argparse.ArgumentParser:
    """The parser of a script that is told `runs`, which its usage shows in front of all flags."""
    usage, kind = f"%(prog)s {runs} [--FLAG VALUE] ...", argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(usage=usage, description=description, formatter_class=kind)


def check_given(arguments: argparse.Namespace, but: Sequence[str] = ()) -> None:
    """Raise InputError for a value that is nothing (an unset variable of a shell?), but for those that may be."""
    for name, value in vars(arguments).items():
        if name not in but and "" in (value if isinstance(value, list) else [value]):
            what = "RUN" if name == "runs" else flag(name)
            raise InputError(f"{what} '': expected a name; leave it out, or say what")


class OneOrSeveral(argparse.Action):
    """One value as itself, so that it is what a run is told; several as a list."""

    def __call__(self, parser, namespace, values, option_string=None):
        setattr(namespace, self.dest, values if len(values) > 1 else values[0])


def add_flag(group, field: dataclasses.Field, hint, choices: Iterable[str] | None) -> None:
    help = field.metadata["help"]
    if isinstance(hint, types.UnionType):
        hint = next(kind for kind in typing.get_args(hint) if kind is not type(None))
    if hint == list[int]:
        group.add_argument(flag(field.name), type=int, nargs="+", help=help, metavar="N")
        return
    if hint is bool:
        group.add_argument(flag(field.name), action=argparse.BooleanOptionalAction, help=help)
        return
    if field.default is not None and field.default != "":
        help += f" (default: {field.default})"
    choices = tuple(choices) if choices else None
    metavar = None if choices else {int: "N", float: "X", str: "S"}[hint]
    many = {"nargs": "+", "action": OneOrSeveral} if field.metadata["several"] else {}
    help = help.replace("%", "%%")
    group.add_argument(flag(field.name), type=hint, choices=choices, help=help, metavar=metavar, **many)
