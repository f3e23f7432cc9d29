"""The same work done by this library and by its peers. Each contender is a class: `__init__` prepares, `run` does the
work once and returns the seconds it took, without what was prepared.

A contender lives in a process of its own (run.py starts it), so that its resident set is its own.
"""

import dataclasses
import logging
import os
import pathlib
import statistics
import sys
import tempfile
import time

import numpy as np
import torch

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from textcls import recipes  # noqa: E402
from textcls.config import TrainConfig  # noqa: E402
from textcls.ledger.plan import Step, plan  # noqa: E402
from textcls.models.lstm import LSTM  # noqa: E402
from textcls.pretrained.backbone import published, words_of  # noqa: E402
from textcls.pretrained.features import Features  # noqa: E402
from textcls.runtime.device import choose_device, choose_precision, native_bf16, prepare_cpu  # noqa: E402
from textcls.tasks import classification  # noqa: E402
from textcls.tasks.classification import collect_logits  # noqa: E402
from textcls.text.batches import CPU_TOKENS, Batches  # noqa: E402
from textcls.text.division import WORD  # noqa: E402
from textcls.text.sequences import assemble  # noqa: E402
from textcls.text.vocabulary import Vocabulary, encode  # noqa: E402
from textcls.training.loop import train  # noqa: E402
from textcls.training.run import Run  # noqa: E402

LABELS = 20


@dataclasses.dataclass
class Work:
    """What is to be done: `documents` posts of stripped 20newsgroups, drawn at random, in batches of `batch`."""

    data: str
    bert: str
    documents: int
    batch: int = 16
    max_length: int = 256
    model: str = "bert"
    hidden: int | None = None
    layers: int | None = None
    features: str | None = None


def load_documents(work: Work):
    """(texts, labels), the same for all contenders, in random order: the documents of a few batches of a real epoch, so
    that there are documents of like length among few as there are among all. Beyond the 10,184 posts of train they are
    repeated."""
    corpus = classification.load(TrainConfig(data="20newsgroups", data_dir=work.data))
    texts = [text for (text,) in corpus.train.texts]
    vocabulary = Vocabulary.from_folder(pathlib.Path(work.bert))
    sequences = assemble([encode(vocabulary, texts)], vocabulary, work.max_length)
    rows = np.concatenate(Batches(sequences, corpus.train.labels, work.batch).order(0))
    rows = np.random.default_rng(0).permutation(np.resize(rows, work.documents))
    return [texts[i] for i in rows], corpus.train.labels[rows]


class Ours:
    """Training through the library's own loop."""

    def __init__(self, work: Work):
        self.device = choose_device("auto")
        if self.device.type == "cpu":
            prepare_cpu()
        self.config = recipes.complete(
            TrainConfig(
                model=work.model, bert=work.bert, batch_size=work.batch, max_length=work.max_length, accumulate=1,
                epochs=1, save_every=0, quiet=True, hidden=work.hidden, layers=work.layers, patience=0,
                features=work.features,
            )
        )  # fmt: skip
        texts, labels = load_documents(work)
        recipe = recipes.choose(self.config)
        if recipe["input"] == "pieces":
            backbone = published(work.bert)
        else:
            sizes = self.config.vocab_size, self.config.min_count
            backbone = words_of(self.config, Vocabulary.learn_words(texts, *sizes, WORD))
        self.vocabulary, self.dims = backbone.vocabulary, backbone.dims
        sequences = assemble([encode(self.vocabulary, texts)], self.vocabulary, work.max_length)
        self.batches = Batches(sequences, labels, work.batch, pad=self.vocabulary.pad)
        self.precision = choose_precision("auto", self.device, recipe["amp"])
        self.loss_fn = classification.cross_entropy()
        torch.manual_seed(1)
        self.model = recipes.build(self.config, self.dims, LABELS)
        recipes.share(self.config, self.model, backbone)
        if "begin" in recipe:
            # The dev documents decide between the fits; how long an epoch takes does not depend on which is chosen.
            recipe["begin"](self.config, self.model, {"train": self.batches, "dev": self.batches}, self.vocabulary)
        self.backbone = backbone
        self.model.to(self.device)

    def run(self) -> float:
        with tempfile.TemporaryDirectory() as folder:
            state = train(
                self.model, self.batches, self.loss_fn, lambda model: {"accuracy": 0.0, "nll": 0.0}, self.config,
                Run(folder), self.device, self.precision,
            )  # fmt: skip
        return state.history[-1]["seconds"]

    def flop(self) -> int:
        """Of one `run`, from the shapes of its batches, padding included."""
        blocks, total = recipes.blocks(self.config, self.dims, LABELS), 0
        for rows in self.batches.order(0):
            tokens = int(self.batches.lengths[rows].max())
            total += plan(blocks, Step(len(rows), tokens, self.device.type)).flop()
        return total


class OursRate(Ours):
    """The same, and beside it the best rate of matrix products in this process: `run` returns the share of it."""

    def run(self) -> float:
        seconds = super().run()
        return self.flop() / seconds / self.best_rate()

    def best_rate(self) -> float:
        rates = []
        for m, k, n in ((4096, 384, 1536), (4096, 1536, 384), (2048, 2048, 2048), (4096, 768, 3072)):
            a, b = torch.randn(m, k, device=self.device), torch.randn(k, n, device=self.device)
            times = []
            with self.precision.autocast(self.device):
                for _ in range(8):
                    start = time.perf_counter()
                    a @ b
                    if self.device.type == "cuda":
                        torch.cuda.synchronize()
                    times.append(time.perf_counter() - start)
            rates.append(2 * m * k * n / statistics.median(times))
        return max(rates)


class OursCached(Ours):
    """A model on a frozen encoder whose vectors are in the cache, as they are in every epoch of a run but the first;
    `Ours` computes them again each time."""

    def __init__(self, work: Work):
        super().__init__(work)
        source, weights = self.model.encoder.source, self.backbone.source["sha256"]
        features = Features(source, weights, self.batches, self.precision)
        self.batches.features, _ = features.get(self.device, "", quiet=True)


class OursPacked(Ours):
    """The same BiLSTM through `nn.LSTM` on a PackedSequence."""

    def __init__(self, work: Work):
        super().__init__(work)
        torch.set_float32_matmul_precision("highest")  # torch's default
        for part in self.model.modules():
            if isinstance(part, LSTM):
                part.forward = part.packed


class Trainer:
    """Hugging Face Trainer as its run_glue sets it up: every document padded to the maximum, float32."""

    best = False

    def __init__(self, work: Work):
        import transformers

        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        self.transformers = transformers
        texts, labels = load_documents(work)
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(work.bert)
        self.model = transformers.AutoModelForSequenceClassification.from_pretrained(work.bert, num_labels=LABELS)
        padding = False if self.best else "max_length"
        encoded = self.tokenizer(texts, truncation=True, max_length=work.max_length, padding=padding)
        self.rows = [
            {"input_ids": ids, "attention_mask": mask, "labels": int(label)}
            for ids, mask, label in zip(encoded["input_ids"], encoded["attention_mask"], labels, strict=True)
        ]
        self.work = work

    def run(self) -> float:
        transformers = self.transformers
        with tempfile.TemporaryDirectory() as folder:
            arguments = transformers.TrainingArguments(
                output_dir=folder, num_train_epochs=1, per_device_train_batch_size=self.work.batch, learning_rate=1e-4,
                weight_decay=0.01, warmup_steps=0.1, save_strategy="no", logging_strategy="no", disable_tqdm=True,
                bf16=self.best and (torch.cuda.is_available() or native_bf16()),
                train_sampling_strategy="group_by_length" if self.best else "random",
            )  # fmt: skip
            collate = transformers.DataCollatorWithPadding(self.tokenizer) if self.best else None
            trainer = transformers.Trainer(self.model, arguments, train_dataset=self.rows, data_collator=collate)
            return trainer.train().metrics["train_runtime"]


class TrainerBest(Trainer):
    """The same with dynamic padding, group_by_length, and bf16 where the processor has it."""

    best = True


class OursInference(Ours):
    """Text to logits: tokenising, batches of like length, forward passes."""

    def __init__(self, work: Work):
        super().__init__(work)
        self.texts = load_documents(work)[0]
        self.model.eval()

    def run(self) -> float:
        start = time.perf_counter()
        sequences = assemble([self.vocabulary.encode(self.texts)], self.vocabulary, self.config.max_length)
        batches = Batches(sequences, None, self.config.batch_size)
        collect_logits(self.model, batches, self.device, self.precision)
        return time.perf_counter() - start


class Pipeline:
    """transformers' text-classification pipeline, batch 32."""

    def __init__(self, work: Work):
        import transformers

        transformers.logging.set_verbosity_error()
        self.texts = load_documents(work)[0]
        self.pipeline = transformers.pipeline(
            "text-classification",
            model=transformers.AutoModelForSequenceClassification.from_pretrained(work.bert, num_labels=LABELS).eval(),
            tokenizer=transformers.AutoTokenizer.from_pretrained(work.bert),
            device=choose_device("auto"),
        )
        self.options = {"batch_size": work.batch, "truncation": True, "max_length": work.max_length}

    def run(self) -> float:
        start = time.perf_counter()
        self.pipeline(self.texts, **self.options)
        return time.perf_counter() - start


class OursForward(OursInference):
    """Forward passes alone, over batches that are ready."""

    def run(self) -> float:
        start = time.perf_counter()
        collect_logits(self.model, self.batches, self.device, self.precision)
        return time.perf_counter() - start


class OnnxRuntime(OursForward):
    """The same weights and the same batches through ONNX Runtime, float32."""

    def __init__(self, work: Work):
        import onnxruntime

        super().__init__(work)
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        self.folder = tempfile.TemporaryDirectory()
        path = pathlib.Path(self.folder.name) / "model.onnx"
        ids, mask = torch.ones(2, 16, dtype=torch.int64), torch.ones(2, 16, dtype=torch.int64)
        names = {0: torch.export.Dim("B", min=1), 1: torch.export.Dim("T", min=2, max=512)}
        torch.onnx.export(
            self.model.cpu(), (ids, mask), path, input_names=["ids", "mask"], dynamo=True, verbose=False,
            dynamic_shapes={"ids": names, "mask": names},
        )  # fmt: skip
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.check()
        del self.model

    def logits(self, batch) -> np.ndarray:
        ids, mask = batch.inputs["ids"], batch.inputs["mask"]
        mask = torch.ones_like(ids) if mask is None else mask
        return self.session.run(None, {"ids": ids.numpy(), "mask": mask.numpy()})[0]

    @torch.no_grad()
    def check(self) -> None:
        batch = self.batches.collate(self.batches.sorted_order()[0])
        ours = self.model(**batch.inputs).numpy()
        assert np.abs(self.logits(batch) - ours).max() < 1e-4, "ONNX Runtime computes something else"

    def run(self) -> float:
        start = time.perf_counter()
        for rows in self.batches.sorted_order(CPU_TOKENS):
            self.logits(self.batches.collate(rows))
        return time.perf_counter() - start


class Reading:
    """Load, strip and tokenise all of 20newsgroups with an empty cache."""

    def __init__(self, work: Work):
        self.folder = tempfile.TemporaryDirectory()
        os.environ["TEXTCLS_CACHE"] = self.folder.name
        self.config = TrainConfig(data="20newsgroups", data_dir=work.data)
        self.vocabulary = published(work.bert).vocabulary
        self.work = work

    def read(self) -> float:
        start = time.perf_counter()
        corpus = classification.load(self.config)
        for part in (corpus.train, corpus.dev, corpus.test):
            pieces = encode(self.vocabulary, [text for (text,) in part.texts])
            assemble([pieces], self.vocabulary, self.work.max_length)
        return time.perf_counter() - start

    def run(self) -> float:
        for path in pathlib.Path(self.folder.name).iterdir():
            path.unlink()
        return self.read()


class ReadingAgain(Reading):
    """The same with what the first run left in the cache."""

    def __init__(self, work: Work):
        super().__init__(work)
        self.read()

    def run(self) -> float:
        return self.read()


CONTENDERS = {
    kind.__name__: kind
    for kind in (
        Ours, OursRate, OursCached, OursPacked, Trainer, TrainerBest, OursInference, Pipeline, OursForward, OnnxRuntime,
        Reading, ReadingAgain,
    )
}  # fmt: skip
