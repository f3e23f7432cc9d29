"""Weights in 8 bits beside those of an ONNX folder, by ONNX Runtime's dynamic quantisation, where they are worth it."""

import contextlib
import dataclasses
import logging
import pathlib
import time

import torch

from textcls.data.corpus import Corpus
from textcls.export.onnx_folder import EXTRA, Session
from textcls.export.size import in_words
from textcls.runtime.device import Precision
from textcls.runtime.errors import InputError
from textcls.runtime.progress import through
from textcls.tasks import TASKS, multilabel
from textcls.tasks.base import Predictor, check_split
from textcls.tasks.documents import collect_logits
from textcls.tasks.ensemble import Ensemble

ROUNDS = 3  # each model over all dev documents, in turn; the quickest round counts


def write(predictor: Predictor, folder: pathlib.Path, data_dir: str | None, quiet: bool) -> list[str]:
    """Write model.int8.onnx beside model.onnx, unless it is slower on the dev documents; what was measured. They were
    not trained on, and no choice that rests on test documents is made."""
    corpus = dev_documents(predictor, data_dir, quiet)
    path, small = folder / "model.onnx", folder / "model.int8.onnx"
    quantise(path, small)
    task, config = TASKS[predictor.config.task], predictor.config
    batches = task.batches(corpus.dev, predictor.vocabulary, dataclasses.replace(config, quiet=quiet), "dev")
    computes = torch.device("cpu"), Precision(None, "as ONNX Runtime computes"), quiet

    def evaluate_at_thresholds(model) -> dict[str, float]:  # at those that predict.py has, and not the best ones
        logits = collect_logits(model, batches, *computes)
        return multilabel.scores_at(predictor.thresholds, logits, batches.labels)

    several = isinstance(predictor, multilabel.Predictor)
    evaluate = evaluate_at_thresholds if several else task.evaluate(batches, corpus, *computes)
    crf = getattr(predictor.model, "crf", None)
    models = {"fp32": Session(path, crf), "int8": Session(small, crf)}
    values, seconds = {}, dict.fromkeys(models, float("inf"))
    for _ in range(ROUNDS):
        for name, model in models.items():
            start = time.perf_counter()
            values[name] = evaluate(model)
            seconds[name] = min(seconds[name], time.perf_counter() - start)
    rates = {name: len(corpus.dev) / spent for name, spent in seconds.items()}
    metrics = (f"{name} {value:.4f} (fp32 {values['fp32'][name]:.4f})" for name, value in values["int8"].items())
    said = (
        f"int8 on {len(corpus.dev):,} dev {task.UNIT}: {', '.join(metrics)}; {rates['int8']:,.0f} {task.UNIT}/s (fp32 "
        f"{rates['fp32']:,.0f}), {torch.get_num_threads()} thread(s); {in_words(small.stat().st_size)} (fp32 "
        f"{in_words(path.stat().st_size)})"
    )
    if rates["int8"] <= rates["fp32"]:
        small.unlink()
        return [said, "int8 is no faster than fp32 here: not written"]
    return [said, "model.int8.onnx: to use it, name it in predict.py"]


def dev_documents(predictor: Predictor, data_dir: str | None, quiet: bool) -> Corpus:
    """The run's corpus, whose dev split must be what it was."""
    if isinstance(predictor, Ensemble):
        raise InputError("--int8 is for one model; export the members of the ensemble one by one")
    if "dev" not in predictor.run.splits():
        raise InputError(f"{predictor.run.folder}: --int8 is measured on the dev documents of a run, and it has none")
    config = dataclasses.replace(predictor.config, data_dir=data_dir or predictor.config.data_dir)
    load = TASKS[config.task].load
    corpus = load(config, through("reading", quiet), predictor.vocabulary)
    check_split(predictor.run, "dev", corpus.dev, corpus.labels)
    return corpus


def quantise(path: pathlib.Path, small: pathlib.Path) -> None:
    """Weights of matrix products, LSTMs and embeddings as whole numbers with a scale for each column, activations as they
    come. (A scale a matrix cost MiniLM a point more of accuracy on dev, and was no faster: docs/export.md.)"""
    try:
        from onnxruntime.quantization import QuantType, quantize_dynamic
    except ImportError:
        raise InputError(f"--int8 needs ONNX and its runtime: {EXTRA}") from None
    with no_remarks():
        quantize_dynamic(path, small, per_channel=True, weight_type=QuantType.QInt8)


@contextlib.contextmanager
def no_remarks():
    """Without the quantiser's advice to prepare the graph, which ONNX Runtime does when it reads it."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
