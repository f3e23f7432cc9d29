"""The linear reference beside scikit-learn's three on the same training documents, dev documents apart.

python benchmarks/linear.py --data 20newsgroups --data-dir FOLDER
python benchmarks/linear.py --train train.csv --test test.csv

Ours is trained by train.py. Theirs read TfidfVectorizer's own features: complement naive Bayes and LinearSVC at their
defaults, logistic regression at the C of 1, 10, 100 that is best on the dev documents. Needs scikit-learn.
"""

import contextlib
import io
import json
import pathlib
import sys
import tempfile
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
import train as script
from textcls import recipes
from textcls.arguments import parser
from textcls.config import TrainConfig
from textcls.tasks.classification import load

STRENGTHS = (1, 10, 100)  # scikit-learn's C


def main() -> None:
    flags = vars(parser(__doc__, {}).parse_args()) | {"model": "linear", "quiet": True}
    corpus = load(recipes.complete(TrainConfig(**flags)))
    print(f"{corpus.description}: {len(corpus.train)} / {len(corpus.dev)} / {len(corpus.test)} documents\n")
    print("| | accuracy | NLL | CPU seconds | chosen on dev |\n|---|---|---|---|---|")
    show("linear", *ours())
    for name, row in theirs(corpus):
        show(name, *row)


def show(name: str, accuracy: float, nll: float | None, seconds: float, chosen: str) -> None:
    likelihood = "" if nll is None else f"{nll:.3f}"
    print(f"| {name} | {accuracy:.4f} | {likelihood} | {seconds:.1f} | {chosen} |", flush=True)


def ours() -> tuple[float, float, float, str]:
    """CPU seconds of the whole command, from reading to the test split."""
    start, text = time.process_time(), io.StringIO()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(text):
        out = pathlib.Path(folder) / "run"
        script.main([*sys.argv[1:], "--model", "linear", "--quiet", "--out", str(out)])
        metrics = json.loads((out / "results.json").read_text("utf-8"))["metrics"]
    chosen = next(line for line in text.getvalue().splitlines() if line.startswith("linear: "))
    seconds = time.process_time() - start
    return metrics["accuracy"]["value"], metrics["nll"]["value"], seconds, chosen.removeprefix("linear: ").split(",")[0]


def theirs(corpus):
    """(name, row) of each; CPU seconds of fitting alone."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.naive_bayes import ComplementNB
    from sklearn.svm import LinearSVC

    vectorizer = TfidfVectorizer()
    x = {"train": vectorizer.fit_transform(joined(corpus.train))}
    x |= {name: vectorizer.transform(joined(getattr(corpus, name))) for name in ("dev", "test")}
    y = {name: getattr(corpus, name).labels for name in x}
    for model in (ComplementNB(), LinearSVC()):
        start = time.process_time()
        model.fit(x["train"], y["train"])
        seconds = time.process_time() - start
        yield type(model).__name__, (model.score(x["test"], y["test"]), nll(model, x, y), seconds, "")
    start = time.process_time()
    models = [LogisticRegression(C=C, max_iter=200).fit(x["train"], y["train"]) for C in STRENGTHS]
    best = max(models, key=lambda model: model.score(x["dev"], y["dev"]))
    seconds = time.process_time() - start
    yield "LogisticRegression", (best.score(x["test"], y["test"]), nll(best, x, y), seconds, f"C {best.C:g}")


def joined(documents) -> list[str]:
    return [" ".join(text) for text in documents.texts]


def nll(model, x: dict, y: dict) -> float | None:
    if not hasattr(model, "predict_log_proba"):
        return None
    return float(-model.predict_log_proba(x["test"])[np.arange(len(y["test"])), y["test"]].mean())


if __name__ == "__main__":
    main()
