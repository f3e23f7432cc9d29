"""Where the memory of a training step goes, in bytes, and its arithmetic, in FLOP: predicted from shapes alone.

A model is a list of blocks in forward order (blocks.py). Each knows its parameters, its arithmetic, and what autograd
keeps of it for the backward pass. measure.py counts the same on a real step, and the tests hold the two together.
"""

import dataclasses
import math
from collections.abc import Callable

import torch

FLOAT = 4  # bytes
PARTS = ("embedding", "attention", "feed-forward", "LSTM", "head")
# What a process on the CPU grows by in training, over the bytes of the tensors that it writes: a factor for holes in the
# C library's heap, and a constant for compiled kernels (runtime/device.py bounds them) and the pages of the libraries.
# docs/memory.md shows the runs that both were chosen by.
HEAP, KERNELS = 1.25, 224 * 2**20
BEFORE = 350 * 2**20  # of the process before training: Python, torch, a small backbone, the texts


@dataclasses.dataclass(frozen=True)
class Step:
    """One optimiser step: `accumulate` micro-batches of `batch` sequences of `tokens` tokens, the last of them padding
    for some where `padded`. A document is `windows` sequences. `dtype` is autocast's, None for float32 throughout. Each
    of `processes` makes one micro-batch at a time. `spelled`, of a model that reads characters: how many distinct words
    there are, and how many characters decide about them; None for as many as there can be."""

    batch: int
    tokens: int
    device: str = "cpu"
    dtype: torch.dtype | None = None
    padded: bool = True
    accumulate: int = 1
    checkpoint: bool = False
    processes: int = 1
    windows: int = 1
    spelled: tuple[int, int] | None = None

    @property
    def slots(self) -> int:
        """Tokens of a micro-batch, padding included."""
        return self.batch * self.tokens

    @property
    def documents(self) -> int:
        """Of an optimiser step."""
        return self.accumulate * self.batch // self.windows

    @property
    def width(self) -> int:
        """Bytes of an element that comes out of a matrix product."""
        return 2 if self.dtype else FLOAT

    @property
    def lstm_width(self) -> int:
        """Bytes of an element that comes out of an LSTM: 16 bits are cuDNN's in fp16 alone (models/lstm.py); few
        processors have them."""
        return 2 if self.device == "cuda" and self.dtype is torch.float16 else FLOAT


@dataclasses.dataclass
class Block:
    """A piece of the forward pass.

    `saved` {what: bytes} is kept for the backward pass, of which `untouched` bytes are asked for and never written;
    `extra` is what its backward pass needs on top at its worst moment; `flop` is of its forward pass for the whole
    micro-batch; `products` are the weights of matrix products, of which autocast keeps 16-bit copies.
    """

    name: str
    part: str
    saved: dict[str, int]
    flop: int = 0
    trainable: int = 0
    frozen: int = 0
    products: int = 0
    extra: int = 0
    recomputed: bool = False
    untouched: int = 0

    @property
    def bytes(self) -> int:
        return sum(self.saved.values())


# ---- the plan -------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Plan:
    """What a step costs. All sizes in bytes; parameters, gradients and AdamW's two moments are float32."""

    blocks: list[Block]
    step: Step

    @property
    def trainable(self) -> int:
        return FLOAT * sum(block.trainable for block in self.blocks)

    @property
    def frozen(self) -> int:
        return FLOAT * sum(block.frozen for block in self.blocks)

    @property
    def gradients(self) -> int:
        return self.trainable

    @property
    def optimizer(self) -> int:
        return 2 * self.trainable

    @property
    def copies(self) -> int:
        return self.copies_of(self.blocks)

    def copies_of(self, blocks: list[Block]) -> int:
        """Autocast's 16-bit copies of these blocks' weights, which the backward pass reads again."""
        return 2 * sum(block.products for block in blocks) if self.step.dtype else 0

    def activations(self) -> dict[str, int]:
        """Saved for the backward pass of one micro-batch, by part of the model."""
        sums = {part: sum(block.bytes for block in self.blocks if block.part == part) for part in PARTS}
        return {part: size for part, size in sums.items() if size}

    @property
    def temporary(self) -> int:
        """The largest of what a block's backward pass needs on top."""
        return max(block.extra for block in self.blocks)

    def moments(self, resident: bool = False) -> list[tuple[str, int]]:
        """(moment, bytes then) through a step after the first, in order: the backward pass frees what each block
        saved while the gradients of its weights grow. `resident` leaves out what is asked for but never written."""
        constant = self.trainable + self.frozen + self.optimizer
        # Gradients of the micro-batch before, or the buckets in which they travel to other processes.
        whole = self.gradients if self.step.accumulate > 1 or self.step.processes > 1 else 0
        size = [block.bytes - block.untouched * resident for block in self.blocks]
        moments = [("end of the forward pass", constant + whole + sum(size) + self.copies)]
        for k in reversed(range(len(self.blocks))):
            block, before = self.blocks[k], self.blocks[: k + 1]
            gradients = whole or FLOAT * sum(later.trainable for later in self.blocks[k + 1 :])
            saved = sum(size[: k + 1]) + self.copies_of([b for b in before if b is block or not b.recomputed])
            work = block.extra + FLOAT * block.trainable  # new gradients, before they are added to old ones
            moments.append((f"backward of {block.name}", constant + gradients + saved + work))
        return [*moments, ("optimiser", constant + self.gradients)]

    def peak(self, resident: bool = False) -> tuple[int, str]:
        """(bytes, moment of the step)."""
        moment, size = max(self.moments(resident), key=lambda pair: pair[1])
        return size, moment

    def footprint(self) -> int:
        """What has to fit: on CUDA the tensors at the peak (the context and the allocator's slack come on top), on the
        CPU what the process grows by in training, estimated from above."""
        if self.step.device == "cuda":
            return self.peak()[0]
        return int(HEAP * self.peak(resident=True)[0]) + KERNELS

    def flop(self) -> int:
        """FLOP of an optimiser step: the backward pass of a product is two products; recomputing adds one."""
        passes = 4 if self.step.checkpoint else 3
        return passes * self.step.accumulate * sum(block.flop for block in self.blocks)

    def flop_per_document(self) -> float:
        return self.flop() / self.step.documents


Model = Callable[[Step], list[Block]]


def plan(model: Model, step: Step) -> Plan:
    return Plan(model(step), step)


def room(device: str, memory: float) -> float:
    """Bytes of `memory` that training may take: on the CPU the process has had BEFORE of them already."""
    return memory - BEFORE if device == "cpu" else memory


def largest_micro_batch(model: Model, step: Step, memory: float) -> int:
    """The most documents of a micro-batch whose footprint leaves the process within `memory` bytes, 0 where not even one's
    does."""

    def fits(documents: int) -> bool:
        return plan(model, dataclasses.replace(step, batch=documents * step.windows)).footprint() <= room(
            step.device, memory
        )

    if not fits(1):
        return 0
    low, high = 1, 2
    while fits(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def accumulation(documents: int, micro_batch: int) -> tuple[int, int]:
    """(micro-batch, accumulate) that keep `documents` a step with micro-batches of at most `micro_batch`, as few and
    as even as can be."""
    for count in range(math.ceil(documents / micro_batch), documents + 1):
        if documents % count == 0:
            return documents // count, count
    raise AssertionError((documents, micro_batch))
