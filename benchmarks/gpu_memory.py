"""Part 2 of benchmarks/gpu.py: what the plan predicts of memory, and what the device's allocator says.

Dimensions: B documents of a micro-batch, T tokens, S LSTM units per direction.
"""

import dataclasses
import itertools
from collections.abc import Iterator

import gpu_device
import numpy as np
import torch
from gpu_page import Row
from gpu_work import PRECISIONS, Work, blocks_of, build, one_batch, settings, setup_of, step_of, steps

from textcls import recipes
from textcls.config import TrainConfig
from textcls.ledger import blocks
from textcls.ledger.measure import SavedTensors
from textcls.ledger.plan import largest_micro_batch, plan
from textcls.models.lstm import LSTM
from textcls.runtime.device import Precision

REHEARSED = 604_800_000  # bytes: of a process on the CPU, where the plan counts what Python and the libraries have
MODELS = {  # model -> settings; the most important first
    "bert": {},
    "bilstm": {},
    "bert-bilstm": {"encoder": "tune"},
    "trans-blstm-2": {},
    "trans-blstm-1": {},
    "blstm": {},
    "bilstm-scratch": {},
    "lstm": {},
}
FEW = ("bert", "bilstm")  # where not every one is asked for
ACCUMULATE = 2  # as the plan's table has it: gradients stay between micro-batches
MIB = 2**20


def memory(work: Work) -> Iterator[Row | str]:
    device = gpu_device.begin(work.device, work.memory)
    yield from lstm_values(work, device)
    for model, changes in MODELS.items():
        if not (work.scale.every or model in FEW):
            continue
        can_checkpoint = "checkpoint_activations" in recipes.RECIPES[model, "classification"]["defaults"]
        for checkpointed in (False, True) if can_checkpoint else (False,):
            more = {"checkpoint_activations": True} if checkpointed else {}
            yield from of_model(work, device, settings(model, **changes, **more, **work.sizes(model)))


def of_model(work: Work, device: torch.device, config: TrainConfig) -> Iterator[Row]:
    """Each length in each precision."""
    model = build(config, work, device)
    for T, kind in itertools.product(work.scale.tokens, ("fp16", "fp32", "bf16")):
        yield from of_shape(work, device, config, model, T, kind)
    del model


def of_shape(work: Work, device, config: TrainConfig, model, T: int, kind: str) -> Iterator[Row]:
    """The largest micro-batch that the plan finds under the cap, and one document more."""
    precision, model_blocks = PRECISIONS[kind], blocks_of(config, work)
    step = step_of(config, 2, T, device, precision, ACCUMULATE)
    B = largest_micro_batch(model_blocks, step, work.memory)
    what = f"{config.model}{' --checkpoint-activations' * step.checkpoint}, {kind}, {T} tokens"
    if B < 1:
        return (yield Row(f"{what}: none fits", None, note="by the plan"))
    predicted = plan(model_blocks, dataclasses.replace(step, batch=B)).peak()[0]
    peak = peak_of(work, device, config, model, precision, B, T)
    said = f"{what}, micro-batches of {B}"
    if peak is None:
        yield Row(f"{said}: fits", False, rule="yes", basis="--plan", note="out of memory")
        return
    yield Row(f"{said}: allocated at the peak", peak["allocated"] / MIB, predicted / MIB, "near", "--plan", "MiB")
    yield Row(f"{said}: kept by the allocator", peak["reserved"] / MIB, work.memory / MIB, "at most", "the cap", "MiB")
    more = peak_of(work, device, config, model, precision, B + 1, T)
    note = "out of memory" if more is None else f"{more['reserved'] / MIB:,.0f} MiB kept"
    fits = more is not None and more["reserved"] <= work.memory
    yield Row(f"{what}, {B + 1}: does not fit", not fits, rule="yes", basis="--plan", note=note)


def peak_of(work: Work, device, config: TrainConfig, model, precision: Precision, B: int, T: int) -> dict | None:
    """Of two optimiser steps; the second has the optimiser's state and all gradients."""
    setup, batch = setup_of(model, config, device, precision), one_batch(B, T, work.vocab_size)
    try:
        return gpu_device.peak_of(device, lambda: steps(setup, [batch] * ACCUMULATE, 2))
    finally:
        model.zero_grad(set_to_none=True)


# ---- cuDNN's LSTM ---------------------------------------------------------------------------------------------------


def lstm_values(work: Work, device: torch.device) -> Iterator[Row | str]:
    """How many numbers a step and unit the device's LSTM keeps for the backward pass, beside its input and its output:
    a line through what is kept at several batches. In the plan an estimate, CUDNN_LSTM_VALUES."""
    H, S, layers, T = work.dims.hidden_size, work.scale.units, 2, work.scale.tokens[0]
    found = {}
    for kind in ("fp32", "fp16") if device.type == "cuda" else ("fp32",):
        precision = PRECISIONS[kind]
        width = 2 if kind == "fp16" else 4
        slots = [B * T for B in work.scale.batches]
        kept = [kept_by_lstm(device, precision, H, S, layers, B, T) for B in work.scale.batches]
        per_slot = float(np.polyfit(slots, kept, 1)[0]) - width * (H + 2 * S)
        found[kind] = per_slot / (2 * layers * width * S)
        what = f"LSTM {H} -> 2 x {S}, {layers} layers, {kind}: numbers kept a step and unit"
        yield Row(what, found[kind], float(blocks.CUDNN_LSTM_VALUES), "near", "--plan, an estimate", tolerance=0.1)
    if device.type == "cuda":
        values = ", ".join(f"{kind} {value:.3g}" for kind, value in found.items())
        yield f"CUDNN_LSTM_VALUES = {max(found.values()):.3g}  # textcls/ledger/blocks.py; {values}"


def kept_by_lstm(device: torch.device, precision: Precision, H: int, S: int, layers: int, B: int, T: int) -> int:
    """Bytes that autograd keeps of a forward pass; of what is 16-bit, the weights are a part that no batch changes."""
    torch.manual_seed(0)
    lstm = LSTM(H, S, layers).to(device)
    x, lengths = torch.randn(B, T, H, device=device), torch.full((B,), T, device=device)
    with SavedTensors(lstm) as saved, precision.autocast(device):
        lstm(x, lengths)
    return sum(saved.parts.values())
