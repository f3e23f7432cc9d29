"""The blocks that models are made of: what autograd keeps of them for the backward pass, in bytes, from shapes.

It follows from the derivative of each operation: a product keeps its inputs, GELU its input, tanh and log-softmax their
output, dropout one byte an element, LayerNorm its input and two statistics a row, gather its input and its index.

Dimensions: B micro-batch, T tokens, W words, H hidden, N heads, I intermediate, S LSTM units per direction, F features
of a step, C classes, V vocabulary, M masked tokens.
"""

import math

from textcls.ledger import FLOAT, Block, Step
from textcls.models.bert import BLOCK, BertConfig
from textcls.models.recurrent import WordShape
from textcls.pairs import MASKED

LONG = 8  # bytes
CUDNN_LSTM_VALUES = 6  # kept per step and unit: 4 gates, cell, output. An estimate: cuDNN does not document its size


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
    """Layer `index` (from 0) of an LSTM: padded on the CPU, packed on CUDA. On the CPU autocast is counted as float32,
    since few processors have a 16-bit LSTM. `trained_input`: whether gradients go on below the first layer."""
    S, rows, both = units, step.rows, directions == 2
    F = inputs if index == 0 else directions * S
    saved = {"dropout mask (B, T, F)": rows * F * (index > 0 and dropout > 0)}
    workspace, written = onednn_workspace(step.tokens, step.batch, F, S)
    if step.device == "cpu":
        saved |= {
            "inputs of each direction (T, B, F)": directions * FLOAT * rows * F,
            "outputs of each direction (T, B, S)": directions * FLOAT * rows * S,
            "first and last states (B, S)": 3 * directions * FLOAT * step.batch * S,
            "oneDNN's workspace": directions * workspace,
            "input of the reversal (B, T, F)": FLOAT * rows * F * (both and (index > 0 or trained_input)),
            "index of the reversal (B, T)": LONG * rows * (both and index == 0),
        }
    else:
        saved |= {
            "input (B * T, F)": step.width * rows * F * (index == 0),
            "cuDNN's reserve": directions * CUDNN_LSTM_VALUES * step.width * rows * S,
            "output (B * T, F)": step.width * rows * directions * S * (index + 1 == layers),
        }
    return Block(
        f"LSTM layer {index + 1}",
        "LSTM",
        saved,
        flop=8 * directions * rows * S * (F + S),
        trainable=4 * directions * S * (F + S + 2),
        products=4 * directions * S * (F + S) * (step.device == "cuda"),
        extra=2 * FLOAT * rows * (F + S),
        untouched=directions * (workspace - written) * (step.device == "cpu"),
    )


def blstm(shape: BertConfig, step: Step, number: int, small: bool, normed: bool) -> Block:
    """The BLSTM of a TRANS-BLSTM layer, with its projection and dropout, and where it ends the layer its LayerNorm."""
    H, rows = shape.hidden_size, step.rows
    units = H // 2 if small else H
    block = lstm(step, H, units, 1, 0.0, index=0, trained_input=True)
    block.name = f"layer {number}, BLSTM"
    if not small:
        block.saved["input of the projection (B, T, 2H)"] = step.width * rows * 2 * H
        block.flop += 4 * rows * H * H
        block.trainable += 2 * H * H + H
        block.products += 2 * H * H
    block.saved["dropout mask (B, T, H)"] = rows * H * (shape.hidden_dropout_prob > 0)
    if normed:
        block.saved["LayerNorm (B, T, H)"] = layer_norm(step, rows, H)
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
    gates, kept = pages(B * T * line(4 * S)), pages(steps * 4 * S)
    states = 3 * pages(steps * 2 * line(max(F, S))) + pages(steps * line(S)) + kept
    return gates + states, gates + kept


def bilstm_head(step: Step, features: int, labels: int, dropout: float, pooling: str) -> Block:
    """Pooling, LayerNorm, Linear, GELU, dropout, Linear, cross-entropy."""
    B, half, width = step.batch, features // 2, step.width
    # Autocast lowers the weighted sum of attention alone, and on CUDA lifts LayerNorm's input to float32.
    normed = width if step.device == "cpu" and pooling == "attention" else FLOAT
    saved = pooled(step, features, 2, pooling) | {
        "pooled (B, 2S)": B * features * (normed + width) + 2 * FLOAT * B,
        "hidden (B, S)": B * half * (2 * width + (dropout > 0)),
        "cross-entropy": cross_entropy(B, labels),
    }
    scored = features + 1 if pooling == "attention" else 0
    return Block(
        "pooling and classifier",
        "head",
        saved,
        flop=scoring(step, features, pooling) + 2 * B * half * (features + labels),
        trainable=scored + 2 * features + (features * half + half) + (half * labels + labels),
        products=max(0, scored - 1) + half * (features + labels),
        extra=FLOAT * step.rows * features,
    )


def pooled(step: Step, features: int, directions: int, pooling: str) -> dict[str, int]:
    """What turning the LSTM's steps into one vector keeps."""
    B, rows, width = step.batch, step.rows, step.width
    hidden = FLOAT if step.device == "cpu" else width  # what the LSTM gives
    if pooling == "last":
        return {"places of the last states": LONG * B * (1 + step.padded)}
    if pooling == "mean":
        return {"mask (B, T)": (rows + FLOAT * B) * step.padded}
    if pooling == "max":
        kept = step.padded or directions == 2 or step.device == "cuda"  # else it is the LSTM's own output
        return {"steps (B, T, F)": hidden * rows * features * kept, "mask (B, T)": rows * step.padded}
    return {
        "steps (B, T, F)": (2 * width if step.dtype else FLOAT) * rows * features,
        "attention weights (B, T)": (FLOAT + (width if step.dtype else 0)) * rows,
        "mask (B, T)": rows * step.padded,
    }


def scoring(step: Step, features: int, pooling: str) -> int:
    """FLOP of attention pooling: a score a step, and the weighted sum."""
    return 4 * step.rows * features * (pooling == "attention")


def word_vectors(shape: WordShape, step: Step) -> Block:
    """A trained table; its backward pass makes the whole gradient."""
    return Block(
        "word vectors",
        "embedding",
        {"ids (B, T)": LONG * step.rows},
        trainable=shape.vocab_size * shape.hidden_size,
        extra=2 * FLOAT * step.rows * shape.hidden_size,
    )


def frozen_bert(shape: BertConfig, step: Step, cls_only: bool) -> Block:
    """The layers of a BERT that is not trained: nothing of them is kept, and with cached features they are not run."""
    H, inner, rows = shape.hidden_size, shape.intermediate_size, step.rows
    layer = 4 * (H * H + H) + 2 * H * inner + inner + H + 4 * H
    count = embedding(shape, step, False).frozen + shape.num_hidden_layers * layer
    return Block("frozen BERT", "embedding", {}, frozen=count, extra=FLOAT * (step.batch if cls_only else rows) * H)


def input_dropout(step: Step, features: int, dropout: float) -> Block:
    """Between the source of vectors and the LSTM; nothing is kept where no gradient goes below."""
    return Block("input dropout", "LSTM", {"dropout mask (B, T, H)": step.rows * features * (dropout > 0)})


def pooled_head(step: Step, features: int, directions: int, pooling: str, labels: int, dropout: float) -> Block:
    """Pooling, dropout, classifier, cross-entropy."""
    B = step.batch
    largest = FLOAT * B * features * (pooling == "max" and dropout > 0)  # the maxima, beside what dropout left of them
    saved = pooled(step, features, directions, pooling) | {
        "dropout": B * features * (dropout > 0),
        "pooled (B, F)": step.width * B * features + largest,
        "cross-entropy": cross_entropy(B, labels),
    }
    scored = features + 1 if pooling == "attention" else 0
    return Block(
        "pooling and classifier",
        "head",
        saved,
        flop=scoring(step, features, pooling) + 2 * B * features * labels,
        trainable=scored + features * labels + labels,
        products=max(0, scored - 1) + features * labels,
        extra=FLOAT * step.rows * features,
    )


def tag_head(step: Step, features: int, labels: int, dropout: float, crf: bool) -> Block:
    """The vectors of the words' first tokens, dropout, classifier, cross-entropy or CRF; for as many words as a row
    can have, T - 2, since how many pieces a word has is not in the shapes."""
    words = step.tokens - 2
    count, width = step.batch * words, step.width
    hidden = width if step.device == "cuda" else FLOAT
    saved = {
        "steps (B, T, F)": hidden * step.rows * features,
        "places of the words (B, W)": LONG * count,
        "dropout": count * features * (dropout > 0),
        "words (B, W, F)": width * count * features,
    }
    if crf:
        saved["CRF, sums over pairs of tags (W, B, C, C)"] = crf_bytes(step.batch, words, labels)
    else:
        saved["cross-entropy"] = cross_entropy(count, labels)
    return Block(
        "classifier",
        "head",
        saved,
        flop=2 * count * features * labels,
        trainable=features * labels + labels + (labels * labels + 2 * labels) * crf,
        products=features * labels,
        extra=FLOAT * (step.rows + count) * features,
    )


def pretraining_heads(shape: BertConfig, step: Step, next_sentence: bool) -> Block:
    """The hidden states of masked tokens, transform, tied product over the vocabulary, cross-entropy; pooler and
    next-sentence head. Of the tokens MASKED are taken to be masked."""
    B, H, V, width = step.batch, shape.hidden_size, shape.vocab_size, step.width
    M = round(MASKED * step.rows)
    kept = 1 if shape.hidden_act == "relu" else 2  # see feed_forward; what comes out of it is LayerNorm's
    normed = width if step.device == "cpu" else FLOAT  # on CUDA autocast lifts LayerNorm's input to float32
    saved = {
        "last hidden state": FLOAT * step.rows * H if step.dtype is None else width * B * H,
        "tanh": width * B * H,
        "places of the masked tokens (M,)": LONG * M,
        "masked tokens (M, H)": kept * width * M * H,
        "LayerNorm (M, H)": (normed + width) * M * H + 2 * FLOAT * M,
        "log-probabilities (M, V)": cross_entropy(M, V),
        "pairs (B, 2)": cross_entropy(B, 2) * next_sentence,
    }
    return Block(
        "heads of pre-training",
        "head",
        saved,
        flop=2 * M * H * (H + V) + 2 * B * H * (H + 2 * next_sentence),
        trainable=2 * (H * H + H) + 2 * H + V + (2 * H + 2) * next_sentence,
        products=2 * H * H + H * V + 2 * H * next_sentence,
        # gradients of the log-probabilities and the logits, of the word embeddings, and of the last hidden state
        extra=2 * FLOAT * M * V + FLOAT * V * H + FLOAT * step.rows * H,
    )


def crf_bytes(batch: int, words: int, labels: int) -> int:
    """Of each step of the forward algorithm: the sums over pairs, their log-sum-exp, and which rows go on; and of the
    score of the true tags: all scores, which tags, and which words are real."""
    pairs, states = batch * labels * labels, batch * labels
    step = FLOAT * (pairs + states) + batch
    score = FLOAT * words * states + LONG * batch * (words + 1) + batch * words
    return (words - 1) * step + FLOAT * (states + batch) + score
