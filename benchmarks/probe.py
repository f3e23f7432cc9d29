"""What a backbone's vectors say of a document before anything is trained on them: a logistic regression on the mean and
the maximum of its tokens' vectors, of the embedding module and of the top layer, with five folds inside the documents
of pydocs that are not in its test split, or inside those of a file. No test split is looked at.

python benchmarks/probe.py nano runs/nano-1
python benchmarks/probe.py nano --train train.tsv        a label, a tab and a sentence a line
"""

import argparse
import pathlib
import sys

import numpy as np
import torch
from torch.nn import functional as F

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from textcls.data import pydocs  # noqa: E402
from textcls.models.bert import Bert  # noqa: E402
from textcls.pretrained.bert import read_bert  # noqa: E402
from textcls.pretrained.hub import find_folder  # noqa: E402
from textcls.report.text import table  # noqa: E402
from textcls.text.vocabulary import Vocabulary  # noqa: E402

FOLDS, LONGEST = 5, 126
PENALTIES = (0.003, 0.01, 0.03)  # of the squares of the weights; the best is reported


def documents(path: str | None) -> tuple[list[str], torch.Tensor]:
    """Texts and numbers of their labels, shuffled."""
    if path is None:
        corpus = pydocs.load(seed=1)
        texts = [text for (text,) in corpus.train.texts + corpus.dev.texts]
        labels = np.concatenate([corpus.train.labels, corpus.dev.labels])
    else:
        lines = pathlib.Path(path).read_text("utf-8").splitlines()
        names, texts = zip(*(line.split("\t", 1) for line in lines), strict=True)
        labels = np.unique(names, return_inverse=True)[1]
    order = np.random.default_rng(0).permutation(len(labels))
    return [texts[i] for i in order], torch.from_numpy(labels[order])


@torch.no_grad()
def features(bert: Bert, vocabulary: Vocabulary, texts: list[str]) -> dict[str, torch.Tensor]:
    """{"embeddings", "top": (documents, 2H)}, without [CLS] and [SEP]."""
    rows: dict[str, list[torch.Tensor]] = {"embeddings": [], "top": []}
    for pieces in vocabulary.encode(texts):
        ids = torch.tensor([[vocabulary.cls, *pieces[:LONGEST].tolist(), vocabulary.sep]])
        inner = slice(1, -1) if len(pieces) else slice(None)
        for name, hidden in (("embeddings", bert.embeddings(ids)), ("top", bert(ids)[0])):
            hidden = hidden[0, inner]  # (T, H)
            rows[name].append(torch.cat([hidden.mean(0), hidden.max(0).values]))
    return {name: torch.stack(part) for name, part in rows.items()}


def logistic(x: torch.Tensor, y: torch.Tensor, penalty: float) -> tuple[float, float]:
    """(accuracy, NLL) over the folds, of standardised features."""
    fold, right, nll = torch.arange(len(y)) % FOLDS, 0, 0.0
    for held_out in range(FOLDS):
        train, test = fold != held_out, fold == held_out
        mean, deviation = x[train].mean(0), x[train].std(0) + 1e-6
        weights = torch.zeros(int(y.max()) + 1, x.shape[1] + 1, requires_grad=True)
        fit(weights, (x[train] - mean) / deviation, y[train], penalty)
        with torch.no_grad():
            logits = (x[test] - mean) / deviation @ weights[:, :-1].T + weights[:, -1]
        right += int((logits.argmax(1) == y[test]).sum())
        nll += F.cross_entropy(logits, y[test], reduction="sum").item()
    return right / len(y), nll / len(y)


def fit(weights: torch.Tensor, x: torch.Tensor, y: torch.Tensor, penalty: float) -> None:
    optimizer = torch.optim.LBFGS([weights], max_iter=100, history_size=10, line_search_fn="strong_wolfe")

    def loss():
        optimizer.zero_grad()
        value = F.cross_entropy(x @ weights[:, :-1].T + weights[:, -1], y)
        value = value + penalty / 2 * weights[:, :-1].square().sum()
        value.backward()
        return value

    optimizer.step(loss)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("backbone", nargs="+")
    parser.add_argument("--train")
    arguments = parser.parse_args()
    texts, labels = documents(arguments.train)
    rows = [["backbone", "embeddings", "NLL", "top layer", "NLL"]]
    for name in arguments.backbone:
        folder = find_folder(name)
        found = features(read_bert(folder)[0], Vocabulary.from_folder(folder), texts)
        best = [max(logistic(x, labels, penalty) for penalty in PENALTIES) for x in found.values()]
        rows.append([name, *(f"{value:.3f}" for pair in best for value in pair)])
    print(table(rows))


if __name__ == "__main__":
    main()
