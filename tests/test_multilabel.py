"""Several labels a text: own files of every kind, shares, runs from data to answers, ensembles, comparisons."""

import json
import random

import numpy as np
import pytest

import textcls
from tests.conftest import FILLER, TOPICS, equal, results, save_tiny, stop_after, trained_once, without_clock
from textcls import recipes
from textcls.config import TrainConfig
from textcls.data import multilabel as data
from textcls.data.corpus import Corpus
from textcls.data.dealing import by_labels
from textcls.data.multilabel import Columns, LabelSets
from textcls.runtime.errors import InputError
from textcls.tasks import multilabel
from textcls.training.run import Run

NAMES = sorted(TOPICS)


def make_sets(count: int, seed: int = 0) -> list[tuple[str, list[str]]]:
    """(text, labels): some words of each of its labels' among fillers; a third or so have none."""
    rng, rows = random.Random(seed), []
    for _ in range(count):
        own = [name for name in NAMES if rng.random() < 0.35]
        words = rng.choices(FILLER, k=rng.randint(3, 8))
        for name in own:
            words += rng.choices(TOPICS[name].split(), k=rng.randint(2, 4))
        rng.shuffle(words)
        rows.append((" ".join(words), own))
    return rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The same sets in every format, pairs, and a small BERT."""
    folder = tmp_path_factory.mktemp("multilabel")
    for name, count, seed in (("train", 320, 0), ("test", 90, 1)):
        rows = make_sets(count, seed)
        flags = [[str(int(topic in own)) for topic in NAMES] for _, own in rows]
        lines = {
            "csv": ["text,topics", *(f"{text},{' | '.join(own)}" for text, own in rows)],
            "tsv": ["text\ttopics", *(f"{text}\t{'|'.join(own + own)}|" for text, own in rows)],
            "jsonl": [json.dumps({"text": text, "topics": own if i % 2 else own or None})
                      for i, (text, own) in enumerate(rows)],
            "json": [json.dumps([{"text": text, "topics": own} for text, own in rows])],
            "flags.csv": [f"text,{','.join(NAMES)}", *(",".join([text, *of]) for (text, _), of in zip(rows, flags))],
            "flags.jsonl": [json.dumps({"text": text} | dict(zip(NAMES, map(bool, map(int, of)))))
                            for (text, _), of in zip(rows, flags)],
            "txt": [" ".join([*(f"__label__{topic}" for topic in own), text]) for text, own in rows],
            "pairs.csv": ["a,b,y", *(f"{text},{other},{';'.join(own)}"
                                     for (text, own), (other, _) in zip(rows, rows[::-1]))],
        }  # fmt: skip
        for ending, of_file in lines.items():
            (folder / f"{name}.{ending}").write_text("\n".join(of_file) + "\n", "utf-8")
    save_tiny(folder / "tiny", [text for text, _ in make_sets(60)])
    return folder


TASK = "--task multilabel --label-column topics --quiet".split()
LSTM = [*TASK, *"--model lstm --min-count 1 --hidden 16 --embedding 16 --batch-size 16 --lr 0.02 --epochs 6".split()]
TRAIN = [*LSTM, *"--train train.csv --test test.csv --save-every 5".split()]


# ---- own files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["tsv", "jsonl", "json", "flags.csv", "flags.jsonl", "txt"])
def test_every_format_gives_the_same_documents(folder, ending):
    def load(ending) -> Corpus:
        column = ",".join(NAMES[::-1]) if "flags" in ending else "topics"
        files = [str(folder / f"{name}.{ending}") for name in ("train", "test")]
        return data.load(files[0], 0.2, files[1], Columns.of("text", column, None), 1)

    ours, usual = load(ending), load("csv")
    assert usual.labels == ours.labels == NAMES and usual.description == "train.csv (3 labels)"
    for split in ("train", "dev", "test"):
        a, b = getattr(ours, split), getattr(usual, split)
        assert np.array_equal(a.ids, b.ids) and np.array_equal(a.labels, b.labels) and a.texts == b.texts
    assert usual.test.labels.tolist() == [[topic in own for topic in NAMES] for _, own in make_sets(90, 1)]


def test_answers_do_not_depend_on_the_order_of_the_labels():
    split = LabelSets([("a",), ("b",)], np.array([[True, False, True], [False] * 3]), np.zeros(2, np.uint64))
    assert split.answers(["x", "y", "z"]) == ['["x", "z"]', "[]"]
    other = LabelSets(split.texts, split.labels[:, ::-1], split.ids)
    assert other.answers(["z", "y", "x"]) == split.answers(["x", "y", "z"])


@pytest.mark.parametrize("text, names", [
    ("a|b", ["a", "b"]), (" b | a b ", ["b", "a b"]), ("", []), ("|", []), ("a||a", ["a", "a"]), ("a;b", ["a;b"]),
])  # fmt: skip
def test_names_in_a_column(folder, text, names):
    (folder / "one.csv").write_text(f"text,y\n1,{text}\n", "utf-8")
    assert data.read(folder / "one.csv", Columns.of("text", "y", None))[0][2] == names


@pytest.mark.parametrize("content, flags, message", [
    ("text,topics\na,x\nb,y\n", "--test other.csv", "other.csv:3: label 'z' does not occur in the training data; its"),
    ("text,topics\na,x\nb,\n", "", "several labels a text need at least 2 labels, the training data has only 'x'"),
    ("text,topics\na,\nb,\n", "", "several labels a text need at least 2 labels, the training data has only none"),
    ("text,topics\n", "", "own.csv: the file holds no rows"),
    ("text,topics,y\na,1,0\nb,2,0\n", "--label-column topics,y", "own.csv:3: '2' in the label column 'topics', exp"),
    ("text,topics,y\na,1,0\nb,,0\n", "--label-column topics,y", "own.csv:3: '' in the label column 'topics', expected"),
    ("text,topics,y\na,1,0\nb,1,0\n", "--label-column topics,y", "no training document has the label 'y'"),
    ("text,topics,y\na,1,0\n", "--label-column topics,", "an empty name before or after a comma"),
    ("text,topics,y\na,1,0\n", "--label-column topics,topics", "--label-column topics,topics: topics is given twice"),
    ("text,topics,y\na,1,0\n", "--label-column topics,text", "--text-column text: text is a label column, an answer"),
    ("text,topics,y\na,1,0\n", "--label-column topics,z", "no column 'z'; the columns are 'text', 'topics', 'y'"),
    ("text,topics,y\na,1,0\n", "--label-column topics,y --label-separator ;", "--label-separator goes with one"),
    ("text,topics\na,x|y\nb,y\n", "--dev 1.5", "--dev 1.5: a share must lie between 0 and 1"),
    ("text,topics\na,x|y\nb,y\n", "--dev 0.1", "--dev 0.1 of 2 documents leaves no dev or no training document"),
    ("text,topics\na,x\nb,y\n", "--dev 0.1", "training document: every label has one. Is it the right --label-column?"),
    ("text,topics\na,x|y\nb,y\n", "--label-smoothing 0.1", "--label-smoothing does not apply to --model lstm"),
    ("text,topics\na,x|y\nb,y\n", "--select accuracy", "--select accuracy is not measured for --task multil"),
    ("text,topics\na,x|y\nb,y\n", "--task classification", "--label-separator does not apply to --model lstm"),
    ("text,topics\na,x|y\nb,y\n", "--text-column 1 --label-column 2", "looks like a header; call the columns by name"),
    ("text,topics\na,x|y\nb,y\n", "--text-column a,b,c", "give one column, or two with a comma between"),
])  # fmt: skip
def test_bad_input(folder, call, content, flags, message):
    (folder / "own.csv").write_text(content, "utf-8")
    (folder / "other.csv").write_text("text,topics\na,x\nb,y|z\n", "utf-8")
    separator = ["--label-separator", "|"] if "classification" in flags else []
    assert message in call("train", *LSTM, "--train", "own.csv", *flags.split(), *separator, "--out", "no", status=2)
    assert not (folder / "no").exists()


@pytest.mark.parametrize("name, content, message", [
    ("own.jsonl", '{"text": "a", "topics": ["x", ["y"]]}\n', "own.jsonl:1: field 'topics' must be text, found list"),
    ("own.jsonl", '{"text": ["a"], "topics": ["x"]}\n', "own.jsonl:1: field 'text' must be text, found list"),
    ("own.json", '[{"text": "a"}]', "own.json: row 1: no field 'topics'"),
    ("own.txt", "DESC:manner How\n", "own.txt: expected __label__LABEL and a text in its lines"),
    ("own.txt", "__label__x a\n__label__ b\n", "own.txt:2: __label__ without a name"),
    ("folder", None, "folder: in folders a text has one class"),
])  # fmt: skip
def test_bad_files_of_other_kinds(folder, call, name, content, message):
    if content is None:
        (folder / name / "x").mkdir(parents=True, exist_ok=True)
    else:
        (folder / name).write_text(content, "utf-8")
    assert message in call("train", *LSTM, "--train", name, "--out", "no", status=2)


def test_a_separator_that_never_occurs_is_said(folder):
    def warnings(content: str, column: str, separator: str | None = None) -> list[str]:
        (folder / "own.csv").write_text(content, "utf-8")
        path = str(folder / "own.csv")
        given = {"task": "multilabel", "model": "lstm", "label_column": column, "label_separator": separator}
        config = recipes.complete(TrainConfig(train=path, dev=path, **given))
        return multilabel.warnings(multilabel.load(config), config)

    divided = "text,y\na,x; y\nb,y\n"
    assert warnings(divided, "y") == [
        "warning: no training document has more than one label; labels are divided by '|' (--label-separator), and one "
        "of them is 'x; y'"
    ]
    assert warnings(divided, "y", ";") == []
    assert warnings("text,x,y\na,1,0\nb,0,1\n", "x,y") == ["warning: no training document has more than one label"]


# ---- shares ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("share", [0.1, 0.3, 0.7])
def test_every_label_is_shared_alike(share, seed):
    """Of each label, and of the documents without any, about the share is held out, however rare; and every label keeps
    a document to train on."""
    random = np.random.default_rng(seed)
    labels = random.random((500, 12)) < [0.5, 0.3, 0.2, 0.1, 0.1, 0.05, 0.05, 0.03, 0.02, 0.01, 0.01, 0.004]
    labels[0] = True
    held = by_labels(labels, np.array([1 - share, share]), seed, whole=0) == 1
    assert np.array_equal(held, by_labels(labels, np.array([1 - share, share]), seed, whole=0) == 1)
    assert held.sum() == pytest.approx(share * 500, abs=8)
    assert labels[held].sum(0) == pytest.approx(share * labels.sum(0), abs=3.5)
    assert (~labels[held].any(1)).sum() == pytest.approx(share * (~labels.any(1)).sum(), abs=8)
    assert labels[~held].any(0).all()


def test_shares_are_drawn_by_the_seed():
    labels = np.random.default_rng(0).random((200, 4)) < 0.3
    pool = LabelSets([(str(i),) for i in range(200)], labels, np.arange(200, dtype=np.uint64))
    (train, dev), (_, same), (_, other) = (pool.hold_out(0.2, seed) for seed in (1, 1, 2))
    assert sorted([*train.ids, *dev.ids]) == list(range(200)) and np.array_equal(dev.ids, same.ids)
    assert not np.array_equal(dev.ids, other.ids) and (np.diff(train.ids.astype(int)) > 0).all()


# ---- runs -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(folder, call):
    """A trained run; what was printed is beside it."""
    return trained_once(folder, call, TRAIN)


def test_it_learns_which_topics_there_are(folder, run):
    found, printed = results(folder, run), (folder / "printed").read_text("utf-8")
    metrics = {name: value["value"] for name, value in found["metrics"].items()}
    assert list(metrics) == ["micro_f1", "macro_f1", "subset_accuracy", "map", "nll"]
    assert found["chance"]["metric"] == "micro_f1" and 0.4 < found["chance"]["value"] < 0.6
    assert metrics["micro_f1"] > 0.8
    assert found["per_label"].keys() == set(NAMES)
    for values in found["per_label"].values():
        assert values["f1"]["low"] <= values["f1"]["value"] <= values["f1"]["high"]
        assert values.keys() == {"precision", "recall", "support", "threshold", "f1", "average_precision"}
    for part in ("data: train.csv (3 labels); train 288, dev 32, test 90", " labels a document, ", " without any\n",
                 "first document: ", " by dev micro_f1", "predicted  measured", "\nmicro-F1 ", "\nmAP ",
                 "labels a document: ", "their weighted average: of log-odds, ", "bag of words",
                 "in subset accuracy, by McNemar's test"):  # fmt: skip
        assert part in printed, part


def test_thresholds_are_those_of_the_best_epoch_on_dev(folder, run):
    """They stand beside its weights, and are chosen on dev documents alone."""
    predictor = textcls.load(folder / run)
    corpus = multilabel.load(predictor.config)
    expected = multilabel.choose_thresholds(predictor.logits(corpus.dev.texts), corpus.dev.labels)
    assert predictor.thresholds == pytest.approx(expected, abs=1e-6)
    stored = Run(folder / run).load("best.pt")
    assert stored["model"]["thresholds"].tolist() == predictor.thresholds.tolist()
    dev = multilabel.LabelScores(predictor.logits(corpus.dev.texts), corpus.dev.labels, predictor.thresholds)
    assert stored["dev"]["micro_f1"] == pytest.approx(dev.micro_f1())


def test_it_predicts_sets_and_rankings(folder, call, run):
    predictor = textcls.load(folder / run)
    texts = ["star planet flour onion", "the of", "mast anchor sail wind"]
    labels, probabilities = predictor.predict(texts)
    assert sorted(labels[0]) == ["astronomy", "cooking"] and labels[2] == ["sailing"]
    assert probabilities.shape == (3, 3) and probabilities.dtype == np.float64
    for names, row in zip(labels, probabilities, strict=True):
        own = {name for name, p, cut in zip(NAMES, row, predictor.thresholds, strict=True) if p >= cut}
        assert set(names) == own and names == sorted(names, key=lambda name: -row[NAMES.index(name)])
    assert predictor.predict([])[0] == []
    with pytest.raises(InputError, match="expected a list of texts"):
        predictor.predict("a text")
    (folder / "in.txt").write_text("\n".join(texts) + "\n", "utf-8")
    (folder / "in.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), "utf-8")
    lines = call("evaluate", run, "--predict", "in.txt").split("\n")
    cells = ("\t".join(f"{name}\t{row[NAMES.index(name)]:.4f}" for name in names)
             for names, row in zip(labels, probabilities, strict=True))  # fmt: skip
    assert lines == [*cells, ""]
    ranked = [line.split("\t") for line in call("evaluate", run, "--predict", "in.txt", "--top-k", "2").splitlines()]
    assert [len(cells) for cells in ranked] == [4] * 3 and all(float(c[1]) >= float(c[3]) for c in ranked)
    first = call("evaluate", run, "--predict", "in.txt", "--top-k", "1").splitlines()
    assert first == ["\t".join(cells[:2]) for cells in ranked]
    call("evaluate", run, *"--predict in.jsonl --out out.jsonl --quiet".split())
    found = [json.loads(line) for line in (folder / "out.jsonl").read_text("utf-8").splitlines()]
    assert [row["labels"] for row in found] == labels  # lists, whatever stands in a name
    assert [row["text"] for row in found] == texts and found[1]["probabilities"] == []
    (folder / "in.csv").write_text("text\n" + "\n".join(texts) + "\n", "utf-8")
    call("evaluate", run, *"--predict in.csv --out out.csv --quiet".split())
    rows = [line.split(",")[1] for line in (folder / "out.csv").read_text("utf-8").splitlines()]
    assert rows == ["labels", *("|".join(names) for names in labels)]
    call("evaluate", run, *"--predict in.jsonl --out all.jsonl --all-probabilities --quiet".split())
    every = [json.loads(line) for line in (folder / "all.jsonl").read_text("utf-8").splitlines()]
    assert [row[f"probability_{NAMES[0]}"] for row in every] == pytest.approx(probabilities[:, 0], abs=1e-5)
    call("evaluate", run, *"--predict in.jsonl --out two.jsonl --top-k 2 --quiet".split())
    first = json.loads((folder / "two.jsonl").read_text("utf-8").splitlines()[2])
    assert list(first) == ["text", "label", "probability", "label_2", "probability_2"] and first["label"] == "sailing"
    rows = [json.loads(line) for line in call("evaluate", run, "--predict", "in.jsonl").splitlines()]
    assert [row["labels"] for row in rows] == labels
    assert rows[0]["probabilities"] == pytest.approx(sorted(probabilities[0], reverse=True)[:2], abs=1e-6)


def test_it_evaluates_and_compares(folder, call, run):
    found = json.loads(call("evaluate", run, "--json", "--quiet"), parse_constant=pytest.fail)
    assert found["metrics"] == results(folder, run)["metrics"] and found["unit"] == "documents"
    again = json.loads(call("evaluate", run, *"--test test.jsonl --json --quiet".split()))
    assert again["data"] == "test.jsonl" and again["metrics"] == found["metrics"]
    text = call("evaluate", run, "--quiet")
    assert "label      threshold  precision" in text and "micro-F1 of a bag of words" in text
    call("train", *TRAIN, *"--seed 2 --epochs 1 --select loss --dev 0.1 --out brief".split())
    text = call("evaluate", run, "brief", "--quiet")
    assert "in micro-F1, by a paired bootstrap (95 % interval" in text and "by McNemar's test" in text


def test_a_larger_backbone_is_named_with_its_task(folder, call):
    flags = "--model bert --epochs 1 --max-length 8 --fresh-layers 0 --train train.csv --test test.csv --out named"
    text = call("train", *TASK, *flags.split())
    assert text.splitlines()[-1].startswith(
        "a larger backbone: python train.py --model bert --bert bert-base-uncased --task multilabel "
    )


def test_ensembles(folder, call, run, monkeypatch):
    monkeypatch.setattr("textcls.tasks.stacking.PATIENCE", 10)
    text = call("ensemble", run, f"{run}/linear", "--out", "both", "--quiet", "--combine", "weighted")
    assert "weighted ensemble" in text and "McNemar, weighted ensemble against" in text and "in micro-F1" in text
    kept = textcls.load("both")
    corpus = multilabel.load(kept.config)
    logits = kept.logits(corpus.dev.texts)
    assert kept.thresholds == pytest.approx(multilabel.choose_thresholds(logits, corpus.dev.labels), abs=1e-5)
    assert sorted(kept.predict(["star planet flour onion"])[0][0]) == ["astronomy", "cooking"]
    text = call("evaluate", "both", "--quiet")
    assert "micro-F1" in text and "astronomy" in text
    assert "weighted log-odds" in call("evaluate", run, "both", "--quiet")
    (folder / "classes.csv").write_text("text,label\nstar,a\nflour,b\nmast,c\n", "utf-8")
    call("train", *"--model linear --train classes.csv --test classes.csv --dev classes.csv --out classes".split())
    assert "and the first member is of another task" in call("ensemble", run, "classes", "--out", "no", status=2)


@pytest.mark.parametrize("flags", [
    "--model bert --lr 1e-3 --max-length 24 --train train.pairs.csv --text-column a,b --label-column y "
    "--label-separator ;",
    "--model bert --lr 1e-3 --long-documents window --max-length 8 --stride 4 --max-windows 3 --train train.csv "
    "--label-column topics --class-weights balanced",
], ids=["pairs", "windows"])  # fmt: skip
def test_resumed_in_the_middle_of_an_epoch(folder, call, monkeypatch, flags):
    """A pair, or windows: stopped and gone on with, the run is the same to the last bit, thresholds included."""
    name = flags.split("--train ")[1].split(".csv")[0]
    command = f"--task multilabel {flags} --bert tiny --batch-size 16 --accumulate 1 --epochs 2 --save-every 5 --quiet"
    call("train", *command.split(), "--out", name)
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        call("train", *command.split(), "--out", f"{name}-stopped", status=130)
    assert Run(folder / f"{name}-stopped").load("last.pt")["state"]["position"] > 0
    call("train", "--resume", f"{name}-stopped", "--quiet")
    whole, stopped = Run(folder / name), Run(folder / f"{name}-stopped")
    assert "thresholds" in whole.load("best.pt")["model"]
    assert equal(whole.load("best.pt"), stopped.load("best.pt"))
    assert equal(without_clock(whole.load("last.pt")), without_clock(stopped.load("last.pt")))


def test_its_seeds_are_summarised_and_one_that_learned_nothing_is_marked(folder, call):
    command = [*TASK, *"--model linear --train train.csv --test test.csv --seeds 1 2 --out seeds".split()]
    call("train", *command)
    run = Run(folder / "seeds/seed-2")
    rows = run.metrics()
    rows[0]["dev"]["micro_f1"] = run.results()["chance"]["value"]
    run.write_metrics(rows)
    text = call("train", *command)
    found = json.loads((folder / "seeds/seeds.json").read_text("utf-8"))
    assert found["collapsed"] == [False, True] and "without the collapsed" in text and "micro-F1" in text


def test_chance_is_the_best_constant_answer():
    """Of all sets of labels none has a better micro-F1 on the training documents as the answer to all of them."""
    labels = np.random.default_rng(1).random((80, 5)) < [0.9, 0.6, 0.35, 0.2, 0.05]
    split = LabelSets([("",)] * 80, labels, np.arange(80, dtype=np.uint64))
    found = multilabel.chance(Corpus("", "", list("abcde"), split, split, None))
    sets = [[bool(number >> i & 1) for i in range(5)] for number in range(1, 32)]
    values = [2 * labels[:, chosen].sum() / (80 * sum(chosen) + labels.sum()) for chosen in sets]
    assert found["value"] == pytest.approx(max(values)) and not found["lower_is_better"]
