"""Memory and time of a training step, measured on the step itself. textcls/ledger.py predicts the same from shapes."""

import contextlib
import dataclasses
import statistics
import sys
import time

import torch
from torch import nn

from textcls.batch import Batches
from textcls.device import Precision
from textcls.errors import InputError
from textcls.models.bert import Attention, Embeddings, Encoder, Layer
from textcls.models.lstm import LSTM
from textcls.models.recurrent import BertVectors, Recurrent, WordVectors
from textcls.models.trans_blstm import BLSTM, AddAndNorm, BesideTheLayer
from textcls.optim import build_optimizer

try:
    import resource
except ImportError:  # Windows
    resource = None

STEPS = 3  # that are timed
# Module -> part of the ledger; the innermost counts. What the encoder itself keeps are the inputs of its checkpoints.
PART = {
    Embeddings: "embedding",
    Encoder: "attention",
    Attention: "attention",
    Layer: "feed-forward",
    BesideTheLayer: "feed-forward",
    BLSTM: "LSTM",
    AddAndNorm: "LSTM",
    Recurrent: "LSTM",
    LSTM: "LSTM",
    nn.LSTM: "LSTM",
    WordVectors: "embedding",
    BertVectors: "embedding",
    nn.Embedding: "embedding",
}


def peak_memory(device: torch.device) -> dict[str, int]:
    """Bytes at the peak so far: `rss`, the resident set of the process, where the system counts it; on CUDA also what
    tensors held (`cuda_allocated`) and what the allocator kept (`cuda_reserved`)."""
    peak = process_memory("VmHWM")
    if not peak and resource is not None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        peak *= 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, others KiB
    memory = {"rss": peak} if peak else {}
    if device.type == "cuda":
        memory["cuda_allocated"] = torch.cuda.max_memory_allocated(device)
        memory["cuda_reserved"] = torch.cuda.max_memory_reserved(device)
    return memory


def resident_memory() -> int:
    """Bytes of the process that are in memory now; 0 where the system does not say."""
    return process_memory("VmRSS")


def process_memory(field: str) -> int:
    """A size from Linux's /proc/self/status, in bytes; 0 elsewhere. (`ru_maxrss` would do for the peak, but it starts
    from that of the process which started this one.)"""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            return next(1024 * int(line.split()[1]) for line in file if line.startswith(field + ":"))
    except (OSError, StopIteration):
        return 0


class SavedTensors:
    """Inside `with SavedTensors(model) as saved:` everything that autograd keeps for the backward pass is counted.

    `saved.parts` {part of the model: bytes} counts each storage once, leaving out the parameters themselves;
    `saved.copies` are autocast's 16-bit copies of weights.
    """

    def __init__(self, model: nn.Module):
        self.parts: dict[str, int] = {}
        self.copies = 0
        self._inside: list[str] = []
        self._seen = {p.untyped_storage().data_ptr() for p in model.parameters()}
        self._alive: list[torch.Tensor] = []  # so that no address is given out twice while counting
        self._handles = []
        for module in model.modules():
            if type(module) in PART:
                self._handles.append(module.register_forward_pre_hook(self._enter))
                self._handles.append(module.register_forward_hook(self._leave))

    def _enter(self, module, inputs):
        self._inside.append(PART[type(module)])

    def _leave(self, module, inputs, outputs):
        self._inside.pop()

    def _pack(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() in self._seen:
            return tensor
        self._seen.add(storage.data_ptr())
        self._alive.append(tensor.detach())
        if is_weight_copy(tensor):
            self.copies += storage.nbytes()
        else:
            part = self._inside[-1] if self._inside else "head"
            self.parts[part] = self.parts.get(part, 0) + storage.nbytes()
        return tensor

    def __enter__(self):
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, lambda tensor: tensor)
        self._hooks.__enter__()
        return self

    def __exit__(self, *exception):
        self._hooks.__exit__(*exception)
        self._alive.clear()
        for handle in self._handles:
            handle.remove()


def is_weight_copy(tensor: torch.Tensor) -> bool:
    """Whether the tensor is a parameter cast to another type, or a transpose of that."""
    node = tensor.grad_fn
    while node is not None and node.name() in ("TBackward0", "TransposeBackward0", "ToCopyBackward0"):
        node = node.next_functions[0][0]
        if node is not None and node.name() == "torch::autograd::AccumulateGrad":
            return True
    return False


@dataclasses.dataclass
class Measured:
    """A few steps of a run, on its longest batch. Sizes in bytes, times in seconds (medians)."""

    batch: int
    tokens: int
    padded: bool
    trainable: int
    frozen: int
    gradients: int
    optimizer: int
    copies: int
    activations: dict[str, int]
    peak: dict[str, int]
    seconds: dict[str, float]


def measure(
    model: nn.Module, batches: Batches, loss_fn, device: torch.device, precision: Precision, documents: int
) -> Measured:
    """Run `STEPS` more optimiser steps at a learning rate of 0, so that no weight changes, and look at them closely:
    what is saved for the backward pass, and where the time goes, for which the device is waited for after each phase.
    """
    model.train()
    optimizer, scaler = build_optimizer(model, lr=0.0, weight_decay=0.0), precision.scaler(device)
    rows, times = batches.sorted_order()[0][:documents], []
    saved = SavedTensors(model)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    for number in range(STEPS + 1):
        clock = Clock(device)
        batch = batches.collate(rows).to(device)
        clock.stop("data")
        with saved if number == 0 else contextlib.nullcontext(), precision.autocast(device):
            losses, _ = loss_fn(model, batch, None)
            loss = sum(losses[name] / batch.counts[name] for name in losses)
        clock.stop("forward")
        scaler.scale(loss).backward()
        clock.stop("backward")
        if number == 0:
            gradients = size_of(p.grad for p in model.parameters() if p.grad is not None)
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
        clock.stop("optimiser")
        times.append(clock.seconds)
    return Measured(
        batch=batch.ids.shape[0],
        tokens=batch.ids.shape[1],
        padded=batch.mask is not None,
        trainable=size_of(p for p in model.parameters() if p.requires_grad),
        frozen=size_of(p for p in model.parameters() if not p.requires_grad),
        gradients=gradients,
        optimizer=size_of(value for state in optimizer.state.values() for value in state.values()),
        copies=saved.copies,
        activations=saved.parts,
        peak=peak_memory(device),
        seconds={name: statistics.median(t[name] for t in times[1:]) for name in times[0]},
    )


def size_of(tensors) -> int:
    return sum(tensor.nbytes for tensor in tensors)


class Clock:
    """Time since the last `stop`, once the device has done what it was given."""

    def __init__(self, device: torch.device):
        self.device, self.seconds = device, {}
        self.start = self._now()

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def stop(self, name: str) -> None:
        now = self._now()
        self.seconds[name], self.start = now - self.start, now


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error is a device or the process running out of memory; torch has no class for the latter."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def cap_memory(device: torch.device, memory: int) -> None:
    """Make going over `memory` bytes an error on this CUDA device, for tensors and the allocator's own holdings."""
    total = torch.cuda.get_device_properties(device).total_memory
    if memory > total:
        raise InputError(f"--memory: {memory / 2**30:.1f} GiB asked for, {device} has {total / 2**30:.1f} GiB")
    torch.cuda.set_per_process_memory_fraction(memory / total, device)
