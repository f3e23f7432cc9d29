"""How large is what a run needs to predict."""

import pathlib

from textcls.pretrained import elmo
from textcls.pretrained.hub import INDEX, weights_file
from textcls.tasks.base import Predictor
from textcls.tasks.ensemble import Ensemble

OF_A_RUN = ("best.pt", "config.json", "tokenizer.json", "calibration.json")


def needed(predictor: Predictor) -> str:
    """In words: the files of the run, and what lies elsewhere: a frozen backbone, the members of an ensemble."""
    folder = predictor.run.folder
    files = [folder / name for name in OF_A_RUN if (folder / name).is_file()]
    if not predictor.run.keeps:  # no run of ours: what its answers rest on
        files = predictor.run.rests_on()
    total, parts = sum(map(size_of, files)), []
    if isinstance(predictor, Ensemble):
        for member in predictor.members:
            parts.append(f"; member {needed(member.predictor)}")
    elif "sha256" in (source := predictor.meta["backbone"]) and predictor.recipe["frozen"](predictor.config):
        path = weights_of(pathlib.Path(source["path"]), source.get("kind"))
        parts.append(f", and its frozen backbone {path}, {in_words(size_of(path))}")
    names = ", ".join(path.name for path in files)
    return f"{folder} ({names}), {in_words(total)}{''.join(parts)}"


def weights_of(folder: pathlib.Path, kind: str | None) -> pathlib.Path:
    """The file of a backbone's weights; where they are in several files, their folder."""
    path = elmo.weights_of(folder) if kind == "elmo" else weights_file(folder)
    return folder if path.name.endswith(INDEX) else path


def size_of(path: pathlib.Path) -> int:
    """Bytes of a file, or of all files of a folder."""
    return path.stat().st_size if path.is_file() else sum(p.stat().st_size for p in path.rglob("*") if p.is_file())


def in_words(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"
