"""ELMo: a word's vectors from its characters and from what stands before and after it (Peters et al., 2018, "Deep
contextualized word representations"; allenai/bilm-tf).

Dimensions: B texts, T words, K characters of a word, U distinct words, N filters, P size of a direction's vectors,
L layers of LSTMs, D = 2 directions.
"""

import dataclasses
import itertools

import torch
from torch import nn
from torch.nn import functional as F

from textcls.models.lstm import reverse_index
from textcls.models.projected_lstm import ProjectedLSTM, State

# Characters by number: 0 is padding of texts; a byte b is b + 1; and the five that no byte is.
SENTENCE_BEGIN, SENTENCE_END, WORD_BEGIN, WORD_END, WORD_PADDING = 257, 258, 259, 260, 261
CHARACTERS = 262
LAYERS = ("mix", "average", "concatenate", "top")
ACTIVATIONS = {"relu": torch.relu, "tanh": torch.tanh}
LARGEST = 100_000  # of any size
DEEPEST = 100  # layers, highways, widths of filters
MOST = 2**31  # words; numbers of the matrices together

Carry = tuple[State, ...]  # of each layer, (directions, B, …)


@dataclasses.dataclass(frozen=True)
class ElmoConfig:
    """The shape of a biLM, in the terms of its options.json. `filters`: (characters that a filter sees, how many such
    filters). `projection` is P; a word's vector in a layer has 2P numbers."""

    filters: tuple[tuple[int, int], ...]
    projection: int
    cells: int
    layers: int = 2
    characters: int = 16
    highways: int = 1
    activation: str = "relu"
    skip: bool = True
    cell_clip: float | None = 3.0
    proj_clip: float | None = 3.0
    word_length: int = 50
    vocab_size: int = 0  # words that a language model chooses from; none where it only makes vectors

    def __post_init__(self):
        object.__setattr__(self, "filters", tuple(map(tuple, self.filters)))  # lists, where they come from JSON
        sizes = self.projection, self.cells, self.characters, self.word_length, *itertools.chain(*self.filters)
        if not (self.filters and all(0 < size <= LARGEST for size in sizes)):
            raise ValueError(f"sizes of a biLM are from 1 to {LARGEST}, got {sizes}")
        if not (0 < self.layers <= DEEPEST and 0 <= self.highways <= DEEPEST and 0 <= self.vocab_size <= MOST):
            raise ValueError(f"a biLM of {self.layers} layers, {self.highways} highways, {self.vocab_size} words")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation {self.activation!r:.60} is not one of {', '.join(ACTIVATIONS)}")
        if any(clip is not None and not clip > 0 for clip in (self.cell_clip, self.proj_clip)):
            raise ValueError(f"clips are above 0, got {self.cell_clip} and {self.proj_clip}")

    @property
    def hidden_size(self) -> int:
        """Numbers of a word's vector in one layer."""
        return 2 * self.projection

    @property
    def num_filters(self) -> int:
        return sum(count for _, count in self.filters)

    @property
    def widest(self) -> int:
        return max(width for width, _ in self.filters)


class Highway(nn.Module):
    """c relu(x W + b) + (1 - c) x with c = sigmoid(x W' + b') (Srivastava et al., 2015): (U, N) -> (U, N)."""

    def __init__(self, size: int):
        super().__init__()
        self.transform, self.carry = nn.Linear(size, size), nn.Linear(size, size)
        nn.init.constant_(self.carry.bias, -2.0)  # at first most of x goes through

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.lerp(x, self.transform(x).relu(), self.carry(x).sigmoid())


class CharacterEncoder(nn.Module):
    """The vector of a word from its characters alone: convolutions, their maxima over the places, highways, and a
    projection: (…, K) -> (…, P). Every distinct word is computed once."""

    def __init__(self, config: ElmoConfig):
        super().__init__()
        self.activation, self.widest = ACTIVATIONS[config.activation], config.widest
        self.embedding = nn.Embedding(CHARACTERS, config.characters, padding_idx=0)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(config.characters, count, width) for width, count in config.filters
        )
        self.highways = nn.ModuleList(Highway(config.num_filters) for _ in range(config.highways))
        self.projection = nn.Linear(config.num_filters, config.projection)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        distinct, numbers = torch.unique(ids.flatten(0, -2), dim=0, return_inverse=True)
        # In float32, as the LSTMs above: without cuDNN's shorter mantissas too.
        with torch.autocast(ids.device.type, enabled=False), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            return self.of(distinct)[numbers].reshape(*ids.shape[:-1], -1)

    def of(self, characters: torch.Tensor) -> torch.Tensor:
        """(U, K) -> (U, P)."""
        x = self.embedding(self.cut(characters)).transpose(1, 2)  # (U, characters, K)
        maxima = [convolution(x).max(-1).values for convolution in self.convolutions]
        x = self.activation(torch.cat(maxima, 1))  # (U, N)
        for highway in self.highways:
            x = highway(x)
        return self.projection(x)

    def cut(self, characters: torch.Tensor) -> torch.Tensor:
        """Without places at the end at which every filter sees nothing but padding, but for one such place each: the
        maxima are the same."""
        if torch.jit.is_tracing():  # a graph has the same for whatever it reads
            return characters
        return characters[:, : places(characters, self.widest)]


def places(characters: torch.Tensor, widest: int) -> int:
    """Of (U, K) characters the first so many decide about the vectors."""
    filled = (characters != WORD_PADDING) & (characters != 0)
    last = int(filled.any(0).nonzero().max()) + 1 if filled.any() else 0
    return min(characters.shape[1], last + widest)


class BiLM(nn.Module):
    """ELMo's language model, as far as it makes vectors: (ids (B, T, K), mask (B, T) | None) -> (B, T, L + 1, 2P), in
    layer 0 the word's own vector twice, above it forward and backward states side by side.

    `ids` are the characters of words; sentence begin and end are added here, and dropped. What comes out for a word
    depends on its text alone. With `carry` the module does what the original did: the state of each row, where its text
    ends, goes on into the row of the next call, and the vectors depend on what was read before.
    """

    def __init__(self, config: ElmoConfig, carry: bool = False, dropout: float = 0.0):
        super().__init__()
        self.config, self.carry, self.state = config, carry, None
        self.words = CharacterEncoder(config)
        sizes = config.projection, config.cells, config.projection, config.cell_clip, config.proj_clip, dropout
        self.lstms = nn.ModuleList(ProjectedLSTM(*sizes) for _ in range(config.layers))

    def forward(self, ids: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        lengths = torch.full(ids.shape[:1], ids.shape[1], device=ids.device) if mask is None else mask.sum(1)
        sentence = with_ends(ids, lengths)  # (B, T + 2, K)
        T, lengths = sentence.shape[1], lengths + 2
        order = reverse_index(lengths, T).T  # (T, B)
        forward = self.words(sentence).transpose(0, 1)  # (T, B, P)
        x = torch.stack([forward, take(forward, order)])  # (D, T, B, P)
        layers, states = self.run(x, self.known(len(ids)) if self.carry else None)
        if self.carry:
            self.keep(ends(states, lengths - 1))
        both = [torch.cat([there, take(back, order)], -1) for there, back in layers]  # L + 1 times (T + 2, B, 2P)
        return torch.stack(both, 2)[1:-1].transpose(0, 1)

    def run(self, x: torch.Tensor, carry: Carry | None = None) -> tuple[list[torch.Tensor], list[State]]:
        """All layers over the steps of each direction in its own order: (D, T, B, P) -> (L + 1 times (D, T, B, P), of
        each LSTM what all its steps gave, and their cells)."""
        layers, states = [x], []
        for number, lstm in enumerate(self.lstms):
            hidden, cells = lstm(x, None if carry is None else carry[number])
            x = hidden + x if self.config.skip and number > 0 else hidden
            layers.append(x)
            states.append((hidden, cells))
        return layers, states

    def known(self, rows: int) -> Carry | None:
        """The state that so many rows go on with; a row that there was none of begins at zero."""
        if self.state is None:
            return None
        return tuple(tuple(resized(part, rows) for part in layer) for layer in self.state)

    def keep(self, state: Carry) -> None:
        """Rows beyond those of the last batch stay what they were."""
        rows = state[0][0].shape[1]
        if self.state is not None and self.state[0][0].shape[1] > rows:
            state = tuple(
                tuple(torch.cat([new, old[:, rows:]], 1) for new, old in zip(*layers, strict=True))
                for layers in zip(state, self.state, strict=True)
            )
        self.state = tuple(tuple(part.detach() for part in layer) for layer in state)


def with_ends(ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """A sentence begin before the first word and a sentence end after the last: (B, T, K), (B,) -> (B, T + 2, K)."""
    steps = torch.arange(ids.shape[1] + 2, device=ids.device)
    real = (steps <= lengths[:, None])[:, :, None]
    last = (steps == lengths[:, None] + 1)[:, :, None]
    result = F.pad(ids, (0, 0, 1, 1)) * real
    result = torch.where(last, end_word(SENTENCE_END, ids), result)
    return torch.where((steps == 0)[:, None], end_word(SENTENCE_BEGIN, ids), result)


def end_word(character: int, ids: torch.Tensor) -> torch.Tensor:
    """A sentence's begin or end as a word of one character: (K,)."""
    word = ids.new_full(ids.shape[-1:], WORD_PADDING)
    word[:3] = ids.new_tensor([WORD_BEGIN, character, WORD_END])
    return word


def take(x: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """x[order[t, b], b]: (T, B, F), (T, B) -> (T, B, F)."""
    return x.gather(0, order[:, :, None].expand(-1, -1, x.shape[-1]))


def ends(states: list[State], last: torch.Tensor) -> Carry:
    """The state after each row's step `last` (B,)."""
    rows = torch.arange(len(last), device=last.device)
    return tuple((hidden[:, last, rows], cells[:, last, rows]) for hidden, cells in states)


def resized(part: torch.Tensor, rows: int) -> torch.Tensor:
    """(D, R, F) -> (D, rows, F): the first ones, and zeros for what is missing."""
    missing = max(0, rows - part.shape[1])
    return torch.cat([part[:, :rows], part.new_zeros(len(part), missing, part.shape[2])], 1)


class ScalarMix(nn.Module):
    """gamma * sum_k softmax(w)_k layer_k, with w = 0 and gamma = 1 at first: (B, T, L + 1, F) -> (B, T, F).

    With `norm` each layer of a text is brought to mean 0 and variance 1 over its real words before. (The original takes
    mean and variance over the whole batch, in which a text's vectors depend on its neighbours.)
    """

    EPS = 1e-12

    def __init__(self, layers: int, norm: bool = False):
        super().__init__()
        self.norm = norm
        self.weights = nn.ParameterList(nn.Parameter(torch.zeros(())) for _ in range(layers))
        self.gamma = nn.Parameter(torch.ones(()))

    def forward(self, layers: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        if self.norm:
            layers = normalised(layers, mask, self.EPS)
        with torch.autocast(layers.device.type, enabled=False):
            shares = torch.stack(list(self.weights)).softmax(0)[:, None]
            return self.gamma * (layers.transpose(2, 3) @ shares).squeeze(3)

    def penalty(self) -> torch.Tensor:
        """The sum of the squares of w."""
        return torch.stack(list(self.weights)).square().sum()


def normalised(layers: torch.Tensor, mask: torch.Tensor | None, eps: float) -> torch.Tensor:
    """Each layer of a text with mean 0 and variance 1 over its words and their numbers: (B, T, L + 1, F)."""
    if mask is None:
        mask = layers.new_ones(layers.shape[:2])
    real = mask[:, :, None, None].to(layers.dtype)
    count = (real.sum((1, 3), keepdim=True) * layers.shape[3]).clamp(min=1)
    mean = (layers * real).sum((1, 3), keepdim=True) / count
    variance = ((layers - mean) * real).square().sum((1, 3), keepdim=True) / count
    return (layers - mean) / (variance + eps).sqrt()


class ElmoVectors(nn.Module):
    """A biLM as a source of vectors, frozen or tuned: (ids (B, T, K), mask, segments) -> (B, T, F).

    `layers`: `mix` learns how much each counts, `average` is their mean, `concatenate` all of them side by side, `top`
    the last. `features`, where given, are what :meth:`encode` gave before (B, T, encoded_size).
    """

    pooled = None  # what `encode` gives is kept for every token; see pretrained/features.py

    def __init__(self, config: ElmoConfig, frozen: bool, layers: str = "mix", norm: bool = False):
        super().__init__()
        if layers not in LAYERS:
            raise ValueError(f"layers {layers!r} is not one of {', '.join(LAYERS)}")
        self.dims, self.frozen, self.layers = config, frozen, layers
        self.encoded = layers if layers in ("average", "top") else "every layer"
        every = config.layers + 1
        self.encoded_size = config.hidden_size * (every if layers in ("mix", "concatenate") else 1)
        self.features = config.hidden_size * (every if layers == "concatenate" else 1)
        self.bilm = BiLM(config).requires_grad_(not frozen)
        self.mix = ScalarMix(every, norm) if layers == "mix" else None

    def forward(self, ids, mask=None, segments=None, features=None) -> torch.Tensor:
        if features is None:
            with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
                features = self.encode(ids, mask, segments)
        if self.mix is None:
            return features
        return self.mix(features.reshape(*features.shape[:2], len(self.mix.weights), -1), mask)

    def encode(self, ids, mask=None, segments=None) -> torch.Tensor:
        """What does not change while the biLM is frozen: (B, T, encoded_size)."""
        layers = self.bilm(ids, mask)
        if self.layers == "average":
            return layers.mean(2)
        return layers[:, :, -1] if self.layers == "top" else layers.flatten(2)
