"""Combine trained classifiers: average their probabilities, weigh them, and fit a small network over them.

    python ensemble.py runs/bert runs/bilstm
    python ensemble.py runs/bert runs/bilstm runs/linear --combine learned

The members' logits are computed one member at a time and kept in RUN/logits. What combines them is fitted on the dev
documents, which no member was trained on; the test documents are looked at once, at the end.
"""

import argparse
import copy
import dataclasses
import os
import pathlib
import sys
import time
from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional as F

import textcls
from textcls.config import check_bounds
from textcls.data.corpus import Corpus, Documents, identity
from textcls.metrics import classification as metrics
from textcls.metrics.statistics import mcnemar
from textcls.models.ensemble import ENSEMBLES, LearnedEnsemble, WeightedEnsemble
from textcls.report.text import intervals_table
from textcls.runtime import files
from textcls.runtime.device import choose_device, prepare
from textcls.runtime.errors import InputError, exit_on_input_error
from textcls.runtime.progress import say, through
from textcls.runtime.tensors import trainable_state
from textcls.tasks import classification
from textcls.tasks.base import check_split, stored, test_description
from textcls.tasks.classification import Predictor, asked_for
from textcls.tasks.documents import cached_logits
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
        corpus, labels, logits, facts = read_members(arguments, run)
        models, training = fit_all(corpus, labels, logits["dev"], arguments)
        save(run, models[arguments.combine], corpus, labels, facts, arguments.combine, training)
        test(corpus, models, logits["test"], arguments)
    say(f"\nrun folder {run.folder}; next: python evaluate.py {' '.join(arguments.runs)} {run.folder}")


def read_members(arguments, run: Run) -> tuple[Corpus, list[str], dict[str, list[np.ndarray]], list[dict]]:
    """(the members' corpus, its labels, {"dev", "test": the logits (N, C) of each member}, what the run notes of each).
    One member at a time is on the device."""
    corpus, labels, logits, facts = None, [], {"dev": [], "test": []}, []
    check_distinct(arguments.runs)
    for folder in arguments.runs:
        member = textcls.load(folder, arguments.device, arguments.bert, arguments.elmo)
        check_kind(member, folder)
        if corpus is None:
            corpus, labels = load_corpus(member, arguments.data_dir, arguments.quiet), member.labels
        columns = label_columns(member, labels, pathlib.Path(folder))
        check_out_of_sample(member, corpus, arguments.in_sample)
        for name, of_members in logits.items():
            of_members.append(cached_logits(member, getattr(corpus, name), arguments.quiet)[0][:, columns])
        member.release()
        path, digest = path_from(run, folder), files.sha256(member.run.folder / "best.pt")
        facts.append({"path": path, "sha256": digest, "parameters": member.meta["parameters"]["total"]})
    return corpus, labels, logits, facts


def path_from(run: Run, folder: str) -> str:
    """A member's folder as seen from the ensemble's, so that both can be moved together; of links the ends, since .. is
    taken there. In full where no way leads to it (another drive of Windows)."""
    member, start = os.path.realpath(folder), os.path.realpath(run.folder)
    try:
        return os.path.relpath(member, start)
    except ValueError:
        return member


def check_distinct(folders: list[str]) -> None:
    paths = [os.path.realpath(folder) for folder in folders]
    for folder, path in zip(folders, paths, strict=True):
        if paths.count(path) > 1:
            raise InputError(f"{folder} is given twice; an ensemble is of different runs")


def check_kind(member: Predictor, folder: str) -> None:
    if "members" in member.meta:
        raise InputError(f"{folder}: an ensemble cannot be a member")
    if not isinstance(member, Predictor):
        raise InputError(f"{folder}: a run of --task {member.config.task}; an ensemble combines classifiers")


def fit_all(corpus: Corpus, labels: list[str], dev: list[np.ndarray], arguments) -> tuple[dict, str]:
    """({name: ensemble fitted on the dev documents}, a phrase on the training)."""
    torch.manual_seed(arguments.seed)
    models = {name: kind(len(dev), len(labels)) for name, kind in ENSEMBLES.items()}
    inputs, targets = member_probabilities(dev), torch.from_numpy(corpus.dev.labels)
    epochs, seconds = fit(models["learned"], inputs, targets, arguments.seed)
    fit_weights(models["weighted"], inputs, targets)
    training = f"{epochs} epochs, {seconds / epochs:.3f} s/epoch on cpu"
    say(
        f"learned ensemble: {size_of(models['learned']):,} parameters; {training}, on {len(corpus.dev)} dev documents"
    )
    weights = zip(models["weighted"].weights.tolist(), arguments.runs, strict=True)
    say("weighted ensemble: " + ", ".join(f"{weight:.2f} {run}" for weight, run in weights))
    return models, training


def size_of(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@torch.no_grad()
def test(corpus: Corpus, models: dict, logits: list[np.ndarray], arguments) -> None:
    """Look at the test documents once: every member, their average, both ensembles."""
    average = np.log(np.mean([np.exp(metrics.log_softmax(part)) for part in logits], axis=0))
    inputs = member_probabilities(logits)
    combined = {f"{name} ensemble": model.eval()(inputs).numpy() for name, model in models.items()}
    members = dict(zip(arguments.runs, logits, strict=True))
    combined = {"average": average} | combined
    show(corpus.test, corpus.description, members, combined, f"{arguments.combine} ensemble", asked_for(corpus.facts))


def parse(argv) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
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
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of weights, dropout and the inner split")
    parser.add_argument("--data-dir", metavar="S", help="where the members' corpus is now")
    for kind in ("bert", "elmo"):
        parser.add_argument(f"--{kind}", metavar="FOLDER", help=f"where the members' frozen {kind} is now")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    arguments = parser.parse_args(argv)
    check_bounds("seed", arguments.seed)
    if len(arguments.runs) < 2:
        parser.error("give two or more runs")
    return arguments


def load_corpus(member: Predictor, data_dir: str | None, quiet: bool) -> Corpus:
    """The first member's corpus, which must be what it was when that run began."""
    config = dataclasses.replace(member.config, data_dir=data_dir or member.config.data_dir)
    corpus = classification.load(config, through("reading", quiet))
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
    model: LearnedEnsemble, probabilities: torch.Tensor, labels: torch.Tensor, seed: int, epochs: int = EPOCHS
) -> tuple[int, float]:
    """Full-batch AdamW; the epoch with the lowest loss on an inner fifth wins. Returns (epochs, seconds).

    Few dev documents show a rare class, and the network would never learn to name it. What there is to learn, mostly,
    is which member to believe when, and that does not depend on how the classes are numbered: see `permute_classes`.
    """
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(labels)))
    held = max(1, round(INNER_SHARE * len(order)))
    inner, outer = order[:held], order[held:]
    if not len(outer):
        raise InputError(f"{len(labels)} dev document(s) are too few to fit an ensemble on")
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=WEIGHT_DECAY)
    best, best_epoch, best_state, start = float("inf"), 0, copy.deepcopy(model.state_dict()), time.perf_counter()
    for epoch in range(1, epochs + 1):
        model.train()
        optimizer.zero_grad(set_to_none=True)
        inputs, targets = permute_classes(probabilities[outer], labels[outer], model.num_labels, PERMUTED)
        F.cross_entropy(model(inputs), targets).backward()
        optimizer.step()
        model.eval()
        with torch.no_grad():
            loss = F.cross_entropy(model(probabilities[inner]), labels[inner]).item()
        if loss < best:
            best, best_epoch, best_state = loss, epoch, copy.deepcopy(model.state_dict())
        if epoch - best_epoch >= PATIENCE:
            break
    model.load_state_dict(best_state)
    return epoch, time.perf_counter() - start


def permute_classes(probabilities: torch.Tensor, labels: torch.Tensor, num_labels: int, share: float):
    """Renumber the classes of about `share` of the documents, each at random and alike in all members and the label.

    (probabilities (N, M * C), labels (N,)) -> the same two, renumbered.
    """
    members = probabilities.view(len(labels), -1, num_labels)  # (N, M, C)
    order = torch.rand(len(labels), num_labels).argsort(1)  # (N, C): the old class at each new place
    order[torch.rand(len(labels)) >= share] = torch.arange(num_labels)
    permuted = members.gather(2, order[:, None, :].expand_as(members))
    return permuted.flatten(1), (order == labels[:, None]).int().argmax(1)


def save(
    run: Run,
    model: LearnedEnsemble | WeightedEnsemble,
    corpus: Corpus,
    labels: list[str],
    members: list[dict],
    combine: str,
    training: str,
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
    )


def show(
    test: Documents,
    description: str,
    members: dict[str, np.ndarray],
    combined: dict[str, np.ndarray],
    chosen: str,
    first: Sequence[str] = (),
) -> None:
    """Every member and every way to combine them, and the best member against the `chosen` one. `first`: the metrics
    that the corpus is judged by."""
    ways = members | combined
    rows = {name: metrics.intervals(logits, test.labels, first=first) for name, logits in ways.items()}
    correct = {name: logits.argmax(1) == test.labels for name, logits in ways.items()}
    say(f"\ntest: {description}, {len(test)} documents, 95 % intervals\n{intervals_table(rows)}")
    best = max(members, key=lambda name: correct[name].mean())
    only_ensemble, only_member, p = mcnemar(correct[chosen], correct[best])
    say(
        f"\nMcNemar, {chosen} against {best}: {only_ensemble} documents only the ensemble has right, "
        f"{only_member} only {best}; exact two-sided p = {p:.2g}"
    )


if __name__ == "__main__":
    sys.exit(main())
