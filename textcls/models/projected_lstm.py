"""LSTM cells with a projection and with clipping, in both directions at once: the layers of ELMo's language model.

Dimensions: D = 2 directions, T steps, B rows, I inputs of a step, S cells, P numbers that a step gives.
"""

import functools
import math

import torch
from torch import nn

from textcls.models.dropout import Dropout

State = tuple[torch.Tensor, torch.Tensor]  # what a step gave (D, B, P), and its cells (D, B, S)


class ProjectedLSTM(nn.Module):
    """A layer of two LSTMs, one for each direction (Sak et al., 2014; the LSTMCell of TensorFlow with `num_proj`):

        i, j, f, o = [x_t, h_t-1] W + b                                     (4S,)
        c_t = clip(sigmoid(f + 1) c_t-1 + sigmoid(i) tanh(j))              within ± cell_clip
        h_t = clip((sigmoid(o) tanh(c_t)) V)                               within ± proj_clip

    (x (D, T, B, I), state before | None) -> (h (D, T, B, P), c (D, T, B, S)); gradients come through h alone. Whoever
    wants the second direction to run backward gives it its steps in that order. The 1 is no part of the published
    weights, and none of ours. A clip of None is none; `dropout` is that of what it reads. `nn.LSTM(proj_size=P)` cannot
    clip, and runs the directions one after the other.
    """

    FORGET = 1.0

    def __init__(
        self,
        inputs: int,
        cells: int,
        size: int,
        cell_clip: float | None = None,
        proj_clip: float | None = None,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.cell_clip, self.proj_clip = cell_clip, proj_clip
        self.dropout = Dropout(dropout)
        self.weight = nn.Parameter(torch.empty(2, inputs + size, 4 * cells))
        self.bias = nn.Parameter(torch.zeros(2, 4 * cells))
        self.projection = nn.Parameter(torch.empty(2, cells, size))
        for matrix in (*self.weight, *self.projection):
            nn.init.xavier_uniform_(matrix)  # TensorFlow's default

    def forward(self, x: torch.Tensor, state: State | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.autocast(x.device.type, enabled=False):  # clipped sums of many steps: not in 16 bits
            x = self.dropout(x.to(self.weight.dtype))
            weights = self.weight, self.full_bias(), self.projection
            if torch.jit.is_tracing():
                limits = (math.inf if clip is None else clip for clip in (self.cell_clip, self.proj_clip))
                return steps_of_a_graph()(x, *self.begin(x, state), *weights, *limits)
            return _Steps.apply(x, *self.begin(x, state), *weights, self.cell_clip, self.proj_clip)

    def full_bias(self) -> torch.Tensor:
        """The bias with FORGET added to the forget gate's quarter: (D, 4S)."""
        forget = self.bias.new_zeros(4, self.bias.shape[1] // 4)
        forget[2] = self.FORGET
        return self.bias + forget.flatten()

    def begin(self, x: torch.Tensor, state: State | None) -> State:
        if state is not None:
            return state
        (D, cells, size), B = self.projection.shape, x.shape[2]
        return x.new_zeros(D, B, size), x.new_zeros(D, B, cells)

    def step_by_step(self, x: torch.Tensor, state: State | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """The same as it is written above, by autograd: what tests hold the other to."""
        x, (h, c) = self.dropout(x), self.begin(x, state)
        hidden, cells, bias = [], [], self.full_bias()
        for step in x.unbind(1):  # (D, B, I)
            i, j, f, o = torch.baddbmm(bias[:, None], torch.cat([step, h], -1), self.weight).chunk(4, -1)
            c = clipped(f.sigmoid() * c + i.sigmoid() * j.tanh(), self.cell_clip)
            h = clipped((o.sigmoid() * c.tanh()) @ self.projection, self.proj_clip)
            hidden.append(h)
            cells.append(c)
        return torch.stack(hidden, 1), torch.stack(cells, 1)


@functools.cache
def steps_of_a_graph():
    """What a trace keeps as a loop: it would write out the steps of the text that it was made with."""
    return torch.jit.script(forward_steps)


def forward_steps(
    x: torch.Tensor,
    h: torch.Tensor,
    c: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    projection: torch.Tensor,
    cell_clip: float,
    proj_clip: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """ProjectedLSTM.step_by_step for TorchScript."""
    hidden, cells = [], []
    for t in range(x.shape[1]):
        i, j, f, o = torch.chunk(torch.cat([x[:, t], h], -1) @ weight + bias[:, None], 4, -1)
        c = torch.clamp(f.sigmoid() * c + i.sigmoid() * j.tanh(), -cell_clip, cell_clip)
        h = torch.clamp((o.sigmoid() * c.tanh()) @ projection, -proj_clip, proj_clip)
        hidden.append(h)
        cells.append(c)
    return torch.stack(hidden, 1), torch.stack(cells, 1)


def clipped(x: torch.Tensor, limit: float | None) -> torch.Tensor:
    return x if limit is None else x.clamp(-limit, limit)


def clip_(x: torch.Tensor, limit: float | None) -> torch.Tensor:
    return x if limit is None else x.clamp_(-limit, limit)


def unclip_(gradient: torch.Tensor, x: torch.Tensor, limit: float | None) -> torch.Tensor:
    """The gradient before a clip that `x` came out of: none where it was clipped."""
    return gradient if limit is None else gradient.mul_(x.abs() < limit)


class _Steps(torch.autograd.Function):
    """Each step's work is done in place, in few operations, while its numbers are in the processor's cache; the
    products with the inputs, and the gradients of the weights, are made once for all steps together."""

    @staticmethod
    def forward(ctx, x, h, c, weight, bias, projection, cell_clip, proj_clip):
        (D, T, B, I), (_, S, P) = x.shape, projection.shape
        h0, c0, (from_input, recurrent) = h, c, weight.split([I, P], 1)
        gates = torch.baddbmm(bias[:, None], x.reshape(D, T * B, I), from_input).view(D, T, B, 4 * S)
        hidden, cells = x.new_empty(D, T, B, P), x.new_empty(D, T, B, S)
        for t in range(T):
            step = gates[:, t].baddbmm_(h, recurrent)  # (D, B, 4S)
            i, j, f, o = step.chunk(4, -1)
            i.sigmoid_(), j.tanh_(), step[..., 2 * S :].sigmoid_()
            c = clip_(torch.mul(f, c, out=cells[:, t]).addcmul_(i, j), cell_clip)
            hidden[:, t] = h = clip_(torch.bmm(c.tanh().mul_(o), projection), proj_clip)
        ctx.save_for_backward(x, h0, c0, gates, cells, hidden, weight, projection)
        ctx.clips = cell_clip, proj_clip
        ctx.mark_non_differentiable(cells)
        return hidden, cells

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_hidden, _):
        x, h0, c0, gates, cells, hidden, weight, projection = ctx.saved_tensors
        (D, T, B, I), (_, S, P) = x.shape, projection.shape
        from_input, recurrent = (part.transpose(1, 2) for part in weight.split([I, P], 1))
        d_gates, d_hidden = torch.empty_like(gates), torch.empty_like(hidden)
        d_c, back, given = torch.zeros_like(c0), torch.zeros_like(h0), torch.empty_like(cells)
        for t in reversed(range(T)):
            i, j, f, o = gates[:, t].chunk(4, -1)
            d_i, d_j, d_f, d_o = d_gates[:, t].chunk(4, -1)
            c, before = cells[:, t], cells[:, t - 1] if t else c0
            d_h = unclip_(torch.add(grad_hidden[:, t], back, out=d_hidden[:, t]), hidden[:, t], ctx.clips[1])
            d_m = torch.bmm(d_h, projection.transpose(1, 2))  # of what was projected, m = o * tanh(c)
            squashed = c.tanh()
            m = torch.mul(o, squashed, out=given[:, t])
            torch.mul(d_m, m, out=d_o).addcmul_(d_o, o, value=-1)  # d_m tanh(c) o (1 - o)
            unclip_(d_c.addcmul_(d_m, o).addcmul_(d_m, squashed.mul_(m), value=-1), c, ctx.clips[0])
            torch.mul(d_c, i, out=d_j)
            torch.mul(d_j, j, out=d_i).addcmul_(d_i, i, value=-1)  # d_c j i (1 - i)
            d_j.addcmul_(d_j, j.square(), value=-1)  # d_c i (1 - j^2)
            d_c.mul_(f)  # of the cells before
            torch.mul(d_c, before, out=d_f).addcmul_(d_f, f, value=-1)  # d_c f c (1 - f)
            back = torch.bmm(d_gates[:, t], recurrent)
        flat = d_gates.view(D, T * B, 4 * S)
        d_weight = torch.empty_like(weight)
        torch.bmm(x.reshape(D, T * B, I).transpose(1, 2), flat, out=d_weight[:, :I])
        torch.bmm(earlier(h0, hidden).view(D, T * B, P).transpose(1, 2), flat, out=d_weight[:, I:])
        d_projection = torch.bmm(given.view(D, T * B, S).transpose(1, 2), d_hidden.view(D, T * B, P))
        d_x = torch.bmm(flat, from_input).view_as(x)
        return d_x, back, d_c, d_weight, flat.sum(1), d_projection, None, None


def earlier(first: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
    """What each step began with: (D, B, F), (D, T, B, F) -> (D, T, B, F)."""
    return torch.cat([first[:, None], steps[:, :-1]], 1)
