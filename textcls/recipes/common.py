"""What rows of several families use: how a backbone's tensors come into a model, and how it is described."""

import torch

from textcls.config import TrainConfig
from textcls.pretrained.backbone import Backbone
from textcls.runtime.errors import InputError


def always(c: TrainConfig) -> bool:
    return True


def never(c: TrainConfig) -> bool:
    return False


# ---- sharing: (model, path of its encoder, backbone) -> None --------------------------------------------------------


def share_nothing(model, encoder: str | None, backbone: Backbone) -> None:
    """For models that are trained from scratch."""


def share_bert(model, encoder: str, backbone: Backbone) -> None:
    """The backbone's tensors become those of the BERT inside the model, as far as it has them; a pooler that the
    backbone lacks, and what a TRANS-BLSTM has on top of a plain BERT, stay as they were drawn. Raises InputError where
    they do not fit."""
    take(model.get_submodule(encoder), backbone.bert.state_dict(), backbone)


def share_embeddings(model, encoder: str, backbone: Backbone) -> None:
    """The same for a model that reads BERT's embedding layer alone."""
    take(model.get_submodule(encoder), backbone.bert.embeddings.state_dict(), backbone)


def share_words(model, encoder: str, backbone: Backbone) -> None:
    """Pretrained word vectors, for the words that have one."""
    if backbone.vectors is not None:
        places, vectors = backbone.vectors
        with torch.no_grad():
            model.get_submodule(encoder).weight[places] = vectors


def take(module: torch.nn.Module, tensors: dict[str, torch.Tensor], backbone: Backbone) -> None:
    wanted = module.state_dict()
    check_layers(tensors, wanted, backbone)
    for name in wanted.keys() & tensors.keys():
        if tensors[name].shape != wanted[name].shape:
            shapes = f"{tuple(tensors[name].shape)}, expected {tuple(wanted[name].shape)}"
            raise InputError(f"{backbone.source['name']}: {name} of the backbone is {shapes}")
    module.load_state_dict({name: t for name, t in tensors.items() if name in wanted}, assign=True, strict=False)


def top_layers(bert: torch.nn.Module, count: int) -> dict[str, torch.Tensor]:
    """Copies of the weights of the `count` upper layers of a BERT. Raises InputError where it has fewer."""
    layers = len(bert.encoder.layer)
    if count > layers:
        raise InputError(f"--fresh-layers {count}: the backbone has {layers} layers")
    chosen = tuple(f"encoder.layer.{number}." for number in range(layers - count, layers))
    return {name: tensor.clone() for name, tensor in bert.state_dict().items() if name.startswith(chosen)}


def check_layers(tensors: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor], backbone: Backbone) -> None:
    """A backbone with BLSTMs goes into a model of the same kind only; a plain BERT may lack the BLSTMs, and either the
    whole pooler."""
    blstm = any(".blstm." in name for name in tensors)
    drawn = () if backbone.bert.pooler is not None else ("pooler.",)
    missing = [
        name
        for name in wanted
        if name not in tensors and (blstm or ".blstm." not in name) and not name.startswith(drawn)
    ]
    layers = {name for name in tensors if not name.startswith("pooler.")} if blstm else set()
    unfit = [name for name in sorted(layers) if name not in wanted or wanted[name].shape != tensors[name].shape]
    if missing or unfit:
        what = f"has no {missing[0]}" if missing else f"has {unfit[0]}, for which there is no place"
        raise InputError(
            f"--bert {backbone.source['name']} was pre-trained as another --model, or another --small: it {what}"
        )


# ---- descriptions: (settings, name of the backbone) -> words --------------------------------------------------------


def backbone_name(c: TrainConfig, name: str) -> str:
    return name


def whole_bert(c: TrainConfig, name: str) -> str:
    return f"random weights in the shape of {name}" if c.scratch else name
