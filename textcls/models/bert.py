"""BERT, written out: embeddings, self-attention, feed-forward, pooler (Devlin et al., 2019, arXiv:1810.04805).

Sub-modules carry the published names, so that a published state dict maps 1 : 1 onto ours.

Dimensions: B batch, T tokens, H hidden, N heads, D = H / N head size, I intermediate, V vocabulary, L layers.
"""

import dataclasses
import math
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from textcls.models.dropout import Dropout, dropout, keep_mask

BLOCK = 1 << 18  # elements of a block of attention scores on the CPU

ACTIVATIONS = {
    "gelu": F.gelu,  # x * Phi(x) with erf: BERT's own
    "gelu_new": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
}


@dataclasses.dataclass(frozen=True)
class BertConfig:
    """The shape of a BERT, with the fields and defaults of a published config.json (bare: bert-base-uncased)."""

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
            if kind is float and isinstance(value, int) and not isinstance(value, bool):
                object.__setattr__(self, name, value := float(value))
            if not isinstance(value, kind) or isinstance(value, bool):
                raise ValueError(f"{name} must be {kind.__name__}, got {value!r}")
        for name in (
            "vocab_size",
            "hidden_size",
            "num_attention_heads",
            "intermediate_size",
            "max_position_embeddings",
            "type_vocab_size",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of num_attention_heads {self.num_attention_heads}"
            )
        if self.hidden_act not in ACTIVATIONS:
            raise ValueError(f"hidden_act {self.hidden_act!r} is not one of {', '.join(sorted(ACTIVATIONS))}")

    def with_dropout(self, probability: float | None) -> "BertConfig":
        """The same with both dropouts at `probability`; as it is for None."""
        if probability is None:
            return self
        return dataclasses.replace(self, hidden_dropout_prob=probability, attention_probs_dropout_prob=probability)


class Embeddings(nn.Module):
    """Word + position + token type, LayerNorm, dropout: (ids (B, T), segments (B, T) | None) -> (B, T, H)."""

    def __init__(self, config: BertConfig):
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = Dropout(config.hidden_dropout_prob)

    def forward(self, ids: torch.Tensor, segments: torch.Tensor | None = None) -> torch.Tensor:
        length, longest = ids.shape[1], self.position_embeddings.num_embeddings
        if length > longest:
            raise ValueError(f"input of {length} tokens is longer than the {longest} positions of the embedding table")
        hidden = self.word_embeddings(ids) + self.position_embeddings.weight[:length]  # (B, T, H)
        types = self.token_type_embeddings.weight
        hidden = hidden + (types[0] if segments is None else F.embedding(segments, types))
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
        dropout_prob = self.dropout_prob if self.training else 0.0
        # Dropout sends the fused kernel to its slow path on the CPU.
        attention = attention_cpu if dropout_prob > 0.0 and hidden.device.type == "cpu" else attention_fused
        context = attention(query, key, value, bias, dropout_prob)  # (B, N, T, D)
        return context.transpose(1, 2).reshape(B, T, H)


def lowered(x: torch.Tensor) -> torch.Tensor:
    """`x` in autocast's type, where autocast is on."""
    device = x.device.type
    return x.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else x


def attention_written_out(query, key, value, bias, dropout_prob: float) -> torch.Tensor:
    """softmax(Q K^T / sqrt(D) + bias) V, the reference: (B, N, T, D) each -> (B, N, T, D)."""
    scores = (query / math.sqrt(query.shape[-1])) @ key.transpose(-1, -2)  # (B, N, T, T)
    if bias is not None:
        scores = scores + bias
    return dropout(scores.softmax(-1), dropout_prob, True) @ value


def attention_fused(query, key, value, bias, dropout_prob: float) -> torch.Tensor:
    """The same by torch's fused kernels."""
    return F.scaled_dot_product_attention(query, key, value, attn_mask=bias, dropout_p=dropout_prob)


def attention_cpu(query, key, value, bias, dropout_prob: float) -> torch.Tensor:
    """The same for training on the CPU, a few documents at a time, so that the (T, T) tensors stay in the cache."""
    return AttentionWithDropout.apply(query, key, value, bias, dropout_prob)


class AttentionWithDropout(torch.autograd.Function):
    """The written-out attention with its derivative, block by block over the batch. Only the dropout mask of the size
    (B, N, T, T) is kept; probabilities are made again in the backward pass, as in FlashAttention (Dao et al., 2022),
    because fresh memory costs more than the arithmetic."""

    @staticmethod
    def forward(ctx, query, key, value, bias, dropout_prob):
        keep = torch.empty(*query.shape[:-1], key.shape[-2], dtype=torch.uint8)  # (B, N, T, T)
        context = torch.empty_like(value)  # (B, N, T, D) in memory as (B, T, N, D)
        for rows in blocks(keep):
            mask, scale = keep_mask(keep[rows].shape, dropout_prob)
            keep[rows] = mask
            dropped = probabilities(query[rows], key[rows], bias, rows).mul_(mask)
            context[rows] = dropped @ (value[rows] * scale)
        ctx.save_for_backward(query, key, value, bias, keep)
        ctx.scale = scale
        return context

    @staticmethod
    def backward(ctx, grad):
        query, key, value, bias, keep = ctx.saved_tensors
        d_query, d_key, d_value = (torch.empty_like(x) for x in (query, key, value))
        shrink = 1.0 / math.sqrt(query.shape[-1])
        for rows in blocks(keep):
            kept = probabilities(query[rows], key[rows], bias, rows)
            grad_rows = grad[rows] * ctx.scale
            d_value[rows] = (kept * keep[rows]).transpose(-1, -2) @ grad_rows
            d_kept = (grad_rows @ value[rows].transpose(-1, -2)).mul_(keep[rows])
            d_scores = torch.ops.aten._softmax_backward_data(d_kept, kept, -1, kept.dtype)
            d_query[rows] = (d_scores @ key[rows]).mul_(shrink)
            d_key[rows] = d_scores.transpose(-1, -2) @ (query[rows] * shrink)
        return d_query, d_key, d_value, None, None


def blocks(keep: torch.Tensor) -> list[slice]:
    """The batch in slices whose (N, T, T) tensors have about BLOCK elements together."""
    size = max(1, BLOCK // keep[0].numel())
    return [slice(start, start + size) for start in range(0, len(keep), size)]


def probabilities(query, key, bias, rows: slice) -> torch.Tensor:
    scores = (query / math.sqrt(query.shape[-1])) @ key.transpose(-1, -2)
    if bias is not None:
        scores += bias[rows]
    return scores.softmax(-1)


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
    def __init__(self, config: BertConfig):
        super().__init__()
        self.self = SelfAttention(config)
        self.output = Residual(config, config.hidden_size)

    def forward(self, hidden: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        return self.output(self.self(hidden, bias), hidden)


class Intermediate(nn.Module):
    def __init__(self, config: BertConfig):
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.intermediate_size)
        self.activation = ACTIVATIONS[config.hidden_act]

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.activation(self.dense(hidden))  # (B, T, I)


class Layer(nn.Module):
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

    def forward(self, hidden: torch.Tensor, bias: torch.Tensor | None, mask: torch.Tensor | None) -> torch.Tensor:
        for layer in self.layer:
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
    """

    def __init__(self, config: BertConfig, pooler: bool = True, make: Callable[[BertConfig], nn.Module] = Layer):
        super().__init__()
        self.config = config
        self.embeddings = Embeddings(config)
        self.encoder = Encoder(config, make)
        self.pooler = Pooler(config) if pooler else None
        initialise(self, config.initializer_range)

    def forward(self, ids, mask=None, segments=None) -> tuple[torch.Tensor, torch.Tensor | None]:
        hidden = self.embeddings(ids, segments)
        hidden = self.encoder(hidden, attention_bias(mask, hidden.dtype), mask)
        return hidden, None if self.pooler is None else self.pooler(hidden)


def attention_bias(mask: torch.Tensor | None, dtype: torch.dtype) -> torch.Tensor | None:
    """0 on real tokens and the most negative number of `dtype` on padding: (B, T) -> (B, 1, 1, T)."""
    if mask is None:
        return None
    if torch.is_autocast_enabled(mask.device.type):
        dtype = torch.get_autocast_dtype(mask.device.type)  # the scores' dtype: a wider bias would overflow in it
    bias = torch.zeros(mask.shape, dtype=dtype, device=mask.device)
    return bias.masked_fill_(mask == 0, torch.finfo(dtype).min)[:, None, None, :]


def initialise(module: nn.Module, std: float) -> None:
    """BERT's initialisation: weights from a normal of standard deviation `std`, biases 0, LayerNorms 1 and 0."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Embedding):
            nn.init.normal_(part.weight, std=std)
        if isinstance(part, nn.Linear) and part.bias is not None:
            nn.init.zeros_(part.bias)


class BertClassifier(nn.Module):
    """The pooled [CLS] -> dropout -> Linear(H -> C): (ids, mask, segments) -> logits (B, C). Everything is trained."""

    def __init__(
        self,
        config: BertConfig,
        num_labels: int,
        dropout: float = 0.3,
        make: Callable[[BertConfig], nn.Module] = Layer,
    ):
        super().__init__()
        self.bert = Bert(config, make=make)
        self.dropout = Dropout(dropout)
        self.classifier = nn.Linear(config.hidden_size, num_labels)
        initialise(self.classifier, config.initializer_range)

    def forward(self, ids, mask=None, segments=None) -> torch.Tensor:
        _, pooled = self.bert(ids, mask, segments)
        return self.classifier(self.dropout(pooled))  # (B, C)
