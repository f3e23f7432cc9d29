"""The backbone of a run: its dimensions, its vocabulary, its weights, and where they came from."""

import dataclasses
import os
import pathlib
import re
from collections.abc import Iterable

import torch
from tokenizers import Tokenizer

from textcls.config import TrainConfig
from textcls.models.bert import Bert, BertConfig
from textcls.models.elmo import BiLM, ElmoConfig
from textcls.models.recurrent import WordDims
from textcls.pretrained import elmo
from textcls.pretrained import vectors as vectors_file
from textcls.pretrained.bert import SIZES, read_bert, read_config, read_heads, read_kind, save_bert
from textcls.pretrained.hub import NANO, find_config, find_folder, pinned, revision_of, weights_file, weights_sha256
from textcls.pretrained.relatives import RELATIVES
from textcls.runtime import files, parallel
from textcls.runtime.errors import InputError
from textcls.runtime.memory import check_room
from textcls.text.characters import TOKENS, Characters
from textcls.text.vocabulary import Vocabulary, Words

LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
ROBERTA = BertConfig(vocab_size=50265, type_vocab_size=1, layer_norm_eps=1e-5, pad_token_id=1)
OWNERS = re.compile("(google-bert|distilbert|FacebookAI)/")  # of these names on the hub
DIMS = {  # published ones that can be planned for without their files
    "bert-base-uncased": BertConfig(),
    "bert-large-uncased": BertConfig(**LARGE),
    "bert-base-cased": BertConfig(vocab_size=28996),
    "bert-large-cased": BertConfig(vocab_size=28996, **LARGE),
    "distilbert-base-uncased": BertConfig(num_hidden_layers=6, type_vocab_size=0),
    "distilbert-base-cased": BertConfig(vocab_size=28996, num_hidden_layers=6, type_vocab_size=0),
    "roberta-base": ROBERTA,
    "roberta-large": dataclasses.replace(ROBERTA, **LARGE),
}

# A biLM of one's own, where no options say another shape: one core reads 14 million words an hour (docs/elmo.md).
SMALL = ElmoConfig(filters=((1, 32), (2, 32), (3, 64), (4, 128)), projection=128, cells=512)


@dataclasses.dataclass
class Backbone:
    """What a model stands on: a vocabulary, and a BERT, a biLM or the size of word vectors.

    `source`: {"name", "path", "sha256"} of the weights; the path is relative to the run where the run holds them. A
    biLM's says {"kind": "elmo"} besides.
    `vectors`: (places in the vocabulary (n,), pretrained vectors (n, H)) of words, where given. `heads`: weights of
    pre-training's heads.
    """

    dims: BertConfig | ElmoConfig | WordDims
    vocabulary: Vocabulary | Words | Characters | None  # None where a run has its own
    source: dict
    description: str
    bert: Bert | None = None
    vectors: tuple[torch.Tensor, torch.Tensor] | None = None
    heads: dict[str, torch.Tensor] = dataclasses.field(default_factory=dict)
    elmo: BiLM | None = None

    @property
    def model(self) -> Bert | BiLM | None:
        """What has weights, if anything."""
        return self.elmo if self.bert is None else self.bert


def words_of(config: TrainConfig, vocabulary: Vocabulary | Words) -> Backbone:
    """A vocabulary of words, and pretrained vectors for them where the settings name a file."""
    pairs = len(vocabulary.places) if isinstance(vocabulary, Vocabulary) else 0
    and_pairs = f" and {pairs:,} pairs of words" if pairs else ""
    description = f"{len(vocabulary) - pairs:,} words{and_pairs} of the training texts"
    size, vectors, source = config.embedding or 0, None, {"name": "words"}
    if config.vectors:
        places, vectors = vectors_file.read(pathlib.Path(config.vectors), vocabulary)
        size, vectors, source["vectors"] = (
            vectors.shape[1],
            (places, vectors),
            files.sha256(pathlib.Path(config.vectors)),
        )
        description += f", {len(places):,} with a vector of {size} numbers from {pathlib.Path(config.vectors).name}"
    return Backbone(WordDims(len(vocabulary), size), vocabulary, source, description, vectors=vectors)


def elmo_of(config: TrainConfig) -> Backbone:
    """The biLM of `--elmo`, which reads any word."""
    folder = elmo_folder(config)
    bilm = elmo.read_elmo(folder)
    source = {
        "kind": "elmo",
        "name": short(config.elmo),
        "path": str(folder.resolve()),
        "sha256": files.sha256(elmo.weights_of(folder)),
    }
    vocabulary = Characters.make(TOKENS[config.tokens or "blanks"], bilm.config.word_length)
    description, theirs = f"{short(config.elmo)}: {shape_in_words(bilm.config)}", elmo.tokens_of(folder)
    if config.tokens and theirs not in (None, config.tokens):
        description += f"; the text it was trained on was divided by --tokens {theirs}"
    return Backbone(bilm.config, vocabulary, source, description, elmo=bilm)


def for_bilm(config: TrainConfig, vocabulary: Words, run_dims: dict | None) -> Backbone:
    """What the training of a biLM begins with: a shape, and the words that it is to predict. `run_dims` is that of a
    run to go on with, whose file of options need not be there any more."""
    dims = bilm_dims(config, len(vocabulary)) if run_dims is None else ElmoConfig(**run_dims)
    vocabulary.word_length = dims.word_length
    description = f"{len(vocabulary):,} words to be predicted; {shape_in_words(dims)}"
    return Backbone(dims, vocabulary, {"name": "characters"}, description)


def bilm_dims(config: TrainConfig, vocab_size: int) -> ElmoConfig:
    """The shape that --elmo-options gives a biLM of one's own, or the default."""
    dims = elmo.read_options(pathlib.Path(config.elmo_options)) if config.elmo_options else SMALL
    return dataclasses.replace(dims, vocab_size=vocab_size)


def elmo_dims(config: TrainConfig) -> ElmoConfig:
    """The shape of the biLM of --elmo, for which its weights need not be there."""
    return elmo.read_options(elmo.options_of(elmo_folder(config)))


def elmo_folder(config: TrainConfig) -> pathlib.Path:
    if config.elmo is None:
        raise InputError(f"--model {config.model} reads a biLM: say with --elmo where it is")
    return elmo.find_elmo(config.elmo)


def shape_in_words(dims: ElmoConfig) -> str:
    return (
        f"biLM of {dims.layers} layers, 2 x {dims.cells} cells projected to {dims.projection}, {dims.num_filters} "
        "filters of characters"
    )


def bert_of(config: TrainConfig) -> Backbone:
    """The BERT of `--bert`: with its weights, or with `--scratch` in its shape and with its vocabulary, but random."""
    if not config.scratch:
        return published(config.bert)
    backbone = dims_and_vocabulary(config, (), None)
    backbone.bert, backbone.source = untrained(backbone.dims, config.seed), backbone.source | {"path": "backbone"}
    return backbone


def published(name: str) -> Backbone:
    """A BERT with weights, from a folder or the hub."""
    folder = find_folder(name)
    bert, left_out = read_bert(folder)
    vocabulary = Vocabulary.from_folder(folder)
    vocabulary.check_ids(bert.config.vocab_size, folder)
    source = {
        "name": short(name),
        "path": str(folder.resolve()),
        "sha256": weights_sha256(weights_file(folder)),
    } | revision(folder)
    description = describe(short(name), bert.config, vocabulary) + (f"; {left_out}" if left_out else "")
    description += of_revision(source)
    return Backbone(bert.config, vocabulary, source, description, bert)


def revision(folder: pathlib.Path) -> dict[str, str]:
    """What a run notes of a folder of the hub's cache besides; nothing of another one."""
    return {"revision": commit} if (commit := revision_of(folder)) else {}


def of_revision(source: dict) -> str:
    return f"; revision {source['revision'][:12]} on the hub" if "revision" in source else ""


def short(name: str) -> str:
    """What a backbone is called in words: of a folder the last part of its path."""
    return os.path.basename(os.path.normpath(name)) if os.path.isdir(name) else name


def for_pretraining(config: TrainConfig, texts: Iterable[str], run_vocabulary: Vocabulary | None) -> Backbone:
    """What pre-training begins with: the weights of `--bert`, with its heads where it has them; or with `--scratch` its
    dimensions alone, and its vocabulary or one learned from `texts`. `run_vocabulary` is that of a run to go on with."""
    check_is_bert(config.bert)
    if not config.scratch:
        backbone = published(config.bert)
        backbone.heads = read_heads(pathlib.Path(backbone.source["path"]))
        if not backbone.heads:
            backbone.description += "; its heads begin at random"
        elif config.next_sentence and "seq_relationship.weight" not in backbone.heads:
            backbone.description += "; its next-sentence head begins at random"
        return with_mask(backbone)
    backbone = with_mask(dims_and_vocabulary(config, texts, run_vocabulary))
    if config.vectors and not config.resume:
        give_vectors(backbone, pathlib.Path(config.vectors))
    return backbone


def check_is_bert(name: str) -> None:
    """Raise InputError for a relative of BERT, whose heads and published form pre-training does not have."""
    _, kind, _ = read_kind(find_folder(name) / "config.json")
    if kind in RELATIVES:
        raise InputError(f"--bert {short(name)}: a {kind}; --task pretrain trains BERTs, and goes on with no other model")


def give_vectors(backbone: Backbone, path: pathlib.Path) -> None:
    """The vectors that a file has for word pieces, which must be as long as those of the backbone."""
    places, vectors = vectors_file.read(path, backbone.vocabulary)
    if vectors.shape[1] != backbone.dims.hidden_size:
        raise InputError(
            f"--vectors {path}: vectors of {vectors.shape[1]} numbers, and those of --bert {backbone.source['name']} "
            f"have {backbone.dims.hidden_size}"
        )
    backbone.vectors, backbone.source["vectors"] = (places, vectors), files.sha256(path)
    backbone.description += f"; {len(places):,} pieces with a vector from {path.name}"


def dims_and_vocabulary(config: TrainConfig, texts: Iterable[str], run_vocabulary: Vocabulary | None) -> Backbone:
    folder = find_folder(config.bert)
    dims = read_config(folder / "config.json")
    if config.vocab_size:
        vocabulary = run_vocabulary or learn(texts, config.vocab_size)
        dims = dataclasses.replace(dims, vocab_size=len(vocabulary), pad_token_id=vocabulary.pad)
    else:
        vocabulary = Vocabulary.from_folder(folder)
        dims = read_config(folder / "config.json", ("vocab_size", *SIZES))
        vocabulary.check_ids(dims.vocab_size, folder)
    source = {"name": short(config.bert)} | revision(folder)
    return Backbone(dims, vocabulary, source, describe("random weights", dims, vocabulary) + of_revision(source))


def learn(texts: Iterable[str], vocab_size: int) -> Vocabulary:
    """Word pieces of the texts; of several processes the first learns them for all."""
    made = Vocabulary.learn(texts, vocab_size).tokenizer.to_str() if parallel.is_first() else None
    return Vocabulary(Tokenizer.from_str(parallel.from_first(made)))


def say_pooler(backbone: Backbone) -> None:
    """For models that need a pooler: that theirs is not the backbone's, where the published weights have none."""
    if backbone.bert is not None and backbone.bert.pooler is None:
        backbone.description += "; its weights have no pooler, which begins at random"


def check_pairs(backbone: Backbone) -> None:
    """Raise InputError where a BERT cannot tell the second text of a pair from the first. Those of its relatives were
    trained without token types: DistilBERT has none, RoBERTa writes two marks between texts."""
    if backbone.dims.type_vocab_size == 1 and not backbone.vocabulary.of_bytes:
        raise InputError(
            f"--bert {backbone.source['name']}: pairs need two token types, it has {backbone.dims.type_vocab_size} "
            "(type_vocab_size)"
        )


def describe(name: str, dims: BertConfig, vocabulary: Vocabulary) -> str:
    remark = f"; {vocabulary.remark}" if vocabulary.remark else ""
    size = f"{dims.num_hidden_layers} layers, hidden {dims.hidden_size}, {len(vocabulary)} word pieces"
    return f"{name}: {size}{remark}"


def with_mask(backbone: Backbone) -> Backbone:
    if backbone.vocabulary.mask is None:
        raise InputError(f"--bert {backbone.source['name']}: its vocabulary has no [MASK], which pre-training needs")
    return backbone


def dims_of(name: str) -> BertConfig:
    """The dimensions of the backbone called `name`, for which its weights need not be there."""
    if name == "nano" or os.path.isdir(name):
        return read_config(find_folder(name) / "config.json")
    if OWNERS.sub("", name) in DIMS:
        return DIMS[OWNERS.sub("", name)]
    return read_config(find_config(name))


def untrained(dims: BertConfig, seed: int) -> Bert:
    """Random weights. Positions and token types are drawn ten times smaller than words: at equal size they would be
    most of what the embeddings say, and no training has taught anybody to tell the one from the other."""
    torch.manual_seed(seed)
    check_room(4 * dims.size, "a BERT of that shape")
    bert = Bert(dims).eval()
    with torch.no_grad():
        bert.embeddings.position_embeddings.weight.mul_(0.1)
        if bert.embeddings.token_type_embeddings is not None:
            bert.embeddings.token_type_embeddings.weight.mul_(0.1)
    return bert


def keep_in_run(backbone: Backbone, run_folder: pathlib.Path) -> None:
    """Write a backbone that exists nowhere else into the run folder, and note its digest."""
    folder = run_folder / backbone.source["path"]
    if parallel.is_first():
        save_bert(backbone.bert, folder)
    parallel.wait()
    backbone.source["sha256"] = files.sha256(folder / "model.safetensors")


def keep_vectors(backbone: Backbone, run_folder: pathlib.Path) -> None:
    """Write word vectors that the run has made into its folder, where --vectors of others finds them."""
    places, vectors = backbone.vectors
    names = [backbone.vocabulary.tokenizer.id_to_token(place) for place in places.tolist()]
    vectors_file.write(run_folder / "vectors.txt", names, vectors)


def reload(source: dict, run_folder: pathlib.Path, places: dict[str, str | None] | None = None) -> Backbone:
    """The frozen backbone of a run, from where it was or from where `places` says that its kind is; its digest must
    be the one noted."""
    kind = source.get("kind", "bert")
    folder = place(source, run_folder, (places or {}).get(kind))
    if not folder.is_dir():
        raise InputError(
            f"{run_folder}: its frozen backbone {source['name']} was read from {folder}, which is gone; "
            f"say where it is with --{kind} FOLDER"
        )
    weights = elmo.weights_of(folder) if kind == "elmo" else weights_file(folder)
    digest = weights_sha256(weights)
    if digest != source["sha256"]:
        raise InputError(
            f"{weights}: sha256 {digest[:16]}… is not that of the backbone this run was trained on "
            f"({source['sha256'][:16]}…{of_revision(source)})"
        )
    there = source | {"path": str(folder)}
    if kind == "elmo":
        bilm = elmo.read_elmo(folder)
        return Backbone(bilm.config, None, there, source["name"], elmo=bilm)
    bert, _ = read_bert(folder)
    return Backbone(bert.config, None, there, source["name"], bert)


def place(source: dict, run_folder: pathlib.Path, override: str | None = None) -> pathlib.Path:
    """Where the frozen backbone of a run is: `override`, or where it was when the run began, or where it is as seen
    from the run, if both were moved together."""
    if override:
        return elmo.find_elmo(override) if source.get("kind") == "elmo" else pathlib.Path(override)
    if source["name"] == "nano" and source["path"] != "backbone":
        return NANO  # wherever this installation has it
    folder = run_folder / source["path"]
    beside = os.path.join(os.path.realpath(run_folder), source.get("beside", source["path"]))
    beside = pathlib.Path(os.path.normpath(beside))
    if not folder.is_dir() and beside.is_dir():
        return beside
    if not folder.is_dir() and source["path"] != "backbone" and "revision" in source:
        return find_folder(pinned(source["name"], source["revision"]))  # the cache was emptied, or is another
    return folder
