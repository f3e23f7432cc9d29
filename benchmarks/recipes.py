"""Changes of a recipe, each credited alone: cross-validation inside the training documents. No test split is looked at.

python benchmarks/recipes.py --model bilstm --change "--word-dropout 0.25" --change "--pooling attention+max"
python benchmarks/recipes.py --model bert --bert FOLDER --folds 3 --seeds 1 2 --out folds.jsonl --change "--lr 5e-4"
python benchmarks/recipes.py --model bilstm --confirm --change=--scratch --change "--word-dropout 0.25"

The first row is the recipe as it is, with the flags given; each --change is a row of its own, beside these flags. A
document's fold is a function of its text. Of the documents outside a fold, --dev (a tenth) choose the epoch, the others
are trained on, as train.py does; the fold is then what the test split is there. A fifth of the documents, by another
part of the hash, is in no fold: --confirm trains on all others and measures on it, once, when the settings are chosen.
With --out finished folds are kept, and the same command goes on.
"""

import argparse
import json
import pathlib
import shlex
import sys
import tempfile
import time

import numpy as np
import torch

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
import train as script
from textcls import recipes
from textcls.config import TrainConfig
from textcls.data.corpus import Corpus, Documents, split_dev
from textcls.recipes.command import told, whole
from textcls.runtime.device import choose_precision, prepare_cpu
from textcls.runtime.files import fingerprint
from textcls.runtime.progress import silence
from textcls.tasks import TASKS, documents
from textcls.training.loop import train
from textcls.training.run import Run

FOLDS = 5
CHOICES = ("accuracy", "loss", "last")  # of the epoch: best dev accuracy, lowest dev loss, none


def main() -> None:
    arguments, flags = parse()
    prepare_cpu()
    pool = read_pool(told(flags))
    finished = Finished(arguments.out)
    changes = ["", *arguments.change]
    print(f"{pool.description}: {len(pool.train)} documents, {flags}\n\n{HEAD}", flush=True)
    rows = []
    for change in changes:
        own = flags | vars(script.arguments().parse_args(shlex.split(change)))
        folds = ["confirm"] if arguments.confirm else list(range(arguments.folds))
        rows.append([finished.get(change, own, pool, fold, seed) for fold in folds for seed in arguments.seeds])
        print(row(change, rows[-1], rows[0], arguments.choice), flush=True)


def parse() -> tuple[argparse.Namespace, dict]:
    """(what this script is told, the flags of train.py)."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--change", action="append", default=[], help="flags of train.py, as one word")
    parser.add_argument("--folds", type=int, default=FOLDS, choices=range(1, FOLDS + 1), help="how many of the five")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--confirm", action="store_true", help="measure on the documents that are in no fold")
    parser.add_argument("--choice", choices=CHOICES, default="accuracy", help="what chooses the epoch on dev")
    parser.add_argument("--out", type=pathlib.Path, help="a file that keeps what is finished")
    arguments, others = parser.parse_known_args()
    return arguments, vars(script.arguments().parse_args(others))


# ---- documents ------------------------------------------------------------------------------------------------------


def read_pool(config: TrainConfig) -> Corpus:
    """The corpus with all its training documents as `train`."""
    corpus = TASKS[config.task].load(recipes.complete(config))
    parts = corpus.train, corpus.dev
    pool = Documents(
        [text for part in parts for text in part.texts],
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.ids for part in parts]),
    )
    order = np.argsort(pool.ids, kind="stable")  # whatever the seed has drawn for dev
    return Corpus(corpus.name, corpus.description, corpus.labels, pool.take(order), None, None)


def divided(pool: Documents, fold: int | str, share: float, seed: int) -> tuple[Documents, Documents, Documents]:
    """(train, dev, documents to measure on)."""
    prints = [fingerprint(*text) for text in pool.texts]
    aside = np.array([value[1] % FOLDS == 0 for value in prints])
    inside = aside if fold == "confirm" else ~aside & np.array([value[2] % FOLDS == fold for value in prints])
    rest = ~inside if fold == "confirm" else ~inside & ~aside
    return *split_dev(pool.take(np.flatnonzero(rest)), share, seed), pool.take(np.flatnonzero(inside))


# ---- runs -----------------------------------------------------------------------------------------------------------


def run(flags: dict, pool: Corpus, fold: int | str, seed: int) -> dict:
    """What came out of one run: for each way to choose the epoch its number, accuracy and NLL on the fold."""
    config = whole(flags | {"seed": seed, "quiet": True})
    recipe, task, device = recipes.choose(config), TASKS[config.task], torch.device("cpu")
    parts = divided(pool.train, fold, config.dev_split, seed)
    corpus = Corpus(pool.name, pool.description, pool.labels, *parts)
    _, backbone = documents.prepare(lambda *_: corpus, config, recipe)
    batches = {name: task.batches(getattr(corpus, name), backbone.vocabulary, config, name)
               for name in ("train", "dev", "test")}  # fmt: skip
    torch.manual_seed(seed)
    model = recipes.build(config, backbone.dims, len(corpus.labels))
    recipes.share(config, model, backbone)
    if "begin" in recipe:
        recipe["begin"](config, model, batches, backbone.vocabulary)
    precision = choose_precision(config.amp, device, recipe["amp"])
    on_dev, on_fold = (task.evaluate(batches[name], corpus, device, precision) for name in ("dev", "test"))

    def evaluate(model) -> dict[str, float]:
        return on_dev(model) | {f"fold_{name}": value for name, value in on_fold(model).items()}

    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder, silence():
        train(model, batches["train"], task.loss(config, corpus), evaluate, config, Run(folder), device, precision,
              encoder=recipe["encoder"])  # fmt: skip
        lines = (pathlib.Path(folder) / "metrics.jsonl").read_text("utf-8").splitlines()
    history = [json.loads(line)["dev"] for line in lines]
    chosen = {
        "accuracy": max(range(len(history)), key=lambda epoch: history[epoch]["accuracy"]),
        "loss": min(range(len(history)), key=lambda epoch: history[epoch]["nll"]),
        "last": len(history) - 1,
    }
    result = {how: {"epoch": epoch + 1} | history[epoch] for how, epoch in chosen.items()}
    return result | {"seconds": time.process_time() - start, "documents": len(corpus.test)}


class Finished:
    """What was run before, in a file of one JSON object a line."""

    def __init__(self, path: pathlib.Path | None):
        self.path, self.results = path, {}
        if path is not None and path.exists():
            rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
            self.results = {row["key"]: row["result"] for row in rows}

    def get(self, change: str, flags: dict, pool: Corpus, fold: int | str, seed: int) -> dict:
        key = json.dumps([sorted(flags.items()), fold, seed])
        if key not in self.results:
            self.results[key] = run(flags, pool, fold, seed)
            if self.path is not None:
                with open(self.path, "a", encoding="utf-8") as file:
                    file.write(json.dumps({"key": key, "change": change, "result": self.results[key]}) + "\n")
        return self.results[key]


# ---- the table ------------------------------------------------------------------------------------------------------

HEAD = "| change | accuracy | difference | NLL | difference | epoch | CPU s a run |\n|---|---|---|---|---|---|---|"


def row(change: str, ours: list[dict], first: list[dict], choice: str) -> str:
    """Mean ± standard deviation over folds and seeds; of differences from the first row, fold by fold."""
    cells = [f"`{change}`" if change else "none"]
    for name in ("fold_accuracy", "fold_nll"):
        values, before = (np.array([result[choice][name] for result in results]) for results in (ours, first))
        cells += [spread(values), spread(values - before, "+") if change else ""]
    epochs, seconds = ([result[choice]["epoch"] for result in ours], [result["seconds"] for result in ours])
    return f"| {' | '.join([*cells, f'{np.mean(epochs):.1f}', f'{np.mean(seconds):.0f}'])} |"


def spread(values: np.ndarray, sign: str = "") -> str:
    return f"{values.mean():{sign}.4f}" + (f" ± {values.std(ddof=1):.4f}" if len(values) > 1 else "")


if __name__ == "__main__":
    main()
