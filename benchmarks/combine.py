"""Ways to combine classifiers, cross-validated inside the dev documents, on which no member was trained. No test split
is looked at.

python benchmarks/combine.py runs/bilstm,runs/bilstm/linear
python benchmarks/combine.py runs/bert/seed-1,runs/linear/seed-1 runs/bert/seed-2,runs/linear/seed-2

Each argument is an ensemble, its runs with commas between. What ensemble.py fits is fitted on nine tenths of the dev
documents and measured on the last one, ten times. Mean ± standard deviation over the ensembles; differences are from
`weighted`, document by document, and the last column says in how many ensembles the 95 % interval of the difference in
NLL is above 0, and in how many below.

Dimensions: N documents, M members, C classes.
"""

import argparse
import pathlib
import sys

import numpy as np
import torch
from torch.nn import functional as F

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import ensemble  # noqa: E402
import textcls  # noqa: E402
from textcls.metrics.statistics import paired_interval  # noqa: E402
from textcls.models.ensemble import LearnedEnsemble, WeightedEnsemble  # noqa: E402
from textcls.runtime.device import prepare_cpu  # noqa: E402
from textcls.tasks.combination import Classes  # noqa: E402
from textcls.tasks.documents import cached_logits  # noqa: E402
from textcls.tasks.ensemble import label_columns, member_probabilities  # noqa: E402
from textcls.tasks.stacking import fit_network, fit_weights  # noqa: E402

FOLDS = 10
WAYS = ("weighted", "learned", "mean of probabilities", "mean of their logarithms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ensembles", nargs="+", metavar="RUN,RUN", help="run folders, as left by train.py")
    prepare_cpu()
    found = [cross_validated(names.split(",")) for names in parser.parse_args().ensembles]
    print("| | accuracy | difference | NLL | difference | above, below |\n|---|---|---|---|---|---|")
    for way in found[0]:
        print(row(way, found))


def cross_validated(folders: list[str], seed: int = 1) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """{way, or a member's folder: (right (N,), NLL (N,)) of the dev documents}."""
    logits, labels = read(folders)
    probabilities, targets = member_probabilities(logits, Classes), torch.from_numpy(labels)  # (N, M * C), (N,)
    fold = np.random.default_rng(seed).permutation(len(labels)) % FOLDS
    results = {}
    for held_out in range(FOLDS):
        rest, own = (torch.from_numpy(np.flatnonzero(part)) for part in (fold != held_out, fold == held_out))
        ways = combined(probabilities[rest], targets[rest], probabilities[own], logits[0].shape[1], seed)
        for name, logs in zip((*WAYS, *folders), ways, strict=True):  # (n, C)
            right, nll = results.setdefault(name, (np.zeros(len(labels)), np.zeros(len(labels))))
            right[own] = logs.argmax(1) == targets[own]
            nll[own] = F.cross_entropy(logs, targets[own], reduction="none")
    return results


def read(folders: list[str]) -> tuple[list[np.ndarray], np.ndarray]:
    """(logits (N, C) of each member on the dev documents, their labels (N,)), as ensemble.py takes them."""
    corpus, logits = None, []
    for folder in folders:
        member = textcls.load(folder)
        if corpus is None:
            corpus = ensemble.load_corpus(member, Classes.load, None, quiet=True)
        ensemble.check_out_of_sample(member, corpus, in_sample=False)
        columns = label_columns(member, corpus.labels, pathlib.Path(folder))
        logits.append(cached_logits(member, corpus.dev, True)[0][:, columns])
        member.release()
    return logits, corpus.dev.labels


def combined(fit_on, targets, probabilities, classes: int, seed: int) -> list[torch.Tensor]:
    """Logits (n, C) of the ways, then of the members, of `probabilities` (n, M * C)."""
    torch.manual_seed(seed)
    members = probabilities.view(len(probabilities), -1, classes)  # (n, M, C)
    count = members.shape[1]
    weighted, learned = WeightedEnsemble(count, classes), LearnedEnsemble(count, classes)
    fit_weights(weighted, fit_on, targets)
    fit_network(learned, fit_on, targets, seed)
    logs = members.clamp_min(1e-30).log()
    with torch.no_grad():
        fitted = weighted(probabilities), learned.eval()(probabilities)
    return [*fitted, members.mean(1).clamp_min(1e-30).log(), logs.mean(1), *logs.unbind(1)]


def row(way: str, found: list[dict]) -> str:
    """Of one way, or of the member in its place in each ensemble."""
    place = list(found[0]).index(way)
    ours = [list(results.values())[place] for results in found]
    first = [results[WAYS[0]] for results in found]
    cells = [way]
    for kind in (0, 1):
        values, before = (np.array([result[kind].mean() for result in results]) for results in (ours, first))
        cells += [spread(values), spread(values - before, "+") if place else ""]
    intervals = [paired_interval(own[1], other[1]) for own, other in zip(ours, first, strict=True)]
    above, below = sum(i.low > 0 for i in intervals), sum(i.high < 0 for i in intervals)
    return f"| {' | '.join([*cells, f'{above}, {below}' if place else ''])} |"


def spread(values: np.ndarray, sign: str = "") -> str:
    return f"{values.mean():{sign}.3f}" + (f" ± {values.std(ddof=1):.3f}" if len(values) > 1 else "")


if __name__ == "__main__":
    main()
