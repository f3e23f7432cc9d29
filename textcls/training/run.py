"""Run folders: what a run leaves on the disk, written atomically and read back strictly.

config.json      the settings, the backbone's dimensions, the labels, where the frozen weights came from
tokenizer.json   the word pieces
splits.npz       which documents were train, dev and test
metrics.jsonl    a line an epoch
results.json     of the test split, once training has ended
calibration.json of a classifier's probabilities on dev documents, once training has ended
ledger.json      memory and time of a step, measured after training
best.pt          weights of the best epoch
last.pt          weights, optimiser, scaler, position, random states: all that `--resume` needs
backbone/        the frozen backbone, where the run made it itself
"""

import contextlib
import errno
import os
import pathlib
import secrets
import socket
from collections.abc import Iterator

import numpy as np
import torch

from textcls.metrics.calibration import LEAST, MOST
from textcls.runtime import files, parallel
from textcls.runtime.errors import InputError
from textcls.runtime.tensors import load_tensors
from textcls.training import facts

try:
    import fcntl
except ImportError:  # Windows: there two runs in one folder are not told apart
    fcntl = None

LOCK = ".lock"
FORMAT = 2  # of the run folder; raise it when an older reader would misread a newer folder, or a newer an older


class Run:
    """A run folder. Reading raises InputError, in the user's words, for whatever is missing or damaged."""

    keeps = True  # what is computed of its model may be kept in the folder

    def __init__(self, folder: str | pathlib.Path):
        self.folder = pathlib.Path(folder)

    def exists(self) -> bool:
        return (self.folder / "config.json").exists()

    @contextlib.contextmanager
    def claimed(self, new: bool = False) -> Iterator[None]:
        """While the block lasts no other process writes into the folder: the first process of a run holds a lock, which
        dies with it. Raises InputError where another one has it, or where a `new` run would overwrite one."""
        lock, problem = self._claim(new) if parallel.is_first() else (None, None)
        try:
            if problem := parallel.from_first(problem):  # the others would wait for the first process in vain
                raise problem
            yield
        finally:
            if lock is not None:
                self._unlock(lock)

    def _claim(self, new: bool) -> tuple[int | None, Exception | None]:
        """(the lock, why the folder is not to be had)."""
        try:
            lock = self._lock()
        except (InputError, OSError) as error:
            return None, error
        if new and self.exists():
            return lock, InputError(
                f"--out {self.folder} already holds a run; choose another folder, or go on with it: "
                f"--resume {self.folder}"
            )
        return lock, None

    def _lock(self) -> int:
        """A lock on a file that is still in the folder: a process whose start failed may just have taken it away."""
        path, flags = self.folder / LOCK, os.O_CREAT | os.O_RDWR | getattr(os, "O_NOFOLLOW", 0)
        while True:
            files.make_folder(self.folder)
            with contextlib.suppress(FileNotFoundError):
                lock = os.open(path, flags, 0o644)
                self._hold(lock)
                with contextlib.suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(lock), os.stat(path)):
                        break
                os.close(lock)
        os.ftruncate(lock, 0)
        os.write(lock, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        return lock

    def _hold(self, lock: int) -> None:
        try:
            if fcntl is not None:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                return  # a file system without locks, as some clusters have: do without, as on Windows
            holder = os.read(lock, 200).decode("utf-8", "replace").strip() or "another process"
            os.close(lock)
            raise InputError(f"{self.folder}: {holder} is writing into this run folder") from None

    def _unlock(self, lock: int) -> None:
        """Give the lock back, and leave nothing behind where no run came of it."""
        if fcntl is None:
            os.close(lock)  # Windows keeps open files
        if not self.exists():
            with contextlib.suppress(OSError):
                (self.folder / LOCK).unlink()
                self.folder.rmdir()
        if fcntl is not None:
            os.close(lock)

    def create(
        self,
        meta: dict,
        splits: dict[str, np.ndarray],
        vocabulary=None,
        best: dict | None = None,
        calibration: dict | None = None,
    ) -> None:
        """Write what does not change during the run, for a run that has ended already `best`.pt and `calibration`.json
        too. config.json comes last: with it the run exists; killed before, there is none, and it can be made again."""
        name = secrets.token_hex(8)
        files.make_folder(self.folder)
        if vocabulary is not None and parallel.is_first():
            vocabulary.save(self.folder)
        with files.replacing(self.folder / "splits.npz") as file:
            np.savez(file, **splits)
        if best is not None:
            self._write("best.pt", name, best)
        if calibration is not None:
            self._write_calibration(name, calibration)
        content = {"format": FORMAT, "run": name, **meta}
        files.write_json(self.folder / "config.json", files.with_checksum(content))

    def meta(self) -> dict:
        path = self.folder / "config.json"
        if not self.folder.is_dir():
            raise InputError(f"{self.folder}: no such run folder")
        try:
            meta = files.checked(path.read_bytes())
            version = meta["format"]
        except FileNotFoundError:
            inside = sorted(path.parent.name for path in self.folder.glob("*/config.json"))
            several = f"; it has runs in it: {', '.join(inside[:9])}{', …' * (len(inside) > 9)}" * bool(inside)
            raise InputError(f"{self.folder}: not a run folder (it has no config.json){several}") from None
        except KeyError:
            raise InputError(f"{path}: damaged, or not written by textcls") from None
        except ValueError as error:
            raise InputError(f"{path}: damaged, or not written by textcls ({error})") from None
        if version != FORMAT:
            raise InputError(
                f"{path}: a run folder of another version of textcls (format {version}, this one reads {FORMAT}); "
                "train it again"
            )
        try:
            return facts.check(meta, facts.of_run(meta))
        except ValueError as error:
            raise InputError(f"{path}: damaged, or not written by textcls ({error})") from None

    def whole_meta(self) -> dict:
        """The same of a run that is to be used, in which nothing may be missing."""
        meta = self.meta()
        return facts.check_whole(meta, facts.of_run(meta), self.folder / "config.json")

    def splits(self) -> dict[str, np.ndarray]:
        """Document ids (uint64) of train, dev and test."""
        path = self.folder / "splits.npz"
        arrays = files.read_arrays(path)
        if not isinstance(arrays, dict):
            raise InputError(f"{path}: missing or damaged")
        return arrays

    def _name(self) -> str | None:
        """What tells this run's checkpoints from those of any other."""
        return self.meta().get("run") if self.exists() else None

    def save(self, name: str, content: dict) -> None:
        self._write(name, self._name(), content)

    def _write(self, name: str, run: str | None, content: dict) -> None:
        path = self.folder / name
        with files.replacing(path) as file:
            try:
                torch.save({"format": FORMAT, "run": run, "file": name, **content}, file)
            except RuntimeError as error:
                # When a write fails, torch's zip writer stumbles over the missing bytes and hides why they are missing.
                cause = error.__context__
                if isinstance(cause, OSError):
                    raise OSError(cause.errno, cause.strerror, str(path)) from None
                raise

    def load(self, name: str) -> dict:
        """best.pt or last.pt, on the CPU. Only tensors and plain values are accepted: nothing is executed."""
        path = self.folder / name
        if not path.exists():
            raise InputError(
                f"{self.folder}: no {name} yet, training stopped before its first evaluation; "
                f"go on with: python train.py --resume {self.folder}"
            )
        content = load_tensors(path)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise InputError(f"{path}: not a checkpoint of format {FORMAT}")
        if content.pop("run", None) != self._name():
            raise InputError(f"{path}: the checkpoint of another run")
        if (own := content.pop("file", name)) != name:
            raise InputError(f"{path}: this is the run's {own}")
        return content

    def rests_on(self) -> list[pathlib.Path]:
        """The files that the logits of its model rest on."""
        return [self.folder / name for name in ("best.pt", "config.json")]

    def again(self) -> str:
        """What makes the results and the calibration of its model once more."""
        return "ensemble.py, as before" if "members" in self.meta() else f"python train.py --resume {self.folder}"

    def write_metrics(self, history: list[dict]) -> None:
        lines = "".join(files.json_text(files.with_checksum(row)) + "\n" for row in history)
        files.write_text(self.folder / "metrics.jsonl", lines)

    def metrics(self) -> list[dict]:
        """What :meth:`write_metrics` wrote: a row an epoch."""
        path, number = self.folder / "metrics.jsonl", 0
        try:
            rows = []
            for number, line in enumerate(path.read_bytes().splitlines(), 1):
                row = facts.check(files.checked(line), facts.Epoch)
                rows.append(row | ({"dev": facts.numbers(row["dev"])} if "dev" in row else {}))
            return rows
        except FileNotFoundError:
            raise InputError(f"{path}: missing or damaged") from None
        except ValueError as error:
            raise InputError(f"{path}:{number}: missing or damaged ({error})") from None

    def write_results(self, results: dict) -> None:
        files.write_json(self.folder / "results.json", files.with_checksum(results))

    def results(self) -> dict:
        """Of the test split, as :meth:`write_results` wrote them."""
        path = self.folder / "results.json"
        try:
            results = facts.check(files.checked(path.read_bytes()), facts.Results)
        except ValueError as error:
            advice = f"delete it, and it is made again by: python train.py --resume {self.folder}"
            raise InputError(f"{path}: damaged ({error}); {advice}") from None
        for metric in results.get("metrics", {}).values():
            if "value" in metric:
                metric |= facts.numbers({"value": metric["value"]})
        return results

    def write_calibration(self, values: dict) -> None:
        self._write_calibration(self._name(), values)

    def _write_calibration(self, run: str | None, values: dict) -> None:
        files.write_json(self.folder / "calibration.json", files.with_checksum({"run": run, **values}))

    def calibration(self) -> dict | None:
        """What :meth:`write_calibration` wrote; None where there is none."""
        path = self.folder / "calibration.json"
        advice = f"delete it, and it is made again by: {self.again()}"
        try:
            values = files.checked(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise InputError(f"{path}: damaged ({error}); {advice}") from None
        facts.check_whole(values, facts.Calibration, path)
        counts = {values["documents"], len(values["confidence"]), len(values["right"])}
        if values["run"] != self._name() or not LEAST <= values["temperature"] <= MOST or len(counts) > 1:
            raise InputError(f"{path}: that of another run, or damaged; {advice}")
        return values


class Foreign(Run):
    """A folder that holds a model, but no run: `meta` is what a run's config.json would say of it."""

    keeps = False

    def __init__(self, folder: str | pathlib.Path, meta: dict):
        super().__init__(folder)
        self._meta = meta

    def meta(self) -> dict:
        return dict(self._meta)

    def splits(self) -> dict[str, np.ndarray]:
        return {}

    def metrics(self) -> list[dict]:
        return []

    def rests_on(self) -> list[pathlib.Path]:
        return sorted(path for path in self.folder.iterdir() if path.is_file())

    def calibration(self) -> None:
        return None


def free_folder(name: str, claim: bool = False) -> pathlib.Path:
    """runs/NAME, or the first of runs/NAME-2, runs/NAME-3, … that does not exist. With `claim` it is made at once, so
    that two commands that begin together do not choose the same."""
    number, folder = 1, pathlib.Path("runs") / name
    while True:
        if claim:
            files.make_folder(folder.parent)
            with contextlib.suppress(FileExistsError):
                folder.mkdir()
                files.flush_folder(folder.parent)
                return folder
        elif not folder.exists():
            return folder
        number += 1
        folder = pathlib.Path("runs") / f"{name}-{number}"
