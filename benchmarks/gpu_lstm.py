"""Part 4 of benchmarks/gpu.py: which form an LSTM takes on CUDA, and whether 16 bits are safe for the BiLSTM.

Dimensions: B documents, T tokens, H input size, S units per direction.
"""

import itertools
import math
import statistics
from collections.abc import Iterator

import gpu_device
import torch
from gpu_page import Row
from gpu_work import BASE, LABELS, PRECISIONS, Work, lengths_of, made, settings, setup_of, steps

from textcls import recipes
from textcls.models.lstm import FORMS, LSTM
from textcls.runtime.device import Precision

CLEARLY = 0.95  # of the packed form's time that the padded one may take to become the default: models/lstm.py
EPS = 1e-12  # of BERT's LayerNorm
SAME = {"fp32": 1e-5, "fp16": 5e-3}  # largest difference of the two forms' outputs, which lie between -1 and 1
STEPS = 30  # of training in 16 bits, beside the same in 32
WORSE = 0.05  # share by which the loss may then be higher


def lstm(work: Work) -> Iterator[Row | str]:
    device = gpu_device.begin(work.device, work.memory)
    yield from forms(work, device)
    yield from layer_norm(device)
    yield from training(work, device)


# ---- packed or padded -----------------------------------------------------------------------------------------------


def forms(work: Work, device: torch.device) -> Iterator[Row | str]:
    """Forward and backward through two layers in both directions, over documents of 20 Newsgroups' lengths."""
    ratios = {}
    for kind in ("fp32", "fp16") if device.type == "cuda" else ("fp32",):
        ratios[kind] = []
        for B in work.scale.batches:
            seconds, apart = both(work, device, PRECISIONS[kind], B)
            ratio = seconds["padded"] / seconds["packed"]
            ratios[kind].append(ratio)
            what = f"BiLSTM, {kind}, batch {B}"
            for form in ("packed", "padded"):
                yield Row(f"{what}, {form}: forward and backward", 1000 * seconds[form], unit="ms")
            yield Row(f"{what}: the two forms differ by", apart, SAME[kind], "at most", "rounding")
    kind, before = device.type, FORMS[device.type]
    ratio = math.exp(statistics.mean(map(math.log, ratios["fp32"])))
    chosen = "padded" if ratio < CLEARLY else "packed"
    yield Row("padded: share of the packed form's time, fp32, geometric mean over the batches", ratio)
    yield Row(f"the table says {before}, the rule {chosen}", before == chosen, rule="yes", basis="models/lstm.py")
    if kind == "cuda":
        yield f"FORMS = {FORMS | {kind: chosen}}  # textcls/models/lstm.py; padded takes {ratio:.2f} of packed"


def both(work: Work, device: torch.device, precision: Precision, B: int) -> tuple[dict[str, float], float]:
    """({form: median seconds}, how far their outputs are apart on real steps)."""
    H, S = work.dims.hidden_size, work.scale.units
    torch.manual_seed(0)
    lengths = torch.from_numpy(lengths_of(B, work.scale.length)).to(device)
    T = int(lengths.max())
    x = torch.randn(B, T, H, device=device)
    model = LSTM(H, S, 2).to(device)
    real = torch.arange(T, device=device) < lengths[:, None]

    def run(form: str) -> torch.Tensor:
        with precision.autocast(device):
            out = getattr(model, form)(x, lengths).float() * real[:, :, None]
        out.square().sum().backward()
        model.zero_grad(set_to_none=True)
        return out.detach()

    outputs = {form: run(form) for form in ("packed", "padded")}
    seconds = {
        form: statistics.median(gpu_device.seconds_of(device, lambda form=form: run(form), work.scale.repeats))
        for form in outputs
    }
    return seconds, float((outputs["packed"] - outputs["padded"]).abs().max())


# ---- LayerNorm in 16 bits -------------------------------------------------------------------------------------------


def layer_norm(device: torch.device) -> Iterator[Row]:
    """The claim: BERT's eps of 1e-12 is 0 in fp16, so LayerNorm would divide by 0. It is 0; what matters is whether
    anybody computes with it in fp16."""
    H = BASE.hidden_size  # in a rehearsal too: this part of the answer needs no GPU
    norm = torch.nn.LayerNorm(H, eps=EPS, device=device)
    eps = torch.tensor(EPS, device=device).half().item()
    yield Row(f"eps of {EPS:g} rounded to fp16", eps, note="so far the claim is right")
    same = torch.full((2, H), 0.5, device=device)  # no variance at all, where eps is all there is
    by_hand = (same.half() - same.half().mean(-1, keepdim=True)) / (same.half().var(-1, keepdim=True) + eps).sqrt()
    yield Row("rows without variance, written out in fp16: finite", bool(by_hand.isfinite().all()),
              note="what the claim warns of")  # fmt: skip
    with PRECISIONS["fp16"].autocast(device):
        low = norm(same.half())
    yield Row("… by LayerNorm under autocast: finite", bool(low.isfinite().all()), rule="yes", basis="textcls")
    yield Row("… whose output is", str(low.dtype).removeprefix("torch."))
    halved = torch.nn.LayerNorm(H, eps=EPS, device=device).half()
    yield Row("… by a LayerNorm that is in fp16 itself: finite", bool(halved(same.half()).isfinite().all()),
              note="no recipe has one")  # fmt: skip
    torch.manual_seed(0)
    for scale in (1.0, 1e-2, 1e-4):
        x = (scale * torch.randn(64, H, device=device)).half()
        exact = torch.nn.functional.layer_norm(x.double(), (H,), eps=EPS)
        with PRECISIONS["fp16"].autocast(device):
            error = (norm(x).double() - exact).square().mean().sqrt().item()
        yield Row(f"LayerNorm of fp16 rows of deviation {scale:g}: error against float64", error, 5e-4, "at most",
                  "half a unit of fp16 at 1")  # fmt: skip


# ---- training in 16 bits --------------------------------------------------------------------------------------------


def training(work: Work, device: torch.device) -> Iterator[Row]:
    """The BiLSTM from the same weights on the same batches, without dropout, in each precision."""
    kinds = ("fp32", "fp16", "bf16") if device.type == "cuda" else ("fp32", "bf16")
    losses, seconds = {}, {}
    for kind in kinds:
        losses[kind], seconds[kind], refused = trained(work, device, PRECISIONS[kind])
        what = f"bilstm, {kind}: loss after {STEPS} steps"
        if kind == "fp32":
            yield Row(what, losses[kind], math.log(LABELS), "at most", "before training", "nats")
        else:
            allowed, note = losses["fp32"] * (1 + WORSE), f"{refused} steps refused"
            yield Row(what, losses[kind], allowed, "at most", f"{WORSE:.0%} over fp32's", "nats", note=note)
            yield Row(f"… {kind}: share of fp32's time", seconds[kind] / seconds["fp32"])


def trained(work: Work, device: torch.device, precision: Precision) -> tuple[float, float, int]:
    """(loss of the last steps, seconds of a step, steps that the scaler refused)."""
    B = work.scale.batch
    config = settings("bilstm", dropout=0.0, hidden=work.scale.units)
    torch.manual_seed(0)
    model = recipes.build(config, work.dims, LABELS).to(device).train()
    setup = setup_of(model, config, device, precision)
    batches = made(lengths_of(8 * B, work.scale.length), B, work.vocab_size)
    order = [batches.collate(numbers) for numbers in batches.order(0)]
    losses, scales, times = [], [setup.scaler.get_scale()], []
    for number in range(STEPS):
        batch = order[number % len(order)]
        times += gpu_device.seconds_of(device, lambda batch=batch: losses.extend(steps(setup, [batch], 1)), 1, warm=0)
        scales.append(setup.scaler.get_scale())
    refused = sum(after < before for before, after in itertools.pairwise(scales))
    return statistics.mean(losses[-len(order) :]), statistics.median(times), refused
