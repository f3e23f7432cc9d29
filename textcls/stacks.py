"""Each model as a list of blocks in forward order, for the ledger. Dimensions: B micro-batch, T tokens, H hidden."""

import dataclasses
import functools
from collections.abc import Callable

from textcls.blocks import (
    LONG,
    attention,
    bert_head,
    bilstm_head,
    blstm,
    cross_entropy,
    embedding,
    feed_forward,
    frozen_bert,
    input_dropout,
    lstm,
    pooled_head,
    pretraining_heads,
    tag_head,
    word_vectors,
)
from textcls.config import TrainConfig
from textcls.ledger import FLOAT, Block, Step
from textcls.models.bert import BertConfig
from textcls.models.recurrent import WordShape


def bert_layer(shape: BertConfig, step: Step, number: int) -> list[Block]:
    return [attention(shape, step, number), feed_forward(shape, step, number)]


def trans_blstm_layer(variant: str, small: bool, shape: BertConfig, step: Step, number: int) -> list[Block]:
    if variant == "trans-blstm-1":
        return [attention(shape, step, number), blstm(shape, step, number, small, normed=True)]
    if variant == "trans-blstm-2":
        beside, halves = blstm(shape, step, number, small, normed=False), bert_layer(shape, step, number)
        if step.dtype is None:  # the BLSTM keeps the same tensor; autocast makes one of its own
            del halves[0].saved["input of query, key, value (B, T, H)"]
        return [beside, *halves]
    return [blstm(shape, step, number, small, normed=True)]


def bert_layers(shape: BertConfig, step: Step, layer: Callable = bert_layer) -> list[Block]:
    layers = []
    for number in range(1, shape.num_hidden_layers + 1):
        parts = layer(shape, step, number)
        layers += checkpointed(parts, FLOAT * step.rows * shape.hidden_size) if step.checkpoint else parts
    if step.checkpoint and step.padded:  # an input of every checkpoint, kept once
        layers[0].saved["mask (B, T)"] = LONG * step.rows
    return [embedding(shape, step, True), *layers]


def bert_classifier(c: TrainConfig, shape: BertConfig, labels: int, step: Step) -> list[Block]:
    return [*bert_layers(shape, step), bert_head(shape, step, labels, c.dropout)]


def bert_tagger(c: TrainConfig, shape: BertConfig, labels: int, step: Step) -> list[Block]:
    return [*bert_layers(shape, step), tag_head(step, shape.hidden_size, labels, c.dropout, c.crf)]


def bert_for_pretraining(
    c: TrainConfig, shape: BertConfig, labels: int, step: Step, layer: Callable = bert_layer
) -> list[Block]:
    layers = bert_layers(shape.with_dropout(c.dropout), step, layer)
    return [*layers, pretraining_heads(shape, step, c.next_sentence)]


def checkpointed(blocks: list[Block], inputs: int) -> list[Block]:
    """Only the first block's input (bytes) is kept; the backward pass of the last one begins by making the rest."""
    kept, result = 0, []
    for block in blocks:
        kept += block.bytes
        result.append(dataclasses.replace(block, saved={}, extra=kept + block.extra, recomputed=True))
    result[0].saved = {"input of the checkpoint": inputs}
    return result


def lstm_layers(c: TrainConfig, step: Step, inputs: int, directions: int, trained_input: bool) -> list[Block]:
    return [
        lstm(step, inputs, c.hidden, c.layers, c.dropout, index, directions, trained_input) for index in range(c.layers)
    ]


def bilstm_classifier(c: TrainConfig, shape: BertConfig, labels: int, step: Step) -> list[Block]:
    stack = lstm_layers(c, step, shape.hidden_size, 2, False)
    return [embedding(shape, step, False), *stack, bilstm_head(step, 2 * c.hidden, labels, c.dropout, c.pooling)]


def recurrent_layers(kind: str, directions: int, c: TrainConfig, shape, step: Step) -> tuple[list[Block], Step]:
    """(source of vectors and LSTM, the step that the LSTM makes: of one token where it reads [CLS] alone)."""
    inner = dataclasses.replace(step, tokens=1, padded=False) if c.features == "cls" else step
    if kind == "words":
        below = [word_vectors(shape, step)]
    elif kind == "embeddings":
        below = [embedding(shape, step, False)]
    elif c.encoder == "frozen":
        below = [frozen_bert(shape, step, c.features == "cls")]
    else:
        below = bert_layers(shape, step)
    trained = kind == "words" or (kind == "bert" and c.encoder == "tune")
    dropout = input_dropout(inner, shape.hidden_size, c.dropout * trained)
    return [*below, dropout, *lstm_layers(c, inner, shape.hidden_size, directions, trained)], inner


def recurrent_classifier(kind: str, directions: int, c: TrainConfig, shape, labels: int, step: Step) -> list[Block]:
    below, inner = recurrent_layers(kind, directions, c, shape, step)
    return [*below, pooled_head(inner, directions * c.hidden, directions, c.pooling, labels, c.dropout)]


def recurrent_tagger(kind: str, c: TrainConfig, shape, labels: int, step: Step) -> list[Block]:
    below, _ = recurrent_layers(kind, 2, c, shape, step)
    return [*below, tag_head(step, 2 * c.hidden, labels, c.dropout, c.crf)]


def linear_classifier(c: TrainConfig, shape: WordShape, labels: int, step: Step) -> list[Block]:
    """A bag of at most T distinct words a document."""
    saved = {
        "words and their values (B * T)": (LONG + FLOAT) * step.rows,
        "first words, sizes (B)": 3 * LONG * step.batch,
        "cross-entropy": cross_entropy(step.batch, labels),
    }
    weights = shape.vocab_size * labels
    return [
        Block("classifier", "head", saved, flop=2 * step.rows * labels, trainable=weights + labels,
              extra=6 * LONG * step.rows)
    ]  # fmt: skip


def language_model(c: TrainConfig, shape: WordShape, labels: int, step: Step) -> list[Block]:
    """Word vectors, LSTM layers with a mask of one step each, and the tied product over the vocabulary."""
    H, V, rows, width = shape.hidden_size, shape.vocab_size, step.rows, step.width
    layers = [lstm(step, H, H, c.layers, 0.0, index, directions=1) for index in range(c.layers)]
    saved = {
        "dropout masks (B, 1, H)": (c.layers + 1) * FLOAT * step.batch * H * (c.dropout > 0),
        "input (B, T, H)": width * rows * H,
        "log-probabilities (B, T, V)": cross_entropy(rows, V),
    }
    head = Block("next word", "head", saved, flop=2 * rows * H * V, trainable=V, products=H * V,
                 extra=2 * FLOAT * rows * V + FLOAT * H * V)  # fmt: skip
    return [word_vectors(shape, step), *layers, head]


def trans_blstm_classifier(variant: str, c: TrainConfig, shape: BertConfig, labels: int, step: Step) -> list[Block]:
    layers = bert_layers(shape, step, functools.partial(trans_blstm_layer, variant, c.small))
    return [*layers, bert_head(shape, step, labels, c.dropout)]


def trans_blstm_tagger(variant: str, c: TrainConfig, shape: BertConfig, labels: int, step: Step) -> list[Block]:
    layers = bert_layers(shape, step, functools.partial(trans_blstm_layer, variant, c.small))
    return [*layers, tag_head(step, shape.hidden_size, labels, c.dropout, c.crf)]


def trans_blstm_for_pretraining(
    variant: str, c: TrainConfig, shape: BertConfig, labels: int, step: Step
) -> list[Block]:
    return bert_for_pretraining(c, shape, labels, step, functools.partial(trans_blstm_layer, variant, c.small))


TRANS_BLSTM = {
    "classification": trans_blstm_classifier,
    "tagging": trans_blstm_tagger,
    "pretrain": trans_blstm_for_pretraining,
}
