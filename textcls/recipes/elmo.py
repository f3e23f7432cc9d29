"""ELMo: an LSTM or a BiLSTM over the layers of a biLM, frozen or tuned (elmo-lstm, elmo-bilstm), and the training of a
biLM of one's own (elmo).

For each model its builder, and below it its blocks in forward order for the ledger.
"""

from textcls.config import TrainConfig
from textcls.ledger.bilm import bilm_layers, bilm_softmax, frozen_bilm, scalar_mix
from textcls.ledger.blocks import input_dropout
from textcls.ledger.heads import pooled_head, tag_head
from textcls.ledger.plan import Block, Step
from textcls.models.elmo import ElmoConfig, ElmoVectors
from textcls.models.language_model import BiLanguageModel
from textcls.models.recurrent import Recurrent, RecurrentClassifier, Tagger
from textcls.pretrained.backbone import Backbone, bilm_dims, elmo_dims
from textcls.pretrained.elmo import save_elmo
from textcls.pretrained.hub import PUBLISHED
from textcls.recipes.common import backbone_name, never, share_nothing
from textcls.recipes.recurrent import encoder_is_frozen, lstm_layers
from textcls.runtime import parallel
from textcls.runtime.tensors import load_trainable
from textcls.text.characters import Characters
from textcls.text.vocabulary import Words
from textcls.training.run import Run

# ---- the biLM below, and an LSTM over it ----------------------------------------------------------------------------


def over_elmo(c: TrainConfig, dims: ElmoConfig, directions: int) -> Recurrent:
    source = ElmoVectors(dims, encoder_is_frozen(c), c.elmo_layers, bool(c.mix_norm))
    return Recurrent(source, c.hidden, c.layers, c.dropout, bidirectional=directions == 2)


def over_elmo_blocks(c: TrainConfig, dims: ElmoConfig, directions: int, step: Step) -> list[Block]:
    tuned, mixed = not encoder_is_frozen(c), c.elmo_layers == "mix"
    below = bilm_layers(dims, step, ends=2) if tuned else [frozen_bilm(dims)]
    if mixed:
        below.append(scalar_mix(dims, step, bool(c.mix_norm), tuned))
    F = dims.hidden_size * (dims.layers + 1 if c.elmo_layers == "concatenate" else 1)
    dropout = input_dropout(step, F, c.dropout * (tuned or mixed))
    lstms = lstm_layers(c, step, F, directions, tuned or mixed)
    if tuned and c.elmo_layers in ("top", "concatenate"):  # they lie in the order of time, as the LSTM reads them
        lstms[0].saved.pop("input of the reversal (B, T, F)", None)
    return [*below, dropout, *lstms]


def share_bilm(model, encoder: str, backbone: Backbone) -> None:
    model.get_submodule(encoder).load_state_dict(backbone.elmo.state_dict(), assign=True)


def layers_of(c: TrainConfig, name: str) -> str:
    words = {"mix": "a learned mix of its layers", "average": "the mean of its layers", "top": "its top layer",
             "concatenate": "its layers side by side"}  # fmt: skip
    return f"{name}, {words[c.elmo_layers]}, {'frozen' if encoder_is_frozen(c) else 'tuned'}"


# ---- classification -------------------------------------------------------------------------------------------------


def elmo_lstm(c: TrainConfig, dims: ElmoConfig, labels: int) -> RecurrentClassifier:
    return RecurrentClassifier(over_elmo(c, dims, 1), labels, c.pooling, c.dropout)


def elmo_lstm_blocks(c: TrainConfig, dims: ElmoConfig, labels: int, step: Step) -> list[Block]:
    return [*over_elmo_blocks(c, dims, 1, step), pooled_head(step, c.hidden, 1, c.pooling, labels, c.dropout)]


def elmo_bilstm(c: TrainConfig, dims: ElmoConfig, labels: int) -> RecurrentClassifier:
    return RecurrentClassifier(over_elmo(c, dims, 2), labels, c.pooling, c.dropout)


def elmo_bilstm_blocks(c: TrainConfig, dims: ElmoConfig, labels: int, step: Step) -> list[Block]:
    return [*over_elmo_blocks(c, dims, 2, step), pooled_head(step, 2 * c.hidden, 2, c.pooling, labels, c.dropout)]


# ---- tagging --------------------------------------------------------------------------------------------------------


def elmo_bilstm_tagger(c: TrainConfig, dims: ElmoConfig, labels: int) -> Tagger:
    return Tagger(over_elmo(c, dims, 2), labels, c.dropout, c.crf)


def elmo_bilstm_tagger_blocks(c: TrainConfig, dims: ElmoConfig, labels: int, step: Step) -> list[Block]:
    head = tag_head(step, 2 * c.hidden, labels, c.dropout, c.crf, 0, step.lstm_width)
    return [*over_elmo_blocks(c, dims, 2, step), head]


# ---- the language model ---------------------------------------------------------------------------------------------


def bilm(c: TrainConfig, dims: ElmoConfig, labels: int) -> BiLanguageModel:
    return BiLanguageModel(dims, c.dropout)


def bilm_blocks(c: TrainConfig, dims: ElmoConfig, labels: int, step: Step) -> list[Block]:
    return [*bilm_layers(dims, step, ends=0, dropout=c.dropout), bilm_softmax(dims, step, c.dropout)]


def most_words(c: TrainConfig) -> ElmoConfig:
    return bilm_dims(c, c.vocab_size)


def publish_bilm(model: BiLanguageModel, c: TrainConfig, dims: ElmoConfig, vocabulary: Words, run: Run) -> str:
    """The best epoch's biLM, without its softmax, as a folder that --elmo opens; a sentence on where."""
    load_trainable(model, run.load("best.pt")["model"], run.folder / "best.pt")
    folder = run.folder / PUBLISHED
    if parallel.is_first():
        save_elmo(model.bilm, folder, {"tokens": c.tokens})
    return f"published as {folder}; use it with: --elmo {run.folder}"


# ---- rows -----------------------------------------------------------------------------------------------------------

OVER_ELMO = {"dropout": 0.5, "encoder": "frozen", "encoder_lr": 1e-4, "elmo_layers": "mix",
             "mix_norm": False, "mix_l2": 0.0, "elmo": None}  # fmt: skip

CLASSIFIER = {"lr": 3e-3, "epochs": 12, "dropout": 0.3, "hidden": 64, "layers": 1, "pooling": "attention",
              "tokens": "words"}  # fmt: skip

OVER = {
    "input": "characters",
    "dims": elmo_dims,
    "vocabulary": Characters,
    "build": elmo_bilstm,
    "blocks": elmo_bilstm_blocks,
    "encoder": "encoder.source.bilm",
    "source": "encoder.source",
    "share": share_bilm,
    "frozen": encoder_is_frozen,
    "amp": "off",
    "describe": layers_of,
    "about": {"sequence modelling": "BiLSTM", "pooling": "{pooling}"},
    "defaults": OVER_ELMO | CLASSIFIER,
    "nano": {},
}

ROWS = {
    ("elmo-lstm", "classification"): OVER
    | {
        "build": elmo_lstm,
        "blocks": elmo_lstm_blocks,
        "about": {"sequence modelling": "LSTM", "pooling": "{pooling}"},
    },
    ("elmo-bilstm", "classification"): OVER,
    ("elmo-bilstm", "tagging"): OVER
    | {
        "build": elmo_bilstm_tagger,
        "blocks": elmo_bilstm_tagger_blocks,
        "about": {"sequence modelling": "BiLSTM", "pooling": "none"},
        "defaults": OVER_ELMO | {"lr": 3e-3, "epochs": 20, "hidden": 200, "layers": 1},
    },
    ("elmo", "lm"): {
        "input": "characters",
        "dims": most_words,
        "build": bilm,
        "blocks": bilm_blocks,
        "encoder": None,
        "share": share_nothing,
        "publish": publish_bilm,
        "frozen": never,
        "amp": "off",
        "padded": False,
        "describe": backbone_name,
        "about": {"sequence modelling": "LSTMs in both directions", "pooling": "none"},
        "defaults": {
            "lr": 2e-3,
            "epochs": 1,
            "batch_size": 64,
            "max_length": 20,
            "dropout": 0.1,
            "warmup": 0.02,
            "vocab_size": 30_000,
            "tokens": "words",
            "elmo_options": None,
        },
        "without": ("label_smoothing",),
        "nano": {},
    },
}
