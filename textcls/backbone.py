"""The backbone of a run: its shape, its word pieces, its weights, and where they came from."""

import dataclasses
import os
import pathlib
from collections.abc import Iterable

import torch
from tokenizers import Tokenizer

from textcls import files, parallel, pretrained
from textcls import vectors as vectors_file
from textcls.config import TrainConfig
from textcls.errors import InputError
from textcls.models.bert import Bert, BertConfig
from textcls.models.recurrent import WordShape
from textcls.text import Vocabulary, Words

LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
SHAPES = {  # published ones that can be planned for without their files
    "bert-base-uncased": BertConfig(),
    "bert-large-uncased": BertConfig(**LARGE),
    "bert-base-cased": BertConfig(vocab_size=28996),
    "bert-large-cased": BertConfig(vocab_size=28996, **LARGE),
}


@dataclasses.dataclass
class Backbone:
    """What a model stands on: a vocabulary, and a BERT or the size of word vectors.

    `source`: {"name", "path", "sha256"} of the weights; the path is relative to the run where the run holds them.
    `vectors`: (places in the vocabulary (n,), pretrained vectors (n, H)) of words, where given. `heads`: weights of
    pre-training's heads.
    """

    shape: BertConfig | WordShape
    tokenizer: Vocabulary | Words | None  # None where a run has its own
    source: dict
    description: str
    bert: Bert | None = None
    vectors: tuple[torch.Tensor, torch.Tensor] | None = None
    heads: dict[str, torch.Tensor] = dataclasses.field(default_factory=dict)


def words(config: TrainConfig, tokenizer: Vocabulary | Words) -> Backbone:
    """A vocabulary of words, and pretrained vectors for them where the settings name a file."""
    description = f"{len(tokenizer):,} words of the training texts"
    size, vectors = config.embedding or 0, None
    if config.vectors:
        places, vectors = vectors_file.read(pathlib.Path(config.vectors), tokenizer)
        size, vectors = vectors.shape[1], (places, vectors)
        description += f", {len(places):,} with a vector of {size} numbers from {config.vectors}"
    return Backbone(WordShape(len(tokenizer), size), tokenizer, {"name": "words"}, description, vectors=vectors)


def prepare(config: TrainConfig) -> Backbone:
    """The BERT of `--bert`: with its weights, or with `--scratch` in its shape and with its vocabulary, but random."""
    if not config.scratch:
        return published(config.bert)
    base = shape_and_vocabulary(config, (), None)
    base.bert, base.source = untrained(base.shape, config.seed), base.source | {"path": "backbone"}
    return base


def published(name: str) -> Backbone:
    """A BERT with weights, from a folder or the hub."""
    folder = pretrained.find_folder(name)
    bert = pretrained.load_bert(folder)
    tokenizer = Vocabulary.from_folder(folder)
    check_vocabulary(tokenizer, bert.config, folder)
    source = {
        "name": os.path.basename(os.path.normpath(name)) if os.path.isdir(name) else name,
        "path": str(folder.resolve()),
        "sha256": files.sha256(pretrained.weights_file(folder)),
    }
    return Backbone(bert.config, tokenizer, source, describe(name, bert.config, tokenizer), bert)


def for_pretraining(config: TrainConfig, texts: Iterable[str], kept: Vocabulary | None) -> Backbone:
    """What pre-training begins with: the weights of `--bert`, with its heads where it has them; or with `--scratch` its
    shape alone, and its vocabulary or one learned from `texts`. `kept` is the vocabulary of a run to go on with."""
    if not config.scratch:
        base = published(config.bert)
        base.heads = pretrained.read_heads(pretrained.find_folder(config.bert))
        base.description += "" if base.heads else "; its heads begin at random"
        return with_mask(base)
    return with_mask(shape_and_vocabulary(config, texts, kept))


def shape_and_vocabulary(config: TrainConfig, texts: Iterable[str], kept: Vocabulary | None) -> Backbone:
    folder = pretrained.find_folder(config.bert)
    shape = pretrained.read_config(folder / "config.json")
    if config.vocab_size:
        tokenizer = kept or learn(texts, config.vocab_size)
        shape = dataclasses.replace(shape, vocab_size=len(tokenizer), pad_token_id=tokenizer.pad)
    else:
        tokenizer = Vocabulary.from_folder(folder)
        check_vocabulary(tokenizer, shape, folder)
    return Backbone(shape, tokenizer, {"name": config.bert}, describe("random weights", shape, tokenizer))


def learn(texts: Iterable[str], vocab_size: int) -> Vocabulary:
    """Word pieces of the texts; of several processes the first learns them for all."""
    made = Vocabulary.learn(texts, vocab_size).tokenizer.to_str() if parallel.is_first() else None
    return Vocabulary(Tokenizer.from_str(parallel.from_first(made)))


def describe(name: str, shape: BertConfig, tokenizer: Vocabulary) -> str:
    return f"{name}: {shape.num_hidden_layers} layers, hidden {shape.hidden_size}, {len(tokenizer)} word pieces"


def with_mask(base: Backbone) -> Backbone:
    if base.tokenizer.mask is None:
        raise InputError(f"--bert {base.source['name']}: its vocabulary has no [MASK], which pre-training needs")
    return base


def check_vocabulary(tokenizer: Vocabulary, shape: BertConfig, folder: pathlib.Path) -> None:
    if tokenizer.largest_id >= shape.vocab_size:
        raise InputError(
            f"{folder}: word piece {tokenizer.largest_id} is outside the {shape.vocab_size} "
            "embeddings; vocabulary and weights do not belong together"
        )


def shape_of(name: str) -> BertConfig:
    """The shape of the backbone called `name`, for which its weights need not be there."""
    if name == "nano" or os.path.isdir(name):
        return pretrained.read_config(pretrained.find_folder(name) / "config.json")
    if name.removeprefix("google-bert/") in SHAPES:
        return SHAPES[name.removeprefix("google-bert/")]
    return pretrained.read_config(pretrained.find_config(name))


def untrained(shape: BertConfig, seed: int) -> Bert:
    """Random weights. Positions and token types are drawn ten times smaller than words: at equal size they would be
    most of what the embeddings say, and no training has taught anybody to tell the one from the other."""
    torch.manual_seed(seed)
    bert = Bert(shape).eval()
    with torch.no_grad():
        bert.embeddings.position_embeddings.weight.mul_(0.1)
        bert.embeddings.token_type_embeddings.weight.mul_(0.1)
    return bert


def keep_in_run(backbone: Backbone, run_folder: pathlib.Path) -> None:
    """Write a backbone that exists nowhere else into the run folder, and note its digest."""
    folder = run_folder / backbone.source["path"]
    if parallel.is_first():
        pretrained.save_bert(backbone.bert, folder)
    parallel.wait()
    backbone.source["sha256"] = files.sha256(folder / "model.safetensors")


def reload(source: dict, run_folder: pathlib.Path, override: str | None = None) -> Backbone:
    """The frozen backbone of a run, from where it was or from `override`; its digest must be the one noted."""
    folder = pathlib.Path(override) if override else run_folder / source["path"]
    if source["name"] == "nano" and not override and source["path"] != "backbone":
        folder = pretrained.NANO  # wherever this installation has it
    if not folder.is_dir():
        raise InputError(
            f"{run_folder}: its frozen backbone {source['name']} was read from {folder}, which is gone; "
            "say where it is with --bert FOLDER"
        )
    weights = pretrained.weights_file(folder)
    found = files.sha256(weights)
    if found != source["sha256"]:
        raise InputError(
            f"{weights}: sha256 {found[:16]}… is not that of the backbone this run was trained on "
            f"({source['sha256'][:16]}…)"
        )
    bert = pretrained.load_bert(folder)
    return Backbone(bert.config, None, source, source["name"], bert)
