"""How a sentence encoder makes one vector of a text's: 1_Pooling/config.json of the library sentence-transformers
(Reimers and Gurevych, 2019, arXiv:1908.10084). Its newer form names a mode or several; in the older one each has a field.
"""

import re

from textcls.pretrained.backbone import DIMS, OWNERS
from textcls.pretrained.hub import find_pooling
from textcls.runtime import files
from textcls.runtime.digests import check
from textcls.runtime.errors import InputError

FIELDS = {  # of the older form
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
SAME = ("cls", "mean", "max", "mean+max")  # those that --pooling calls the same


def read_pooling(name: str) -> str | None:
    """What the files of a backbone say of its pooling, in the words of sentence-transformers: "mean", "lasttoken", or
    several with a plus between, "mean+max"; None where they say nothing. `name` is what --bert takes; of a model on the
    hub the weights need not be there. Raises InputError for a file that cannot be one."""
    if OWNERS.sub("", name) in DIMS:  # these have none, and are planned for without a network
        return None
    path = find_pooling(name)
    if path is None:
        return None
    check(path)
    try:
        return "+".join(modes_of(files.parse_json(path.read_text("utf-8"))))
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None


def modes_of(values: object) -> list[str]:
    """The modes in the order of FIELDS, others after these. Raises ValueError."""
    if not isinstance(values, dict):
        raise ValueError("not a JSON object")
    modes = values.get("pooling_mode")
    if modes is None:
        for field in FIELDS:
            if values.get(field) not in (True, False, None):
                raise ValueError(f"{field} is {values[field]!r:.60}, expected true or false")
        modes = [mode for field, mode in FIELDS.items() if values.get(field)] or ["mean"]  # as there, if none is named
    names = modes if isinstance(modes, list) else [modes]
    if not names or not all(map(is_name, names)):
        raise ValueError(f"pooling_mode is {modes!r:.60}, expected a name, or a list of names")
    known = list(FIELDS.values())
    return sorted(dict.fromkeys(names), key=lambda mode: known.index(mode) if mode in known else len(known))


def is_name(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"\w{1,40}", value) is not None
