"""The end of a run: its linear reference, the average of the two fitted on dev, and what is said of them."""

import numpy as np
import pytest

import textcls
from tests.conftest import make_rows, write_csv
from textcls.metrics.statistics import mcnemar
from textcls.training.run import Run

LSTM = "--model lstm --epochs 2 --embedding 8 --hidden 8 --lr 0.03 --min-count 1 --quiet".split()
FILES = "--train train.csv --dev dev.csv --test test.csv".split()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reference")
    for seed, (name, count) in enumerate((("train", 60), ("dev", 40), ("test", 50))):
        write_csv(folder / f"{name}.csv", make_rows(count, seed))
    return folder


@pytest.fixture
def first(folder, call):
    """What the first run prints."""
    if not (folder / "printed.txt").exists():
        (folder / "printed.txt").write_text(call("train", *LSTM, *FILES, "--out", "run"), "utf-8")
    return (folder / "printed.txt").read_text("utf-8")


def log_probabilities(run, texts) -> np.ndarray:
    return np.log(textcls.load(run).predict(texts)[1].astype(np.float64).clip(1e-30))


def rows_of(path, labels):
    rows = [line.rsplit(",", 1) for line in path.read_text("utf-8").splitlines()[1:]]
    return [text.strip('"') for text, _ in rows], np.array([labels.index(label) for _, label in rows])


def test_the_average_is_the_best_on_dev_and_shown_on_test(folder, first):
    """Against a search over a grid of both weights, written here; the dev documents alone decide."""
    labels = textcls.load(folder / "run").labels
    parts = {}
    for name in ("dev", "test"):
        texts, true = rows_of(folder / f"{name}.csv", labels)
        parts[name] = [log_probabilities(folder / run, texts) for run in ("run", "run/linear")], true

    def loss(weights, name):
        logs, true = parts[name]
        mixed = sum(weight * log for weight, log in zip(weights, logs, strict=True))
        mixed -= np.log(np.exp(mixed).sum(1, keepdims=True))
        return -mixed[np.arange(len(true)), true].mean(), mixed.argmax(1) == true

    said = next(line for line in first.splitlines() if line.startswith("their weighted average: "))
    words = said.split()
    weights = float(words[5]), float(words[8])
    assert words[6] == "run" and words[9] == "run/linear," and said.endswith("fitted on the 40 dev documents")

    def ridged(pair):
        return loss(pair, "dev")[0] + 1e-3 * sum(weight**2 for weight in pair)

    grid = np.arange(-0.5, 8, 0.25)
    assert ridged(weights) <= min(ridged((a, b)) for a in grid for b in grid) + 1e-4
    nll, right = loss(weights, "test")
    row = next(line for line in first.splitlines() if line.startswith("their weighted average  "))
    assert f" {right.mean():.4f} [" in row and float(row.split("] ")[2].split()[0]) == pytest.approx(nll, abs=0.01)
    own, linear = (log.argmax(1) == parts["test"][1] for log in parts["test"][0])
    p = [mcnemar(*pair)[2] for pair in ((right, own), (right, linear), (own, linear))]
    order = np.argsort(p, kind="stable")
    held = np.maximum.accumulate([min(1.0, p[i] * (3 - rank)) for rank, i in enumerate(order)])  # Holm (1979)
    sentences = [line for line in first.splitlines() if " in accuracy (95 % interval" in line]
    starts = ["their weighted average is ", "their weighted average is ", "run is "]
    assert [line.startswith(start) for line, start in zip(sentences, starts, strict=True)] == [True] * 3
    for rank, i in enumerate(order):
        assert f", p = {held[rank]:.2g})" in sentences[i]


def test_what_is_said_to_do_next_works(folder, call, first):
    *_, average = first.splitlines()
    command = average.removeprefix("their average, to keep: python ensemble.py ").split()
    assert command == ["run", "run/linear"]  # there is no backbone to be larger
    text = call("ensemble", *command, "--out", "kept", "--quiet")
    row = next(line for line in first.splitlines() if line.startswith("their weighted average  "))
    kept = next(line for line in text.splitlines() if line.startswith("weighted ensemble  "))
    assert row.split()[3:] == kept.split()[2:]


def test_a_larger_backbone_is_named_with_the_same_data(folder, call):
    text = call("train", *"--model bilstm --epochs 1 --lr 0.01 --max-length 16 --out nano --quiet".split(), *FILES)
    line = text.splitlines()[-1]
    files = " ".join(FILES)
    assert line == (
        f"a larger backbone: python train.py --model bert --bert bert-base-uncased --max-length 16 {files}"
    )


def test_a_run_that_goes_on_says_so_too(folder, call, first):
    text = call("train", "--resume", "run", "--quiet")
    assert "their weighted average: of log-probabilities" in text and "to keep" not in text


def test_of_other_documents_there_is_no_average(folder, call, first):
    splits = Run(folder / "run/linear").splits()
    facts = folder / "run/linear/splits.npz"
    kept = facts.read_bytes()
    np.savez(facts, **(splits | {"train": splits["train"] + np.uint64(1)}))
    text = call("train", "--resume", "run", "--quiet")
    facts.write_bytes(kept)
    assert "no reference" in text and "weighted" not in text
