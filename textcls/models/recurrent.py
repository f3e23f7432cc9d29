"""Encoders that give a vector a token, and the two heads over them: a class for a text, a tag for a word.

An encoder is called with (ids (B, T), mask (B, T) | None, segments (B, T) | None, features (B, T, H) | None) and gives
(B, T, F). `features` are what its source's `encode` gave, where that was computed before: a frozen source need not run
then. A source says how many numbers it has of a token, there (`encoded_size`) and in the end (`features`).

Dimensions: B batch, T tokens, W words, H size of the source's vectors, F features, C classes or tags.
"""

import dataclasses
from collections.abc import Callable

import torch
from torch import nn

from textcls.models.bert import Bert, BertConfig, Layer
from textcls.models.crf import CRF
from textcls.models.dropout import Dropout
from textcls.models.heads import Pooling, output_layer
from textcls.models.lstm import LSTM, true_lengths


@dataclasses.dataclass(frozen=True)
class WordDims:
    """A table of word vectors."""

    vocab_size: int
    hidden_size: int


class WordVectors(nn.Module):
    """Trainable vectors of words: (ids, ...) -> (B, T, H)."""

    def __init__(self, dims: WordDims):
        super().__init__()
        self.features = dims.hidden_size
        self.table = nn.Embedding(dims.vocab_size, dims.hidden_size)
        nn.init.normal_(self.table.weight, std=0.1)

    def forward(self, ids, mask=None, segments=None, features=None) -> torch.Tensor:
        return self.table(ids)


class BertVectors(nn.Module):
    """The last hidden states of a BERT, frozen or tuned with the rest: (ids, mask, segments) -> (B, T, H), or (B, 1, H)
    where only [CLS] is asked for."""

    def __init__(
        self,
        config: BertConfig,
        frozen: bool = False,
        cls_only: bool = False,
        make: Callable[[BertConfig], nn.Module] = Layer,
    ):
        super().__init__()
        self.dims, self.frozen, self.pooled = config, frozen, "cls" if cls_only else None
        self.features = self.encoded_size = config.hidden_size
        self.bert = Bert(config, pooler=False, make=make)
        self.requires_grad_(not frozen)

    def train(self, mode: bool = True):
        return super().train(mode and not self.frozen)

    def forward(self, ids, mask=None, segments=None, features=None) -> torch.Tensor:
        if features is not None:
            return features
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            return self.encode(ids, mask, segments)

    def encode(self, ids, mask=None, segments=None) -> torch.Tensor:
        """What does not change while the BERT is frozen."""
        hidden, _ = self.bert(ids, mask, segments)
        return hidden[:, :1] if self.pooled else hidden


class Recurrent(nn.Module):
    """A source of vectors, dropout, and an LSTM in one direction or both: -> (B, T, F)."""

    def __init__(self, source: nn.Module, units: int, layers: int, dropout: float, bidirectional: bool = True):
        super().__init__()
        self.source = source
        self.dropout = Dropout(dropout)
        self.lstm = LSTM(source.features, units, layers, dropout, bidirectional)
        self.features = self.lstm.features

    def forward(self, ids, mask=None, segments=None, features=None) -> torch.Tensor:
        x = self.source(ids, mask, segments, features)
        lengths = true_lengths(x[:, :, 0], real_steps(x, mask))
        return self.lstm(self.dropout(x), lengths)


def real_steps(x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor | None:
    """The mask that belongs to `x` (B, T, F): none where `x` is one vector a text, as [CLS] is."""
    return mask if mask is not None and x.shape[1] == mask.shape[1] else None


class RecurrentClassifier(nn.Module):
    """Encoder -> pooling -> dropout -> Linear: (ids, mask, segments, features) -> logits (B, C)."""

    def __init__(self, encoder: Recurrent, num_labels: int, pooling: str = "last", dropout: float = 0.3):
        super().__init__()
        self.encoder = encoder
        self.pooling = Pooling(pooling, encoder.features, 2 if encoder.lstm.bidirectional else 1)
        self.dropout = Dropout(dropout)
        self.classifier = output_layer(self.pooling.features, num_labels)

    def forward(self, ids, mask=None, segments=None, features=None) -> torch.Tensor:
        hidden = self.encoder(ids, mask, segments, features)
        return self.classifier(self.dropout(self.pooling(hidden, real_steps(hidden, mask))))


class Tagger(nn.Module):
    """Encoder -> the vector of each word's first token -> dropout -> Linear(F -> C): scores of the tags of each word.

    (ids, mask, segments, features, starts (B, W)) -> (B, W, C) in float32. `starts` are the places of the words' first
    tokens, 0 on padding. `crf`, where asked for, holds the scores between neighbouring tags; the loss and the decoder
    use it.
    """

    def __init__(self, encoder: nn.Module, num_labels: int, dropout: float = 0.1, crf: bool = False):
        super().__init__()
        self.encoder = encoder
        self.dropout = Dropout(dropout)
        self.classifier = nn.Linear(encoder.features, num_labels)
        self.crf = CRF(num_labels) if crf else None

    def forward(self, ids, mask=None, segments=None, features=None, starts=None) -> torch.Tensor:
        hidden = self.encoder(ids, mask, segments, features)  # (B, T, F)
        words = hidden.gather(1, starts[:, :, None].expand(-1, -1, hidden.shape[-1]))  # (B, W, F)
        return self.classifier(self.dropout(words)).float()
