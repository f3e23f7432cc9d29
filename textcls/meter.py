"""Memory and time of a training step, as measured on the step itself; textcls/ledger.py predicts the same from shapes."""

import contextlib
import dataclasses
import sys
import time

import torch
from torch import nn

from textcls.batch import Batch
from textcls.device import Precision
from textcls.models.bert import Attention, Embeddings, Layer
from textcls.models.lstm import BiLSTM

try:
    import resource
except ImportError:  # Windows
    resource = None

PART = {Embeddings: "embedding", Attention: "attention", Layer: "feed-forward", BiLSTM: "LSTM"}  # the innermost counts


def peak_memory(device: torch.device) -> dict[str, int]:
    """Bytes at the peak so far: `rss`, the resident set of the process, where the system counts it; on CUDA also what
    tensors held (`cuda_allocated`) and what the allocator kept (`cuda_reserved`)."""
    memory = {}
    if resource is not None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        memory["rss"] = peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, Linux KiB
    if device.type == "cuda":
        memory["cuda_allocated"] = torch.cuda.max_memory_allocated(device)
        memory["cuda_reserved"] = torch.cuda.max_memory_reserved(device)
    return memory


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
            if getattr(module, "checkpoint_activations", False):
                # What a checkpoint keeps is its input, and that does not pass through the hooks.
                self._handles += [part.register_forward_pre_hook(self._checkpoint) for part in module.layer]

    def _enter(self, module, inputs):
        self._inside.append(PART[type(module)])

    def _leave(self, module, inputs, outputs):
        self._inside.pop()

    def _checkpoint(self, module, inputs):
        self._inside.append("attention")
        self._pack(inputs[0])
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
