"""LSTMs over sequences of unequal length, and the classifier over frozen BERT embeddings.

Dimensions: B batch, T tokens, H input size, S LSTM units per direction, C classes.
"""

import functools

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from textcls.models.bert import BertConfig, Embeddings, initialise
from textcls.models.dropout import Dropout, dropout
from textcls.models.heads import Pooling, output_layer

# The form that an LSTM takes on a device. The rule: the one that trains faster, and on CUDA the packed one, which keeps
# less, unless the padded one takes at most 95 % of its time in float32 over batches of 16 to 128. benchmarks/gpu.py
# measures that and prints this line; on CUDA it has not been measured yet. (ledger/blocks.py counts what each keeps:
# the padded one on the CPU, the packed one on CUDA.)
FORMS = {"cpu": "padded", "cuda": "packed"}


class LSTM(nn.LSTM):
    """An `nn.LSTM` (same weights, same names), bidirectional by default, that never reads padding.

    (x (B, T, H), lengths (B,)) -> (B, T, S), or (B, T, 2S) in both directions. Each row equals the LSTM run on that row
    alone at its true length; outputs past a row's length are unspecified in the padded form and 0 in the packed form,
    so mask them.

    Two exact forms, of which FORMS chooses. `packed` is `pack_padded_sequence`: on CUDA, cuDNN runs it natively. On the
    CPU torch runs packed input one step after the other in native code, and only padded input reaches oneDNN's LSTM, so
    there `padded` runs one forward LSTM over the padded batch and one over the batch reversed within each row's true
    length.
    """

    def __init__(self, input_size: int, units: int, layers: int = 1, dropout: float = 0.0, bidirectional: bool = True):
        super().__init__(
            input_size,
            units,
            layers,
            batch_first=True,
            bidirectional=bidirectional,
            dropout=dropout if layers > 1 else 0.0,
        )

    @property
    def features(self) -> int:
        """Numbers that come out at each step."""
        return self.hidden_size * (2 if self.bidirectional else 1)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        return getattr(self, FORMS[x.device.type])(x, lengths)

    def packed(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        with lstm_precision(x.device):
            x = x.to(torch.promote_types(x.dtype, self.weight_ih_l0.dtype))
            packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
            out, _ = super().forward(packed)
        return pad_packed_sequence(out, batch_first=True, total_length=x.shape[1])[0]

    def padded(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        reversal = reverse_index(lengths, x.shape[1]) if self.bidirectional else None
        for layer in range(self.num_layers):
            if layer > 0:
                x = dropout(x, self.dropout, self.training)
            out = self._direction(x, f"l{layer}")
            if reversal is not None:
                back = self._direction(take(x, reversal), f"l{layer}_reverse")
                out = torch.cat([out, take(back, reversal)], dim=-1)  # (B, T, 2S)
            x = out
        return x

    def _direction(self, x: torch.Tensor, suffix: str) -> torch.Tensor:
        weights = [getattr(self, f"{name}_{suffix}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        with lstm_precision(x.device):
            x = x.to(torch.promote_types(x.dtype, weights[0].dtype))
            zeros = x.new_zeros(1, x.shape[0], self.hidden_size)
            out, _, _ = torch.lstm(x, (zeros, zeros), weights, True, 1, 0.0, self.training, False, True)
        return out  # (B, T, S)


def lstm_precision(device: torch.device):
    """Autocast for an LSTM: off on processors for which oneDNN has no bf16 LSTM, where torch.lstm would fail; and on
    CUDA in bf16, since autocast's LSTM of cuDNN is one in fp16 whatever the type (ATen/cudnn/AutocastRNN.cpp), and
    without the gradient scaler that fp16 needs."""
    kind = device.type
    enabled = torch.is_autocast_enabled(kind)
    if enabled:
        enabled = has_bf16_lstm() if kind == "cpu" else torch.get_autocast_dtype(kind) == torch.float16
    return torch.autocast(kind, enabled=enabled)


@functools.cache
def has_bf16_lstm() -> bool:
    """Whether this processor runs an LSTM in bf16: tried once, on one step of zeros."""
    x = torch.zeros(1, 1, 1, dtype=torch.bfloat16)
    weights = [x[0].expand(4, 1).contiguous(), x[0].expand(4, 1).contiguous(), x[0, 0].repeat(4), x[0, 0].repeat(4)]
    try:
        with torch.no_grad():
            torch.lstm(x, (x, x), weights, True, 1, 0.0, True, False, True)
    except RuntimeError:
        return False
    return True


def reverse_index(lengths: torch.Tensor, T: int) -> torch.Tensor:
    """index[b, t] = lengths[b] - 1 - t on real steps and t on padding: its own inverse. (B,) -> (B, T)."""
    steps = torch.arange(T, device=lengths.device)
    mirrored = lengths[:, None] - 1 - steps
    return torch.where(mirrored >= 0, mirrored, steps)


def take(x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """x[b, index[b, t]]: (B, T, S), (B, T) -> (B, T, S)."""
    return x.gather(1, index[:, :, None].expand(-1, -1, x.shape[-1]))


def true_lengths(ids: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Real steps of each row: (B, T), (B, T) | None -> (B,)."""
    if mask is None:
        return torch.full(ids.shape[:1], ids.shape[1], dtype=torch.int64, device=ids.device)
    return mask.sum(1)


class FrozenEmbeddings(Embeddings):
    """BERT's embedding layer, which no training changes: (ids (B, T), mask, segments (B, T) | None) -> (B, T, H)."""

    def __init__(self, config: BertConfig):
        super().__init__(config)
        self.features = config.hidden_size
        initialise(self, config.initializer_range)
        self.requires_grad_(False)

    def train(self, mode: bool = True):
        return super().train(False)  # its dropout must not come alive with the rest

    @torch.no_grad()
    def forward(self, ids, mask=None, segments=None, features=None) -> torch.Tensor:
        return super().forward(ids, segments)


class BiLSTMClassifier(nn.Module):
    """Frozen BERT embeddings -> BiLSTM -> attention pooling -> LayerNorm, Linear, GELU, dropout, Linear -> (B, C).

    `pooling` may be another of heads.POOLINGS; the parameter counts are those of attention.
    """

    def __init__(
        self,
        config: BertConfig,
        num_labels: int,
        hidden: int = 384,
        layers: int = 2,
        dropout: float = 0.3,
        pooling: str = "attention",
    ):
        super().__init__()
        self.embeddings = FrozenEmbeddings(config)
        self.lstm = LSTM(config.hidden_size, hidden, layers, dropout)
        self.pooling = Pooling(pooling, 2 * hidden)
        self.head = nn.Sequential(
            nn.LayerNorm(self.pooling.features),
            nn.Linear(self.pooling.features, hidden),
            nn.GELU(),
            Dropout(dropout),
            output_layer(hidden, num_labels),
        )
        self.train()

    def forward(self, ids, mask=None, segments=None) -> torch.Tensor:
        x = self.embeddings(ids, mask, segments)  # (B, T, H)
        return self.head(self.pooling(self.lstm(x, true_lengths(ids, mask)), mask))
