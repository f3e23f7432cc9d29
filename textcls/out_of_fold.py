"""What the runs of --folds came to: all there was to train on tested once, by a run that was not trained on it.

RUN/fold-N            a run for each fold (sweep.py), in it the reference by the same fold
RUN/folds.json        settings, scores of the folds and of all documents, a digest of the next file
RUN/out-of-fold.npz   of all, in the order in which they were read: ids, folds, and what the task's predictor keeps of
                      them (out_of_fold), such as labels and logits; of every fold what the answers of its run rest on,
                      such as the temperature that its logits are to be divided by
RUN/suspicious.csv    labels that look wrong (suspicious.py), where the task can tell
RUN/linear            the same three of the reference

Dimensions: N documents, sentences or questions; C classes or labels; K folds.
"""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np

from textcls import predictor, recipes, suspicious, sweep
from textcls.config import OPTIONS, RUN, TrainConfig, flag
from textcls.data import folds
from textcls.data.corpus import Corpus, Documents
from textcls.data.multilabel import LabelSets
from textcls.metrics.seeds import MEAN, spreads
from textcls.report import search
from textcls.report.compare import Judged, pairwise
from textcls.report.text import intervals_table
from textcls.runtime import files
from textcls.runtime.errors import InputError
from textcls.tasks import TASKS
from textcls.tasks.base import check_split
from textcls.tasks.combination import Kind
from textcls.tasks.documents import Predictor
from textcls.training import facts
from textcls.training.run import Run

FACTS, ARRAYS = "folds.json", "out-of-fold.npz"
OWN = ("out", "fold", "seed", "train", "dev", "test")  # what a run may have else than its folds


# ---- what came out --------------------------------------------------------------------------------------------------


def summary(config: TrainConfig, folder: pathlib.Path, members: Sequence[sweep.Member]) -> list[str]:
    """What the runs came to, in words; also written beside them. Raises InputError where they are not of the same
    documents, or these have changed."""
    corpus, numbers = read_pool(config)
    task = TASKS[config.task]
    judged, lists = {}, {}
    for part in (folder, folder / recipes.REFERENCE) if recipes.has_reference(config) else (folder,):
        runs = [member.folder / part.relative_to(folder) for member in members]
        arrays = collect(runs, corpus, numbers, config)
        judged[part], lists[part] = task.Predictor.judge(arrays, corpus), []
        keep(part, runs, corpus, arrays, judged[part])
        if task.Predictor.suspects:
            found = task.Predictor.suspects(arrays, corpus, config)
            lists[part] = suspicious.report(part, config, corpus.test.texts, found)
    records = [sweep.record(member, config.select) for member in members]
    spread = {MEAN: spreads(records)[MEAN]}  # a fold that collapsed is part of what was asked for
    every = f"all {len(numbers):,} training {task.UNIT}, each tested by the run that was not trained on it"
    best = max(judged, key=lambda part: next(iter(judged[part][0].values())).value)  # it suspects fewer in vain
    return [
        f"\n{corpus.description}; here tested on folds of its training {task.UNIT}\n",
        search.seeds_table(records, spread),
        f"\n{every}, 95 % intervals\n{judged_table(judged)}",
        *lists[best],
        f"\nout of fold: {folder / ARRAYS}; all results: {folder / FACTS}",
    ]


def read_pool(config: TrainConfig) -> tuple[Corpus, np.ndarray]:
    """(the corpus with all that there is to train on as the test split, the fold of each)."""
    corpus = TASKS[config.task].load(config)
    pool, _ = folds.pool_of(corpus)
    return dataclasses.replace(corpus, test=pool), folds.assign(pool, config.folds, config.seed, corpus.labels)


def check_pool(config: TrainConfig, members: Sequence[sweep.Member]) -> None:
    """Raise InputError where a run that has begun had other documents, or labels, in its fold than there are now."""
    begun = {number: Run(member.folder) for number, member in enumerate(members, 1) if Run(member.folder).exists()}
    if not begun:
        return
    corpus, numbers = read_pool(config)
    for number, run in begun.items():
        check_split(run, "test", corpus.test.take(np.flatnonzero(numbers == number)), corpus.labels)


def collect(
    runs: Sequence[pathlib.Path], corpus: Corpus, numbers: np.ndarray, config: TrainConfig
) -> dict[str, np.ndarray]:
    """What is kept of all documents by the run of their fold, {name: (N, …)}, and of each run, {name: (K, …)}. `numbers`
    (N,) are the folds."""
    of_documents, of_runs, rows = [], [], [np.flatnonzero(numbers == number) for number in range(1, len(runs) + 1)]
    for folder, own in zip(runs, rows, strict=True):
        trained, split = predictor.load(folder, config.device, elmo=config.elmo), corpus.test.take(own)
        check_split(trained.run, "test", split, corpus.labels)
        if trained.labels != corpus.labels:
            raise InputError(f"{folder}: the labels of the data are not those the run began with")
        of_fold, of_run = trained.out_of_fold(split, config.quiet)
        of_documents.append(of_fold)
        of_runs.append(of_run)
        trained.release()
    order = np.argsort(np.concatenate(rows))
    found = {"folds": numbers} | {name: np.array([one[name] for one in of_runs]) for name in of_runs[0]}
    for name in of_documents[0]:
        found |= in_order(name, [one[name] for one in of_documents], order)
    return found


def in_order(name: str, parts: Sequence, order: np.ndarray) -> dict[str, np.ndarray]:
    """The values of the folds, one after the other, in this order (N,). Of lists of arrays the arrays one after the
    other, and their `lengths`."""
    if isinstance(parts[0], np.ndarray):
        return {name: np.concatenate(parts)[order]}
    arrays = [array for part in parts for array in part]
    arrays = [arrays[i] for i in order]
    return {"lengths": np.array([len(array) for array in arrays]), name: np.concatenate(arrays)}


def judged_table(judged: dict[pathlib.Path, Judged]) -> str:
    """A row for the runs, and one for the reference with a sentence on how they compare document by document."""
    names = list(map(str, judged))
    metrics, items = zip(*judged.values(), strict=True)
    lines = [intervals_table(dict(zip(names, metrics, strict=True)))]
    return "\n".join(lines + (["", *pairwise(names, items)] if names[1:] else []))


def keep(
    folder: pathlib.Path, runs: Sequence[pathlib.Path], corpus: Corpus, arrays: dict[str, np.ndarray], judged: Judged
) -> None:
    """Write out-of-fold.npz, and then folds.json, which says by a digest of which file it speaks."""
    files.make_folder(folder)
    with files.replacing(folder / ARRAYS) as file:
        np.savez(file, ids=corpus.test.ids, **arrays)
    results = [Run(run).results()["metrics"] for run in runs]
    of_runs = [{name: value["value"] for name, value in metrics.items()} for metrics in results]
    spread = spreads([{"test": values, "collapsed": False} for values in of_runs])[MEAN]
    content = {
        "folds": len(runs),
        "runs": [{"run": str(run), "test": values} for run, values in zip(runs, of_runs, strict=True)],
        "settings": Run(runs[0]).meta()["config"],
        "labels": corpus.labels,
        "data": corpus.description,
        "documents": len(corpus.test),
        "mean": spread["mean"],
        "sd": spread["sd"],
        "pooled": {name: vars(value) for name, value in judged[0].items()},
        "sha256": files.sha256(folder / ARRAYS),
    }
    files.write_json(folder / FACTS, files.with_checksum(content))


# ---- read again -----------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class OutOfFold:
    """What `folder` keeps of N documents: `ids` (N,), `labels` numbers of `classes` (N,), or which of them each has,
    bool (N, C), `logits` (N, C) of the run that had not seen the document."""

    folder: pathlib.Path
    ids: np.ndarray
    labels: np.ndarray
    logits: np.ndarray
    classes: list[str]


def read(folder: str, member: Predictor, kind: Kind) -> OutOfFold:
    """What :func:`keep` wrote beside a member that gives what `kind` says. Raises InputError for what is no such folder,
    for folds that the member was not trained like, and for files that do not belong together or are damaged."""
    place, again = pathlib.Path(folder), "give the same train.py --folds command again"
    if not (place / FACTS).is_file():
        raise InputError(f"{folder}: no {FACTS}: not a folder of train.py --folds that has come to its end")
    try:
        content = facts.check_whole(files.checked((place / FACTS).read_bytes()), facts.Folds, place / FACTS)
    except ValueError as error:
        raise InputError(f"{place / FACTS}: damaged ({error}); {again}") from None
    check_member(member, place, content["settings"])
    arrays, classes = files.read_arrays(place / ARRAYS), content["labels"]
    if not isinstance(arrays, dict) or files.sha256(place / ARRAYS) != content["sha256"]:
        raise InputError(f"{place / ARRAYS}: missing, damaged, or not that of {FACTS}; {again}")
    N, C, K = content["documents"], len(classes), content["folds"]
    wanted = {"ids": ((N,), np.uint64), "folds": ((N,), np.int64), "logits": ((N, C), np.float32)}
    wanted |= kind.kept_of_folds(N, C, K)
    found = {name: (array.shape, array.dtype) for name, array in arrays.items()}
    if found != {name: (shape, np.dtype(of)) for name, (shape, of) in wanted.items()}:
        raise InputError(f"{place / ARRAYS}: damaged, or not written by textcls; {again}")
    if not (np.isfinite(arrays["logits"]).all() and np.isin(arrays["labels"], np.arange(C)).all()):
        raise InputError(f"{place / ARRAYS}: logits that are no numbers, or labels that are no classes; {again}")
    return OutOfFold(place, arrays["ids"], arrays["labels"], arrays["logits"], classes)


def check_member(member: Predictor, folder: pathlib.Path, settings: dict) -> None:
    """Raise InputError where a run and folds were not trained in the same way: with settings that are not the same."""
    ours, theirs = vars(TrainConfig()) | member.meta["config"], vars(TrainConfig()) | settings
    for name in sorted({name for name, option in OPTIONS.items() if option["belongs"] == RUN} - set(OWN)):
        if ours[name] != theirs.get(name):
            raise InputError(
                f"{folder} was trained with {flag(name)} {theirs.get(name)}, and {member.run.folder} with "
                f"{ours[name]}: out-of-fold logits are of the same model"
            )


def to_fit_on(corpus: Corpus, members: Sequence[OutOfFold]) -> tuple[Documents | LabelSets, list[np.ndarray]]:
    """(training documents of the corpus that all of the members have logits of, these logits (N, C) in the order of the
    corpus' labels). Raises InputError where they are of other documents, or of some that are tested on."""
    known = folds.joined(corpus.train, corpus.dev)
    documents, logits = None, []
    for of in members:
        check_documents(corpus, known, of)
        if documents is None:
            documents = known.take(rows_of(known.ids, of.ids))
        elif not np.array_equal(np.sort(of.ids), np.sort(documents.ids)):
            raise InputError(f"{of.folder} is of other documents than {members[0].folder}")
        rows = rows_of(of.ids, documents.ids)
        before = dataclasses.replace(documents, labels=of.labels[rows])
        if before.answers(of.classes) != documents.answers(corpus.labels):
            raise InputError(f"{of.folder}: the training labels are not those that it was made with")
        logits.append(of.logits[rows][:, [of.classes.index(label) for label in corpus.labels]])
    return documents, logits


def check_documents(corpus: Corpus, known: Documents | LabelSets, of: OutOfFold) -> None:
    """Raise InputError where the logits are not of all training documents, or of other classes."""
    if tested := int(np.isin(of.ids, corpus.test.ids).sum()):
        raise InputError(f"{of.folder} was trained on {tested} of the {len(corpus.test)} test documents")
    if not any(np.array_equal(np.sort(of.ids), np.sort(ids)) for ids in (known.ids, corpus.train.ids)):
        raise InputError(f"{of.folder}: its documents are not the training documents of the first member")
    if set(of.classes) != set(corpus.labels):
        raise InputError(f"{of.folder}: its labels are not those of the first member")


def rows_of(ids: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Where each of the `wanted` stands among the ids, which hold them all."""
    order = np.argsort(ids)
    return order[np.searchsorted(ids[order], wanted)]
