"""The next word of a running text. Dimensions: B streams of text, T words of a window, V vocabulary, N words."""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from textcls.config import TrainConfig
from textcls.data.corpus import Corpus, check_share, number_of
from textcls.data.plain import Lines
from textcls.metrics.statistics import Interval
from textcls.models.language_model import detached
from textcls.pretrained.backbone import Backbone, words_of
from textcls.report.compare import Result
from textcls.runtime import parallel
from textcls.runtime.device import Precision
from textcls.runtime.errors import InputError
from textcls.runtime.progress import through
from textcls.tasks import base
from textcls.text.batches import Batch
from textcls.text.vocabulary import Words
from textcls.training.run import Run

UNIT = "words"
LABELS = ""
SELECT = ("loss",)
DEFAULTS = base.DEFAULTS | {
    "select": "loss",
    "batch_size": 20,
    "max_length": 35,
    "dropout": 0.5,
    "weight_decay": 1e-6,
    "clip": 0.5,
}
EVALUATION_WINDOW = 512  # words of a text scored at once; the score does not depend on it


# ---- data -----------------------------------------------------------------------------------------------------------


@dataclass
class Text:
    """All words of a split as numbers (N,) int32, <eos> after each line; `ids` (1,) name the text."""

    words: np.ndarray
    ids: np.ndarray

    def __len__(self) -> int:
        return len(self.words)


def text_of(words: np.ndarray, what: str) -> Text:
    """Raises InputError for a text in which nothing can be predicted; `what` it is."""
    if len(words) < 2:
        raise InputError(f"{what} has {len(words)} words; at least 2 are needed")
    return Text(words, np.array([number_of(words.tobytes().hex())], np.uint64))


def load(config: TrainConfig, progress: Callable = iter, vocabulary: Words | None = None) -> Corpus:
    """Files by commas. --dev and --test are files, or the share of the training text to hold out, taken from its end,
    test first. The vocabulary is learned from the training text unless it is given."""
    lines, dev, test = Lines(config.train, config.encoding), config.dev_split, config.test_split
    check_share(dev)
    check_share(test, "test")
    if vocabulary is None:
        # With a share held out the vocabulary has seen those lines too: which words exist, and not in what order.
        vocabulary = Words.learn(lines, config.vocab_size)
    splits = {"train": vocabulary.encode(lines)}
    for name, part in (("test", test), ("dev", dev)):
        if isinstance(part, float):
            cut = int(len(splits["train"]) * (1 - part))
            splits["train"], splits[name] = splits["train"][:cut], splits["train"][cut:]
        elif part is not None:
            splits[name] = vocabulary.encode(Lines(part, config.encoding))
    texts = {name: text_of(words, f"the {name} text") for name, words in splits.items()}
    unknown = np.mean(splits["dev"] == vocabulary.unk)
    name = lines.files[0].name
    description = f"{name}: vocabulary of {len(vocabulary):,} words, {unknown:.1%} of the dev words unknown"
    return Corpus(name, description, [], texts["train"], texts["dev"], texts.get("test"), vocabulary)


def count_labels(config: TrainConfig) -> int:
    return 0


def prepare(config: TrainConfig, run: Run, recipe: dict) -> tuple[Corpus, Backbone]:
    """The vocabulary is that of the training text, or of the run that goes on."""
    corpus = base.read(load, config, Words.from_folder(run.folder) if config.resume else None)
    return corpus, words_of(config, corpus.vocabulary)


class Streams:
    """A text of N words as `batch_size` streams side by side, cut into windows of `window` words, for a model that
    predicts each next word and carries its state from window to window. What does not fill a row of streams is left
    out of training; `batch_size` 1 reads every word."""

    divisible = False  # streams stay together, with the state that is carried
    description = ""

    def __init__(self, words: np.ndarray, batch_size: int, window: int):
        length = (len(words) - 1) // batch_size
        assert length > 0, (len(words), batch_size)
        self.words = torch.from_numpy(words[: batch_size * length].reshape(batch_size, length).astype(np.int64))
        self.next = torch.from_numpy(words[1 : batch_size * length + 1].reshape(batch_size, length).astype(np.int64))
        self.batch_size, self.window = batch_size, window

    def __len__(self) -> int:
        return -(-self.words.shape[1] // self.window)

    def order(self, epoch: int) -> list[np.ndarray]:
        """The windows, one after the other in every epoch: the state that is carried wants it so. Window w of stream s
        has the number w * (streams) + s."""
        return [np.arange(self.batch_size) + number * self.batch_size for number in range(len(self))]

    def sorted_order(self) -> list[np.ndarray]:
        return self.order(0)

    def collate(self, numbers: np.ndarray) -> Batch:
        window, streams = int(numbers[0]) // self.batch_size, torch.from_numpy(numbers % self.batch_size)
        at = slice(window * self.window, (window + 1) * self.window)
        ids = self.words[streams, at]  # (B, T)
        counts = {"word": ids.numel()}
        return Batch({"ids": ids}, {"words": self.next[streams, at]}, numbers, ids.numel(), counts)


def batches(split: Text, vocabulary: Words, config: TrainConfig, name: str) -> Streams:
    """The training text side by side; any other in one stream, so that its perplexity is that of all its words."""
    if name != "train":
        result = one_stream(split.words, vocabulary, config.max_length)
    elif len(split) > config.batch_size:
        result = Streams(split.words, config.batch_size, config.max_length)
    else:
        raise InputError(f"the training text has {len(split)} words, too few for --batch-size {config.batch_size}")
    result.description = f"{len(split):,} words"
    return result


def one_stream(words: np.ndarray, vocabulary: Words, window: int) -> Streams:
    """A text from its first word on, as if the line before had just ended: every word is predicted."""
    return Streams(np.concatenate([[vocabulary.eos], words]), 1, window)


# ---- training -------------------------------------------------------------------------------------------------------


def loss(config: TrainConfig, corpus: Corpus) -> Callable:
    """Cross-entropy of each next word, summed; `carry` is the state after the window before, its history cut off."""

    def loss_fn(model, batch: Batch, carry):
        logits, carry = model(**batch.inputs, carry=carry)  # (B, T, V)
        words = batch.targets["words"].flatten()
        smoothing = config.label_smoothing
        total = F.cross_entropy(logits.flatten(0, 1).float(), words, reduction="sum", label_smoothing=smoothing)
        return {"word": total}, detached(carry)

    return loss_fn


# ---- evaluation -----------------------------------------------------------------------------------------------------


def evaluate(
    batches: Streams, corpus: Corpus | None, device: torch.device, precision: Precision, quiet: bool = True
) -> Callable:
    """(model) -> {perplexity, nll a word} on this text, the same whatever the window."""

    def scores(model) -> dict[str, float]:
        nll = word_losses(model, batches, device, precision, quiet) / batches.words.numel()
        return {"perplexity": float(np.exp(nll)), "nll": nll}

    return scores


@torch.no_grad()
def word_losses(model, batches: Streams, device: torch.device, precision: Precision, quiet: bool = True) -> float:
    """The summed negative log-likelihood, in nats, of every word of the stream but its first."""
    assert not model.training and batches.batch_size == 1, "streams side by side would each begin without a past"
    with parallel.alone() as first:  # what is carried from window to window cannot be shared out
        total = stream_losses(model, batches, device, precision, quiet) if first else 0.0
    return parallel.from_first(total)


def stream_losses(model, batches: Streams, device: torch.device, precision: Precision, quiet: bool) -> float:
    total, carry = 0.0, None
    for numbers in through("evaluating", quiet)(batches.sorted_order()):
        batch = batches.collate(numbers).to(device)
        with precision.autocast(device):
            logits, carry = model(**batch.inputs, carry=carry)
        words = batch.targets["words"].flatten()
        total += F.cross_entropy(logits.flatten(0, 1).double(), words, reduction="sum").item()
    return total


def result(predictor: "Predictor", split: Text, quiet: bool) -> Result:
    start = time.perf_counter()
    nll = predictor.nll(split.words, quiet)
    seconds = time.perf_counter() - start
    values = {"perplexity": float(np.exp(nll)), "nll": nll}
    metrics = {name: vars(Interval(value)) for name, value in values.items()}
    return Result({"metrics": metrics, "documents_per_s": len(split) / seconds})


def chance(corpus: Corpus) -> dict:
    """Of each word in proportion to its count in the training text."""
    counts = 1.0 + np.bincount(corpus.train.words, minlength=len(corpus.vocabulary))
    nll = -np.log(counts / counts.sum())[corpus.test.words].mean()
    return {"metric": "perplexity", "value": float(np.exp(nll)), "lower_is_better": True}


# ---- prediction -----------------------------------------------------------------------------------------------------


class Predictor(base.Predictor):
    """A language model."""

    vocabulary_kind = Words

    def nll(self, words: np.ndarray, quiet: bool = True) -> float:
        """Mean negative log-likelihood, in nats, of all words (N,) of a text; perplexity is its exp."""
        self.model.to(self.device)
        batches = one_stream(words, self.vocabulary, EVALUATION_WINDOW)
        return word_losses(self.model, batches, self.device, self.precision, quiet) / len(words)

    def read(self, path: str) -> Text:
        return text_of(self.vocabulary.encode(Lines(path, self.config.encoding)), f"{path}: the text")

    @torch.no_grad()
    def sample(self, count: int, seed: int = 0, temperature: float = 1.0) -> Iterator[str]:
        """`count` words drawn one after the other, <eos> among them; <unk> is never drawn. `temperature` divides the
        logits: below 1 the likely words become likelier."""
        random, carry = torch.Generator().manual_seed(seed), None
        self.model.to(self.device)
        word = torch.tensor([[self.vocabulary.eos]])
        for _ in range(count):
            logits, carry = self.model(word.to(self.device), carry)
            logits = logits[0, -1].double().cpu() / temperature
            logits[self.vocabulary.unk] = float("-inf")
            word = torch.multinomial(logits.softmax(-1), 1, generator=random)[None]
            yield self.vocabulary.tokenizer.id_to_token(word.item())


def predict_file(predictor: Predictor, source: str | os.PathLike, arguments) -> None:
    raise InputError(f"{predictor.run.folder}: a language model writes with --sample N, and predicts no labels")
