"""Where the memory of a training step goes, in bytes, and its arithmetic, in FLOP: predicted from shapes alone.

A model is a list of blocks in forward order. Each knows its parameters, its arithmetic, and what autograd keeps of it
for the backward pass. That follows from the derivative of each operation: a product keeps its inputs, GELU its input,
tanh and log-softmax their output, dropout one byte an element, LayerNorm its input and two statistics a row.
textcls/meter.py counts the same on a real step, and the tests hold the two together.

Dimensions: B micro-batch, T tokens, H hidden, N heads, I intermediate, S LSTM units per direction, C classes.
"""

import dataclasses
import math
from collections.abc import Callable

import torch

from textcls.models.bert import BLOCK, BertConfig

FLOAT, LONG = 4, 8  # bytes
PARTS = ("embedding", "attention", "feed-forward", "LSTM", "head")
CUDNN_LSTM_VALUES = 6  # kept per step and unit: 4 gates, cell, output. An estimate: cuDNN does not document its size
# The resident set of a process on the CPU over the tensors' own bytes, as measured with glibc 2.36: holes in its heap
# (a factor of 1.1 to 1.5 in steps of one length, 2 to 3 where lengths vary for long), and the pages of the math
# libraries that the first step loads.
HEAP, LIBRARIES = 1.2, 90 * 2**20


@dataclasses.dataclass(frozen=True)
class Step:
    """One optimiser step: `accumulate` micro-batches of `batch` rows of `tokens` tokens, the last of them padding for
    some rows where `padded`. `dtype` is autocast's, None for float32 throughout."""

    batch: int
    tokens: int
    device: str = "cpu"
    dtype: torch.dtype | None = None
    padded: bool = True
    accumulate: int = 1
    checkpoint: bool = False

    @property
    def rows(self) -> int:
        return self.batch * self.tokens

    @property
    def width(self) -> int:
        """Bytes of an element that comes out of a matrix product."""
        return 2 if self.dtype else FLOAT


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


# ---- blocks ---------------------------------------------------------------------------------------------------------


def layer_norm(step: Step, rows: int, features: int) -> int:
    """Its input, and mean and 1 / deviation of each row, in float32 (autocast leaves LayerNorm there)."""
    return FLOAT * rows * (features + 2)


def embedding(shape: BertConfig, step: Step, trained: bool) -> Block:
    H = shape.hidden_size
    count = (shape.vocab_size + shape.max_position_embeddings + shape.type_vocab_size + 2) * H
    if not trained:
        return Block("embeddings", "embedding", {}, frozen=count)
    saved = {
        "ids (B, T)": LONG * step.rows,
        "LayerNorm": layer_norm(step, step.rows, H),
        "dropout mask": step.rows * H * (shape.hidden_dropout_prob > 0),
    }
    return Block("embeddings", "embedding", saved, trainable=count, extra=2 * FLOAT * step.rows * H)


def attention(shape: BertConfig, step: Step, number: int) -> Block:
    """Self-attention with its output projection. No kernel keeps the (B, N, T, T) probabilities: ours for dropout on
    the CPU keeps a byte for each of them, the fused ones a number a row."""
    H, N, rows, width = shape.hidden_size, shape.num_attention_heads, step.rows, step.width
    scores = step.batch * N * step.tokens**2
    saved = {
        "input of query, key, value (B, T, H)": width * rows * H,
        "query, key, value (B, N, T, D)": 3 * width * rows * H,
    }
    if on_cpu := step.device == "cpu" and shape.attention_probs_dropout_prob > 0:
        saved["dropout mask (B, N, T, T)"] = scores
    else:
        saved["log-sum-exp (B, N, T)"] = FLOAT * step.batch * N * step.tokens
    saved["context (B, T, H)"] = width * rows * H
    saved |= residual(shape, step)
    return Block(
        f"layer {number}, attention",
        "attention",
        saved,
        flop=8 * rows * H * H + 4 * rows * step.tokens * H,
        trainable=4 * (H * H + H) + 2 * H,
        products=4 * H * H,
        # gradients of query, key, value, context and the block; scores of a few documents
        extra=(5 * width + FLOAT) * rows * H + 3 * width * min(scores, max(BLOCK, scores // step.batch)) * on_cpu,
    )


def residual(shape: BertConfig, step: Step) -> dict[str, int]:
    """Dropout, sum and LayerNorm at the end of both halves of a layer."""
    H = shape.hidden_size
    return {
        "dropout mask (B, T, H)": step.rows * H * (shape.hidden_dropout_prob > 0),
        "LayerNorm (B, T, H)": layer_norm(step, step.rows, H),
    }


def feed_forward(shape: BertConfig, step: Step, number: int) -> Block:
    H, inner, rows, width = shape.hidden_size, shape.intermediate_size, step.rows, step.width
    kept = 1 if shape.hidden_act == "relu" else 2  # ReLU's derivative is read off its output, which the product keeps
    saved = {
        "input (B, T, H)": width * rows * H,
        "before and after the activation (B, T, I)": kept * width * rows * inner,
    } | residual(shape, step)
    return Block(
        f"layer {number}, feed-forward",
        "feed-forward",
        saved,
        flop=4 * rows * H * inner,
        trainable=2 * H * inner + inner + 3 * H,
        products=2 * H * inner,
        extra=width * rows * inner + (width + FLOAT) * rows * H,
    )


def bert_head(shape: BertConfig, step: Step, labels: int, dropout: float) -> Block:
    """Pooler, dropout, classifier, cross-entropy. In float32 the product of the pooler keeps [CLS] as a view, and with
    it the whole last hidden state."""
    B, H, width = step.batch, shape.hidden_size, step.width
    saved = {
        "last hidden state": FLOAT * step.rows * H if step.dtype is None else width * B * H,
        "tanh": width * B * H,
        "dropout": (width + 1) * B * H * (dropout > 0),
        "cross-entropy": cross_entropy(B, labels),
    }
    return Block(
        "classifier",
        "head",
        saved,
        flop=2 * B * H * (H + labels),
        trainable=H * H + H + H * labels + labels,
        products=H * (H + labels),
        extra=FLOAT * step.rows * H,
    )


def cross_entropy(batch: int, labels: int) -> int:
    """Log-probabilities and labels."""
    return batch * (FLOAT * labels + LONG) + FLOAT


def bilstm(step: Step, inputs: int, units: int, layers: int, dropout: float, index: int) -> Block:
    """Layer `index` (from 0) of a bidirectional LSTM: padded on the CPU, packed on CUDA. On the CPU autocast is counted
    as float32, since few processors have a 16-bit LSTM."""
    S, rows = units, step.rows
    F = inputs if index == 0 else 2 * S
    saved = {"dropout mask (B, T, F)": rows * F * (index > 0 and dropout > 0)}
    workspace, written = onednn_workspace(step.tokens, step.batch, F, S)
    if step.device == "cpu":
        saved |= {
            "inputs of both directions (T, B, F)": 2 * FLOAT * rows * F,
            "outputs of both directions (T, B, S)": 2 * FLOAT * rows * S,
            "first and last states (B, S)": 6 * FLOAT * step.batch * S,
            "oneDNN's workspace": 2 * workspace,
            "input of the reversal (B, T, F)": FLOAT * rows * F * (index > 0),
            "index of the reversal (B, T)": LONG * rows * (index == 0),
        }
    else:
        saved |= {
            "input (B * T, F)": step.width * rows * F * (index == 0),
            "cuDNN's reserve": 2 * CUDNN_LSTM_VALUES * step.width * rows * S,
            "output (B * T, 2S)": step.width * rows * 2 * S * (index + 1 == layers),
        }
    return Block(
        f"LSTM layer {index + 1}",
        "LSTM",
        saved,
        flop=16 * rows * S * (F + S),
        trainable=8 * S * (F + S + 2),
        products=8 * S * (F + S) * (step.device == "cuda"),
        extra=2 * FLOAT * rows * (F + S),
        untouched=2 * (workspace - written) * (step.device == "cpu"),
    )


def onednn_workspace(T: int, B: int, F: int, S: int) -> tuple[int, int]:
    """(bytes, bytes of them that are written) of what oneDNN's float32 LSTM keeps between the forward and the backward
    pass of one direction of one layer: gates, and states with their gradients, in rows of whole cache lines. Read off
    the sizes that the library (version 3) asks for, and off the resident set."""

    def line(size: int) -> int:
        size = 16 * math.ceil(size / 16)
        return size + 16 if size % 256 == 0 else size

    gates = FLOAT * B * T * line(4 * S)
    states = FLOAT * B * (T + 1) * (6 * line(max(F, S)) + line(S) + 4 * S)
    return gates + states, gates + FLOAT * B * (T + 1) * 4 * S


def bilstm_head(step: Step, features: int, labels: int, dropout: float) -> Block:
    """Attention pooling, LayerNorm, Linear, GELU, dropout, Linear, cross-entropy."""
    B, half, width = step.batch, features // 2, step.width
    pooled = FLOAT if step.device == "cuda" else width  # autocast on CUDA lifts LayerNorm's input to float32
    saved = {
        "LSTM output (B, T, 2S)": (2 * width if step.dtype else FLOAT) * step.rows * features,
        "attention weights (B, T)": (FLOAT + (width if step.dtype else 0)) * step.rows,
        "mask (B, T)": step.rows * step.padded,
        "pooled (B, 2S)": B * features * (pooled + width) + 2 * FLOAT * B,
        "hidden (B, S)": B * half * (2 * width + (dropout > 0)),
        "cross-entropy": cross_entropy(B, labels),
    }
    return Block(
        "pooling and classifier",
        "head",
        saved,
        flop=4 * step.rows * features + 2 * B * half * (features + labels),
        trainable=(features + 1) + 2 * features + (features * half + half) + (half * labels + labels),
        products=features + half * (features + labels),
        extra=FLOAT * step.rows * features,
    )


# ---- models ---------------------------------------------------------------------------------------------------------


def bert_classifier(shape: BertConfig, labels: int, dropout: float, step: Step) -> list[Block]:
    layers = []
    for number in range(1, shape.num_hidden_layers + 1):
        halves = [attention(shape, step, number), feed_forward(shape, step, number)]
        layers += checkpointed(halves, FLOAT * step.rows * shape.hidden_size) if step.checkpoint else halves
    return [embedding(shape, step, True), *layers, bert_head(shape, step, labels, dropout)]


def checkpointed(blocks: list[Block], inputs: int) -> list[Block]:
    """Only the first block's input (bytes) is kept; the backward pass of the last one begins by making the rest."""
    kept, result = 0, []
    for block in blocks:
        kept += block.bytes
        result.append(dataclasses.replace(block, saved={}, extra=kept + block.extra, recomputed=True))
    result[0].saved = {"input of the checkpoint": inputs}
    return result


def bilstm_classifier(
    shape: BertConfig, labels: int, hidden: int, layers: int, dropout: float, step: Step
) -> list[Block]:
    stack = [bilstm(step, shape.hidden_size, hidden, layers, dropout, index) for index in range(layers)]
    return [embedding(shape, step, False), *stack, bilstm_head(step, 2 * hidden, labels, dropout)]


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
        base = self.trainable + self.frozen + self.optimizer
        whole = self.gradients if self.step.accumulate > 1 else 0  # gradients of the micro-batch before
        size = [block.bytes - block.untouched * resident for block in self.blocks]
        moments = [("end of the forward pass", base + whole + sum(size) + self.copies)]
        for k in reversed(range(len(self.blocks))):
            block, before = self.blocks[k], self.blocks[: k + 1]
            gradients = whole or FLOAT * sum(later.trainable for later in self.blocks[k + 1 :])
            kept = sum(size[: k + 1]) + self.copies_of([b for b in before if b is block or not b.recomputed])
            work = block.extra + FLOAT * block.trainable  # new gradients, before they are added to old ones
            moments.append((f"backward of {block.name}", base + gradients + kept + work))
        return [*moments, ("optimiser", base + self.gradients)]

    def peak(self, resident: bool = False) -> tuple[int, str]:
        """(bytes, moment of the step)."""
        moment, size = max(self.moments(resident), key=lambda pair: pair[1])
        return size, moment

    def footprint(self) -> int:
        """What has to fit: on CUDA the tensors at the peak (the context and the allocator's slack come on top), on the
        CPU an estimate, from below, of what the resident set grows by."""
        if self.step.device == "cuda":
            return self.peak()[0]
        return int(HEAP * self.peak(resident=True)[0]) + LIBRARIES

    def flop(self) -> int:
        """FLOP of an optimiser step: the backward pass of a product is two products; recomputing adds one."""
        passes = 4 if self.step.checkpoint else 3
        return passes * self.step.accumulate * sum(block.flop for block in self.blocks)

    def flop_per_document(self) -> float:
        return self.flop() / (self.step.batch * self.step.accumulate)


Model = Callable[[Step], list[Block]]


def plan(model: Model, step: Step) -> Plan:
    return Plan(model(step), step)


def largest_micro_batch(model: Model, step: Step, memory: float) -> int:
    """The largest B whose footprint is within `memory` bytes, 0 where not even one row's is."""

    def fits(batch: int) -> bool:
        return plan(model, dataclasses.replace(step, batch=batch)).footprint() <= memory

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
