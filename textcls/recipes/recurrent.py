"""LSTMs and BiLSTMs: over word vectors from scratch (lstm, bilstm-scratch), over frozen BERT embeddings (bilstm), over
BERT's hidden states (bert-lstm, bert-bilstm), and the language model (lstm).

For each model its builder, and below it its blocks in forward order for the ledger.
"""

import dataclasses

from textcls.config import TrainConfig
from textcls.ledger.blocks import embedding, frozen_bert, input_dropout, lstm, word_vectors
from textcls.ledger.heads import bilstm_head, cross_entropy, pooled_head, tag_head
from textcls.ledger.plan import FLOAT, Block, Step
from textcls.models.bert import BertConfig
from textcls.models.language_model import LanguageModel
from textcls.models.lstm import BiLSTMClassifier, FrozenEmbeddings
from textcls.models.recurrent import BertVectors, Recurrent, RecurrentClassifier, Tagger, WordDims, WordVectors
from textcls.recipes.bert import layers
from textcls.recipes.common import (
    always,
    backbone_name,
    never,
    share_bert,
    share_embeddings,
    share_nothing,
    share_words,
    whole_bert,
)

# ---- sources of vectors, and the LSTM over them ---------------------------------------------------------------------


def lstm_layers(c: TrainConfig, step: Step, inputs: int, directions: int, trained_input: bool) -> list[Block]:
    return [
        lstm(step, inputs, c.hidden, c.layers, c.dropout, index, directions, trained_input) for index in range(c.layers)
    ]


def over_words(c: TrainConfig, dims: WordDims, directions: int) -> Recurrent:
    return Recurrent(WordVectors(dims), c.hidden, c.layers, c.dropout, bidirectional=directions == 2)


def over_words_blocks(c: TrainConfig, dims: WordDims, directions: int, step: Step) -> list[Block]:
    H = dims.hidden_size
    return [word_vectors(dims, step), input_dropout(step, H, c.dropout), *lstm_layers(c, step, H, directions, True)]


def over_bert(c: TrainConfig, dims: BertConfig, directions: int) -> Recurrent:
    source = BertVectors(dims, encoder_is_frozen(c), c.features == "cls")
    return Recurrent(source, c.hidden, c.layers, c.dropout, bidirectional=directions == 2)


def over_bert_blocks(c: TrainConfig, dims: BertConfig, directions: int, step: Step) -> list[Block]:
    H, tuned, inner = dims.hidden_size, not encoder_is_frozen(c), lstm_step(c, step)
    below = layers(c, dims, step) if tuned else [frozen_bert(dims, step, c.features == "cls")]
    dropout = input_dropout(inner, H, c.dropout * tuned)
    return [*below, dropout, *lstm_layers(c, inner, H, directions, tuned)]


def lstm_tag_head(c: TrainConfig, step: Step, labels: int) -> Block:
    return tag_head(step, 2 * c.hidden, labels, c.dropout, c.crf, hidden=step.lstm_width)


def lstm_step(c: TrainConfig, step: Step) -> Step:
    """The step that an LSTM over BERT makes: of one token where it reads [CLS] alone."""
    return dataclasses.replace(step, tokens=1, padded=False) if c.features == "cls" else step


def encoder_is_frozen(c: TrainConfig) -> bool:
    return c.encoder == "frozen"


# ---- classification -------------------------------------------------------------------------------------------------


def bilstm(c: TrainConfig, dims: BertConfig, labels: int) -> BiLSTMClassifier:
    return BiLSTMClassifier(dims, labels, c.hidden, c.layers, c.dropout, c.pooling)


def bilstm_blocks(c: TrainConfig, dims: BertConfig, labels: int, step: Step) -> list[Block]:
    lstms = lstm_layers(c, step, dims.hidden_size, 2, False)
    return [embedding(dims, step, False), *lstms, bilstm_head(step, 2 * c.hidden, labels, c.dropout, c.pooling)]


def lstm_from_scratch(c: TrainConfig, dims: WordDims, labels: int) -> RecurrentClassifier:
    return RecurrentClassifier(over_words(c, dims, 1), labels, c.pooling, c.dropout)


def lstm_from_scratch_blocks(c: TrainConfig, dims: WordDims, labels: int, step: Step) -> list[Block]:
    return [*over_words_blocks(c, dims, 1, step), pooled_head(step, c.hidden, 1, c.pooling, labels, c.dropout)]


def bilstm_from_scratch(c: TrainConfig, dims: WordDims, labels: int) -> RecurrentClassifier:
    return RecurrentClassifier(over_words(c, dims, 2), labels, c.pooling, c.dropout)


def bilstm_from_scratch_blocks(c: TrainConfig, dims: WordDims, labels: int, step: Step) -> list[Block]:
    return [*over_words_blocks(c, dims, 2, step), pooled_head(step, 2 * c.hidden, 2, c.pooling, labels, c.dropout)]


def bert_lstm(c: TrainConfig, dims: BertConfig, labels: int) -> RecurrentClassifier:
    return RecurrentClassifier(over_bert(c, dims, 1), labels, c.pooling, c.dropout)


def bert_lstm_blocks(c: TrainConfig, dims: BertConfig, labels: int, step: Step) -> list[Block]:
    head = pooled_head(lstm_step(c, step), c.hidden, 1, c.pooling, labels, c.dropout)
    return [*over_bert_blocks(c, dims, 1, step), head]


def bert_bilstm(c: TrainConfig, dims: BertConfig, labels: int) -> RecurrentClassifier:
    return RecurrentClassifier(over_bert(c, dims, 2), labels, c.pooling, c.dropout)


def bert_bilstm_blocks(c: TrainConfig, dims: BertConfig, labels: int, step: Step) -> list[Block]:
    head = pooled_head(lstm_step(c, step), 2 * c.hidden, 2, c.pooling, labels, c.dropout)
    return [*over_bert_blocks(c, dims, 2, step), head]


# ---- tagging --------------------------------------------------------------------------------------------------------


def bilstm_tagger(c: TrainConfig, dims: BertConfig, labels: int) -> Tagger:
    return Tagger(Recurrent(FrozenEmbeddings(dims), c.hidden, c.layers, c.dropout), labels, c.dropout, c.crf)


def bilstm_tagger_blocks(c: TrainConfig, dims: BertConfig, labels: int, step: Step) -> list[Block]:
    lstms = lstm_layers(c, step, dims.hidden_size, 2, False)
    return [embedding(dims, step, False), *lstms, lstm_tag_head(c, step, labels)]


def bilstm_scratch_tagger(c: TrainConfig, dims: WordDims, labels: int) -> Tagger:
    return Tagger(over_words(c, dims, 2), labels, c.dropout, c.crf)


def bilstm_scratch_tagger_blocks(c: TrainConfig, dims: WordDims, labels: int, step: Step) -> list[Block]:
    return [*over_words_blocks(c, dims, 2, step), lstm_tag_head(c, step, labels)]


def bert_bilstm_tagger(c: TrainConfig, dims: BertConfig, labels: int) -> Tagger:
    return Tagger(over_bert(c, dims, 2), labels, c.dropout, c.crf)


def bert_bilstm_tagger_blocks(c: TrainConfig, dims: BertConfig, labels: int, step: Step) -> list[Block]:
    return [*over_bert_blocks(c, dims, 2, step), lstm_tag_head(c, step, labels)]


# ---- the language model ---------------------------------------------------------------------------------------------


def language_model(c: TrainConfig, dims: WordDims, labels: int) -> LanguageModel:
    return LanguageModel(dims, c.layers, c.dropout)


def language_model_blocks(c: TrainConfig, dims: WordDims, labels: int, step: Step) -> list[Block]:
    """Word vectors, LSTM layers with a mask of one step each, and the tied product over the vocabulary."""
    H, V, slots, width = dims.hidden_size, dims.vocab_size, step.slots, step.width
    lstms = [lstm(step, H, H, c.layers, 0.0, index, directions=1) for index in range(c.layers)]
    saved = {
        "dropout masks (B, 1, H)": (c.layers + 1) * FLOAT * step.batch * H * (c.dropout > 0),
        "input (B, T, H)": width * slots * H,
        "log-probabilities (B, T, V)": cross_entropy(slots, V),
    }
    head = Block("next word", "head", saved, flop=2 * slots * H * V, trainable=V, products=H * V,
                 extra=2 * FLOAT * slots * V + FLOAT * H * V)  # fmt: skip
    return [word_vectors(dims, step), *lstms, head]


# ---- descriptions ---------------------------------------------------------------------------------------------------


def frozen_embeddings(c: TrainConfig, name: str) -> str:
    return f"frozen embeddings of {name}"


def hidden_states(c: TrainConfig, name: str) -> str:
    if c.scratch:
        return whole_bert(c, name)
    return f"{'[CLS] of ' if c.features == 'cls' else ''}{name}, {'frozen' if encoder_is_frozen(c) else 'tuned'}"


# ---- rows -----------------------------------------------------------------------------------------------------------

FROM_SCRATCH = {"lr": 2e-3, "epochs": 10, "embedding": 100, "vocab_size": 30_000, "min_count": 2, "vectors": None,
                "lower": True}  # fmt: skip
OVER_BERT = {"lr": 1e-3, "epochs": 5, "encoder": "frozen", "encoder_lr": 2e-5, "features": "sequence"}
CLASSIFIER = {"hidden": 64, "layers": 1, "pooling": "attention"}

ROWS = {
    ("bilstm", "classification"): {
        "input": "pieces",
        "build": bilstm,
        "blocks": bilstm_blocks,
        "encoder": "embeddings",
        "share": share_embeddings,
        "frozen": always,
        "amp": "off",
        "describe": frozen_embeddings,
        "about": {"sequence modelling": "BiLSTM", "pooling": "{pooling}"},
        "defaults": {
            "lr": 1e-3,
            "epochs": 5,
            "patience": 3,
            "hidden": 384,
            "layers": 2,
            "pooling": "attention",
        },
        "nano": {
            "lr": 3e-3,
            "epochs": 14,
            "hidden": 128,
            "layers": 1,
            "max_length": 128,
            "patience": 0,
            "word_dropout": 0.25,
            "label_smoothing": 0.1,
            "select": "loss",
        },
    },
    ("lstm", "classification"): {
        "input": "words",
        "build": lstm_from_scratch,
        "blocks": lstm_from_scratch_blocks,
        "encoder": "encoder.source.table",
        "share": share_words,
        "frozen": never,
        "amp": "off",
        "describe": backbone_name,
        "about": {"sequence modelling": "LSTM", "pooling": "{pooling}"},
        "defaults": CLASSIFIER | FROM_SCRATCH,
        "nano": {},
    },
    ("bilstm-scratch", "classification"): {
        "input": "words",
        "build": bilstm_from_scratch,
        "blocks": bilstm_from_scratch_blocks,
        "encoder": "encoder.source.table",
        "share": share_words,
        "frozen": never,
        "amp": "off",
        "describe": backbone_name,
        "about": {"sequence modelling": "BiLSTM", "pooling": "{pooling}"},
        "defaults": CLASSIFIER | FROM_SCRATCH,
        "nano": {},
    },
    ("bert-lstm", "classification"): {
        "input": "pieces",
        "build": bert_lstm,
        "blocks": bert_lstm_blocks,
        "encoder": "encoder.source.bert",
        "source": "encoder.source",
        "share": share_bert,
        "frozen": encoder_is_frozen,
        "amp": "fp16",
        "describe": hidden_states,
        "about": {"sequence modelling": "LSTM", "pooling": "{pooling}"},
        "defaults": CLASSIFIER | OVER_BERT,
        "nano": {},
    },
    ("bert-bilstm", "classification"): {
        "input": "pieces",
        "build": bert_bilstm,
        "blocks": bert_bilstm_blocks,
        "encoder": "encoder.source.bert",
        "source": "encoder.source",
        "share": share_bert,
        "frozen": encoder_is_frozen,
        "amp": "fp16",
        "describe": hidden_states,
        "about": {"sequence modelling": "BiLSTM", "pooling": "{pooling}"},
        "defaults": CLASSIFIER | OVER_BERT,
        "nano": {},
    },
    ("bilstm", "tagging"): {
        "input": "pieces",
        "build": bilstm_tagger,
        "blocks": bilstm_tagger_blocks,
        "encoder": "encoder.source",
        "share": share_embeddings,
        "frozen": always,
        "amp": "fp16",
        "describe": frozen_embeddings,
        "about": {"sequence modelling": "BiLSTM", "pooling": "none"},
        "defaults": {"lr": 2e-3, "epochs": 10, "hidden": 256, "layers": 1, "dropout": 0.3},
        "nano": {},
    },
    ("bilstm-scratch", "tagging"): {
        "input": "words",
        "build": bilstm_scratch_tagger,
        "blocks": bilstm_scratch_tagger_blocks,
        "encoder": "encoder.source.table",
        "share": share_words,
        "frozen": never,
        "amp": "off",
        "describe": backbone_name,
        "about": {"sequence modelling": "BiLSTM", "pooling": "none"},
        "defaults": FROM_SCRATCH | {"hidden": 128, "layers": 1, "dropout": 0.3, "lower": False},
        "nano": {},
    },
    ("bert-bilstm", "tagging"): {
        "input": "pieces",
        "build": bert_bilstm_tagger,
        "blocks": bert_bilstm_tagger_blocks,
        "encoder": "encoder.source.bert",
        "source": "encoder.source",
        "share": share_bert,
        "frozen": encoder_is_frozen,
        "amp": "fp16",
        "describe": hidden_states,
        "about": {"sequence modelling": "BiLSTM", "pooling": "none"},
        "defaults": OVER_BERT | {"epochs": 10, "hidden": 128, "layers": 1},
        "nano": {},
    },
    ("lstm", "lm"): {
        "input": "words",
        "build": language_model,
        "blocks": language_model_blocks,
        "encoder": None,
        "share": share_nothing,
        "frozen": never,
        "amp": "off",
        "padded": False,
        "describe": backbone_name,
        "about": {"sequence modelling": "LSTM", "pooling": "none"},
        "defaults": {"lr": 2e-3, "epochs": 20, "vocab_size": 10_000, "embedding": 650, "layers": 2},
        "nano": {},
    },
}
