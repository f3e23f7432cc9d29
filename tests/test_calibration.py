"""Temperature, reliability and what is left unanswered: against slow references, and scikit-learn where it has them."""

import json
import os
import pathlib

import numpy as np
import pytest
import torch

import textcls
from tests.conftest import make_rows, write_csv
from textcls.data.corpus import Corpus, documents
from textcls.explain import explain
from textcls.metrics.calibration import Selective, fit_temperature, nll, reliability
from textcls.metrics.classification import Scores
from textcls.metrics.statistics import wilson
from textcls.runtime.errors import InputError
from textcls.tasks import probabilities
from textcls.training.run import Run

RANDOM = np.random.default_rng(0)


def drawn(count: int, classes: int, temperature: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose labels were drawn from softmax(logits / temperature)."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 3, (count, classes))
    shares = torch.from_numpy(logits / temperature).softmax(1).numpy()
    return logits, np.array([random.choice(classes, p=row) for row in shares])


# ---- temperature ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_the_temperature_is_that_of_a_slow_search(temperature):
    logits, labels = drawn(800, 5, temperature)

    def loss(T: float) -> float:  # with one document more, which has every label of every document alike
        logs = torch.from_numpy(logits / T).log_softmax(1)
        return float(-logs[range(800), labels].sum() - logs.mean())

    low, high = 0.05, 20.0
    for _ in range(200):  # golden section
        a, b = high - (high - low) * 0.618034, low + (high - low) * 0.618034
        low, high = (low, b) if loss(a) < loss(b) else (a, high)
    fitted = fit_temperature(logits, labels)
    assert fitted == pytest.approx((low + high) / 2, rel=1e-5)
    assert fitted == pytest.approx(temperature, rel=0.1)


@pytest.mark.parametrize("seed", range(20))
def test_the_likelihood_is_never_worse(seed):
    """Few documents, labels that have nothing to do with the logits, huge and tiny logits."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 10.0 ** random.integers(-4, 4), (int(random.integers(1, 30)), 3)).astype(np.float32)
    labels = random.integers(0, 3, len(logits))
    T = fit_temperature(logits, labels)
    assert 0.01 <= T <= 100 and nll(logits / T, labels) <= nll(logits, labels)


def test_without_an_error_the_temperature_stays_above_0():
    logits = np.eye(3)[[0, 1, 2] * 20] * 2
    T = fit_temperature(logits, logits.argmax(1))
    assert 0.1 < T < 1  # sharper, and no more than the one document that is all of them allows
    assert fit_temperature(logits, (logits.argmax(1) + 1) % 3) == pytest.approx(100)  # always wrong: as flat as can be


def test_what_is_fitted_stays_as_it_is():
    logits, labels = drawn(500, 4, 2.0)
    scaled = logits / fit_temperature(logits, labels)
    assert fit_temperature(scaled, labels) == pytest.approx(1, abs=1e-6)


# ---- reliability ----------------------------------------------------------------------------------------------------


def test_reliability_adds_up_to_the_ece():
    logits, labels = drawn(700, 3, 1.7)
    scores = Scores(logits, labels)
    bins = reliability(scores)
    assert sum(part.documents for part in bins) == 700
    gaps = sum(part.documents * abs(part.confidence - part.accuracy.value) for part in bins)
    assert gaps / 700 == pytest.approx(scores.ece(), abs=1e-12)
    for part in bins:
        inside = (scores.confidence > part.low) & (scores.confidence <= part.high)
        assert inside.sum() == part.documents
        assert scores.correct[inside].mean() == pytest.approx(part.accuracy.value)


def test_reliability_is_that_of_scikit_learn():
    calibration_curve = pytest.importorskip("sklearn.calibration").calibration_curve
    logits, labels = drawn(700, 3, 1.7)
    scores = Scores(logits, labels)
    shares, means = calibration_curve(scores.correct, scores.confidence, n_bins=15)
    bins = reliability(scores)
    assert [part.accuracy.value for part in bins] == pytest.approx(shares)
    assert [part.confidence for part in bins] == pytest.approx(means)


@pytest.mark.parametrize("right, count", [(0, 5), (5, 5), (1, 7), (40, 100), (999, 1000)])
def test_wilson_holds_the_shares_that_a_score_test_does_not_refuse(right, count):
    """The interval is the shares p with |right / count - p| <= 1.96 sd of p."""
    p = np.linspace(0, 1, 200_001)
    held = p[np.abs(right / count - p) <= 1.959963984540054 * np.sqrt(p * (1 - p) / count) + 1e-12]
    found = wilson(right, count)
    assert (found.value, found.low, found.high) == pytest.approx((right / count, held.min(), held.max()), abs=1e-5)
    assert (wilson(0, 0).low, wilson(0, 0).high) == (0.0, 1.0)


# ---- leaving documents unanswered -----------------------------------------------------------------------------------


def slow_reaching(confidence, correct, accuracy: float) -> float | None:
    """The lowest threshold from which on answers are this accurate."""
    for threshold in sorted(set(confidence)):
        answered = confidence >= threshold
        if correct[answered].mean() >= accuracy:
            return float(threshold)
    return None


@pytest.mark.parametrize("seed", range(10))
def test_thresholds_are_those_of_a_slow_search(seed):
    random = np.random.default_rng(seed)
    confidence = np.round(random.uniform(0.3, 1, 60), 1 + seed % 3)  # with equal ones
    correct = random.uniform(size=60) < confidence
    answers = Selective(confidence, correct)
    for accuracy in (0.5, 0.8, 0.9, 0.95, 1.0):
        found, expected = answers.reaching(accuracy), slow_reaching(confidence, correct, accuracy)
        assert (found and found[0]) == expected
        if found:
            threshold, (count, right) = found
            assert count == (confidence >= threshold).sum() and right.value == correct[confidence >= threshold].mean()
    for share in (0.01, 0.5, 0.9, 1.0):
        threshold, (count, _) = answers.covering(share)
        assert count >= share * 60 and (confidence > threshold).sum() < share * 60
    assert answers.at(0.0)[0] == 60 and answers.at(1.1)[0] == 0


def test_aurc_is_the_mean_over_all_orders_of_equals():
    confidence, correct = np.array([0.9, 0.9, 0.9, 0.5, 0.4, 0.4]), np.array([1, 0, 1, 0, 1, 0], bool)
    values = []
    for _ in range(20_000):
        order = np.lexsort((RANDOM.random(6), -confidence))
        values.append(((~correct[order]).cumsum() / np.arange(1, 7)).mean())
    assert Selective(confidence, correct).aurc() == pytest.approx(np.mean(values), abs=3e-3)


def test_aurc_without_equals_is_its_definition():
    confidence, correct = RANDOM.random(50), RANDOM.random(50) < 0.7
    order = np.argsort(-confidence)
    expected = np.mean([(~correct[order[:k]]).mean() for k in range(1, 51)])
    assert Selective(confidence, correct).aurc() == pytest.approx(expected)


# ---- in a run -------------------------------------------------------------------------------------------------------


def test_documents_that_were_seen_are_not_fitted_on():
    train = documents("train", [("a",), ("b",)], [0, 1])
    dev = documents("dev", [("a",), ("c",), ("d",)], [0, 1, 0])
    assert probabilities.unseen(Corpus("", "", [], train, dev, None)).tolist() == [False, True, True]
    test = dev.take(np.array([1]))
    assert probabilities.unseen(Corpus("", "", [], train, dev, test)).tolist() == [False, False, True]


def test_few_documents_change_nothing():
    logits, labels = drawn(probabilities.FEWEST, 3, 3.0)
    assert probabilities.fit(logits, labels)["temperature"] > 1.5
    values = probabilities.fit(logits[1:], labels[1:])
    assert values["temperature"] == 1 and values["nll"]["before"] == values["nll"]["after"]
    assert "temperature 1: 49 dev documents settle no other" in probabilities.sentence(values)


def test_what_may_be_chance_changes_nothing():
    """Of labels that follow the probabilities as they are, 5 % of all tests say otherwise."""
    kept = [probabilities.fit(*drawn(200, 3, 1.0, seed))["temperature"] != 1 for seed in range(200)]
    assert 2 <= sum(kept) <= 20
    assert all(probabilities.fit(*drawn(200, 3, 2.0, seed))["temperature"] > 1.3 for seed in range(20))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("calibration")
    rows = make_rows(300)
    rows = [(text, label if i % 9 else rows[i - 1][1]) for i, (text, label) in enumerate(rows)]  # some are wrong
    write_csv(folder / "train.csv", rows[:150])
    write_csv(folder / "test.csv", rows[150:])
    return folder


FLAGS = "--train train.csv --test test.csv --dev 0.5 --epochs 2 --lr 5e-3 --hidden 8 --embedding 12 --quiet".split()


@pytest.fixture
def run(call, folder):
    if not (folder / "run").exists():
        text = call("train", "--model", "bilstm-scratch", *FLAGS, "--out", "run")
        assert "fitted on 75 dev documents: there NLL" in text or "fitted on 7" in text
    return "run"


def test_a_runs_temperature_is_that_of_its_dev_logits(call, run, folder):
    predictor = textcls.load(run)
    corpus = textcls.tasks.TASKS["classification"].load(predictor.config)
    usable = probabilities.unseen(corpus)
    texts = [text for text, keep in zip(corpus.dev.texts, usable, strict=True) if keep]
    logits, labels = predictor.logits(texts), corpus.dev.labels[usable]
    values = predictor.run.calibration()
    assert predictor.temperature == values["temperature"] == pytest.approx(fit_temperature(logits, labels), rel=1e-4)
    assert values["nll"]["after"] == pytest.approx(nll(logits / predictor.temperature, labels), rel=1e-4)
    assert values["nll"]["after"] < values["nll"]["before"]
    _, shares = predictor.predict(texts)
    assert shares.max(1) == pytest.approx(values["confidence"], abs=1e-5)
    scaled = torch.from_numpy(logits / predictor.temperature).double()
    assert shares == pytest.approx(scaled.softmax(1).numpy(), abs=1e-6)
    test = Scores(predictor.logits(corpus.test.texts) / predictor.temperature, corpus.test.labels)
    found = json.loads(call("evaluate", run, "--json", "--quiet"))
    assert found["metrics"]["nll"]["value"] == pytest.approx(test.nll(), rel=1e-5)
    assert found == found | {"metrics": predictor.run.results()["metrics"]}


def test_evaluation_says_how_sure_and_how_right(call, run):
    text = call("evaluate", run, "--quiet", "--threshold", "0.6")
    assert all(head in text for head in ("right [95 % interval]", "from probability", "AURC", ", as asked"))
    found = json.loads(call("evaluate", run, "--json", "--quiet", "--threshold", "0.6"))["probabilities"]
    assert f"temperature {found['temperature']:.3f}: NLL" in text
    assert found["coverage"][0]["answered"] == 150 >= found["at_threshold"]["answered"]


@pytest.mark.parametrize("kind", ["lines", "jsonl"])
def test_what_is_not_sure_enough_has_an_empty_label(call, run, folder, kind):
    texts = ["star planet orbit moon", "the of a", "flour star"]
    lines = [json.dumps({"text": text}) if kind == "jsonl" else text for text in texts]
    (folder / "in.txt").write_text("\n".join(lines) + "\n", "utf-8")
    labels, shares = textcls.load(run).predict(texts)
    threshold = float(np.sort(shares.max(1))[1])
    text = call("evaluate", run, "--predict", "in.txt", "--format", kind, "--threshold", threshold)
    expected = [label if row.max() >= threshold else "" for label, row in zip(labels, shares, strict=True)]
    found = [json.loads(line)["labels"][0] if kind == "jsonl" else line.split("\t")[0] for line in text.splitlines()]
    assert found == expected and expected.count("") == 1
    predictor = textcls.load(run)
    predictor.threshold = threshold
    assert predictor.predict(texts)[0] == expected


def test_rows_of_a_file_have_an_empty_label_too(call, run, folder):
    (folder / "rows.csv").write_text("id,text\n1,star planet orbit moon\n2,the of a\n", "utf-8")
    _, shares = textcls.load(run).predict(["star planet orbit moon", "the of a"])
    threshold = float(shares.max(1).mean())
    call("evaluate", run, "--predict", "rows.csv", "--out", "done.csv", "--threshold", threshold, "--quiet")
    rows = [line.split(",") for line in (folder / "done.csv").read_text("utf-8").splitlines()[1:]]
    assert [bool(row[2]) for row in rows] == [value >= threshold for value in shares.max(1)]
    assert [float(row[3]) for row in rows] == pytest.approx(shares.max(1), abs=1e-5)


@pytest.mark.parametrize("by", ["leave-one-out", "gradients"])
def test_explanations_tell_the_same_probability(run, by):
    predictor = textcls.load(run)
    predictor.temperature = 2.5
    found = next(iter(explain(predictor, ["star planet orbit moon"], by)))
    assert found.value == pytest.approx(predictor.predict(["star planet orbit moon"])[1].max(), abs=1e-6)


def test_a_threshold_for_an_accuracy(call, run, folder):
    values = Run(run).calibration()
    expected = slow_reaching(np.array(values["confidence"]), np.array(values["right"]), 0.9)
    threshold, sentence = probabilities.threshold_for(Run(run), 0.9)
    assert threshold == expected and f"probability of {threshold:.4f} on, which on" in sentence
    assert sentence in call("evaluate", run, "--quiet", "--target-accuracy", "0.9")
    (folder / "in.txt").write_text("the of a\n", "utf-8")
    call("evaluate", run, "--predict", "in.txt", "--target-accuracy", "0.9")
    values["right"] = [0] * len(values["right"])
    with pytest.raises(InputError, match="is not reached at any threshold on its"):
        probabilities.threshold_for(type("None", (), {"calibration": lambda self: values, "folder": run})(), 0.9)


def test_what_is_kept_is_never_above_what_it_was():
    """Else a threshold of 1 would leave out every answer of a model that is very sure."""
    logits = np.array([[16.0, 0.0], [15.5, 0.0], [0.0, 14.0], [0.7, 0.0]])
    kept = np.array(probabilities.fit(logits, np.array([0, 0, 1, 1]), fixed=True)["confidence"])
    confidence = Scores(logits, np.array([0, 0, 1, 1])).confidence
    assert (kept <= confidence).all() and (kept > confidence - 2e-6).all() and confidence[0] > 1 - 5e-7


@pytest.mark.parametrize("flags, error", [
    ("--threshold 1.5", "--threshold 1.5: must be above 0 and at most 1"),
    ("--target-accuracy 0", "--target-accuracy 0: must be above 0"),
    ("--threshold 0.5 --target-accuracy 0.9", "leave out --threshold"),
    ("--target-accuracy 0.9 --explain in.txt", "--target-accuracy goes with --predict without --top-k"),
    ("--threshold 0.5 --predict in.txt --top-k 2", "--threshold goes with --predict without --top-k"),
])  # fmt: skip
def test_flags(call, run, flags, error):
    assert error in call("evaluate", run, *flags.split(), status=2)


def test_damage_is_told_and_mended(call, run, folder):
    path = folder / run / "calibration.json"
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'"documents": 7', b'"documents": 8'))
    error = call("evaluate", run, status=2)
    assert "calibration.json: damaged" in error and f"python train.py --resume {run}" in error
    path.unlink()
    assert textcls.load(run).temperature == 1
    assert "has no calibration.json" in call("evaluate", run, "--target-accuracy", "0.9", status=2)
    call("train", "--resume", run, "--quiet")
    assert path.read_bytes() == whole
    values = json.loads(whole)
    path.write_text(json.dumps({name: value for name, value in values.items() if name != "checksum"} | {"run": "x"}))
    assert "that of another run" in call("evaluate", run, status=2)
    path.write_bytes(whole)


def test_dev_documents_that_are_training_documents_give_no_temperature(call, folder):
    flags = "--train train.csv --dev train.csv --test test.csv --model linear --quiet --out seen".split()
    assert "no dev document that was neither trained on" in call("train", *flags)
    assert not os.path.exists(folder / "seen" / "calibration.json") and textcls.load("seen").temperature == 1


@pytest.mark.parametrize("combine", ["learned", "weighted"])
def test_ensembles_have_their_own(call, run, combine):
    text = call("ensemble", run, f"{run}/linear", "--combine", combine, "--out", f"both-{combine}", "--quiet")
    assert "learned ensemble: temperature" in text
    predictor = textcls.load(f"both-{combine}")
    values = predictor.run.calibration()
    assert predictor.temperature == values["temperature"]
    assert values["documents"] == (15 if combine == "learned" else 75)  # those that no weight was fitted on
    probabilities.threshold_for(predictor.run, 0.1)
    logits = predictor.logits(["a star"]) / predictor.temperature
    assert predictor.predict(["a star"])[1] == pytest.approx(torch.from_numpy(logits).softmax(1).numpy(), abs=1e-6)
    assert predictor.members[0].predictor.temperature != 1  # which what is combined has not
    plain = [member.logits(["a star"]) for member in predictor.members]
    assert np.array_equal(predictor.logits(["a star"]), predictor.combine(plain))


def test_ways_to_combine_are_cross_validated(call, run, monkeypatch):
    """benchmarks/combine.py, which stands on ensemble.py."""
    monkeypatch.syspath_prepend(pathlib.Path(__file__).parent.parent / "benchmarks")
    import combine

    members = [run, f"{run}/linear"]
    found = combine.cross_validated(members)
    assert list(found) == [*combine.WAYS, *members]
    corpus = textcls.tasks.TASKS["classification"].load(textcls.load(run).config)
    for name in members:
        right, losses = found[name]
        scores = Scores(textcls.load(name).logits(corpus.dev.texts), corpus.dev.labels)
        assert np.array_equal(right, scores.correct) and losses == pytest.approx(scores.losses, abs=1e-4)
