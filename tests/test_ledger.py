"""Predictions against counts: hooks for what is saved, a tracker of all tensors for the peak, torch's FLOP counter."""

import ctypes
import dataclasses
import itertools
import re
import sys
import weakref
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from tests.launch import Launched
from textcls import BertConfig, recipes
from textcls.config import TrainConfig
from textcls.ledger import plan as ledger
from textcls.ledger import tables
from textcls.ledger.blocks import lstm
from textcls.ledger.measure import SavedTensors
from textcls.ledger.plan import Plan, Step
from textcls.models.bert import BertClassifier
from textcls.models.heads import BERT_POOLINGS, POOLINGS
from textcls.models.language_model import LanguageModel
from textcls.models.linear import LinearClassifier
from textcls.models.pretraining import BertForPreTraining
from textcls.models.recurrent import Tagger, WordDims
from textcls.models.spans import RecurrentSpanModel, SpanModel
from textcls.runtime.device import M_MMAP_THRESHOLD, prepare_cpu
from textcls.runtime.memory import peak_memory, resident_memory
from textcls.tasks import language, pretraining
from textcls.tasks.classification import cross_entropy
from textcls.tasks.masking import MASKED
from textcls.tasks.multilabel import sigmoid_cross_entropy
from textcls.tasks.regression import squared_error
from textcls.tasks.spans import span_loss
from textcls.tasks.tagging import tag_loss
from textcls.text.batches import Batch
from textcls.training.optim import build_optimizer

SHAPE = BertConfig(
    vocab_size=900,
    hidden_size=96,
    num_hidden_layers=3,
    num_attention_heads=4,
    intermediate_size=320,
    max_position_embeddings=160,
)
LABELS, UNITS, LAYERS, DROPOUT = 7, 80, 2, 0.3


@pytest.fixture(autouse=True)
def without_bf16_lstm(monkeypatch):
    """As on most processors, whose LSTM is in float32 under autocast too: so the ledger counts it on the CPU."""
    monkeypatch.setattr("textcls.models.lstm.has_bf16_lstm", lambda: False)


def build(name: str, step: Step, dims: BertConfig = SHAPE, labels: int = LABELS, **settings):
    """(model in training, blocks) of a recipe with these settings; `name` is MODEL or MODEL/TASK."""
    model, _, task = name.partition("/")
    if model == "bilstm":
        settings = {"hidden": UNITS, "layers": LAYERS} | settings
    config = recipes.complete(
        TrainConfig(
            model=model,
            task=task or "classification",
            train="x.csv",
            bert="x",
            dropout=None if model in ("linear", "probe") else DROPOUT,
            **settings,
        )
    )
    config.checkpoint_activations = step.checkpoint or None
    if recipes.choose(config)["input"] != "pieces":
        dims = WordDims(900, 0 if model == "linear" else 48)
    return recipes.build(config, dims, labels).train(), recipes.blocks(config, dims, labels)(step)


def blocks_of(model: str, dims: BertConfig, labels: int) -> ledger.Model:
    return recipes.blocks(recipes.complete(TrainConfig(model=model, bert="x")), dims, labels)


def forward(model, step: Step, loss_of: Callable = cross_entropy, labels=None) -> torch.Tensor:
    """The summed loss of one micro-batch, as training computes it. A word of a tagger is one token. `labels` (B,): 0,
    unless others are given."""
    ids = torch.randint(5, 900, (step.batch, step.tokens))
    if isinstance(model, LinearClassifier):
        ids = torch.stack([torch.randperm(895)[: step.tokens] + 5 for _ in range(step.batch)])  # all distinct
    mask, config = torch.ones_like(ids), TrainConfig(label_smoothing=0.0)
    mask[1:, step.tokens - 3 :] = 0
    inputs = {"ids": ids, "mask": mask if step.padded else None, "segments": None}
    if isinstance(model, BertClassifier) and model.bert.frozen:
        inputs["features"] = torch.randn(step.batch, step.tokens, model.bert.encoded_size)
    targets, loss_fn = {"labels": torch.zeros(step.batch, dtype=torch.long) if labels is None else labels}, loss_of()
    targets["scores"] = torch.zeros(step.batch)
    if isinstance(model, Tagger):
        starts = torch.arange(1, step.tokens - 1).repeat(step.batch, 1)
        labels = torch.zeros_like(starts)
        labels[1:, -1] = -100
        inputs, targets, loss_fn = inputs | {"starts": starts}, {"labels": labels}, tag_loss()
    elif isinstance(model, SpanModel | RecurrentSpanModel):
        targets, loss_fn = {"labels": torch.randint(0, step.tokens - 3, (step.batch, 2))}, span_loss
    elif isinstance(model, LanguageModel):
        inputs, targets, loss_fn = {"ids": ids}, {"words": ids}, language.loss(config, None)
    elif isinstance(model, BertForPreTraining):
        places = torch.randperm(step.slots)[: round(MASKED * step.slots)].clone()
        inputs, targets = inputs | {"places": places}, targets | {"tokens": torch.zeros_like(places)}
        loss_fn = pretraining.loss(config, None)
    batch = Batch(inputs, targets, np.arange(step.batch), 0, {})
    with torch.autocast("cpu", torch.bfloat16, enabled=step.dtype is not None):
        return sum(loss_fn(model, batch, None)[0].values())


CASES = [
    (name, Step(batch, tokens, dtype=dtype, padded=padded, checkpoint=checkpoint))
    for name, dtype, padded, (batch, tokens), checkpoint in itertools.product(
        ("bert", "bilstm"), (None, torch.bfloat16), (False, True), ((12, 30), (3, 150)), (False, True)
    )
    if not (name == "bilstm" and checkpoint)
]
OTHERS = [
    ("linear", {}),
    *(("bilstm", {"pooling": pooling}) for pooling in POOLINGS if pooling != "attention"),
    *(("bert", {"pooling": pooling}) for pooling in BERT_POOLINGS if pooling != "cls"),
    *((model, {"pooling": pooling}) for model in ("lstm", "bilstm-scratch") for pooling in POOLINGS),
    ("lstm", {"layers": 2}),
    ("bert-lstm", {"encoder": "tune"}),
    ("bert-bilstm", {"encoder": "frozen"}),
    ("bert-bilstm", {"encoder": "tune", "layers": 2}),
    ("bert/tagging", {}),
    ("bert/tagging", {"crf": True}),
    ("bilstm/tagging", {}),
    ("bilstm-scratch/tagging", {"crf": True}),
    ("bert-bilstm/tagging", {"encoder": "tune"}),
    ("lstm/lm", {"embedding": 48}),
    ("probe", {}),
    ("probe", {"pooling": "mean+max"}),
    ("bert", {"freeze": 1}),
    ("bert", {"freeze": 2, "pooling": "mean"}),
    *((model, {"freeze": 1}) for model in ("trans-blstm-1", "trans-blstm-2", "blstm")),
    ("trans-blstm-1", {}),
    ("trans-blstm-1", {"small": True, "pooling": "mean+max"}),
    ("trans-blstm-2", {}),
    ("trans-blstm-2/tagging", {"small": True}),
    ("blstm", {}),
    ("bert/pretrain", {}),
    ("bert/pretrain", {"next_sentence": False}),
    ("trans-blstm-2/pretrain", {"small": True}),
    ("bert/spans", {}),
    ("bert/spans", {"decoder": "blstm"}),
    ("trans-blstm-1/spans", {"decoder": "blstm", "decoder_layers": 1, "hidden": UNITS}),
    ("trans-blstm-2/spans", {"small": True}),
    ("blstm/spans", {"decoder": "blstm", "small": True}),
    ("bilstm/spans", {}),
]


def identify(value):
    if isinstance(value, Step):
        dtype, flags = value.dtype or "fp32", (value.padded, value.checkpoint)
        return f"{value.batch}x{value.tokens}-{str(dtype)[-4:]}-{'pad'[: 3 * flags[0]]}{'ckpt'[: 4 * flags[1]]}"
    return value


@pytest.mark.parametrize("name, step", CASES, ids=identify)
def test_saved_tensors_are_predicted_within_a_hundredth(name, step):
    model, blocks = build(name, step)
    predicted = Plan(blocks, step)
    with SavedTensors(model) as saved:
        forward(model, step)
    assert set(predicted.activations()) == set(saved.parts)
    for part, size in predicted.activations().items():
        assert size == pytest.approx(saved.parts[part], rel=0.01), part
    assert sum(predicted.activations().values()) == pytest.approx(sum(saved.parts.values()), rel=0.01)
    if not step.checkpoint:  # there, copies are made again layer by layer
        assert predicted.copies == saved.copies


@pytest.mark.parametrize("dtype", [None, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("padded", [True, False], ids=["padded", "full"])
@pytest.mark.parametrize("name, settings", OTHERS, ids=str)
def test_every_model_saves_what_is_predicted(name, settings, dtype, padded):
    step = Step(6, 50, dtype=dtype, padded=padded)
    model, blocks = build(name, step, **settings)
    predicted = Plan(blocks, step)
    with SavedTensors(model) as saved:
        forward(model, step)
    total = sum(predicted.activations().values())
    assert total == pytest.approx(sum(saved.parts.values()), rel=0.01), (predicted.activations(), saved.parts)
    for part, size in predicted.activations().items():
        assert size == pytest.approx(saved.parts.get(part, 0), rel=0.01, abs=0.001 * total), part
    assert predicted.copies == saved.copies


@pytest.mark.parametrize("dtype", [None, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("model", [
    model for (model, task), row in recipes.RECIPES.items() if task == "multilabel" and row["input"] != "characters"
])  # fmt: skip
def test_several_labels_save_what_is_predicted(model, dtype):
    """So many labels that they are a part of it."""
    step, labels = Step(6, 50, dtype=dtype), 500
    model, blocks = build(f"{model}/multilabel", step, labels=labels)
    predicted = Plan(blocks, step).activations()
    with SavedTensors(model) as saved:
        forward(model, step, sigmoid_cross_entropy, torch.zeros(step.batch, labels, dtype=torch.bool))
    assert set(predicted) == set(saved.parts)
    for part, size in predicted.items():
        assert size == pytest.approx(saved.parts[part], rel=0.01), part


@pytest.mark.parametrize("dtype", [None, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("pooling", [None, "mean+max", "attention"])
@pytest.mark.parametrize("model", [model for model, task in recipes.RECIPES if task == "regression"])
def test_every_regression_saves_what_is_predicted(model, pooling, dtype):
    step = Step(6, 50, dtype=dtype)
    model, blocks = build(f"{model}/regression", step, labels=1, pooling=pooling)
    predicted = Plan(blocks, step).activations()
    with SavedTensors(model) as saved:
        forward(model, step, squared_error)
    assert set(predicted) == set(saved.parts)
    for part, size in predicted.items():
        assert size == pytest.approx(saved.parts[part], rel=0.01), part
    counts = {flag: sum(p.numel() for p in model.parameters() if p.requires_grad is flag) for flag in (True, False)}
    assert sum(block.trainable for block in blocks) == counts[True]
    assert sum(block.frozen for block in blocks) == counts[False]


@pytest.mark.parametrize("name, settings", [("bert", {}), ("bilstm", {}), *OTHERS], ids=str)
def test_parameters_of_every_model(name, settings):
    model, blocks = build(name, Step(2, 8), **settings)
    counts = {flag: sum(p.numel() for p in model.parameters() if p.requires_grad is flag) for flag in (True, False)}
    assert sum(block.trainable for block in blocks) == counts[True]
    assert sum(block.frozen for block in blocks) == counts[False]


@pytest.mark.parametrize(
    "changes", [{"hidden_act": "relu"}, {"attention_probs_dropout_prob": 0.0}, {"hidden_dropout_prob": 0.0}]
)
def test_other_shapes_save_what_is_predicted(changes):
    step = Step(4, 60)
    model, blocks = build("bert", step, dataclasses.replace(SHAPE, **changes))
    with SavedTensors(model) as saved:
        forward(model, step)
    predicted = Plan(blocks, step).activations()
    for part, size in predicted.items():
        assert size == pytest.approx(saved.parts[part], rel=0.01), part


def test_the_houses_own_counts():
    """DESIGN's numbers for bert-base-uncased and 20 classes, from the ledger alone."""
    step = Step(1, 8)
    bert, bilstm = (Plan(blocks_of(name, BertConfig(), 20)(step), step) for name in ("bert", "bilstm"))
    assert bert.trainable // 4 == 109_497_620
    assert (bilstm.trainable // 4, bilstm.frozen // 4) == (7_395_477, 23_837_184)


class LiveBytes(TorchDispatchMode):
    """Bytes of all storages that operations made and that are still referenced, and their highest sum."""

    def __init__(self):
        super().__init__()
        self.now = self.peak = 0
        self.known = set()

    def add(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        address, size = storage._cdata, storage.nbytes()
        if address in self.known:
            return
        self.known.add(address)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self.remove, address, size)

    def remove(self, address: int, size: int) -> None:
        self.known.discard(address)
        self.now -= size

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self.add(tensor)
        return result


def live_peak(model, step: Step) -> int:
    optimizer = build_optimizer(model, 1e-4, 0.01)

    def take():
        for _ in range(step.accumulate):
            forward(model, step).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    take()  # the optimiser's state is made in the first step
    live = LiveBytes()
    for tensor in [*model.parameters(), *tree_leaves([list(state.values()) for state in optimizer.state.values()])]:
        live.add(tensor)
    with live:
        take()
    return live.peak


@pytest.mark.parametrize(
    "name, step",
    [
        ("bert", Step(12, 100)),
        ("bert", Step(12, 100, accumulate=2)),
        ("bert", Step(2, 8)),  # gradients outweigh activations: the peak is at the other end of the backward pass
        ("bert", Step(4, 150)),
        ("bert", Step(12, 100, dtype=torch.bfloat16)),
        ("bert", Step(12, 100, checkpoint=True)),
        ("bert", Step(12, 100, checkpoint=True, accumulate=2, dtype=torch.bfloat16)),
        ("bilstm", Step(12, 100)),
        ("bilstm", Step(8, 50, accumulate=2)),
        ("bert/spans", Step(12, 100)),
        ("bert/spans", Step(4, 150, dtype=torch.bfloat16)),
        ("bilstm/spans", Step(12, 100)),
    ],
    ids=identify,
)
def test_peak_is_predicted_within_a_twentieth(name, step):
    model, blocks = build(name, step)
    assert Plan(blocks, step).peak()[0] == pytest.approx(live_peak(model, step), rel=0.05)


@pytest.mark.parametrize("name, pooling", [("bilstm", "attention+max"), ("bert", "mean"), ("bert", "mean+max")])
def test_peak_with_other_poolings(name, pooling):
    step = Step(12, 100)
    model, blocks = build(name, step, pooling=pooling)
    assert Plan(blocks, step).peak()[0] == pytest.approx(live_peak(model, step), rel=0.05)


@pytest.mark.parametrize("freeze", [1, 2])
def test_peak_with_frozen_layers(freeze):
    step = Step(12, 100)
    model, blocks = build("bert", step, freeze=freeze)
    assert Plan(blocks, step).peak()[0] == pytest.approx(live_peak(model, step), rel=0.05)


@pytest.mark.parametrize("settings", [{}, {"decoder_layers": 1, "hidden": UNITS}])
def test_peak_with_a_decoder(settings):
    step = Step(12, 100)
    model, blocks = build("bert/spans", step, decoder="blstm", **settings)
    assert Plan(blocks, step).peak()[0] == pytest.approx(live_peak(model, step), rel=0.05)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [None, torch.float16], ids=["fp32", "fp16"])
@pytest.mark.parametrize("padded", [False, True], ids=["full", "padded"])
def test_peak_on_cuda(dtype, padded):
    """bert-base, as a 6 GB card would train it."""
    device, dims = torch.device("cuda"), BertConfig()
    step = Step(8, 256, "cuda", dtype, padded)
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated(device)
    model = build("bert", Step(1, 8), dims, 20)[0].to(device)
    optimizer, scaler = build_optimizer(model, 1e-5, 0.01), torch.amp.GradScaler("cuda", enabled=dtype is not None)
    ids = torch.randint(1, 30000, (8, 256), device=device)
    mask = torch.ones_like(ids)
    mask[1:, 200:] = 0
    for _ in range(3):
        torch.cuda.reset_peak_memory_stats(device)
        with torch.autocast("cuda", dtype, enabled=dtype is not None):
            loss = model(ids, mask if padded else None).float().log_softmax(-1)[:, 0].sum()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
    found = torch.cuda.max_memory_allocated(device) - before
    assert Plan(blocks_of("bert", dims, 20)(step), step).peak()[0] == pytest.approx(found, rel=0.05)


def kept_on_cuda(model: str, dtype: torch.dtype | None, task: str = "classification", **settings) -> dict[str, int]:
    """{part: bytes that the plan counts on CUDA}."""
    step = Step(6, 50, "cuda", dtype)
    config = recipes.complete(TrainConfig(model=model, task=task, train="x", bert="x", dropout=0.0, **settings))
    return Plan(recipes.blocks(config, SHAPE, LABELS)(step), step).activations()


def test_lstms_on_cuda_are_16_bit_in_fp16_alone():
    """models/lstm.py: in bf16 they stay in float32, which what reads them then lowers."""
    fp32, fp16, bf16 = (kept_on_cuda("bilstm", dtype) for dtype in (None, torch.float16, torch.bfloat16))
    assert fp32["LSTM"] == bf16["LSTM"] == 2 * fp16["LSTM"]
    # Attention pooling reads the steps twice: the same 16-bit tensor, or a 16-bit copy each time.
    assert bf16["head"] - fp16["head"] == 2 * 6 * 50 * 2 * 384


def test_what_a_tagger_on_cuda_keeps_of_its_encoder():
    """A BERT's last hidden state is LayerNorm's, in float32; an LSTM's is 16-bit in fp16."""
    steps = 6 * 50
    bert, bilstm = (kept_on_cuda(model, torch.float16, "tagging")["head"] for model in ("bert", "bilstm"))
    words = 6 * 48 * 2 * (2 * 256 - SHAPE.hidden_size)  # what the classifier reads
    assert bilstm - bert == 2 * steps * 2 * 256 - 4 * steps * SHAPE.hidden_size + words


def test_a_packed_blstm_keeps_an_input_of_its_own():
    """On CUDA beside the attention's, in float32 too; the padded one on the CPU shares it."""
    blocks = {}
    for device in ("cpu", "cuda"):
        config = recipes.complete(TrainConfig(model="trans-blstm-2", bert="x"))
        blocks[device] = recipes.blocks(config, SHAPE, LABELS)(Step(6, 50, device))
    what = "input of query, key, value (B, T, H)"
    assert not any(what in block.saved for block in blocks["cpu"])
    assert sum(what in block.saved for block in blocks["cuda"]) == SHAPE.num_hidden_layers


def test_flop_equals_torchs_counter():
    step = Step(3, 40)
    model, blocks = build("bert", step)
    with FlopCounterMode(display=False) as counter:
        forward(model, step).backward()
    again = SHAPE.num_hidden_layers * 2 * step.slots * step.tokens * SHAPE.hidden_size  # Q K^T in the backward pass
    assert Plan(blocks, step).flop() + again == counter.get_total_flops()


def test_flop_of_an_lstm():
    """Against the products of an LSTM cell, counted one by one."""
    step = Step(3, 11)
    cell = torch.nn.LSTMCell(2 * UNITS, UNITS)
    with FlopCounterMode(display=False) as counter:
        cell(torch.randn(step.batch, 2 * UNITS))
    one_direction = step.tokens * counter.get_total_flops()
    assert lstm(step, 5, UNITS, 2, 0.0, index=1).flop == 2 * one_direction


def grow(arguments: list[str]) -> None:
    """Train a model for a few steps; print the peak that is predicted, and what the resident set grew by."""

    def train(step: Step, dims: BertConfig, steps: int) -> int:
        model, blocks = build(arguments[0], step, dims)
        optimizer = build_optimizer(model, 1e-4, 0.01)
        for _ in range(steps):
            forward(model, step).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return Plan(blocks, step).peak(resident=True)[0]

    sizes = {"vocab_size": 900, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    small = BertConfig(**sizes, intermediate_size=32)
    sizes |= {"hidden_size": 192, "num_hidden_layers": 4, "num_attention_heads": 6}
    prepare_cpu()
    train(Step(2, 8), small, 2)  # libraries are loaded
    before = resident_memory()
    predicted = train(Step(16, 128), BertConfig(**sizes, intermediate_size=768), 3)
    print(predicted, peak_memory(torch.device("cpu"))["rss"] - before)


def map_larger_blocks() -> None:
    """Every larger block gets a mapping of its own, which goes back to the system when it is freed."""
    ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 1 << 18)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc, and tells glibc how to allocate")
@pytest.mark.parametrize("name", ["bert", "bilstm"])
def test_resident_set_grows_as_predicted(name, tmp_path):
    """With every larger block in a mapping of its own, the resident set is the tensors, without holes in the heap."""
    variables = {"MALLOC_MMAP_THRESHOLD_": str(1 << 18)}  # prepare_cpu leaves alone what is chosen
    growing = Launched(tmp_path, grow, name, before=map_larger_blocks, **variables)
    assert growing.wait() == 0, growing.stderr
    predicted, grown = map(int, growing.stdout.split())
    assert predicted == pytest.approx(grown, rel=0.15)


def test_the_largest_micro_batch_is_the_largest():
    model = blocks_of("bert", SHAPE, LABELS)
    step = Step(1, 128, "cuda", torch.float16, accumulate=2)
    memory = 60 * 2**20
    fits = [b for b in range(1, 200) if ledger.plan(model, dataclasses.replace(step, batch=b)).footprint() <= memory]
    assert ledger.largest_micro_batch(model, step, memory) == fits[-1] == len(fits) < 199
    assert ledger.largest_micro_batch(model, step, 2**20) == 0


def windowed(batch_size: int, accumulate: int, tokens: int = 128) -> Step:
    """The largest step of --long-documents window, with 8 windows a document."""
    config = TrainConfig(model="bert", train="x.csv", bert="x", long_documents="window", max_windows=8,
                         max_length=tokens, batch_size=batch_size, accumulate=accumulate)  # fmt: skip
    return recipes.step(recipes.complete(config), "cuda", torch.float16)


def test_a_document_is_all_of_its_windows():
    model, step = blocks_of("bert", SHAPE, LABELS), windowed(batch_size=4, accumulate=3)
    assert step.documents == 4 * 3 and step.batch == 4 * 8
    one_window = ledger.plan(model, dataclasses.replace(step, batch=1, windows=1, accumulate=1)).flop()
    assert ledger.plan(model, step).flop_per_document() == 8 * one_window
    assert ledger.plan(model, step).flop() == 4 * 3 * 8 * one_window


@pytest.mark.parametrize("documents, mib", [(12, 80), (12, 200), (30, 80), (30, 400), (7, 80)])
def test_micro_batches_are_counted_in_documents(documents, mib):
    """What the table recommends fits, as recipes.step understands it; one document more than its largest does not."""
    model, memory = blocks_of("bert", SHAPE, LABELS), mib * 2**20

    def size(batch_size: int, accumulate: int) -> int:
        step = windowed(batch_size, accumulate)
        assert step.documents == batch_size * accumulate
        return Plan(model(step), step).footprint()

    table = tables.micro_batch_table(model, windowed(documents, 1), memory, SHAPE.max_position_embeddings)
    row = re.search(r"^128 +([\d,]+) +--batch-size (\d+) --accumulate (\d+) +([\d.,]+)$", table, re.M)
    largest, batch_size, accumulate = map(int, row.groups()[:3])
    assert f"for {documents} documents a step" in table and batch_size * accumulate == documents
    assert size(batch_size, accumulate) <= memory and tables.mib(size(batch_size, accumulate)) == row[4]
    assert ledger.largest_micro_batch(model, windowed(documents, 2), memory) == largest >= batch_size
    assert size(largest, 2) <= memory < size(largest + 1, 2)
    assert ledger.largest_micro_batch(model, windowed(documents, 2), size(1, 2) - 1) == 0


def test_accumulation_keeps_the_documents_of_a_step():
    assert ledger.accumulation(32, 100) == (32, 1)
    assert ledger.accumulation(32, 21) == (16, 2)
    assert ledger.accumulation(30, 7) == (6, 5)
    assert ledger.accumulation(7, 6) == (1, 7)
    for documents, most in itertools.product(range(1, 40), range(1, 12)):
        batch, accumulate = ledger.accumulation(documents, most)
        assert batch * accumulate == documents and batch <= most


def test_each_way_out_of_memory_lowers_the_footprint():
    def size(**changes):
        step = Step(16, 256, "cuda", torch.float16, accumulate=2)
        return ledger.plan(blocks_of("bert", BertConfig(), 20), dataclasses.replace(step, **changes)).footprint()

    assert max(size(batch=8), size(tokens=128), size(checkpoint=True)) < size()
