"""The next word of a running text; of ELMo's model, which reads a text both ways, the word before too.

Dimensions: B streams of text, T words of a window, V vocabulary, N words.
"""

import os
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch

from textcls.config import TrainConfig
from textcls.data.corpus import Corpus, check_share
from textcls.data.plain import Lines
from textcls.models.language_model import detached
from textcls.pretrained.backbone import Backbone, for_bilm, words_of
from textcls.report.compare import Result
from textcls.runtime import parallel
from textcls.runtime.device import Precision, copies_kept
from textcls.runtime.errors import InputError
from textcls.runtime.progress import through
from textcls.tasks import base
from textcls.tasks.streams import SpelledStreams, SpelledText, Streams, Text
from textcls.text.batches import Batch
from textcls.text.characters import BEGIN, END, FIRST, TOKENS, spell
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


def load(config: TrainConfig, progress: Callable = iter, vocabulary: Words | None = None) -> Corpus:
    """Files by commas. --dev and --test are files, or the share of the training text to hold out, taken from its end,
    test first. The vocabulary is learned from the training text unless it is given."""
    lines, dev, test = Lines(config.train, config.encoding), config.dev_split, config.test_split
    check_share(dev)
    check_share(test, "test")
    if vocabulary is None:
        # With a share held out the vocabulary has seen those lines too: which words exist, and not in what order.
        vocabulary = Words.learn(lines, config.vocab_size)
    texts = {"train": read_text(lines, vocabulary, "the train text")}
    for name, part in (("test", test), ("dev", dev)):
        if isinstance(part, float):
            texts["train"], texts[name] = texts["train"].cut(part, "the train text", f"the {name} text")
        elif part is not None:
            texts[name] = read_text(Lines(part, config.encoding), vocabulary, f"the {name} text")
    unknown = np.mean(texts["dev"].words == vocabulary.unk)
    name = lines.files[0].name
    description = f"{name}: vocabulary of {len(vocabulary):,} words, {unknown:.1%} of the dev words unknown"
    return Corpus(name, description, [], texts["train"], texts["dev"], texts.get("test"), vocabulary)


def read_text(lines: Iterable[str], vocabulary: Words, what: str) -> Text | SpelledText:
    if vocabulary.word_length:
        return SpelledText.read(lines, vocabulary, what)
    return Text.of(vocabulary.encode(lines), what)


def count_labels(config: TrainConfig) -> int:
    return 0


def prepare(config: TrainConfig, run: Run, recipe: dict) -> tuple[Corpus, Backbone]:
    """The vocabulary is that of the training text, or of the run that goes on."""
    vocabulary = Words.from_folder(run.folder) if config.resume else None
    if vocabulary is not None:
        vocabulary.check_ids(len(vocabulary), run.folder / "tokenizer.json")
    if recipe["input"] != "characters":
        corpus = base.read(load, config, vocabulary)
        return corpus, words_of(config, corpus.vocabulary)
    if vocabulary is None:
        vocabulary = Words.learn(Lines(config.train, config.encoding), config.vocab_size, TOKENS[config.tokens])
    backbone = for_bilm(config, vocabulary, run.meta()["dims"] if config.resume else None)
    return base.read(load, config, vocabulary), backbone


def batches(split: Text | SpelledText, vocabulary: Words, config: TrainConfig, name: str) -> Streams:
    """The training text side by side; any other in one stream, so that its perplexity is that of all its words."""
    if name != "train":
        result = one_stream(split, vocabulary, config.max_length)
    elif len(split) > config.batch_size:
        result = streams(split, config.batch_size, config.max_length)
    else:
        raise InputError(f"the training text has {len(split)} words, too few for --batch-size {config.batch_size}")
    result.description = f"{len(split):,} words"
    return result


def streams(text: Text | SpelledText, batch_size: int, window: int) -> Streams:
    spelled = isinstance(text, SpelledText)
    return SpelledStreams(text, batch_size, window) if spelled else Streams(text.words, batch_size, window)


def one_stream(text: Text | SpelledText, vocabulary: Words, window: int) -> Streams:
    """A text from its first word on, as if the line before had just ended: every word is predicted."""
    if isinstance(text, SpelledText):  # each of its lines has a beginning
        return SpelledStreams(text, 1, window)
    return Streams(np.concatenate([[vocabulary.eos], text.words]), 1, window)


# ---- training -------------------------------------------------------------------------------------------------------


def loss(config: TrainConfig, corpus: Corpus) -> Callable:
    """Cross-entropy of each next word, summed, of several directions their mean; `carry` is the state after the window
    before, its history cut off."""

    def loss_fn(model, batch: Batch, carry):
        losses, carry = model.losses(batch.targets, carry, config.label_smoothing or 0.0, **batch.inputs)
        return {name: loss / len(losses) for name, loss in losses.items()}, detached(carry)

    return loss_fn


# ---- evaluation -----------------------------------------------------------------------------------------------------


def evaluate(
    batches: Streams, corpus: Corpus | None, device: torch.device, precision: Precision, quiet: bool = True
) -> Callable:
    """(model) -> :func:`in_words` on this text, the same whatever the window."""
    return lambda model: in_words(word_losses(model, batches, device, precision, quiet))


def in_words(nll: dict[str, float]) -> dict[str, float]:
    """{perplexity, nll} of the mean over the directions in which a text was read, and nll of each where there are
    several."""
    mean = sum(nll.values()) / len(nll)
    each = {f"nll_{name}": value for name, value in nll.items()} if len(nll) > 1 else {}
    return {"perplexity": float(np.exp(mean)), "nll": mean} | each


@torch.no_grad()
@copies_kept()
def word_losses(model, batches: Streams, device: torch.device, precision: Precision, quiet: bool = True) -> dict:
    """{direction: the mean negative log-likelihood, in nats, of every word that is predicted}."""
    assert not model.training and batches.batch_size == 1, "streams side by side would each begin without a past"
    with parallel.alone() as first:  # what is carried from window to window cannot be shared out
        means = stream_losses(model, batches, device, precision, quiet) if first else {}
    return parallel.from_first(means)


def stream_losses(model, batches: Streams, device: torch.device, precision: Precision, quiet: bool) -> dict[str, float]:
    sums, counts, carry = {}, {}, None
    for numbers in through("evaluating", quiet)(batches.sorted_order()):
        batch = batches.collate(numbers).to(device)
        with precision.autocast(device):
            losses, carry = model.losses(batch.targets, carry, **batch.inputs)
        for name, loss in losses.items():
            sums[name] = sums.get(name, 0.0) + loss.item()
            counts[name] = counts.get(name, 0) + batch.counts[name]
    return {name: sums[name] / counts[name] for name in sums}


def result(predictor: "Predictor", split: Text | SpelledText, quiet: bool) -> Result:
    return base.scored(predictor, split, quiet)


def chance(corpus: Corpus) -> dict:
    """Of each word in proportion to its count in the training text."""
    counts = 1.0 + np.bincount(corpus.train.words, minlength=len(corpus.vocabulary))
    nll = -np.log(counts / counts.sum())[corpus.dev.words].mean()
    return {"metric": "perplexity", "value": float(np.exp(nll)), "lower_is_better": True}


# ---- prediction -----------------------------------------------------------------------------------------------------


class Predictor(base.Predictor):
    """A language model."""

    vocabulary_kind = Words

    def __init__(self, run: Run, meta: dict, *others):
        super().__init__(run, meta, *others)
        self.vocabulary.word_length = meta["dims"].get("word_length")

    def scores(self, text: Text | SpelledText, quiet: bool = True) -> dict[str, float]:
        """:func:`in_words` of all words of a text."""
        self.model.to(self.device)
        batches = one_stream(text, self.vocabulary, EVALUATION_WINDOW)
        return in_words(word_losses(self.model, batches, self.device, self.precision, quiet))

    def read(self, path: str) -> Text | SpelledText:
        return read_text(Lines(path, self.config.encoding), self.vocabulary, f"{path}: the text")

    @torch.no_grad()
    def sample(self, count: int, seed: int = 0, temperature: float = 1.0) -> Iterator[str]:
        """`count` words drawn one after the other, <eos> among them; <unk> is never drawn. `temperature` divides the
        logits: below 1 the likely words become likelier."""
        random, carry = torch.Generator().manual_seed(seed), None
        self.model.to(self.device)
        word = self.vocabulary.eos
        for _ in range(count):
            logits, carry = self.model.next_word(self._as_read(word).to(self.device), carry)
            logits = logits[0, -1].double().cpu() / temperature
            logits[self.vocabulary.unk] = float("-inf")
            word = torch.multinomial(logits.softmax(-1), 1, generator=random).item()
            yield self.vocabulary.tokenizer.id_to_token(word)

    def _as_read(self, word: int) -> torch.Tensor:
        """A word as the model reads it: its number (1, 1), or its characters (1, 1, K), where <eos> is the end of a
        line and the beginning of the next (1, 2, K)."""
        if not self.vocabulary.word_length:
            return torch.tensor([[word]])
        spelling = spell([self.vocabulary.tokenizer.id_to_token(word)], self.vocabulary.word_length)
        rows = [END, BEGIN] if word == self.vocabulary.eos else [FIRST]
        return torch.from_numpy(spelling[rows].astype(np.int64))[None]


def predict_file(predictor: Predictor, source: str | os.PathLike, arguments) -> None:
    raise InputError(f"{predictor.run.folder}: a language model writes with --sample N, and predicts no labels")
