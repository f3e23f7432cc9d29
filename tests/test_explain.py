"""What words count for a class, a label, a score: left out, by integrated gradients, and by a linear model's weights."""

import json

import numpy as np
import pytest
import torch

import textcls
from tests.conftest import save_tiny
from textcls import explain as explanations
from textcls.config import TrainConfig
from textcls.explain import WORD, explain, table_of, unfrozen
from textcls.report.words import Explanation, Word, in_terminal, page
from textcls.runtime.errors import InputError
from textcls.tasks import TASKS, documents
from textcls.text.sequences import ends
from textcls.training.run import Foreign

CLASSES = {"red": "fire rose blood brick", "blue": "sky sea ice ink", "green": "leaf grass moss frog"}
TEXTS = "text,label\n" + "".join(f"the {a} and a {b},{name}\n" for name, words in CLASSES.items()
                                for a in words.split() for b in words.split())  # fmt: skip
PAIRS = "a,b,label\n" + "".join(f"{a} {b},{b} it's,{name}\n" for name, words in CLASSES.items()
                               for a in words.split() for b in words.split())  # fmt: skip
SEVERAL = "text,label\n" + "".join(f"{a} and {b} and {c},{one}|{two}\n" for one, words in CLASSES.items()
                                   for two, others in CLASSES.items() if one < two
                                   for a, b in zip(words.split(), others.split()) for c in (a, b))  # fmt: skip
SCORES = "text,label\n" + "".join(f"the {a} and a {b},{len(a) - len(b) / 4}\n" for words in CLASSES.values()
                                  for a in words.split() for b in words.split())  # fmt: skip
SIZES = "--bert tiny --dev 0.25 --epochs 1 --max-length 24 --batch-size 8 --amp off"
COMMON = f"{SIZES} --train texts.csv"
OF_LABELS = f"{SIZES} --task multilabel --train several.csv --test 0.2"
OF_SCORES = f"{SIZES} --task regression --train scores.csv"
NETWORKS = {
    "bilstm": f"--model bilstm --hidden 8 {COMMON}",
    "bert": f"--model bert --fresh-layers 0 --word-dropout 0 {COMMON}",
    "bert-frozen": f"--model bert --freeze 1 {COMMON}",
    "bilstm-scratch": f"--model bilstm-scratch --embedding 16 --hidden 8 {COMMON}",
    "bert-lstm": f"--model bert-lstm --hidden 8 {COMMON}",
    "probe": f"--model probe {COMMON}",
    "trans-blstm-2": f"--model trans-blstm-2 --fresh-layers 0 --word-dropout 0 {COMMON}",
    "bert-labels": f"--model bert --fresh-layers 0 --word-dropout 0 {OF_LABELS}",
    "bilstm-labels": f"--model bilstm --hidden 8 {OF_LABELS}",
    "bert-score": f"--model bert --fresh-layers 0 --word-dropout 0 {OF_SCORES}",
    "bilstm-score": f"--model bilstm --hidden 8 {OF_SCORES}",
}
OTHERS = {
    "linear": f"--model linear {COMMON}",
    "linear-labels": f"--model linear {OF_LABELS}",
    "pairs": "--model bilstm --bert tiny --train pairs.csv --text-column a,b --dev 0.25 --epochs 1 --max-length 24",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the scripts run."""
    folder = tmp_path_factory.mktemp("explain")
    save_tiny(folder / "tiny", TEXTS.splitlines())
    (folder / "texts.csv").write_text(TEXTS)
    (folder / "pairs.csv").write_text(PAIRS)
    (folder / "several.csv").write_text(SEVERAL)
    (folder / "scores.csv").write_text(SCORES)
    return folder


@pytest.fixture
def run(call, folder):
    """A trained run of each model, made when it is first asked for."""

    def made(name: str) -> textcls.predictor.Predictor:
        if not (folder / name).exists():
            call("train", *(NETWORKS | OTHERS)[name].split(), "--out", name)
        return textcls.load(str(folder / name))

    return made


def outputs(predictor, logits: torch.Tensor) -> torch.Tensor:
    """What the task makes of logits (N, C), by the textbook: in float64 (N, C)."""
    logits = logits.double()
    match predictor.config.task:
        case "classification":
            return (logits / predictor.temperature).exp() / (logits / predictor.temperature).exp().sum(1, keepdim=True)
        case "multilabel":
            return 1 / (1 + (-logits).exp())
        case "regression":
            low, high = predictor.range
            return logits.minimum(torch.tensor(high)).maximum(torch.tensor(low))


def test_words():
    assert WORD.findall("It's not—don’t! 3.5") == ["It's", "not", "—", "don’t", "!", "3", ".", "5"]


# ---- leaving words out ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["bilstm", "linear"])
def test_leaving_out_is_what_it_says(run, name):
    predictor, text = run(name), "the sky, and the ice"
    (found,) = explain(predictor, [text], "leave-one-out")
    labels, (probabilities,) = predictor.predict([text])
    at = predictor.labels.index(labels[0])
    assert found.label == labels[0] and found.value == pytest.approx(probabilities[at])
    assert [found.spelled(word) for word in found.words] == ["the", "sky", ",", "and", "the", "ice"]
    shorter = ["" + " sky, and the ice", "the , and the ice", "the sky and the ice", "the sky,  the ice",
               "the sky, and  ice", "the sky, and the "]  # fmt: skip
    for word, other in zip(found.words, shorter, strict=True):
        assert word.value == pytest.approx(probabilities[at] - predictor.predict([other])[1][0, at], abs=1e-6)


def test_the_copies_of_a_long_text_are_answered_in_chunks(run, monkeypatch):
    predictor, text = run("linear"), "the sky and the ice " * 30
    _, shares = predictor.predict([text, text.replace("sky", "", 1)])
    asked, logits = [], predictor.logits
    monkeypatch.setattr(predictor, "logits", lambda texts: asked.append(len(texts)) or logits(texts))
    (found,) = explain(predictor, [text], "leave-one-out")
    assert len(found.words) == 150 and sum(asked) == 151 and max(asked) <= 64
    at = shares[0].argmax()
    assert found.words[1].value == pytest.approx(shares[0, at] - shares[1, at], abs=1e-6)


def test_pairs_of_texts(run):
    predictor = run("pairs")
    (found,) = explain(predictor, [("sky ice", "ice it's")])
    words = [(word.part, found.spelled(word)) for word in found.words]
    assert words == [(0, "sky"), (0, "ice"), (1, "ice"), (1, "it's")]
    whole, left = predictor.predict([("sky ice", "ice it's"), ("sky ice", " it's")])[1]
    assert found.words[2].value == pytest.approx(whole.max() - left[whole.argmax()], abs=1e-6)
    with pytest.raises(InputError, match="--by gradients explains one text .* not pairs"):
        list(explain(predictor, [("sky", "ice")], "gradients"))


def test_a_long_text_is_read_a_part_at_a_time(run, monkeypatch):
    predictor, text = run("linear"), "sky ice the rose moss " * 9
    at_once = next(explain(predictor, [text], "leave-one-out"))
    logits, sizes = predictor.logits, []
    monkeypatch.setattr(predictor, "logits", lambda texts: (sizes.append(len(texts)), logits(texts))[1])
    monkeypatch.setattr("textcls.explain.TOGETHER", 7 * len(text))
    in_parts = next(explain(predictor, [text], "leave-one-out"))
    assert sizes == [7] * 6 + [4] and len(in_parts.words) == 45
    assert [word.value for word in in_parts.words] == pytest.approx([word.value for word in at_once.words], abs=1e-6)
    monkeypatch.setattr("textcls.explain.MOST_CHARACTERS", 45 * len(text) - 1)
    with pytest.raises(InputError, match=f"a text of 45 words and {len(text)} characters"):
        next(explain(predictor, [text], "leave-one-out"))


def test_a_text_without_words(run):
    (found,) = explain(run("bilstm"), [" \t"])
    assert not found.words and "no word counts" in in_terminal(found, coloured=True)


# ---- labels and scores ----------------------------------------------------------------------------------------------


def shorter(text: str) -> list[str]:
    """The text without each of its words in turn."""
    return [text[: match.start()] + text[match.end() :] for match in WORD.finditer(text)]


@pytest.mark.parametrize("name", ["bilstm-labels", "linear-labels", "ensemble"])
def test_every_label_that_a_text_gets_is_explained(run, call, folder, name):
    text = "the sky and a rose"
    if name == "ensemble":
        run("bilstm-labels")
        call("ensemble", "bilstm-labels", "bilstm-labels/linear", "--combine", "weighted", "--out", name, "--quiet")
    predictor = run(name)
    (shares,) = predictor.predict([text])[1]
    second, third = np.sort(shares)[[-2, -3]]
    predictor.model.thresholds.fill_((second + third) / 2)  # two labels of the three
    (labels,), (shares,) = predictor.predict([text])
    answers = list(explain(predictor, [text], "leave-one-out"))
    assert [found.label for found in answers] == labels and len(labels) == 2
    without = predictor.predict(shorter(text))[1]
    for found in answers:
        column = predictor.labels.index(found.label)
        assert found.predicted and found.value == pytest.approx(shares[column], abs=1e-6)
        expected = shares[column] - without[:, column]
        assert [word.value for word in found.words] == pytest.approx(expected.tolist(), abs=1e-6)


def test_where_no_label_reaches_its_threshold_the_most_probable_one_is_explained(run):
    predictor = run("linear-labels")
    predictor.model.thresholds.fill_(1.0)
    answers = list(explain(predictor, ["the sky and a rose", "moss"]))
    assert [found.document for found in answers] == [0, 1]
    for found, (labels, shares) in zip(answers, map(predictor.predict, (["the sky and a rose"], ["moss"]))):
        assert labels == [[]] and found.label == predictor.labels[shares[0].argmax()] and not found.predicted
        assert in_terminal(found, False).splitlines()[0].endswith("\tnot predicted: below its threshold")
        assert not found.as_json()["predicted"] and "not predicted" in page([found], "why")


def test_a_class_below_the_threshold_is_said_to_be(run):
    predictor = run("linear")
    assert next(explain(predictor, ["moss"])).predicted
    predictor.threshold = 1.0
    assert predictor.predict(["moss"])[0] == [""] and not next(explain(predictor, ["moss"])).predicted


def test_scores_are_explained_as_they_are_predicted(run):
    """Beyond the training scores, too, where they stay as they are."""
    predictor, text = run("bilstm-score"), "the sky, and the ice"
    raw = predictor.logits([text, *shorter(text)])[:, 0].astype(float)
    middle = np.sort(raw)[len(raw) // 2]
    for bounds, words in (([-9, 9], "the score, less"), ([-9, middle], "highest"), ([middle, 9], "lowest")):
        predictor.meta["range"] = bounds
        (found,) = explain(predictor, [text])
        score, *others = predictor.predict([text, *shorter(text)])
        assert found.label is None and found.value == score == np.clip(raw[0], *bounds)
        assert [word.value for word in found.words] == pytest.approx([score - other for other in others], abs=1e-6)
        if raw[0] > bounds[1] or raw[0] < bounds[0] or words.startswith("the"):
            assert words in found.note
    assert np.ptp(raw) > 1e-5


def test_weights_of_a_label_sum_up_to_its_logit(run):
    predictor, text = run("linear-labels"), "the sky and a sky and a rose"
    predictor.model.thresholds.zero_()  # every label is given
    answers, (logits,) = list(explain(predictor, [text])), predictor.logits([text])
    assert {found.label for found in answers} == set(predictor.labels)
    bias = dict(zip(predictor.labels, predictor.model.bias.tolist(), strict=True))
    expected = dict(zip(predictor.labels, logits.tolist(), strict=True))
    for found in answers:
        total = sum(word.value for word in found.words) + bias[found.label]
        assert total == pytest.approx(expected[found.label], abs=1e-5) and found.note == "the word's terms of the logit"
        assert found.value == pytest.approx(1 / (1 + np.exp(-total)), abs=1e-6)


# ---- integrated gradients -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_sum_up_to_the_difference(run, name):
    """Completeness (the paper's proposition 1), and every value against differences of the model's own outputs: the sum
    over the way of the change along one piece's vector."""
    predictor, text = run(name), "the grass and a frog"
    with torch.no_grad():
        for parameter in predictor.model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(3 if name.startswith("bilstm") else 8)  # to where answers depend on the text
    if predictor.config.task == "multilabel":
        predictor.model.thresholds.copy_(torch.from_numpy(predictor.predict([text])[1][0] - 0.01))  # all are given
    if predictor.config.task == "regression":
        predictor.meta["range"] = [-1e3, 1e3]
    answers = list(explain(predictor, [text], "gradients"))
    model, vocabulary = predictor.model, predictor.vocabulary
    pieces, place = vocabulary.encode([text])[0].tolist(), len(vocabulary.begin)
    assert ends(vocabulary) == place + len(vocabulary.end)
    row = torch.tensor([[*vocabulary.begin, *pieces, *vocabulary.end]])
    empty = torch.tensor([[*vocabulary.begin, *[vocabulary.pad] * len(pieces), *vocabulary.end]])
    values = np.zeros((len(pieces), len(predictor.labels)))
    with torch.no_grad():
        reached, left = (outputs(predictor, model(ids))[0].numpy() for ids in (row, empty))
        table = table_of(model, predictor)
        here, there = table(row).double(), table(empty).double()
        for step in range(32):
            middle = there + (step + 0.5) / 32 * (here - there)
            for i in range(len(pieces)):
                change = torch.zeros_like(here)
                change[0, place + i] = (here - there)[0, place + i]
                ends_of = []
                for sign in (0.5, -0.5):
                    vectors = (middle + sign / 32 * change).float()
                    hook = table.register_forward_hook(lambda *_, vectors=vectors: vectors)
                    ends_of.append(outputs(predictor, model(row))[0].numpy())
                    hook.remove()
                values[i] += ends_of[0] - ends_of[1]
    assert len(answers) == (len(predictor.labels) if predictor.config.task == "multilabel" else 1)
    for found in answers:
        column = 0 if found.label is None else predictor.labels.index(found.label)
        assert found.value == pytest.approx(reached[column], abs=1e-6)
        difference = reached[column] - left[column]
        assert abs(difference) > 1e-3  # there is something to explain
        total = sum(word.value for word in found.words)
        assert total == pytest.approx(difference, rel=0.05) and values[:, column].sum() == pytest.approx(total, rel=0.1)
        if len(pieces) == len(found.words):
            ours = [word.value for word in found.words]
            assert np.allclose(values[:, column], ours, atol=0.1 * np.abs(values[:, column]).max())


def test_nothing_stays_changed(run):
    predictor = run("bert-lstm")
    before, state = predictor.predict(["a leaf"])[1], {n: p.grad for n, p in predictor.model.named_parameters()}
    list(explain(predictor, ["a leaf"], "gradients"))
    assert np.array_equal(before, predictor.predict(["a leaf"])[1])
    assert all(p.grad is state[name] for name, p in predictor.model.named_parameters())
    with unfrozen(predictor.model):
        assert not any(getattr(module, "frozen", False) for module in predictor.model.modules())
    assert predictor.model.encoder.source.frozen is True


# ---- a linear model's weights ---------------------------------------------------------------------------------------


def test_weights_are_all_that_a_linear_model_computes(run):
    predictor = run("linear")
    texts = ["the sky and a sky and a sea", "unheard of words", "the grass and a frog"]
    for text, found in zip(texts, explain(predictor, texts), strict=True):
        logits = predictor.logits([text])[0].astype(np.float64)
        bias = predictor.model.bias.detach().double().numpy()
        label = int(logits.argmax())
        assert found.label == predictor.labels[label]
        total = logits[label] - logits.mean() - (bias[label] - bias.mean())
        assert sum(word.value for word in found.words) == pytest.approx(total, abs=1e-5)
    # one word, by hand: no pair, so all that counts is its own weight at value 1
    (alone,) = explain(predictor, ["sea"])
    at = predictor.vocabulary.tokenizer.token_to_id("sea")
    weight = predictor.model.weight.detach()[at].double()
    assert alone.words[0].value == pytest.approx(float(weight.max() - weight.mean()), abs=1e-6)


def test_pairs_of_words_are_shared_by_both(run):
    predictor, text = run("linear"), "the sky and a sea"
    (found,) = explain(predictor, [text])
    model, vocabulary = predictor.model, predictor.vocabulary
    ids = torch.from_numpy(np.asarray(vocabulary.encode([text])[0])).long()[None]
    _, features, values = model.bag(ids)
    label = predictor.labels.index(found.label)
    weight = model.weight.detach()
    term = {int(f): float(v * (weight[f, label] - weight[f].mean())) for f, v in zip(features, values, strict=True)}
    words = text.split()
    expected = [term.get(vocabulary.tokenizer.token_to_id(word), 0.0) for word in words]
    for i, (first, second) in enumerate(zip(words, words[1:], strict=False)):
        pair = vocabulary.tokenizer.token_to_id(f"{first} {second}")
        if pair is not None:
            expected[i] += term[pair] / 2
            expected[i + 1] += term[pair] / 2
    assert [word.value for word in found.words] == pytest.approx(expected, abs=1e-6)


# ---- the command ----------------------------------------------------------------------------------------------------


def test_the_command(run, call, folder):
    run("bilstm")
    (folder / "asked.txt").write_text("the sky and <b>ice</b>\nno & yes\x1b[2J\n")
    said = call("evaluate", "bilstm", "--explain", "asked.txt")
    assert said.count("\n\n") == 1 and "\x1b" not in said and "the probability, less what it is without" in said
    lines = call("evaluate", "bilstm", "--explain", "asked.txt", "--by", "gradients", "--json").splitlines()
    first = json.loads(lines[0])
    assert len(lines) == 2 and first["words"][1]["word"] == "sky" and first["words"][1]["start"] == 4
    said = call("evaluate", "bilstm", "--explain", "asked.txt", "--html", "why.html")
    content = (folder / "why.html").read_text()
    assert "2 texts" in said and "&lt;" in content and "<b>ice" not in content and "<script" not in content


@pytest.mark.parametrize(
    "options, message",
    [
        ("bilstm --explain asked.txt --by weights", "is no linear model: --by weights is not there"),
        ("linear --explain asked.txt --by gradients", "reads no word vectors: --by gradients is not there"),
        ("bilstm --by weights", "--by goes with --explain"),
        ("bilstm --explain nothing.txt", "nothing.txt"),
        ("bilstm-score --explain asked.txt --by weights", "is no linear model: --by weights is not there"),
    ],
)
def test_what_is_not_there(run, call, folder, options, message):
    run("bilstm"), run("linear"), run("bilstm-score")
    (folder / "asked.txt").write_text("the sky\n")
    assert message in call("evaluate", *options.split(), status=2)


@pytest.mark.parametrize("name", TASKS)
def test_every_task_is_explained_or_says_why_not(name):
    predictor = object.__new__(TASKS[name].Predictor)
    predictor.run, predictor.config = Foreign("run", {}), TrainConfig(task=name)
    if isinstance(predictor, documents.Predictor):
        explanations.check_task(predictor)
        own = type(predictor)
        assert own.outputs is not documents.Predictor.outputs and own.explained is not documents.Predictor.explained
        return
    with pytest.raises(InputError, match=f"this is a run of --task {name}: (each word|an answer is|it gives)"):
        next(explanations.explain_file(predictor, "nowhere.txt", "lines", None))


def test_colours():
    found = Explanation(("good bad so",), "x", 0.5, [Word(0, 0, 4, 0.2), Word(0, 5, 8, -0.1), Word(0, 9, 11, 0.0)], "n")
    coloured = in_terminal(found, coloured=True)
    assert "\x1b[48;2;9;105;218m\x1b[38;2;0;0;0mgood\x1b[0m \x1b[48;2;222;166;128m" in coloured
    assert coloured.splitlines()[1].endswith(" so")
    assert "good +0.200  bad -0.100 (n)" in coloured
    assert 'title="+0.2000">good</mark>' in page([found], "why")


def test_small_numbers_are_told():
    found = Explanation(("good bad",), None, 0.00012, [Word(0, 0, 4, 0.00002), Word(0, 5, 8, -0.5)], "n")
    assert in_terminal(found, False) == "0.00012\ngood bad\nbad -0.500  good +2.0e-05 (n)"


def test_the_command_for_labels_and_scores(run, call, folder):
    run("linear-labels"), run("bilstm-score")
    (folder / "asked.csv").write_text("text\nsky and ice and rose\nfrog\n")
    lines = list(map(json.loads, call("evaluate", "linear-labels", "--explain", "asked.csv", "--json").splitlines()))
    given = [line.split("\t")[::2] for line in call("evaluate", "linear-labels", "--predict", "asked.csv").splitlines()]
    told = [[line["label"] for line in lines if line["document"] == i and line["predicted"]] for i in range(2)]
    assert told == [[label for label in labels if label] for labels in given]
    assert set(lines[0]) == {"document", "label", "probability", "predicted", "words", "note"}
    call("evaluate", "linear-labels", "--explain", "asked.csv", "--html", "why.html")
    assert (folder / "why.html").read_text().count('class="answer"') == len(lines)
    said = call("evaluate", "bilstm-score", "--explain", "asked.csv", "--json").splitlines()
    scores = [float(line) for line in call("evaluate", "bilstm-score", "--predict", "asked.csv").splitlines()]
    assert [json.loads(line)["score"] for line in said] == pytest.approx(scores, abs=1e-4)
    assert "label" not in json.loads(said[0])
    first = call("evaluate", "bilstm-score", "--explain", "asked.csv").splitlines()[0]
    assert float(first) == pytest.approx(scores[0], abs=1e-4)
    call("evaluate", "bilstm-score", "--explain", "asked.csv", "--html", "why.html")
    assert "Blue words raise the score, orange ones lower it" in (folder / "why.html").read_text()
