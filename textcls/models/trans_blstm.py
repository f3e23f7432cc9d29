"""TRANS-BLSTM: a transformer whose layers hold a bidirectional LSTM (Huang et al., 2020, arXiv:2003.07000).

Dimensions: B batch, T tokens, H hidden.
"""

from collections.abc import Callable

import torch
from torch import nn

from textcls.models.bert import Attention, BertConfig, Intermediate, Residual
from textcls.models.dropout import Dropout
from textcls.models.lstm import LSTM, true_lengths

VARIANTS = ("trans-blstm-1", "trans-blstm-2", "blstm")


class BLSTM(nn.Module):
    """A bidirectional LSTM that keeps the width, and dropout: (B, T, H) -> (B, T, H). H units per direction and a
    Linear(2H -> H), or with `small` H / 2 per direction and no projection."""

    def __init__(self, config: BertConfig, small: bool):
        super().__init__()
        H = config.hidden_size
        if small and H % 2:
            raise ValueError(f"hidden_size {H} cannot be halved")
        self.lstm = LSTM(H, H // 2 if small else H)
        self.dense = None if small else nn.Linear(2 * H, H)
        self.dropout = Dropout(config.hidden_dropout_prob)

    def forward(self, hidden: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        out = self.lstm(hidden, true_lengths(hidden[:, :, 0], mask))
        return self.dropout(out if self.dense is None else self.dense(out))


class AddAndNorm(nn.Module):
    """The sum of a block's input and output, and LayerNorm."""

    def __init__(self, config: BertConfig):
        super().__init__()
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, inner: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        return self.LayerNorm(residual + inner)


class InPlaceOfFeedForward(nn.Module):
    """TRANS-BLSTM-1: self-attention, then a BLSTM where BERT has its feed-forward layer."""

    def __init__(self, config: BertConfig, small: bool):
        super().__init__()
        self.attention = Attention(config)
        self.blstm = BLSTM(config, small)
        self.output = AddAndNorm(config)

    def forward(self, hidden: torch.Tensor, bias: torch.Tensor | None, mask: torch.Tensor | None) -> torch.Tensor:
        hidden = self.attention(hidden, bias)
        return self.output(self.blstm(hidden, mask), hidden)


class BesideTheLayer(nn.Module):
    """TRANS-BLSTM-2: a BERT layer and a BLSTM read the same input; their sum enters the last LayerNorm."""

    def __init__(self, config: BertConfig, small: bool):
        super().__init__()
        self.attention = Attention(config)
        self.intermediate = Intermediate(config)
        self.output = Residual(config, config.intermediate_size)
        self.blstm = BLSTM(config, small)

    def forward(self, hidden: torch.Tensor, bias: torch.Tensor | None, mask: torch.Tensor | None) -> torch.Tensor:
        beside = self.blstm(hidden, mask)
        hidden = self.attention(hidden, bias)
        return self.output(self.intermediate(hidden), hidden + beside)


class Alone(nn.Module):
    """A BLSTM with residual connection and LayerNorm in place of a whole layer; no attention."""

    def __init__(self, config: BertConfig, small: bool):
        super().__init__()
        self.blstm = BLSTM(config, small)
        self.output = AddAndNorm(config)

    def forward(self, hidden: torch.Tensor, bias: torch.Tensor | None, mask: torch.Tensor | None) -> torch.Tensor:
        return self.output(self.blstm(hidden, mask), hidden)


LAYERS = dict(zip(VARIANTS, (InPlaceOfFeedForward, BesideTheLayer, Alone), strict=True))


def layer(variant: str, small: bool = False) -> Callable[[BertConfig], nn.Module]:
    """What :class:`textcls.Bert` builds its layers with to be a TRANS-BLSTM or a pure BLSTM:
    `Bert(config, make=layer("trans-blstm-2"))`. What such a model shares with BERT has BERT's names, so that a
    published state dict fits the transformer part."""

    def make(config: BertConfig) -> nn.Module:
        return LAYERS[variant](config, small)

    return make
