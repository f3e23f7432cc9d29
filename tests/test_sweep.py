"""A search: learning rates x seeds, selected on dev and never on test; stopped and gone on with; every task."""

import json
import math
import random
import shutil

import numpy as np
import pytest

import train
from tests.conftest import equal, make_rows, save_tiny, stop_after, without_clock, write_csv
from textcls import sweep
from textcls.metrics.seeds import collapsed, over_seeds, spreads
from textcls.report import search
from textcls.runtime.errors import InputError
from textcls.training.run import Run
from textcls.training.tally import is_better, selected

LINEAR = "--model linear --epochs 2 --train train.csv --dev dev.csv --test test.csv --quiet".split()
LSTM = [*"--model lstm --embedding 8 --hidden 4 --epochs 2 --batch-size 16 --quiet".split(),
        *"--train train.csv --dev dev.csv".split()]  # fmt: skip
TESTED = [*LSTM, "--test", "test.csv"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Train, dev and test files of three tasks."""
    folder = tmp_path_factory.mktemp("sweep")
    rng = random.Random(0)
    for name, count, seed in (("train", 60, 0), ("dev", 15, 1), ("test", 30, 2)):
        write_csv(folder / f"{name}.csv", make_rows(count, seed))
        sentences = [rng.choices(["ada", "turin", "the", "ship", "saw"], k=rng.randint(2, 8)) for _ in range(count)]
        kinds = {"ada": "B-PER", "turin": "B-LOC"}
        lines = [[f"{word}\t{kinds.get(word, 'O')}" for word in words] for words in sentences]
        (folder / f"{name}.conll").write_text("\n\n".join(map("\n".join, lines)) + "\n", "utf-8")
        (folder / f"{name}.txt").write_text("\n".join(map(" ".join, sentences)) + "\n", "utf-8")
        documents = ("\n".join(3 * [" ".join(words)]) for words in sentences)
        (folder / f"{name}.docs").write_text("\n\n".join(documents) + "\n", "utf-8")
    (folder / "tiny").mkdir()
    save_tiny(folder / "tiny", ["ada turin the ship saw"])
    return folder


@pytest.fixture
def searched(folder, call):
    """(the words of the command, its folder), trained: two rates, two seeds."""
    out = folder / "searched"
    flags = [*LINEAR, *"--lr 1e-8 0.5 --seeds 1 2".split()]
    if not out.exists():
        call("train", *flags, "--out", "searched")
    shutil.rmtree(folder / "copy", ignore_errors=True)
    shutil.copytree(out, folder / "copy")
    return [*flags, "--out", "copy"], folder / "copy"


def kept(folder) -> dict:
    return json.loads((folder / "search.json").read_text("utf-8"), parse_constant=pytest.fail)  # NaN is no JSON


def say_dev(run, value: float, name: str = "accuracy") -> None:
    """Let a run have had this dev metric in all its epochs."""
    rows = Run(run).metrics()
    Run(run).write_metrics([row | {"dev": row["dev"] | {name: value}} for row in rows])


def say_test(run, value: float) -> None:
    result = Run(run).results()
    result["metrics"]["accuracy"]["value"] = value
    Run(run).write_results(result)


def dev_of(run, name: str, best=max) -> float:
    return best(json.loads(line)["dev"][name] for line in (run / "metrics.jsonl").read_text("utf-8").splitlines())


# ---- what is selected -----------------------------------------------------------------------------------------------


def test_a_search_trains_all_and_selects_on_dev(searched, call):
    flags, out = searched
    text, found = call("train", *flags), kept(out)
    names = [f"copy/lr-{rate}/seed-{seed}" for rate in (1e-08, 0.5) for seed in (1, 2)]
    assert [run["run"] for run in found["runs"]] == names
    for run in found["runs"]:
        settings = Run(run["run"]).meta()["config"]
        assert (settings["lr"], settings["seed"]) == (run["lr"], run["seed"]) and isinstance(settings["lr"], float)
        assert run["dev"] == dev_of(out.parent / run["run"], "accuracy")
        result = json.loads((out.parent / run["run"] / "results.json").read_text("utf-8"))
        assert run["test"] == {name: value["value"] for name, value in result["metrics"].items()}
    means = [np.mean([run["dev"] for run in found["runs"] if run["lr"] == rate]) for rate in (1e-08, 0.5)]
    assert [rate["mean"] for rate in found["rates"]] == pytest.approx(means)
    assert found["selected"] == (1e-08, 0.5)[int(np.argmax(means))]
    own = [run["test"]["accuracy"] for run in found["runs"] if run["lr"] == found["selected"]]
    assert found["test"]["mean"]["accuracy"] == pytest.approx(np.mean(own))
    assert found["test"]["sd"]["accuracy"] == pytest.approx(np.std(own, ddof=1))
    assert f"--lr {found['selected']} on test" in text and "mean dev accuracy" in text and "copy/search.json" in text
    assert sum(line.startswith(("1e-08", "0.5 ")) for line in text.splitlines()) == 4 + 2
    assert "accuracy  " in call("evaluate", names[-1], "--quiet")  # each is a run like any other


def test_the_test_split_decides_nothing(searched, call):
    flags, out = searched
    for rate, dev, test in ((1e-08, 0.9, 0.1), (0.5, 0.8, 1.0)):
        for seed in (1, 2):
            say_dev(out / f"lr-{rate}/seed-{seed}", dev)
            say_test(out / f"lr-{rate}/seed-{seed}", test)
    text = call("train", *flags)
    assert kept(out)["selected"] == 1e-08 and kept(out)["test"]["mean"]["accuracy"] == pytest.approx(0.1)
    assert "--lr 1e-08 on test" in text


def test_the_mean_over_seeds_decides_and_not_the_best_seed(searched, call):
    flags, out = searched
    for rate, values in ((1e-08, (0.7, 0.7)), (0.5, (1.0, 0.3))):
        for seed, value in zip((1, 2), values, strict=True):
            say_dev(out / f"lr-{rate}/seed-{seed}", value)
    call("train", *flags)
    assert kept(out)["selected"] == 1e-08
    assert kept(out)["rates"][1]["sd"] == pytest.approx(np.std([1.0, 0.3], ddof=1))


def test_of_equal_rates_the_first_given_wins(searched, call):
    flags, out = searched
    scores = {1e-08: (0.1, 0.7), 0.5: (0.7, 0.1)}
    for rate, values in scores.items():
        for seed, value in zip((1, 2), values, strict=True):
            say_dev(out / f"lr-{rate}/seed-{seed}", value)
    call("train", *flags)
    assert kept(out)["selected"] == 1e-08
    at = flags.index("1e-8")
    call("train", *flags[:at], "0.5", "1e-8", *flags[at + 2 :])
    assert kept(out)["selected"] == 0.5


def test_sums_in_another_order_are_equal():
    """What is the same score for other seeds is no better for the order of the seeds."""
    assert 0.1 + 0.2 + 0.3 > 0.3 + 0.2 + 0.1  # in floating point
    scores = {1.0: (0.3, 0.2, 0.1), 2.0: (0.1, 0.2, 0.3)}
    records = [{"lr": rate, "dev": dev} for rate, values in scores.items() for dev in values]
    rates = over_seeds(records)
    assert rates[0]["mean"] == rates[1]["mean"] and sweep.best_rate(rates, "accuracy") == 1.0


@pytest.mark.parametrize("select, best", [("accuracy", 0.2), ("macro_f1", 0.2), ("loss", 0.1)])
def test_of_losses_the_lower_is_better(select, best):
    rates = [{"lr": lr, "mean": mean} for lr, mean in ((0.3, None), (0.1, 0.4), (0.2, 0.6), (0.4, 0.5))]
    assert sweep.best_rate(rates, select) == best
    assert sweep.best_rate(rates[:1], select) is None


@pytest.mark.parametrize("select", ["loss", "accuracy"])
def test_an_epoch_without_a_number_is_the_best_only_where_there_is_no_other(tmp_path, select):
    """What is not finite is null in the file: the run and who reads it choose alike."""
    rows = [{"dev": {"nll": value, "accuracy": value}} for value in (math.nan, math.nan, 0.5, math.nan)]
    Run(tmp_path).write_metrics(rows)
    assert sweep.best_epoch(Run(tmp_path), select)["nll"] == 0.5
    best = None
    for number, row in enumerate(rows):
        if is_better(selected(row, select), best, select):
            best, chosen = selected(row, select), number
    assert chosen == 2
    Run(tmp_path).write_metrics(rows[:2])
    assert math.isnan(sweep.best_epoch(Run(tmp_path), select)["nll"])


def test_the_best_epoch_counts(tmp_path):
    """As the run itself chose it: for a loss the lowest dev nll, else the highest, of all its epochs."""
    rows = [{"dev": {"nll": nll, "accuracy": accuracy}} for nll, accuracy in ((0.9, 0.2), (0.4, 0.7), (0.6, 0.3))]
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    assert sweep.best_epoch(Run(tmp_path), "loss") == sweep.best_epoch(Run(tmp_path), "accuracy") == rows[1]["dev"]
    rows[2]["dev"]["accuracy"] = 0.8
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    assert sweep.best_epoch(Run(tmp_path), "loss")["nll"] == 0.4
    assert sweep.best_epoch(Run(tmp_path), "accuracy") == {"nll": 0.6, "accuracy": 0.8}
    for content in ("", "{", '{"dev": {}}\n', "[]\n"):
        path.write_text(content, "utf-8")
        with pytest.raises(InputError, match="metrics.jsonl:?1?: missing or damaged"):
            sweep.best_epoch(Run(tmp_path), "accuracy")
    path.unlink()
    with pytest.raises(InputError, match="metrics.jsonl: missing or damaged"):
        sweep.best_epoch(Run(tmp_path), "accuracy")


def test_selection_by_loss_end_to_end(folder, call):
    """At one seed, whose share of the training file all rates are tested on."""
    call("train", *LINEAR, *"--select loss --lr 1e-8 0.5 --test 0.2 --out by-loss".split())
    found = kept(folder / "by-loss")
    dev = {run["lr"]: run["dev"] for run in found["runs"]}
    assert dev == {rate: dev_of(folder / f"by-loss/lr-{rate}/seed-1", "nll", min) for rate in (1e-08, 0.5)}
    assert found["selected"] == min(dev, key=dev.get) and found["select"] == "loss"


# ---- collapsed and diverged runs ------------------------------------------------------------------------------------


def test_collapsed_runs_are_marked_and_the_mean_given_without_them(searched, call):
    """By dev alone, on which one answer to all would get a third: a run is not left out for what it got on test."""
    flags, out = searched
    for rate, dev in ((1e-08, 0.9), (0.5, 0.7)):
        for seed, own, test in ((1, dev, 0.2), (2, 1 / 3, 0.8)):
            say_dev(out / f"lr-{rate}/seed-{seed}", own)
            say_test(out / f"lr-{rate}/seed-{seed}", test)
    text, found = call("train", *flags), kept(out)
    assert [run["collapsed"] for run in found["runs"]] == [False, True] * 2
    assert found["test"]["mean"]["accuracy"] == pytest.approx(0.5)
    assert found["without_collapsed"]["mean"]["accuracy"] == pytest.approx(0.2)
    assert found["without_collapsed"]["runs"] == 1
    assert "without the collapsed" in text and text.count("collapsed\n") == 2


@pytest.mark.parametrize("value, chance, lower, expected", [
    (0.51, 0.5, False, True), (0.509, 0.5, False, True), (0.52, 0.5, False, False), (0.4, 0.5, False, True),
    (0.019, 0.0, False, True), (0.03, 0.0, False, False), (-0.2, 0.0, False, True),
    (99.0, 100.0, True, True), (97.0, 100.0, True, False), (120.0, 100.0, True, True),
])  # fmt: skip
def test_hardly_better_than_one_answer_to_all_is_collapsed(value, chance, lower, expected):
    """Two hundredths of the way from there to what is perfect."""
    chance = {"metric": "x", "value": chance, "lower_is_better": lower}
    assert collapsed({"x": value, "y": 1.0}, chance) is expected


def test_a_run_that_diverges_is_a_result(folder, call):
    """The rate of a run whose loss is no number is not selected; the others are trained, and it is not tried again."""
    flags = [*TESTED, *"--lr 1e38 0.01 --out wild".split()]
    text, found = call("train", *flags), kept(folder / "wild")
    assert "diverged: " in text and found["selected"] == 0.01
    first, second = found["runs"]
    assert first["diverged"] and first["dev"] is first["test"] is None and not second["diverged"]
    assert "linear  " in text  # beside the run that has results
    before = sorted((folder / "wild").rglob("*"))
    text = call("train", *flags)
    assert "model: " not in text and sorted((folder / "wild").rglob("*")) == before
    error = call("train", *TESTED, *"--lr 1e38 1e37 --out wilder".split(), status=2)
    assert "at every learning rate a run diverged: wilder/search.json" in error
    assert kept(folder / "wilder")["selected"] is None
    assert "--lr" in call("train", *TESTED, *"--lr 1e38 --out alone".split(), status=2)  # no search: an error as ever


# ---- going on -------------------------------------------------------------------------------------------------------


def test_the_same_command_goes_on_where_it_was_stopped(folder, call, monkeypatch):
    """Stopped inside the second of four runs: the first is not touched, the second is resumed, bit for bit."""
    flags = [*TESTED, *"--save-every 1 --lr 0.01 0.03 --seeds 1 2 --out".split()]
    call("train", *flags, "whole")
    with monkeypatch.context() as patch:
        patch.setattr("train.train", counted := Counted(train.train))
        stop_after(patch, 14)  # a run saves at its beginning, after each of 8 steps, and after each of 2 epochs
        call("train", *flags, "cut", status=130)
    assert counted.calls == 2 and Run(folder / "cut/lr-0.01/seed-2").load("last.pt")["state"]["step"] > 0
    assert not (folder / "cut/search.json").exists() and not (folder / "cut/lr-0.03").exists()
    first = (folder / "cut/lr-0.01/seed-1/last.pt").stat().st_mtime_ns
    monkeypatch.setattr("train.train", counted := Counted(train.train))
    text = call("train", *flags, "cut")
    assert counted.calls == 3 + 1  # the linear reference
    assert (folder / "cut/lr-0.01/seed-1/last.pt").stat().st_mtime_ns == first
    for name in ("lr-0.01/seed-1", "lr-0.01/seed-2", "lr-0.03/seed-2"):
        whole, cut = Run(folder / "whole" / name).load("last.pt"), Run(folder / "cut" / name).load("last.pt")
        assert equal(without_clock(whole), without_clock(cut)), name
    scores = [[{k: run[k] for k in ("lr", "seed", "dev", "test")} for run in kept(folder / name)["runs"]]
              for name in ("whole", "cut")]  # fmt: skip
    assert scores[0] == scores[1] and "search.json" in text
    assert len(list((folder / "cut").rglob("linear"))) == 1  # the reference is trained once
    call("train", *flags, "cut", "--quiet")
    assert counted.calls == 3 + 1 and len(list((folder / "cut").rglob("linear"))) == 1


class Counted:
    def __init__(self, function):
        self.function, self.calls = function, 0

    def __call__(self, *arguments):
        self.calls += 1
        return self.function(*arguments)


def test_rates_and_seeds_may_be_added(searched, call):
    flags, out = searched
    at = flags.index("0.5")
    call("train", *flags[:at], "1e-4", *flags[at:], "--no-quiet")
    assert [run["lr"] for run in kept(out)["runs"]] == [1e-08, 1e-08, 1e-4, 1e-4, 0.5, 0.5]


def test_runs_that_a_command_does_not_name_stay_in_the_result(searched, call):
    flags, out = searched
    call("train", *flags)
    before = kept(out)
    one = flags[: flags.index("--lr")] + ["--lr", "0.5", "1e-8", "--seeds", "1", *flags[flags.index("--out") :]]
    call("train", *one)
    found = kept(out)
    assert sorted(run["run"] for run in found["runs"]) == sorted(run["run"] for run in before["runs"])
    assert {one["lr"]: one["runs"] for one in found["rates"]} == {0.5: 2, 1e-08: 2} and found["test"]["runs"] == 2


def test_a_search_is_not_put_into_a_single_run(folder, call):
    call("train", *LINEAR, "--test", "test.csv", "--out", "single")
    for more in ("--lr 0.5 0.1", "--seeds 1 2"):
        error = call("train", *LINEAR, "--test", "test.csv", *more.split(), "--out", "single", status=2)
        assert "--out single holds a single run; choose another folder" in error
    assert not list((folder / "single").glob("*/config.json")) or (folder / "single/linear").exists()


def test_the_same_command_without_out_finds_its_folder(folder, call):
    flags = [*LINEAR, "--lr", "1e-8", "0.5"]
    for more, name in (("", "linear-search"), ("--seeds 2", "linear-search"), ("--epochs 1", "linear-search-2")):
        call("train", *flags, *more.split())
        assert (folder / "runs" / name / "search.json").exists()
    assert sorted(path.name for path in (folder / "runs").iterdir()) == ["linear-search", "linear-search-2"]
    assert sorted(path.name for path in (folder / "runs/linear-search/lr-0.5").iterdir()) == ["seed-1", "seed-2"]


# ---- one experiment -------------------------------------------------------------------------------------------------


def test_other_settings_data_and_kinds_are_refused(searched, folder, call):
    flags, out = searched
    before = sorted(out.rglob("*"))
    error = call("train", *flags, "--min-count", "2", status=2)
    assert "copy/lr-0.5/seed-1 was trained with --min-count 1, not 2; choose another --out" in error
    error = call("train", *LINEAR, *"--seeds 1 2 --out copy".split(), status=2)
    assert "is of a search over learning rates; choose another --out" in error
    assert "each seed would draw other test documents" in call("train", *flags, "--test", "0.2", status=2)
    assert "is writing into this run folder" in held(out, call, flags)
    assert "is writing into this run folder" in held(out / "lr-0.5", call, flags)
    assert sorted(out.rglob("*")) == before
    (out / "lr-0.5").rename(out / "lr-0.25")
    error = call("train", *flags, status=2)
    assert "copy/lr-0.25/seed-1 was trained with --lr 0.5, not 0.25" in error
    (out / "lr-0.25").rename(out / "lr-0.5")
    write_csv(folder / "other.csv", make_rows(60, seed=5))
    text = (folder / "train.csv").read_text("utf-8")
    try:
        shutil.copy(folder / "other.csv", folder / "train.csv")
        error = call("train", *flags, "--seeds", "1", "3", status=2)
        assert "lr-1e-08/seed-3 was trained on different data than copy/lr-1e-08/seed-1" in error
    finally:
        (folder / "train.csv").write_text(text, "utf-8")


def held(part, call, flags) -> str:
    with Run(part).claimed():
        return call("train", *flags, status=2)


def test_a_search_is_not_put_among_seeds(folder, call):
    call("train", *LINEAR, *"--seeds 1 --lr 0.5 --out plain".split())
    assert sorted(path.name for path in (folder / "plain").iterdir()) == ["seed-1", "seeds.json"]
    error = call("train", *LINEAR, *"--seeds 1 --lr 0.5 0.1 --out plain".split(), status=2)
    assert "plain/seed-1 is of seeds at one learning rate; choose another --out" in error
    assert sorted(path.name for path in (folder / "plain").iterdir()) == ["seed-1", "seeds.json"]


@pytest.mark.parametrize("flags, message", [
    ("--lr 3e-5 3e-5", "--lr 3e-05 3e-05: one of them is given twice"),
    ("--lr 0.1 0.10 --seeds 1 2", "--lr 0.1 0.1: one of them is given twice"),
    ("--lr 3e-5 0", "--lr 0.0: must be above 0"),
    ("--lr 3e-5 -0.1", "--lr -0.1: must be above 0"),
    ("--lr nan 3e-5", "--lr nan: must be above 0"),
    ("--lr 3e-5 x", "argument --lr: invalid float value: 'x'"),
    ("--lr 3e-5 2e-5 --plan", "--lr 3e-05 2e-05: several learning rates are a search; leave out --resume and --plan"),
    ("--lr 3e-5 2e-5 --resume runs/x", "several learning rates are a search; leave out --resume and --plan"),
    ("--lr 3e-5 2e-5 --seeds 1 2 --plan", "--seeds stands alone"),
    ("--lr 3e-5 2e-5 --seeds 1 1", "--seeds 1 1: one of them is given twice"),
    ("--lr 3e-5 2e-5 --test none.csv", "none.csv"),
])  # fmt: skip
def test_what_is_no_search_is_refused(folder, call, flags, message):
    assert message in call("train", *LINEAR, "--out", "refused", *flags.split(), status=2)
    assert not (folder / "refused").exists()


# ---- every task -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task, ending, model, select, better", [
    ("tagging", "conll", "bilstm-scratch --min-count 1 --hidden 4 --embedding 8", "f1", max),
    ("lm", "txt", "lstm --embedding 8 --layers 1 --max-length 8 --batch-size 4", "nll", min),
    ("pretrain", "docs", "bert --bert tiny --max-length 16 --batch-size 4 --accumulate 1", "nll", min),
])  # fmt: skip
def test_a_search_of_every_task(folder, call, task, ending, model, select, better):
    files = f"--train train.{ending} --dev dev.{ending} --test test.{ending}".split()
    flags = f"--task {task} --model {model} --epochs 2 --seed 3 --lr 1e-7 0.03 --quiet --out {task}".split()
    text, found = call("train", *flags, *files), kept(folder / task)
    dev = {run["lr"]: run["dev"] for run in found["runs"]}
    assert dev == {rate: dev_of(folder / f"{task}/lr-{rate}/seed-3", select, better) for rate in (1e-07, 0.03)}
    assert found["selected"] == better(dev, key=dev.get) == 0.03
    assert found["test"]["sd"] is None and "±" not in text  # one seed has no deviation
    assert found["runs"][0]["collapsed"]  # at 1e-7 nothing is learned


def test_without_a_test_split_the_rate_is_selected_all_the_same(folder, call):
    text = call("train", *LSTM, *"--lr 0.01 0.03 --out untested".split())
    found = kept(folder / "untested")
    assert found["selected"] in (0.01, 0.03) and found["test"] is None
    command = f"python evaluate.py untested/lr-{found['selected']}/seed-1 --test FILE"
    assert command in text and "selected" in text


def test_one_run_has_no_deviation():
    """± 0 would say that runs do not scatter."""
    record = {"run": "r", "test": {"accuracy": 0.5}, "collapsed": False, "diverged": False}
    text = search.seeds_table([record], spreads([record]))
    assert "1 run " in text and "±" not in text
    two = [record, record | {"test": {"accuracy": 0.7}, "collapsed": True}]
    lines = search.seeds_table(two, spreads(two)).splitlines()
    assert lines[-2].split() == ["mean", "±", "sd", "0.6000", "±", "0.1414", "2", "runs"]
    assert lines[-1].split() == ["without", "the", "collapsed", "0.5000", "1", "run"]
