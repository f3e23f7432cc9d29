"""ELMo's biLM beside the same biLM with a module call a gate, step and direction; its recurrent layer beside torch's.

OMP_NUM_THREADS=1 python benchmarks/elmo.py --threads 1

Rows, at the size of the published small model and at that of one's own biLM (the recipe's default):

- whole: characters -> vectors, forward and backward, and forward alone under no_grad. The peer convolves all 50 places
  of every word; ours every distinct word once, as far as the longest one reaches.
- layer: one layer of both directions alone, forward and backward, on the batch's steps (sentence begin and end
  included), against the peer's cells, `nn.LSTM(proj_size=…, bidirectional=True)`, which does not clip (and which
  oneDNN does not know: torch's own loop), and our own formulas step by step through autograd.

The words are made up: a vocabulary of 20,000 whose frequencies follow Zipf's law, 1 / rank, so that rather more than
half the words of a batch are distinct, and with four to five letters on average, the rarer the longer, as in English
(lines from random places of Wikipedia, 32 x 30 and 64 x 20 words: 53 % and 52 %, 4.3 letters). `--distinct` draws no
word twice.

Weights are copied, and outputs compared, before anything is timed. The contenders take turns, in one process; a ratio
is the median over the rounds, over 1 where ours is faster, beside the smallest and largest.
"""

import argparse
import json
import pathlib
import statistics
import sys
import time
import warnings

import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
from textcls.models.elmo import (  # noqa: E402
    WORD_BEGIN,
    WORD_END,
    WORD_PADDING,
    BiLM,
    CharacterEncoder,
    ElmoConfig,
    with_ends,
)
from textcls.models.projected_lstm import ProjectedLSTM  # noqa: E402

SMALL = ((1, 32), (2, 32), (3, 64), (4, 128))
PUBLISHED = (*SMALL, (5, 256), (6, 512), (7, 1024))
SIZES = {  # shape, texts of a batch, words of a text
    "published": (ElmoConfig(PUBLISHED, projection=128, cells=1024), 32, 30),
    "own": (ElmoConfig(SMALL, projection=128, cells=512), 64, 20),
}
VOCABULARY = 20_000
TOLERANCE = 1e-4


# ---- the peer --------------------------------------------------------------------------------------------------------


class Gate(nn.Module):
    """One gate of one direction: (x_t, h_t-1) side by side -> (B, S)."""

    def __init__(self, inputs: int, cells: int, activation):
        super().__init__()
        self.linear, self.activation = nn.Linear(inputs, cells), activation

    def forward(self, both: torch.Tensor) -> torch.Tensor:
        return self.activation(self.linear(both))


class Cell(nn.Module):
    """One step of one direction, with the weights of a direction of `layer`; the forget gate's 1 is in its bias."""

    def __init__(self, layer: ProjectedLSTM, direction: int):
        super().__init__()
        rows, four = layer.weight[direction].shape
        cells, size = layer.projection[direction].shape
        self.clips = layer.cell_clip, layer.proj_clip
        activations = torch.sigmoid, torch.tanh, torch.sigmoid, torch.sigmoid
        self.gates = nn.ModuleList(Gate(rows, four // 4, activation) for activation in activations)
        self.projection = nn.Linear(cells, size, bias=False)
        with torch.no_grad():
            self.projection.weight.copy_(layer.projection[direction].T)
            weights, biases = layer.weight[direction].chunk(4, 1), layer.full_bias()[direction].chunk(4)
            for gate, weight, bias in zip(self.gates, weights, biases, strict=True):
                gate.linear.weight.copy_(weight.T)
                gate.linear.bias.copy_(bias)

    def forward(self, x: torch.Tensor, h: torch.Tensor, c: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        both = torch.cat([x, h], 1)
        i, j, f, o = (gate(both) for gate in self.gates)
        c = (f * c + i * j).clamp(-self.clips[0], self.clips[0])
        return self.projection(o * c.tanh()).clamp(-self.clips[1], self.clips[1]), c


class PeerLayer(nn.Module):
    """Both directions of a layer, one after the other: (D, T, B, P) -> (D, T, B, P)."""

    def __init__(self, layer: ProjectedLSTM):
        super().__init__()
        self.cells = nn.ModuleList(Cell(layer, direction) for direction in range(2))
        self.sizes = layer.projection.shape[2], layer.projection.shape[1]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        directions = []
        for cell, steps in zip(self.cells, x, strict=True):
            h, c = (steps.new_zeros(steps.shape[1], size) for size in self.sizes)
            out = []
            for step in steps:
                h, c = cell(step, h, c)
                out.append(h)
            directions.append(torch.stack(out))
        return torch.stack(directions)


class EveryPlace(CharacterEncoder):
    """All places of all words: (…, K) -> (…, P)."""

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.of(ids.flatten(0, -2)).unflatten(0, ids.shape[:-1])

    def cut(self, characters: torch.Tensor) -> torch.Tensor:
        return characters


class Peer(nn.Module):
    """(ids (B, T, K)) -> (B, T, L + 1, 2P), with the weights of `bilm`; of texts of one length."""

    def __init__(self, bilm: BiLM):
        super().__init__()
        self.skip = bilm.config.skip
        self.words = EveryPlace(bilm.config)
        self.words.load_state_dict(bilm.words.state_dict())
        self.layers = nn.ModuleList(map(PeerLayer, bilm.lstms))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        sentence = with_ends(ids, torch.full(ids.shape[:1], ids.shape[1]))
        token = self.words(sentence).transpose(0, 1)  # (T + 2, B, P)
        x, layers = torch.stack([token, token.flip(0)]), [torch.cat([token, token], 2)]
        for number, layer in enumerate(self.layers):
            hidden = layer(x)
            x = hidden + x if self.skip and number > 0 else hidden
            layers.append(torch.cat([x[0], x[1].flip(0)], 2))
        return torch.stack(layers, 2)[1:-1].transpose(0, 1)


def torchs_lstm(layer: ProjectedLSTM) -> nn.LSTM:
    """Both directions of `layer`, without its clips: (T, B, P) -> (T, B, 2P)."""
    (_, cells, size), rows = layer.projection.shape, layer.weight.shape[1]
    lstm = nn.LSTM(rows - size, cells, proj_size=size, bidirectional=True)
    order = torch.arange(4 * cells).view(4, cells)[[0, 2, 1, 3]].flatten()  # i, f, g (our j), o
    with torch.no_grad():
        for direction, suffix in enumerate(("l0", "l0_reverse")):
            weight = layer.weight[direction, :, order].T
            getattr(lstm, f"weight_ih_{suffix}").copy_(weight[:, : rows - size])
            getattr(lstm, f"weight_hh_{suffix}").copy_(weight[:, rows - size :])
            getattr(lstm, f"weight_hr_{suffix}").copy_(layer.projection[direction].T)
            getattr(lstm, f"bias_ih_{suffix}").copy_(layer.full_bias()[direction, order])
            getattr(lstm, f"bias_hh_{suffix}").zero_()
    return lstm


# ---- the work --------------------------------------------------------------------------------------------------------


def made_up(B: int, T: int, distinct: bool, word_length: int, seed: int = 0) -> torch.Tensor:
    """The characters of B x T words: (B, T, K)."""
    rng = np.random.default_rng(seed)
    rank, words = np.arange(1, VOCABULARY + 1), {}
    for length in np.clip(np.rint(rng.normal(1.7 + 0.55 * np.log(rank), 1.8)), 1, 20).astype(int):
        while (word := bytes(rng.integers(ord("a"), ord("z") + 1, length).tolist())) in words:
            length += 1  # there are not so many short ones
        words[word] = None
    drawn = rng.choice(VOCABULARY, B * T, replace=not distinct, p=1 / rank / (1 / rank).sum())
    ids, words = torch.full((B * T, word_length), WORD_PADDING), list(words)
    for row, number in enumerate(drawn):
        letters = [WORD_BEGIN, *(byte + 1 for byte in words[number]), WORD_END]
        ids[row, : len(letters)] = torch.tensor(letters)
    return ids.view(B, T, word_length)


def trained(function, *modules: nn.Module):
    """`function`, its sum's backward pass, and no gradients left."""

    def step():
        function().sum().backward()
        for module in modules:
            module.zero_grad(set_to_none=True)

    return step


def without_gradient(function):
    def step():
        with torch.no_grad():
            function()

    return step


def works(config: ElmoConfig, ids: torch.Tensor):
    """(work, {contender: what to time}) of each row, once their outputs are equal."""
    torch.manual_seed(0)
    ours = BiLM(config)
    peer = Peer(ours)
    equal("whole", ours(ids), peer(ids))
    yield "whole, training", {"ours": trained(lambda: ours(ids), ours), "peer": trained(lambda: peer(ids), peer)}
    yield (
        "whole, inference",
        {"ours": without_gradient(lambda: ours(ids)), "peer": without_gradient(lambda: peer(ids))},
    )
    layer, of_peer = ours.lstms[0], peer.layers[0]
    theirs, x = torchs_lstm(layer), torch.randn(ids.shape[1] + 2, len(ids), config.projection)
    both = torch.stack([x, x.flip(0)]).requires_grad_()
    x.requires_grad_()
    equal("the peer's layer", layer(both)[0], of_peer(both))
    equal("step by step", layer(both)[0], layer.step_by_step(both)[0])
    there, back = theirs(x)[0].chunk(2, 2)
    unclipped = ProjectedLSTM(config.projection, config.cells, config.projection)
    unclipped.load_state_dict(layer.state_dict())
    equal("nn.LSTM", unclipped(both)[0], torch.stack([there, back.flip(0)]))
    contenders = {
        "ours": trained(lambda: layer(both)[0], layer),
        "peer": trained(lambda: of_peer(both), of_peer),
        "nn.LSTM(proj_size)": trained(lambda: theirs(x)[0], theirs),
        "step by step": trained(lambda: layer.step_by_step(both)[0], layer),
    }
    yield "layer, training", contenders


def equal(what: str, ours: torch.Tensor, theirs: torch.Tensor) -> None:
    difference = (ours - theirs).abs().max().item()
    if difference > TOLERANCE:
        raise SystemExit(f"{what}: outputs differ by {difference:.2g}, so this is not the same work")


def timed(contenders: dict, repeat: int) -> dict[str, list[float]]:
    """Seconds of each round, after one that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(repeat + 1):
        for name, step in contenders.items():
            start = time.perf_counter()
            step()
            if number:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, metavar="N")
    parser.add_argument("--repeat", type=int, default=7, metavar="N", help="rounds that count")
    parser.add_argument("--distinct", action="store_true", help="no word twice in a batch")
    parser.add_argument("--json", metavar="FILE", help="every time, in seconds")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    warnings.filterwarnings("ignore", "LSTM with projections is not supported with oneDNN")
    rows, kinds = [], {}
    print("| size | work | against | ratio (range) | ms, ours : theirs |\n|---|---|---|---|---|")
    for size, (config, B, T) in SIZES.items():
        ids = made_up(B, T, arguments.distinct, config.word_length)
        kinds[size] = len(ids.flatten(0, 1).unique(dim=0))
        for work, contenders in works(config, ids):
            seconds = timed(contenders, arguments.repeat)
            rows.append({"size": size, "work": work, "seconds": seconds})
            for name in list(contenders)[1:]:
                print(f"| {size} | {work} | {name} | {compared(seconds['ours'], seconds[name])} |", flush=True)
    described = (f"{size} {B} x {T} words, {kinds[size] / (B * T):.0%} distinct" for size, (_, B, T) in SIZES.items())
    print(f"\nBatches: {'; '.join(described)}. {arguments.threads} thread(s), torch {torch.__version__}.")
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(rows, indent=1), "utf-8")


def compared(ours: list[float], theirs: list[float]) -> str:
    ratios = [their / our for our, their in zip(ours, theirs, strict=True)]
    our, their = (1000 * statistics.median(times) for times in (ours, theirs))
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) | {our:.0f} : {their:.0f}"


if __name__ == "__main__":
    main()
