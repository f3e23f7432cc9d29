"""Where a run is, and what an epoch adds up to."""

import dataclasses
import itertools
import math
import pathlib
import time

import numpy as np
import torch
from torch import nn

from textcls.config import TrainConfig
from textcls.runtime import parallel
from textcls.runtime.errors import InputError
from textcls.text.batches import Batch


@dataclasses.dataclass
class State:
    """Where the run is. With the tensors and the random states this is all that resuming needs."""

    epoch: int = 0  # epochs finished
    position: int = 0  # batches of the present epoch that are done
    step: int = 0  # updates done; the learning rate is a function of it
    skipped: int = 0  # updates that the GradScaler refused
    processes: int = 1  # that the run began with: a batch has so many times --batch-size documents
    best: float | None = None
    best_epoch: int = 0
    tally: dict = dataclasses.field(default_factory=dict)
    history: list = dataclasses.field(default_factory=list)


def end_epoch(state: State, row: dict, select: str) -> None:
    """Book a finished epoch, and whether it is the best so far by the dev metric `select`."""
    value = selected(row, select)
    state.epoch, state.position = state.epoch + 1, 0
    if is_better(value, state.best, select):
        state.best, state.best_epoch = value, state.epoch
    state.history.append(row)


def selected(row: dict, select: str) -> float:
    """The dev metric of an epoch that --select names; `loss` is dev nll."""
    return row["dev"]["nll" if select == "loss" else select]


def is_better(value: float, best: float | None, select: str) -> bool:
    """Whether a value of the dev metric beats the best so far, if there is one: the more the better, but for a loss; any
    number beats NaN."""
    if best is None or math.isnan(best):
        return best is None or not math.isnan(value)
    return value < best if select == "loss" else value > best


def out_of_patience(state: State, config: TrainConfig) -> bool:
    return bool(config.patience) and state.epoch - state.best_epoch >= config.patience


class Diverged(InputError):
    """A loss, a gradient or a weight stopped being finite."""


class Tally:
    """What an epoch adds up to. Losses stay on the device until `settle` looks at them, all at once."""

    def __init__(self, state: State, scaler: torch.amp.GradScaler, last: pathlib.Path, counts_documents: bool = True):
        self.state, self.scaler, self.last = state, scaler, last
        self.counts_documents = counts_documents
        self.pending: list[tuple[str, torch.Tensor, np.ndarray]] = []  # what, value on the device, documents
        self.start = time.perf_counter()

    def begin(self) -> None:
        """Start the clock: what went before (evaluation, checkpoints) is not training time."""
        self.start = time.perf_counter()

    def add(self, micro_batches: list[Batch], losses: list[dict[str, torch.Tensor]], norm: torch.Tensor) -> None:
        """A step. The gradient's norm is only looked at for being finite; a scaler does that itself, and skips the
        step."""
        for batch, of_batch in zip(micro_batches, losses, strict=True):
            self.pending += [(f"loss {name}", loss, batch.documents) for name, loss in of_batch.items()]
            counts = {f"targets {name}": count for name, count in batch.counts.items()}
            documents = len(batch.documents) if self.counts_documents else 0
            self._count(counts | {"documents": documents, "tokens": batch.tokens, "slots": batch.slots})
        if not self.scaler.is_enabled():
            self.pending.append(("gradient norm", norm, self.pending[-1][2]))

    def _count(self, counts: dict[str, int]) -> None:
        sums = self.state.tally
        for name, value in counts.items():
            sums[name] = sums.get(name, 0) + value

    def settle(self) -> float:
        """Add the pending losses up, checking each value. Returns the mean loss of the epoch so far."""
        sums = self.state.tally
        values = torch.stack([value.float() for _, value, _ in self.pending]).tolist() if self.pending else []
        for (name, _, documents), value in zip(self.pending, values, strict=True):
            if not math.isfinite(value):
                raise Diverged(self.explain(name, value, documents))
            if name.startswith("loss "):
                sums[name] = sums.get(name, 0.0) + value
        self.pending.clear()
        sums["seconds"] = sums.get("seconds", 0.0) + time.perf_counter() - self.start
        self.start = time.perf_counter()
        return mean_loss(sums)

    def speed(self) -> str:
        """Of the epoch so far, as of the last `settle`; all processes have equal shares."""
        sums = self.state.tally
        unit = "documents" if self.counts_documents else "tokens"
        return f"{parallel.size() * sums[unit] / sums['seconds']:.0f} {unit}/s"

    def sums(self) -> dict[str, float]:
        """The epoch so far, of all processes together; `seconds` are this one's."""
        own = dict(self.state.tally)
        seconds = own.pop("seconds", 0.0)
        return parallel.add(own) | {"seconds": seconds}

    def explain(self, name: str, value: float, documents: np.ndarray) -> str:
        numbers = ", ".join(map(str, documents[:16].tolist())) + (", …" if len(documents) > 16 else "")
        return (
            f"{name} became {value} at or shortly before step {self.state.step} (gradient scale "
            f"{self.scaler.get_scale():g}, training documents {numbers}). {self.last} holds the "
            "last good state; try a smaller --lr, or --amp off"
        )

    def check_weights(self, model: nn.Module) -> None:
        """Raise Diverged where a weight is not finite: the last update is in no loss yet. It waits for the device, so it
        is for what is saved, and no part of a step."""
        trained = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad and p.numel()}
        extremes = [torch.stack(p.float().aminmax()) for p in trained.values()]  # NaN is both
        finite = torch.stack(extremes).isfinite().all(1).tolist() if extremes else []
        for name in itertools.compress(trained, (not one for one in finite)):
            if self.state.step == 0:
                raise Diverged(f"{name} is not finite before the first step: the weights that training begins with")
            raise Diverged(
                f"{name} is not finite after step {self.state.step}. {self.last} holds the last good state; try a "
                "smaller --lr, or --amp off"
            )

    def close_epoch(self) -> dict:
        self.settle()
        sums, self.state.tally = self.sums(), {}
        seconds = sums["seconds"]
        return {
            "loss": mean_loss(sums),
            "seconds": seconds,
            "documents_per_s": sums["documents"] / seconds,
            "tokens_per_s": sums["tokens"] / seconds,
            "padding": 1 - sums["tokens"] / sums["slots"],
        }


def mean_loss(sums: dict[str, float]) -> float:
    return sum(sums[key] / max(1, sums["targets " + key[5:]]) for key in sums if key.startswith("loss "))


def epoch_line(row: dict, epochs: int) -> str:
    """What is printed of an epoch. metrics.jsonl holds the same numbers."""
    dev = "  ".join(f"{name} {value:.4f}" for name, value in row["dev"].items())
    memory = ", ".join(f"{name.replace('_', ' ')} {size / 2**30:.2f} GiB" for name, size in row["memory"].items())
    documents = f"  {row['documents_per_s']:.0f} documents/s" if row["documents_per_s"] else ""
    skipped = f"  skipped steps {row['skipped']}" if row["skipped"] else ""
    return (
        f"epoch {row['epoch']}/{epochs}  loss {row['loss']:.4f}  dev: {dev}{documents}"
        f"  {row['tokens_per_s']:.0f} tokens/s  padding {row['padding']:.1%}"
        f"  {row['seconds']:.1f} s/epoch + {row['dev_seconds']:.1f} s dev  peak {memory}{skipped}"
    )
