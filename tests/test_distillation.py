"""--teacher: the loss against sums written out, what a student learns, and what may not teach it."""

import dataclasses
import json
import math
import shutil

import numpy as np
import pytest
import torch

import textcls
import train
from tests.conftest import FILLER, equal, make_rows, save_tiny, stop_after, without_clock, write_csv
from tests.test_ledger import build
from tests.test_parallel import call as processes
from textcls import recipes
from textcls.config import TrainConfig
from textcls.data import unlabelled
from textcls.data.corpus import Corpus, documents
from textcls.ledger.measure import SavedTensors
from textcls.ledger.plan import Plan, Step
from textcls.models.elmo import ScalarMix
from textcls.models.linear import Bags, naive_bayes
from textcls.recipes.linear import soft_targets
from textcls.runtime.errors import InputError
from textcls.runtime.parallel import agree
from textcls.tasks import base, teacher
from textcls.tasks.classification import cross_entropy, label_loss
from textcls.tasks.distillation import Taught, TaughtBatches, distilled, with_unlabelled
from textcls.text.batches import IGNORED, Batch
from textcls.text.pieces import Pieces, Sequences
from textcls.training.run import Run

TEXTS = [text for text, _ in make_rows(180, seed=7)]
SMALL = "--hidden 16 --embedding 16 --max-length 24 --batch-size 8 --quiet".split()
FILES = "--train train.csv --dev dev.csv --test test.csv".split()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Texts, and a teacher: the linear model, which gets them right."""
    folder = tmp_path_factory.mktemp("distillation")
    for name, count, seed in (("train", 75, 0), ("dev", 30, 1), ("test", 45, 2), ("other", 60, 3)):
        write_csv(folder / f"{name}.csv", make_rows(count, seed))
    write_csv(folder / "pair.csv", [(text, "ab"[label == "sailing"]) for text, label in make_rows(40)])
    (folder / "texts.txt").write_text("\n\n".join(TEXTS) + "\n", "utf-8")
    save_tiny(folder / "tiny", TEXTS, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("TEXTCLS_CACHE", str(folder / "cache"))
        train.main(["--model", "linear", *FILES, "--quiet", "--out", "teacher"])
        train.main(["--model", "linear", *FILES, "--quiet", "--label-smoothing", "0.2", "--out", "smooth"])
    return folder


# ---- the loss -------------------------------------------------------------------------------------------------------


def batch_of(logits, labels, teacher, **targets) -> tuple:
    """(a model that gives these logits, a batch of as many documents)."""
    targets |= {"labels": torch.tensor(labels), "teacher": torch.tensor(teacher)}
    counts = {"teacher": len(labels), "label": sum(label >= 0 for label in labels)}
    return (lambda **_: logits), Batch({}, targets, np.arange(len(labels)), 0, counts)


def by_hand(logits, labels, teacher, weight) -> float:
    """Of a whole step, in plain numbers."""
    surprise = [[math.log(sum(map(math.exp, row))) - x for x in row] for row in logits]
    expected = [sum(s * p for s, p in zip(*pair, strict=True)) for pair in zip(surprise, teacher, strict=True)]
    losses = [row[y] for row, y in zip(surprise, labels, strict=True) if y >= 0]
    return weight * sum(expected) / len(expected) + (1 - weight) * sum(losses) / max(1, len(losses))


@pytest.mark.parametrize("weight", [0.25, 1.0])
@pytest.mark.parametrize("labels", [[2, IGNORED, 0, 1], [IGNORED] * 4])
def test_loss_of_a_step_by_hand(weight, labels):
    """However the step is divided, the labels' loss is a mean over those that have one, the teacher's over all."""
    torch.manual_seed(0)
    values, teacher = torch.randn(4, 3, dtype=torch.float64), torch.randn(4, 3).softmax(1).tolist()
    loss_fn, gradients = distilled(label_loss, weight), []
    for parts in ([slice(0, 4)], [slice(0, 1), slice(1, 4)]):
        logits = values.clone().requires_grad_()
        pairs = [batch_of(logits[part].float(), labels[part], teacher[part]) for part in parts]
        targets, _ = agree([batch for _, batch in pairs])
        losses = [loss_fn(model, batch, None)[0] for model, batch in pairs]
        assert all(("label" in of_batch) == (weight < 1) for of_batch in losses)
        total = sum(loss / targets[name] for of_batch in losses for name, loss in of_batch.items())
        assert total.item() == pytest.approx(by_hand(values.tolist(), labels, teacher, weight), rel=1e-5)
        total.backward()
        gradients.append(logits.grad)
    assert torch.allclose(*gradients)


def test_options_of_the_labels_loss_are_those_without_a_teacher():
    logits, options = torch.randn(3, 2), {"weights": torch.tensor([0.5, 2.0]), "smoothing": 0.1}
    model, batch = batch_of(logits, [1, IGNORED, 0], [[0.0, 0.0]] * 3)
    ours = distilled(lambda logits, labels: label_loss(logits, labels, **options), 0.25)(model, batch, None)[0]["label"]
    model, batch = batch_of(logits[[0, 2]], [1, 0], [[0.0, 0.0]] * 2)
    assert ours.item() == pytest.approx(0.75 * cross_entropy(**options)(model, batch, None)[0]["label"].item())


def test_the_logits_of_a_documents_windows_are_averaged():
    logits, expected = [[1.0, 3.0], [3.0, 1.0], [0.0, 5.0]], [[2.0, 2.0], [0.0, 5.0]]
    model, batch = batch_of(torch.tensor(logits), [0, IGNORED], [[0.3, 0.7], [0.5, 0.5]], owner=torch.tensor([0, 0, 1]))
    loss = distilled(label_loss, 1.0)(model, batch, None)[0]["teacher"].item()
    assert loss == pytest.approx(2 * by_hand(expected, [0, IGNORED], [[0.3, 0.7], [0.5, 0.5]], 1.0))


def test_a_penalty_counts_once_beside_two_losses():
    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.mix = ScalarMix(2)

        def forward(self):
            return torch.zeros(3, 2) + 0.0 * self.mix(torch.zeros(1, 1, 2, 2)).sum()

    model = Model()
    with torch.no_grad():
        for weight in model.mix.weights:
            weight.fill_(3.0)
    _, batch = batch_of(None, [0, IGNORED, IGNORED], [[0.0, 0.0]] * 3)
    losses = base.penalised(distilled(label_loss, 0.5), 0.1)(model, batch, None)[0]
    sum(loss / batch.counts[name] for name, loss in losses.items()).backward()
    assert [weight.grad.item() for weight in model.mix.weights] == pytest.approx([0.6, 0.6])


def test_batches_hold_what_the_teacher_said_of_their_documents():
    probabilities = np.arange(10, dtype=np.float32).reshape(5, 2)
    rows = Pieces.join([[1] * length for length in (3, 1, 2, 5, 4)])
    batches = TaughtBatches(Sequences(rows, rows.lengths, 0), np.array([0, 1, 1, IGNORED, IGNORED]), probabilities, 2)
    seen = []
    for numbers in batches.order(0):
        batch = batches.collate(numbers)
        assert batch.targets["teacher"].tolist() == probabilities[batch.documents].tolist()
        assert batch.counts == {"teacher": len(numbers), "label": int((batch.documents < 3).sum())}
        seen += batch.documents.tolist()
    assert sorted(seen) == list(range(5))


@pytest.mark.parametrize("weight", [0.5, 1.0])
@pytest.mark.parametrize("name", ["bilstm-scratch", "bilstm", "lstm", "bert"])
def test_the_ledger_predicts_what_is_saved(name, weight):
    step = Step(64, 10)
    model, blocks = build(name, step, labels=50, teacher="x", teacher_weight=weight)
    ids, labels = torch.randint(5, 900, (64, 10)), torch.zeros(64, dtype=torch.long)
    mask = torch.ones_like(ids)
    mask[1:, 7:] = 0
    inputs = {"ids": ids, "mask": mask, "segments": None}
    batch = Batch(inputs, {"labels": labels, "teacher": torch.randn(64, 50).softmax(1)}, np.arange(64), 0, {})
    with SavedTensors(model) as saved:
        distilled(label_loss, weight)(model, batch, None)
    predicted = Plan(blocks, step).activations()
    assert saved.parts["head"] == pytest.approx(predicted["head"], rel=0.01)


# ---- texts without labels -------------------------------------------------------------------------------------------


def test_texts_are_read_from_tables_json_and_lines(tmp_path):
    def read(name: str, content: str, *columns: str) -> list:
        (tmp_path / name).write_text(content, "utf-8")
        return unlabelled.read(str(tmp_path / name), list(columns), "utf-8").texts

    assert read("a.txt", "one text\n\n \t\nanother, \"one\"\n", "text") == [("one text",), ('another, "one"',)]
    assert read("a.log", "one\n", "text") == [("one",)]
    assert read("a.csv", 'id,text,label\n1,"one, text",x\n2,,y\n3,another,\n', "text") == [("one, text",), ("another",)]
    assert read("a.tsv", "x\tone\ny\ttwo\n", "2") == [("one",), ("two",)]
    assert read("a.jsonl", '{"a": "q", "b": "r"}\n', "a", "b") == [("q", "r")]
    assert read("a.json", '[{"a": "q"}, {"a": " "}]', "a") == [("q",)]
    found = unlabelled.read(str(tmp_path / "a.txt"), ["text"])
    assert found.labels.tolist() == [IGNORED] * 2 and len(set(found.ids.tolist())) == 2


@pytest.mark.parametrize("name, content, columns, message", [
    ("b.txt", "\n \n", "text", "b.txt: the file holds no texts"),
    ("b.csv", "text\n \n", "text", "b.csv: the file holds no texts"),
    ("b.csv", "body\nx\n", "text", "no column 'text'"),
    ("b.csv", "text\nx\n", "1", "looks like a header"),
    ("b.txt", "x\n", "q,r", "reads pairs of texts"),
    ("none.txt", None, "text", "--unlabelled .*none.txt: no such file"),
    (".", None, "text", "a folder, expected a file"),
])  # fmt: skip
def test_files_without_texts_are_refused(tmp_path, name, content, columns, message):
    if content is not None:
        (tmp_path / name).write_text(content, "utf-8")
    with pytest.raises(InputError, match=message):
        unlabelled.read(str(tmp_path / name), columns.split(","))


def test_held_out_texts_are_left_out(tmp_path):
    parts = [documents(name, [(name,), ("both",)], [0, 1]) for name in ("train", "dev", "test")]
    corpus = Corpus("x", "x", ["a", "b"], *parts)
    (tmp_path / "u.txt").write_text("new\ndev\ntest\ntrain\nboth\nnew\n", "utf-8")
    config = TrainConfig(train="x", teacher="t", unlabelled=str(tmp_path / "u.txt"), text_column="text")
    taught = with_unlabelled(corpus, config).train
    assert taught.unlabelled.texts == [("new",), ("train",), ("new",)]
    assert "3 more left out" in taught.unlabelled.remarks[0]
    assert len(taught) == 2 and taught.whole.labels.tolist() == [0, 1, IGNORED, IGNORED, IGNORED]
    assert taught.ids.tolist() == parts[0].ids.tolist() and len(set(taught.whole.ids.tolist())) == 5
    (tmp_path / "u.txt").write_text("dev\ntest\n", "utf-8")
    with pytest.raises(InputError, match="all of its texts are dev or test documents"):
        with_unlabelled(corpus, config)


# ---- runs -----------------------------------------------------------------------------------------------------------


def student(out: str, *more, model: str = "bilstm-scratch") -> list[str]:
    return ["--model", model, *FILES, *SMALL, "--teacher", "teacher", "--unlabelled", "texts.txt", *more, "--out", out]


def accuracy(folder, run: str) -> float:
    return json.loads((folder / run / "results.json").read_text("utf-8"))["metrics"]["accuracy"]["value"]


def test_the_teacher_alone_is_learned_from_texts_without_labels(folder, call):
    """Three documents with wrong labels: what the student knows of all others it has from the teacher."""
    wrong = {"astronomy": "cooking", "cooking": "sailing", "sailing": "astronomy"}
    write_csv(folder / "wrong.csv", [(text, wrong[label]) for text, label in make_rows(3, seed=8)])
    few = "--train wrong.csv --min-count 1 --epochs 20 --lr 0.01 --teacher-weight 1".split()
    said = call("train", *student("taught", *few))
    assert "teacher: " in said and "3 training documents and 180 without label" in said
    assert accuracy(folder, "taught") >= 0.9
    ours, theirs = (textcls.load(name).predict(TEXTS)[0] for name in ("taught", "teacher"))
    assert np.mean([a == b for a, b in zip(ours, theirs, strict=True)]) >= 0.9
    assert accuracy(folder, "taught/linear") < 0.5  # which has the wrong labels alone
    known = textcls.load("taught").vocabulary.tokenizer.get_vocab()
    assert {word for text in TEXTS for word in text.split()} <= known.keys()
    table = call("evaluate", "taught", "teacher", "--quiet")
    assert "taught" in table and "teacher" in table


def test_resumed_equals_uninterrupted(folder, call, monkeypatch):
    more = "--teacher-weight 0.6 --epochs 2 --save-every 3 --word-dropout 0.2".split()
    call("train", *student("whole", *more))
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        call("train", *student("stopped", *more), status=130)
    shutil.copytree(folder / "teacher", folder / "moved")
    meta = Run(folder / "stopped").meta()
    assert meta["config"]["teacher"] == str(folder / "teacher") and meta["config"]["teacher_weight"] == 0.6
    other = call("train", "--resume", "stopped", "--teacher", "smooth", status=2)
    assert "stopped: its teacher smooth is not the one it began with" in other
    texts = (folder / "texts.txt").read_text("utf-8")
    (folder / "texts.txt").write_text(texts + "one more\n", "utf-8")
    changed = call("train", "--resume", "stopped", status=2)
    assert "the unlabelled documents are not those the run began with" in changed
    (folder / "texts.txt").write_text(texts, "utf-8")
    call("train", "--resume", "stopped", "--teacher", "moved", "--quiet")
    for name in ("best.pt", "last.pt"):
        ours, theirs = Run(folder / "stopped").load(name), Run(folder / "whole").load(name)
        if name == "last.pt":
            ours, theirs = without_clock(ours), without_clock(theirs)
        assert equal(ours, theirs), name


def test_the_teachers_logits_are_computed_once(folder, call, monkeypatch):
    more = "--epochs 1 --teacher-weight 0.5".split()
    call("train", *student("first", *more))
    monkeypatch.setattr(type(textcls.load("teacher")), "timed_logits", lambda *_: pytest.fail("computed again"))
    monkeypatch.setattr(train, "test", lambda *_: None)
    call("train", *student("second", *more))
    assert equal(*(Run(folder / name).load("best.pt")["model"] for name in ("first", "second")))


def test_two_processes_are_one(folder):
    same = "--bert tiny --dropout 0 --epochs 2 --lr 1e-3 --device cpu --amp off --teacher-weight 0.4".split()
    base = [value for value in student("x", *same, model="bert")[:-2] if value not in ("--hidden", "--embedding", "16")]
    for count in (1, 2):
        at = base.index("--batch-size")
        own = [*base[: at + 1], str(16 // count), *base[at + 2 :]]
        processes(folder, count, *own, "--out", f"by-{count}")
    one, two = (Run(folder / f"by-{count}").load("last.pt")["model"] for count in (1, 2))
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=0, atol=1e-5, msg=name)
    rows = [Run(folder / f"by-{count}").metrics() for count in (1, 2)]
    for ours, theirs in zip(*rows, strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], abs=1e-5)


def test_an_ensemble_teaches_and_windows_are_read(folder, call):
    call("ensemble", "teacher", "smooth", "--out", "both", "--quiet")
    windows = "--long-documents window --max-length 8 --stride 4 --epochs 1".split()
    said = call("train", *student("windowed", *windows, model="lstm"), "--teacher", "both")
    assert "(its weights were fitted there)" in said and "longer than up to 8 windows" in said


def test_a_fine_tuned_bert_in_a_folder_of_others_teaches(folder, call):
    """Nobody knows what it was trained on: that is said."""
    call("train", *"--model bert --bert tiny --epochs 1 --max-length 16 --quiet".split(), *FILES, "--out", "bert")
    call("evaluate", "bert", *"--export published --format hf".split())
    said = call("train", *student("foreign", "--teacher", "published", "--epochs", "1"))
    assert "published, " in said and "(which documents it was trained on is not known)" in said


def test_each_seed_has_the_teacher_of_its_seed(folder, call):
    """With a dev share the documents that a teacher may have seen depend on the seed."""
    own = "--train train.csv --dev 0.3 --test test.csv --quiet --seeds 1 2".split()
    call("train", "--model", "linear", *own, "--out", "teachers")
    more = "--hidden 8 --embedding 8 --epochs 1 --model lstm".split()
    said = call("train", *own, *more, "--teacher", "teachers", "--out", "students")
    assert "teachers/seed-1, " in said and "teachers/seed-2, " in said and "2 runs" in said
    own = [*own[:-3], "--seed", "2"]
    said = call("train", *own, *more, "--teacher", "teachers/seed-1", "--out", "leak", status=2)
    assert "teachers/seed-1 was trained on" in said and "dev documents of this run; give both the same files" in said


def test_each_fold_has_the_teacher_of_its_fold(tmp_path):
    for name in ("seed-1", "fold-1", "fold-2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").touch()
    config = TrainConfig(teacher=str(tmp_path), fold="2/5", seed=1)
    assert teacher.folder_of(config) == tmp_path / "fold-2"
    assert teacher.folder_of(dataclasses.replace(config, fold=None)) == tmp_path / "seed-1"
    assert teacher.folder_of(dataclasses.replace(config, fold=None, seed=2)) == tmp_path


def test_columns_are_those_of_the_students_labels(folder, call, monkeypatch):
    """A teacher whose labels stand in another order."""
    monkeypatch.chdir(folder)
    config = TrainConfig(model="lstm", train="train.csv", dev="dev.csv", teacher="teacher", quiet=True)
    config = recipes.complete(config)
    recipe = recipes.choose(config)
    found = []
    for order in ([0, 1, 2], [2, 0, 1]):
        corpus, _ = recipes.TASKS["classification"].prepare(config, Run("new"), recipe)

        def load(folder, device, order=order):
            predictor = textcls.load(folder, device)
            predictor.labels = [predictor.labels[i] for i in order]
            return predictor

        def logits(predictor, split, quiet, order=order):
            return predictor.timed_logits(split, quiet)[0][:, order], 0.0

        monkeypatch.setattr(teacher, "cached_logits", logits)
        said = teacher.teach(config, Run("new"), corpus, load)
        assert isinstance(corpus.train, Taught) and "dev accuracy 1.0000" in said[0]
        found.append(corpus.train.probabilities)
    assert np.array_equal(*found) and (found[0].argmax(1) == corpus.train.labels).mean() > 0.95


@pytest.mark.parametrize("more, message", [
    (["--teacher", "none"], "none: no such run folder"),
    (["--teacher", "tiny"], "tiny/config.json: architectures is BertModel"),
    (["--train", "pair.csv", "--dev", "0.2", "--test", "0.2"], "its labels are not those of the training data"),
    (["--dev", "0.3"], "teacher was trained on 24 of the 24 dev documents of this run"),
    (["--teacher-weight", "0"], "--teacher-weight 0.0: must be above 0"),
    (["--teacher-weight", "1.5"], "--teacher-weight 1.5: must be above 0 and at most 1"),
    (["--unlabelled", "none.txt"], "none.txt: no such file"),
    (["--unlabelled", ""], "--unlabelled '': expected a name; leave it out, or say what"),
])  # fmt: skip
def test_what_does_not_teach_is_refused(folder, call, more, message):
    said = call("train", *student("refused", *more), status=2)
    assert message in said
    assert not (folder / "refused").exists()


def test_settings_without_a_teacher_and_of_other_tasks_are_refused(folder, call):
    base = ["--model", "lstm", *FILES, "--quiet"]
    assert "--unlabelled goes with --teacher RUN" in call("train", *base, "--unlabelled", "texts.txt", status=2)
    assert "--teacher-weight goes with --teacher RUN" in call("train", *base, "--teacher-weight", "1", status=2)
    tagger = ["--task", "tagging", "--model", "bilstm-scratch", *FILES, "--teacher", "teacher"]
    assert "--teacher does not apply to" in call("train", *tagger, status=2)
    (folder / "scores.csv").write_text("text,label\n" + "".join(f"{word} a,{i}\n" for i, word in enumerate(FILLER)))
    scores = "--task regression --model bert --bert tiny --train scores.csv --dev 0.3 --epochs 1 --max-length 8"
    call("train", *scores.split(), "--quiet", "--out", "scores")
    said = call("train", *student("refused", "--teacher", "scores"), status=2)
    assert "scores: a run of --task regression, expected a classifier" in said


def test_the_plan_needs_no_teacher(call):
    said = call("train", "--model", "bilstm-scratch", "--teacher", "nowhere", "--plan")
    assert "activations, head" in said


# ---- the linear model -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("smoothing, scale", [(0.0, None), (0.2, torch.tensor([0.5, 2.0, 1.0]))])
def test_soft_targets_are_the_loss_of_a_step(smoothing, scale):
    """Of all documents as one step: with cross-entropy to the teacher's probabilities as its loss."""
    torch.manual_seed(0)
    logits, of_teacher = torch.randn(5, 3), torch.randn(5, 3).softmax(1)
    labels, labelled = torch.tensor([2, IGNORED, 0, IGNORED, 1]), [0, 2, 4]
    targets = soft_targets(labels, of_teacher, 0.3, scale, smoothing)
    own = label_loss(logits[labelled], labels[labelled], scale, smoothing) / 3
    distance = -(of_teacher * logits.log_softmax(1)).sum() / 5
    assert -(targets * logits.log_softmax(1)).sum().item() / 5 == pytest.approx((0.7 * own + 0.3 * distance).item())


def test_naive_bayes_of_documents_that_are_partly_of_a_class():
    """A document that is 2/3 of one class and 1/3 of another counts as three: twice in the one, once in the other."""
    rows, words = torch.tensor([0, 0, 1, 2]), torch.tensor([0, 1, 2, 0])
    values = torch.tensor([0.5, 1.0, 2.0, 0.7])
    shares = torch.tensor([[2.0, 1.0], [3.0, 0.0], [0.0, 3.0]]) / 3
    ours = naive_bayes(Bags(rows, words, values, 3, 3), shares, 2, 0.1)
    again = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2])  # the three documents, three times each
    labels = torch.tensor([0, 0, 1, 0, 0, 0, 1, 1, 1])
    places = [(number, word, value / 3) for number, row in enumerate(again.tolist())
              for at, word, value in zip(rows.tolist(), words.tolist(), values.tolist(), strict=True) if at == row]
    many = Bags(*(torch.tensor(column) for column in zip(*places, strict=True)), 9, 3)
    assert torch.allclose(ours, naive_bayes(many, labels, 2, 0.1), atol=1e-6)


@pytest.mark.parametrize("more, least", [
    ([], 0.9),
    ("--long-documents window --max-length 8 --stride 4".split(), 0.8),  # of six words most may be fillers
])  # fmt: skip
def test_the_linear_model_learns_from_a_teacher(folder, call, more, least):
    write_csv(folder / "few.csv", make_rows(3, seed=8))
    own = ["--train", "few.csv", *more]
    base = ["--model", "linear", *FILES, "--quiet", *own]
    name = "windows" if more else "cut"
    call("train", *base, "--out", f"linear-{name}")
    said = call("train", *base, "--teacher", "teacher", "--unlabelled", "texts.txt", "--teacher-weight", "1",
                "--out", f"taught-{name}")  # fmt: skip
    assert "3 training documents and 180 without label" in said
    assert accuracy(folder, f"taught-{name}") >= least > accuracy(folder, f"linear-{name}")
