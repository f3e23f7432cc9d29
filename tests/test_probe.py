"""--model probe: logistic regression on the pooled vectors of a frozen BERT."""

import numpy as np
import pytest
import torch

import textcls
from textcls.models.probe import Probe

CLASSES = {"red": "fire rose blood brick", "blue": "sky sea ice ink", "green": "leaf grass moss frog"}
ROWS = [(f"{word} and {other}", name) for name, words in CLASSES.items() for word in words.split()
        for other in words.split()]  # fmt: skip
TEXTS = "text,label\n" + "".join(f"{text},{name}\n" for text, name in ROWS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the scripts run."""
    folder = tmp_path_factory.mktemp("probe")
    (folder / "texts.csv").write_text(TEXTS)
    return folder


@pytest.mark.parametrize("pooling", ["mean", "max", "mean+max"])
def test_logits_are_a_linear_function_of_normed_pooled_vectors(tiny_shape, pooling):
    """One text at a time, without padding."""
    torch.manual_seed(0)
    model = Probe(tiny_shape, 3, pooling).train()
    torch.nn.init.normal_(model.classifier.weight)
    ids, lengths = torch.randint(5, 60, (4, 12)), (12, 5, 1, 8)
    mask = torch.stack([(torch.arange(12) < length).long() for length in lengths])
    logits = model(ids, mask)
    for row, length in enumerate(lengths):
        hidden = model.source.bert(ids[row : row + 1, :length])[0][0].double()
        parts = {"mean": hidden.mean(0), "max": hidden.max(0).values}
        vector = torch.cat([parts[kind] for kind in pooling.split("+")])
        normed = (vector - vector.mean()) / (vector.var(unbiased=False) + model.norm.eps).sqrt()
        expected = model.classifier.weight.double() @ normed + model.classifier.bias.double()
        assert torch.allclose(logits[row].double(), expected, atol=1e-5)
    assert torch.equal(logits, model(ids, mask, features=model.source.encode(ids, mask)))
    assert [name for name, p in model.named_parameters() if p.requires_grad] == ["classifier.weight", "classifier.bias"]


def test_training_ends_near_the_optimum_of_logistic_regression(call, folder):
    """Against scikit-learn on the same vectors, with as good as no penalty. Of every three equal texts one has another
    label: the best that a function of the text can do is to say two thirds."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    rows = [(text, label) for text, name in ROWS for label in (name, name, "blue" if name == "red" else "red")]
    (folder / "thrice.csv").write_text("text,label\n" + "".join(f"{text},{name}\n" for text, name in rows))
    settings = "--model probe --train thrice.csv --dev thrice.csv --epochs 60 --max-length 16 --amp off --select loss"
    call("train", *settings.split(), "--patience", 0, "--out", "near")
    predictor = textcls.load("near")
    with torch.no_grad():
        pieces = [predictor.vocabulary.encode([text])[0].tolist() for text, _ in rows]
        begin, end = predictor.vocabulary.begin, predictor.vocabulary.end
        inputs = [torch.tensor([[*begin, *row, *end]]) for row in pieces]
        vectors = torch.cat([predictor.model.norm(predictor.model.source.encode(row)[:, 0]) for row in inputs]).numpy()
    labels = [predictor.labels.index(name) for _, name in rows]
    best = linear_model.LogisticRegression(C=1e6, max_iter=10_000).fit(vectors, labels)
    _, ours = predictor.predict([text for text, _ in rows])
    losses = [-np.log(p[np.arange(len(labels)), labels]).mean() for p in (ours, best.predict_proba(vectors))]
    entropy = np.log(3) - 2 / 3 * np.log(2)
    assert losses[1] == pytest.approx(entropy, abs=1e-3)
    assert entropy - 1e-6 <= losses[0] < entropy + 0.02
    assert predictor.predict(["sea and sky"])[0] == ["blue"]


def test_a_vector_a_text_is_kept(call, folder):
    said = call("train", *"--model probe --train texts.csv --dev 0.25 --epochs 1 --max-length 16 --out kept".split())
    assert "train: vectors of 36 texts" in said and "dev: vectors of 12 texts" in said
    files = {path.name: np.load(path) for path in (folder / "cache").glob("features-*.npy")}
    hidden = textcls.load_bert("nano").config.hidden_size
    assert (36, hidden) in {vectors.shape for vectors in files.values()}
    again = call("train", *"--model probe --train texts.csv --dev 0.25 --epochs 1 --max-length 16 --out again".split())
    assert "vectors of 36 texts, 0.00 GiB, from " in again
    saved = torch.load(folder / "kept" / "best.pt", weights_only=True)["model"]
    assert sorted(saved) == ["classifier.bias", "classifier.weight"]


def test_what_it_has_no_use_for(call):
    settings = "--model probe --train texts.csv --dev 0.25".split()
    for option in ("--dropout", "--word-dropout"):
        assert f"{option} does not apply to --model probe" in call("train", *settings, option, 0.1, status=2)
    assert "--pooling cls is not there for --model probe: mean, max, mean+max" in call(
        "train", *settings, "--pooling", "cls", status=2
    )
