"""LSTM layers with projection and clips: the fast form against loops in NumPy, its gradients against autograd's."""

import numpy as np
import pytest
import torch

from textcls.models.projected_lstm import ProjectedLSTM

SHAPES = [(1, 1, 1, 1, 1), (1, 3, 4, 5, 2), (7, 3, 4, 6, 5), (6, 2, 5, 3, 8), (12, 1, 3, 4, 3)]  # T, B, I, S, P
CLIPS = [(None, None), (3.0, 3.0), (0.4, None), (None, 0.2), (0.3, 0.1)]  # of cells, of projections
PARAMETERS = ("weight", "bias", "projection")


def layer_of(shape, clips=(None, None), seed=0):
    """A layer in float64, with weights so large that every clip is reached, and inputs and a state for it."""
    generator = torch.Generator().manual_seed(seed)
    T, B, I, S, P = shape
    layer = ProjectedLSTM(I, S, P, *clips).double()
    for parameter in layer.parameters():
        parameter.data.normal_(0, 0.8, generator=generator)
    x, h, c = (torch.randn(size, generator=generator).double() for size in ((2, T, B, I), (2, B, P), (2, B, S)))
    return layer, x, (h, c)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def numpy_steps(layer, x, state=None):
    """The docstring's equations, row by row and step by step, in float64: (h (D, T, B, P), c (D, T, B, S), how far the
    nearest number is from a clip's edge)."""
    weight, bias, projection = (getattr(layer, name).detach().double().numpy() for name in PARAMETERS)
    x = x.detach().double().numpy()
    (D, T, B, _), (_, S, P) = x.shape, projection.shape
    hidden, cells, distance = np.zeros((D, T, B, P)), np.zeros((D, T, B, S)), np.inf

    def clip(values, limit):
        nonlocal distance
        if limit is None:
            return values
        distance = min(distance, np.abs(np.abs(values) - limit).min())
        return np.minimum(np.maximum(values, -limit), limit)

    for d in range(D):
        for b in range(B):
            h, c = np.zeros(P), np.zeros(S)
            if state is not None:
                h, c = (part[d, b].detach().double().numpy() for part in state)
            for t in range(T):
                i, j, f, o = np.split(np.concatenate([x[d, t, b], h]) @ weight[d] + bias[d], 4)
                c = clip(sigmoid(f + 1) * c + sigmoid(i) * np.tanh(j), layer.cell_clip)
                h = clip((sigmoid(o) * np.tanh(c)) @ projection[d], layer.proj_clip)
                hidden[d, t, b], cells[d, t, b] = h, c
    return torch.from_numpy(hidden), torch.from_numpy(cells), distance


def clipped_share(values, limit):
    return (values.abs() == limit).double().mean().item()


@pytest.mark.parametrize("given", [False, True], ids=["from zero", "from a state"])
@pytest.mark.parametrize("clips", CLIPS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_both_forms_equal_loops_over_rows_and_steps(shape, clips, given):
    layer, x, state = layer_of(shape, clips)
    state = state if given else None
    hidden, cells, _ = numpy_steps(layer, x, state)
    for form in (layer, layer.step_by_step):
        h, c = form(x, state)
        assert (h - hidden).abs().max() < 1e-12 and (c - cells).abs().max() < 1e-12


def test_tight_clips_clip_many_values_and_wide_ones_some():
    layer, x, state = layer_of((7, 3, 4, 6, 5), (0.3, 0.1))
    h, c = layer(x, state)
    assert clipped_share(h, 0.1) > 0.5 and clipped_share(c, 0.3) > 0.5
    assert h.abs().max() == 0.1 and c.abs().max() == 0.3
    layer.cell_clip = layer.proj_clip = 1.0
    h, c = layer(x, state)
    assert 0 < clipped_share(h, 1.0) < 0.5 and 0 < clipped_share(c, 1.0) < 0.5


@pytest.mark.parametrize("clips", CLIPS, ids=str)
def test_single_precision_stays_close(clips):
    layer, x, state = layer_of((20, 3, 4, 6, 5), clips)
    layer, x, state = layer.float(), x.float(), tuple(part.float() for part in state)
    hidden, cells, _ = numpy_steps(layer, x, state)
    h, c = layer(x, state)
    assert h.dtype == c.dtype == torch.float32
    assert (h - hidden).abs().max() < 1e-5 and (c - cells).abs().max() < 1e-5


def test_steps_that_lie_apart_in_memory_are_the_same_steps():
    layer, x, state = layer_of((7, 3, 4, 6, 5))
    apart = x.transpose(1, 2).contiguous().transpose(1, 2)
    assert not apart.is_contiguous() and torch.equal(layer(apart, state)[0], layer(x, state)[0])


def test_dropout_is_of_what_it_reads_and_in_training_only():
    """Each number of the input is dropped or doubled; what a step hands to the next is not touched."""
    _, x, state = layer_of((7, 3, 4, 6, 5))
    layer = ProjectedLSTM(4, 6, 5, dropout=0.5).double()
    assert torch.equal(layer.eval()(x, state)[0], layer(x, state)[0])
    layer.train()
    torch.manual_seed(1)
    read = layer.dropout(x)
    assert torch.equal(read, torch.where(read == 0, 0, 2 * x)) and 0 < (read == 0).double().mean() < 1
    hidden, cells, _ = numpy_steps(layer, read, state)
    for form in (layer, layer.step_by_step):
        torch.manual_seed(1)
        h, c = form(x, state)
        assert (h - hidden).abs().max() < 1e-12 and (c - cells).abs().max() < 1e-12


# ---- gradients -------------------------------------------------------------------------------------------------------


def run_with(layer, x, h, c, *parameters):
    return torch.func.functional_call(layer, dict(zip(PARAMETERS, parameters, strict=True)), (x, (h, c)))[0]


@pytest.mark.parametrize("shape", [(1, 2, 3, 4, 2), (4, 2, 3, 3, 2)], ids=str)
@pytest.mark.parametrize("clips", [(None, None), (0.7, None), (None, 0.4), (0.6, 0.3)], ids=str)
def test_gradients_are_differences(shape, clips):
    """Of inputs, state, weights, bias and projection; where values are clipped, none of them near the edge."""
    layer, x, state = layer_of(shape, clips)
    h, c, distance = numpy_steps(layer, x, state)
    assert distance > 1e-4
    for values, limit in ((c, clips[0]), (h, clips[1])):
        assert limit is None or 0 < clipped_share(values, limit) < 1
    inputs = [part.detach().requires_grad_() for part in (x, *state, *layer.parameters())]
    assert torch.autograd.gradcheck(lambda *given: run_with(layer, *given), inputs)


@pytest.mark.parametrize("given", [False, True], ids=["from zero", "from a state"])
@pytest.mark.parametrize("clips", CLIPS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gradients_equal_those_of_autograd_step_by_step(shape, clips, given):
    layer, x, state = layer_of(shape, clips)
    of = [part.requires_grad_() for part in (x, *state)] if given else [x.requires_grad_()]
    found = []
    for form in (layer, layer.step_by_step):
        h, _ = form(x, state if given else None)
        scale = torch.linspace(-1, 2, h.numel()).double().view_as(h)
        found.append(torch.autograd.grad((scale * h + h.square()).sum(), [*of, *layer.parameters()]))
    for ours, theirs in zip(*found, strict=True):
        assert (ours - theirs).abs().max() < 1e-11


def test_no_gradient_goes_through_a_clipped_value():
    layer, x, (h, c) = layer_of((1, 2, 3, 4, 5), (None, 1e-3))
    h, _ = layer(x.requires_grad_(), (h, c))
    assert clipped_share(h, 1e-3) == 1
    assert torch.autograd.grad(h.sum(), x)[0].abs().max() == 0


# ---- what it means ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("clips", CLIPS, ids=str)
@pytest.mark.parametrize("cut", [1, 4, 11])
def test_two_windows_with_the_state_carried_equal_one(clips, cut):
    layer, x, state = layer_of((12, 3, 4, 6, 5), clips)
    whole = layer(x, state)
    first = layer(x[:, :cut], state)
    second = layer(x[:, cut:], tuple(part[:, -1] for part in first))
    for one, *two in zip(whole, first, second, strict=True):
        assert (one - torch.cat(two, 1)).abs().max() < 1e-12


def test_rows_and_directions_know_nothing_of_each_other():
    layer, x, state = layer_of((7, 3, 4, 6, 5), (0.7, 0.4))
    h, _ = layer(x, state)
    other = x.clone()
    other[0, :, 1] += 1
    changed = (layer(other, state)[0] != h).any(3).any(1)  # (D, B)
    assert changed.tolist() == [[False, True, False], [False, False, False]]


def test_one_is_added_to_the_forget_gate_and_is_no_part_of_the_weights(monkeypatch):
    """Without weights nothing is written: the cells only fade, by sigmoid(1) a step."""
    layer, x, (h, c) = layer_of((5, 2, 3, 4, 2))
    for parameter in layer.parameters():
        parameter.data.zero_()
    steps = torch.arange(1.0, 6).double()[None, :, None, None]
    for form in (layer, layer.step_by_step):
        assert torch.allclose(form(x, (h, c))[1], c[:, None] * torch.ones(1).double().sigmoid() ** steps, atol=1e-14)
    assert all(not parameter.any() for parameter in layer.state_dict().values())
    monkeypatch.setattr(ProjectedLSTM, "FORGET", 0.0)
    assert torch.allclose(layer(x, (h, c))[1], c[:, None] * 0.5**steps, atol=1e-14)


@pytest.mark.parametrize("direction", [0, 1])
def test_without_clips_a_direction_is_torchs_lstm(direction):
    """Whose gates stand in the order i, f, g (here j), o, and whose forget gate has the 1 in its bias."""
    (T, B, I, S, P) = shape = (9, 3, 4, 6, 5)
    layer, x, (h, c) = layer_of(shape)
    theirs = torch.nn.LSTM(I, S, proj_size=P).double()
    order = torch.arange(4 * S).view(4, S)[[0, 2, 1, 3]].flatten()
    with torch.no_grad():
        theirs.weight_ih_l0.copy_(layer.weight[direction, :I, order].T)
        theirs.weight_hh_l0.copy_(layer.weight[direction, I:, order].T)
        theirs.weight_hr_l0.copy_(layer.projection[direction].T)
        theirs.bias_ih_l0.copy_(layer.bias[direction, order])
        theirs.bias_hh_l0.zero_()[S : 2 * S] = 1
    expected, (last, cells) = theirs(x[direction], (h[direction : direction + 1], c[direction : direction + 1]))
    hidden, found = layer(x, (h, c))
    assert (hidden[direction] - expected).abs().max() < 1e-12
    assert (hidden[direction, -1] - last[0]).abs().max() < 1e-12
    assert (found[direction, -1] - cells[0]).abs().max() < 1e-12


@pytest.mark.parametrize("clips", CLIPS, ids=str)
def test_autocast_changes_nothing(clips):
    layer, x, state = layer_of((9, 3, 4, 6, 5), clips)
    layer, x, state = layer.float(), x.float().requires_grad_(), tuple(part.float() for part in state)
    found = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            h, c = layer(x, state)
        found.append((h, c, *torch.autograd.grad(h.sum(), [x, *layer.parameters()])))
    assert all(torch.equal(plain, mixed) for plain, mixed in zip(*found, strict=True))
    with torch.autocast("cpu", torch.bfloat16):
        h, _ = layer(x.bfloat16(), state)
    assert h.dtype == torch.float32
