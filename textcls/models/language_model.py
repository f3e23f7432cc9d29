"""Next-word prediction by an LSTM whose state goes on from window to window.

Dimensions: B streams of text, T words of a window, V vocabulary, H size of the word vectors and of every layer.
"""

import torch
from torch import nn
from torch.nn import functional as F

from textcls.models.lstm import lstm_precision
from textcls.models.recurrent import WordDims

Carry = tuple[tuple[torch.Tensor, torch.Tensor], ...]  # (h, c) of each layer, (1, B, H) both


class LanguageModel(nn.Module):
    """(ids (B, T), carry) -> (logits of the next word (B, T, V), carry).

    Word vectors, LSTM layers, and a Linear whose weights are the word vectors (Press and Wolf, 2017). Dropout on the
    word vectors, between layers and on the output draws one mask a window and stream, shared over time (Gal and
    Ghahramani, 2016). `carry` is None at the start of a text; a carry given back goes on where the window ended, so
    that two windows equal one.
    """

    def __init__(self, dims: WordDims, layers: int = 2, dropout: float = 0.5):
        super().__init__()
        self.dropout = dropout
        self.words = nn.Embedding(dims.vocab_size, dims.hidden_size)
        self.layers = nn.ModuleList(
            nn.LSTM(dims.hidden_size, dims.hidden_size, batch_first=True) for _ in range(layers)
        )
        self.bias = nn.Parameter(torch.zeros(dims.vocab_size))
        nn.init.uniform_(self.words.weight, -0.1, 0.1)

    def forward(self, ids: torch.Tensor, carry: Carry | None = None) -> tuple[torch.Tensor, Carry]:
        x, ends = self.locked(self.words(ids)), []
        for number, layer in enumerate(self.layers):
            with lstm_precision():
                x, end = layer(x, None if carry is None else carry[number])
            x = self.locked(x)
            ends.append(end)
        return F.linear(x, self.words.weight, self.bias), tuple(ends)

    def locked(self, x: torch.Tensor) -> torch.Tensor:
        """Dropout with one mask for all words of a stream's window: (B, T, H) -> (B, T, H)."""
        if not self.training or self.dropout == 0:
            return x
        return x * F.dropout(torch.ones_like(x[:, :1]), self.dropout)


def detached(carry: Carry) -> Carry:
    """The same state with its history cut off: gradients end at the window's beginning."""
    return tuple((h.detach(), c.detach()) for h, c in carry)
