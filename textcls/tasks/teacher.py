"""A trained classifier as the teacher of another: who it is, whether it may be one, and what it says of the documents.

Dimensions: N documents, C classes.
"""

import pathlib
from collections.abc import Callable

import numpy as np

from textcls.config import TrainConfig
from textcls.data.corpus import Corpus, Documents
from textcls.data.folds import Fold
from textcls.runtime.errors import InputError
from textcls.runtime.files import fingerprint
from textcls.tasks.classification import Predictor
from textcls.tasks.distillation import Taught
from textcls.tasks.documents import cached_logits
from textcls.tasks.ensemble import label_columns
from textcls.training.run import Run


def teach(config: TrainConfig, run: Run, corpus: Corpus, load: Callable) -> list[str]:
    """Where there is a --teacher, put its probabilities beside the training documents of `corpus`, and what must not
    change before --resume into its facts; what was done, in words. `load(folder, device)` gives a predictor. The logits
    are computed once, and kept in the teacher's own folder. Raises InputError for a teacher of other labels, or one
    that was trained on what this run is judged by."""
    if config.teacher is None:
        return []
    folder, taught = folder_of(config), corpus.train
    teacher = load(folder, config.device)
    if not isinstance(teacher, Predictor):
        raise InputError(f"--teacher {folder}: a run of --task {teacher.config.task}, expected a classifier")
    corpus.facts["teacher"] = facts_of(teacher, taught)
    if config.resume:
        check_unchanged(run, corpus.facts["teacher"], folder)
    columns = label_columns(teacher, corpus.labels, folder, "the training data")
    remark = check_out_of_sample(teacher, corpus)
    parts, seconds = [], 0.0
    for split in (corpus.dev, taught, taught.unlabelled):
        if split is not None:
            logits, took = cached_logits(teacher, split, config.quiet)
            parts.append(logits[:, columns])
            seconds += took
    teacher.release()
    taught.probabilities = teacher.probabilities(np.concatenate(parts[1:])).astype(np.float32)
    accuracy = (parts[0].argmax(1) == corpus.dev.labels).mean()
    others = "" if taught.unlabelled is None else f" and {len(taught.unlabelled)} without label"
    remarks = "" if taught.unlabelled is None else "".join(f" ({one})" for one in taught.unlabelled.remarks)
    return [
        f"teacher: {folder}, {teacher.meta['parameters']['total']:,} parameters, dev accuracy {accuracy:.4f}{remark}; "
        f"its answers to {len(taught)} training documents{others}{remarks} took {seconds:.0f} s"
    ]


def folder_of(config: TrainConfig) -> pathlib.Path:
    """The run folder of --teacher; of a folder of several seeds, or folds, the run of this one."""
    folder = pathlib.Path(config.teacher)
    own = folder / (f"seed-{config.seed}" if config.fold is None else f"fold-{Fold.of(config.fold).number}")
    return own if Run(own).exists() and not Run(folder).exists() else folder


def facts_of(teacher: Predictor, taught: Taught) -> dict[str, str]:
    """What config.json keeps: digests of what the teacher's probabilities rest on (an ensemble's settings name its
    members), and of the unlabelled documents."""
    facts = {"sha256": fingerprint(*teacher.digests, str(teacher.temperature)).hex()}
    if taught.unlabelled is not None:
        facts["unlabelled"] = fingerprint(taught.unlabelled.ids.tobytes().hex()).hex()
    return facts


def check_unchanged(run: Run, now: dict[str, str], folder: pathlib.Path) -> None:
    """Raise InputError where a resumed run has another teacher, or other unlabelled documents, than it began with."""
    before = run.meta().get("teacher", {})
    if now["sha256"] != before.get("sha256"):
        raise InputError(f"{run.folder}: its teacher {folder} is not the one it began with")
    if now.get("unlabelled") != before.get("unlabelled"):
        raise InputError(f"{run.folder}: the unlabelled documents are not those the run began with")


def check_out_of_sample(teacher: Predictor, corpus: Corpus) -> str:
    """Raise InputError where the teacher was trained on documents that this run is judged by, on which its logits would
    give the labels away. The few weights of an ensemble may have been fitted on the dev documents, as the epoch is
    chosen on them: that is a remark, and so is it where nobody knows what the teacher was trained on."""
    members = [member.predictor.run for member in getattr(teacher, "members", ())]
    for trained in members or [teacher.run]:
        for name in ("dev", "test"):
            check_unseen(trained, name, getattr(corpus, name))
    if members:
        check_unseen(teacher.run, "test", corpus.test)
        return " (its weights were fitted there)" if seen(teacher.run, corpus.dev) else ""
    return "" if "train" in teacher.run.splits() else " (which documents it was trained on is not known)"


def check_unseen(run: Run, name: str, split: Documents | None) -> None:
    if count := seen(run, split):
        raise InputError(
            f"--teacher: {run.folder} was trained on {count} of the {len(split)} {name} documents of this run; give "
            "both the same files, or the same --seed, --dev and --test"
        )


def seen(run: Run, split: Documents | None) -> int:
    """How many documents of a split a run was trained on."""
    return 0 if split is None else int(np.isin(split.ids, run.splits().get("train", [])).sum())
