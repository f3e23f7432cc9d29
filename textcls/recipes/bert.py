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
from textcls.models.bert import BertClassifier, BertConfig, Embeddings, Layer
from textcls.models.heads import BERT_POOLINGS
from textcls.models.pretraining import BertForPreTraining
from textcls.models.recurrent import BertVectors, Tagger
from textcls.models.trans_blstm import layer
from textcls.pretrained.backbone import Backbone
from textcls.recipes.common import never, share_bert, whole_bert
from textcls.runtime.errors import InputError
from textcls.runtime.tensors import check_fit
from textcls.tasks.masking import MASKED
from textcls.tasks.pretraining import publish
from textcls.text.vocabulary import Vocabulary
from textcls.training.run import Run

SMALL = 0.1  # length of a position beside that of a word
SLOW = 0.1  # learning rate of given word vectors beside that of the layers


# ---- layers ---------------------------------------------------------------------------------------------------------


def bert_layer(c: TrainConfig, dims: BertConfig, step: Step, number: int) -> list[Block]:
    below = attention(dims, step, number)
    if not input_is_trained(c, number):  # no gradient goes through query, key and value: their copies are not kept
        below.products -= 3 * dims.hidden_size**2
    return [below, feed_forward(dims, step, number)]


def input_is_trained(c: TrainConfig, number: int) -> bool:
    """Whether a gradient goes below layer `number`."""
    return not c.freeze or number > c.freeze + 1


def trans_blstm_layer(c: TrainConfig, dims: BertConfig, step: Step, number: int) -> list[Block]:
    if c.model == "trans-blstm-1":
        return [bert_layer(c, dims, step, number)[0], blstm(dims, step, number, c.small, normed=True)]
    trained = input_is_trained(c, number)
    if c.model == "trans-blstm-2":
        beside, halves = blstm(dims, step, number, c.small, False, trained), bert_layer(c, dims, step, number)
        # Else the BLSTM keeps one of its own: packed, of another type, or without a gradient to go through it.
        if step.dtype is None and step.device == "cpu" and trained:
            del halves[0].saved["input of query, key, value (B, T, H)"]
        return [beside, *halves]
    return [blstm(dims, step, number, c.small, True, trained)]


def layers(c: TrainConfig, dims: BertConfig, step: Step, layer: Callable = bert_layer, frozen: int = 0) -> list[Block]:
    """Embeddings and all layers; the `frozen` lowest and, with these, the embeddings in one block."""
    blocks, below = [], []
    for number in range(1, dims.num_hidden_layers + 1):
        of_layer = layer(c, dims, step, number)
        if number <= frozen:
            below += of_layer
            continue
        blocks += checkpointed(of_layer, FLOAT * step.slots * dims.hidden_size) if step.checkpoint else of_layer
    if step.checkpoint and step.padded:  # an input of every checkpoint, kept once
        blocks[0].saved["mask (B, T)"] = LONG * step.slots
    return [frozen_layers(dims, step, below) if frozen else embedding(dims, step, True), *blocks]


def frozen_layers(dims: BertConfig, step: Step, below: list[Block]) -> Block:
    """Embeddings and the layers `below` the first that is trained: nothing of them is kept, and they are not run, since
    what they give of the training texts is computed once."""
    count = embedding(dims, step, False).frozen + sum(block.trainable for block in below)
    return Block("frozen layers", "embedding", {}, frozen=count, extra=FLOAT * step.slots * dims.hidden_size)


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
    return classifier(c, dims, labels, Layer)


def classifier(c: TrainConfig, dims: BertConfig, labels: int, make: Callable) -> BertClassifier:
    if c.freeze > dims.num_hidden_layers:
        raise InputError(f"--freeze {c.freeze}: the backbone has {dims.num_hidden_layers} layers")
    if c.freeze and c.freeze + c.fresh_layers > dims.num_hidden_layers:
        raise InputError(f"--freeze {c.freeze} and --fresh-layers {c.fresh_layers}: together more than all layers")
    model = BertClassifier(dims, labels, c.dropout, make, c.pooling, c.freeze)
    if c.layer_decay is not None:
        model.rates = layer_rates("bert", dims.num_hidden_layers, c.layer_decay)
    return model


def layer_rates(encoder: str, layers: int, decay: float) -> dict[str, float]:
    """{sub-module: its share of the learning rate}: of the top layer all, of each below `decay` times that of the one
    above it, the embeddings last (Howard and Ruder, 2018, section 3.2, from layer to layer)."""
    rates = {f"{encoder}.encoder.layer.{i}": decay ** (layers - 1 - i) for i in range(layers)}
    return {f"{encoder}.embeddings": decay**layers} | rates


def lower_layers_are_frozen(c: TrainConfig) -> bool:
    return c.freeze > 0


def bert_classifier_blocks(c: TrainConfig, dims: BertConfig, labels: int, step: Step) -> list[Block]:
    return [*layers(c, dims, step, frozen=c.freeze), bert_head(dims, step, labels, c.dropout, c.pooling)]


def trans_blstm_classifier(c: TrainConfig, dims: BertConfig, labels: int) -> BertClassifier:
    return classifier(c, dims, labels, layer(c.model, c.small))


def trans_blstm_classifier_blocks(c: TrainConfig, dims: BertConfig, labels: int, step: Step) -> list[Block]:
    below = layers(c, dims, step, trans_blstm_layer, c.freeze)
    return [*below, bert_head(dims, step, labels, c.dropout, c.pooling)]


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
    "frozen": lower_layers_are_frozen,
    "source": "bert",
    "hf": {"architectures": ["BertForSequenceClassification"], "problem_type": "single_label_classification"},
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
        "freeze": 0,
        "layer_decay": None,
        "checkpoint_activations": False,
    },
    "nano": {
        "lr": 1e-3,
        "batch_size": 32,
        "accumulate": 1,
        "epochs": 10,
        "max_length": 128,
        "pooling": "mean",
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
    "hf": {"architectures": ["BertForTokenClassification"]},
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
    "hf": None,
    "about": {"sequence modelling": "self-attention and BLSTM", "pooling": "{pooling}"},
    "defaults": BERT_CLASSIFIER["defaults"] | {"small": False},
}
TRANS_BLSTM_TAGGER = BERT_TAGGER | {
    "build": trans_blstm_tagger,
    "blocks": trans_blstm_tagger_blocks,
    "hf": None,
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
