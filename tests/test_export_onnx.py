"""ONNX folders, held to the models that they come from: what ONNX Runtime and predict.py answer is what we answer."""

import importlib.util
import json
import math
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import torch

from tests.conftest import TOPICS, make_rows, save_tiny, write_csv
from tests.test_every_model import asked
from textcls import recipes
from textcls.config import TrainConfig
from textcls.data import squad
from textcls.data.corpus import Corpus
from textcls.export import examples, int8, onnx_folder
from textcls.models.bert import BertConfig
from textcls.models.crf import CRF
from textcls.models.elmo import ElmoConfig
from textcls.models.ensemble import ENSEMBLES
from textcls.models.recurrent import WordDims
from textcls.runtime.device import Precision
from textcls.runtime.errors import InputError
from textcls.tasks import TASKS
from textcls.tasks.combination import Classes, SeveralLabels
from textcls.tasks.ensemble import EnsemblePredictor, Member, SeveralLabelsEnsemble
from textcls.text import passages
from textcls.text.characters import TOKENS, Characters
from textcls.text.division import UNBROKEN, WORD
from textcls.text.vocabulary import Vocabulary
from textcls.training.run import Foreign

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

ROWS = [text for text, _ in make_rows(60)]
TEXTS = ["a star and a comet", "Flour!", " ".join(ROWS[:4]), "an unknownword, and [SEP] a star star star", ""]
PAIRS = [("a star", "and a comet"), (TEXTS[2], "flour"), (TEXTS[2], TEXTS[2] + " sail"), ("wind", "")]
LABELS = {"classification": sorted(TOPICS), "multilabel": sorted(TOPICS), "regression": ["score"],
          "tagging": ["O", "B-X", "I-X"], "spans": []}  # fmt: skip
QUESTIONS = [
    ("a star", " ".join(ROWS[:6])),  # several windows
    ("where is the mast near the old harbour, and whose is it, this new rope of a very small sail?", " ".join(ROWS[6:9])),
    ("who", "star"),
    ("What?", "A  STAR\u0301, na\u00efve e\u0301te\u0301 \u661f\u661f\tk\u200de\ufe0fel; half \ud800 of it"),
    ("near", "sail \U0001f3f4\U000e0067\U000e007f of a mast\U0001f3f4\U000e0067"),
    ("wind \udce9", "\u0301 the wind [SEP] and the [MASK] tide"),
    ("a", "\u200b"),  # no token
]
CPU = torch.device("cpu"), Precision(None, "")


def vocabulary_of(kind: str, task: str):
    if kind == "characters":
        return Characters.make(TOKENS["words"], 20)
    if kind == "pieces":
        return Vocabulary.learn(ROWS, 120)
    words = Vocabulary.learn_words(ROWS, 60, 1, UNBROKEN if task == "tagging" else WORD)
    return words.with_pairs(ROWS, 40) if kind == "bag" else words


def dims_of(kind: str, vocabulary):
    if kind == "characters":
        return ElmoConfig(filters=((1, 4), (2, 6), (3, 8)), projection=6, cells=10, characters=5, word_length=20)
    if kind == "pieces":
        sizes = {"hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 10}
        return BertConfig(len(vocabulary), max_position_embeddings=64, **sizes)
    return WordDims(vocabulary.largest_id + 1, 10)


def predictor_of(model: str, task: str = "classification", seed: int = 0, **settings):
    """A predictor whose weights are random, and large enough for every part of it to matter."""
    known = TASKS[task].DEFAULTS | recipes.RECIPES[model, task]["defaults"]
    small = {"hidden": 6, "layers": 2, "max_length": 24, "elmo": "bilm"}
    small = {name: value for name, value in small.items() if name in known and (name == "elmo" or known[name])}
    config = recipes.complete(TrainConfig(model=model, task=task, train="x.csv", **small | settings))
    recipe = recipes.choose(config)
    vocabulary = vocabulary_of(recipe["input"], task)
    dims = dims_of(recipe["input"], vocabulary)
    torch.manual_seed(seed)
    network = recipes.build(config, dims, len(LABELS[task]))
    for name, tensor in network.state_dict().items():
        tensor.normal_(std=0.4).abs_() if name == "idf" else tensor.normal_(std=0.4)
    meta = {"labels": LABELS[task], "config": config.stored(), "dims": vars(dims), "range": [-0.2, 0.3]}
    return TASKS[task].Predictor(Foreign("run", meta), meta, recipe, config, network, vocabulary, *CPU)


def module_of(folder: pathlib.Path):
    """predict.py of a folder."""
    spec = importlib.util.spec_from_file_location("predict", folder / "predict.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def written(predictor, folder: pathlib.Path):
    lines = onnx_folder.write(predictor, folder)
    assert all("model.onnx: logits within" in line or "combine.onnx: logits within" in line for line in lines)
    return module_of(folder)


# ---- every model ----------------------------------------------------------------------------------------------------

CLASSIFIERS = [model for model, task in recipes.RECIPES if task == "classification"]
SETTINGS = [
    ("bert", {"pooling": "attention+max"}),
    ("bert", {"long_documents": "window", "max_length": 10, "stride": 3, "max_windows": 4}),
    ("bilstm", {"pooling": "last"}),
    ("bilstm-scratch", {"truncate": "tail", "max_length": 9}),
    ("lstm", {"truncate": "headtail", "max_length": 10, "pooling": "last"}),
    ("bert-bilstm", {"features": "cls"}),
    ("elmo-bilstm", {"elmo_layers": "concatenate", "long_documents": "window", "max_length": 8}),
    ("elmo-lstm", {"mix_norm": True}),
]


@pytest.mark.parametrize("model, settings", [*((model, {}) for model in CLASSIFIERS), *SETTINGS])
def test_classifiers(tmp_path, model, settings):
    predictor = predictor_of(model, **settings)
    predictor.temperature = 1.7
    labels, probabilities = written(predictor, tmp_path).predict(TEXTS)
    expected = torch.from_numpy(predictor.logits(TEXTS)) / 1.7
    assert labels == [LABELS["classification"][i] for i in expected.argmax(1)]
    assert probabilities == pytest.approx(expected.softmax(1).numpy(), abs=1e-5)
    assert np.ptp(expected.numpy(), 0).max() > 1e-3, np.ptp(expected.numpy(), 0)  # the texts are told apart


@pytest.mark.parametrize("model, settings", [
    ("bert", {"max_length": 17}),  # an odd number of tokens for both texts
    ("bert", {"max_length": 16, "truncate": "headtail"}),
    ("bilstm", {"truncate": "tail"}),
    ("lstm", {}),
])  # fmt: skip
def test_pairs(tmp_path, model, settings):
    predictor = predictor_of(model, text_column="a,b", **settings)
    _, probabilities = written(predictor, tmp_path).predict(PAIRS)
    assert probabilities == pytest.approx(torch.from_numpy(predictor.logits(PAIRS)).softmax(1).numpy(), abs=1e-5)


@pytest.mark.parametrize("model", ["bert", "bilstm", "linear", "probe"])
def test_several_labels(tmp_path, model):
    predictor = predictor_of(model, "multilabel")
    probabilities = 1 / (1 + np.exp(-predictor.logits(TEXTS).astype(np.float64)))
    predictor.model.thresholds.copy_(torch.from_numpy(np.sort(probabilities, 0)[1:3].mean(0)))  # between two texts
    labels, found = written(predictor, tmp_path).predict(TEXTS)
    assert found == pytest.approx(probabilities, abs=1e-5)
    assert labels == predictor.predict(TEXTS)[0] and len({len(of) for of in labels}) > 1


@pytest.mark.parametrize("model", ["bert", "bilstm", "lstm"])
def test_scores(tmp_path, model):
    predictor = predictor_of(model, "regression")
    assert written(predictor, tmp_path).predict(TEXTS) == pytest.approx(predictor.predict(TEXTS), abs=1e-5)


@pytest.mark.parametrize("bounds", [[-math.inf, math.inf], [-math.inf, 0.1], [-0.1, math.inf]])
def test_scores_of_a_model_without_a_range(tmp_path, bounds):
    """As of other people's: what JSON has not is null."""
    predictor = predictor_of("bert", "regression")
    predictor.meta["range"] = bounds
    assert written(predictor, tmp_path).predict(TEXTS) == pytest.approx(predictor.predict(TEXTS), abs=1e-5)
    values = json.loads((tmp_path / "config.json").read_text("utf-8"), parse_constant=pytest.fail)
    assert values["range"] == [bound if math.isfinite(bound) else None for bound in bounds]


@pytest.mark.parametrize("model", [model for model, task in recipes.RECIPES if task == "tagging"])
@pytest.mark.parametrize("crf", [False, True])
def test_taggers(tmp_path, model, crf):
    if crf and model not in ("bert", "bilstm-scratch", "elmo-bilstm"):
        pytest.skip("one model of each kind of input")
    predictor = predictor_of(model, "tagging", crf=crf, max_length=12)
    sentences = [TEXTS[0].split(), ["Flour!"], (" ".join(ROWS[:5])).split(), ["no\u00a0break", "\u200b", "x" * 300]]
    tag = written(predictor, tmp_path).predict
    assert [tag(words) for words in sentences] == predictor.predict(sentences)


SPAN_MODELS = [model for model, task in recipes.RECIPES if task == "spans"]
SPAN_SETTINGS = [
    ("bert", {"decoder": "blstm"}),
    ("bert", {"max_length": 40, "stride": 100}),  # a stride longer than a window
    ("bert", {"max_length": 64, "stride": 1}),
    ("blstm", {"max_length": 17, "stride": 3}),
]


@pytest.mark.parametrize("model, settings", [*((model, {}) for model in SPAN_MODELS), *SPAN_SETTINGS])
def test_answers_to_questions(tmp_path, model, settings):
    predictor = predictor_of(model, "spans", **{"stride": 7} | settings)
    page = written(predictor, tmp_path)
    for pair, expected in zip(QUESTIONS, predictor.n_best(QUESTIONS), strict=True):
        found = page.answers(*pair)
        assert [(text, start, end) for text, _, start, end in found] == [(a.text, a.start, a.end) for a in expected]
        assert [share for _, share, *_ in found] == pytest.approx([a.probability for a in expected], abs=1e-5)
        assert len(found) == len(expected) <= 20
    best = predictor.predict(QUESTIONS)
    assert page.predict(QUESTIONS) == [(a.text, pytest.approx(a.probability, abs=1e-5), a.start, a.end) for a in best]
    assert len({a.text for a in best}) > 3  # the texts are told apart
    assert page.JOINED == passages.JOINED and page.MARKS == passages.MARKS


def test_a_span_model_has_the_usual_inputs_and_outputs(tmp_path):
    import onnxruntime

    predictor = predictor_of("bert", "spans")
    written(predictor, tmp_path)
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    assert [part.name for part in session.get_inputs()] == ["input_ids", "attention_mask", "token_type_ids"]
    assert [part.name for part in session.get_outputs()] == ["start_logits", "end_logits"]
    inputs = onnx_folder.example_of(predictor, 3, 11, np.random.default_rng(0))
    with torch.no_grad():
        expected = predictor.model(**inputs).numpy()
    given = {onnx_folder.NAMES[name]: tensor.numpy() for name, tensor in inputs.items()}
    for place, found in enumerate(session.run(None, given)):
        assert found.shape == (3, 11) and np.abs(found - expected[..., place]).max() < 1e-4


def test_no_answer_ends_before_it_begins(tmp_path, monkeypatch):
    """Where the best beginnings all come behind the best ends, there is none, as in the library."""
    predictor = predictor_of("bert", "spans", max_length=64)
    page, pair = written(predictor, tmp_path), QUESTIONS[0]

    def rising(rows, *_, **__):
        slope = np.arange(64.0, dtype=np.float32)
        return [np.tile(slope, (len(rows), 1)), np.tile(-slope, (len(rows), 1))]

    monkeypatch.setattr(page, "run", rising)
    monkeypatch.setattr(predictor.model, "forward", lambda ids, mask=None, segments=None: torch.from_numpy(
        np.stack(rising(ids), -1)[:, : ids.shape[1]]))  # fmt: skip
    assert page.answers(*pair) == [] == predictor.n_best([pair])[0]
    assert page.predict([pair]) == [("", 0.0, 0, 0)] == [tuple(predictor.predict([pair])[0])]


def test_questions_are_typed_with_their_passages(tmp_path):
    predictor = predictor_of("bilstm", "spans")
    written(predictor, tmp_path)
    pairs = QUESTIONS[:3]
    command = [sys.executable, "predict.py", *(text for pair in pairs for text in pair)]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60).stdout
    for line, answer in zip(said.splitlines(), predictor.predict(pairs), strict=True):
        text, probability = line.split("\t")
        assert text == answer.text and float(probability) == pytest.approx(answer.probability, abs=1e-4)
    assert "python predict.py QUESTION PASSAGE [QUESTION PASSAGE…]" in (tmp_path / "predict.py").read_text("utf-8")


@pytest.mark.parametrize("combine", ENSEMBLES)
def test_ensembles(tmp_path, combine):
    members = [predictor_of("bilstm"), predictor_of("linear", seed=1)]
    members[1].labels = ["sailing", "astronomy", "cooking"]
    torch.manual_seed(2)
    model = ENSEMBLES[combine](2, 3)
    meta = {"labels": LABELS["classification"], "members": [], "combine": combine}
    columns = [[0, 1, 2], [1, 2, 0]]
    predictor = EnsemblePredictor(
        Classes, Foreign("run", {}), meta, model, [Member(m, c) for m, c in zip(members, columns, strict=True)], CPU[0]
    )
    predictor.temperature = 0.6
    labels, probabilities = written(predictor, tmp_path).predict(TEXTS)
    expected = torch.from_numpy(predictor.logits(TEXTS)) / 0.6
    assert probabilities == pytest.approx(expected.softmax(1).numpy(), abs=1e-5)
    assert labels == [LABELS["classification"][i] for i in expected.argmax(1)]


@pytest.mark.parametrize("combine", SeveralLabels.MODELS)
def test_ensembles_of_several_labels(tmp_path, combine):
    members = [predictor_of("bilstm", "multilabel"), predictor_of("linear", "multilabel", seed=1)]
    torch.manual_seed(2)
    model = SeveralLabels.build(combine, 2, 3)
    torch.nn.init.normal_(next(model.parameters()))
    meta = {"labels": LABELS["multilabel"], "members": [], "combine": combine}
    members[1].labels = ["sailing", "astronomy", "cooking"]
    columns = [[0, 1, 2], [1, 2, 0]]
    predictor = SeveralLabelsEnsemble(
        SeveralLabels, Foreign("run", {}), meta, model, [Member(m, c) for m, c in zip(members, columns)], CPU[0]
    )
    model.thresholds.copy_(torch.from_numpy(np.sort(predictor.predict(TEXTS)[1], 0)[1:3].mean(0)))
    labels, probabilities = written(predictor, tmp_path).predict(TEXTS)
    expected, shares = predictor.predict(TEXTS)
    assert probabilities == pytest.approx(shares, abs=1e-5) and np.ptp(shares, 0).max() > 1e-3
    assert labels == expected and len({len(of) for of in labels}) > 1


def test_ensembles_of_pairs_are_typed_as_pairs(tmp_path):
    members = [predictor_of("bilstm", text_column="a,b"), predictor_of("linear", seed=1, text_column="a,b")]
    meta = {"labels": LABELS["classification"], "members": [], "combine": "weighted"}
    model = ENSEMBLES["weighted"](2, 3)
    predictor = EnsemblePredictor(
        Classes, Foreign("run", {}), meta, model, [Member(member, [0, 1, 2]) for member in members], CPU[0]
    )
    labels, probabilities = written(predictor, tmp_path).predict(PAIRS)
    assert probabilities == pytest.approx(predictor.predict(PAIRS)[1], abs=1e-5)
    command = [sys.executable, "predict.py", *(text for pair in PAIRS for text in pair)]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60).stdout
    assert [line.split("\t")[0] for line in said.splitlines()] == labels
    assert "python predict.py TEXT TEXT [TEXT TEXT…]" in (tmp_path / "predict.py").read_text("utf-8")


# ---- what it rests on -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["bert", "bilstm"])
@pytest.mark.parametrize("rows, tokens", [(1, 5), (7, 64)])
def test_logits_at_sizes_that_were_not_traced(tmp_path, model, rows, tokens):
    predictor = predictor_of(model)
    onnx_folder.write_graph(predictor, tmp_path / "model.onnx")
    inputs = onnx_folder.example_of(predictor, rows, tokens, np.random.default_rng(5))
    assert rows == 1 or "mask" not in inputs or 0 < inputs["mask"].sum() < rows * tokens  # rows with padding
    run = onnx_folder.Session(tmp_path / "model.onnx")
    with torch.no_grad():
        assert (run(**inputs) - predictor.model(**inputs)).abs().max() < 1e-4


def test_a_graph_that_holds_the_size_it_was_made_with_is_not_written(tmp_path):
    class Baked(torch.nn.Module):
        def forward(self, ids, mask):
            return ids.float().sum(1, keepdim=True) / int(mask.sum(1).max())

    predictor = predictor_of("lstm")
    predictor.model = Baked()
    with pytest.raises(InputError, match="the ONNX model's logits differ by"):
        onnx_folder.write_graph(predictor, tmp_path / "model.onnx")


def test_viterbi_of_the_example_is_the_best_of_all_ways():
    torch.manual_seed(0)
    crf, scores = CRF(3), torch.randn(5, 3)
    for part in crf.parameters():
        torch.nn.init.normal_(part)
    names = {"CONFIG": {"crf": {name: part.tolist() for name, part in crf.named_parameters()}}, "np": np}
    exec(examples.VITERBI, names)
    ways = torch.cartesian_prod(*[torch.arange(3)] * 5)
    values = crf.score(scores.expand(len(ways), 5, 3), ways, torch.full((len(ways),), 5))
    assert names["best"](scores.numpy()) == ways[values.argmax()].tolist()


@pytest.mark.parametrize("model, task", [("bert", "tagging"), ("bilstm", "classification"), ("bert", "spans")])
def test_8_bits_of_any_model(tmp_path, model, task):
    predictor = predictor_of(model, task)
    onnx_folder.write_graph(predictor, tmp_path / "model.onnx")
    int8.quantise(tmp_path / "model.onnx", tmp_path / "model.int8.onnx")
    inputs = onnx_folder.example_of(predictor, 7, 20, np.random.default_rng(5))
    with torch.no_grad():
        exact, rounded = predictor.model(**inputs), onnx_folder.Session(tmp_path / "model.int8.onnx")(**inputs)
    assert 0 < (rounded - exact).abs().max() < 0.25 * exact.std() + 0.05


def test_8_bits_of_answers_are_judged_on_the_dev_questions(tmp_path, monkeypatch):
    texts = [text.split() for text in ROWS[:8]]
    (tmp_path / "x.json").write_text(json.dumps(asked(texts)), "utf-8")
    questions = squad.read(str(tmp_path / "x.json"), ["question", "context", "answer"])
    corpus = Corpus("x", "x", [], questions, questions, questions)
    monkeypatch.setattr(int8, "dev_documents", lambda *_: corpus)
    predictor = predictor_of("bert", "spans")
    onnx_folder.write_graph(predictor, tmp_path / "model.onnx")
    said, *_ = int8.write(predictor, tmp_path, None, True)
    found = predictor.predict(list(zip(questions.questions, questions.contexts, strict=True)))
    right = np.mean([answer.text == gold[0].text for answer, gold in zip(found, questions.golds, strict=True)])
    assert said.startswith("int8 on 16 dev questions: answer_f1 ") and "exact_match" in said
    assert f"(fp32 {right:.4f});" in said


@pytest.mark.parametrize("task", ["lm", "pretrain"])
def test_what_gives_no_answer_is_refused(tmp_path, task):
    predictor = object.__new__(TASKS[task].Predictor)
    predictor.run, predictor.config = Foreign("run", {}), TrainConfig(task=task)
    with pytest.raises(InputError, match=f"answers questions; a run of --task {task} gives a text no answer"):
        onnx_folder.write(predictor, tmp_path)


# ---- through the command --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx")
    write_csv(folder / "train.csv", make_rows(60))
    save_tiny(folder / "tiny", ROWS)
    return folder


@pytest.fixture
def run(call, folder):
    if not (folder / "run").exists():
        flags = "--train train.csv --dev 0.3 --test 0.2 --epochs 1 --quiet --max-length 16".split()
        call("train", *"--model bilstm --bert tiny --hidden 4 --out run".split(), *flags)
    return "run"


def test_the_folder_needs_nothing_of_this_library(call, run, folder):
    text = call("evaluate", run, *"--export out --format onnx".split())
    assert "logits within" in text and "all that is needed to predict" in text
    assert sorted(path.name for path in (folder / "out").iterdir()) == [
        "config.json", "model.onnx", "predict.py", "tokenizer.json"
    ]  # fmt: skip
    (folder / "in.txt").write_text("a star\nflour and butter\n", "utf-8")
    ours = call("evaluate", run, "--predict", "in.txt")
    blocked = "import sys; sys.modules['torch'] = sys.modules['textcls'] = None; sys.argv.pop(0); import runpy; "
    blocked += "runpy.run_path(sys.argv[0], run_name='__main__')"
    command = [sys.executable, "-I", "-c", blocked, "out/predict.py", "a star", "flour and butter"]
    theirs = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=60).stdout
    for one, other in zip(ours.splitlines(), theirs.splitlines(), strict=True):
        assert one.split("\t")[0] == other.split("\t")[0]
        assert float(one.split("\t")[1]) == pytest.approx(float(other.split("\t")[1]), abs=2e-3)  # bf16, where there is


@pytest.mark.parametrize("clock, kept", [((0, 9, 0, 1) * 3, True), ((0, 1, 0, 9) * 3, False)])
def test_8_bits_are_kept_where_they_are_faster(call, run, folder, monkeypatch, clock, kept):
    """fp32 and int8 take these seconds, in turn."""
    ticks = iter(clock)
    monkeypatch.setattr("textcls.export.int8.time.perf_counter", lambda: next(ticks))
    text = call("evaluate", run, "--export", f"int8-{kept}", *"--format onnx --int8 --quiet".split())
    assert "int8 on 15 dev documents: accuracy" in text and ("not written" in text) != kept
    assert (folder / f"int8-{kept}" / "model.int8.onnx").exists() == kept


def test_what_is_refused(call, run, folder):
    assert "--int8 goes with" in call("evaluate", run, *"--export x --format hf --int8".split(), status=2)
    call("ensemble", run, "run/linear", *"--out both --quiet".split())
    error = call("evaluate", "both", *"--export x --format onnx --int8".split(), status=2)
    assert "export the members" in error and not (folder / "x").exists()
    lines = (folder / "train.csv").read_text("utf-8").replace("star", "stars")
    (folder / "train.csv").write_text(lines, "utf-8")
    error = call("evaluate", run, *"--export x --format onnx --int8".split(), status=2)
    assert "the dev documents are not those the run began with" in error and not (folder / "x").exists()


def test_8_bits_of_several_labels(call, folder):
    """Both are judged at the run's thresholds, which predict.py has."""
    pairs = zip(make_rows(60), make_rows(61)[1:])
    rows = [f"{text} {other},{label}|{second}" for (text, label), (other, second) in pairs]
    (folder / "several.csv").write_text("\n".join(["text,label", *rows]) + "\n", "utf-8")
    flags = "--task multilabel --model linear --train several.csv --dev 0.3 --quiet --out several".split()
    dev = json.loads(call("train", *flags) and (folder / "several/metrics.jsonl").read_text("utf-8").splitlines()[-1])
    text = call("evaluate", "several", *"--export int8-several --format onnx --int8 --quiet".split())
    assert f"(fp32 {dev['dev']['micro_f1']:.4f})" in text.partition("micro_f1")[2].partition(",")[0], text


@pytest.mark.parametrize("arguments, texts", [((), None), (("star", "oven"), 1), (("star",), None), (("a",) * 4, 2)])
def test_the_example_of_pairs_says_what_it_wants(tmp_path, arguments, texts):
    written(predictor_of("bilstm", text_column="a,b"), tmp_path)
    command = [sys.executable, tmp_path / "predict.py", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert len(done.stdout.splitlines()) == (texts or 0)
    assert done.returncode == (0 if texts else 1) and ("python predict.py TEXT TEXT [" in done.stderr) == (not texts)
    assert "Traceback" not in done.stderr


def test_the_example_of_several_labels_prints_their_probabilities(tmp_path):
    predictor = predictor_of("bilstm", "multilabel")
    predictor.model.thresholds.copy_(torch.tensor([0.0, 0.0, 1.0]))
    written(predictor, tmp_path)
    command = [sys.executable, tmp_path / "predict.py", *TEXTS]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.splitlines()
    labels, probabilities = predictor.predict(TEXTS)
    for line, names, row in zip(printed, labels, probabilities, strict=True):
        values = [float(value) for value in line.split("\t")[1::2]]
        assert line.split("\t")[::2] == names and len(names) == 2
        assert values == pytest.approx([row[predictor.labels.index(name)] for name in names], abs=1e-4)


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_what_is_missing_is_named(call, run, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    error = call("evaluate", run, *"--export x --format onnx".split(), status=2)
    assert "needs ONNX and its runtime: pip install onnx onnxruntime" in error


def test_config_of_a_folder(tmp_path):
    predictor = predictor_of("bert", long_documents="window", max_length=12)
    onnx_folder.write(predictor, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text("utf-8"))
    assert config["labels"] == LABELS["classification"] and config["temperature"] == 1
    assert (config["max_length"], config["stride"], config["max_windows"]) == (12, 5, 8)
