"""Regression: metrics against slow references and scipy, the loss, own files with numbers, runs from data to answers."""

import itertools
import json
import math
import types

import numpy as np
import pytest
import torch

import textcls
from tests.conftest import TOPICS, equal, make_rows, results, save_tiny, stop_after, trained_once, without_clock
from textcls import recipes
from textcls.config import TrainConfig
from textcls.data import scores
from textcls.metrics.regression import Fit, Predicted, Ranked, correlation, intervals
from textcls.metrics.statistics import RESAMPLES
from textcls.models.heads import output_layer
from textcls.runtime.errors import InputError
from textcls.tasks import regression
from textcls.tasks.regression import squared_error
from textcls.text.batches import Batch
from textcls.training.run import Run

# ---- metrics --------------------------------------------------------------------------------------------------------


def draws(seed: int, n: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """(predicted, true): from seed 2 on with many ties."""
    random = np.random.default_rng(seed)
    true = random.normal(size=n)
    predicted = true + random.normal(size=n)
    return (predicted, true) if seed < 2 else (predicted.round(), (2 * true).round() / 2)


def slow_ranks(numbers) -> list[float]:
    """1 + how many are smaller, and half of the others that are equal."""
    return [1 + sum(b < a for b in numbers) + (sum(b == a for b in numbers) - 1) / 2 for a in numbers]


def slow_pearson(a, b) -> float:
    mean_a, mean_b = math.fsum(a) / len(a), math.fsum(b) / len(b)
    above = math.fsum((x - mean_a) * (y - mean_b) for x, y in zip(a, b, strict=True))
    below = math.fsum((x - mean_a) ** 2 for x in a) * math.fsum((y - mean_b) ** 2 for y in b)
    return above / math.sqrt(below)


@pytest.mark.parametrize("seed", range(4))
def test_against_definitions_one_document_at_a_time(seed):
    predicted, true = draws(seed)
    fit, errors = Fit(predicted, true), [p - t for p, t in zip(predicted, true, strict=True)]
    assert Ranked(predicted).ranks(np.ones(40)).tolist() == slow_ranks(predicted)
    assert fit.pearson() == pytest.approx(slow_pearson(predicted, true))
    assert fit.spearman() == pytest.approx(slow_pearson(slow_ranks(predicted), slow_ranks(true)))
    assert fit.mse() == pytest.approx(sum(e**2 for e in errors) / 40)
    assert fit.mae() == pytest.approx(sum(map(abs, errors)) / 40)


@pytest.mark.parametrize("seed", range(6))
def test_equals_scipy(seed):
    stats = pytest.importorskip("scipy.stats")
    predicted, true = draws(seed, 200)
    fit = Fit(predicted, true)
    assert fit.pearson() == pytest.approx(stats.pearsonr(predicted, true)[0], abs=1e-12)
    assert fit.spearman() == pytest.approx(stats.spearmanr(predicted, true)[0], abs=1e-12)


def test_equals_scikit_learn():
    theirs = pytest.importorskip("sklearn.metrics")
    predicted, true = draws(0)
    assert Fit(predicted, true).mse() == pytest.approx(theirs.mean_squared_error(true, predicted))
    assert Fit(predicted, true).mae() == pytest.approx(theirs.mean_absolute_error(true, predicted))


@pytest.mark.parametrize("seed", range(4))
def test_weights_are_repetitions(seed):
    predicted, true = draws(seed)
    weights = np.random.default_rng(9).integers(0, 4, 40)
    rows = np.repeat(np.arange(40), weights)
    fit, repeated = Fit(predicted, true), Fit(predicted[rows], true[rows])
    for name in ("spearman", "pearson", "mse", "mae"):
        assert getattr(fit, name)(weights.astype(float)) == pytest.approx(getattr(repeated, name)()), name


def test_a_constant_is_correlated_with_nothing():
    """0.1 is no sum of powers of two: its mean is not exactly 0.1. Nor may a resample draw one value alone."""
    same, other = np.full(7, 0.1), np.arange(7.0)
    for a, b in ((same, other), (other, same), (same, same)):
        assert Fit(a, b).pearson() == 0 and Fit(a, b).spearman() == 0
    weights = np.array([0, 0, 3, 0, 0, 0, 0.0])
    assert Fit(other, other).pearson(weights) == 0 and Fit(other, other).spearman(weights) == 0
    assert all(value.value == value.low == value.high == 0 for value in list(intervals(same, other).values())[:2])
    tiny = np.array([0, 1e-200, 3e-200])
    assert math.isfinite(correlation(tiny, tiny, np.ones(3)))


def test_order_is_all_that_spearman_sees():
    predicted, true = draws(0)
    assert Fit(np.exp(predicted), true**3).spearman() == pytest.approx(Fit(predicted, true).spearman())
    assert Fit(true, true).spearman() == Fit(true, true).pearson() == pytest.approx(1)
    assert Fit(-true, true).spearman() == pytest.approx(-1)


def test_intervals_are_a_loop_over_resamples():
    predicted, true = draws(2, 30)
    random, values = np.random.default_rng(5), []
    for _ in range(RESAMPLES):
        drawn = random.integers(0, 30, 30)
        fit = Fit(predicted[drawn], true[drawn])
        values.append([fit.spearman(), fit.pearson(), fit.mse(), fit.mae()])
    found = intervals(predicted, true, seed=5)
    low, high = np.percentile(values, [2.5, 97.5], axis=0)
    assert [value.low for value in found.values()] == pytest.approx(low)
    assert [value.high for value in found.values()] == pytest.approx(high)
    assert list(found) == ["spearman", "pearson", "mse", "mae"]


def test_runs_are_compared_on_the_same_draws():
    _, true = draws(0, 200)
    noise = np.random.default_rng(3).normal(size=(2, 200))
    close, far = (Predicted(Fit(true + size * noise[i], true)) for i, size in enumerate((0.3, 2.0)))
    difference, p = close.against(far)
    assert difference.value == pytest.approx(close.fit.spearman() - far.fit.spearman())
    assert 0 < difference.low < difference.value < difference.high and p == pytest.approx(2 / (1 + RESAMPLES))
    back, same_p = far.against(close)
    assert (back.value, back.low, back.high) == pytest.approx((-difference.value, -difference.high, -difference.low))
    assert same_p == p and close.against(close) == (type(difference)(0.0, 0.0, 0.0), 1.0)


# ---- loss -----------------------------------------------------------------------------------------------------------


def summed(logits, numbers, owner=None) -> torch.Tensor:
    targets = {"scores": torch.tensor(numbers)} | ({} if owner is None else {"owner": torch.tensor(owner)})
    batch = Batch({}, targets, np.arange(len(numbers)), 0, {})
    sums, carry = squared_error()(lambda **_: logits, batch, "carry")
    assert carry == "carry" and list(sums) == ["score"]
    return sums["score"]


def test_sum_of_squared_errors():
    logits = torch.tensor([[1.0], [4.0]], requires_grad=True)
    total = summed(logits, [0.5, 2.0])
    assert total.item() == pytest.approx(0.25 + 4.0)
    total.backward()
    assert logits.grad.tolist() == [[1.0], [4.0]]


def test_windows_of_a_document_are_averaged():
    assert summed(torch.tensor([[1.0], [3.0], [5.0]]), [0.5, 2.0], [0, 0, 1]).item() == pytest.approx(1.5**2 + 3.0**2)


# ---- own files ------------------------------------------------------------------------------------------------------

SKY = set(TOPICS["astronomy"].split())


def scored_rows(count: int, seed: int = 0) -> list[tuple[str, float]]:
    return [(text, sum(word in SKY for word in text.split()) / 2) for text, _ in make_rows(count, seed)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The same scores in every format, pairs, and a small BERT."""
    folder = tmp_path_factory.mktemp("regression")
    for name, count, seed in (("train", 300, 0), ("test", 60, 1)):
        rows = scored_rows(count, seed)
        lines = {"csv": ["text,label"], "tsv": ["text\tlabel"], "jsonl": []}
        lines["csv"] += [f'"{text}",{score}' for text, score in rows]
        lines["tsv"] += [f"{text}\t{score}" for text, score in rows]
        lines["jsonl"] += [json.dumps({"text": text, "label": score}) for text, score in rows]
        for ending, of_file in lines.items():
            (folder / f"{name}.{ending}").write_text("\n".join(of_file) + "\n", "utf-8")
        as_json = json.dumps([{"text": text, "label": score} for text, score in rows])
        (folder / f"{name}.json").write_text(as_json, "utf-8")
        pairs = [f"{text},{rows[-1 - i][0]},{score}" for i, (text, score) in enumerate(rows)]
        (folder / f"{name}-pairs.csv").write_text("a,b,y\n" + "\n".join(pairs) + "\n", "utf-8")
    save_tiny(folder / "tiny", [text for text, _ in scored_rows(60)])
    return folder


LSTM = "--task regression --model lstm --min-count 1 --hidden 16 --embedding 16 --batch-size 16 --lr 0.02 --quiet".split()
TRAIN = [*LSTM, *"--train train.csv --test test.csv --epochs 6 --save-every 5".split()]


def test_every_format_gives_the_same_documents(folder):
    def load(ending):
        return scores.load(str(folder / f"train.{ending}"), 0.2, str(folder / f"test.{ending}"), "text", "label", 1)

    usual = load("csv")
    assert usual.labels == ["score"] and usual.description == "train.csv (scores)"
    assert usual.facts == {"range": [usual.train.scores.min(), usual.train.scores.max()]}
    assert (len(usual.train), len(usual.dev), len(usual.test)) == (240, 60, 60)
    for ending in ("tsv", "jsonl", "json"):
        ours = load(ending)
        for split in ("train", "dev", "test"):
            a, b = getattr(ours, split), getattr(usual, split)
            assert np.array_equal(a.ids, b.ids) and a.answers([]) == b.answers([]) and a.texts == b.texts


def test_a_share_is_drawn_by_the_seed():
    pool = scores.scored("train", [("", (str(i),), float(i)) for i in range(50)])
    (train, dev), (_, same), (_, other) = (pool.hold_out(0.3, seed) for seed in (1, 1, 2))
    assert len(dev) == 15 and sorted([*train.scores, *dev.scores]) == pool.scores.tolist()
    assert np.array_equal(dev.ids, same.ids) and not np.array_equal(dev.ids, other.ids)
    assert train.scores.tolist() == sorted(train.scores) and dev.scores.tolist() == sorted(dev.scores)


@pytest.mark.parametrize("text, value", [("2.5", 2.5), ("-1e3", -1000.0), (" 4 ", 4.0), ("0", 0.0)])
def test_numbers(text, value):
    assert scores.number("f:1", text) == value


@pytest.mark.parametrize("text", ["", "much", "2,5", "nan", "inf", "1.2.3", "1_5", "5 points"])
def test_what_is_no_number_is_refused(text):
    with pytest.raises(InputError, match=rf"^f:1: score '{text}', expected a number$"):
        scores.number("f:1", text)


@pytest.mark.parametrize("content, flags, message", [
    ("text,label\na,1\nb,much\n", "", "own.csv:3: score 'much', expected a number"),
    ("text,label\na,1\nb,\n", "", "own.csv:3: the label in column 'label' is empty"),
    ("text,label\na,1\nb,1\nc,1\nd,1\n", "--dev 0.3", "every training score is 1: there is nothing to learn"),
    ("text,label\na,1\nb,2\n", "--dev 0.1", "--dev 0.1 of 2 documents leaves no dev or no training document"),
    ("text,label\na,1\nb,2\n", "--dev 1.5", "--dev 1.5: a share must lie between 0 and 1"),
    ("text,label\na,1\nb,2\n", "--label-column stars", "no column 'stars'; the columns are 'text', 'label'"),
    ("text,label\na,1\nb,2\n", "--class-weights balanced", "--class-weights goes with --task classification"),
    ("text,label\na,1\nb,2\n", "--label-smoothing 0.1", "--label-smoothing does not apply to --model lstm --task regr"),
    ("text,label\na,1\nb,2\n", "--select accuracy", "--select accuracy is not measured for --task regression: spearman"),
    ("text,label\na,1\nb,2\n", "--model linear", "--model linear is not there for --task regression"),
])  # fmt: skip
def test_bad_input(folder, call, content, flags, message):
    (folder / "own.csv").write_text(content, "utf-8")
    model = LSTM if "--model" not in flags else ["--task", "regression", "--quiet"]
    assert message in call("train", *model, "--train", "own.csv", *flags.split(), "--out", "refused", status=2)
    assert not (folder / "refused").exists()


# ---- runs -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(folder, call):
    """A trained run; what was printed is beside it."""
    return trained_once(folder, call, TRAIN)


def test_it_learns_to_count(folder, run):
    found, printed = results(folder, run), (folder / "printed").read_text("utf-8")
    metrics = {name: value["value"] for name, value in found["metrics"].items()}
    assert list(metrics) == ["spearman", "pearson", "mse", "mae"]
    assert metrics["spearman"] > 0.8
    assert found["chance"] == {"metric": "spearman", "value": 0.0, "lower_is_better": False}
    assert found["metrics"]["pearson"]["low"] < metrics["pearson"] < found["metrics"]["pearson"]["high"]
    for part in ("data: train.csv (scores); train 270, dev 30, test 60", "; scores from 0 to ", "first words: ",
                 "by dev spearman", "predicted  measured", "\nSpearman ", "\nsquared error "):  # fmt: skip
        assert part in printed, part


def test_it_evaluates_and_compares(folder, call, run):
    found = json.loads(call("evaluate", run, "--json", "--quiet"), parse_constant=pytest.fail)
    assert found["metrics"] == results(folder, run)["metrics"] and found["unit"] == "documents"
    again = json.loads(call("evaluate", run, *"--test test.jsonl --json --quiet".split()))
    assert again["data"] == "test.jsonl" and again["metrics"] == found["metrics"]
    call("train", *TRAIN, *"--seed 2 --epochs 1 --select loss --out brief".split())
    text = call("evaluate", run, "brief", "--quiet")
    assert "test Spearman" in text and " in Spearman's correlation (95 % interval " in text
    assert "different tasks" not in text and "test absolute error" in text


def test_its_seeds_are_summarised(folder, call):
    flags = [value for value in TRAIN if value not in ("--epochs", "6")]
    command = [*flags, *"--epochs 1 --seeds 1 2 --out both".split()]
    call("train", *command)
    path = folder / "both/seed-1/config.json"
    meta = json.loads(path.read_text("utf-8"))
    del meta["config"]["protocol"], meta["checksum"]  # a run from before there was this setting
    path.write_text(json.dumps(meta), "utf-8")
    text = call("train", *command)
    found = json.loads((folder / "both/seeds.json").read_text("utf-8"))
    values = [results(folder, f"both/seed-{seed}")["metrics"]["spearman"]["value"] for seed in (1, 2)]
    assert found["mean"]["spearman"] == pytest.approx(np.mean(values)) and "mean ± sd" in text


def test_it_predicts_numbers_within_the_training_range(folder, call, run):
    predictor = textcls.load(folder / run)
    texts = ["the sail", "star planet", "mast"]
    found = predictor.predict(texts)
    low, high = Run(folder / run).meta()["range"]
    assert found.dtype == np.float64 and low <= found.min() and found.max() <= high and found[1] > found[0]
    assert predictor.logits(texts).shape == (3, 1)
    for beyond, bound in ((100, high), (-100, low)):
        torch.nn.init.constant_(predictor.model.classifier.bias, beyond)
        assert predictor.predict(texts).tolist() == [bound] * 3
    assert predictor.predict([]).shape == (0,)
    with pytest.raises(InputError, match="expected a list of texts"):
        predictor.predict("a text")
    with pytest.raises(InputError, match=r"reads 1 text\(s\) a document, got 2"):
        predictor.predict([("a", "b")])


def test_it_predicts_files(folder, call, run):
    texts = ["star planet and comet", "flour", "the the moon"]
    (folder / "in.txt").write_text("\n".join(texts) + "\n", "utf-8")
    (folder / "in.csv").write_text("id,text\n" + "".join(f"1,{text}\n" for text in texts), "utf-8")
    (folder / "in.tsv").write_text("text\tid\n" + "".join(f"{text}\t1\n" for text in texts), "utf-8")
    (folder / "in.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), "utf-8")
    expected = textcls.load(folder / run).predict(texts).tolist()
    for ending in ("txt", "csv", "tsv"):
        lines = call("evaluate", run, "--predict", f"in.{ending}", "--quiet").splitlines()
        assert lines == [f"{score:.4f}" for score in expected]
    rows = [json.loads(line) for line in call("evaluate", run, "--predict", "in.jsonl", "--quiet").splitlines()]
    assert [row["score"] for row in rows] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("flags", [
    "--model bert --dropout 0.2 --lr 1e-3",
    "--model bert-bilstm --encoder tune --hidden 8 --lr 1e-3",
    "--model bert --long-documents window --max-length 8 --stride 4 --max-windows 3 --lr 1e-3",
], ids=["bert", "bert-bilstm", "windows"])  # fmt: skip
def test_resumed_in_the_middle_of_an_epoch(folder, call, monkeypatch, flags):
    """A pair, or windows: stopped and gone on with, the run is the same to the last bit."""
    pairs = "window" not in flags
    name = f"{flags.split()[1]}-{'pairs' if pairs else 'windows'}"
    data = "--train train-pairs.csv --text-column a,b --label-column y --max-length 24" if pairs else "--train train.csv"
    command = f"--task regression {flags} {data} --bert tiny --batch-size 16 --accumulate 1 --epochs 2 --save-every 5"
    call("train", *command.split(), "--quiet", "--out", name)
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        call("train", *command.split(), "--quiet", "--out", f"{name}-stopped", status=130)
    assert Run(folder / f"{name}-stopped").load("last.pt")["state"]["position"] > 0
    call("train", "--resume", f"{name}-stopped", "--quiet")
    whole, stopped = Run(folder / name), Run(folder / f"{name}-stopped")
    assert equal(whole.load("best.pt"), stopped.load("best.pt"))
    assert equal(without_clock(whole.load("last.pt")), without_clock(stopped.load("last.pt")))


def test_it_is_no_member_of_an_ensemble(folder, call, run):
    call("train", *TRAIN, *"--seed 3 --epochs 1 --out third".split())
    assert "a run of --task regression; an ensemble combines classifiers" in call("ensemble", run, "third", status=2)


def test_micro_batches_are_one_batch():
    """Losses are sums: those of two halves add up to that of the whole, gradients too."""
    torch.manual_seed(0)
    linear, inputs, numbers = torch.nn.Linear(4, 1), torch.randn(6, 4), torch.randn(6)
    gradients = []
    for parts in ([slice(0, 6)], [slice(0, 2), slice(2, 6)]):
        linear.zero_grad()
        for part in parts:
            (summed(linear(inputs[part]), numbers[part].tolist()) / 6).backward()
        gradients.append([p.grad.clone() for p in linear.parameters()])
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize("model", [model for model, task in recipes.RECIPES if task == "regression"])
def test_the_output_begins_at_the_mean(model):
    """The bias of the layer that gives the score, and nothing else, whatever the model's layers are called."""
    torch.manual_seed(0)
    config = recipes.complete(TrainConfig(model=model, task="regression", train="x.csv"))
    network = recipes.build(config, recipes.dims(config), 1).eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    batches = types.SimpleNamespace(labels=np.array([1.0, 2.0, 6.0]))
    said = recipes.choose(config)["begin"](config, network, {"train": batches}, None)
    changed = [name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])]
    assert len(changed) == 1 and network.state_dict()[changed[0]].tolist() == [3.0]
    assert said == "regression: the output begins at 3, the mean of the training scores"
    with torch.no_grad():
        ids = torch.randint(5, 90, (4, 9))
        before_that = network(ids)
        network.state_dict()[changed[0]].zero_()
        assert torch.allclose(before_that - network(ids), torch.tensor(3.0), atol=1e-5)


def test_no_row_has_a_setting_that_the_task_lacks():
    for (model, task), bert in itertools.product(recipes.RECIPES, ("nano", "x")):
        if task == "regression":
            config = recipes.complete(TrainConfig(model=model, task=task, train="x.csv", bert=bert))
            assert config.label_smoothing is None and config.select == "spearman"


def test_a_score_is_not_rounded_by_autocast():
    """bf16 has three digits: of scores from 0 to 5 many would be equal, and ties are half the order."""
    x = torch.randn(64, 16)
    layer = output_layer(16, 1)
    torch.nn.init.constant_(layer.bias, 3.0)
    exact = x @ layer.weight[0] + 3.0
    with torch.autocast("cpu", torch.bfloat16):
        score = layer(x)[:, 0]
        assert output_layer(16, 2)(x).dtype == torch.bfloat16
    assert score.dtype == torch.float32 and torch.allclose(score, exact, atol=1e-5, rtol=0)
    assert len(exact.bfloat16().unique()) < len(score.unique()) == 64


@pytest.mark.parametrize("score, text", [
    (0.0, "0.0000"), (2.5, "2.5000"), (1234567.89, "1234567.8900"), (-0.001, "-0.0010"), (7.891234e-6, "7.891e-06"),
])  # fmt: skip
def test_small_scores_are_not_printed_as_nothing(score, text):
    assert regression.in_digits(score) == text


@pytest.mark.parametrize("text", ["1e39", "-1e19", "1e18000"])
def test_a_score_whose_square_is_no_float32(text):
    with pytest.raises(InputError, match="f:1: score '.*', expected a number"):
        scores.number("f:1", text)
