"""How the rows of recipes.py are built: sources of vectors, what stands over them, and what a backbone brings."""

import torch

from textcls.backbone import Backbone
from textcls.config import TrainConfig
from textcls.models.bert import BertClassifier
from textcls.models.linear import LinearClassifier
from textcls.models.recurrent import (
    BertVectors,
    FrozenEmbeddings,
    Recurrent,
    RecurrentClassifier,
    Tagger,
    WordVectors,
)
from textcls.models.trans_blstm import layer


def source(kind: str, c: TrainConfig, shape):
    """The vectors of the tokens: trained from scratch, BERT's frozen embeddings, or BERT's last hidden states."""
    if kind == "words":
        return WordVectors(shape)
    if kind == "embeddings":
        return FrozenEmbeddings(shape)
    return BertVectors(shape, c.encoder == "frozen", c.features == "cls")


def recurrent_classifier(kind: str, directions: int, c: TrainConfig, shape, labels: int) -> RecurrentClassifier:
    encoder = Recurrent(source(kind, c, shape), c.hidden, c.layers, c.dropout, directions == 2)
    return RecurrentClassifier(encoder, labels, c.pooling, c.dropout)


def recurrent_tagger(kind: str, c: TrainConfig, shape, labels: int) -> Tagger:
    encoder = Recurrent(source(kind, c, shape), c.hidden, c.layers, c.dropout)
    return Tagger(encoder, labels, c.dropout, c.crf)


def share_bert(model, base: Backbone) -> None:
    """The backbone's tensors become those of the `bert` or the `embeddings` inside the model, as far as it has them;
    what a TRANS-BLSTM has on top of BERT stays as it was drawn."""
    for part in model.modules():
        for name in ("bert", "embeddings"):
            if name in part._modules:
                theirs = base.bert if name == "bert" else base.bert.embeddings
                wanted = part._modules[name].state_dict().keys()
                state = {key: value for key, value in theirs.state_dict().items() if key in wanted}
                missing = [key for key in wanted if key not in state and ".blstm." not in key]
                assert not missing, missing
                part._modules[name].load_state_dict(state, assign=True, strict=False)
                return
    raise AssertionError("the model has no place for a backbone")


def share_words(model, base: Backbone) -> None:
    """Pretrained word vectors, for the words that have one."""
    if base.vectors is not None:
        places, vectors = base.vectors
        with torch.no_grad():
            model.encoder.source.table.weight[places] = vectors


def begin_linear(model: LinearClassifier, batches) -> None:
    texts = [(batches.collate(rows).ids, torch.from_numpy(rows)) for rows in batches.sorted_order()]
    model.begin(texts, torch.from_numpy(batches.labels))


def always(c: TrainConfig) -> bool:
    return True


def never(c: TrainConfig) -> bool:
    return False


def encoder_is_frozen(c: TrainConfig) -> bool:
    return c.encoder == "frozen"


FROZEN = {"words": never, "embeddings": always, "bert": encoder_is_frozen}


def trans_blstm_classifier(variant: str, c: TrainConfig, shape, labels: int) -> BertClassifier:
    return BertClassifier(shape, labels, c.dropout, layer(variant, c.small))


def trans_blstm_tagger(variant: str, c: TrainConfig, shape, labels: int) -> Tagger:
    return Tagger(BertVectors(shape, make=layer(variant, c.small)), labels, c.dropout, c.crf)


TRANS_BLSTM = {"classification": trans_blstm_classifier, "tagging": trans_blstm_tagger}


def describe(variant: str) -> str:
    return "BLSTM" if variant == "blstm" else "self-attention and BLSTM"
