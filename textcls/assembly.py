"""How the rows of recipes.py are built: sources of vectors, what stands over them, and what a backbone brings."""

from collections.abc import Callable

import torch

from textcls.backbone import Backbone
from textcls.checkpoint import check_fit
from textcls.config import TrainConfig
from textcls.errors import InputError
from textcls.models.bert import BertClassifier, Layer
from textcls.models.linear import LinearClassifier
from textcls.models.pretraining import BertForPreTraining
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
    what a TRANS-BLSTM has on top of a plain BERT stays as it was drawn. Raises InputError where they do not fit."""
    for part in model.modules():
        for name in ("bert", "embeddings"):
            if name in part._modules:
                theirs = (base.bert if name == "bert" else base.bert.embeddings).state_dict()
                wanted = part._modules[name].state_dict()
                check_layers(theirs, wanted, base)
                state = {key: value for key, value in theirs.items() if key in wanted}
                part._modules[name].load_state_dict(state, assign=True, strict=False)
                return
    raise AssertionError("the model has no place for a backbone")


def check_layers(theirs: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor], base: Backbone) -> None:
    """A backbone with BLSTMs goes into a model of the same kind only; a plain BERT may lack the BLSTMs."""
    blstm = {key for key in theirs if ".blstm." in key}
    missing = [key for key in wanted if key not in theirs and (blstm or ".blstm." not in key)]
    kept = {key for key in theirs if not key.startswith("pooler.")} if blstm else set()
    unfit = [key for key in sorted(kept) if key not in wanted or wanted[key].shape != theirs[key].shape]
    if missing or unfit:
        what = f"has no {missing[0]}" if missing else f"has {unfit[0]}, for which there is no place"
        raise InputError(
            f"--bert {base.source['name']} was pre-trained as another --model, or another --small: it {what}"
        )


def share_pretrained(model: BertForPreTraining, base: Backbone) -> None:
    """A published BERT, and its heads as far as the model has them."""
    if base.bert is not None:
        share_bert(model, base)
    ours = model.cls.state_dict()
    heads = {name: tensor for name, tensor in base.heads.items() if name in ours}
    if heads:
        check_fit({name: ours[name] for name in heads}, heads, base.source["path"])
        model.cls.load_state_dict(heads, strict=False)


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


def bert_for_pretraining(c: TrainConfig, shape, labels: int, make: Callable = Layer) -> BertForPreTraining:
    return BertForPreTraining(shape.with_dropout(c.dropout), c.next_sentence, make)


def trans_blstm_for_pretraining(variant: str, c: TrainConfig, shape, labels: int) -> BertForPreTraining:
    return bert_for_pretraining(c, shape, labels, layer(variant, c.small))


TRANS_BLSTM = {
    "classification": trans_blstm_classifier,
    "tagging": trans_blstm_tagger,
    "pretrain": trans_blstm_for_pretraining,
}


def describe(variant: str) -> str:
    return "BLSTM" if variant == "blstm" else "self-attention and BLSTM"
