"""Language models: next-word prediction by an LSTM whose state goes on from window to window, and ELMo's, which
predicts the next word and the word before.

Both give their losses themselves: `losses({name: targets (B, T)}, carry, smoothing, **inputs) -> ({name: negative
log-likelihood, summed, in nats}, carry)`.

Dimensions: B streams of text, T words of a window, V vocabulary, H size of the word vectors and of every layer, K
characters of a word, D = 2 directions, P size of a direction's vectors.
"""

import torch
from torch import nn
from torch.nn import functional as F

from textcls.models.dropout import Dropout
from textcls.models.elmo import BiLM, Carry, ElmoConfig
from textcls.models.lstm import lstm_precision
from textcls.models.recurrent import WordDims

Losses = tuple[dict[str, torch.Tensor], Carry]


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
            with lstm_precision(x.device):
                x, end = layer(x, None if carry is None else carry[number])
            x = self.locked(x)
            ends.append(end)
        return F.linear(x, self.words.weight, self.bias), tuple(ends)

    def locked(self, x: torch.Tensor) -> torch.Tensor:
        """Dropout with one mask for all words of a stream's window: (B, T, H) -> (B, T, H)."""
        if not self.training or self.dropout == 0:
            return x
        return x * F.dropout(torch.ones_like(x[:, :1]), self.dropout)

    def next_word(self, ids: torch.Tensor, carry: Carry | None = None) -> tuple[torch.Tensor, Carry]:
        """Logits of the word after each: (B, T) -> (B, T, V)."""
        return self(ids, carry)

    def losses(self, targets: dict, carry: Carry | None = None, smoothing: float = 0.0, **inputs) -> Losses:
        logits, carry = self(**inputs, carry=carry)
        logits = logits.flatten(0, 1).to(torch.float32 if self.training else torch.float64)
        total = F.cross_entropy(logits, targets["words"].flatten(), reduction="sum", label_smoothing=smoothing)
        return {"word": total}, carry


class BiLanguageModel(nn.Module):
    """ELMo's biLM with the softmax that trains it: (ids (B, T, K), backward (B, T, K), carry) -> (states (D, B, T, P),
    carry).

    `ids` are a text's words in their order, `backward` the words of the same lines in the opposite order; each
    direction predicts its own next word, by one softmax for both. Where the vocabulary is large the softmax is adaptive
    (Grave et al., 2017): words of lower ranks in clusters, with smaller vectors. Its probabilities are exact.
    """

    CUTOFFS = (2000, 10_000)  # ranks at which the words of an adaptive softmax are divided
    SHRINK = 2.0  # from one cluster's vectors to the next one's

    def __init__(self, config: ElmoConfig, dropout: float = 0.1):
        super().__init__()
        self.bilm = BiLM(config, dropout=dropout)
        self.dropout = Dropout(dropout)
        cutoffs = cutoffs_of(config.vocab_size)
        self.has_unused_parameters = bool(cutoffs)  # where no word of a batch is in some cluster
        self.softmax = (
            nn.AdaptiveLogSoftmaxWithLoss(config.projection, config.vocab_size, cutoffs, self.SHRINK, head_bias=True)
            if cutoffs
            else nn.Linear(config.projection, config.vocab_size)
        )

    def forward(
        self, ids: torch.Tensor, backward: torch.Tensor, carry: Carry | None = None
    ) -> tuple[torch.Tensor, Carry]:
        x = self.bilm.words(torch.stack([ids, backward]))  # (D, B, T, P)
        layers, states = self.bilm.run(x.transpose(1, 2), carry)
        carry = tuple((hidden[:, -1], cells[:, -1]) for hidden, cells in states)
        return self.dropout(layers[-1]).transpose(1, 2), carry

    def losses(self, targets: dict, carry: Carry | None = None, smoothing: float = 0.0, **inputs) -> Losses:
        """`smoothing` is 0: an adaptive softmax has no probability of every word at hand."""
        states, carry = self(**inputs, carry=carry)
        of_directions = zip(("forward", "backward"), states, strict=True)
        return {name: self.nll(of, targets[name]) for name, of in of_directions}, carry

    def nll(self, states: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        """(B, T, P), (B, T) -> the sum over all words; a number below 0 is none."""
        states, words = states[words >= 0], words[words >= 0]
        with torch.autocast(states.device.type, enabled=False):  # an adaptive one writes its clusters into one tensor
            if isinstance(self.softmax, nn.Linear):
                return F.cross_entropy(self.softmax(states), words, reduction="sum")
            return -self.softmax(states, words).output.sum()

    def next_word(self, ids: torch.Tensor, carry: Carry | None = None) -> tuple[torch.Tensor, Carry]:
        """Logits of the word after each, normalised, read forward alone: (B, T, K) -> (B, T, V)."""
        states, carry = self(ids, ids, carry)
        forward = states[0].flatten(0, 1)
        with torch.autocast(forward.device.type, enabled=False):
            adaptive = isinstance(self.softmax, nn.AdaptiveLogSoftmaxWithLoss)
            scores = self.softmax.log_prob(forward) if adaptive else self.softmax(forward).log_softmax(-1)
        return scores.unflatten(0, ids.shape[:2]), carry


def cutoffs_of(vocab_size: int) -> list[int]:
    """Where an adaptive softmax over so many words is divided; [] for a vocabulary small enough for one product."""
    return [rank for rank in BiLanguageModel.CUTOFFS if 2 * rank < vocab_size]


def detached(carry: Carry) -> Carry:
    """The same state with its history cut off: gradients end at the window's beginning."""
    return tuple((h.detach(), c.detach()) for h, c in carry)
