"""Every model of every task through the three commands: trains, resumes, evaluates, predicts, plans."""

import json
import random
import shutil

import numpy as np
import pytest
import torch

import textcls
import train
from tests.conftest import equal, make_rows, save_tiny, save_tiny_bilm, stop_after, without_clock, write_csv
from textcls import recipes
from textcls.models.ensemble import LearnedEnsemble, WeightedEnsemble
from textcls.tasks import TASKS
from textcls.tasks.streams import Text
from textcls.training.run import Run

NAMES = {"ada": "PER", "turin": "LOC", "milan": "LOC", "grace": "PER"}
SMALL = {
    "hidden": 8,
    "embedding": 12,
    "layers": 1,
    "epochs": 2,
    "batch_size": 8,
    "max_length": 16,
    "save_every": 3,
    "encoder_lr": 1e-3,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small BERT, a small biLM, and a train and a test file for each task."""
    folder = tmp_path_factory.mktemp("every")
    rows = make_rows(72)
    write_csv(folder / "train.csv", rows)
    write_csv(folder / "test.csv", make_rows(30, seed=1))
    for name, count, seed in (("train", 72, 0), ("test", 30, 1)):
        scores = [(text, len(text.split()) / 4) for text, _ in make_rows(count, seed)]
        write_csv(folder / f"{name}.scores.csv", scores)
    rng = random.Random(0)
    for name, count in (("train", 70), ("test", 20)):
        sentences = [rng.choices([*NAMES, "the", "ship", "saw", "in"], k=rng.randint(1, 20)) for _ in range(count)]
        lines = [[f"{word}\t{'B-' + NAMES[word] if word in NAMES else 'O'}" for word in words] for words in sentences]
        (folder / f"{name}.conll").write_text("\n\n".join(map("\n".join, lines)) + "\n", "utf-8")
        (folder / f"{name}.txt").write_text("\n".join(map(" ".join, sentences)) + "\n", "utf-8")
        (folder / f"{name}.json").write_text(json.dumps(asked(sentences)), "utf-8")
        sets = [(text, "|".join(sorted({label, *text.split()[:2]} & {label, "the", "a", "of"}))) for text, label in
                make_rows(count, seed)]  # fmt: skip
        write_csv(folder / f"{name}.sets.csv", sets)
        (folder / f"{name}.docs").write_text("\n\n".join("\n".join(text.split("a ")) for text, _ in make_rows(count)))
    save_tiny(folder / "tiny", [text for text, _ in rows] + [*NAMES, "the ship saw in"] * 2)
    save_tiny_bilm(folder / "bilm")
    return folder


def asked(sentences: list[list[str]]) -> dict:
    """As SQuAD has it: for each sentence where its first and its last word are."""
    contexts = [(" ".join(words), words, len(" ".join(words)) - len(words[-1])) for words in sentences]
    paragraphs = [
        {
            "context": text,
            "qas": [
                {"id": f"{i} first", "question": "the", "answers": [{"text": words[0], "answer_start": 0}]},
                {"id": f"{i} last", "question": "in", "answers": [{"text": words[-1], "answer_start": last}]},
            ],
        }
        for i, (text, words, last) in enumerate(contexts)
    ]
    return {"data": [{"title": "words", "paragraphs": paragraphs}]}


def command(model: str, task: str, out: str) -> list[str]:
    kinds = {"classification": "csv", "regression": "scores.csv", "tagging": "conll", "lm": "txt", "pretrain": "docs"}
    kind = (kinds | {"spans": "json", "multilabel": "sets.csv"})[task]
    flags = f"--model {model} --task {task} --train train.{kind} --test test.{kind} --dev 0.2".split()
    known = TASKS[task].DEFAULTS | recipes.RECIPES[model, task]["defaults"] | {"save_every": 0}
    for name, value in SMALL.items():
        if name in known and not (model == "linear" and name == "max_length"):
            flags += ["--" + name.replace("_", "-"), str(value)]
    flags += ["--accumulate", "1"] if task == "pretrain" else []
    flags += ["--decoder", "blstm"] if "decoder" in known else []
    flags += ["--elmo", "bilm"] if "elmo" in known else []
    flags += ["--elmo-options", "bilm/options.json"] if "elmo_options" in known else []
    return [*flags, *f"--bert tiny --quiet --out {out}".split()]


@pytest.fixture(scope="module")
def references() -> dict:
    """The linear models trained so far, as run folders, by what they were told."""
    return {}


@pytest.fixture(autouse=True)
def one_reference(monkeypatch, folder, references):
    """The linear reference of the same documents is trained for the first model that wants it; others get a copy."""
    train_reference = train.train_reference

    def train_or_copy(config, to):
        told = tuple(getattr(config, name) for name in train.SAME_DATA)
        if told in references:
            shutil.copytree(references[told], to)
            return
        train_reference(config, to)
        references[told] = folder / to

    monkeypatch.setattr(train, "train_reference", train_or_copy)


@pytest.fixture(scope="module")
def printed() -> dict[str, str]:
    return {}


@pytest.fixture
def trained(call, printed):
    """The run of a model, trained by the first test that asks for it."""

    def run(model: str, task: str) -> str:
        out = f"runs/{model}-{task}"
        if out not in printed:
            printed[out] = call("train", *command(model, task, out))
        return out

    return run


PAIRS = pytest.mark.parametrize("model, task", recipes.RECIPES)


# The other TRANS-BLSTMs are trans-blstm-2 with other layers, and what gives several labels is a classifier.
RESUMED = [
    (model, task)
    for model, task in recipes.RECIPES
    if model not in ("trans-blstm-1", "blstm") and (task != "multilabel" or model in ("linear", "bert"))
]


@pytest.mark.parametrize("model, task", RESUMED)
def test_resumed_equals_uninterrupted(model, task, call, trained, printed, monkeypatch):
    """Stopped in the middle of an epoch, with whatever the model carries from batch to batch."""
    whole, stopped = trained(model, task), f"runs/{model}-{task}-stopped"
    text = printed[whole]
    assert "predicted  measured" in text and f"next: python evaluate.py {whole}" in text
    assert ("linear  " in text) == (task in ("classification", "multilabel") and model != "linear")
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        text = call("train", *command(model, task, stopped), status=130)
    assert f"python train.py --resume {stopped}" in text
    assert Run(stopped).load("last.pt")["state"]["position"] > 0
    call("train", "--resume", stopped, "--quiet")
    for name in ("best.pt", "last.pt"):
        ours, theirs = Run(stopped).load(name), Run(whole).load(name)
        if name == "last.pt":
            ours, theirs = without_clock(ours), without_clock(theirs)
        assert equal(ours, theirs), name


@PAIRS
def test_evaluates_and_predicts(model, task, folder, call, trained):
    run = trained(model, task)
    before = json.loads((folder / run / "results.json").read_text("utf-8"))
    if task == "classification" and model != "linear":
        assert "accuracy of a bag of words" in call("evaluate", run, "--quiet")
    elif task == "multilabel":
        text = call("evaluate", run, "--quiet")
        assert "label      threshold" in text and ("micro-F1 of a bag of words" in text) == (model != "linear")
    after = json.loads(call("evaluate", run, "--json", "--quiet"), parse_constant=pytest.fail)  # NaN is no JSON
    assert {name: v["value"] for name, v in after["metrics"].items()} == pytest.approx(
        {name: v["value"] for name, v in before["metrics"].items()}
    )
    predictor = textcls.load(run)
    if task == "classification":
        (folder / "in.txt").write_text("a star and a comet\nflour and butter\n", "utf-8")
        lines = call("evaluate", run, "--predict", "in.txt", "--quiet").splitlines()
        labels, probabilities = predictor.predict(["a star and a comet", "flour and butter"])
        assert [line.split("\t")[0] for line in lines] == labels
        assert probabilities.sum(1) == pytest.approx(1.0)
    elif task == "multilabel":
        (folder / "in.txt").write_text("a star and a comet\nflour and butter\n", "utf-8")
        lines = call("evaluate", run, "--predict", "in.txt", "--quiet").split("\n")
        labels, probabilities = predictor.predict(["a star and a comet", "flour and butter"])
        assert [line.split("\t")[::2] if line else [] for line in lines] == [*labels, []]
        assert [[predictor.labels.index(name) for name in names] for names in labels] == [
            [i for i in np.argsort(-row) if row[i] >= predictor.thresholds[i]] for row in probabilities
        ]
    elif task == "regression":
        (folder / "in.txt").write_text("a star and a comet\nflour and butter\n", "utf-8")
        lines = call("evaluate", run, "--predict", "in.txt", "--quiet").splitlines()
        assert lines == [f"{score:.4f}" for score in predictor.predict(["a star and a comet", "flour and butter"])]
    elif task == "tagging":
        text = "ada x 1\nsaw y 2\n\n" + "turin z 3\n" * 40
        (folder / "in.conll").write_text(text, "utf-8")
        lines = call("evaluate", run, "--predict", "in.conll", "--quiet").splitlines()
        tags = predictor.predict([["ada", "saw"], ["turin"] * 40])
        assert [line.rsplit(" ", 1)[-1] for line in lines if line] == [*tags[0], *tags[1]]
        assert [line.rsplit(" ", 1)[0] for line in lines] == ["ada x 1", "saw y 2", "", *["turin z 3"] * 40]
    elif task == "pretrain":
        (folder / "in.txt").write_text("a star and [MASK] comet\n[MASK] butter [MASK]\n", "utf-8")
        lines = call("evaluate", run, "--predict", "in.txt", "--top-k", "2", "--quiet").splitlines()
        assert [len(line.split("\t")) for line in lines] == [4, 8]
        piece, probability = max(predictor.fill("a star and [MASK] comet")[0].items(), key=lambda item: item[1])
        assert lines[0].startswith(f"{piece}\t{probability:.4f}\t")
    elif task == "spans":
        (folder / "in.csv").write_text("id,question,context\nx,the,ada saw turin\ny,in,the ship in milan\n", "utf-8")
        answers = json.loads(call("evaluate", run, "--predict", "in.csv", "--quiet"))
        assert list(answers) == ["x", "y"] and answers["x"] in "ada saw turin"
        assert answers["y"] == predictor.predict("in", "the ship in milan").text
    else:
        words = call("evaluate", run, *"--sample 25 --seed 3".split()).split()
        assert 10 < len(words) <= 25 and set(words) <= {*NAMES, "the", "ship", "saw", "in"}
        assert call("evaluate", run, *"--sample 25 --seed 3".split()).split() == words


@PAIRS
def test_plans_without_weights(model, task, folder, call):
    arguments = [value if value != "tiny" else "bert-base-uncased" for value in command(model, task, "none")]
    text = call("train", *arguments, *"--plan --memory 6GB --device cuda".split())
    assert "largest temporary" in text and "largest micro-batch" in text
    assert not (folder / "none").exists()


def test_a_language_models_perplexity_is_that_of_its_probabilities(trained):
    predictor = textcls.load(trained("lstm", "lm"))
    words = predictor.vocabulary.encode(["the ship saw turin", "ada in milan"])
    with torch.no_grad():
        before = np.concatenate([[predictor.vocabulary.eos], words[:-1]])  # the first word, too, is predicted
        logits, _ = predictor.model(torch.from_numpy(before[None].astype(np.int64)))
    probabilities = logits[0].double().softmax(-1)[range(len(words)), words]
    assert predictor.scores(Text.of(words, "x"))["nll"] == pytest.approx(-float(probabilities.log().mean()), rel=1e-6)


def test_ensembles_take_any_classifier(call, trained):
    members = [trained(model, "classification") for model in ("linear", "lstm", "bert-lstm")]
    text = call("ensemble", *members, "--out", "runs/mixed", "--quiet")
    assert all(name in text for name in (*members, "average", "learned ensemble"))
    call("ensemble", *members, *"--out runs/learned --combine learned --quiet".split())
    for folder, kind in (("runs/mixed", WeightedEnsemble), ("runs/learned", LearnedEnsemble)):
        kept = textcls.load(folder)
        assert type(kept.model) is kind
        logits = [member.logits(["a star", "flour"]) for member in kept.members]
        expected = kept.combine(logits).argmax(1)
        assert kept.predict(["a star", "flour"])[0] == [kept.labels[i] for i in expected]
    text = call("evaluate", *members, "runs/mixed", "--quiet")
    assert text.count(" points ") == 6 and "p corrected for 6 comparisons (Holm)" in text


def test_taggers_are_compared_by_sentence(call, trained):
    runs = [trained("bilstm-scratch", "tagging"), "runs/tag-b"]
    call("train", *command("bilstm-scratch", "tagging", runs[1]), "--crf", "--seed", "2")
    text = call("evaluate", *runs, "--quiet")
    assert "test F1 (conlleval)" in text and "in F1 (95 % interval" in text


def test_runs_of_different_tasks_stand_in_one_table(call, trained):
    runs = [trained("linear", "classification"), trained("bilstm-scratch", "tagging"), trained("lstm", "lm")]
    lines = call("evaluate", *runs, "--quiet").splitlines()
    assert lines[0].split("  ")[-1] == "average" and lines[0].count("test.") == 3
    assert all(name in lines[0] for name in ("test.csv accuracy", "test.conll F1 (conlleval)", "test.txt perplexity"))
    assert [line.split()[0] for line in lines[2:5]] == ["linear", "bilstm-scratch", "lstm"]
    assert "the runs are of different tasks" in call("evaluate", *runs, "--test", "test.csv", status=2)


def test_seeds_are_summarised_and_collapsed_runs_marked(folder, call, monkeypatch):
    flags = [*command("linear", "classification", "runs/three"), "--seeds", "1", "2", "3"]
    text = call("train", *flags)
    found = json.loads((folder / "runs/three/seeds.json").read_text("utf-8"))
    values = [
        json.loads((folder / f"runs/three/seed-{seed}/results.json").read_text("utf-8"))["metrics"]["accuracy"]["value"]
        for seed in (1, 2, 3)
    ]
    assert found["mean"]["accuracy"] == pytest.approx(np.mean(values))
    assert found["sd"]["accuracy"] == pytest.approx(np.std(values, ddof=1))
    assert "mean ± sd" in text and "3 runs" in text and found["collapsed"] == [False] * 3
    run = Run(folder / "runs/three/seed-2")
    rows = run.metrics()
    for row in rows:
        row["dev"]["accuracy"] = run.results()["chance"]["value"]
    run.write_metrics(rows)
    text = call("train", *flags)  # nothing is left to train
    assert "collapsed" in text and "without the collapsed" in text and "2 runs" in text


def test_long_documents_in_windows(call):
    flags = "--long-documents window --max-length 8 --stride 4 --max-windows 3".split()
    for model in ("bert", "bert-bilstm", "lstm"):
        base = command(model, "classification", f"runs/windows-{model}")
        text = call("train", *[value for value in base if value not in ("--max-length", "16")], *flags)
        assert "longer than up to 3 windows" in text
        call("evaluate", f"runs/windows-{model}", "--quiet")


def test_word_vectors_are_begun_with(folder, call):
    (folder / "vectors.txt").write_text("3 3\nstar 1.5 2.5 -3\nunseenword 1 2 3\nthe 0 0 1\n", "utf-8")
    base = command("lstm", "classification", "runs/vectors")
    at = base.index("--embedding")
    text = call("train", *base[:at], *base[at + 2 :], "--vectors", "vectors.txt", "--lr", "1e-9")
    assert "2 with a vector of 3 numbers" in text
    predictor = textcls.load("runs/vectors")
    place = predictor.vocabulary.tokenizer.token_to_id("star")
    assert predictor.model.encoder.source.table.weight[place].tolist() == pytest.approx([1.5, 2.5, -3.0], abs=1e-4)


@pytest.mark.parametrize("arguments, message", [
    ("--model lstm --crf", "--crf does not apply to --model lstm"),
    ("--model bert-lstm --checkpoint-activations", "--checkpoint-activations does not apply"),
    ("--model lstm --stride 500 --long-documents window", "--stride 500 leaves out words"),
    ("--model lstm --stride 5", "--stride goes with --long-documents window"),
    ("--model lstm --select f1", "--select f1 is not measured for --task classification"),
    ("--model lstm --vectors none.txt", "--vectors none.txt: no such file"),
    ("--model lstm --seeds 1 1", "--seeds 1 1: one of them is given twice"),
    ("--model lstm --seeds 1 2 --seed 3", "--seeds stands alone"),
    ("--task tagging --model lstm --train train.conll", "not there for --task tagging"),
    ("--task lm --model lstm", "--task lm has no data of its own"),
    ("--task tagging --train train.conll --class-weights balanced", "--class-weights goes with"),
])  # fmt: skip
def test_flags_that_do_not_fit_are_refused(call, arguments, message):
    data = [] if "--train" in arguments or "--task" in arguments else ["--train", "train.csv"]
    assert message in call("train", *arguments.split(), *data, *"--quiet --out runs/refused".split(), status=2)
