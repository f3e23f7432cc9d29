"""Labels flipped on purpose, and how many of them `train.py --folds` lists as suspicious: precision and recall.

python benchmarks/label_errors.py
python benchmarks/label_errors.py --share 0.1 --seeds 1 2 3 -- --model bilstm --folds 10      other flags of train.py
python benchmarks/label_errors.py --several --seeds 1 2 3                                     several labels a text

The embedded corpus; the labels of a share of its training documents, drawn by the seed, become another class at random.
With --several one to three docstrings are put together, and their packages are the labels of the text; a share of the
texts lose a label, or get one that they should not have, with equal odds.

The last column is the recall of as many of the labels as are listed, chosen by their probability alone.
"""

import argparse
import csv
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from textcls.data import pydocs  # noqa: E402
from textcls.data.folds import pool_of  # noqa: E402
from textcls.metrics.classification import log_softmax  # noqa: E402
from textcls.metrics.multilabel import sigmoid  # noqa: E402

MOST = 3  # docstrings of a text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=0.05, metavar="X", help="of the texts with a flipped label")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1], metavar="N", help="of flips and of training")
    parser.add_argument("--several", action="store_true", help="several labels a text")
    parser.add_argument("flags", nargs="*", metavar="FLAG", help="of train.py (default: --model linear --folds 5)")
    arguments = parser.parse_args()
    corpus = pydocs.load(seed=1)
    pool, _ = pool_of(corpus)
    print("| seed | flipped | listed | of them flipped (precision) | found (recall) | precision of the first N | by "
          "probability alone |")  # fmt: skip
    print("|---|---|---|---|---|---|---|")
    for seed in arguments.seeds:
        make = several if arguments.several else single
        rows, flipped = make(pool, corpus.labels, arguments.share, np.random.default_rng(seed))
        found = suspicious(rows, seed, ["--task", "multilabel"] * arguments.several, arguments.flags)
        right, others = (np.array([pair in flipped for pair in pairs]) for pairs in found)
        first = right[: len(flipped)]
        print(f"| {seed} | {len(flipped)} in {len(rows)} | {len(right)} | {right.mean():.3f} | "
              f"{right.sum() / len(flipped):.3f} | {first.mean():.3f} of {len(first)} | "
              f"{others.sum() / len(flipped):.3f} |", flush=True)  # fmt: skip


def single(pool, classes: list[str], share: float, random: np.random.Generator) -> tuple[list, set]:
    """([text, label], which of them were flipped, with that label)."""
    flipped = np.zeros(len(pool), bool)
    flipped[random.permutation(len(pool))[: round(share * len(pool))]] = True
    others = (pool.labels + random.integers(1, len(classes), len(pool))) % len(classes)
    rows = [(text, classes[i]) for (text,), i in zip(pool.texts, np.where(flipped, others, pool.labels), strict=True)]
    return rows, {row for row, yes in zip(rows, flipped, strict=True) if yes}


def several(pool, classes: list[str], share: float, random: np.random.Generator) -> tuple[list, set]:
    """([text, labels with | between], the texts of which a label was flipped, with that label)."""
    order, rows, flipped = random.permutation(len(pool)).tolist(), [], set()
    while order:
        chosen = [order.pop() for _ in range(min(len(order), random.integers(1, MOST + 1)))]
        text, own = " ".join(pool.texts[i][0] for i in chosen), {int(pool.labels[i]) for i in chosen}
        if random.random() < share:
            others = own if random.random() < 0.5 else set(range(len(classes))) - own
            label = int(random.choice(sorted(others)))
            own ^= {label}
            flipped.add((text, classes[label]))
        rows.append((text, "|".join(classes[i] for i in sorted(own))))
    return rows, flipped


def suspicious(rows: list, seed: int, task: list[str], flags: list[str]) -> tuple[list, list]:
    """(the texts and labels that the command lists, the worst first; as many by their probability alone). No text stands
    twice in the corpus."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        with open(folder / "flipped.csv", "w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *rows])
        command = [sys.executable, str(ROOT / "train.py"), *task, *(flags or ["--model", "linear", "--folds", "5"])]
        data = ["--train", "flipped.csv", "--seed", str(seed), "--out", "run", "--quiet"]
        subprocess.run([*command, *data], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        with open(folder / "run" / "suspicious.csv", encoding="utf-8", newline="") as file:
            listed = [(row["text"], row["label"]) for row in csv.DictReader(file)]
        return listed, least_probable(folder / "run", [text for text, _ in rows], len(listed))


def least_probable(run: pathlib.Path, texts: list[str], count: int) -> list[tuple[str, str]]:
    """The texts and labels whose answers, given or not, have the lowest probabilities."""
    kept, names = np.load(run / "out-of-fold.npz"), json.loads((run / "folds.json").read_text("utf-8"))["labels"]
    given = kept["labels"]
    if given.ndim == 2:
        there = sigmoid(kept["logits"])
        shares = np.where(given, there, 1 - there)  # (N, C)
        numbers = np.broadcast_to(np.arange(len(names)), given.shape)
    else:
        logits = kept["logits"] / kept["temperatures"][kept["folds"] - 1, None]
        shares, numbers = np.exp(log_softmax(logits))[np.arange(len(given)), given, None], given[:, None]  # (N, 1)
    order = np.argsort(shares, None, kind="stable")[:count]
    return [(texts[i], names[numbers[i, c]]) for i, c in zip(*np.unravel_index(order, shares.shape), strict=True)]


if __name__ == "__main__":
    main()
