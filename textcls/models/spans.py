"""Where an answer begins and where it ends: two logits for every token of a question and a window of its passage.

In bf16 many tokens of a window would have the same logit, so that the last layer is in float32.

Dimensions: B windows, T tokens, H hidden, F features of a token, S LSTM units per direction.
"""

from collections.abc import Callable

import torch
from torch import nn

from textcls.models.bert import Bert, BertConfig, Layer, initialise
from textcls.models.dropout import Dropout
from textcls.models.heads import Float32Linear
from textcls.models.lstm import LSTM, true_lengths
from textcls.models.recurrent import Recurrent


class SpanModel(nn.Module):
    """BERT -> dropout -> Linear(H -> 2): (ids, mask, segments) -> float32 logits (B, T, 2) of the answer's first and
    last token. With `decoder_layers` a bidirectional LSTM of `units` per direction (default: H / 2) reads BERT's
    hidden states, with dropout before it, between its layers and after it, and the Linear what it makes of them.

    The names are the published ones, `bert` and `qa_outputs`: a state dict of Hugging Face's BertForQuestionAnswering
    is one of this model without a decoder (Devlin et al., 2019, section 4.2).
    """

    def __init__(
        self,
        config: BertConfig,
        dropout: float = 0.0,
        decoder_layers: int = 0,
        units: int | None = None,
        make: Callable[[BertConfig], nn.Module] = Layer,
    ):
        super().__init__()
        H = config.hidden_size
        self.bert = Bert(config, pooler=False, make=make)
        self.dropout = Dropout(dropout)
        self.decoder = LSTM(H, units or H // 2, decoder_layers, dropout) if decoder_layers else None
        self.qa_outputs = Float32Linear(self.decoder.features if self.decoder else H, 2)
        initialise(self.qa_outputs, config.initializer_range)

    def forward(self, ids, mask=None, segments=None) -> torch.Tensor:
        hidden, _ = self.bert(ids, mask, segments)
        if self.decoder is not None:
            hidden = self.decoder(self.dropout(hidden), true_lengths(ids, mask))
        return self.qa_outputs(self.dropout(hidden))  # (B, T, 2)


class RecurrentSpanModel(nn.Module):
    """An LSTM over a source of vectors -> dropout -> Linear(F -> 2): (ids, mask, segments) -> float32 logits
    (B, T, 2)."""

    def __init__(self, encoder: Recurrent, dropout: float = 0.0):
        super().__init__()
        self.encoder = encoder
        self.dropout = Dropout(dropout)
        self.qa_outputs = Float32Linear(encoder.features, 2)

    def forward(self, ids, mask=None, segments=None) -> torch.Tensor:
        return self.qa_outputs(self.dropout(self.encoder(ids, mask, segments)))  # (B, T, 2)
