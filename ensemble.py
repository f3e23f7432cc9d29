"""Combine trained classifiers: average their probabilities, weigh them, and fit a small network over them.

    python ensemble.py runs/bert runs/bilstm
    python ensemble.py runs/bert runs/bilstm runs/linear --combine learned
    python ensemble.py runs/bert runs/linear --out-of-fold runs/bert-folds runs/bert-folds/linear

The members' logits are computed one member at a time and kept in RUN/logits. What combines them is fitted on the dev
documents, which no member was trained on, or with --out-of-fold on all training documents, of each by the logits of a
run that was not trained on it; the test documents are looked at once, at the end.
"""

import argparse
import dataclasses
import os
import pathlib
import sys
from collections.abc import Callable

import numpy as np
import torch

import textcls
from textcls import out_of_fold
from textcls.arguments import check_given, of_runs
from textcls.config import check_bounds
from textcls.data.corpus import Corpus, identity
from textcls.metrics.statistics import mcnemar
from textcls.models.ensemble import ENSEMBLES, LearnedEnsemble, WeightedEnsemble
from textcls.report.compare import pairwise
from textcls.report.text import intervals_table
from textcls.runtime import files
from textcls.runtime.device import choose_device, prepare
from textcls.runtime.errors import InputError, exit_on_input_error
from textcls.runtime.progress import say, through
from textcls.runtime.tensors import trainable_state
from textcls.tasks import probabilities
from textcls.tasks.base import check_split, stored, test_description
from textcls.tasks.combination import Classes, Kind, kind_of
from textcls.tasks.documents import Predictor, cached_logits
from textcls.tasks.ensemble import is_tested_on_dev, label_columns, member_probabilities
from textcls.tasks.stacking import fit_network, fit_weights, inner_split
from textcls.training.run import Run, free_folder


@dataclasses.dataclass
class Members:
    """What an ensemble is fitted to and judged on. `kind`: what the members give; `logits`: of each (N, C), for "dev"
    and "test"; `facts`: what the run notes of each; `temperatures` and `thresholds`: of each member's own
    probabilities."""

    kind: Kind | None = None
    corpus: Corpus | None = None
    labels: list[str] = dataclasses.field(default_factory=list)
    logits: dict[str, list[np.ndarray]] = dataclasses.field(default_factory=lambda: {"dev": [], "test": []})
    facts: list[dict] = dataclasses.field(default_factory=list)
    temperatures: dict[str, float] = dataclasses.field(default_factory=dict)
    thresholds: dict[str, np.ndarray | None] = dataclasses.field(default_factory=dict)


@exit_on_input_error
def main(argv=None):
    arguments = parse(argv)
    prepare(choose_device(arguments.device))
    run = Run(arguments.out or free_folder("ensemble", claim=True))
    with run.claimed(new=True):
        members = read_members(arguments, run)
        models, training = fit_all(members, arguments)
        known = calibrate(members, models, arguments) if members.kind is Classes and not arguments.in_sample else {}
        save(run, models[arguments.combine], members, arguments.combine, training, known.get(arguments.combine))
        members.temperatures |= {f"{name} ensemble": values["temperature"] for name, values in known.items()}
        test(members, models, arguments)
    say(f"\nrun folder {run.folder}; next: python evaluate.py {' '.join(arguments.runs)} {run.folder}")


def read_members(arguments, run: Run) -> Members:
    """One member at a time is on the device."""
    check_distinct(arguments.runs)
    read, folds = Members(), []
    for number, folder in enumerate(arguments.runs):
        member = textcls.load(folder, arguments.device, arguments.bert, arguments.elmo)
        read.kind = check_kind(member, folder, read.kind)
        if read.corpus is None:
            read.corpus = load_corpus(member, read.kind.load, arguments.data_dir, arguments.quiet)
            read.labels = member.labels
        columns = label_columns(member, read.labels, pathlib.Path(folder))
        check_out_of_sample(member, read.corpus, arguments.in_sample or bool(arguments.out_of_fold))
        if arguments.out_of_fold:
            folds.append(out_of_fold.read(arguments.out_of_fold[number], member, read.kind))
        for name in ("test",) if folds else ("dev", "test"):
            read.logits[name].append(cached_logits(member, getattr(read.corpus, name), arguments.quiet)[0][:, columns])
        member.release()
        read.temperatures[folder], read.thresholds[folder] = member.temperature, read.kind.thresholds(member, columns)
        path, digest = files.seen_from(run.folder, folder), files.sha256(member.run.folder / "best.pt")
        read.facts.append({"path": path, "sha256": digest, "parameters": member.meta["parameters"]["total"]})
    if folds:
        documents, read.logits["dev"] = out_of_fold.to_fit_on(read.corpus, folds)
        read.corpus = dataclasses.replace(read.corpus, dev=documents, train=documents.take(np.arange(0)))
    return read


def check_distinct(folders: list[str]) -> None:
    paths = [os.path.realpath(folder) for folder in folders]
    for folder, path in zip(folders, paths, strict=True):
        if paths.count(path) > 1:
            raise InputError(f"{folder} is given twice; an ensemble is of different runs")


def check_kind(member: Predictor, folder: str, first: Kind | None) -> Kind:
    """What the member gives, which must be what the first one gives."""
    if "members" in member.meta:
        raise InputError(f"{folder}: an ensemble cannot be a member")
    if not member.run.keeps:
        raise InputError(f"{folder}: a model without its run, whose dev documents are not known; give run folders")
    kind = kind_of(member)
    if first not in (None, kind):
        raise InputError(f"{folder}: a run of --task {member.config.task}, and the first member is of another task")
    return kind


def fit_all(members: Members, arguments) -> tuple[dict, str]:
    """({name: ensemble fitted on the dev documents, which are all training documents out of fold where the command has
    them}, a phrase on the training)."""
    torch.manual_seed(arguments.seed)
    kind, dev, documents = members.kind, members.logits["dev"], members.corpus.dev
    models = {name: kind.build(name, len(dev), len(members.labels)) for name in ENSEMBLES}
    inputs, targets = member_probabilities(dev, kind), torch.from_numpy(documents.labels)
    epochs, seconds = fit_network(models["learned"], inputs, targets, arguments.seed, loss_fn=kind.loss)
    fit_weights(models["weighted"], inputs, targets, kind.loss)
    for model in models.values():
        kind.settle(model, logits_of(model, inputs), documents.labels)
    training = f"{epochs} epochs, {seconds / epochs:.3f} s/epoch on cpu, on {len(documents)} {fitted_on(arguments)}"
    say(f"learned ensemble: {size_of(models['learned']):,} parameters; {training}")
    weights = zip(models["weighted"].weights.tolist(), arguments.runs, strict=True)
    say("weighted ensemble: " + ", ".join(f"{weight:.2f} {run}" for weight, run in weights))
    return models, training


def fitted_on(arguments) -> str:
    return "training documents out of fold" if arguments.out_of_fold else "dev documents"


def calibrate(members: Members, models: dict, arguments) -> dict[str, dict]:
    """{ensemble: what is kept of its probabilities}. The network's temperature is fitted on the inner fifth, which its
    weights were not fitted on; the weighted one's is 1: its few weights are fitted to the likelihood, and their size is
    a temperature."""
    corpus, found = members.corpus, {}
    inner = np.zeros(len(corpus.dev), bool)
    inner[inner_split(len(corpus.dev), arguments.seed)[0]] = True
    inputs = member_probabilities(members.logits["dev"], Classes)
    for name, rows in (("learned", inner), ("weighted", np.ones_like(inner))):
        usable = rows & probabilities.unseen(corpus)
        if not usable.any():
            continue
        logits = logits_of(models[name], inputs[usable])
        found[name] = probabilities.fit(logits, corpus.dev.labels[usable], fixed=name == "weighted")
        if name == "learned":
            say(f"learned ensemble: {probabilities.sentence(found[name], fitted_on(arguments))}")
    return found


def size_of(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@torch.no_grad()
def logits_of(model: torch.nn.Module, inputs: torch.Tensor) -> np.ndarray:
    return model.eval()(inputs).numpy()


def test(members: Members, models: dict, arguments) -> None:
    """Look at the test documents once: every member, their average, both ensembles, at their temperatures."""
    kind = members.kind
    ways = {name: [] for name in (*arguments.runs, "average", *(f"{name} ensemble" for name in models))}
    for of_members in (members.logits["dev"], members.logits["test"]):
        inputs = member_probabilities(of_members, kind)
        average = kind.logits(np.mean([kind.probabilities(part) for part in of_members], axis=0))
        combined = (logits_of(model, inputs) for model in models.values())
        for name, values in zip(ways, (*of_members, average, *combined), strict=True):
            ways[name].append(values / members.temperatures.get(name, 1.0))
    show(members, ways, arguments.runs, f"{arguments.combine} ensemble")


def parse(argv) -> argparse.Namespace:
    parser = of_runs("RUN RUN [RUN ...]", __doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="two or more run folders, as left by train.py")
    parser.add_argument("--out", metavar="S", help="run folder to make (default: the first free runs/ensemble[-N])")
    parser.add_argument(
        "--combine",
        choices=tuple(ENSEMBLES),
        default="weighted",
        help="which ensemble the run folder keeps: a weight for each member, or the network (default: weighted)",
    )
    parser.add_argument(
        "--in-sample",
        action="store_true",
        help="fit even on documents that a member was trained on (its logits are too good there) or that are tested on",
    )
    parser.add_argument(
        "--out-of-fold",
        nargs="+",
        default=[],
        metavar="FOLDER",
        help="fit on all training documents: a folder of train.py --folds for each RUN, of the same settings",
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of weights, dropout and the inner split")
    parser.add_argument("--data-dir", metavar="S", help="where the members' corpus is now")
    for kind in ("bert", "elmo"):
        parser.add_argument(f"--{kind}", metavar="FOLDER", help=f"where the members' frozen {kind} is now")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    arguments = parser.parse_args(argv)
    check_given(arguments)
    check_bounds("seed", arguments.seed)
    if len(arguments.runs) < 2:
        parser.error("give two or more runs")
    if arguments.out_of_fold and len(arguments.out_of_fold) != len(arguments.runs):
        parser.error(f"--out-of-fold: {len(arguments.out_of_fold)} folders for {len(arguments.runs)} runs")
    return arguments


def load_corpus(member: Predictor, load: Callable, data_dir: str | None, quiet: bool) -> Corpus:
    """The first member's corpus, which must be what it was when that run began."""
    config = dataclasses.replace(member.config, data_dir=data_dir or member.config.data_dir)
    corpus = load(config, through("reading", quiet))
    if corpus.test is None:
        raise InputError(f"{member.run.folder} was trained without a test split; an ensemble is judged on one")
    corpus.description = test_description(config, corpus.description)
    if corpus.labels != member.labels:
        raise InputError(f"{member.run.folder}: the labels of the data are not those the run began with")
    check_split(member.run, "dev", corpus.dev, corpus.labels)
    if is_tested_on_dev(corpus):
        corpus.description += "; the ensemble was fitted on it too"
    return corpus


def check_out_of_sample(member: Predictor, corpus: Corpus, in_sample: bool) -> None:
    """Refuse to fit on documents that the member was trained on or that the ensemble is judged by, and to compare on a
    test split that is not the member's own."""
    check_split(member.run, "test", corpus.test, corpus.labels)
    if is_tested_on_dev(corpus) and not in_sample:
        raise InputError(
            "the dev documents of the first member are its test documents (--protocol paper): an ensemble would be "
            "fitted on what it is judged by; train the members with --protocol honest, or insist with --in-sample"
        )
    seen = int(np.isin(corpus.dev.ids, member.run.splits()["train"]).sum())
    if seen and not in_sample:
        raise InputError(
            f"{member.run.folder} was trained on {seen} of the {len(corpus.dev)} dev documents of the first "
            "member, where its logits are too good to learn from; train it with the same --seed and --dev, "
            "or insist with --in-sample"
        )


def save(
    run: Run,
    model: LearnedEnsemble | WeightedEnsemble,
    members: Members,
    combine: str,
    training: str,
    calibration: dict | None,
) -> None:
    size, corpus, labels = size_of(model), members.corpus, members.labels
    total = size + sum(member["parameters"] for member in members.facts)
    run.create(
        {
            "textcls": textcls.__version__,
            "members": members.facts,
            "combine": combine,
            "labels": labels,
            "data": corpus.description,
            "parameters": {"trainable": size, "total": total},
            "training": training,
        },
        stored("train", identity(corpus.dev, labels)) | stored("test", identity(corpus.test, labels)),
        best={"model": trainable_state(model)},
        calibration=calibration,
    )


def show(members: Members, ways: dict[str, tuple[np.ndarray, np.ndarray]], runs: list[str], chosen: str) -> None:
    """Every member, as it is by itself, and every way to combine them, each by its logits on dev and on test; and the
    best of the `runs` against the `chosen` way."""
    kind, corpus, own = members.kind, members.corpus, members.thresholds
    judged = {name: kind.judge(*logits, corpus, thresholds=own.get(name)) for name, logits in ways.items()}
    rows = {name: intervals for name, (intervals, _) in judged.items()}
    say(f"\ntest: {corpus.description}, {len(corpus.test)} documents, 95 % intervals\n{intervals_table(rows)}")
    best = max(runs, key=lambda name: rows[name][kind.MAIN].value)
    items = [judged[name][1] for name in (chosen, best)]
    only_ensemble, only_member, p = mcnemar(*(of[-1].right for of in items))
    say(
        "",
        *pairwise([chosen, best], [of[:-1] for of in items]),
        f"McNemar, {chosen} against {best}: {only_ensemble} documents only the ensemble has right, "
        f"{only_member} only {best}; exact two-sided p = {p:.2g}",
    )


if __name__ == "__main__":
    sys.exit(main())
