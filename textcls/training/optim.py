"""AdamW with BERT's weight-decay rule, and the learning rate as a pure function of the step."""

import torch
from torch import nn


def parameter_groups(
    model: nn.Module, weight_decay: float, encoder: str | None = None, encoder_scale: float = 1.0
) -> list[dict]:
    """Every trainable parameter in exactly one group: biases, LayerNorms and single numbers are not decayed. The
    parameters of the sub-module called `encoder` have groups of their own where `encoder_scale` is not 1: their
    learning rate is that many times the others' (discriminative fine-tuning: Howard and Ruder, 2018, section 3.2). A
    model may ask for such groups itself, by `rates` {sub-module: how many times}."""
    rates = getattr(model, "rates", {}) | ({encoder: encoder_scale} if encoder else {})
    norms = {id(p) for part in model.modules() if isinstance(part, nn.LayerNorm) for p in part.parameters()}
    groups: dict[tuple[float, float], list] = {(1.0, weight_decay): [], (1.0, 0.0): []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            # LSTM biases are called bias_ih_l0 and so on
            is_bias = name.rsplit(".", 1)[-1].startswith("bias")
            scale = next((rate for path, rate in rates.items() if name.startswith(path + ".")), 1.0)
            decay = 0.0 if is_bias or id(parameter) in norms or parameter.dim() == 0 else weight_decay
            groups.setdefault((scale, decay), []).append(parameter)
    return [{"params": members, "weight_decay": decay, "scale": scale} for (scale, decay), members in groups.items()]


def build_optimizer(
    model: nn.Module, lr: float, weight_decay: float, encoder: str | None = None, encoder_lr: float | None = None
) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter, 2019), in torch's fused form: one pass over the memory, not one an operation.
    `encoder_lr` is the peak learning rate of the sub-module `encoder`, where it is not `lr`."""
    groups = parameter_groups(model, weight_decay, encoder, 1.0 if encoder_lr is None else encoder_lr / lr)
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.999), eps=1e-8, fused=True)


def learning_rate(step: int, total: int, peak: float, warmup: float) -> float:
    """Linear warm-up over the first `warmup` share of `total` steps, then linear decay to 0 (Devlin et al., 2019).

    `step` counts finished updates, so the first update already has a rate above 0.
    """
    rising = round(warmup * total)
    if step < rising:
        return peak * (step + 1) / (rising + 1)
    return peak * max(0.0, (total - step) / max(1, total - rising))


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """`lr` times each group's own scale."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("scale", 1.0)
