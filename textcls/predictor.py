"""A trained run, ready to predict: `textcls.load(run).predict(texts)`."""

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import time
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from textcls import backbone, files, inputs, recipes
from textcls.batch import Batches, TagBatches
from textcls.checkpoint import Run, load_trainable
from textcls.config import TrainConfig
from textcls.data.corpus import Documents
from textcls.data.pretraining import Passages
from textcls.device import Precision, choose_device, choose_precision
from textcls.errors import InputError
from textcls.evaluation import collect_logits, pair_scores, predict_tags, word_losses
from textcls.features import cached_features
from textcls.metrics import log_softmax
from textcls.models.ensemble import ENSEMBLES
from textcls.pairs import PairBatches
from textcls.rows import Pieces
from textcls.text import Vocabulary, Words

BATCH = 32  # documents predicted at once
EVALUATION_WINDOW = 512  # words of a text scored at once; the score does not depend on it
Text = str | tuple[str, ...]


class Base:
    """One trained model with what it reads and what it answers."""

    def __init__(
        self,
        run: Run,
        meta: dict,
        model: torch.nn.Module,
        tokenizer: Vocabulary | Words,
        device: torch.device,
        precision: Precision,
    ):
        self.run, self.meta, self.labels = run, meta, meta["labels"]
        self.config = recipes.complete(TrainConfig(**meta["config"]))
        self.model, self.tokenizer = model.eval(), tokenizer
        self.device, self.precision = device, precision

    def release(self) -> None:
        """Move the model off the device, so that the next one has the memory."""
        self.model.to("cpu")


class Predictor(Base):
    """A classifier. `columns` texts make one document."""

    @property
    def columns(self) -> int:
        return len(self.config.text_column.split(",")) if self.config.train else 1

    def predict(self, texts: Sequence[Text]) -> tuple[list[str], np.ndarray]:
        """(the most probable label of each text, probabilities (N, C) in the order of `labels`)."""
        if not len(texts):
            return [], np.zeros((0, len(self.labels)))
        probabilities = np.exp(log_softmax(self.logits(texts)))
        return [self.labels[i] for i in probabilities.argmax(1)], probabilities

    def logits(self, texts: Sequence[Text], quiet: bool = True) -> np.ndarray:
        """float32 (N, C)."""
        batches = self._batches(texts, quiet)
        return collect_logits(self.model, batches, self.device, self.precision, quiet)

    def timed_logits(self, texts: Sequence[Text], quiet: bool) -> tuple[np.ndarray, float]:
        """(logits (N, C), seconds from text to logits). The vectors of a frozen encoder are kept in the cache, where
        other models over it find them; the time they took counts all the same."""
        start, earlier = time.perf_counter(), 0.0
        batches = self._batches(texts, quiet)
        if self.config.encoder == "frozen":
            before = time.perf_counter()
            batches.features, took = cached_features(
                self.model.encoder.source, self.meta["backbone"]["sha256"], batches, self.device, self.precision,
                "texts", quiet, say=lambda text: None,
            )  # fmt: skip
            earlier = max(0.0, took - (time.perf_counter() - before))
        logits = collect_logits(self.model, batches, self.device, self.precision, quiet)
        return logits, time.perf_counter() - start + earlier

    def _batches(self, texts: Sequence[Text], quiet: bool) -> Batches:
        sides = list(zip(*map(self._parts, texts), strict=True))
        self.model.to(self.device)  # only now: the members of an ensemble take turns on the device
        return inputs.texts(sides, self.tokenizer, self.config, BATCH, quiet)

    def _parts(self, text: Text) -> tuple[str, ...]:
        parts = (text,) if isinstance(text, str) else tuple(text)
        if len(parts) != self.columns:
            raise InputError(f"{self.run.folder} reads {self.columns} text(s) a document, got {len(parts)}")
        return parts


class TagPredictor(Base):
    """A tagger of words."""

    def predict(self, sentences: Sequence[Sequence[str]], quiet: bool = True) -> list[list[str]]:
        """A tag for every word of every sentence, however long: lists of words -> lists of tags in BIO."""
        filled = [list(words) for words in sentences if len(words)]
        if not filled:
            return [[] for _ in sentences]
        chunks = self.tokenizer.chunks(filled, self.config.max_length)
        tags = Pieces(np.zeros(len(chunks.starts.tokens), np.int32), chunks.starts.offsets)
        batches = TagBatches(chunks, tags, BATCH, pad=self.tokenizer.pad)
        self.model.to(self.device)
        found = iter(predict_tags(self.model, batches, self.device, self.precision, quiet))
        return [[self.labels[tag] for tag in next(found)] if len(words) else [] for words in sentences]


class LanguagePredictor(Base):
    """A language model."""

    def nll(self, words: np.ndarray, quiet: bool = True) -> float:
        """Mean negative log-likelihood, in nats, of all words (N,) of a text; perplexity is its exp."""
        self.model.to(self.device)
        batches = inputs.one_stream(words, self.tokenizer, EVALUATION_WINDOW)
        return word_losses(self.model, batches, self.device, self.precision, quiet) / len(words)

    @torch.no_grad()
    def sample(self, count: int, seed: int = 0, temperature: float = 1.0) -> Iterator[str]:
        """`count` words drawn one after the other, <eos> among them; <unk> is never drawn. `temperature` divides the
        logits: below 1 the likely words become likelier."""
        random = torch.Generator().manual_seed(seed)
        self.model.to(self.device)
        unknown, carry = self.tokenizer.tokenizer.token_to_id("<unk>"), None
        word = torch.tensor([[self.tokenizer.eos]])
        for _ in range(count):
            logits, carry = self.model(word.to(self.device), carry)
            logits = logits[0, -1].double().cpu() / temperature
            logits[unknown] = float("-inf")
            word = torch.multinomial(logits.softmax(-1), 1, generator=random)[None]
            yield self.tokenizer.tokenizer.id_to_token(word.item())


class MaskPredictor(Base):
    """A pre-trained model with its heads."""

    def scores(self, part: Passages, quiet: bool = True) -> dict[str, float]:
        """:func:`evaluation.pair_scores` of plain text."""
        c = self.config
        batches = PairBatches(part, self.tokenizer, c.max_length, BATCH, c.seed, c.next_sentence)
        self.model.to(self.device)
        return pair_scores(self.model, batches, self.device, self.precision, quiet)

    @torch.no_grad()
    def fill(self, text: str) -> list[dict[str, float]]:
        """{word piece: probability}, likeliest first, for each [MASK] of a text; what is beyond the model's length is
        cut."""
        pieces = self.tokenizer.encode([text])
        ids = torch.from_numpy(self.tokenizer.assemble([pieces], self.config.max_length).rows[0].astype(np.int64))
        places = (ids == self.tokenizer.mask).nonzero()[:, 0]
        if not len(places):
            raise InputError(f"no [MASK] among the first {self.config.max_length} tokens of {text[:60]!r}")
        self.model.to(self.device)
        logits, _ = self.model(ids[None].to(self.device), None, None, places.to(self.device))
        found = []
        for row in logits.float().softmax(1).cpu():
            values, order = row.sort(descending=True)
            names = map(self.tokenizer.tokenizer.id_to_token, order.tolist())
            found.append(dict(zip(names, values.tolist(), strict=True)))
        return found


class EnsemblePredictor(Predictor):
    """An ensemble: its members one after the other on the device, then the small model over them."""

    def __init__(
        self, run: Run, meta: dict, model: torch.nn.Module, members: list["MemberReference"], device: torch.device
    ):
        self.run, self.meta, self.labels = run, meta, meta["labels"]
        self.model, self.members, self.device, self.tokenizer = model.eval(), members, device, None
        self.config = members[0].predictor.config

    def logits(self, texts: Sequence[Text], quiet: bool = True) -> np.ndarray:
        return self.combine([member.logits(texts, quiet) for member in self.members])

    @torch.no_grad()
    def combine(self, members: list[np.ndarray]) -> np.ndarray:
        """The members' logits (N, C) each -> the ensemble's."""
        return self.model(member_probabilities(members)).numpy()

    def combine_cached(self, part: Documents, quiet: bool = True) -> tuple[np.ndarray, float]:
        """(logits, seconds) from the members' own cached logits."""
        logits, seconds = [], 0.0
        for member in self.members:
            found, spent = cached_logits(member.predictor, part, quiet)
            member.predictor.release()
            logits.append(found[:, member.columns])
            seconds += spent
        return self.combine(logits), seconds

    def release(self) -> None:
        for member in self.members:
            member.predictor.release()


@dataclasses.dataclass
class MemberReference:
    """A member and where its labels stand among the ensemble's."""

    predictor: Predictor
    columns: list[int]

    def logits(self, texts: Sequence[Text], quiet: bool = True) -> np.ndarray:
        logits = self.predictor.logits(texts, quiet)[:, self.columns]
        self.predictor.release()
        return logits


def member_probabilities(members: list[np.ndarray]) -> torch.Tensor:
    """Softmax outputs side by side: M arrays (N, C) -> (N, M * C)."""
    return torch.from_numpy(np.concatenate([np.exp(log_softmax(logits)) for logits in members], 1)).float()


def load(run_folder: str | os.PathLike, device: str = "auto", bert: str | None = None) -> Base:
    """The best checkpoint of a run. `bert` says where the frozen backbone is now, if it has moved.

    Raises InputError for a folder that is no run, is damaged, or is of another version.
    """
    run = Run(run_folder)
    meta, content, where = run.meta(), run.load("best.pt"), choose_device(device)
    try:
        if "members" in meta:
            return load_ensemble(run, meta, content, where, bert)
        config = recipes.complete(TrainConfig(**meta["config"]))
        model = recipes.build(config, recipes.read_shape(config, meta["shape"]), len(meta["labels"]))
        recipe = recipes.choose(config)
        if recipe["frozen"](config):
            recipe["share"](model, backbone.reload(meta["backbone"], run.folder, bert))
        load_trainable(model, content["model"], run.folder / "best.pt")
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{run.folder}: config.json and best.pt do not make a model ({error})") from None
    precision = choose_precision(config.amp, where, recipe["amp"])
    kind = {
        "classification": Predictor,
        "tagging": TagPredictor,
        "lm": LanguagePredictor,
        "pretrain": MaskPredictor,
    }[config.task]
    vocabulary = (Words if config.task == "lm" else Vocabulary).from_folder(run.folder)
    return kind(run, meta, model, vocabulary, where, precision)


def load_ensemble(run: Run, meta: dict, content: dict, device: torch.device, bert: str | None) -> EnsemblePredictor:
    members = []
    for member in meta["members"]:
        folder = pathlib.Path(member["path"])
        folder = folder if folder.is_absolute() else run.folder / folder
        if files.sha256(folder / "best.pt") != member["sha256"]:
            raise InputError(
                f"{folder}/best.pt has changed since {run.folder} was fitted on it; fit the ensemble again"
            )
        predictor = load(folder, str(device), bert)
        members.append(MemberReference(predictor, label_columns(predictor, meta["labels"], folder)))
    model = ENSEMBLES[meta.get("combine", "learned")](len(members), len(meta["labels"]))
    load_trainable(model, content["model"], run.folder / "best.pt")
    return EnsemblePredictor(run, meta, model, members, device)


def label_columns(predictor: Predictor, labels: list[str], folder: pathlib.Path) -> list[int]:
    """Where each of `labels` stands among the predictor's. The two sets must be the same; the order need not be."""
    if set(predictor.labels) != set(labels):
        odd = sorted(set(predictor.labels) ^ set(labels))
        raise InputError(
            f"{folder}: its labels are not those of the first member; they differ in {', '.join(odd[:10])}"
        )
    return [predictor.labels.index(label) for label in labels]


def cached_logits(predictor: Predictor, part: Documents, quiet: bool = True) -> tuple[np.ndarray, float]:
    """(logits (N, C), seconds they took) of `part`, kept in RUN/logits under checkpoint, device and data."""
    checkpoint = files.sha256(predictor.run.folder / "best.pt")
    digest = hashlib.sha256(f"{checkpoint} {predictor.device.type}".encode() + part.ids.tobytes())
    path = predictor.run.folder / "logits" / f"{digest.hexdigest()[:32]}.npz"
    try:
        with np.load(path, allow_pickle=False) as kept:
            if kept["logits"].shape == (len(part), len(predictor.labels)):
                return kept["logits"], float(kept["seconds"])
    except Exception:  # absent or damaged: it is made again
        pass
    if isinstance(predictor, EnsemblePredictor):
        logits, seconds = predictor.combine_cached(part, quiet)
    else:
        logits, seconds = predictor.timed_logits(part.texts, quiet)
    with contextlib.suppress(OSError):  # a run folder that may not be written can still be evaluated
        path.parent.mkdir(exist_ok=True)
        with files.replacing(path) as file:
            np.savez(file, logits=logits, seconds=seconds)
    return logits, seconds


def properties(predictor: Predictor) -> dict[str, str]:
    """What a report says about a model before its results."""
    meta = predictor.meta
    counts = {
        "parameters total": f"{meta['parameters']['total']:,}",
        "parameters trainable": f"{meta['parameters']['trainable']:,}",
    }
    if isinstance(predictor, EnsemblePredictor):
        members = ", ".join(member.predictor.config.model for member in predictor.members)
        return counts | {
            "backbone": members,
            "sequence modelling": {
                "learned": "meta-MLP on probabilities",
                "weighted": "weighted log-probabilities",
            }[meta.get("combine", "learned")],
            "pooling": "none",
            "precision": "fp32",
            "training": meta["training"],
        }
    history = [json.loads(line) for line in open(predictor.run.folder / "metrics.jsonl", encoding="utf-8")]
    recipe = recipes.choose(predictor.config)
    seconds = sorted(row["seconds"] for row in history)
    peaks = {name: max(row["memory"][name] for row in history) / 2**30 for name in history[0]["memory"]}
    return counts | {
        "backbone": describe_backbone(predictor.config, meta["backbone"]["name"], recipe),
        **{name: text.format(**vars(predictor.config)) for name, text in recipe["about"].items()},
        "precision": meta["precision"],
        "training": f"{len(history)} epochs, {seconds[len(seconds) // 2]:.1f} s/epoch on {meta['device']}",
        "peak memory": ", ".join(f"{name.replace('_', ' ')} {size:.2f} GiB" for name, size in peaks.items()),
    }


def describe_backbone(config: TrainConfig, name: str, recipe: dict) -> str:
    if config.model == "bilstm":
        return f"frozen embeddings of {name}"
    if config.scratch:
        return f"random weights in the shape of {name}"
    if config.encoder is None:
        return name
    vectors = "[CLS] of " if config.features == "cls" else ""
    return f"{vectors}{name}, {'frozen' if recipe['frozen'](config) else 'tuned'}"
