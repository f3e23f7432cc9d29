"""Labels flipped on purpose, and how many of them `train.py --folds` lists as suspicious: precision and recall.

python benchmarks/label_errors.py
python benchmarks/label_errors.py --share 0.1 --seeds 1 2 3 -- --model bilstm --folds 10      other flags of train.py

The embedded corpus; the labels of a share of its training documents, drawn by the seed, become another class at random.
"""

import argparse
import csv
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from textcls.data import pydocs  # noqa: E402
from textcls.data.folds import pool_of  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=0.05, metavar="X", help="of the labels that are flipped")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1], metavar="N", help="of flips and of training")
    parser.add_argument("flags", nargs="*", metavar="FLAG", help="of train.py (default: --model linear --folds 5)")
    arguments = parser.parse_args()
    corpus = pydocs.load(seed=1)
    pool, _ = pool_of(corpus)
    print("| seed | flipped | listed | of them flipped (precision) | found (recall) | precision of the first N |")
    print("|---|---|---|---|---|---|")
    for seed in arguments.seeds:
        labels, flipped = flip(pool.labels, len(corpus.labels), arguments.share, seed)
        listed = suspicious(pool, [corpus.labels[i] for i in labels], seed, arguments.flags)
        right = flipped[listed]
        first = right[: flipped.sum()]
        print(f"| {seed} | {flipped.sum()} of {len(labels)} | {len(listed)} | {right.mean():.3f} | "
              f"{right.sum() / flipped.sum():.3f} | {first.mean():.3f} of {len(first)} |", flush=True)  # fmt: skip


def flip(labels: np.ndarray, classes: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(labels, which of them were flipped)."""
    random = np.random.default_rng(seed)
    flipped = np.zeros(len(labels), bool)
    flipped[random.permutation(len(labels))[: round(share * len(labels))]] = True
    others = (labels + random.integers(1, classes, len(labels))) % classes
    return np.where(flipped, others, labels), flipped


def suspicious(pool, labels: list[str], seed: int, flags: list[str]) -> np.ndarray:
    """The documents that the command lists, the worst first."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        with open(folder / "flipped.csv", "w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerow(["text", "label"])
            csv.writer(file).writerows((text, label) for (text,), label in zip(pool.texts, labels, strict=True))
        command = [sys.executable, str(ROOT / "train.py"), *(flags or ["--model", "linear", "--folds", "5"])]
        data = ["--train", "flipped.csv", "--seed", str(seed), "--out", "run", "--quiet"]
        subprocess.run([*command, *data], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        with open(folder / "run" / "suspicious.csv", encoding="utf-8", newline="") as file:
            texts = {text: i for i, (text,) in enumerate(pool.texts)}  # the corpus holds no text twice
            return np.array([texts[row["text"]] for row in csv.DictReader(file)], np.int64)


if __name__ == "__main__":
    main()
