"""The blocks that models are made of: what autograd keeps of them for the backward pass, in bytes, from shapes.

It follows from the derivative of each operation: a product keeps its inputs, GELU its input, tanh and log-softmax their
output, dropout one byte an element, LayerNorm its input and two statistics a row, gather its input and its index.

Dimensions: B micro-batch, T tokens, W words, H hidden, N heads, I intermediate, S LSTM units per direction, F features
of a step, C classes, V vocabulary, M masked tokens.
"""

import math

from textcls.ledger.plan import FLOAT, Block, Step
from textcls.models.attention import BLOCK
from textcls.models.bert import BertConfig
from textcls.models.recurrent import WordDims

LONG = 8  # bytes
# What cuDNN keeps per step and unit: 4 gates, cell, output. An estimate, since cuDNN does not document its size;
# benchmarks/gpu.py measures it and prints this line.
CUDNN_LSTM_VALUES = 6


def layer_norm(step: Step, rows: int, features: int) -> int:
    """Its input, and mean and 1 / deviation of each row, in float32 (autocast leaves LayerNorm there)."""
    return FLOAT * rows * (features + 2)


def embedding(dims: BertConfig, step: Step, trained: bool) -> Block:
    H = dims.hidden_size
    count = (dims.vocab_size + dims.max_position_embeddings + dims.type_vocab_size + 2) * H
    if not trained:
        return Block("embeddings", "embedding", {}, frozen=count)
    saved = {
        "ids (B, T)": LONG * step.slots,
        "LayerNorm": layer_norm(step, step.slots, H),
        "dropout mask": step.slots * H * (dims.hidden_dropout_prob > 0),
    }
    return Block("embeddings", "embedding", saved, trainable=count, extra=2 * FLOAT * step.slots * H)


def attention(dims: BertConfig, step: Step, number: int) -> Block:
    """Self-attention with its output projection. No kernel keeps the (B, N, T, T) probabilities: ours for dropout on
    the CPU keeps a byte for each of them, the fused ones a number a row."""
    H, N, slots, width = dims.hidden_size, dims.num_attention_heads, step.slots, step.width
    scores = step.batch * N * step.tokens**2
    saved = {
        "input of query, key, value (B, T, H)": width * slots * H,
        "query, key, value (B, N, T, D)": 3 * width * slots * H,
    }
    if on_cpu := step.device == "cpu" and dims.attention_probs_dropout_prob > 0:
        saved["dropout mask (B, N, T, T)"] = scores
    else:
        saved["log-sum-exp (B, N, T)"] = FLOAT * step.batch * N * step.tokens
    saved["context (B, T, H)"] = width * slots * H
    saved |= residual(dims, step)
    return Block(
        f"layer {number}, attention",
        "attention",
        saved,
        flop=8 * slots * H * H + 4 * slots * step.tokens * H,
        trainable=4 * (H * H + H) + 2 * H,
        products=4 * H * H,
        # gradients of query, key, value, context and the block; scores of a few documents
        extra=(5 * width + FLOAT) * slots * H + 3 * width * min(scores, max(BLOCK, scores // step.batch)) * on_cpu,
    )


def residual(dims: BertConfig, step: Step) -> dict[str, int]:
    """Dropout, sum and LayerNorm at the end of both halves of a layer."""
    H = dims.hidden_size
    return {
        "dropout mask (B, T, H)": step.slots * H * (dims.hidden_dropout_prob > 0),
        "LayerNorm (B, T, H)": layer_norm(step, step.slots, H),
    }


def feed_forward(dims: BertConfig, step: Step, number: int) -> Block:
    H, inner, slots, width = dims.hidden_size, dims.intermediate_size, step.slots, step.width
    copies = 1 if dims.hidden_act == "relu" else 2  # ReLU's derivative is read off its output, which the product keeps
    saved = {
        "input (B, T, H)": width * slots * H,
        "before and after the activation (B, T, I)": copies * width * slots * inner,
    } | residual(dims, step)
    return Block(
        f"layer {number}, feed-forward",
        "feed-forward",
        saved,
        flop=4 * slots * H * inner,
        trainable=2 * H * inner + inner + 3 * H,
        products=2 * H * inner,
        extra=width * slots * inner + (width + FLOAT) * slots * H,
    )


def lstm(
    step: Step,
    inputs: int,
    units: int,
    layers: int,
    dropout: float,
    index: int,
    directions: int = 2,
    trained_input: bool = False,
) -> Block:
    """Layer `index` (from 0) of an LSTM: padded on the CPU, packed on CUDA. `trained_input`: whether gradients go on below
    the first layer."""
    S, slots, both, width = units, step.slots, directions == 2, step.lstm_width
    F = inputs if index == 0 else directions * S
    saved = {"dropout mask (B, T, F)": slots * F * (index > 0 and dropout > 0)}
    workspace, written = onednn_workspace(step.tokens, step.batch, F, S)
    if step.device == "cpu":
        saved |= {
            "inputs of each direction (T, B, F)": directions * FLOAT * slots * F,
            "outputs of each direction (T, B, S)": directions * FLOAT * slots * S,
            "first and last states (B, S)": 3 * directions * FLOAT * step.batch * S,
            "oneDNN's workspace": directions * workspace,
            "input of the reversal (B, T, F)": FLOAT * slots * F * (both and (index > 0 or trained_input)),
            "index of the reversal (B, T)": LONG * slots * (both and index == 0),
        }
    else:
        saved |= {
            "input (B * T, F)": width * slots * F * (index == 0),
            "cuDNN's reserve": directions * CUDNN_LSTM_VALUES * width * slots * S,
            "output (B * T, F)": width * slots * directions * S * (index + 1 == layers),
        }
    return Block(
        f"LSTM layer {index + 1}",
        "LSTM",
        saved,
        flop=8 * directions * slots * S * (F + S),
        trainable=4 * directions * S * (F + S + 2),
        products=4 * directions * S * (F + S) * (width < FLOAT),
        extra=2 * FLOAT * slots * (F + S),
        untouched=directions * (workspace - written) * (step.device == "cpu"),
    )


def blstm(
    dims: BertConfig, step: Step, number: int, small: bool, normed: bool, trained_input: bool = True
) -> Block:
    """The BLSTM of a TRANS-BLSTM layer, with its projection and dropout, and where it ends the layer its LayerNorm."""
    H, slots = dims.hidden_size, step.slots
    units = H // 2 if small else H
    block = lstm(step, H, units, 1, 0.0, index=0, trained_input=trained_input)
    block.name = f"layer {number}, BLSTM"
    if not small:
        block.saved["input of the projection (B, T, 2H)"] = step.width * slots * 2 * H
        block.flop += 4 * slots * H * H
        block.trainable += 2 * H * H + H
        block.products += 2 * H * H
    block.saved["dropout mask (B, T, H)"] = slots * H * (dims.hidden_dropout_prob > 0)
    if normed:
        block.saved["LayerNorm (B, T, H)"] = layer_norm(step, slots, H)
        block.trainable += 2 * H
    return block


def onednn_workspace(T: int, B: int, F: int, S: int) -> tuple[int, int]:
    """(bytes, bytes of them that are written) of what oneDNN's float32 LSTM keeps between the forward and the backward
    pass of one direction of one layer: gates, and states with their gradients, in rows of whole cache lines and parts
    of whole pages. Read off the sizes that the library (version 3) asks for, and off the resident set."""

    def line(size: int) -> int:
        size = 16 * math.ceil(size / 16)
        return size + 16 if size % 256 == 0 else size

    def pages(values: int) -> int:
        return 4096 * math.ceil(FLOAT * values / 4096)

    steps = B * (T + 1)
    gates, cells = pages(B * T * line(4 * S)), pages(steps * 4 * S)
    states = 3 * pages(steps * 2 * line(max(F, S))) + pages(steps * line(S)) + cells
    return gates + states, gates + cells


def word_vectors(dims: WordDims, step: Step) -> Block:
    """A trained table; its backward pass makes the whole gradient."""
    return Block(
        "word vectors",
        "embedding",
        {"ids (B, T)": LONG * step.slots},
        trainable=dims.vocab_size * dims.hidden_size,
        extra=2 * FLOAT * step.slots * dims.hidden_size,
    )


def frozen_bert(dims: BertConfig, step: Step, cls_only: bool) -> Block:
    """The layers of a BERT that is not trained: nothing of them is kept, and with cached features they are not run."""
    H, slots = dims.hidden_size, step.slots
    count = dims.size - (H * H + H)  # all but the pooler
    return Block("frozen BERT", "embedding", {}, frozen=count, extra=FLOAT * (step.batch if cls_only else slots) * H)


def input_dropout(step: Step, features: int, dropout: float) -> Block:
    """Between the source of vectors and the LSTM; nothing is kept where no gradient goes below."""
    return Block("input dropout", "LSTM", {"dropout mask (B, T, H)": step.slots * features * (dropout > 0)})
