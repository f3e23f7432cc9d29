"""A trained run, ready to predict: `textcls.load(run).predict(texts)`; and how good it is on a test split."""

import os
from typing import Any

from textcls import recipes
from textcls.config import TrainConfig
from textcls.data.corpus import identity
from textcls.pretrained import backbone
from textcls.report.compare import Result
from textcls.runtime.device import choose_device, choose_precision
from textcls.runtime.errors import InputError
from textcls.runtime.files import fingerprint
from textcls.runtime.tensors import load_trainable
from textcls.tasks import TASKS, ensemble
from textcls.tasks.base import Predictor
from textcls.training.run import Run


def load(
    run_folder: str | os.PathLike, device: str = "auto", bert: str | None = None, elmo: str | None = None
) -> Predictor:
    """The best checkpoint of a run. `bert` and `elmo` say where its frozen backbone of that kind is now, if it moved.

    Raises InputError for a folder that is no run, is damaged, or is of another version.
    """
    run = Run(run_folder)
    meta, content, where = run.whole_meta(), run.load("best.pt"), choose_device(device)
    try:
        if "members" in meta:
            places = str(where), bert, elmo
            return ensemble.load(run, meta, content["model"], where, lambda folder: load(folder, *places))
        config = recipes.complete(TrainConfig(**meta["config"]))
        recipe = recipes.choose(config)
        dims = recipes.read_dims(config, meta["dims"])
        model = recipes.build(config, dims, len(meta["labels"]))
        if recipe["frozen"](config):
            recipes.share(config, model, backbone.reload(meta["backbone"], run.folder, {"bert": bert, "elmo": elmo}))
        load_trainable(model, content["model"], run.folder / "best.pt")
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{run.folder}: config.json and best.pt do not make a model ({error})") from None
    kind = TASKS[config.task].Predictor
    vocabulary = recipe.get("vocabulary", kind.vocabulary_kind).from_folder(run.folder)
    if vocabulary.digest != meta["vocabulary"]:
        raise InputError(f"{run.folder / 'tokenizer.json'}: not the vocabulary that the run was trained with")
    if dims.vocab_size:  # a biLM that makes vectors has none
        vocabulary.check_ids(dims.vocab_size, run.folder / "tokenizer.json")
    precision = choose_precision(config.amp, where, recipe["amp"])
    return kind(run, meta, recipe, config, model, vocabulary, where, precision)


def evaluate(predictor: Predictor, description: str, split: Any, quiet: bool) -> Result:
    """How good the model is on a split of its task: one dictionary, of the same form for every task.

    {"run", "task", "data", "unit", "documents", "split": digests of its items and their answers, "device",
    "properties", "metrics": {name: {"value", "low", "high"}}, "documents_per_s", …}
    """
    task = TASKS[predictor.config.task]
    result = task.result(predictor, split, quiet)
    predictor.release()
    common = {
        "run": str(predictor.run.folder),
        "task": predictor.config.task,
        "data": description,
        "unit": task.UNIT,
        "documents": len(split),
        "device": str(predictor.device),
        "properties": predictor.properties(),
    }
    digest = {kind: fingerprint(numbers.tobytes().hex()).hex() for kind, numbers in
              identity(split, predictor.labels).items()}  # fmt: skip
    return Result(common | {"split": digest} | result.summary, result.items)
