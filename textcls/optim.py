"""AdamW with BERT's weight-decay rule, and the learning rate as a pure function of the step."""

import torch
from torch import nn


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Two groups, every trainable parameter in exactly one: biases and LayerNorms are not decayed."""
    norms = {id(p) for part in model.modules() if isinstance(part, nn.LayerNorm) for p in part.parameters()}
    decayed, free = [], []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            # LSTM biases are called bias_ih_l0 and so on
            is_bias = name.rsplit(".", 1)[-1].startswith("bias")
            (free if is_bias or id(parameter) in norms else decayed).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]


def build_optimizer(model: nn.Module, lr: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter, 2019), in torch's fused form: one pass over the memory, not one an operation."""
    return torch.optim.AdamW(parameter_groups(model, weight_decay), lr=lr, betas=(0.9, 0.999), eps=1e-8, fused=True)


def learning_rate(step: int, total: int, peak: float, warmup: float) -> float:
    """Linear warm-up over the first `warmup` share of `total` steps, then linear decay to 0 (Devlin et al., 2019).

    `step` counts finished updates, so the first update already has a rate above 0.
    """
    rising = round(warmup * total)
    if step < rising:
        return peak * (step + 1) / (rising + 1)
    return peak * max(0.0, (total - step) / max(1, total - rising))


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr
