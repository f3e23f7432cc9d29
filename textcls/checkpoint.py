"""Run folders: what a run leaves on the disk, written atomically and read back strictly.

config.json      the settings, the backbone's shape, the labels, where the frozen weights came from
tokenizer.json   the word pieces
splits.npz       which documents were train, dev and test
metrics.jsonl    a line an epoch
ledger.json      memory and time of a step, measured after training
best.pt          weights of the best epoch
last.pt          weights, optimiser, scaler, position, random states: all that `--resume` needs
backbone/        the frozen backbone, where the run made it itself
"""

import json
import pathlib
import warnings

import numpy as np
import torch
from torch import nn

from textcls import files, parallel
from textcls.errors import InputError

FORMAT = 1  # of the run folder; raise it when an older reader would misread a newer folder


class Run:
    """A run folder. Reading raises InputError, in the user's words, for whatever is missing or damaged."""

    def __init__(self, folder: str | pathlib.Path):
        self.folder = pathlib.Path(folder)

    def exists(self) -> bool:
        return (self.folder / "config.json").exists()

    def create(self, meta: dict, splits: dict[str, np.ndarray], tokenizer=None) -> None:
        """Write what does not change during the run. config.json comes last: with it the run exists."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if tokenizer is not None and parallel.is_first():
            tokenizer.save(self.folder)
        with files.replacing(self.folder / "splits.npz") as file:
            np.savez(file, **splits)
        files.write_json(self.folder / "config.json", {"format": FORMAT, **meta})

    def meta(self) -> dict:
        path = self.folder / "config.json"
        if not self.folder.is_dir():
            raise InputError(f"{self.folder}: no such run folder")
        try:
            meta = json.loads(path.read_text("utf-8"))
            version = meta["format"]
        except FileNotFoundError:
            raise InputError(f"{self.folder}: not a run folder (it has no config.json)") from None
        except (ValueError, KeyError, TypeError):
            raise InputError(f"{path}: damaged, or not written by textcls") from None
        if "bert" in meta:  # as the shape was called when every model had a BERT
            meta["shape"] = meta.pop("bert")
        if version != FORMAT:
            raise InputError(f"{path}: run folder of format {version}, this version of textcls reads format {FORMAT}")
        return meta

    def splits(self) -> dict[str, np.ndarray]:
        """Document ids (uint64) of train, dev and test."""
        path = self.folder / "splits.npz"
        try:
            with np.load(path, allow_pickle=False) as kept:
                return dict(kept)
        except Exception as error:  # zipfile, ValueError, OSError, …: all mean the same here
            raise InputError(f"{path}: missing or damaged ({error})") from None

    def save(self, name: str, content: dict) -> None:
        path = self.folder / name
        with files.replacing(path) as file:
            try:
                torch.save({"format": FORMAT, **content}, file)
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
        return content

    def write_metrics(self, history: list[dict]) -> None:
        lines = "".join(json.dumps(row) + "\n" for row in history)
        files.write_text(self.folder / "metrics.jsonl", lines)


def free_folder(name: str) -> pathlib.Path:
    """runs/NAME, or the first of runs/NAME-2, runs/NAME-3, … that does not exist."""
    number, folder = 1, pathlib.Path("runs") / name
    while folder.exists():
        number += 1
        folder = pathlib.Path("runs") / f"{name}-{number}"
    return folder


def load_tensors(path: pathlib.Path):
    """What `torch.save` wrote, on the CPU, if it is tensors and plain values. Nothing in the file is executed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch remarks on the pickle protocol of files that it goes on to refuse
            return torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError:
        raise
    except Exception as error:  # torch raises RuntimeError, UnpicklingError, EOFError, OSError, …
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise InputError(f"{path}: not a readable checkpoint, damaged or made to run code ({reason})") from None


def trainable_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """What training makes: trainable parameters and buffers. Frozen parameters are left to their source."""
    trained = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    return trained | dict(model.named_buffers())


def load_trainable(model: nn.Module, state: dict[str, torch.Tensor], path: pathlib.Path) -> None:
    """The reverse of :func:`trainable_state`, strict in both directions."""
    check_fit(trainable_state(model), state, path)
    model.load_state_dict(state, strict=False)


def check_fit(wanted: dict[str, torch.Tensor], given: dict[str, torch.Tensor], path: pathlib.Path) -> None:
    """Raise InputError naming every tensor that is missing, unknown or of another shape."""
    problems = [f"missing {name}" for name in wanted.keys() - given.keys()]
    problems += [f"unknown {name}" for name in given.keys() - wanted.keys()]
    problems += [
        f"{name} is {tuple(given[name].shape)}, expected {tuple(wanted[name].shape)}"
        for name in wanted.keys() & given.keys()
        if given[name].shape != wanted[name].shape
    ]
    if problems:
        raise InputError(f"{path}: the weights do not fit the model: {'; '.join(sorted(problems))}")


def random_states() -> dict:
    """Of every generator that training draws from: torch's, on the CPU and on each CUDA device (of several processes,
    each has one device)."""
    return {"cpu": torch.get_rng_state(), "cuda": [torch.cuda.get_rng_state(device) for device in cuda_devices()]}


def cuda_devices() -> list[int]:
    if parallel.size() > 1 and torch.cuda.is_available():
        return [parallel.local_rank()]
    return list(range(torch.cuda.device_count()))


def restore_random_states(states: dict) -> None:
    torch.set_rng_state(states["cpu"])
    for device, state in zip(cuda_devices(), states["cuda"], strict=False):
        torch.cuda.set_rng_state(state, device)
