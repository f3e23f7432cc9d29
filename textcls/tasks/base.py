"""What tasks have in common: settings, predictors, backbones of word pieces, run folders, files to be predicted."""

import dataclasses
import functools
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from textcls.config import TrainConfig
from textcls.data.corpus import Corpus, identity
from textcls.metrics.statistics import Interval
from textcls.models.elmo import ScalarMix
from textcls.pretrained.backbone import Backbone, bert_of, keep_in_run, keep_vectors, reload, say_pooler
from textcls.report.compare import Result
from textcls.runtime import files, parallel
from textcls.runtime.device import Precision
from textcls.runtime.errors import InputError
from textcls.runtime.files import file_names, fingerprint, make_folder
from textcls.runtime.progress import through
from textcls.tasks.answers import Asked
from textcls.text.batches import IGNORED, Batch, Batches
from textcls.text.characters import Characters, spelled_word
from textcls.text.vocabulary import Vocabulary, Words
from textcls.training import facts
from textcls.training.run import Run

BATCH = 32  # items predicted at once
EXAMPLE = 16  # tokens and tags of the example that is shown
DEFAULTS = {
    "batch_size": 32,
    "accumulate": 1,
    "warmup": 0.1,
    "weight_decay": 0.01,
    "clip": 1.0,
    "max_length": 256,
    "patience": 0,
    "label_smoothing": 0.0,
}


class Predictor:
    """A trained model with what it reads and what it answers. `recipe` is the row that its model was built by."""

    vocabulary_kind: type[Vocabulary | Words] = Vocabulary
    temperature = 1.0  # that logits are divided by before they become probabilities
    threshold = 0.0  # below which an answer is none
    unexplained = "it gives a text no label and no score"  # why --explain says nothing of its answers
    described: Callable | None = None  # (split, name, quiet) -> contents.Described, of tasks with items to be counted
    # Of tasks whose items can be tested in folds: out_of_fold(split, quiet) -> ({name: a value an item}, {name: a value
    # of the run}), and (the arrays that these become, corpus tested on all) -> compare.Judged; (these, config) ->
    # suspects.Suspects, where labels can look wrong.
    judge: Callable | None = None
    suspects: Callable | None = None

    def __init__(
        self,
        run: Run,
        meta: dict,
        recipe: dict,
        config: TrainConfig,
        model: torch.nn.Module,
        vocabulary: Vocabulary | Words,
        device: torch.device,
        precision: Precision,
    ):
        self.run, self.meta, self.labels = run, meta, meta["labels"]
        self.recipe, self.config, self.vocabulary = recipe, config, vocabulary
        self.model, self.device, self.precision = model.eval(), device, precision

    def read(self, path: str) -> Any:
        """Another file of the run's kind, as a split to be evaluated on, in the run's own labels."""
        raise NotImplementedError

    def test_split(self, load: Callable, data_dir: str | None, quiet: bool) -> tuple[str, Any]:
        """(description, test split) as the run had it. Of files of one's own the test file alone is needed, and it is
        read in the run's labels; `load` is that of the task. Raises InputError where the split has changed."""
        config = dataclasses.replace(self.config, data_dir=data_dir or self.config.data_dir)
        if "test" not in self.run.splits():
            such = f" (python evaluate.py {self.run.folder} --test {config.dev})" * isinstance(config.dev_split, str)
            raise InputError(f"{self.run.folder} was trained without a test split; give one with --test FILE{such}")
        description = test_description(config, self.meta["data"])
        if isinstance(config.test_split, str) and type(self).read is not Predictor.read:
            labels, split = self.labels, self.read(config.test)
        else:
            corpus = load(config, through("reading", quiet), self.vocabulary)
            labels, split = corpus.labels, corpus.test
        if labels != self.labels:
            raise InputError(f"{self.run.folder}: the labels of the data are not those the run began with")
        if split is None:
            where = self.run.folder / "config.json"
            raise InputError(f"{where}: damaged, the run had a test split and --test is not there")
        check_split(self.run, "test", split, labels)
        return description, split

    def sample(self, count: int, seed: int = 0, temperature: float = 1.0) -> Iterator[str]:
        """Words drawn from a language model; other runs raise InputError."""
        raise InputError(f"{self.run.folder}: --sample needs a language model, this run is a {self.config.task}")

    def calibrate(self, corpus: Corpus, quiet: bool) -> list[str]:
        """What is to be learned of the dev documents once training has ended, and kept in the run; in sentences."""
        return []

    @functools.cached_property
    def digests(self) -> list[str]:
        """Of the files that its answers rest on; they are read once."""
        return [files.sha256(path) for path in self.run.rests_on()]

    def answer_columns(self, asked: Asked) -> dict:
        """{column: what stands there where there is no answer} of `answers(items, asked)`, which gives a value a column
        for each item of `records(lines, kind, columns)`; raises InputError for a run that fills no files."""
        raise InputError(f"{self.run.folder}: --out needs labels, scores, tags or answers, not a {self.config.task}")

    def release(self) -> None:
        """Move the model off the device, so that the next one has the memory."""
        self.model.to("cpu")

    def properties(self) -> dict[str, str]:
        """What a report says about the model before its results."""
        meta, config = self.meta, self.config
        where = self.run.folder / "metrics.jsonl"
        history = [facts.check_whole(row, facts.Epoch, where) for row in self.run.metrics()]
        training = meta.get("training", f"{len(history)} epochs")  # 0 of a run that was stopped twice, in the first
        if seconds := sorted(row["seconds"] for row in history):
            training += f", {seconds[len(seconds) // 2]:.1f} s/epoch on {meta['device']}"
        names = history[0]["memory"] if history else ()
        peaks = {name: max(row["memory"].get(name, 0) for row in history) / 2**30 for name in names}
        return parameter_counts(meta) | {
            "backbone": self.recipe["describe"](config, meta["backbone"]["name"]),
            **{name: text.format(**vars(config)) for name, text in self.recipe["about"].items()},
            "precision": meta["precision"],
            "training": training,
            "peak memory": ", ".join(f"{name.replace('_', ' ')} {size:.2f} GiB" for name, size in peaks.items()),
        }


def test_description(config: TrainConfig, data: str) -> str:
    """What results call the test split: its own file, or the share of the training file that it is; `data` describes
    the corpus, which is what it is called where the corpus is built in, or a fold the test split."""
    if config.train is None or config.fold:
        return data
    train, test = file_names(config.train), config.test_split
    name = f"{train}, its test split" if test is None else f"{train}, {test} of it held out"
    if isinstance(test, str):
        name = file_names(test)
    return name + data[data.index(" (") :] if data.startswith((f"{train} (", f"{name} (")) else name


def parameter_counts(meta: dict) -> dict[str, str]:
    return {f"parameters {kind}": f"{meta['parameters'][kind]:,}" for kind in ("total", "trainable")}


def scored(predictor: Predictor, split: Any, quiet: bool) -> Result:
    """What the `scores` of a predictor say of a split, without intervals."""
    start = time.perf_counter()
    values = predictor.scores(split, quiet)
    seconds = time.perf_counter() - start
    metrics = {name: vars(Interval(value)) for name, value in values.items()}
    return Result({"metrics": metrics, "documents_per_s": len(split) / seconds})


# ---- before training ------------------------------------------------------------------------------------------------


def read(load: Callable, config: TrainConfig, vocabulary: Vocabulary | Words | None = None) -> Corpus:
    """A task's corpus, of several processes read by the first one first: the others find it in the cache."""
    with parallel.first_process_first():
        return load(config, through("reading", config.quiet), vocabulary)


def pieces_backbone(config: TrainConfig, recipe: dict) -> Backbone:
    """The BERT of the settings, which must be long enough for them."""
    backbone = bert_of(config)
    check_length(config, backbone)
    if recipe.get("pooler") and config.pooling in (None, "cls"):
        say_pooler(backbone)
    return backbone


def penalised(loss_fn: Callable, weight: float | None) -> Callable:
    """The loss with `weight` times the penalty of every mix of layers in the model, once an optimiser step: each
    micro-batch counts it by its share of the targets."""
    if not weight:
        return loss_fn

    def with_penalty(model, batch: Batch, carry):
        losses, carry = loss_fn(model, batch, carry)
        penalty = sum(part.penalty() for part in model.modules() if isinstance(part, ScalarMix))
        name, loss = next(iter(losses.items()))  # beside one of several: it counts once
        return losses | {name: loss + weight * batch.counts[name] * penalty}, carry

    return with_penalty


def check_length(config: TrainConfig, backbone: Backbone) -> None:
    if config.max_length > backbone.dims.max_position_embeddings:
        raise InputError(
            f"--max-length {config.max_length} is longer than the {backbone.dims.max_position_embeddings} "
            f"positions of {config.bert}"
        )


def example(corpus: Corpus, batches: Batches, vocabulary: Vocabulary | Words | Characters, unit: str) -> str:
    """What the model is about to see: the beginning of the first item, and its label or tags."""
    batch = batches.collate(np.arange(1))
    ids = batch.inputs["ids"][0, :EXAMPLE]
    names = map(spelled_word if ids.dim() == 2 else vocabulary.tokenizer.id_to_token, ids.tolist())
    text = f"{' '.join(names)} …"
    if not corpus.labels or "labels" not in batch.targets:
        return f"first words: {text}"
    answer = batch.targets["labels"][0].reshape(-1)
    numbers = (answer.nonzero()[:, 0] if answer.dtype == torch.bool else answer)[:EXAMPLE].tolist()
    names = " ".join(corpus.labels[n] for n in numbers if n != IGNORED)
    return f"first {unit.removesuffix('s')}: {text} -> {names or 'no label'}"


# ---- the run folder -------------------------------------------------------------------------------------------------


def splits_of(corpus: Corpus) -> dict[str, np.ndarray]:
    """What the splits are, as a run folder keeps it: {split: ids, split-answers: numbers of its labels}."""
    arrays = {}
    for name in ("train", "dev", "test"):
        if (split := getattr(corpus, name)) is not None:
            arrays |= stored(name, identity(split, corpus.labels))
    return arrays


def stored(name: str, identity: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name if kind == "ids" else f"{name}-{kind}": numbers for kind, numbers in identity.items()}


def digest(splits: dict[str, np.ndarray]) -> str:
    """Of all items with their answers, whichever split a seed has put them into, and of what is beside them."""
    named = {name.removesuffix("-ids"): ids for name, ids in splits.items() if not name.endswith("-answers")}
    items = [np.stack([ids, splits.get(f"{name}-answers", ids)], 1) for name, ids in named.items()]
    items = np.concatenate(items)
    return fingerprint(items[np.lexsort(items.T)].tobytes().hex()).hex()


def check_split(run: Run, name: str, split, labels: list[str]) -> None:
    """Raise InputError where a split is not what it was when the run began: other items, or other answers to them."""
    before = run.splits()
    for key, numbers in stored(name, identity(split, labels)).items():
        if not np.array_equal(numbers, before.get(key)):
            what = "labels" if key.endswith("answers") else "documents"
            raise InputError(f"{run.folder}: the {name} {what} are not those the run began with")


def make_run(config: TrainConfig, run: Run, corpus: Corpus, backbone: Backbone, frozen: bool, facts: dict) -> None:
    """Write what does not change during a run. `frozen`: its checkpoints do not hold the backbone; `facts` join its
    config.json."""
    parallel.wait()  # until all have seen that the folder was free
    make_folder(run.folder)
    if frozen and config.scratch:
        keep_in_run(backbone, run.folder)
    if config.init == "ppmi":
        keep_vectors(backbone, run.folder)
    splits = splits_of(corpus)
    beside = {"beside": files.seen_from(run.folder, backbone.source["path"])} if frozen and not config.scratch else {}
    meta = {
        "config": config.stored(),
        "labels": corpus.labels,
        "data": corpus.description,
        "source": digest(splits),
        "dims": vars(backbone.dims),
        "vocabulary": backbone.vocabulary.digest,
        "backbone": backbone.source | beside,
    } | corpus.facts
    run.create(meta | facts, splits, backbone.vocabulary)


def check_unchanged(config: TrainConfig, run: Run, corpus: Corpus, backbone: Backbone, frozen: bool) -> None:
    """Raise InputError where a resumed run does not see the data, the word pieces and the frozen weights it began
    with."""
    for name in ("train", "dev", "test"):
        if getattr(corpus, name) is not None:
            check_split(run, name, getattr(corpus, name), corpus.labels)
    meta = run.meta()
    name = config.elmo or config.bert
    if json.loads(json.dumps(vars(backbone.dims))) != meta["dims"]:
        raise InputError(f"{run.folder}: the dimensions of {name} are not those the run began with")
    if type(backbone.vocabulary).from_folder(run.folder).digest != backbone.vocabulary.digest:
        raise InputError(f"{run.folder}: the word pieces of {name} are not those the run began with")
    if frozen:
        backbone.source = meta["backbone"]
        reload(backbone.source, run.folder, {"elmo": config.elmo})
    elif not (run.folder / "last.pt").exists() and backbone.source.get("sha256") != meta["backbone"].get("sha256"):
        raise InputError(f"{run.folder}: the weights of {name} are not those the run began with")


# ---- what is to be predicted ----------------------------------------------------------------------------------------


def listed(items: Iterable, what: str, one: str) -> list:
    """The items as a list. Raises InputError for a single string, whose letters would be items; `what` they are, and
    how `one` of them is given."""
    if isinstance(items, str | bytes) or not isinstance(items, Iterable):
        raise InputError(f"expected a list of {what}, got {items!r:.60}; one alone is given as {one}")
    return list(items)


def check_strings(parts: Sequence, where: str) -> None:
    """Raise InputError for what is no string; `where` it stands."""
    for part in parts:
        if not isinstance(part, str):
            raise InputError(f"{where}: expected a str, got {type(part).__name__}: {part!r:.60}")
