"""GLUE's corpora from small files in their published forms: readers, protocols, what is refused, submissions."""

import dataclasses
import json
import pathlib
import shutil

import numpy as np
import pytest
import torch

import textcls
from tests.conftest import make_rows, save_tiny
from textcls import recipes
from textcls.config import GLUE, SCORES, TrainConfig
from textcls.data import glue
from textcls.data.corpus import Corpus, Documents
from textcls.metrics.classification import Scores
from textcls.pretrained.backbone import published
from textcls.report.text import title
from textcls.runtime.errors import InputError
from textcls.tasks import classification
from textcls.tasks.base import digest
from textcls.training.run import Run

TITLES = {"cola": "CoLA", "sst-2": "SST-2", "mrpc": "MRPC", "qqp": "QQP", "sts-b": "STS-B", "mnli": "MNLI",
          "qnli": "QNLI", "rte": "RTE"}  # fmt: skip
MNLI = "index promptID pairID genre sentence1_binary_parse sentence2_binary_parse sentence1_parse sentence2_parse".split()
STS = "index genre filename year old_index source1 source2 sentence1 sentence2".split()
TRAIN, DEV, TEST = 40, 12, 6  # rows of each file
SMALL = "--epochs 1 --quiet --save-every 0".split()


def pairs(count: int, seed: int) -> list[tuple[str, str, int]]:
    """(text, another, the number of its class, of three): texts hold quotes, which are text, and the class is seen from
    the first of them."""
    rows, topics = make_rows(count, seed), ["astronomy", "cooking", "sailing"]
    return [(f'"{text} {i}', f"it's {label}", topics.index(label)) for i, (text, label) in enumerate(rows)]


def write(path: pathlib.Path, rows: list, header: list[str] | None = None, bom: bool = False, end: str = "\n") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ["\t".join(map(str, row)) + end for row in ([header] if header else []) + rows]
    path.write_bytes(("\ufeff" * bom + "".join(lines)).encode())


def publish(root: pathlib.Path) -> pathlib.Path:
    """A folder with a folder for each corpus, as GLUE's download script leaves it."""
    for number, (split, count) in enumerate((("train", TRAIN), ("dev", DEV))):
        three = pairs(count, number)
        two, filler = [(a, b, c % 2) for a, b, c in three], ["(p)"] * 3
        write(root / f"CoLA/{split}.tsv", [["gj04", y, "*" if not y else "", a] for a, _, y in two])
        write(root / f"SST-2/{split}.tsv", [[a, y] for a, _, y in two], ["sentence", "label"], end="\r\n")
        header = ["Quality", "#1 ID", "#2 ID", "#1 String", "#2 String"]
        write(root / f"MRPC/{split}.tsv", [[y, 17, 18, a, b] for a, b, y in two], header, bom=True)
        header = "id qid1 qid2 question1 question2 is_duplicate".split()
        broken = [["7", "8", "9", '"half a question'], ["the other half", "?", "1"]]
        write(root / f"QQP/{split}.tsv", [*[[i, 2, 3, a, b, y] for i, (a, b, y) in enumerate(two)], *broken], header)
        scored = [[i, "g", "f", 2012, i, "s", "s", a, b, f"{2.5 * c:.3f}"] for i, (a, b, c) in enumerate(three)]
        write(root / f"STS-B/{split}.tsv", scored, [*STS, "score"])
        names, header = ["contradiction", "entailment", "neutral"], [*MNLI, "sentence1", "sentence2"]
        labels = ["label1", *(f"label{n}" for n in range(2, 6) if split == "dev")]
        for part in ("",) if split == "train" else ("_matched", "_mismatched"):
            rows = pairs(count, number + 2 * len(part))
            rows = [[i, 1, 2, "fiction", *filler, "(p)", a, b, *["x" for _ in labels], names[c]]
                    for i, (a, b, c) in enumerate(rows)]  # fmt: skip
            rows[0][-1] = "-"
            write(root / f"MNLI/{split}{part}.tsv", rows, [*header, *labels, "gold_label"])
        nli = [[i, a, b, ["entailment", "not_entailment"][y]] for i, (a, b, y) in enumerate(two)]
        write(root / f"QNLI/{split}.tsv", nli, ["index", "question", "sentence", "label"])
        write(root / f"RTE/{split}.tsv", nli, ["index", "sentence1", "sentence2", "label"])
    publish_tests(root, pairs(TEST, 9))
    return root


def publish_tests(root: pathlib.Path, rows: list) -> None:
    """The test files, which have no labels."""
    single = [[i, a] for i, (a, _, _) in enumerate(rows)]
    both = [[i, a, b] for i, (a, b, _) in enumerate(rows)]
    write(root / "CoLA/test.tsv", single, ["index", "sentence"])
    write(root / "SST-2/test.tsv", single, ["index", "sentence"])
    header = ["index", "#1 ID", "#2 ID", "#1 String", "#2 String"]
    write(root / "MRPC/test.tsv", [[i, 1, 2, a, b] for i, a, b in both], header, bom=True)
    write(root / "QQP/test.tsv", [*both, [TEST, "only one"]], ["id", "question1", "question2"])
    write(root / "STS-B/test.tsv", [[i, *"gfyoss", a, b] for i, a, b in both], STS[:7] + ["sentence1", "sentence2"])
    for part, more in (("matched", 0), ("mismatched", 2)):
        header = [*MNLI, "sentence1", "sentence2"]
        write(root / f"MNLI/test_{part}.tsv", [[i + 50, *"abcdefg", a, b] for i, a, b in both + both[:more]], header)
    write(root / "QNLI/test.tsv", both, ["index", "question", "sentence"])
    write(root / "RTE/test.tsv", both, ["index", "sentence1", "sentence2"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("glue")
    publish(folder / "glue")
    return folder


def load(name: str, folder: pathlib.Path, protocol: str = "honest"):
    return glue.load(name, str(folder), protocol, 0.2, 1)


# ---- readers --------------------------------------------------------------------------------------------------------


def test_the_settings_and_the_table_name_the_same_corpora():
    assert set(GLUE) == set(glue.CORPORA) == set(TITLES)
    assert set(SCORES) == {name for name, source in glue.CORPORA.items() if not source.labels}


@pytest.mark.parametrize("name", GLUE)
def test_published_files_are_read(folder, name):
    """Every row, its texts to the letter and its label by name, from the folder of all corpora or from its own."""
    title, source = TITLES[name], glue.CORPORA[name]
    for place in (folder / "glue", folder / "glue" / title):
        corpus = load(name, place)
        rows, dropped = pairs(DEV, 1), name == "mnli"
        if dropped:
            rows = pairs(DEV, 1 + 2 * len("_matched"))
        sides = slice(0, len(source.texts))
        assert corpus.test.texts == [row[sides] for row in rows][dropped:]
        numbers = [row[2] for row in rows][dropped:]
        if name == "sts-b":
            assert corpus.test.scores.tolist() == [2.5 * number for number in numbers]
            assert corpus.facts["range"] == [0.0, 5.0] and corpus.labels == ["score"]
        else:
            of_two = numbers if name == "mnli" else [number % 2 for number in numbers]
            assert corpus.test.labels.tolist() == of_two and corpus.labels == list(source.labels)
        assert len(corpus.train) + len(corpus.dev) == TRAIN - dropped
        assert corpus.facts["metrics"] == list(source.metrics)
        assert corpus.description.startswith(f"{title} of GLUE, tested on dev")


def test_labels_are_in_the_published_order():
    assert glue.CORPORA["mnli"].labels == ("contradiction", "entailment", "neutral")
    assert glue.CORPORA["qnli"].labels == glue.CORPORA["rte"].labels == ("entailment", "not_entailment")
    assert all(glue.CORPORA[name].labels == ("0", "1") for name in ("cola", "sst-2", "mrpc", "qqp"))


def test_rows_that_are_left_out_are_counted(folder):
    assert load("qqp", folder / "glue").description.endswith(
        "; 2 short rows left out of train.tsv; 2 short rows left out of dev.tsv"
    )
    text = load("mnli", folder / "glue").description
    assert text.count("1 unlabelled row left out of ") == 3 and text.endswith("dev_mismatched.tsv")


def test_colas_public_files(tmp_path):
    """Dev is in-domain and out-of-domain, one after the other."""
    three = {"in_domain_train": pairs(20, 0), "in_domain_dev": pairs(5, 1), "out_of_domain_dev": pairs(4, 2)}
    for name, rows in three.items():
        write(tmp_path / f"cola_public/raw/{name}.tsv", [["gj04", c % 2, "", a] for a, _, c in rows])
    corpus = load("cola", tmp_path)
    assert corpus.test.texts == [(a,) for name in ("in_domain_dev", "out_of_domain_dev") for a, _, _ in three[name]]
    assert corpus.description.endswith("tested on in_domain_dev.tsv and out_of_domain_dev.tsv")
    shutil.copytree(tmp_path / "cola_public/raw", tmp_path / "one/CoLA")
    assert np.array_equal(load("cola", tmp_path / "one").test.ids, corpus.test.ids)
    write(tmp_path / "one/CoLA/train.tsv", [["gj04", c % 2, "", a] for a, _, c in pairs(10, 3)])
    with pytest.raises(InputError, match="dev.tsv: no such file"):  # no dev set of another distribution
        load("cola", tmp_path / "one")


@pytest.mark.parametrize("header", [["label", "sentence"], ["label", "content"]])
def test_sst_2_with_its_label_first(folder, tmp_path, header):
    rows = pairs(DEV, 1)
    write(tmp_path / "dev.tsv", [[c % 2, a] for a, _, c in rows], header, end="\r\n")
    shutil.copy(folder / "glue/SST-2/train.tsv", tmp_path)
    ours, usual = load("sst-2", tmp_path), load("sst-2", folder / "glue")
    assert ours.test.texts == usual.test.texts and ours.test.labels.tolist() == usual.test.labels.tolist()


def test_microsofts_files(tmp_path):
    """They have a test set with labels, and no dev set; the test set is also that of GLUE's server."""
    header = ["Quality", "#1 ID", "#2 ID", "#1 String", "#2 String"]
    for name, count in (("train", 20), ("test", 8)):
        rows = [[c % 2, 1, 2, a, b] for a, b, c in pairs(count, count)]
        write(tmp_path / f"msr_paraphrase_{name}.txt", rows, header, bom=True)
    corpus = load("mrpc", tmp_path)
    assert corpus.description == "MRPC of its first distribution, tested on msr_paraphrase_test.txt"
    assert (len(corpus.test), len(corpus.train) + len(corpus.dev)) == (8, 20)
    assert glue.unlabelled("mrpc", str(tmp_path)) == {"MRPC": corpus.test.texts}
    with pytest.raises(InputError, match="msr_paraphrase_train.txt has no dev set beside it"):
        load("mrpc", tmp_path, "paper")


def test_sts_as_it_was_distributed(tmp_path):
    """No header; rows of 7 columns, and some of 9."""
    for split, count in (("train", 20), ("dev", 6)):
        rows = [["main", "MSRvid", "2012", i, c + 0.25, a, b, *["source"] * 2 * (i % 2)]
                for i, (a, b, c) in enumerate(pairs(count, 0))]  # fmt: skip
        write(tmp_path / f"sts-{split}.tsv", rows)
    corpus = load("sts-b", tmp_path)
    assert corpus.test.texts == [(a, b) for a, b, _ in pairs(6, 0)]
    assert corpus.test.scores.tolist() == [c + 0.25 for _, _, c in pairs(6, 0)]
    assert corpus.description == "STS-B of its first distribution, tested on sts-dev.tsv"


def test_test_files_lose_no_row(folder):
    """A broken row keeps its place, since the server wants an answer to each."""
    texts = glue.unlabelled("qqp", str(folder / "glue"))["QQP"]
    assert len(texts) == TEST + 1 and texts[-1] == ("only one", "")
    found = glue.unlabelled("mnli", str(folder / "glue"))
    assert {name: len(texts) for name, texts in found.items()} == {"MNLI-m": TEST, "MNLI-mm": TEST + 2}


# ---- protocols ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GLUE)
def test_protocols(folder, name):
    honest, again, paper = (load(name, folder / "glue", protocol) for protocol in ("honest", "honest", "paper"))
    assert np.array_equal(honest.test.ids, paper.test.ids) and np.array_equal(paper.dev.ids, paper.test.ids)
    assert not set(honest.dev.ids.tolist()) & {*honest.train.ids.tolist(), *honest.test.ids.tolist()}
    assert {*honest.train.ids.tolist(), *honest.dev.ids.tolist()} == set(paper.train.ids.tolist())
    assert np.array_equal(honest.dev.ids, again.dev.ids)
    dev = " and ".join(glue.CORPORA[name].releases[0].dev)
    said = f"; epoch (in a search, rate too) chosen on {dev} (--protocol paper)"
    assert said in paper.description and "paper" not in honest.description


# ---- recipes --------------------------------------------------------------------------------------------------------


def complete(**flags) -> TrainConfig:
    return recipes.complete(TrainConfig(data_dir="x", **flags))


@pytest.mark.parametrize("name", GLUE)
@pytest.mark.parametrize("model", ["bert", "trans-blstm-1", "trans-blstm-2", "blstm"])
def test_the_papers_recipe(name, model):
    task = "regression" if name in SCORES else "classification"
    config = complete(model=model, data=name, task=task, bert="bert-base-uncased")
    assert (config.epochs, config.batch_size, config.accumulate, config.lr) == (3, 32, 1, 3e-5)
    assert (config.max_length, config.dropout, config.select) == (128, 0.1, glue.CORPORA[name].metrics[0])
    given = complete(model=model, data=name, task=task, bert="x", lr=1e-4, epochs=7, select="loss")
    assert (given.lr, given.epochs, given.select, given.batch_size) == (1e-4, 7, "loss", 32)


def test_other_recipes_are_as_ever():
    nano, own = complete(model="bert", data="rte"), recipes.complete(TrainConfig(model="bert", train="x", bert="x"))
    assert (nano.lr, nano.epochs, nano.dropout, nano.select) == (1e-3, 10, 0.3, glue.CORPORA["rte"].metrics[0])
    assert (own.lr, own.epochs, own.batch_size, own.accumulate, own.dropout) == (2e-5, 4, 16, 2, 0.3)
    assert complete(model="linear", data="cola").max_length == 20_000


# ---- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments, message", [
    ("--data rte", "--data rte: say which folder holds its files: --data-dir FOLDER"),
    ("--data rte --data-dir none", "no such folder; expected the one that holds RTE's files"),
    ("--data rte --data-dir glue/CoLA", "glue/CoLA/train.tsv:1: 'gj04 "),
    ("--data cola --data-dir bad", "no train.tsv or in_domain_train.tsv of CoLA there, or in CoLA/"),
    ("--data sts-b --data-dir glue", "--data sts-b has scores, and no classes: add --task regression"),
    ("--data cola --data-dir glue --task regression", "--task regression has no data of its own; give --train FILE (or "),
    ("--data qqp --data-dir glue --task tagging --model bert", "--task tagging has no data of its own"),
    ("--protocol paper", "--protocol paper goes with --data cola, "),
    ("--data rte --data-dir glue --protocol paper --dev 0.2", "--dev goes with --protocol honest"),
    ("--data rte --data-dir glue --dev dev.tsv", "--dev dev.tsv: the built-in corpora take a share"),
    ("--data rte --data-dir glue --select positive_f1 --label-column 4", "--label-column goes with --train"),
    ("--data mnli --data-dir glue --select positive_f1", "the second of two classes is the positive one, but there are 3"),
    ("--data rte --data-dir glue --keep quotes", "--keep goes with --data 20newsgroups"),
])  # fmt: skip
def test_flags_that_do_not_fit(folder, call, arguments, message):
    (folder / "bad").mkdir(exist_ok=True)
    assert message in call("train", *arguments.split(), *SMALL, "--out", "refused", status=2)
    assert not (folder / "refused").exists()


def rows_of(folder: pathlib.Path, file: str) -> list[list[str]]:
    return [line.split("\t") for line in (folder / file).read_text("utf-8").splitlines()]


@pytest.mark.parametrize("name, file, line, column, value, message", [
    ("rte", "RTE/train.tsv", 3, 3, "maybe", "train.tsv:3: label 'maybe', expected entailment, not_entailment"),
    ("cola", "CoLA/train.tsv", 2, 1, "2", "train.tsv:2: label '2', expected 0, 1"),
    ("mnli", "MNLI/dev_mismatched.tsv", 4, 15, "hidden", "label 'hidden', expected contradiction, entailment, neutral"),
    ("qnli", "QNLI/dev.tsv", 4, 3, "-", "dev.tsv:4: label '-', expected entailment"),
    ("sts-b", "STS-B/train.tsv", 5, 9, "much", "train.tsv:5: score 'much', expected a number from 0 to 5"),
    ("sts-b", "STS-B/train.tsv", 5, 9, "5.1", "train.tsv:5: score '5.1', expected a number from 0 to 5"),
    ("sts-b", "STS-B/dev.tsv", 2, 9, "nan", "dev.tsv:2: score 'nan', expected a number from 0 to 5"),
    ("rte", "RTE/train.tsv", 1, 1, "premise", "train.tsv:1: 'index premise sentence2 label'; expected for RTE: a header "
        "of 4 columns, 'sentence1' column 2, 'sentence2' column 3, 'label' column 4"),
    ("mrpc", "MRPC/train.tsv", 6, 4, "a\tb", "train.tsv:6: 6 columns, expected 5"),
    ("qqp", "QQP/train.tsv", 6, 4, "a\tb", "train.tsv:6: 7 columns, expected 6"),
    ("mnli", "MNLI/train.tsv", 6, 4, "a\tb\tc\td\te", "train.tsv:6: 16 columns, expected 12"),  # as dev has
])  # fmt: skip
def test_rows_that_do_not_fit(folder, call, name, file, line, column, value, message):
    shutil.rmtree(folder / "spoilt", ignore_errors=True)
    shutil.copytree(folder / "glue", folder / "spoilt")
    rows = rows_of(folder / "glue", file)
    rows[line - 1][column] = value
    write(folder / "spoilt" / file, rows)
    task = ["--task", "regression"] if name in SCORES else []
    error = call("train", "--data", name, *task, "--data-dir", "spoilt", *SMALL, "--out", "refused", status=2)
    assert message in error and f"spoilt/{file}:" in error
    assert not (folder / "refused").exists()


def test_files_of_other_kinds(folder, tmp_path):
    """A file of another corpus is called by its name; so is a test file, which has no labels."""
    (tmp_path / "empty.tsv").write_text("")
    write(tmp_path / "alone.tsv", [], ["index", "sentence1", "sentence2", "label"])
    root = folder / "glue"
    for name, path, message in (
        ("rte", root / "QNLI/dev.tsv", r"'index question sentence label' is a header of QNLI; expected for RTE"),
        ("cola", root / "SST-2/dev.tsv", r"is a header of SST-2; expected for CoLA: no header, and 4 columns"),
        ("cola", root / "QNLI/dev.tsv", r"is a header of QNLI; expected for CoLA"),  # 4 columns, as CoLA's
        ("qnli", root / "QNLI/test.tsv", r"the header of QNLI's test file, which has no labels .*--submission"),
        ("cola", root / "CoLA/test.tsv", r"the header of CoLA's test file, which has no labels"),
        ("rte", tmp_path / "none.tsv", "no such file"),
        ("rte", root, "a folder, and no file"),
        ("rte", tmp_path / "empty.tsv", "the file holds no rows"),
        ("rte", tmp_path / "alone.tsv", "the file holds no rows"),
    ):
        with pytest.raises(InputError, match=message):
            glue.read(name, str(path))
    for file, message in (
        ("QNLI/dev.tsv", "is the header of a file with labels; expected for QNLI's test file: a header of 3 columns"),
        ("MRPC/test.tsv", "is a header of MRPC; expected for QNLI's test file"),
    ):
        (tmp_path / "QNLI").mkdir(exist_ok=True)
        shutil.copy(root / file, tmp_path / "QNLI/test.tsv")
        with pytest.raises(InputError, match=message):
            glue.unlabelled("qnli", str(tmp_path))


# ---- from the files to the results ----------------------------------------------------------------------------------


@pytest.fixture
def trained(folder, call):
    """The run of a corpus, trained by the first test that asks for it; what was printed is beside it."""

    def run(name: str, protocol: str = "honest") -> str:
        out = f"runs/{name}-{protocol}"
        if not (folder / out).exists():
            flags = f"--data {name} --data-dir glue --protocol {protocol} --out {out}".split()
            model = "--task regression --model lstm --min-count 1" if name in SCORES else "--model linear"
            text = call("train", *flags, *model.split(), *SMALL)
            (folder / f"{name}-{protocol}.txt").write_text(text, "utf-8")
        return out

    return run


def results(folder: pathlib.Path, run: str) -> dict:
    return json.loads((folder / run / "results.json").read_text("utf-8"))


@pytest.mark.parametrize("name", GLUE)
def test_results_and_submissions(folder, call, trained, name):
    """Metrics with the main one first; the file that the server reads holds what the run predicts."""
    run, source = trained(name), glue.CORPORA[name]
    found = results(folder, run)
    assert list(found["metrics"])[: len(source.metrics)] == list(source.metrics)
    assert json.loads((folder / run / "config.json").read_text())["metrics"] == list(source.metrics)
    again = json.loads(call("evaluate", run, "--json", "--quiet"), parse_constant=pytest.fail)
    assert again["metrics"] == found["metrics"]
    printed = call("evaluate", run, "--submission", f"{name}-out", "--quiet")
    predictor = textcls.load(folder / run)
    for server, texts in glue.unlabelled(name, "glue").items():
        assert f"{server}.tsv: {len(texts)} predictions" in printed
        header, *rows = rows_of(folder, f"{name}-out/{server}.tsv")
        assert header == ["index", "prediction"] and [row[0] for row in rows] == list(map(str, range(len(texts))))
        predicted = predictor.predict(texts)
        wanted = predicted[0] if source.labels else [f"{score:.3f}" for score in predicted]
        assert [row[1] for row in rows] == wanted
    assert {path.stem for path in (folder / f"{name}-out").iterdir()} == set(source.tests)


def test_scores_of_a_submission_are_within_bounds(folder, trained, call, monkeypatch):
    run = trained("sts-b")
    predicted = np.array([-0.2, 0, 1.23456, 4.9996, 7, 5])
    monkeypatch.setattr("textcls.tasks.regression.Predictor.predict", lambda *_: predicted)
    call("evaluate", run, "--submission", "bounded")
    assert [row[1] for row in rows_of(folder, "bounded/STS-B.tsv")[1:]] == "0.000 0.000 1.235 5.000 5.000 5.000".split()


def test_mnli_reports_both_dev_sets(folder, call, trained):
    run = trained("mnli")
    metrics = results(folder, run)["metrics"]
    assert list(metrics)[:2] == ["accuracy", "accuracy_mm"]
    for name, part in (("accuracy", "matched"), ("accuracy_mm", "mismatched")):
        alone = json.loads(call("evaluate", run, *f"--test glue/MNLI/dev_{part}.tsv --json --quiet".split()))
        assert alone["metrics"]["accuracy"] == metrics[name] and "accuracy_mm" not in alone["metrics"]
        assert alone["documents"] == DEV - 1
    assert "accuracy (mm)" in (folder / "mnli-honest.txt").read_text("utf-8")


@pytest.mark.parametrize("name", ["cola", "sts-b"])
def test_the_papers_protocol_is_said_with_every_result(folder, call, trained, name):
    run = trained(name, "paper")
    said = "; epoch (in a search, rate too) chosen on dev.tsv (--protocol paper)"
    assert said in results(folder, run)["data"]
    assert f"test: {results(folder, run)['data']}\n" in (folder / f"{name}-paper.txt").read_text("utf-8")
    text = call("evaluate", run, "--test", f"glue/{TITLES[name]}/dev.tsv", "--quiet")
    assert "on dev.tsv (the epoch was chosen on the published dev set): " in text
    assert said in call("evaluate", run, "--quiet") and said in json.loads(call("evaluate", run, "--json"))["data"]
    assert said in call("evaluate", run, trained(name), "--quiet")
    splits = Run(folder / run).splits()
    assert np.array_equal(splits["dev"], splits["test"])
    assert not np.isin(splits["dev"], splits["train"]).any()


def test_the_main_metric_chooses_the_epoch(folder, trained):
    """CoLA's is Matthews' correlation: dev is scored by it, and always giving one class is worth 0."""
    run = trained("cola")
    lines = (folder / run / "metrics.jsonl").read_text("utf-8").splitlines()
    assert list(json.loads(lines[0])["dev"]) == ["matthews", "accuracy", "macro_f1", "nll"]
    assert results(folder, run)["chance"] == {"metric": "matthews", "value": 0.0, "lower_is_better": False}
    assert results(folder, trained("mrpc"))["chance"]["metric"] == "positive_f1"
    assert Run(folder / run).meta()["config"]["select"] == "matthews"


def test_what_one_answer_to_all_is_worth_on_dev():
    """By accuracy, of the class that is commonest in training; by F1, of the second class: precision 3/4, recall 1."""
    ids = np.arange(4, dtype=np.uint64)
    parts = [Documents([("a",)] * 4, np.array(labels), ids) for labels in ([0, 0, 0, 1], [1, 1, 0, 1])]
    corpus = Corpus("x", "x", ["0", "1"], *parts, None)
    assert classification.chance(corpus) == {"metric": "accuracy", "value": 0.25, "lower_is_better": False}
    corpus.facts |= {"metrics": ["positive_f1", "accuracy"]}
    assert classification.chance(corpus)["value"] == pytest.approx(2 * 0.75 / 1.75)


@pytest.mark.parametrize("name, file, column, value, what", [
    ("rte", "RTE/dev.tsv", 3, "entailment", "labels"),
    ("sts-b", "STS-B/dev.tsv", 9, "1.25", "labels"),
    ("mnli", "MNLI/dev_mismatched.tsv", 15, "neutral", "labels"),
    ("mnli", "MNLI/dev_mismatched.tsv", 9, "another", "documents"),
])  # fmt: skip
def test_files_that_have_changed_are_seen(folder, call, trained, name, file, column, value, what):
    shutil.rmtree(folder / "moved", ignore_errors=True)
    shutil.copytree(folder / "glue", folder / "moved")
    run = trained(name)
    assert call("evaluate", run, "--quiet", "--data-dir", "moved").startswith(f"{run} on {TITLES[name]} of GLUE")
    rows = rows_of(folder, f"moved/{file}")
    for row in rows[2:]:
        row[column] = value
    write(folder / "moved" / file, rows)
    error = call("evaluate", run, "--quiet", "--data-dir", "moved", status=2)
    assert f"the test {what} are not those the run began with" in error


def test_predictions_of_ones_own_files(folder, call, trained):
    """Their columns are called as the published ones."""
    write(folder / "own.tsv", [["a star?", "a comet."], ["flour", "butter"]], ["question", "sentence"])
    lines = call("evaluate", trained("qnli"), "--predict", "own.tsv", "--quiet").splitlines()
    labels, _ = textcls.load(trained("qnli")).predict([("a star?", "a comet."), ("flour", "butter")])
    assert [line.split("\t")[0] for line in lines] == labels
    assert "reads pairs of texts" in call("evaluate", trained("qnli"), "--predict", "-", status=2)


@pytest.mark.parametrize("run, arguments, message", [
    ("sst-2", "--submission out --data-dir spoilt", "is the header of a file with labels; expected for SST-2's test"),
    ("cola", "--submission out --data-dir spoilt/MRPC", "no test.tsv of CoLA there"),
    ("rte", "--test glue/RTE/test.tsv", "RTE's test file, which has no labels to be compared with"),
    ("rte", "--test glue/QNLI/dev.tsv", "is a header of QNLI; expected for RTE"),
    ("sts-b", "--top-k 2 --predict own.tsv", "predicts a number, and no labels"),
])  # fmt: skip
def test_commands_that_do_not_fit(folder, call, trained, run, arguments, message):
    shutil.rmtree(folder / "spoilt", ignore_errors=True)
    shutil.copytree(folder / "glue", folder / "spoilt")
    shutil.copy(folder / "glue/SST-2/dev.tsv", folder / "spoilt/SST-2/test.tsv")
    for path in (folder / "spoilt/MRPC").iterdir():
        path.unlink()
    assert message in call("evaluate", trained(run), *arguments.split(), "--quiet", status=2)
    assert not (folder / "out").exists()


def test_a_submission_needs_a_run_of_glue(folder, call, trained):
    rows = "".join(f"{text},{label}\n" for text, label in make_rows(30))
    (folder / "own.csv").write_text(f"text,label\n{rows}", "utf-8")
    call("train", *"--model linear --train own.csv --out own --quiet".split())
    assert "own: --submission is for runs of --data cola, " in call("evaluate", "own", "--submission", "x", status=2)
    with pytest.raises(SystemExit):
        import evaluate

        evaluate.parse(["own", "own", "--submission", "x"])
    with pytest.raises(SystemExit):
        evaluate.parse(["own", "--submission", "x", "--test", "y"])


def test_ensembles_of_a_corpus_report_its_metrics(folder, call, trained):
    call("train", *"--data mrpc --data-dir glue --model lstm --min-count 1 --out runs/lstm".split(), *SMALL)
    text = call("ensemble", trained("mrpc"), "runs/lstm", "--out", "runs/both", "--quiet")
    assert "F1 (positive)" in text
    found = json.loads(call("evaluate", "runs/both", "--json", "--quiet"))
    assert list(found["metrics"])[:2] == ["positive_f1", "accuracy"]


def test_an_ensemble_is_not_fitted_on_what_it_is_judged_by(folder, call, trained):
    """With the paper's protocol the dev documents are the test documents."""
    paper = "--data cola --data-dir glue --protocol paper --model lstm --min-count 1 --out runs/paper".split()
    text = call("train", *paper, *SMALL)
    assert "trained on the same documents" in text and "weighted" not in text  # an average would be fitted on test
    command = trained("cola", "paper"), "runs/paper", "--out", "runs/unfair", "--quiet"
    assert "are its test documents (--protocol paper)" in call("ensemble", *command, status=2)
    assert not (folder / "runs/unfair").exists()
    said = "; the ensemble was fitted on it too"
    assert said in call("ensemble", *command, "--in-sample") and said in call("evaluate", "runs/unfair", "--quiet")


def test_the_table_says_on_what_the_epoch_was_chosen(folder, call, trained):
    text = call("evaluate", trained("cola", "paper"), trained("rte"), trained("mnli"), "--quiet")
    said = "tested on dev.tsv; epoch (in a search, rate too) chosen on dev.tsv (--protocol paper)"
    assert f"\ncola: CoLA of GLUE, {said}\n" in text
    assert "mnli accuracy (mm)" in text.splitlines()[0]


def test_rows_left_out_of_a_file_given_to_evaluate_are_counted(folder, call, trained):
    text = call("evaluate", trained("qqp"), *"--test glue/QQP/dev.tsv --quiet".split())
    assert "\n2 short rows left out of dev.tsv\n" in text
    header, *rows = rows_of(folder, "glue/MNLI/dev_matched.tsv")
    write(folder / "none.tsv", [[*row[:-1], "-"] for row in rows], header)
    error = call("evaluate", trained("mnli"), *"--test none.tsv --quiet".split(), status=2)
    assert "none.tsv: no row with a label" in error


def test_what_is_beside_the_test_split_is_part_of_the_data(folder, trained):
    splits = Run(folder / trained("mnli")).splits()
    changed = splits | {"test-mm-answers": splits["test-mm-answers"] + np.uint64(1)}
    assert digest(changed) != digest(splits) == Run(folder / trained("mnli")).meta()["source"]


def test_the_reference_is_judged_by_the_main_metric(folder, call):
    flags = "--data cola --data-dir glue --model lstm --min-count 1 --out runs/judged".split()
    text = call("train", *flags, *SMALL)
    head = next(line for line in text.splitlines() if "  macro-F1" in line)
    assert "bag of words" in text and head.split()[0] == "Matthews"
    assert " Matthews of a bag of words" in call("evaluate", "runs/judged", "--quiet")


# ---- metrics that are asked for -------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["matthews", "positive_f1"])
def test_own_data_are_judged_by_what_chooses(folder, call, metric):
    """Other corpora have these metrics only where --select asks for them."""
    rows = "".join(f"{text},{'no' if label == 'cooking' else 'yes'}\n" for text, label in make_rows(60))
    (folder / "two.csv").write_text(f"text,label\n{rows}", "utf-8")
    command = "--model linear --train two.csv --test 0.3 --quiet".split()
    call("train", *command, "--select", metric, "--out", metric)
    found = results(folder, metric)
    predictor = textcls.load(folder / metric)
    _, test = predictor.test_split(recipes.TASKS["classification"].load, None, True)
    scores = Scores(predictor.logits(test.texts), test.labels)
    assert list(found["metrics"])[0] == metric
    assert found["metrics"][metric]["value"] == pytest.approx(getattr(scores, metric)())
    if not (folder / "usual").exists():
        call("train", *command, "--out", "usual")
    usual = results(folder, "usual")["metrics"]
    assert list(usual) == ["accuracy", "macro_f1", "nll", "ece"]
    assert {name: found["metrics"][name] for name in usual} == usual
    for runs in ((metric, "usual"), ("usual", metric)):
        assert f"test {title(metric)} " in call("evaluate", *runs, "--quiet")


# ---- Hugging Face's model -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("labels", [1, 3])
@pytest.mark.parametrize("paired", [True, False])
def test_logits_of_hugging_faces_weights(tmp_path, labels, paired):
    """BertForSequenceClassification, for classes and for one score, on texts and on pairs as we batch them."""
    transformers = pytest.importorskip("transformers")
    texts = [text for text, _ in make_rows(9)]
    save_tiny(tmp_path / "tiny", texts, num_hidden_layers=2)
    dims = json.loads((tmp_path / "tiny/config.json").read_text())
    torch.manual_seed(1)
    theirs = transformers.BertForSequenceClassification(transformers.BertConfig(**dims, num_labels=labels)).eval()
    ours = textcls.BertClassifier(textcls.load_bert(tmp_path / "tiny").config, labels).eval()
    ours.load_state_dict(theirs.state_dict())  # the names are the same
    for name, parameter in ours.named_parameters():
        if "LayerNorm" not in name:  # large enough for the texts to be told apart
            torch.nn.init.normal_(parameter, std=0.3)
    theirs.load_state_dict(ours.state_dict())
    documents = [(a, b)[: 1 + paired] for a, b in zip(texts, texts[::-1], strict=True)]
    split = Documents(documents, np.zeros(9, int), np.arange(9))
    config = dataclasses.replace(complete(model="bert", data="mrpc"), max_length=24, quiet=True)
    vocabulary = published(str(tmp_path / "tiny")).vocabulary
    batch = recipes.TASKS["classification"].batches(split, vocabulary, config, "test").collate(np.arange(9))
    inputs = batch.inputs
    assert (inputs["segments"] is not None) == paired and inputs["mask"] is not None
    with torch.no_grad():
        logits = theirs(inputs["ids"], attention_mask=inputs["mask"], token_type_ids=inputs["segments"]).logits
        assert torch.allclose(ours(**inputs), logits, atol=2e-5, rtol=0) and logits.std(0).min() > 0.05
