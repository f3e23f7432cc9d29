"""Scaled dot-product attention: softmax(Q K^T / sqrt(D) + bias) V with dropout on the probabilities, and its kernels.

Dimensions: B batch, N heads, T tokens, D head size.
"""

import math

import torch
from torch.nn import functional as F

from textcls.models.dropout import keep_mask

BLOCK = 1 << 18  # elements of a block of attention scores on the CPU
LOW_BLOCK = 1 << 20  # of a block in bf16, without a gradient


def attention(query, key, value, bias: torch.Tensor | None, dropout_prob: float) -> torch.Tensor:
    """(B, N, T, D) each, bias (B, 1, 1, T) -> (B, N, T, D), by torch's fused kernels where they are fast. On the CPU
    dropout sends them to their slow path, and in bf16 they are slower than two matrix products."""
    if query.device.type == "cpu":
        if dropout_prob > 0.0:
            return AttentionWithDropout.apply(query, key, value, bias, dropout_prob)
        if query.dtype == torch.bfloat16 and not torch.is_grad_enabled():
            return attention_in_blocks(query, key, value, bias)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=bias, dropout_p=dropout_prob)


def attention_bias(mask: torch.Tensor | None, dtype: torch.dtype) -> torch.Tensor | None:
    """0 on real tokens and the most negative number of `dtype` on padding: (B, T) -> (B, 1, 1, T)."""
    if mask is None:
        return None
    if torch.is_autocast_enabled(mask.device.type):
        dtype = torch.get_autocast_dtype(mask.device.type)  # the scores' dtype: a wider bias would overflow in it
    bias = torch.zeros(mask.shape, dtype=dtype, device=mask.device)
    return bias.masked_fill_(mask == 0, torch.finfo(dtype).min)[:, None, None, :]


def lowered(x: torch.Tensor) -> torch.Tensor:
    """`x` in autocast's type, where autocast is on."""
    device = x.device.type
    return x.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else x


def attention_in_blocks(query, key, value, bias: torch.Tensor | None) -> torch.Tensor:
    """The same, a block of heads after the other, so that the scores (T, T) stay in the processor's cache: about twice
    as fast as torch's kernel in bf16 (benchmarks/attention.py). The products are summed in float32, and the scores and
    probabilities rounded to the inputs' type, as in training."""
    B, N, T, D = query.shape
    query, key, value = (x.reshape(B * N, T, D) for x in (query, key, value))
    bias = query.new_zeros(1, 1, 1) if bias is None else bias.expand(B, N, 1, T).reshape(B * N, 1, T)
    context = torch.empty_like(query)
    size = max(1, LOW_BLOCK // (T * T))
    scores = query.new_empty(min(size, B * N), T, T)
    for start in range(0, B * N, size):
        heads = slice(start, start + size)
        block = scores[: len(query[heads])]
        own = bias if len(bias) == 1 else bias[heads]
        torch.baddbmm(own, query[heads], key[heads].transpose(1, 2), alpha=1 / math.sqrt(D), out=block)
        torch.bmm(torch.softmax(block, -1, out=block), value[heads], out=context[heads])
    return context.view(B, N, T, D)


class AttentionWithDropout(torch.autograd.Function):
    """Attention with its derivative for training on the CPU, block by block over the batch, so that the (T, T) tensors
    stay in the processor's cache. Only the dropout mask of the size (B, N, T, T) is kept; probabilities are made again
    in the backward pass, as in FlashAttention (Dao et al., 2022), because fresh memory costs more than the arithmetic.
    """

    @staticmethod
    def forward(ctx, query, key, value, bias, dropout_prob):
        keep = torch.empty(*query.shape[:-1], key.shape[-2], dtype=torch.uint8)  # (B, N, T, T)
        context = torch.empty_like(value)  # (B, N, T, D) in memory as (B, T, N, D)
        for rows in blocks(keep):
            mask, scale = keep_mask(keep[rows].shape, dropout_prob)
            keep[rows] = mask
            dropped = scores_of(query[rows], key[rows], bias, rows).softmax(-1).mul_(mask)
            context[rows] = dropped @ (value[rows] * scale)
        ctx.save_for_backward(query, key, value, bias, keep)
        ctx.scale = scale
        return context

    @staticmethod
    def backward(ctx, grad):
        query, key, value, bias, keep = ctx.saved_tensors
        d_query, d_key, d_value = (torch.empty_like(x) for x in (query, key, value))
        shrink = 1.0 / math.sqrt(query.shape[-1])
        for rows in blocks(keep):
            scores = scores_of(query[rows], key[rows], bias, rows).requires_grad_()
            with torch.enable_grad():  # the derivative of softmax is torch's own
                probabilities = scores.softmax(-1)
            grad_rows = grad[rows] * ctx.scale
            d_value[rows] = (probabilities.detach() * keep[rows]).transpose(-1, -2) @ grad_rows
            d_probabilities = (grad_rows @ value[rows].transpose(-1, -2)).mul_(keep[rows])
            (d_scores,) = torch.autograd.grad(probabilities, scores, d_probabilities)
            d_query[rows] = (d_scores @ key[rows]).mul_(shrink)
            d_key[rows] = d_scores.transpose(-1, -2) @ (query[rows] * shrink)
        return d_query, d_key, d_value, None, None


def blocks(keep: torch.Tensor) -> list[slice]:
    """The batch in slices whose (N, T, T) tensors have about BLOCK elements together."""
    size = max(1, BLOCK // keep[0].numel())
    return [slice(start, start + size) for start in range(0, len(keep), size)]


def scores_of(query, key, bias, rows: slice) -> torch.Tensor:
    scores = (query / math.sqrt(query.shape[-1])) @ key.transpose(-1, -2)
    if bias is not None:
        scores += bias[rows]
    return scores
