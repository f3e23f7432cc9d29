"""A linear layer over the pooled vectors of a frozen BERT. Dimensions: B batch, T tokens, H hidden, F features, C classes.
"""

import torch
from torch import nn

from textcls.models.bert import Bert, BertConfig
from textcls.models.heads import Pooling, output_layer

PROBE_POOLINGS = ("mean", "max", "mean+max")  # those that have nothing to learn


class PooledVectors(nn.Module):
    """The last hidden states of a frozen BERT, pooled over [CLS], the pieces and [SEP]: (ids, mask, segments) ->
    (B, 1, F). `features`, where given, are what :meth:`encode` gave before."""

    def __init__(self, config: BertConfig, pooling: str):
        super().__init__()
        self.bert = Bert(config, pooler=False)
        self.pooling = Pooling(pooling, config.hidden_size)
        self.dims, self.pooled, self.encoded = config, pooling, pooling
        self.features = self.encoded_size = self.pooling.features
        self.frozen = True
        self.requires_grad_(False)

    def train(self, mode: bool = True):
        return super().train(False)

    def forward(self, ids, mask=None, segments=None, features=None) -> torch.Tensor:
        return self.encode(ids, mask, segments) if features is None else features

    def encode(self, ids, mask=None, segments=None) -> torch.Tensor:
        """What training does not change."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            hidden, _ = self.bert(ids, mask, segments)
            return self.pooling(hidden.float(), mask)[:, None]


class Probe(nn.Module):
    """LayerNorm -> Linear over one vector a text: (ids, mask, segments, features) -> logits (B, C). What a frozen
    encoder knows of the classes as it is (Alain and Bengio, 2016, arXiv:1610.01644). The linear layer begins at 0, from
    where logistic regression is convex."""

    def __init__(self, config: BertConfig, num_labels: int, pooling: str = "mean"):
        super().__init__()
        self.source = PooledVectors(config, pooling)
        self.norm = nn.LayerNorm(self.source.features, elementwise_affine=False)
        self.classifier = output_layer(self.source.features, num_labels)
        nn.init.zeros_(self.classifier.weight)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, ids, mask=None, segments=None, features=None) -> torch.Tensor:
        return self.classifier(self.norm(self.source(ids, mask, segments, features)[:, 0]))
