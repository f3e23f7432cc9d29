"""Part 5 of benchmarks/gpu.py: tokens/s of pre-training, kernels of attention, AdamW's forms, and the arithmetic rate.

Dimensions: B documents of a micro-batch, T tokens, N heads, D head size, M masked tokens.
"""

import statistics
import warnings
from collections.abc import Iterator

import gpu_device
import numpy as np
import torch
from gpu_page import Row
from gpu_work import PRECISIONS, Work, blocks_of, build, one_batch, settings, setup_of, step_of, steps
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from textcls.ledger.cluster import PEAKS, USED
from textcls.ledger.plan import largest_micro_batch, plan
from textcls.models.attention import attention, attention_bias
from textcls.runtime.device import Precision
from textcls.tasks import pretraining
from textcls.tasks.masking import MASKED
from textcls.text.batches import Batch
from textcls.training.optim import build_optimizer

DROPOUT = 0.1
CASES = (("trans-blstm-2", "pretrain"), ("bert", "pretrain"), ("bert", "classification"), ("bilstm", "classification"))
MOST = 32  # documents of a micro-batch
KERNELS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "memory-efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cuDNN": SDPBackend.CUDNN_ATTENTION,
    "written out": SDPBackend.MATH,
}


def kernels(work: Work) -> Iterator[Row]:
    device = gpu_device.begin(work.device, work.memory)
    precision = PRECISIONS["fp16" if device.type == "cuda" else "fp32"]
    best = best_rate(work, device, precision)
    what = f"best rate of a matrix product, {precision.name}, {work.scale.product} squared"
    data_sheet = next((peak / 1e12 for name, peak in PEAKS.items() if name in gpu_device.facts(device)["card"]), None)
    rule = {"expected": data_sheet, "rule": "at most", "basis": "data sheet"} if data_sheet else {}
    yield Row(what, best / 1e12, unit="TFLOP/s", **rule)
    yield from rates(work, device, precision, best)
    yield from attentions(work, device, precision)
    yield from optimizers(work, device)


def best_rate(work: Work, device: torch.device, precision: Precision) -> float:
    """FLOP/s of a square product, median."""
    size = work.scale.product
    dtype = precision.dtype or torch.float32
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    return 2 * size**3 / statistics.median(gpu_device.seconds_of(device, lambda: a @ b, work.scale.repeats))


# ---- training -------------------------------------------------------------------------------------------------------


def rates(work: Work, device: torch.device, precision: Precision, best: float) -> Iterator[Row]:
    """Tokens/s at the largest micro-batch under the cap, but at most MOST, and the share of the best product's rate,
    which the plan of a cluster takes to be USED."""
    T = work.scale.length
    for model, task in CASES:
        config = settings(model, task, **work.sizes(model))
        step = step_of(config, 2, T, device, precision, 1)
        B = min(MOST, largest_micro_batch(blocks_of(config, work), step, work.memory))
        if B < 1:
            yield Row(f"{model} --task {task}: no micro-batch fits", None, note="by the plan")
            continue
        seconds = seconds_of_step(work, device, precision, config, B, T)
        what = f"{model} --task {task}, {precision.name}, {B} x {T} tokens"
        if seconds is None:
            yield Row(f"{what}: tokens/s", None, rule="yes", note="out of memory")
            continue
        rate = plan(blocks_of(config, work), step_of(config, B, T, device, precision, 1)).flop() / seconds
        yield Row(f"{what}: tokens/s", B * T / seconds)
        share, note = f"{what}: share of the best product's rate", f"{rate / 1e12:.3g} TFLOP/s"
        yield Row(share, rate / best, USED, "at least", "--plan --gpus", note=note)


def seconds_of_step(work: Work, device, precision: Precision, config, B: int, T: int) -> float | None:
    """Median of the loop's own step; None where the memory does not suffice."""
    times = []

    def run() -> None:
        model = build(config, work, device)
        loss, batch = None, one_batch(B, T, work.vocab_size)
        if config.task == "pretrain":
            loss, batch = pretraining.loss(config, None), masked(batch)
        setup = setup_of(model, config, device, precision, loss)
        times.extend(gpu_device.seconds_of(device, lambda: steps(setup, [batch], 1), work.scale.repeats))

    return None if gpu_device.peak_of(device, run) is None else statistics.median(times)


def masked(batch: Batch) -> Batch:
    """The documents with MASKED of their places to be predicted, and a label of the pair each."""
    B, T = batch.inputs["ids"].shape
    places = torch.from_numpy(np.random.default_rng(0).permutation(B * T)[: round(MASKED * B * T)])
    inputs = batch.inputs | {"places": places}
    targets = {"tokens": batch.inputs["ids"].flatten()[places], "labels": torch.zeros(B, dtype=torch.long)}
    return Batch(inputs, targets, batch.documents, batch.tokens, {"token": len(places), "pair": B})


# ---- attention ------------------------------------------------------------------------------------------------------


def attentions(work: Work, device: torch.device, precision: Precision) -> Iterator[Row]:
    """Forward and backward, with and without padding: what the library takes, and each kernel by itself."""
    B, T, N = work.scale.batch, work.scale.length, work.dims.num_attention_heads
    D, dtype = work.dims.hidden_size // N, precision.dtype or torch.float32
    torch.manual_seed(0)
    parts = [torch.randn(B, T, N, D, device=device, dtype=dtype).transpose(1, 2).requires_grad_() for _ in range(3)]
    mask = torch.ones(B, T, dtype=torch.long, device=device)
    mask[:, T - T // 4 :] = 0
    for said, bias in (("without mask", None), ("with mask", attention_bias(mask, dtype))):
        what = f"attention, {B} x {N} heads, {T} tokens, {said}"
        milliseconds = timed(work, device, lambda bias=bias: attention(*parts, bias, DROPOUT), parts)
        yield Row(f"{what}, as the library calls it", milliseconds, unit="ms")
        for name, kernel in KERNELS.items():
            yield of_kernel(work, device, parts, bias, kernel, f"{what}, {name}")


def of_kernel(work: Work, device, parts: list[torch.Tensor], bias, kernel: SDPBackend, what: str) -> Row:
    def call() -> torch.Tensor:
        with sdpa_kernel(kernel):
            return scaled_dot_product_attention(*parts, attn_mask=bias, dropout_p=DROPOUT)

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # why a kernel is not for this: in several remarks
            return Row(what, timed(work, device, call, parts), unit="ms")
    except RuntimeError as error:
        return Row(what, None, note=f"not for this: {str(error).splitlines()[0][:80]}")


def timed(work: Work, device, call, parts: list[torch.Tensor]) -> float:
    """Milliseconds, median."""

    def run() -> None:
        torch.autograd.grad(call().float().sum(), parts)

    return 1000 * statistics.median(gpu_device.seconds_of(device, run, work.scale.repeats))


# ---- AdamW ----------------------------------------------------------------------------------------------------------


def optimizers(work: Work, device: torch.device) -> Iterator[Row]:
    """A step of the library's AdamW over all of bert's parameters, and of torch's other forms."""
    model = build(settings("bert"), work, device)
    for p in model.parameters():
        p.grad = torch.full_like(p, 1e-3)
    ours = build_optimizer(model, 1e-5, 0.01)
    milliseconds = {"fused, the library's": of_optimizer(work, device, ours)}
    del ours
    for name, form in (("foreach", {"foreach": True}), ("a parameter at a time", {"foreach": False})):
        milliseconds[name] = of_optimizer(work, device, torch.optim.AdamW(model.parameters(), lr=1e-5, **form))
    count = sum(p.numel() for p in model.parameters())
    for name, value in milliseconds.items():
        note = "out of memory" if value is None else ""
        yield Row(f"AdamW over {count:,} parameters, {name}: a step", value, unit="ms", note=note)
    fused = milliseconds.pop("fused, the library's")
    if fused is not None and (others := [value for value in milliseconds.values() if value is not None]):
        ratio = min(others) / fused
        yield Row("… the fastest other form: times as long as fused", ratio, 1.0, "at least", "training/optim.py")


def of_optimizer(work: Work, device, optimizer: torch.optim.Optimizer) -> float | None:
    """Milliseconds of a step, median; None where the memory does not suffice."""
    gpu_device.empty(device)
    seconds = gpu_device.within_memory(lambda: gpu_device.seconds_of(device, optimizer.step, work.scale.repeats))
    return None if seconds is None else 1000 * statistics.median(seconds)
