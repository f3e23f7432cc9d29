"""Combine trained classifiers: average their probabilities, weigh them, and fit a small network over them.

    python ensemble.py runs/bert runs/bilstm
    python ensemble.py runs/bert runs/bilstm runs/linear --combine learned
    python ensemble.py runs/bert runs/linear --out-of-fold runs/bert-folds runs/bert-folds/linear

The members' logits are computed one member at a time and kept in RUN/logits. What combines them is fitted on the dev
documents, which no member was trained on, or with --out-of-fold on all training documents, of each by the logits of a
run that was not trained on it; the test documents are looked at once, at the end.
"""

import argparse
import copy
import dataclasses
import os
import pathlib
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional as F

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
from textcls.tasks.ensemble import fit_weights, is_tested_on_dev, label_columns, member_probabilities
from textcls.training.run import Run, free_folder

EPOCHS, PATIENCE, INNER_SHARE = 1500, 100, 0.2
LR, WEIGHT_DECAY, PERMUTED = 3e-3, 0.1, 0.9  # by cross-validation on the dev documents of 20newsgroups and pydocs


@exit_on_input_error
def main(argv=None):
    arguments = parse(argv)
    prepare(choose_device(arguments.device))
    run = Run(arguments.out or free_folder("ensemble", claim=True))
    with run.claimed(new=True):
        kind, corpus, labels, logits, facts, temperatures = read_members(arguments, run)
        models, training = fit_all(kind, corpus, labels, logits["dev"], arguments)
        known = {}
        if kind is Classes and not arguments.in_sample:
            known = calibrate(corpus, models, logits["dev"], arguments.seed)
        calibration = known.get(arguments.combine)
        save(run, models[arguments.combine], corpus, labels, facts, arguments.combine, training, calibration)
        temperatures |= {f"{name} ensemble": values["temperature"] for name, values in known.items()}
        test(kind, corpus, models, logits, arguments, temperatures)
    say(f"\nrun folder {run.folder}; next: python evaluate.py {' '.join(arguments.runs)} {run.folder}")


def read_members(arguments, run: Run) -> tuple[Kind, Corpus, list[str], dict[str, list[np.ndarray]], list[dict], dict]:
    """(what the members give, their corpus, its labels, {"dev", "test": the logits (N, C) of each member}, what the run
    notes of each, {member: the temperature of its own probabilities}). One member at a time is on the device."""
    kind, corpus, labels, logits, facts, temperatures = None, None, [], {"dev": [], "test": []}, [], {}
    check_distinct(arguments.runs)
    folds = [out_of_fold.read(folder) for folder in arguments.out_of_fold]
    for number, folder in enumerate(arguments.runs):
        member = textcls.load(folder, arguments.device, arguments.bert, arguments.elmo)
        kind = check_kind(member, folder, kind)
        if corpus is None:
            corpus, labels = load_corpus(member, kind.load, arguments.data_dir, arguments.quiet), member.labels
        columns = label_columns(member, labels, pathlib.Path(folder))
        check_out_of_sample(member, corpus, arguments.in_sample or bool(folds))
        if folds:
            out_of_fold.check_member(member, folds[number])
        for name in ("test",) if folds else ("dev", "test"):
            logits[name].append(cached_logits(member, getattr(corpus, name), arguments.quiet)[0][:, columns])
        member.release()
        temperatures[folder] = member.temperature
        path, digest = files.seen_from(run.folder, folder), files.sha256(member.run.folder / "best.pt")
        facts.append({"path": path, "sha256": digest, "parameters": member.meta["parameters"]["total"]})
    if folds:
        documents, logits["dev"] = out_of_fold.to_fit_on(corpus, folds)
        corpus = dataclasses.replace(corpus, dev=documents, train=documents.take(np.arange(0)))
    return kind, corpus, labels, logits, facts, temperatures


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


def fit_all(kind: Kind, corpus: Corpus, labels: list[str], dev: list[np.ndarray], arguments) -> tuple[dict, str]:
    """({name: ensemble fitted on the dev documents, which are all training documents out of fold where the command has
    them}, a phrase on the training)."""
    torch.manual_seed(arguments.seed)
    models = {name: kind.build(name, len(dev), len(labels)) for name in ENSEMBLES}
    inputs, targets = member_probabilities(dev, kind), torch.from_numpy(corpus.dev.labels)
    epochs, seconds = fit(models["learned"], inputs, targets, arguments.seed, loss_fn=kind.loss)
    fit_weights(models["weighted"], inputs, targets, kind.loss)
    for model in models.values():
        kind.settle(model, logits_of(model, inputs), corpus.dev.labels)
    training = f"{epochs} epochs, {seconds / epochs:.3f} s/epoch on cpu"
    what = "training documents out of fold" if arguments.out_of_fold else "dev documents"
    training += f", on {len(corpus.dev)} {what}"
    say(f"learned ensemble: {size_of(models['learned']):,} parameters; {training}")
    weights = zip(models["weighted"].weights.tolist(), arguments.runs, strict=True)
    say("weighted ensemble: " + ", ".join(f"{weight:.2f} {run}" for weight, run in weights))
    return models, training


def calibrate(corpus: Corpus, models: dict, dev: list[np.ndarray], seed: int) -> dict[str, dict]:
    """{ensemble: what is kept of its probabilities}. The network's temperature is fitted on the inner fifth, which its
    weights were not fitted on; the weighted one's is 1: its few weights are fitted to the likelihood, and their size is
    a temperature."""
    inner = np.zeros(len(corpus.dev), bool)
    inner[inner_split(len(corpus.dev), seed)[0]] = True
    found, inputs = {}, member_probabilities(dev, Classes)
    for name, rows in (("learned", inner), ("weighted", np.ones_like(inner))):
        usable = rows & probabilities.unseen(corpus)
        if not usable.any():
            continue
        logits = logits_of(models[name], inputs[usable])
        found[name] = probabilities.fit(logits, corpus.dev.labels[usable], fixed=name == "weighted")
        if name == "learned":
            say(f"learned ensemble: {probabilities.sentence(found[name])}")
    return found


def size_of(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@torch.no_grad()
def logits_of(model: torch.nn.Module, inputs: torch.Tensor) -> np.ndarray:
    return model.eval()(inputs).numpy()


def test(
    kind: Kind, corpus: Corpus, models: dict, logits: dict[str, list[np.ndarray]], arguments,
    temperatures: dict[str, float],
) -> None:  # fmt: skip
    """Look at the test documents once: every member, their average, both ensembles, at their temperatures."""
    ways = {name: [] for name in (*arguments.runs, "average", *(f"{name} ensemble" for name in models))}
    for of_members in (logits["dev"], logits["test"]):
        inputs = member_probabilities(of_members, kind)
        average = kind.logits(np.mean([kind.probabilities(part) for part in of_members], axis=0))
        combined = (logits_of(model, inputs) for model in models.values())
        for name, values in zip(ways, (*of_members, average, *combined), strict=True):
            ways[name].append(values / temperatures.get(name, 1.0))
    show(kind, corpus, ways, arguments.runs, f"{arguments.combine} ensemble")


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


def fit(
    model: LearnedEnsemble,
    probabilities: torch.Tensor,
    labels: torch.Tensor,
    seed: int,
    epochs: int = EPOCHS,
    loss_fn: Callable = F.cross_entropy,
) -> tuple[int, float]:
    """Full-batch AdamW; the epoch with the lowest loss on an inner fifth wins. Returns (epochs, seconds).

    Few dev documents show a rare class, and the network would never learn to name it. What there is to learn, mostly,
    is which member to believe when, and that does not depend on how the classes are numbered: see `permute_classes`.
    """
    inner, outer = map(torch.from_numpy, inner_split(len(labels), seed))
    if not len(outer):
        raise InputError(f"{len(labels)} dev document(s) are too few to fit an ensemble on")
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=WEIGHT_DECAY)
    best, best_epoch, best_state, start = float("inf"), 0, copy.deepcopy(model.state_dict()), time.perf_counter()
    for epoch in range(1, epochs + 1):
        model.train()
        optimizer.zero_grad(set_to_none=True)
        inputs, targets = permute_classes(probabilities[outer], labels[outer], model.num_labels, PERMUTED)
        loss_fn(model(inputs), targets).backward()
        optimizer.step()
        model.eval()
        with torch.no_grad():
            loss = loss_fn(model(probabilities[inner]), labels[inner]).item()
        if loss < best:
            best, best_epoch, best_state = loss, epoch, copy.deepcopy(model.state_dict())
        if epoch - best_epoch >= PATIENCE:
            break
    model.load_state_dict(best_state)
    return epoch, time.perf_counter() - start


def inner_split(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(the inner fifth, the others) of so many documents."""
    order = np.random.default_rng(seed).permutation(count)
    held = max(1, round(INNER_SHARE * count))
    return order[:held], order[held:]


def permute_classes(probabilities: torch.Tensor, labels: torch.Tensor, num_labels: int, share: float):
    """Renumber the classes of about `share` of the documents, each at random and alike in all members and the label.

    (probabilities (N, M * C), labels (N,), or of several a document (N, C)) -> the same two, renumbered.
    """
    members = probabilities.view(len(labels), -1, num_labels)  # (N, M, C)
    order = torch.rand(len(labels), num_labels).argsort(1)  # (N, C): the old class at each new place
    order[torch.rand(len(labels)) >= share] = torch.arange(num_labels)
    permuted = members.gather(2, order[:, None, :].expand_as(members))
    renumbered = labels.gather(1, order) if labels.dim() == 2 else (order == labels[:, None]).int().argmax(1)
    return permuted.flatten(1), renumbered


def save(
    run: Run,
    model: LearnedEnsemble | WeightedEnsemble,
    corpus: Corpus,
    labels: list[str],
    members: list[dict],
    combine: str,
    training: str,
    calibration: dict | None,
) -> None:
    size = size_of(model)
    total = size + sum(member["parameters"] for member in members)
    run.create(
        {
            "textcls": textcls.__version__,
            "members": members,
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


def show(
    kind: Kind, corpus: Corpus, ways: dict[str, tuple[np.ndarray, np.ndarray]], members: list[str], chosen: str
) -> None:
    """Every member and every way to combine them, each by its logits on dev and on test, and the best member against
    the `chosen` one."""
    judged = {name: kind.judge(*logits, corpus) for name, logits in ways.items()}
    rows = {name: intervals for name, (intervals, _) in judged.items()}
    say(f"\ntest: {corpus.description}, {len(corpus.test)} documents, 95 % intervals\n{intervals_table(rows)}")
    best = max(members, key=lambda name: rows[name][kind.MAIN].value)
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
