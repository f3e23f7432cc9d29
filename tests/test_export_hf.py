"""A run as Hugging Face's folder, held to transformers; and such folders, ours and others', as what predicts."""

import itertools
import json
import pathlib
import shutil

import numpy as np
import pytest
import torch

import textcls
import train
from tests.conftest import make_rows, save_tiny, write_csv
from tests.test_every_model import asked
from textcls.export import hf
from textcls.pretrained.finetuned import HEADS
from textcls.pretrained.safetensors import read_safetensors, write_safetensors
from textcls.runtime import files
from textcls.runtime.errors import InputError
from textcls.text.sequences import assemble
from textcls.training.run import Run

TEXTS = ["a star and a comet", "flour, butter and the very old onion of a small oven near the wind", "Sail"]
KINDS = ("one", "several", "pair", "score", "tags", "spans")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hf")
    rows = make_rows(40)
    write_csv(folder / "one.csv", rows)
    write_csv(folder / "score.csv", [(text, len(text.split()) / 4) for text, _ in rows])
    several = [f'"{text} {rows[-i][0]}",{"|".join(sorted({label, rows[-i][1]}))}' for i, (text, label) in enumerate(rows)]
    (folder / "several.csv").write_text("\n".join(["text,label", *several]) + "\n", "utf-8")
    pairs = [f'"{text}","{rows[-i][0]}",{label}' for i, (text, label) in enumerate(rows)]
    (folder / "pair.csv").write_text("\n".join(["first,second,label", *pairs]) + "\n", "utf-8")
    sentences = [text.split() for text, _ in rows]
    lines = ["\n".join(f"{word} {'B-X' if word in 'star oven wind' else 'O'}" for word in words) for words in sentences]
    (folder / "tags.conll").write_text("\n\n".join(lines) + "\n", "utf-8")
    (folder / "spans.json").write_text(json.dumps(asked(sentences)), "utf-8")
    save_tiny(folder / "tiny", [text for text, _ in rows] * 2, initializer_range=0.5)
    return folder


@pytest.fixture
def trained(call, folder, monkeypatch):
    """A run of bert on a kind of data, trained by the first test that asks for it, without the linear reference."""
    monkeypatch.setattr(train, "ending", lambda *arguments: [])

    def run(kind: str, *flags: str) -> str:
        out = f"runs/{'-'.join([kind, *flags]).replace('--', '')}"
        if not (folder / out).exists():
            tasks = {"score": "regression", "tags": "tagging", "spans": "spans", "several": "multilabel"}
            task = tasks.get(kind, "classification")
            path = next(folder.glob(f"{kind}.*")).name
            common = f"--model bert --task {task} --bert tiny --train {path} --test {path} --dev 0.2 --amp off"
            common += " --epochs 3 --batch-size 8 --lr 5e-3 --dropout 0"
            pair = ["--text-column", "first,second"] * (kind == "pair")
            size = "24" if kind == "spans" else "16"
            call("train", *common.split(), "--quiet", "--max-length", size, "--out", out, *pair, *flags)
        return out

    return run


@pytest.fixture
def exported(call, trained, folder):
    def export(kind: str, *flags: str) -> str:
        out = f"hf/{'-'.join([kind, *flags]).replace('--', '')}"
        if not (folder / out).exists():
            text = call("evaluate", trained(kind, *flags), "--export", out, "--format", "hf")
            assert "from_pretrained opens it" in text and "all that is needed to predict" in text
        return out

    return export


def opened(folder: str):
    """(the model, the tokeniser) as transformers opens them, by the class that config.json names."""
    transformers = pytest.importorskip("transformers")
    name = json.loads(pathlib.Path(folder, "config.json").read_text("utf-8"))["architectures"][0]
    model = getattr(transformers, f"AutoModel{name.removeprefix('Bert')}").from_pretrained(folder)
    assert type(model).__name__ == name
    return model.eval(), transformers.AutoTokenizer.from_pretrained(folder)


def theirs(folder: str, *texts, **more) -> np.ndarray:
    model, tokenizer = opened(folder)
    inputs = tokenizer(*texts, padding=True, truncation=True, return_tensors="pt", **more)
    with torch.no_grad():
        return model(**inputs).logits.numpy()


# ---- what transformers makes of it ----------------------------------------------------------------------------------


@pytest.mark.parametrize("flags", [(), ("--truncate", "tail")])
def test_logits_of_texts(exported, trained, flags):
    folder, predictor = exported("one", *flags), textcls.load(trained("one", *flags))
    assert np.ptp(predictor.logits(TEXTS), 0).min() > 0.1
    assert np.abs(theirs(folder, TEXTS) - predictor.logits(TEXTS)).max() < 2e-5
    config = opened(folder)[0].config
    assert [config.id2label[i] for i in range(3)] == predictor.labels == sorted(config.label2id)
    assert config.problem_type == "single_label_classification"


def test_logits_of_pairs(exported, trained):
    folder, pairs = exported("pair"), [(TEXTS[0], "star"), ("oven", "the moon"), ("the wind of a sail", "keel")]
    logits = textcls.load(trained("pair")).logits(pairs)
    assert np.abs(theirs(folder, *map(list, zip(*pairs, strict=True))) - logits).max() < 2e-5


@pytest.mark.parametrize("flags", [(), ("--truncate", "tail")])
def test_the_odd_piece_of_pairs_that_are_cut(exported, trained, flags):
    """It is as docs/export.md says, and where it says nothing rows are the same."""
    predictor, (_, tokenizer) = textcls.load(trained("pair", *flags)), opened(exported("pair", *flags))
    vocabulary, room = predictor.vocabulary, predictor.config.max_length - 3
    assert room == 13 and len(vocabulary.encode(["star wind"])[0]) == 2
    apart = set()
    for first, second in itertools.product(range(1, 16), repeat=2):
        pair = " ".join(["star"] * first), " ".join(["wind"] * second)
        sides = [vocabulary.encode([text]) for text in pair]
        ours = assemble(sides, vocabulary, room + 3, predictor.config.truncate).rows[0].tolist()
        rows = tokenizer(*pair, truncation=True)["input_ids"]
        if ours != rows:
            apart.add((first, second))
            assert ours.index(vocabulary.sep) - 1 == 7 and rows.index(vocabulary.sep) - 1 == 6
    assert apart == {(a, b) for a, b in itertools.product(range(1, 16), repeat=2) if 6 < a <= b}


def test_logits_of_pairs_without_token_types(exported, trained, folder):
    """As of a model over DistilBERT."""
    if not (folder / "bare").exists():
        save_tiny(folder / "bare", [text for text, _ in make_rows(40)] * 2, initializer_range=0.5, type_vocab_size=0)
    out, pairs = exported("pair", "--bert", "bare"), [(TEXTS[0], "star"), ("oven", "the moon"), ("Sail", "keel")]
    expected = textcls.load(trained("pair", "--bert", "bare")).logits(pairs)
    assert np.ptp(expected, 0).min() > 0.01 and np.abs(textcls.load(out).logits(pairs) - expected).max() < 1e-6
    assert np.abs(theirs(out, *map(list, zip(*pairs, strict=True))) - expected).max() < 2e-5


def test_logits_of_several_labels(exported, trained):
    folder, predictor = exported("several"), textcls.load(trained("several"))
    assert np.abs(theirs(folder, TEXTS) - predictor.logits(TEXTS)).max() < 2e-5
    assert opened(folder)[0].config.problem_type == "multi_label_classification"
    assert textcls.load(folder).thresholds.tolist() == predictor.thresholds.tolist()


def test_scores(exported, trained):
    folder, predictor = exported("score"), textcls.load(trained("score"))
    assert np.abs(theirs(folder, TEXTS) - predictor.logits(TEXTS)).max() < 2e-5
    assert opened(folder)[0].config.problem_type == "regression"


def test_tags_of_words(exported, trained):
    folder, predictor = exported("tags"), textcls.load(trained("tags"))
    words = "a star and the very old oven".split()
    model, tokenizer = opened(folder)
    encoded = tokenizer([words], is_split_into_words=True, return_tensors="pt")
    of_word = encoded.word_ids(0)
    with torch.no_grad():
        logits = model(**encoded).logits[0, [of_word.index(i) for i in range(len(words))]].numpy()
    assert [model.config.id2label[int(tag)] for tag in logits.argmax(1)] == predictor.predict([words])[0]


def test_answers(exported, trained):
    folder, predictor = exported("spans"), textcls.load(trained("spans"))
    model, tokenizer = opened(folder)
    encoded = tokenizer("in", "the star saw a comet", return_tensors="pt")
    with torch.no_grad():
        found = model(**encoded)
        ours = predictor.model.cpu()(encoded["input_ids"], None, encoded["token_type_ids"])[0]
    assert (torch.stack([found.start_logits[0], found.end_logits[0]], 1) - ours).abs().max() < 2e-5


@pytest.mark.parametrize("kind, flags, part", [
    ("one", ("--pooling", "mean"), "--pooling mean; a run of train.py --pooling cls has"),
    ("one", ("--long-documents", "window"), "--long-documents window"),
    ("one", ("--truncate", "headtail"), "--truncate headtail"),
    ("tags", ("--crf",), "--crf"),
    ("spans", ("--decoder", "blstm"), "--decoder blstm"),
])  # fmt: skip
def test_what_does_not_fit_is_named(call, trained, folder, kind, flags, part):
    error = call("evaluate", trained(kind, *flags), *"--export hf/refused --format hf".split(), status=2)
    assert f"no place for {part}; --format onnx" in error
    assert not list((folder / "hf").glob("*refused*"))


def test_a_linear_model_and_an_ensemble_do_not_fit(call, trained):
    run = trained("one")
    call("train", *"--model linear --train one.csv --test one.csv --dev 0.2 --quiet --out runs/linear".split())
    error = call("evaluate", "runs/linear", *"--export hf/refused --format hf".split(), status=2)
    assert "no place for --model linear" in error
    call("ensemble", run, "runs/linear", *"--combine weighted --out runs/ensemble --quiet".split())
    error = call("evaluate", "runs/ensemble", *"--export hf/refused --format hf".split(), status=2)
    assert "no place for an ensemble" in error


def test_a_folder_is_new_and_whole(call, trained, folder, monkeypatch):
    run = trained("one")
    assert "is there already" in call("evaluate", run, *"--export tiny --format hf".split(), status=2)
    write_json = files.write_json

    def full(path, value, by_all=False):
        write_json(path, value, by_all)
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(files, "write_json", full)
    call("evaluate", run, *"--export hf/half --format hf".split(), status=2)
    assert not [path for path in (folder / "hf").iterdir() if "half" in path.name]


@pytest.mark.parametrize("flags, error", [
    ("--export x", "--export writes --format hf or onnx"),
    ("--export x --format csv", "--export writes --format hf or onnx"),
    ("--format hf", "--format hf goes with --export"),
    ("--export x --format hf --predict x", "--predict does not go with --export"),
    ("--submission x --predict x", "--predict does not go with --submission"),
    ("--predict x --sample 3", "--sample does not go with --predict"),
    ("--predict x --explain x", "--explain does not go with --predict"),
    ("--predict x --test x", "--test does not go with --predict"),
    ("--predict x --json", "--json does not go with --predict; the answers to a file of JSON Lines are JSON"),
    ("--sample 3 --json", "--json does not go with --sample"),
])  # fmt: skip
def test_flags(call, flags, error):
    assert error in call("evaluate", "run", *flags.split(), status=2)


# ---- such folders as what predicts ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_an_export_predicts_as_its_run(exported, trained, kind):
    run, again = textcls.load(trained(kind)), textcls.load(exported(kind))
    asked_for = {
        "one": [TEXTS],
        "several": [TEXTS],
        "pair": [[(TEXTS[0], "star"), ("oven", TEXTS[1])]],
        "score": [TEXTS],
        "tags": [[text.split() for text in TEXTS]],
        "spans": [[("in", TEXTS[1])]],
    }[kind]
    for one, other in zip(run.predict(*asked_for), again.predict(*asked_for), strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("kind", KINDS)
def test_an_export_is_evaluated_on_a_file(call, exported, trained, kind, folder):
    size = sum(path.stat().st_size for path in (folder / exported(kind)).iterdir())
    said = call("evaluate", exported(kind), "--test", next(folder.glob(f"{kind}.*")).name).splitlines()[-1]
    assert "model.safetensors" in said and f", {size / 1e3:.0f} kB" in said
    file = next(folder.glob(f"{kind}.*")).name
    values = [json.loads(call("evaluate", of, "--test", file, "--json", "--quiet")) for of in
              (trained(kind), exported(kind))]  # fmt: skip
    assert values[0]["metrics"] == values[1]["metrics"]
    assert not (folder / exported(kind) / "logits").exists()
    text = call("evaluate", exported(kind), "--test", file, "--quiet")
    assert f"to predict: {exported(kind)} (config.json, model.safetensors, tokenizer.json, " in text
    assert "without a test split; give one with --test" in call("evaluate", exported(kind), status=2)


@pytest.mark.parametrize("kind", KINDS)
def test_an_export_is_exported_as_it_is(call, exported, kind, tmp_path):
    call("evaluate", exported(kind), "--export", tmp_path / "again", "--format", "hf")
    before, after = pathlib.Path(exported(kind)), tmp_path / "again"
    for name in ("model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        assert (after / name).read_bytes() == (before / name).read_bytes()
    first, second = (json.loads((folder / "config.json").read_text("utf-8")) for folder in (before, after))
    assert first == second


def test_a_model_without_its_run_is_no_member(call, exported, trained):
    error = call("ensemble", exported("one"), trained("one"), "--quiet", status=2)
    assert f"{exported('one')}: a model without its run" in error


def test_an_export_knows_what_stands_between_labels(call, trained, folder):
    (folder / "divided.csv").write_text((folder / "several.csv").read_text("utf-8").replace("|", ";"), "utf-8")
    flags = "--train divided.csv --test divided.csv --label-separator ;".split()
    call("evaluate", trained("several", *flags), *"--export hf/divided --format hf".split())
    values = json.loads(call("evaluate", "hf/divided", *"--test divided.csv --json --quiet".split()))
    assert values["documents"] == 40 and set(values["per_label"]) == {label for _, label in make_rows(40)}


def foreign(folder: pathlib.Path, name: str, tiny: pathlib.Path, **config) -> pathlib.Path:
    """A model that transformers made, in the folder that it saves."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(1)
    values = json.loads((tiny / "config.json").read_text("utf-8"))
    dims = {key: value for key, value in values.items() if key not in ("architectures", "model_type")}
    getattr(transformers, name)(transformers.BertConfig(**dims | config)).save_pretrained(folder)
    shutil.copy(tiny / "tokenizer.json", folder)
    return folder


def test_a_foreign_classifier(folder, tmp_path):
    labels = {0: "no", 1: "yes", 2: "perhaps"}
    path = foreign(tmp_path / "model", "BertForSequenceClassification", folder / "tiny", id2label=labels, num_labels=3)
    predictor = textcls.load(path)
    import transformers

    ids = [[predictor.vocabulary.cls, *predictor.vocabulary.encode([text])[0], predictor.vocabulary.sep]
           for text in TEXTS]  # fmt: skip
    model = transformers.BertForSequenceClassification.from_pretrained(path).eval()
    with torch.no_grad():
        expected = torch.cat([model(torch.tensor([row])).logits for row in ids]).numpy()
    assert np.abs(predictor.logits(TEXTS) - expected).max() < 2e-5
    assert predictor.predict(TEXTS)[0] == [labels[i] for i in expected.argmax(1)]
    assert predictor.config.max_length == 32  # as many as it has positions: nothing else is said


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("config", [
    {"classifier_dropout": 0.4}, {"hidden_dropout_prob": 0.25}, {"classifier_dropout": 0.0},
])  # fmt: skip
def test_dropout_before_a_foreign_head_is_theirs(folder, tmp_path, name, config):
    """Which matters to who trains the model on, and to what is exported of it."""
    path = foreign(tmp_path / "model", name, folder / "tiny", **config)
    import transformers

    theirs = getattr(transformers, name).from_pretrained(path)
    predictor = textcls.load(path)
    expected = theirs.dropout.p if hasattr(theirs, "dropout") else 0.0
    assert predictor.model.dropout.p == predictor.config.dropout == expected
    if config.get("classifier_dropout") is not None:
        hf.write(predictor, tmp_path)
        assert json.loads((tmp_path / "config.json").read_text("utf-8"))["classifier_dropout"] == expected


@pytest.mark.parametrize("name, config, task", [
    ("BertForSequenceClassification", {"num_labels": 1}, "regression"),
    ("BertForTokenClassification", {"id2label": {0: "O", 1: "B-X", 2: "I-X"}}, "tagging"),
    ("BertForQuestionAnswering", {}, "spans"),
])  # fmt: skip
def test_other_foreign_heads(folder, tmp_path, name, config, task):
    predictor = textcls.load(foreign(tmp_path / "model", name, folder / "tiny", **config))
    assert predictor.config.task == task
    if task == "regression":
        assert np.array_equal(predictor.predict(TEXTS), predictor.logits(TEXTS)[:, 0])  # in no range


@pytest.mark.parametrize("bounds", [[None, None], [None, 0.5], [0.5, None]])
def test_a_score_may_have_no_range(call, exported, tmp_path, bounds):
    path = shutil.copytree(exported("score"), tmp_path / "changed")
    values = json.loads((path / "config.json").read_text("utf-8"))
    values["textcls"]["range"] = bounds
    (path / "config.json").write_text(json.dumps(values), "utf-8")
    predictor = textcls.load(path)
    low, high = (bound if value is None else value for bound, value in zip((-np.inf, np.inf), bounds))
    assert predictor.predict(TEXTS).tolist() == np.clip(predictor.logits(TEXTS)[:, 0].astype(float), low, high).tolist()
    call("evaluate", path, "--export", tmp_path / "again", "--format", "hf")
    again = json.loads((tmp_path / "again/config.json").read_text("utf-8"), parse_constant=pytest.fail)
    assert again["textcls"].get("range", [None, None]) == bounds
    assert textcls.load(tmp_path / "again").range == predictor.range


@pytest.mark.parametrize("change, message", [
    ({"architectures": ["BertModel"]}, "architectures is BertModel"),
    ({"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2"}, "architectures is GPT2LMHeadModel"),
    ({"architectures": None}, "architectures is none"),
    ({"id2label": {"0": "a", "1": "b"}}, "id2label has 2 labels, the head of the model 3 outputs"),
    ({"id2label": {"0": "a", "1": "a", "2": "b"}}, "a label twice"),
    ({"id2label": {"1": "a", "2": "b", "3": "c"}}, "numbers from 0 on"),
    ({"classifier_dropout": 1}, "--dropout 1.*below 1"),
    ({"classifier_dropout": "much"}, "dropout"),
    ({"problem_type": "ranking"}, "problem_type is 'ranking'"),
    ({"position_embedding_type": "relative_key"}, "position_embedding_type"),
    ({"textcls": 3}, "textcls is 3"),
    ({"textcls": {"settings": {"hidden": 3}}}, "--hidden does not apply"),
    ({"textcls": {"settings": {"bert": "x"}}}, "does not make a model"),
    ({"textcls": {"settings": {"max_length": 100_000}}}, "max_length is 100000, of "),
    ({"textcls": {"members": []}}, "expected an object of settings, temperature"),
    ({"textcls": {"temperature": 1e-300}}, "temperature is 1e-300, expected a number from 0.01 to 100"),
    ({"textcls": {"temperature": "warm"}}, "textcls.temperature is 'warm'"),
    ({"textcls": {"temperature": 0}}, "textcls.temperature is 0"),
    ({"textcls": {"range": [2, 1]}}, "textcls.range is"),
    ({"textcls": {"scheme": "x"}}, "textcls.scheme is 'x'"),
    ({"textcls": {"metrics": ["x"]}}, "textcls.metrics.0. is"),
])  # fmt: skip
def test_a_folder_that_is_none_of_ours_is_told(exported, tmp_path, change, message):
    path = shutil.copytree(exported("one"), tmp_path / "changed")
    values = json.loads((path / "config.json").read_text("utf-8"))
    (path / "config.json").write_text(json.dumps(values | change), "utf-8")
    with pytest.raises(InputError, match=message):
        textcls.load(path)


def test_weights_fit_strictly_but_for_an_idle_pooler(exported, tmp_path):
    path = shutil.copytree(exported("tags"), tmp_path / "changed")
    tensors = {name: tensor.clone() for name, tensor in read_safetensors(path / "model.safetensors").items()}
    idle = {f"bert.pooler.dense.{name}": torch.zeros(16, 16)[: 16 if name == "weight" else 1] for name in
            ("weight", "bias")}  # fmt: skip
    write_safetensors(tensors | idle, path / "model.safetensors")
    textcls.load(path)
    write_safetensors(tensors | {"crf.transitions": torch.zeros(3, 3)}, path / "model.safetensors")
    with pytest.raises(InputError, match="unknown crf.transitions"):
        textcls.load(path)


def test_a_fine_tuned_folder_is_a_backbone(call, exported):
    flags = "--train one.csv --dev 0.2 --test one.csv --epochs 1 --quiet --max-length 16".split()
    text = call("train", "--model", "bert", "--bert", exported("one"), *flags, "--out", "runs/again")
    assert "classifier.* (2) left out" in text
    bert = textcls.load_bert(exported("one"))
    theirs = textcls.load(exported("one")).model.bert.state_dict()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in bert.state_dict().items())


# ---- runs that were moved -------------------------------------------------------------------------------------------


def test_a_run_and_its_backbone_are_moved_together(call, folder, tmp_path, monkeypatch):
    shutil.copytree(folder / "tiny", tmp_path / "here/tiny")
    flags = "--train one.csv --dev 0.2 --test one.csv --epochs 1 --quiet --max-length 16 --hidden 4".split()
    call("train", "--model", "bilstm", "--bert", tmp_path / "here/tiny", *flags, "--out", tmp_path / "here/runs/x")
    expected = textcls.load(tmp_path / "here/runs/x").logits(TEXTS)
    shutil.move(tmp_path / "here", tmp_path / "there")
    monkeypatch.chdir(tmp_path)
    assert np.array_equal(textcls.load("there/runs/x").logits(TEXTS), expected)
    text = call("evaluate", "there/runs/x", "--quiet", "--test", folder / "one.csv")
    assert "to predict: there/runs/x (best.pt, config.json, tokenizer.json, calibration.json), " in text
    assert "its frozen backbone" in text and "there/tiny/model.safetensors" in text
    shutil.move("there/tiny", "elsewhere")
    with pytest.raises(InputError, match="say where it is with --bert FOLDER"):
        textcls.load("there/runs/x")
    assert np.array_equal(textcls.load("there/runs/x", bert="elsewhere").logits(TEXTS), expected)
    assert Run("there/runs/x").meta()["backbone"]["beside"] == "../../tiny"
