import math

import pytest
import torch
from torch import nn

from textcls import BertClassifier, BertConfig, BiLSTMClassifier
from textcls.training.optim import build_optimizer, learning_rate, parameter_groups, set_learning_rate


@pytest.mark.parametrize("model_class", [BertClassifier, BiLSTMClassifier])
def test_every_trainable_parameter_in_exactly_one_group(model_class, tiny_shape):
    model = model_class(tiny_shape, 3)
    decayed, free = parameter_groups(model, 0.1)
    grouped = [id(p) for group in (decayed, free) for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in model.parameters() if p.requires_grad)
    names = {id(p): name for name, p in model.named_parameters()}
    free_names = {names[id(p)] for p in free["params"]}
    expected = {
        n
        for n, p in model.named_parameters()
        if p.requires_grad and ("bias" in n.split(".")[-1] or "LayerNorm" in n or n.startswith("head.0."))
    }
    assert free_names == expected
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.1, 0.0)


@pytest.mark.parametrize("encoder, scale", [(None, 0.1), ("bert", 1.0), ("bert", 0.1), ("ber", 0.1)])
def test_the_encoder_has_a_learning_rate_of_its_own(encoder, scale, tiny_shape):
    """That of the sub-module with this very name; what does not lie in it keeps the common one."""
    model = BertClassifier(tiny_shape, 3)
    optimizer = build_optimizer(model, 0.02, 0.1, encoder, encoder_lr=0.02 * scale)
    set_learning_rate(optimizer, 0.01)  # half way
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        inside = encoder == "bert" and name.startswith("bert.")
        assert rates[id(parameter)] == pytest.approx(0.01 * scale if inside else 0.01), name


def test_update_is_adamw_written_out():
    torch.manual_seed(0)
    layer = nn.Linear(3, 2).double()
    weight, bias = layer.weight.detach().clone(), layer.bias.detach().clone()
    optimizer = build_optimizer(layer, lr=0.01, weight_decay=0.1)
    moments = [[torch.zeros_like(p), torch.zeros_like(p)] for p in (weight, bias)]
    for t in range(1, 4):
        x = torch.randn(5, 3, dtype=torch.float64)
        optimizer.zero_grad()
        layer(x).sin().sum().backward()
        for p, (m, v), gradient, decay in zip(
            (weight, bias), moments, (layer.weight.grad, layer.bias.grad), (0.1, 0.0), strict=True
        ):
            m.mul_(0.9).add_(0.1 * gradient)
            v.mul_(0.999).add_(0.001 * gradient**2)
            p.mul_(1 - 0.01 * decay)
            p.sub_(0.01 * (m / (1 - 0.9**t)) / (torch.sqrt(v / (1 - 0.999**t)) + 1e-8))
        optimizer.step()
        assert (layer.weight - weight).abs().max() < 1e-12
        assert (layer.bias - bias).abs().max() < 1e-12


def test_schedule():
    rates = [learning_rate(step, 100, 2.0, 0.1) for step in range(101)]
    assert rates[0] > 0
    assert max(rates) == rates[10] == 2.0
    assert all(math.isclose(b - a, rates[1] - rates[0]) for a, b in zip(rates[:10], rates[1:11], strict=True))
    assert all(math.isclose(a - b, rates[10] - rates[11]) for a, b in zip(rates[10:-1], rates[11:], strict=True))
    assert rates[100] == 0
    assert learning_rate(0, 10, 1.0, 0.0) == 1.0
    assert learning_rate(5, 1, 1.0, 0.5) == 0.0


def test_bert_large_geometry_groups_without_weights():
    with torch.device("meta"):
        decayed, free = parameter_groups(BertClassifier(BertConfig(), 20), 0.01)
    total = sum(p.numel() for group in (decayed, free) for p in group["params"])
    assert total == 109_497_620
