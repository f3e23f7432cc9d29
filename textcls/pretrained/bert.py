"""Published BERT weights: read them without executing anything, map the names, load strictly, write.

Where the weights are a TRANS-BLSTM's, config.json says which by `model_type` and `small`; those of DistilBERT and
RoBERTa are given BERT's names first (relatives.py).
"""

import os
import pathlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence

import torch

from textcls.models.bert import Bert, BertConfig, Layer
from textcls.models.pretraining import BertForPreTraining
from textcls.models.trans_blstm import VARIANTS, layer
from textcls.pretrained.hub import INDEX, find_folder, read_index, weights_file
from textcls.pretrained.relatives import RELATIVES
from textcls.pretrained.safetensors import read_safetensors, write_safetensors
from textcls.runtime import files
from textcls.runtime.digests import check, note_digests
from textcls.runtime.errors import InputError
from textcls.runtime.tensors import check_fit, load_tensors

BODY = ("embeddings", "encoder", "pooler")
SIZES = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "max_position_embeddings")
# Of published models; others are left out too, and named.
HEADS = ("cls", "dropout", "lm_head", "vocab_transform", "vocab_layer_norm", "vocab_projector")
# Counters that models keep among their weights: no parameters.
BUFFERS = re.compile(r"(bert\.)?embeddings\.(position_ids|token_type_ids)")
# What trainers put around a model, and around its state in a .bin file.
WRAPPED = re.compile(r"((?:module|model|_orig_mod)\.)+(?=(\w*bert\w*\.)?embeddings\.word_embeddings\.weight)")
WRAPPERS = ("state_dict", "model_state_dict", "model")
SCALE = ".scale"  # of rows in 8 bits
LEGACY = ((".gamma", ".weight"), (".beta", ".bias"))  # LayerNorm's names in the first PyTorch conversions


def load_bert(folder_or_name: str | os.PathLike) -> Bert:
    """A :class:`Bert` in eval mode with published weights, in float32; without a pooler where they have none, as those
    of a masked language model or a tagger.

    `folder_or_name`: a folder, `nano`, or a name on the Hugging Face hub such as `bert-base-uncased`. Raises
    :class:`InputError` naming the missing, unknown or mis-shaped tensors, and for a file that is not the one noted.
    """
    return read_bert(find_folder(folder_or_name))[0]


def read_bert(folder: pathlib.Path) -> tuple[Bert, str]:
    """(the BERT of a folder, which of its tensors were left out, or "")."""
    config, kind, small = read_kind(folder / "config.json")
    path = weights_file(folder)
    stored = read_weights(path)
    if kind in RELATIVES:
        stored = RELATIVES[kind].bert_tensors(stored, config.pad_token_id)
    tensors, others = our_names(stored), other_names(stored)
    pooler = any(name.startswith("pooler.") for name in tensors)
    with torch.device("meta"):
        model = Bert(config, pooler, layer(kind, small) if kind in VARIANTS else Layer)
    if not tensors:
        instead = f"but {several(others)}" if others else "and no tensor at all"
        raise InputError(f"{path}: holds no BERT, {instead}")
    load_strictly(model, tensors, path)
    unusual = [name for name in others if name.split(".")[0] not in HEADS]
    return model.eval(), f"{several(unusual)} left out" if unusual else ""


def read_config(path: pathlib.Path, needed: Sequence[str] = SIZES) -> BertConfig:
    """config.json of a published BERT, or of one of its RELATIVES as the BERT that computes the same. Fields that do not
    change the forward pass are skipped; a field that asks for an architecture we do not have is an error, and so is a
    `needed` size that is not there: bert-base's would be a guess."""
    return read_kind(path, needed)[0]


def read_kind(path: pathlib.Path, needed: Sequence[str] = SIZES) -> tuple[BertConfig, str, bool]:
    """(what :func:`read_config` gives, model_type, whether the layers of a TRANS-BLSTM are `small`)."""
    check(path)
    try:
        values = files.parse_json(path.read_text("utf-8"))
        if not isinstance(values, dict):
            raise ValueError("not a JSON object")
        supported = {
            "model_type": ("bert", *RELATIVES, *VARIANTS),
            "position_embedding_type": ("absolute",),
            "is_decoder": (False,),
        }
        for field, known in supported.items():
            if values.get(field, known[0]) not in known:
                raise ValueError(f"{field} is {values[field]!r}, supported: {', '.join(map(repr, known))}")
        kind, small = values.get("model_type", "bert"), bool(values.get("small", False))
        relative = RELATIVES.get(kind)
        if relative is not None:
            values = relative.bert_config(values)
        if missing := [name for name in needed if values.get(name) is None]:
            theirs = missing if relative is None else map(relative.theirs, missing)
            raise ValueError(f"not the config.json of a BERT: it has no {', '.join(theirs)}")
        fields = BertConfig.__dataclass_fields__
        # Published files write null for the padding id of some models: the default then.
        return BertConfig(**{k: v for k, v in values.items() if k in fields and v is not None}), kind, small
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None


def read_heads(folder: pathlib.Path) -> dict[str, torch.Tensor]:
    """The pre-training heads of a folder, float32, in the names of models/pretraining.py; empty where it has none. The
    decoder's weights are those of the word embeddings and its bias is that of the predictions, under a second name."""
    tensors = read_weights(weights_file(folder))
    heads = {
        new_name(name[4:]): t for name, t in tensors.items() if re.match(r"cls\.(predictions|seq_relationship)", name)
    }
    return {name: t.to(torch.float32, copy=True) for name, t in heads.items() if ".decoder." not in name}


def new_name(name: str) -> str:
    """LayerNorm's weights with their present names."""
    for old, new in LEGACY:
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name


def our_names(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Published names -> ours: without `bert.`, LayerNorms with weight and bias, heads and counters dropped."""
    renamed, prefix = {}, prefix_of(tensors)
    for name, tensor in tensors.items():
        if not in_body(name, prefix) or BUFFERS.fullmatch(name):
            continue
        ours = new_name(name.removeprefix(prefix))
        if ours in renamed:
            raise InputError(f"weights: {name} and another tensor are both our {ours}")
        renamed[ours] = tensor
    return renamed


def other_names(tensors: dict[str, torch.Tensor]) -> list[str]:
    """What is no part of the encoder and pooler: heads."""
    prefix = prefix_of(tensors)
    return [name for name in tensors if not in_body(name, prefix)]


def prefix_of(names: Iterable[str]) -> str:
    """What stands before the encoder's names: `bert.` in models with a head, else nothing."""
    words = "embeddings.word_embeddings.weight"
    if words in names and f"bert.{words}" in names:
        raise InputError(f"weights: bert.{words} and another tensor are both our {words}")
    return "bert." if words not in names and any(name.startswith("bert.") for name in names) else ""


def in_body(name: str, prefix: str) -> bool:
    return name.startswith(prefix) if prefix else name.split(".")[0] in BODY


def several(names: list[str]) -> str:
    """Tensors in words, by the first part of their names: "crf.* (3), mlp.* (2) and 4 others"."""
    counts = Counter(name.split(".")[0] for name in names).most_common()
    rest = sum(count for _, count in counts[3:])
    shown = ", ".join(f"{part}.* ({count})" for part, count in counts[:3])
    return shown + (f" and {rest} others" if rest else "")


def load_strictly(model: torch.nn.Module, tensors: dict[str, torch.Tensor], path: pathlib.Path) -> None:
    """Give `model` (on any device, `meta` too) these tensors as float32; names and shapes must agree both ways."""
    wanted = model.state_dict()
    check_fit(wanted, tensors, path)
    for name in wanted:
        if not tensors[name].is_floating_point():
            raise InputError(f"{path}: {name} is of {tensors[name].dtype}, as quantised weights are; expected floats")
    # Copies: the tensors may lie in a read-only memory map.
    model.load_state_dict({name: tensors[name].to(torch.float32, copy=True) for name in wanted}, assign=True)


def read_weights(path: pathlib.Path) -> dict[str, torch.Tensor]:
    """{name: tensor} of a .safetensors or .bin file, or of all files of an index, without what a trainer has put around
    the names, and with rows of 8 bits as floats. Nothing in the files is ever executed."""
    if not path.name.endswith(INDEX):
        return scaled(unwrapped(read_file(path)))
    places = read_index(path)
    parts = {file: read_file(file) for file in set(places.values())}
    for name, file in places.items():
        if name not in parts[file]:
            raise InputError(f"{path}: {name} should be in {file.name}, and is not")
    return scaled(unwrapped({name: parts[file][name] for name, file in places.items()}))


def read_file(path: pathlib.Path) -> dict[str, torch.Tensor]:
    check(path)
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    tensors = load_tensors(path)
    for name in WRAPPERS:
        if isinstance(tensors, dict) and isinstance(tensors.get(name), dict):
            tensors = tensors[name]
    named = isinstance(tensors, dict) and all(isinstance(name, str) for name in tensors)
    if not named or not all(isinstance(tensor, torch.Tensor) for tensor in tensors.values()):
        raise InputError(f"{path}: expected a dictionary of tensors")
    return tensors


def unwrapped(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Names without `module.` or `model.` before those of the model."""
    prefix = next((found[0] for name in tensors if (found := WRAPPED.match(name))), "")
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}


def scaled(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A tensor NAME beside which there is a NAME.scale, a number a row, is their product: the float that was packed by
    :func:`in_8_bits`."""
    rows = [name for name in tensors if name + SCALE in tensors]
    for name in rows:
        if tensors[name].dim() != 2 or tensors[name + SCALE].shape != (len(tensors[name]), 1):
            shape = tuple(tensors[name + SCALE].shape)
            raise InputError(f"weights: {name + SCALE} is {shape}, expected a number a row")
    others = {name: tensor for name, tensor in tensors.items() if name not in {row + SCALE for row in rows}}
    return others | {name: tensors[name].float() * tensors[name + SCALE].float() for name in rows}


def in_8_bits(name: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
    """{NAME: whole numbers (V, H) int8, NAME.scale: (V, 1) float16} whose product is `tensor` but for rounding: by about
    half a 127th of the largest number of its row."""
    scale = (tensor.abs().amax(1, keepdim=True) / 127).clamp_min(2**-24).half()
    return {name: (tensor / scale.float()).round().clamp(-127, 127).to(torch.int8), name + SCALE: scale}


def save_bert(model: Bert, folder: pathlib.Path) -> None:
    """config.json and model.safetensors (float32), as other libraries read them."""
    files.make_folder(folder)
    write_safetensors(model.state_dict(), folder / "model.safetensors")
    write_config(model.config, "BertModel", {}, folder)


def publish(model: BertForPreTraining, dims: BertConfig, layers: dict, folder: pathlib.Path) -> None:
    """A pre-trained model with its heads as config.json and model.safetensors (float32), in their published names.
    `dims` stand in for the model's own, whose dropout may have been another during pre-training; `layers` is empty
    for a BERT, else its `model_type` and `small`. config.json comes last: with it the folder is complete; after it the
    digests of all files."""
    files.make_folder(folder)
    write_safetensors(model.state_dict(), folder / "model.safetensors")
    paired = model.cls.seq_relationship is not None
    write_config(dims, "BertForPreTraining" if paired else "BertForMaskedLM", layers, folder)
    note_digests(folder)


def write_config(dims: BertConfig, architecture: str, layers: dict, folder: pathlib.Path) -> None:
    files.write_json(
        folder / "config.json", {"model_type": "bert", "architectures": [architecture], **vars(dims), **layers}
    )
