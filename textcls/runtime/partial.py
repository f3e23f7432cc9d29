"""A file that takes long to write: it grows under another name, and goes on after a kill.

FILE.partial        what has been written so far
FILE.partial.json   how much of it is certain, and what it was made of
FILE                all of it, once it is whole

A note is written when what it speaks of is on the disk; going on, everything after it is cut off and made again.
"""

import contextlib
import errno
import hashlib
import json
import os
import pathlib
import time
from collections.abc import Iterator

from textcls.runtime import files, parallel
from textcls.runtime.errors import InputError

try:
    import fcntl
except ImportError:  # Windows: there two commands for one file are not told apart
    fcntl = None

EVERY = 1.0  # seconds between notes: each waits for the disk twice


class Partial:
    """The file that becomes `path`. `facts` are what it is made of: {what it is called in errors: a JSON value}; where
    they are not those that it began with, nothing of it can be used. `noted` is the last note, None of a new file.

    Raises InputError where `path` or its beginning is there, and neither `overwrite` nor `resume` says what to do."""

    def __init__(self, path: pathlib.Path, facts: dict, resume: bool = False, overwrite: bool = False):
        self.path, self.facts, self.noted = path, json.loads(json.dumps(facts)), None
        self.partial = path.with_name(f"{path.name}.partial")
        self.journal = path.with_name(f"{path.name}.partial.json")
        self.resume, self.overwrite = resume, overwrite
        self._check_target()
        new = not self.partial.exists()
        if not new and not resume and not overwrite:
            raise InputError(
                f"{self.partial} is there, of a command that was stopped: go on with it (--resume), or begin again "
                "(--overwrite)"
            )
        self.file = self._opened()
        self.digest, self.size, self.marked = hashlib.blake2b(digest_size=16), 0, None
        self.last, self.whole = time.monotonic(), False
        try:
            if resume and not new:
                self._go_on()
            else:
                self.journal.unlink(missing_ok=True)
                self.file.truncate(0)
        except BaseException:
            self.file.close()
            raise

    def _check_target(self) -> None:
        if not self.path.parent.is_dir():
            raise InputError(f"{self.path}: there is no folder {self.path.parent}")
        if self.path.exists() and not self.path.is_file():
            raise InputError(f"{self.path} is no file; for standard output say -")
        if self.path.exists() and not self.overwrite:
            whole = " and whole: nothing to go on with" if self.resume and not self.partial.exists() else ""
            raise InputError(f"{self.path} is there already{whole}; --overwrite replaces it, once the new one is whole")

    def _opened(self):
        """The file, locked, which says that somebody is writing it: the lock dies with its process."""
        flags = os.O_CREAT | os.O_RDWR | getattr(os, "O_NOFOLLOW", 0)
        file = open(self.partial, "r+b", opener=lambda name, _: os.open(name, flags, 0o666))
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                file.close()
                raise InputError(f"{self.partial}: another command is writing it") from None
        if not self.partial.exists() or not os.path.samestat(os.fstat(file.fileno()), os.stat(self.partial)):
            file.close()
            raise InputError(f"{self.partial}: another command has just been writing it")
        return file

    def _go_on(self) -> None:
        """Back to what was noted last. Raises InputError where it rests on something else, or is damaged."""
        advice = "begin again with --overwrite"
        try:
            note = files.checked(self.journal.read_bytes())
            facts, size, digest, state = (note[name] for name in ("facts", "size", "digest", "state"))
        except FileNotFoundError:
            self.file.truncate(0)  # killed before the first note
            return
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{self.journal}: damaged ({error}); {advice}") from None
        for name in self.facts | facts:
            if self.facts.get(name) != facts.get(name):
                raise InputError(f"{self.partial} was {begun(name, facts.get(name), self.facts.get(name))}; {advice}")
        left = size
        while left and (block := self.file.read(min(left, files.CHUNK))):
            self.digest.update(block)
            left -= len(block)
        if left or self.digest.hexdigest() != digest:
            raise InputError(f"{self.partial}: not what was noted in {self.journal.name}; {advice}")
        self.file.truncate(size)
        self.size, self.noted = size, state

    @property
    def holds(self) -> bool:
        """Whether one can go on with it."""
        return self.noted is not None or self.marked is not None

    def write(self, data: bytes) -> None:
        self.file.write(data)
        self.digest.update(data)
        self.size += len(data)

    def mark(self, state: dict) -> None:
        """From here one can go on; `state` is a JSON object. Once a second it is noted."""
        self.marked = {"size": self.size, "digest": self.digest.hexdigest(), "state": state}
        if time.monotonic() - self.last > EVERY:
            self._note()
            self.last = time.monotonic()

    def finish(self) -> None:
        """It is whole: give it its name. Raises InputError where that has been taken meanwhile."""
        self._flush()
        self._check_target()
        if fcntl is None:
            self.file.close()  # Windows renames no open file
        os.replace(self.partial, self.path)
        self.whole = True
        self.journal.unlink(missing_ok=True)
        files.flush_folder(self.path.parent)

    def leave(self) -> None:
        """Close it. If it is not whole, note how far it is; what cannot be gone on with is removed."""
        with self.file, contextlib.suppress(OSError):  # a full disk: what was noted before stays
            if self.whole:
                return  # another command may have begun to write the next one
            if self.marked is not None:
                self._note()
            elif self.noted is None:
                self.partial.unlink(missing_ok=True)

    def _note(self) -> None:
        """What is written is on the disk, and beside it how much that is."""
        self._flush()
        files.write_json(self.journal, files.with_checksum({"facts": self.facts, **self.marked}))
        self.noted, self.marked = self.marked["state"], None

    def _flush(self) -> None:
        self.file.flush()
        os.fsync(self.file.fileno())


def begun(name: str, before, now) -> str:
    """How a fact has changed, in words."""
    if isinstance(before, str | int) and isinstance(now, str | int):
        return f"begun with {name} {before}, and it is {now} now"
    return f"not begun with the same {name}"


@contextlib.contextmanager
def growing(path: pathlib.Path, facts: dict, resume: bool, overwrite: bool) -> Iterator["Partial | Follower"]:
    """A :class:`Partial` that the first process of several writes; the others know what is noted, and write nothing."""
    partial, problem = None, None
    if parallel.is_first():
        try:
            partial = Partial(path, facts, resume, overwrite)
        except (InputError, OSError) as error:
            problem = error
    try:
        problem, noted = parallel.from_first((problem, partial and partial.noted))
        if problem:
            raise problem if parallel.is_first() else SystemExit(2)  # of several processes one says it
        yield partial or Follower(noted)
    finally:
        if partial is not None:
            partial.leave()


class Follower:
    """The file in processes but the first."""

    holds = False

    def __init__(self, noted: dict | None):
        self.noted = noted

    def write(self, data: bytes) -> None:
        pass

    def mark(self, state: dict) -> None:
        pass

    def finish(self) -> None:
        pass
