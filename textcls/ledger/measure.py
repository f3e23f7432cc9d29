"""Memory and time of a training step, measured on the loop's own step. plan.py predicts the same from shapes."""

import dataclasses
import statistics
import time

import torch
from torch import nn

from textcls.models.bert import Attention, Embeddings, Encoder, Layer
from textcls.models.elmo import BiLM, CharacterEncoder, ElmoVectors
from textcls.models.lstm import LSTM
from textcls.models.projected_lstm import ProjectedLSTM
from textcls.models.recurrent import BertVectors, Recurrent, WordVectors
from textcls.models.trans_blstm import BLSTM, AddAndNorm, BesideTheLayer
from textcls.runtime import parallel
from textcls.runtime.device import Precision
from textcls.runtime.memory import peak_memory, size_of
from textcls.text.batches import Batches
from textcls.training.loop import Setup, update
from textcls.training.optim import build_optimizer

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
    CharacterEncoder: "embedding",
    ProjectedLSTM: "LSTM",
    BiLM: "LSTM",
    ElmoVectors: "LSTM",
    nn.Embedding: "embedding",
}


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
    spelled: tuple[int, int] | None
    trainable: int
    frozen: int
    gradients: int
    optimizer: int
    copies: int
    activations: dict[str, int]
    peak: dict[str, int]
    seconds: dict[str, float]

    @property
    def shape(self) -> dict:
        """Of the batch, as a Step has it."""
        return {name: getattr(self, name) for name in ("batch", "tokens", "padded", "spelled")}


def measure(
    model: nn.Module, batches: Batches, loss_fn, device: torch.device, precision: Precision, documents: int
) -> Measured:
    """Run `STEPS` more optimiser steps at a learning rate of 0, so that no weight changes, and look at them closely:
    what is saved for the backward pass, and where the time goes, for which the device is waited for after each phase.
    """
    model.train()
    optimizer = build_optimizer(model, lr=0.0, weight_decay=0.0)
    objective, saved = parallel.objective(model, loss_fn), SavedTensors(model)
    setup = Setup(model, objective, optimizer, precision.scaler(device), 1.0, device, precision)
    longest = batches.sorted_order()[0][:documents]
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with DistinctWords(model) as words:
        gradients = watched_step(setup, batches, longest, saved)
    times = [timed_step(setup, batches, longest) for _ in range(STEPS)]
    batch = batches.collate(longest)
    return Measured(
        batch=batch.inputs["ids"].shape[0],
        tokens=batch.inputs["ids"].shape[1],
        padded=batch.inputs.get("mask") is not None,
        spelled=words.shape,
        trainable=size_of(p for p in model.parameters() if p.requires_grad),
        frozen=size_of(p for p in model.parameters() if not p.requires_grad),
        gradients=gradients,
        optimizer=size_of(value for state in optimizer.state.values() for value in state.values()),
        copies=saved.copies,
        activations=saved.parts,
        peak=peak_memory(device),
        seconds={name: statistics.median(t[name] for t in times) for name in times[0]},
    )


class DistinctWords:
    """Inside `with DistinctWords(model) as words:` the distinct words that an encoder of characters inside the model is
    given are counted: `words.shape` is (words, places of theirs that are read) of the last forward pass, None where
    there is no such encoder, or it did not run."""

    def __init__(self, model: nn.Module):
        self.shape: tuple[int, int] | None = None
        self._encoders = [module for module in model.modules() if isinstance(module, CharacterEncoder)]

    def _look(self, module, inputs) -> None:
        self.shape = tuple(inputs[0].shape)

    def __enter__(self):
        self._handles = [encoder.embedding.register_forward_pre_hook(self._look) for encoder in self._encoders]
        return self

    def __exit__(self, *exception):
        for handle in self._handles:
            handle.remove()


def watched_step(setup: Setup, batches: Batches, documents, saved: SavedTensors) -> int:
    """A step during whose forward pass `saved` counts; the bytes of its gradients."""
    gradients = []

    def objective(batch, carry):
        with saved:
            return setup.objective(batch, carry)

    def watch(phase: str) -> None:
        if phase == "backward":
            gradients.append(size_of(p.grad for p in setup.model.parameters() if p.grad is not None))

    micro_batches = [batches.collate(documents)]
    update(
        dataclasses.replace(setup, objective=objective), micro_batches, parallel.agree(micro_batches)[0], watch=watch
    )
    return gradients[0]


def timed_step(setup: Setup, batches: Batches, documents) -> dict[str, float]:
    """Seconds of each phase of a step."""
    clock = Clock(setup.device)
    micro_batches = [batches.collate(documents)]
    update(setup, micro_batches, parallel.agree(micro_batches)[0], watch=clock.stop)
    return clock.seconds


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
