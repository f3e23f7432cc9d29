"""Model x task: how each model is built, what it is given, what its memory is made of, and its settings.

RECIPES (model, task) -> a row, written out in the file of its family:
  input     what it reads: the backbone's word `pieces`, `words` of a vocabulary made from the training texts, a `bag`
            of them and of pairs of neighbours, or the `characters` of words
  dims      settings -> its input dimensions without its weights or its texts (optional: see `dims` below)
  vocabulary  the class of its vocabulary, where that is not the task's (optional)
  build     (settings, dims, number of labels) -> model
  blocks    (settings, dims, number of labels, step) -> its blocks in forward order, for the ledger
  encoder   path of the sub-module that comes from the backbone, that --encoder-lr and --checkpoint-activations are for
  share     (model, encoder, Backbone) -> None: give the model what the backbone brings
  poolings  what --pooling can be, where that is not heads.POOLINGS (optional)
  pooler    whether the model stands on BERT's pooler, which some published weights lack, unless --pooling is another
            (no, unless it says yes)
  frozen    settings -> whether the backbone is not trained, and so not stored in the run's checkpoints
  source    path of the sub-module whose vectors are kept in the cache where the encoder is frozen (optional)
  begin     (settings, model, {"train", "dev": batches}, vocabulary) -> a sentence: what the model learns of the data
            before the first update (optional)
  publish   (model, settings, dims, vocabulary, run) -> a sentence: what it leaves for other runs (optional)
  hf        what transformers' config.json calls a model of these weights, where it has one (optional): `architectures`,
            and `problem_type`
  padded    whether its batches have padding (yes, unless it says no)
  amp       mixed precision on CUDA when --amp is auto
  describe  (settings, name of the backbone) -> what it stands on, in words
  about     further properties, in words
  defaults  settings that the user did not give, on top of the task's
  without   settings of the task that mean nothing to this model (optional)
  nano      the defaults that differ for the small backbone that comes with the library, and so for small data
            (docs/results.md#recipes-for-small-data)
  glue      those that differ for GLUE's corpora and another backbone (optional)
"""

import dataclasses
import typing

import torch

from textcls.config import OPTIONS, TrainConfig, flag
from textcls.data import glue
from textcls.data.folds import Fold
from textcls.ledger.heads import taught
from textcls.ledger.plan import Model, Step, plan
from textcls.models.bert import BertConfig
from textcls.models.elmo import ElmoConfig
from textcls.models.heads import BERT_POOLINGS, POOLINGS
from textcls.models.recurrent import WordDims
from textcls.pretrained import ppmi
from textcls.pretrained.backbone import Backbone, dims_of
from textcls.recipes import bert, elmo, linear, multilabel, probe, recurrent, regression, spans
from textcls.recipes.common import top_layers
from textcls.runtime import parallel
from textcls.runtime.errors import InputError
from textcls.runtime.kinds import fits
from textcls.runtime.memory import check_room
from textcls.tasks import TASKS, distillation
from textcls.tasks.documents import is_glue

RECIPES = {
    **linear.ROWS,
    **bert.ROWS,
    **recurrent.ROWS,
    **probe.ROWS,
    **elmo.ROWS,
    **multilabel.ROWS,
    **regression.ROWS,
    **spans.ROWS,
}
DIMS = {"pieces": BertConfig, "characters": ElmoConfig}  # of what a model reads; else WordDims
Dims = BertConfig | ElmoConfig | WordDims
REFERENCE = "linear"  # the model that every other must beat, for the tasks that it is there for


# ---- settings -------------------------------------------------------------------------------------------------------


def choose(config: TrainConfig) -> dict:
    """The row of these settings. Raises InputError for a model that is not there for the task."""
    if (config.model, config.task) not in RECIPES:
        known = ", ".join(model for model, task in RECIPES if task == config.task)
        raise InputError(f"--model {config.model} is not there for --task {config.task}; known: {known}")
    return RECIPES[config.model, config.task]


def choices() -> dict[str, list[str]]:
    """The names that --model, --task and --pooling take."""
    models, poolings = (model for model, _ in RECIPES), (*BERT_POOLINGS, *POOLINGS)
    return {"model": list(dict.fromkeys(models)), "task": list(TASKS), "pooling": list(dict.fromkeys(poolings))}


def defaults(config: TrainConfig) -> dict:
    recipe = choose(config)
    pieces = {"scratch": False} if recipe["input"] == "pieces" else {}
    nano = recipe["nano"] if config.bert == "nano" else {}
    if config.freeze:  # frozen layers read every text once, with all its words
        nano = {name: value for name, value in nano.items() if name != "word_dropout"}
    values = TASKS[config.task].DEFAULTS | pieces | recipe["defaults"] | nano | of_glue(config, recipe)
    if config.teacher is not None and "teacher" in values:
        values |= {"teacher_weight": distillation.WEIGHT}
    return {name: value for name, value in values.items() if name not in recipe.get("without", ())}


def of_glue(config: TrainConfig, recipe: dict) -> dict:
    """The defaults of GLUE's corpora: the main metric chooses the epoch, and models that are BERTs throughout are
    fine-tuned as the papers do."""
    if not is_glue(config):
        return {}
    published = recipe.get("glue", {}) if config.bert != "nano" else {}
    return published | {"select": glue.CORPORA[config.data].metrics[0]}


def settings() -> set[str]:
    """Every setting that some model or task has: the others of these it does not."""
    names = {name for task in TASKS.values() for name in task.DEFAULTS}
    return names | {"scratch"} | {name for recipe in RECIPES.values() for name in recipe["defaults"]}


def complete(config: TrainConfig) -> TrainConfig:
    """The settings with the recipe's defaults in place of None. Raises InputError for a setting the model ignores."""
    values = defaults(config)
    others = settings() - values.keys()
    for name in OPTIONS:
        if name in others and getattr(config, name) is not None:
            raise InputError(f"{flag(name)} does not apply to --model {config.model}{of_task(config)}")
    config = dataclasses.replace(config, **{k: v for k, v in values.items() if getattr(config, k) is None})
    config.check()
    check_together(config)
    selectable = TASKS[config.task].SELECT
    if config.select not in selectable:
        raise InputError(f"--select {config.select} is not measured for --task {config.task}: {', '.join(selectable)}")
    return config


def check_together(config: TrainConfig) -> None:
    """Raise InputError for settings that the model has, and does not take together."""
    distillation.check_settings(config)
    recipe = choose(config)
    check_fold(config)
    check_beginning(config)
    for name in ("mix_norm", "mix_l2"):
        if getattr(config, name) and config.elmo_layers != "mix":
            raise InputError(f"{flag(name)} goes with --elmo-layers mix")
    poolings = recipe.get("poolings", POOLINGS)
    if config.pooling is not None and config.pooling not in poolings:
        raise InputError(f"--pooling {config.pooling} is not there for --model {config.model}: {', '.join(poolings)}")
    if config.word_dropout and "source" in recipe and recipe["frozen"](config):
        way = "--word-dropout 0, or leave out --freeze" if config.freeze else "--encoder tune"
        raise InputError(
            f"--word-dropout leaves out words that the encoder reads, but a frozen one reads every text once: add {way}"
        )


def check_beginning(config: TrainConfig) -> None:
    """Raise InputError for a vocabulary, or word vectors, that the weights which training begins with do not know."""
    if config.task == "pretrain" and config.vocab_size is not None and not config.scratch:
        raise InputError(
            "--vocab-size makes a new vocabulary, which the weights of --bert do not know: add --scratch"
        )
    if config.init == "ppmi" and not config.scratch:
        raise InputError("--init ppmi makes new word vectors, which the layers of --bert do not know: add --scratch")
    if config.task == "pretrain" and config.vectors is not None and (not config.scratch or config.init == "ppmi"):
        raise InputError("--vectors goes with --scratch, and in place of --init ppmi")


def check_fold(config: TrainConfig) -> None:
    """Raise InputError for settings that do not go with --fold, or --folds."""
    asked = "--fold" if config.fold is not None else "--folds" if config.folds is not None else None
    if asked is None:
        return
    if config.fold is not None:
        Fold.of(config.fold)
    if TASKS[config.task].Predictor.judge is None:
        raise InputError(
            f"{asked} is not there for --task {config.task}: its training text runs on, and is not made of items with "
            "answers of their own that could be tested one by one; hold some of it out with --dev and --test"
        )
    if config.test is not None:
        raise InputError(f"{asked} tests on documents of the training data: leave out --test {config.test}")
    if config.protocol != "honest":
        raise InputError(f"{asked} goes with --protocol honest: dev is drawn from what a fold is trained on")


def of_task(config: TrainConfig) -> str:
    return "" if config.task == TrainConfig.task else f" --task {config.task}"


def has_reference(config: TrainConfig) -> bool:
    """Whether there is a reference to compare the model with."""
    return config.model != REFERENCE and (REFERENCE, config.task) in RECIPES


# ---- models ---------------------------------------------------------------------------------------------------------


def dims(config: TrainConfig) -> Dims:
    """The model's input dimensions without its weights or its texts: of a vocabulary to be learned, the largest."""
    if "dims" in choose(config):
        return choose(config)["dims"](config)
    if choose(config)["input"] == "pieces":
        published = dims_of(config.bert)
        return dataclasses.replace(published, vocab_size=config.vocab_size or published.vocab_size)
    return WordDims(config.vocab_size, config.embedding or 0)


def read_dims(config: TrainConfig, fields: dict) -> Dims:
    """Those that a run's config.json holds. Raises ValueError for what cannot be one."""
    kind = DIMS.get(choose(config)["input"], WordDims)
    dims = kind(**fields)
    for name, hint in typing.get_type_hints(kind).items():
        value = getattr(dims, name)
        if not fits(value, hint):
            raise ValueError(f"{name} is {value!r:.60}")
    return dims


def build(config: TrainConfig, dims: Dims, num_labels: int) -> torch.nn.Module:
    """The model, with random weights. Raises InputError where the memory cannot hold it."""
    recipe = choose(config)
    planned = plan(blocks(config, dims, num_labels), step(config, "cpu", None))
    check_room(planned.trainable + planned.frozen, f"a {config.model} of these settings")
    model = recipe["build"](config, dims, num_labels)
    if config.checkpoint_activations:
        model.get_submodule(recipe["encoder"]).encoder.checkpoint_activations = True
    return model


def share(config: TrainConfig, model: torch.nn.Module, backbone: Backbone) -> None:
    """Give the model what the backbone brings."""
    recipe = choose(config)
    if not config.fresh_layers:
        return recipe["share"](model, recipe["encoder"], backbone)
    encoder = model.get_submodule(recipe["encoder"])
    drawn = top_layers(encoder, config.fresh_layers)
    recipe["share"](model, recipe["encoder"], backbone)
    encoder.load_state_dict(drawn, strict=False)


def beforehand(config: TrainConfig, dims: Dims) -> list[str]:
    """What is computed before training, and is not part of its plan, in words."""
    if config.init != "ppmi":
        return []
    needed = ppmi.memory(dims.vocab_size, dims.hidden_size)
    return [f"before training, to count which word pieces stand together: {needed / 2**20:,.0f} MiB"]


# ---- the ledger -----------------------------------------------------------------------------------------------------


def step(config: TrainConfig, device: str, dtype: torch.dtype | None) -> Step:
    """The largest step that these settings make."""
    windows = config.max_windows if config.long_documents == "window" else 1
    return Step(
        batch=config.batch_size * windows,
        tokens=config.max_length,
        device=device,
        dtype=dtype,
        padded=choose(config).get("padded", True),
        accumulate=config.accumulate,
        checkpoint=bool(config.checkpoint_activations),
        processes=(config.nodes or 1) * (config.gpus or 1) if config.plan else parallel.size(),
        windows=windows,
    )


def blocks(config: TrainConfig, dims: Dims, num_labels: int) -> Model:
    """(step) -> the model's blocks."""
    of_model = choose(config)["blocks"]
    if config.teacher is None:
        return lambda step: of_model(config, dims, num_labels, step)
    return lambda step: taught(of_model(config, dims, num_labels, step), num_labels, step, config.teacher_weight)
