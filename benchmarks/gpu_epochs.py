"""Part 3 of benchmarks/gpu.py: seconds an epoch of 20 Newsgroups' 11,314 documents, against the published system and
against transformers' Trainer.

The published system: https://github.com/KhoaTr35/learning-so-deep (text track), bert-base-uncased in fp16 and a BiLSTM
in fp32, batches of 16, BERT's of 2 to a step, every document padded to 256 tokens, on an RTX 3060 Laptop of 6 GB. Its
pages say that much; the seconds are taken over as they were claimed.
"""

import inspect
from collections.abc import Iterator
from importlib import util

import gpu_device
import numpy as np
import torch
from gpu_page import Row
from gpu_work import DOCUMENTS, LABELS, PRECISIONS, Work, build, documents, made, settings

from textcls.runtime.device import Precision
from textcls.runtime.progress import silence
from textcls.tasks.classification import cross_entropy
from textcls.text.batches import Batches
from textcls.training.loop import train
from textcls.training.run import Run

PUBLISHED = {"bert": 160.0, "bilstm": 74.0}  # seconds
CLAIM = "claimed of an RTX 3060"
ACCUMULATE = {"bert": 2, "bilstm": 1}  # batches of a step
EPOCHS = 2  # the first one does not count


def epochs(work: Work) -> Iterator[Row]:
    device = gpu_device.begin(work.device, work.memory)
    fp16 = "fp16" if device.type == "cuda" else "fp32"  # no CPU has a use for the scaler
    seconds = {}
    for model, kind in (("bert", fp16), ("bilstm", "fp32")):
        batches, source = documents(work, work.scale.documents[model], work.scale.batch)
        seconds[model] = epoch(work, device, model, PRECISIONS[kind], batches)
        size = f"batch {work.scale.batch} x {ACCUMULATE[model]}"
        what = f"{model}, {kind}, {size}, {work.scale.length} tokens at most: an epoch"
        yield of_claim(what, seconds[model], model, source)
    yield from trainer(work, device, seconds["bert"])
    for model, kind in (("bert", fp16), ("bilstm", "fp32")):
        count = work.scale.documents[model] // 2
        full = made(np.full(count, work.scale.length), work.scale.batch, work.vocab_size)
        what = f"{model}, {kind}, every document as long as {work.scale.length} tokens, as if padded: an epoch"
        yield of_claim(what, epoch(work, device, model, PRECISIONS[kind], full), model)
    batches, _ = documents(work, work.scale.documents["bilstm"], work.scale.batch)
    with gpu_device.tf32(True):
        rounded = epoch(work, device, "bilstm", PRECISIONS["fp32"], batches)
    yield Row("bilstm, with cuDNN's LSTM in TF32, torch's own default: an epoch", rounded, unit="s", note="not ours")


def of_claim(what: str, seconds: float | None, model: str, source: str = "") -> Row:
    note = "out of memory" if seconds is None else source
    return Row(what, seconds, PUBLISHED[model], "at most", CLAIM, "s", note=note)


class Unkept(Run):
    """A run that leaves nothing on the disk: gigabytes of checkpoints are no part of what is measured."""

    def save(self, name: str, content: dict) -> None:
        pass

    def write_metrics(self, rows: list) -> None:
        pass


def epoch(work: Work, device: torch.device, model: str, precision: Precision, batches: Batches) -> float | None:
    """The loop's own seconds for 11,314 documents, from those of `batches`; None where the memory does not suffice."""
    given = {"batch_size": work.scale.batch, "accumulate": ACCUMULATE[model], "epochs": EPOCHS}
    config = settings(model, **given, save_every=0, patience=0, **work.sizes(model))
    gpu_device.empty(device)

    def run() -> float:
        built, unkept = build(config, work, device), Unkept(work.folder)
        with silence():
            state = train(built, batches, cross_entropy(), no_scores, config, unkept, device, precision)
        return state.history[-1]["seconds"] * DOCUMENTS / len(batches.lengths)

    return gpu_device.within_memory(run)


def no_scores(model) -> dict[str, float]:
    return {"accuracy": 0.0, "nll": 0.0}


# ---- transformers' Trainer ------------------------------------------------------------------------------------------


def trainer(work: Work, device: torch.device, ours: float | None) -> Iterator[Row]:
    """The same documents, batch and model through the Trainer at its best: fp16, batches padded to their longest,
    documents of like length together, fused AdamW."""
    what = "transformers' Trainer at its best, the same documents: an epoch"
    missing = [name for name in ("transformers", "accelerate") if util.find_spec(name) is None]
    if missing:
        yield Row(what, None, note=f"{' and '.join(missing)} not installed")
        return
    batches, _ = documents(work, work.scale.documents["bert"], work.scale.batch)
    gpu_device.empty(device)
    seconds = gpu_device.within_memory(lambda: trainer_seconds(work, device, batches))
    if seconds is None or ours is None:
        yield Row(what, None, note="out of memory")
        return
    theirs = seconds * DOCUMENTS / len(batches.lengths)
    yield Row(what, theirs, unit="s")
    yield Row("… times as long as ours", theirs / ours, 1.0, "at least", "the aim")


def trainer_seconds(work: Work, device: torch.device, batches: Batches) -> float:
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    rows = [{"input_ids": ids.tolist(), "labels": int(label)} for ids, label in rows_of(batches)]
    fields = vars(work.dims).keys() & inspect.signature(transformers.BertConfig.__init__).parameters.keys()
    dims = transformers.BertConfig(**{name: getattr(work.dims, name) for name in fields}, num_labels=LABELS)
    model = transformers.BertForSequenceClassification(dims)
    arguments = transformers.TrainingArguments(**choices(work, device))
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1  # it would take all of them
    for chosen in (rows[: 4 * work.scale.batch], rows):  # the first ones do not count
        run = transformers.Trainer(model, arguments, train_dataset=chosen, data_collator=collate)
        run.remove_callback(transformers.PrinterCallback)
        seconds = run.train().metrics["train_runtime"]
    return seconds


def rows_of(batches: Batches) -> Iterator[tuple[np.ndarray, int]]:
    rows = batches.sequences.rows
    return ((rows[i], label) for i, label in enumerate(batches.labels))


def choices(work: Work, device: torch.device) -> dict:
    import transformers

    known = inspect.signature(transformers.TrainingArguments.__init__).parameters
    like_length = {"train_sampling_strategy": "group_by_length"} if "train_sampling_strategy" in known else {
        "group_by_length": True}  # fmt: skip
    return like_length | {
        "output_dir": str(work.folder / "trainer"),
        "num_train_epochs": 1,
        "per_device_train_batch_size": work.scale.batch,
        "gradient_accumulation_steps": ACCUMULATE["bert"],
        "learning_rate": 2e-5,
        "fp16": device.type == "cuda",
        "use_cpu": device.type == "cpu",
        "optim": "adamw_torch_fused",
        "save_strategy": "no",
        "logging_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "remove_unused_columns": False,
    }


def collate(rows: list[dict]) -> dict[str, torch.Tensor]:
    longest = max(len(row["input_ids"]) for row in rows)
    ids = [row["input_ids"] + [0] * (longest - len(row["input_ids"])) for row in rows]
    mask = [[1] * len(row["input_ids"]) + [0] * (longest - len(row["input_ids"])) for row in rows]
    return {
        "input_ids": torch.tensor(ids),
        "attention_mask": torch.tensor(mask),
        "labels": torch.tensor([row["labels"] for row in rows]),
    }
