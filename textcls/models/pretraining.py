"""The two heads that BERT is pre-trained with (Devlin et al., 2019, section 3.1), under their published names.

Dimensions: B batch, T tokens, H hidden, V vocabulary, M masked tokens of the batch.
"""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from textcls.models.bert import ACTIVATIONS, Bert, BertConfig, Layer, initialise


class Transform(nn.Module):
    """Linear, activation, LayerNorm: (M, H) -> (M, H)."""

    def __init__(self, config: BertConfig):
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.activation = ACTIVATIONS[config.hidden_act]
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.LayerNorm(self.activation(self.dense(hidden)))


class Predictions(nn.Module):
    """Logits of what stood in the masked places, with the word embeddings as the weights of the last product:
    (M, H), (V, H) -> (M, V)."""

    def __init__(self, config: BertConfig):
        super().__init__()
        self.transform = Transform(config)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))

    def forward(self, hidden: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        return F.linear(self.transform(hidden), words, self.bias)


class Heads(nn.Module):
    def __init__(self, config: BertConfig, next_sentence: bool):
        super().__init__()
        self.predictions = Predictions(config)
        self.seq_relationship = nn.Linear(config.hidden_size, 2) if next_sentence else None


class BertForPreTraining(nn.Module):
    """(ids, mask, segments (B, T), places (M,)) -> (masked-token logits (M, V), next-sentence logits (B, 2) | None).

    `places` number the masked tokens in the flattened (B * T,) batch: logits over the vocabulary are computed there and
    nowhere else. Of the next-sentence logits, class 0 is "B follows A". Without `next_sentence` there is no such head,
    and the pooler stays as it was drawn or loaded. The embedding module learns at `embedding_rate` times the learning
    rate.
    """

    def __init__(
        self,
        config: BertConfig,
        next_sentence: bool = True,
        make: Callable[[BertConfig], nn.Module] = Layer,
        embedding_rate: float = 1.0,
    ):
        super().__init__()
        self.bert = Bert(config, make=make)
        self.cls = Heads(config, next_sentence)
        initialise(self.cls, config.initializer_range)
        self.has_unused_parameters = not next_sentence  # the pooler's
        self.rates = {"bert.embeddings": embedding_rate}

    def forward(self, ids, mask, segments, places) -> tuple[torch.Tensor, torch.Tensor | None]:
        hidden, pooled = self.bert(ids, mask, segments)
        masked = hidden.flatten(0, 1)[places]  # (M, H)
        tokens = self.cls.predictions(masked, self.bert.embeddings.word_embeddings.weight)
        return tokens, None if self.cls.seq_relationship is None else self.cls.seq_relationship(pooled)
