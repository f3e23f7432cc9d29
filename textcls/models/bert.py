"""BERT, written out: embeddings, self-attention, feed-forward, pooler (Devlin et al., 2019, arXiv:1810.04805).

Sub-modules carry the published names, so that a published state dict maps 1 : 1 onto ours.

Dimensions: B batch, T tokens, H hidden, N heads, D = H / N head size, I intermediate, V vocabulary, L layers.
"""

import dataclasses
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from textcls.models.attention import attention, attention_bias, lowered
from textcls.models.dropout import Dropout
from textcls.models.heads import Pooling, output_layer

ACTIVATIONS = {
    "gelu": F.gelu,  # x * Phi(x) with erf: BERT's own
    "gelu_new": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
}
LARGEST, DEEPEST, MOST = 2**31 - 1, 1000, 2**40  # of any size; layers; numbers of all weights together


@dataclasses.dataclass(frozen=True)
class BertConfig:
    """The dimensions of a BERT, with the fields and defaults of a published config.json (bare: bert-base-uncased)."""

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    pad_token_id: int = 0

    def __post_init__(self):
        for name, kind in self.__annotations__.items():
            value = getattr(self, name)
            if kind is float and isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST:
                object.__setattr__(self, name, value := float(value))
            if not isinstance(value, kind) or isinstance(value, bool):
                raise ValueError(f"{name} must be {kind.__name__}, got {value!r:.60}")
            least = 0 if name in ("num_hidden_layers", "pad_token_id", "type_vocab_size") or kind is float else 1
            most = {"num_hidden_layers": DEEPEST}.get(name, LARGEST if kind is int else 1.0)
            if kind is not str and not least <= value <= most:
                raise ValueError(f"{name} must be from {least} to {most}, got {value!r:.60}")
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of num_attention_heads {self.num_attention_heads}"
            )
        if self.hidden_act not in ACTIVATIONS:
            raise ValueError(f"hidden_act {self.hidden_act!r:.60} is not one of {', '.join(sorted(ACTIVATIONS))}")
        if self.size > MOST:
            raise ValueError(f"a BERT of {self.size:,} weights, expected at most {MOST:,}")

    @property
    def size(self) -> int:
        """Weights of the encoder and its pooler."""
        H, inner = self.hidden_size, self.intermediate_size
        tables = self.vocab_size + self.max_position_embeddings + self.type_vocab_size
        layer = 4 * (H * H + H) + (2 * inner * H + inner + H) + 4 * H  # projections, feed-forward, two LayerNorms
        return tables * H + 2 * H + self.num_hidden_layers * layer + H * H + H

    def with_dropout(self, probability: float | None) -> "BertConfig":
        """The same with both dropouts at `probability`; as it is for None."""
        if probability is None:
            return self
        return dataclasses.replace(self, hidden_dropout_prob=probability, attention_probs_dropout_prob=probability)


class Embeddings(nn.Module):
    """Word + position + token type, LayerNorm, dropout: (ids (B, T), segments (B, T) | None) -> (B, T, H). With fewer
    than two token types segments are not read."""

    def __init__(self, config: BertConfig):
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        types = config.type_vocab_size
        self.token_type_embeddings = nn.Embedding(types, config.hidden_size) if types else None
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = Dropout(config.hidden_dropout_prob)

    def forward(self, ids: torch.Tensor, segments: torch.Tensor | None = None) -> torch.Tensor:
        length, longest = ids.shape[1], self.position_embeddings.num_embeddings
        if length > longest:
            raise ValueError(f"input of {length} tokens is longer than the {longest} positions of the embedding table")
        hidden = self.word_embeddings(ids) + self.position_embeddings.weight[:length]  # (B, T, H)
        if self.token_type_embeddings is not None:
            types = self.token_type_embeddings.weight
            hidden = hidden + (types[0] if segments is None or len(types) == 1 else F.embedding(segments, types))
        return self.dropout(self.LayerNorm(hidden))


class SelfAttention(nn.Module):
    """Multi-head scaled dot-product attention (Vaswani et al., 2017, eq. 1)."""

    def __init__(self, config: BertConfig):
        super().__init__()
        self.num_heads = config.num_attention_heads
        self.dropout_prob = config.attention_probs_dropout_prob
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(config.hidden_size, config.hidden_size)
        self.value = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, hidden: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        B, T, H = hidden.shape
        hidden = lowered(hidden)  # once: autocast would keep a 16-bit copy for each of the three
        query, key, value = (
            linear(hidden).view(B, T, self.num_heads, H // self.num_heads).transpose(1, 2)  # (B, N, T, D)
            for linear in (self.query, self.key, self.value)
        )
        context = attention(query, key, value, bias, self.dropout_prob if self.training else 0.0)  # (B, N, T, D)
        return context.transpose(1, 2).reshape(B, T, H)


class Residual(nn.Module):
    """Linear, dropout, add the block's input, LayerNorm: the end of both halves of a layer."""

    def __init__(self, config: BertConfig, inputs: int):
        super().__init__()
        self.dense = nn.Linear(inputs, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = Dropout(config.hidden_dropout_prob)

    def forward(self, inner: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        return self.LayerNorm(residual + self.dropout(self.dense(inner)))


class Attention(nn.Module):
    """Self-attention and its output projection: (hidden (B, T, H), bias) -> (B, T, H)."""

    def __init__(self, config: BertConfig):
        super().__init__()
        self.self = SelfAttention(config)
        self.output = Residual(config, config.hidden_size)

    def forward(self, hidden: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        return self.output(self.self(hidden, bias), hidden)


class Intermediate(nn.Module):
    """The first half of the feed-forward layer: (B, T, H) -> (B, T, I)."""

    def __init__(self, config: BertConfig):
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.intermediate_size)
        self.activation = ACTIVATIONS[config.hidden_act]

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.activation(self.dense(hidden))  # (B, T, I)


class Layer(nn.Module):
    """A layer of the encoder: (hidden (B, T, H), bias, mask) -> (B, T, H). The mask is for layers that have an LSTM."""

    def __init__(self, config: BertConfig):
        super().__init__()
        self.attention = Attention(config)
        self.intermediate = Intermediate(config)
        self.output = Residual(config, config.intermediate_size)

    def forward(self, hidden: torch.Tensor, bias: torch.Tensor | None, mask: torch.Tensor | None) -> torch.Tensor:
        hidden = self.attention(hidden, bias)
        return self.output(self.intermediate(hidden), hidden)


class Encoder(nn.Module):
    """The stack of layers, each `make(config)`. With `checkpoint_activations` set, a layer keeps only its input for the
    backward pass and is computed again there, with the same dropout (Chen et al., 2016, arXiv:1604.06174)."""

    def __init__(self, config: BertConfig, make: Callable[[BertConfig], nn.Module]):
        super().__init__()
        self.layer = nn.ModuleList(make(config) for _ in range(config.num_hidden_layers))
        self.checkpoint_activations = False

    def forward(self, hidden: torch.Tensor, bias: torch.Tensor | None, mask: torch.Tensor | None, which=slice(None)):
        for layer in self.layer[which]:
            if self.checkpoint_activations and torch.is_grad_enabled():
                hidden = checkpoint(layer, hidden, bias, mask, use_reentrant=False)
            else:
                hidden = layer(hidden, bias, mask)
        return hidden


class Pooler(nn.Module):
    """tanh(W h + b) of the first token, [CLS]: (B, T, H) -> (B, H)."""

    def __init__(self, config: BertConfig):
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.dense(hidden[:, 0]))


class Bert(nn.Module):
    """(ids (B, T), mask (B, T) | None, segments (B, T) | None) -> hidden (B, T, H), pooled (B, H).

    `mask` is 1 on real tokens and 0 on padding; None says that every token is real, which frees the fused attention
    kernels from adding a mask. Without `pooler`, pooled is None. `make` builds a layer, see trans_blstm.py. Raises
    ValueError for inputs longer than the position table.

    `frozen` > 0: the embeddings and so many of the lowest layers are not trained, have no dropout, and no gradient goes
    below; `features` (B, T, H), what `encode` gave of the same ids before, stand in for them. 0: everything is trained.
    """

    pooled = None  # what `encode` gives is kept for every token; see pretrained/features.py

    def __init__(
        self,
        config: BertConfig,
        pooler: bool = True,
        make: Callable[[BertConfig], nn.Module] = Layer,
        frozen: int = 0,
    ):
        super().__init__()
        self.config = self.dims = config
        self.frozen, self.encoded, self.encoded_size = frozen, f"layer {frozen}", config.hidden_size
        self.embeddings = Embeddings(config)
        self.encoder = Encoder(config, make)
        self.pooler = Pooler(config) if pooler else None
        initialise(self, config.initializer_range)
        for part in self.frozen_parts():
            part.requires_grad_(False)

    def frozen_parts(self) -> list[nn.Module]:
        return [self.embeddings, *self.encoder.layer[: self.frozen]] if self.frozen else []

    def train(self, mode: bool = True):
        super().train(mode)
        for part in self.frozen_parts():
            part.eval()
        return self

    def forward(self, ids, mask=None, segments=None, features=None) -> tuple[torch.Tensor, torch.Tensor | None]:
        hidden = self.encode(ids, mask, segments) if features is None else features
        hidden = self.encoder(hidden, attention_bias(mask, hidden.dtype), mask, slice(self.frozen, None))
        return hidden, None if self.pooler is None else self.pooler(hidden)

    def encode(self, ids, mask=None, segments=None) -> torch.Tensor:
        """What stands below the first trained layer: (B, T, H)."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            hidden = self.embeddings(ids, segments)
            if not self.frozen:
                return hidden
            return self.encoder(hidden, attention_bias(mask, hidden.dtype), mask, slice(self.frozen))


def initialise(module: nn.Module, std: float) -> None:
    """BERT's initialisation: weights from a normal of standard deviation `std`, biases 0, LayerNorms 1 and 0."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Embedding):
            nn.init.normal_(part.weight, std=std)
        if isinstance(part, nn.Linear) and part.bias is not None:
            nn.init.zeros_(part.bias)


class BertClassifier(nn.Module):
    """A pooled text -> dropout -> Linear: (ids, mask, segments, features) -> logits (B, C). Everything is trained but the
    `frozen` lowest layers and, with these, the embeddings.

    `pooling`: cls is BERT's own pooler over [CLS]; a BERT that was pre-trained without next sentences has none, and one
    of heads.POOLINGS over all tokens, [CLS] and [SEP] among them, may read it better.
    """

    def __init__(
        self,
        config: BertConfig,
        num_labels: int,
        dropout: float = 0.3,
        make: Callable[[BertConfig], nn.Module] = Layer,
        pooling: str = "cls",
        frozen: int = 0,
    ):
        super().__init__()
        H = config.hidden_size
        self.bert = Bert(config, pooling == "cls", make, frozen)
        self.pooling = None if pooling == "cls" else Pooling(pooling, H)
        self.dropout = Dropout(dropout)
        self.classifier = output_layer(H if self.pooling is None else self.pooling.features, num_labels)
        initialise(self.classifier, config.initializer_range)

    def forward(self, ids, mask=None, segments=None, features=None) -> torch.Tensor:
        hidden, pooled = self.bert(ids, mask, segments, features)
        if self.pooling is not None:
            pooled = self.pooling(hidden, mask)
        return self.classifier(self.dropout(pooled))  # (B, C)
