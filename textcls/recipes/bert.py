"""BERT and its relatives, all of whose layers are trained: bert, trans-blstm-1, trans-blstm-2, blstm.

For each model its builder, and below it its blocks in forward order for the ledger. The variant of a TRANS-BLSTM is the
name of the model in the settings.
"""

import dataclasses
from collections.abc import Callable

import torch

from textcls.config import TrainConfig
from textcls.ledger.blocks import LONG, attention, blstm, embedding, feed_forward
from textcls.ledger.heads import bert_head, pretraining_heads, tag_head
from textcls.ledger.plan import FLOAT, Block, Step
from textcls.models.bert import BertClassifier, BertConfig, Embeddings
from textcls.models.heads import BERT_POOLINGS
from textcls.models.pretraining import BertForPreTraining
from textcls.models.recurrent import BertVectors, Tagger
from textcls.models.trans_blstm import layer
from textcls.pretrained.backbone import Backbone
from textcls.recipes.common import never, share_bert, whole_bert
from textcls.runtime.tensors import check_fit
from textcls.tasks.masking import MASKED
from textcls.tasks.pretraining import publish
from textcls.text.vocabulary import Vocabulary
from textcls.training.run import Run

SMALL = 0.1  # length of a position beside that of a word
SLOW = 0.1  # learning rate of given word vectors beside that of the layers


# ---- layers ---------------------------------------------------------------------------------------------------------


def bert_layer(c: TrainConfig, dims: BertConfig, step: Step, number: int) -> list[Block]:
    return [attention(dims, step, number), feed_forward(dims, step, number)]


def trans_blstm_layer(c: TrainConfig, dims: BertConfig, step: Step, number: int) -> list[Block]:
    if c.model == "trans-blstm-1":
        return [attention(dims, step, number), blstm(dims, step, number, c.small, normed=True)]
    if c.model == "trans-blstm-2":
        beside, halves = blstm(dims, step, number, c.small, normed=False), bert_layer(c, dims, step, number)
        if step.dtype is None:  # the BLSTM keeps the same tensor; autocast makes one of its own
            del halves[0].saved["input of query, key, value (B, T, H)"]
        return [beside, *halves]
    return [blstm(dims, step, number, c.small, normed=True)]


def layers(c: TrainConfig, dims: BertConfig, step: Step, layer: Callable = bert_layer) -> list[Block]:
    """Embeddings and all layers."""
    blocks = []
    for number in range(1, dims.num_hidden_layers + 1):
        of_layer = layer(c, dims, step, number)
        blocks += checkpointed(of_layer, FLOAT * step.slots * dims.hidden_size) if step.checkpoint else of_layer
    if step.checkpoint and step.padded:  # an input of every checkpoint, kept once
        blocks[0].saved["mask (B, T)"] = LONG * step.slots
    return [embedding(dims, step, True), *blocks]


def checkpointed(blocks: list[Block], inputs: int) -> list[Block]:
    """Only the first block's input (bytes) is kept; the backward pass of the last one begins by making the rest."""
    inside, result = 0, []
    for block in blocks:
        inside += block.bytes
        result.append(dataclasses.replace(block, saved={}, extra=inside + block.extra, recomputed=True))
    result[0].saved = {"input of the checkpoint": inputs}
    return result


# ---- classification -------------------------------------------------------------------------------------------------


def bert_classifier(c: TrainConfig, dims: BertConfig, labels: int) -> BertClassifier:
    return BertClassifier(dims, labels, c.dropout, pooling=c.pooling)


def bert_classifier_blocks(c: TrainConfig, dims: BertConfig, labels: int, step: Step) -> list[Block]:
    return [*layers(c, dims, step), bert_head(dims, step, labels, c.dropout, c.pooling)]


def trans_blstm_classifier(c: TrainConfig, dims: BertConfig, labels: int) -> BertClassifier:
    return BertClassifier(dims, labels, c.dropout, layer(c.model, c.small), c.pooling)


def trans_blstm_classifier_blocks(c: TrainConfig, dims: BertConfig, labels: int, step: Step) -> list[Block]:
    return [*layers(c, dims, step, trans_blstm_layer), bert_head(dims, step, labels, c.dropout, c.pooling)]


# ---- tagging --------------------------------------------------------------------------------------------------------


def bert_tagger(c: TrainConfig, dims: BertConfig, labels: int) -> Tagger:
    return Tagger(BertVectors(dims), labels, c.dropout, c.crf)


def bert_tagger_blocks(c: TrainConfig, dims: BertConfig, labels: int, step: Step) -> list[Block]:
    return [*layers(c, dims, step), tag_head(step, dims.hidden_size, labels, c.dropout, c.crf)]


def trans_blstm_tagger(c: TrainConfig, dims: BertConfig, labels: int) -> Tagger:
    return Tagger(BertVectors(dims, make=layer(c.model, c.small)), labels, c.dropout, c.crf)


def trans_blstm_tagger_blocks(c: TrainConfig, dims: BertConfig, labels: int, step: Step) -> list[Block]:
    return [*layers(c, dims, step, trans_blstm_layer), tag_head(step, dims.hidden_size, labels, c.dropout, c.crf)]


# ---- pre-training ---------------------------------------------------------------------------------------------------


def bert_pretrainer(c: TrainConfig, dims: BertConfig, labels: int) -> BertForPreTraining:
    return BertForPreTraining(dims.with_dropout(c.dropout), c.next_sentence, embedding_rate=embedding_rate(c))


def embedding_rate(c: TrainConfig) -> float:
    """Of the learning rate. Given word vectors are kept from what random layers would make of them."""
    if c.embedding_lr is not None:
        return c.embedding_lr / c.lr
    return SLOW if c.init == "ppmi" or c.vectors else 1.0


def bert_pretrainer_blocks(c: TrainConfig, dims: BertConfig, labels: int, step: Step) -> list[Block]:
    return [*layers(c, dims.with_dropout(c.dropout), step), pretraining_heads(dims, step, c.next_sentence, MASKED)]


def trans_blstm_pretrainer(c: TrainConfig, dims: BertConfig, labels: int) -> BertForPreTraining:
    return BertForPreTraining(dims.with_dropout(c.dropout), c.next_sentence, layer(c.model, c.small), embedding_rate(c))


def trans_blstm_pretrainer_blocks(c: TrainConfig, dims: BertConfig, labels: int, step: Step) -> list[Block]:
    body = layers(c, dims.with_dropout(c.dropout), step, trans_blstm_layer)
    return [*body, pretraining_heads(dims, step, c.next_sentence, MASKED)]


def share_pretrained(model: BertForPreTraining, encoder: str, backbone: Backbone) -> None:
    """A published BERT, and its heads as far as the model has them; or word vectors to begin with."""
    if backbone.bert is not None:
        share_bert(model, encoder, backbone)
    if backbone.vectors is not None:
        begin_with(model.get_submodule(encoder).embeddings, *backbone.vectors)
    ours = model.cls.state_dict()
    heads = {name: tensor for name, tensor in backbone.heads.items() if name in ours}
    if heads:
        check_fit({name: ours[name] for name in heads}, heads, backbone.source.get("path", "the training text"))
        model.cls.load_state_dict(heads, strict=False)


@torch.no_grad()
def begin_with(embeddings: Embeddings, places: torch.Tensor, vectors: torch.Tensor) -> None:
    """Word vectors (n, H) in their places; the other words in their random directions, and as long as these on average.
    What is drawn for positions and token types becomes SMALL of that: at equal size they would be most of what is read,
    and training that looks for neighbours makes them grow."""
    words = embeddings.word_embeddings.weight
    length = vectors.norm(dim=1).mean()
    words.mul_(length / words.norm(dim=1, keepdim=True))
    words[places] = vectors
    for table in (embeddings.position_embeddings.weight, embeddings.token_type_embeddings.weight):
        table.mul_(SMALL * length / table.norm(dim=1).mean())


def publish_bert(model, c: TrainConfig, dims: BertConfig, vocabulary: Vocabulary, run: Run) -> str:
    return publish(model, dims, vocabulary, {}, run)


def publish_trans_blstm(model, c: TrainConfig, dims: BertConfig, vocabulary: Vocabulary, run: Run) -> str:
    return publish(model, dims, vocabulary, {"model_type": c.model, "small": c.small}, run)


# ---- rows -----------------------------------------------------------------------------------------------------------

BERT_CLASSIFIER = {
    "input": "pieces",
    "build": bert_classifier,
    "blocks": bert_classifier_blocks,
    "encoder": "bert",
    "share": share_bert,
    "pooler": True,
    "frozen": never,
    "amp": "fp16",
    "describe": whole_bert,
    "poolings": BERT_POOLINGS,
    "about": {"sequence modelling": "self-attention", "pooling": "{pooling}"},
    "defaults": {
        "lr": 2e-5,
        "batch_size": 16,
        "accumulate": 2,
        "epochs": 4,
        "pooling": "cls",
        "fresh_layers": 0,
        "checkpoint_activations": False,
    },
    "nano": {
        "lr": 1e-3,
        "batch_size": 32,
        "accumulate": 1,
        "epochs": 10,
        "max_length": 128,
        "pooling": "mean",
        "fresh_layers": 2,
        "word_dropout": 0.25,
        "label_smoothing": 0.1,
        "select": "loss",
    },
    # As google-research/bert's run_classifier has them, where the number of epochs and the dropout (0.1) are the same.
    "glue": {"lr": 3e-5, "batch_size": 32, "accumulate": 1, "epochs": 3, "max_length": 128, "dropout": 0.1},
}
BERT_TAGGER = {
    "input": "pieces",
    "build": bert_tagger,
    "blocks": bert_tagger_blocks,
    "encoder": "encoder.bert",
    "share": share_bert,
    "frozen": never,
    "amp": "fp16",
    "describe": whole_bert,
    "about": {"sequence modelling": "self-attention", "pooling": "none"},
    "defaults": {"lr": 1e-4, "batch_size": 16, "epochs": 4, "checkpoint_activations": False},
    "nano": {"lr": 1e-3, "epochs": 10},
}
BERT_PRETRAINER = {
    "input": "pieces",
    "build": bert_pretrainer,
    "blocks": bert_pretrainer_blocks,
    "encoder": "bert",
    "share": share_pretrained,
    "pooler": True,
    "publish": publish_bert,
    "frozen": never,
    "amp": "fp16",
    "describe": whole_bert,
    "about": {"sequence modelling": "self-attention", "pooling": "[CLS] pooler"},
    "defaults": {"checkpoint_activations": False},
    "nano": {},
}

# A TRANS-BLSTM differs from BERT in its layers alone.
TRANS_BLSTM_CLASSIFIER = BERT_CLASSIFIER | {
    "build": trans_blstm_classifier,
    "blocks": trans_blstm_classifier_blocks,
    "about": {"sequence modelling": "self-attention and BLSTM", "pooling": "{pooling}"},
    "defaults": BERT_CLASSIFIER["defaults"] | {"small": False},
}
TRANS_BLSTM_TAGGER = BERT_TAGGER | {
    "build": trans_blstm_tagger,
    "blocks": trans_blstm_tagger_blocks,
    "about": {"sequence modelling": "self-attention and BLSTM", "pooling": "none"},
    "defaults": BERT_TAGGER["defaults"] | {"small": False},
}
TRANS_BLSTM_PRETRAINER = BERT_PRETRAINER | {
    "build": trans_blstm_pretrainer,
    "blocks": trans_blstm_pretrainer_blocks,
    "publish": publish_trans_blstm,
    "about": {"sequence modelling": "self-attention and BLSTM", "pooling": "[CLS] pooler"},
    "defaults": BERT_PRETRAINER["defaults"] | {"small": False},
}

ROWS = {
    ("bert", "classification"): BERT_CLASSIFIER,
    ("bert", "tagging"): BERT_TAGGER,
    ("bert", "pretrain"): BERT_PRETRAINER,
    ("trans-blstm-1", "classification"): TRANS_BLSTM_CLASSIFIER,
    ("trans-blstm-1", "tagging"): TRANS_BLSTM_TAGGER,
    ("trans-blstm-1", "pretrain"): TRANS_BLSTM_PRETRAINER,
    ("trans-blstm-2", "classification"): TRANS_BLSTM_CLASSIFIER,
    ("trans-blstm-2", "tagging"): TRANS_BLSTM_TAGGER,
    ("trans-blstm-2", "pretrain"): TRANS_BLSTM_PRETRAINER,
    ("blstm", "classification"): TRANS_BLSTM_CLASSIFIER
    | {"about": {"sequence modelling": "BLSTM", "pooling": "{pooling}"}},
    ("blstm", "tagging"): TRANS_BLSTM_TAGGER | {"about": {"sequence modelling": "BLSTM", "pooling": "none"}},
    ("blstm", "pretrain"): TRANS_BLSTM_PRETRAINER
    | {"about": {"sequence modelling": "BLSTM", "pooling": "[CLS] pooler"}},
}
