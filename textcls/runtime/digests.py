"""Digests of published files: noted beside them, compared wherever the files are read.

FOLDER/SHA256SUMS is what `sha256sum` writes and `sha256sum -c` reads: a digest, two blanks, a name. In the hub's cache
the name of the file that a link leads to is its digest.
"""

import hashlib
import pathlib
import re

from textcls.runtime import files
from textcls.runtime.errors import InputError

SUMS = "SHA256SUMS"


def note_digests(folder: pathlib.Path) -> None:
    """Of all files of a folder, when they are whole, but for what is written about them (.md)."""
    names = sorted(p.name for p in folder.iterdir() if p.is_file() and p.name != SUMS and p.suffix != ".md")
    whole = [name for name in names if not name.endswith(files.PART)]
    files.write_text(folder / SUMS, "".join(f"{files.sha256(folder / name)}  {name}\n" for name in whole))


def noted_sha256(path: pathlib.Path) -> str | None:
    """The digest that stands in the SHA256SUMS beside a file; None where there is none."""
    try:
        lines = path.with_name(SUMS).read_text("utf-8", "replace").splitlines()
    except OSError:
        return None
    named = (line.split(" ", 1) for line in lines if " " in line)
    return next((digest for digest, name in named if name[1:] == path.name), None)  # " name", or of bytes "*name"


def blob(path: pathlib.Path) -> str | None:
    """The digest by which the hub's cache names a file: sha256 of a large one, git's sha1 of a small one; None for a
    file elsewhere."""
    name = path.resolve().name if path.is_symlink() else ""
    return name if re.fullmatch("[0-9a-f]{64}|[0-9a-f]{40}", name) else None


def git_sha1(path: pathlib.Path) -> str:
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def check(path: pathlib.Path) -> None:
    """Raise InputError where a digest of the file is noted, and the file has another."""
    noted, advice = noted_sha256(path), f"; if it is another on purpose, delete its line in {path.with_name(SUMS)}"
    if noted is None:
        noted, advice = blob(path), "; delete it and fetch it again"
    if noted is None or not path.is_file():
        return
    found = git_sha1(path) if len(noted) == 40 else files.sha256(path)
    if found != noted:
        raise InputError(f"{path}: damaged, its digest is {found[:16]}…, noted was {noted[:16]}…{advice}")
