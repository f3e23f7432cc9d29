import pytest
import torch

from textcls.models.dropout import Dropout, cpu_dropout


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_share_scale_and_expectation(p):
    torch.manual_seed(0)
    x = torch.ones(1000, 1001)
    y = cpu_dropout(x, p)
    kept = y != 0
    assert kept.float().mean().item() == pytest.approx(1 - p, abs=2e-3)
    assert y[kept].unique().numel() == 1
    assert y[kept][0].item() == pytest.approx(1 / (1 - p), rel=1e-4)
    assert y.mean().item() == pytest.approx(1.0, abs=6e-3)


def test_neighbours_are_independent():
    """Four elements share one 64-bit random number: no pair of the four may be correlated."""
    torch.manual_seed(0)
    kept = (cpu_dropout(torch.ones(400_000), 0.5) != 0).float().view(-1, 4)
    assert torch.corrcoef(kept.T).sub(torch.eye(4)).abs().max() < 0.01


def test_gradient_is_the_mask_of_the_forward_pass():
    torch.manual_seed(0)
    x = torch.randn(7, 5, dtype=torch.float64, requires_grad=True)
    y = cpu_dropout(x, 0.3)
    y.sum().backward()
    assert torch.allclose(x.grad * x.detach(), y.detach())


def test_drawn_from_the_generator_that_checkpoints_store():
    state = torch.get_rng_state()
    first = cpu_dropout(torch.ones(100), 0.5)
    torch.set_rng_state(state)
    assert torch.equal(first, cpu_dropout(torch.ones(100), 0.5))


def test_off_in_eval_mode_and_at_the_ends():
    x = torch.randn(3, 3)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x
    assert not Dropout(1.0)(x).any()
    with pytest.raises(ValueError, match="between 0 and 1"):
        Dropout(1.5)
