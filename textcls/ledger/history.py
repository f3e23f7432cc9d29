"""ledger.json: what a run was predicted to take beside what it took, and what is left of it in later predictions."""

import contextlib
import dataclasses
import itertools
import os
import pathlib

from torch import nn

from textcls.ledger.measure import Measured
from textcls.ledger.plan import Plan
from textcls.ledger.tables import measured_rows, memory_rows, timed
from textcls.runtime.files import checked, with_checksum, write_json
from textcls.runtime.memory import reset_peak, resident_memory, size_of
from textcls.training.run import Run

LAST_RUNS = 5  # that a prediction is shown with


def resident_before(model: nn.Module | None) -> int:
    """Bytes of the process before training, but for those of `model`, whose tensors training takes over; 0 or less where
    the system does not say. Peaks are counted from here on."""
    reset_peak()
    return resident_memory() - (0 if model is None else size_of(model.parameters()))


def growth(predicted: Plan, measured: Measured, resident: int) -> int:
    """Bytes that the run took: tensors on CUDA, on the CPU the process over the `resident` bytes it had before; 0 where
    the system does not say."""
    if predicted.step.device == "cuda":
        return measured.peak["cuda_allocated"]
    return measured.peak["rss"] - resident if resident > 0 else 0


def keep(run: Run, predicted: Plan, measured: Measured, growth: int) -> None:
    """Of a run that was stopped and resumed the larger growth, since each process has seen a part of it."""
    before = read(run.folder / "ledger.json")
    growth = max(growth, int(before.get("growth", 0)))
    facts = {
        "device": predicted.step.device,
        "growth": growth,
        "predicted": predicted.footprint(),
        "parts": memory_rows(predicted),
        "flop": predicted.flop() // predicted.step.accumulate,
    }
    write_json(run.folder / "ledger.json", with_checksum(dataclasses.asdict(measured) | facts))


def in_words(run: Run) -> dict:
    """{"memory": rows of what was predicted and what was measured, "step": a sentence on time}; {} where there is no
    ledger.json, or a damaged one. Those of earlier versions hold less."""
    ledger = read(run.folder / "ledger.json")
    with contextlib.suppress(KeyError, TypeError, AttributeError, ZeroDivisionError):
        measured = Measured(**{field.name: ledger[field.name] for field in dataclasses.fields(Measured)})
        known = ledger.get("parts", {}), ledger["predicted"], ledger["growth"], ledger["device"]
        return {"memory": measured_rows(measured, *known), "step": timed(measured, ledger.get("flop", 0))}
    return {}


def last_runs(folder: pathlib.Path, device: str) -> dict[str, tuple[int, int]]:
    """{run: (predicted, measured) bytes} of the newest runs in `folder` on this kind of device, newest first."""
    paths = [*folder.glob("*/ledger.json"), *folder.glob("*/seed-*/ledger.json")]
    runs = {}
    for path in sorted(paths, key=os.path.getmtime, reverse=True):
        ledger = read(path)
        if ledger.get("device") == device and ledger.get("growth"):
            runs[str(path.parent)] = ledger["predicted"], ledger["growth"]
    return dict(itertools.islice(runs.items(), LAST_RUNS))


def read(path: pathlib.Path) -> dict:
    """A ledger.json, empty where there is none, or where it is damaged."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        ledger = checked(path.read_bytes())
        return ledger | {name: int(ledger[name]) for name in ("predicted", "growth")}
    return {}
