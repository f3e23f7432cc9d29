"""Where an answer begins and ends: bert, trans-blstm-1, trans-blstm-2, blstm, with or without a BLSTM decoder, and a
bilstm over frozen embeddings.

For each model its builder, and below it its blocks in forward order for the ledger.
"""

from textcls.config import TrainConfig
from textcls.ledger.blocks import embedding
from textcls.ledger.plan import Block, Step
from textcls.ledger.spans import span_decoder, span_head
from textcls.models.bert import BertConfig
from textcls.models.lstm import FrozenEmbeddings
from textcls.models.recurrent import Recurrent
from textcls.models.spans import RecurrentSpanModel, SpanModel
from textcls.models.trans_blstm import layer
from textcls.recipes.bert import bert_layer, layers, trans_blstm_layer
from textcls.recipes.common import always, never, share_bert, share_embeddings, whole_bert
from textcls.recipes.recurrent import frozen_embeddings, lstm_layers

DECODER_LAYERS = 2


# ---- the decoder and the head over BERT -----------------------------------------------------------------------------


def decoder_layers(c: TrainConfig) -> int:
    return (c.decoder_layers or DECODER_LAYERS) if c.decoder == "blstm" else 0


def heads(c: TrainConfig, dims: BertConfig, step: Step) -> list[Block]:
    if not decoder_layers(c):
        return [span_head(step, dims.hidden_size, c.dropout)]
    units = c.hidden or dims.hidden_size // 2
    decoder = span_decoder(step, dims.hidden_size, units, decoder_layers(c), c.dropout)
    return [*decoder, span_head(step, 2 * units, c.dropout)]


# ---- models ---------------------------------------------------------------------------------------------------------


def bert_spans(c: TrainConfig, dims: BertConfig, labels: int) -> SpanModel:
    return SpanModel(dims, c.dropout, decoder_layers(c), c.hidden)


def bert_spans_blocks(c: TrainConfig, dims: BertConfig, labels: int, step: Step) -> list[Block]:
    return [*layers(c, dims, step, bert_layer), *heads(c, dims, step)]


def trans_blstm_spans(c: TrainConfig, dims: BertConfig, labels: int) -> SpanModel:
    return SpanModel(dims, c.dropout, decoder_layers(c), c.hidden, layer(c.model, c.small))


def trans_blstm_spans_blocks(c: TrainConfig, dims: BertConfig, labels: int, step: Step) -> list[Block]:
    return [*layers(c, dims, step, trans_blstm_layer), *heads(c, dims, step)]


def bilstm_spans(c: TrainConfig, dims: BertConfig, labels: int) -> RecurrentSpanModel:
    return RecurrentSpanModel(Recurrent(FrozenEmbeddings(dims), c.hidden, c.layers, c.dropout), c.dropout)


def bilstm_spans_blocks(c: TrainConfig, dims: BertConfig, labels: int, step: Step) -> list[Block]:
    lstms = lstm_layers(c, step, dims.hidden_size, 2, False)
    return [embedding(dims, step, False), *lstms, span_head(step, 2 * c.hidden, c.dropout)]


# ---- rows -----------------------------------------------------------------------------------------------------------

BERT_SPANS = {
    "input": "pieces",
    "build": bert_spans,
    "blocks": bert_spans_blocks,
    "encoder": "bert",
    "share": share_bert,
    "frozen": never,
    "hf": {"architectures": ["BertForQuestionAnswering"]},
    "amp": "fp16",
    "describe": whole_bert,
    "about": {"sequence modelling": "self-attention", "decoder": "{decoder}"},
    "defaults": {
        "lr": 3e-5,
        "batch_size": 12,
        "epochs": 2,
        "dropout": 0.0,
        "decoder": "none",
        "decoder_layers": None,
        "hidden": None,
        "checkpoint_activations": False,
    },
    "nano": {"lr": 1e-3, "epochs": 5},
}

# A TRANS-BLSTM differs from BERT in its layers alone.
TRANS_BLSTM_SPANS = BERT_SPANS | {
    "build": trans_blstm_spans,
    "blocks": trans_blstm_spans_blocks,
    "hf": None,
    "about": {"sequence modelling": "self-attention and BLSTM", "decoder": "{decoder}"},
    "defaults": BERT_SPANS["defaults"] | {"small": False},
}

ROWS = {
    ("bert", "spans"): BERT_SPANS,
    ("trans-blstm-1", "spans"): TRANS_BLSTM_SPANS,
    ("trans-blstm-2", "spans"): TRANS_BLSTM_SPANS,
    ("blstm", "spans"): TRANS_BLSTM_SPANS | {"about": {"sequence modelling": "BLSTM", "decoder": "{decoder}"}},
    ("bilstm", "spans"): {
        "input": "pieces",
        "build": bilstm_spans,
        "blocks": bilstm_spans_blocks,
        "encoder": "encoder.source",
        "share": share_embeddings,
        "frozen": always,
        "amp": "off",
        "describe": frozen_embeddings,
        "about": {"sequence modelling": "BiLSTM", "decoder": "none"},
        "defaults": {"lr": 1e-3, "batch_size": 12, "epochs": 5, "hidden": 128, "layers": 2, "dropout": 0.3},
        "nano": {},
    },
}
