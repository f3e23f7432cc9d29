"""Attention without a gradient in bf16 on the CPU: torch's kernel against products in blocks (models/attention.py).

python benchmarks/attention.py

Times are medians of 7 runs in turn (A B A B); errors are root mean squares against float64 on the same bf16 inputs.
"""

import pathlib
import statistics
import sys
import time

import torch
from torch.nn import functional as F

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from textcls.models.attention import attention_bias, attention_in_blocks  # noqa: E402
from textcls.runtime.device import prepare_cpu  # noqa: E402

SHAPES = [(32, 12, 64, 32), (32, 12, 170, 32), (16, 12, 384, 32), (32, 12, 128, 64), (16, 12, 384, 64)]  # B, N, T, D


def kernel(query, key, value, bias):
    return F.scaled_dot_product_attention(query, key, value, attn_mask=bias)


@torch.no_grad()
def main() -> None:
    prepare_cpu()
    print(f"{torch.get_num_threads()} threads\n")
    print("| batch, heads, tokens, head size | ms, torch | ms, blocks | ratio (range) | error, torch | error, blocks |")
    print("|---|---|---|---|---|---|")
    for B, N, T, D in SHAPES:
        parts = torch.randn(3, B, T, N, D).bfloat16().transpose(2, 3)
        mask = torch.arange(T)[None] < torch.linspace(T / 2, T, B)[:, None]
        bias = attention_bias(mask, torch.bfloat16)
        exact = kernel(*parts.double(), bias.double())
        seconds: list[tuple[float, ...]] = []
        for _ in range(8):
            seconds.append(tuple(timed(way, *parts, bias) for way in (kernel, attention_in_blocks)))
        ratios = [theirs / ours for theirs, ours in seconds[1:]]
        times = " | ".join(f"{1000 * statistics.median(part):.1f}" for part in zip(*seconds[1:], strict=True))
        errors = [(way(*parts, bias) - exact).square().mean().sqrt().item() for way in (kernel, attention_in_blocks)]
        spread = f"{statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})"
        print(f"| {B}, {N}, {T}, {D} | {times} | {spread} | {errors[0]:.1e} | {errors[1]:.1e} |", flush=True)


def timed(way, *arguments) -> float:
    start = time.perf_counter()
    way(*arguments)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
