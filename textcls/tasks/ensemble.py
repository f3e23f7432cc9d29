"""A trained ensemble: its members one after the other on the device, then the small model over them.

Dimensions: N documents, M members, C classes.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Sequence

import numpy as np
import torch

from textcls.data.corpus import Corpus
from textcls.runtime import files
from textcls.runtime.device import Precision
from textcls.runtime.errors import InputError
from textcls.runtime.tensors import load_trainable
from textcls.tasks import classification, multilabel
from textcls.tasks.base import parameter_counts
from textcls.tasks.combination import Classes, Kind, SeveralLabels, kind_of
from textcls.tasks.documents import Predictor, Split, Text, cached_logits
from textcls.training.run import Run

IN_WORDS = {"learned": "meta-MLP on probabilities", "weighted": "weighted {}"}


@dataclasses.dataclass
class Member:
    """A member, and where its labels stand among the ensemble's."""

    predictor: Predictor
    columns: list[int]

    def logits(self, texts: Sequence[Text], quiet: bool = True) -> np.ndarray:
        logits = self.predictor.logits(texts, quiet)[:, self.columns]
        self.predictor.release()
        return logits


class Ensemble(Predictor):
    """A predictor over predictors; `config` is its first member's, which says what a document is."""

    def __init__(
        self, kind: Kind, run: Run, meta: dict, model: torch.nn.Module, members: list[Member], device: torch.device
    ):
        first = members[0].predictor
        precision = Precision(None, "probabilities are combined in float32")
        meta |= {"metrics": first.meta.get("metrics", [])}  # what its corpus is judged by
        super().__init__(run, meta, first.recipe, first.config, model, first.vocabulary, device, precision)
        self.kind, self.members = kind, members

    def logits(self, texts: Sequence[Text], quiet: bool = True) -> np.ndarray:
        return self.combine([member.logits(texts, quiet) for member in self.members])

    def timed_logits(self, split: Split, quiet: bool) -> tuple[np.ndarray, float]:
        """(logits (N, C), seconds) from the members' own cached logits."""
        logits, seconds = [], 0.0
        for member in self.members:
            own, spent = cached_logits(member.predictor, split, quiet)
            member.predictor.release()
            logits.append(own[:, member.columns])
            seconds += spent
        return self.combine(logits), seconds

    @torch.no_grad()
    def combine(self, members: list[np.ndarray]) -> np.ndarray:
        """The members' logits (N, C) each -> the ensemble's."""
        return self.model(member_probabilities(members, self.kind)).numpy()

    def release(self) -> None:
        for member in self.members:
            member.predictor.release()

    def properties(self) -> dict[str, str]:
        return parameter_counts(self.meta) | {
            "backbone": ", ".join(member.predictor.config.model for member in self.members),
            "sequence modelling": IN_WORDS[self.meta["combine"]].format(self.kind.POOLED),
            "pooling": "none",
            "precision": "fp32",
            "training": self.meta["training"],
        }


class EnsemblePredictor(Ensemble, classification.Predictor):
    """A classifier over classifiers."""


class SeveralLabelsEnsemble(Ensemble, multilabel.Predictor):
    """What gives several labels, over such members."""


PREDICTORS = {Classes: EnsemblePredictor, SeveralLabels: SeveralLabelsEnsemble}


def member_probabilities(members: Sequence[np.ndarray], kind: Kind) -> torch.Tensor:
    """Probabilities side by side: logits in M arrays (N, C) -> (N, M * C)."""
    return torch.from_numpy(np.concatenate([kind.probabilities(logits) for logits in members], 1)).float()


def is_tested_on_dev(corpus: Corpus) -> bool:
    """Whether an ensemble would be fitted on what it is judged by, as with --protocol paper."""
    return bool(np.isin(corpus.dev.ids, corpus.test.ids).any())


def load(run: Run, meta: dict, weights: dict, device: torch.device, load_member: Callable) -> Ensemble:
    """The ensemble of a run folder; `load_member(folder)` gives a member's predictor."""
    members = []
    for member in meta["members"]:
        folder = pathlib.Path(member["path"])
        folder = folder if folder.is_absolute() else run.folder / folder
        check_there(run, member["path"], folder)
        if files.sha256(folder / "best.pt") != member["sha256"]:
            raise InputError(
                f"{folder}/best.pt has changed since {run.folder} was fitted on it; fit the ensemble again"
            )
        predictor = load_member(folder)
        members.append(Member(predictor, label_columns(predictor, meta["labels"], folder)))
    kind = kind_of(members[0].predictor)
    model = kind.build(meta["combine"], len(members), len(meta["labels"]))
    load_trainable(model, weights, run.folder / "best.pt")
    return PREDICTORS[kind](kind, run, meta, model, members, device)


def check_there(run: Run, path: str, folder: pathlib.Path) -> None:
    """Raise InputError where a member, noted in `run` as `path`, is not in `folder`, or not whole."""
    if not folder.is_dir():
        raise InputError(
            f"{run.folder}: its member {path} was looked for in {folder.resolve()}, and is not there; put the "
            "ensemble beside its members as it was, or fit it again with ensemble.py"
        )
    if not (folder / "best.pt").is_file():
        raise InputError(
            f"{run.folder}: its member {folder.resolve()} has no best.pt any more; put it back, or train the member "
            "and fit the ensemble again"
        )


def label_columns(
    predictor: Predictor, labels: list[str], folder: pathlib.Path, whose: str = "the first member"
) -> list[int]:
    """Where each of `labels`, `whose` they are, stands among the predictor's. The two sets must be the same; the order
    need not be."""
    if set(predictor.labels) != set(labels):
        odd = sorted(set(predictor.labels) ^ set(labels))
        raise InputError(
            f"{folder}: its labels are not those of {whose}; they differ in {', '.join(odd[:10])}"
        )
    return [predictor.labels.index(label) for label in labels]
