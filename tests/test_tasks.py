"""What a task module holds; and a task from outside, of which the library knows nothing but these names."""

import ast
import dataclasses
import inspect
import json
import pathlib
import re
import shutil
import time
import types

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import textcls
import train
from tests.conftest import ROOT, TOPICS, equal, make_rows, stop_after, without_clock
from textcls import recipes, tasks
from textcls.config import OPTIONS, TrainConfig
from textcls.data.corpus import Corpus, check_share, identify
from textcls.ledger.blocks import LONG, word_vectors
from textcls.ledger.plan import FLOAT, Block, plan
from textcls.metrics.classification import Correct
from textcls.metrics.statistics import bootstrap, mean
from textcls.models.recurrent import WordDims
from textcls.pretrained.backbone import words_of
from textcls.records import stream
from textcls.records.plain import PlainLines
from textcls.report.compare import Result
from textcls.runtime.errors import InputError
from textcls.runtime.progress import through
from textcls.tasks import TASKS, base
from textcls.text.batches import Batches
from textcls.text.division import WORD
from textcls.text.sequences import assemble
from textcls.text.vocabulary import Vocabulary, encode
from textcls.training.run import Run

# ---- the contract ---------------------------------------------------------------------------------------------------


def contract() -> dict[str, list[str] | None]:
    """{name: the parameters that tasks/__init__.py gives it, None for what is no function}."""
    lines = re.findall(r"^(\w+) {2,}(?:\((.*?)\))?", tasks.__doc__, flags=re.MULTILINE)
    return {name: parameters.split(", ") if parameters else None for name, parameters in lines}


def faults(task) -> list[str]:
    """Where a module is not what the contract wants of it."""
    found = []
    for name, parameters in contract().items():
        value = getattr(task, name, None)
        if value is None:
            found.append(f"{name} is missing")
        elif parameters is None:
            found += [f"{name} is a function"] if inspect.isfunction(value) else []
        else:
            ours = inspect.signature(value).parameters
            optional = [parameter.split("=")[0] for parameter in parameters if "=" in parameter]
            if list(ours) != [parameter.split("=")[0] for parameter in parameters]:
                found.append(f"{name}({', '.join(ours)})")
            found += [f"{name}: {p} has no default" for p in optional if ours[p].default is inspect.Parameter.empty]
    return found


def test_the_contract_is_read_as_it_is_written():
    names = "UNIT LABELS SELECT DEFAULTS load prepare batches loss evaluate result chance count_labels".split()
    assert list(contract()) == [*names, "Predictor", "predict_file"]
    assert contract()["load"] == ["config", "progress", "vocabulary=None"] and contract()["UNIT"] is None


@pytest.mark.parametrize("name", TASKS)
def test_every_task_keeps_the_contract(name):
    task = TASKS[name]
    assert not faults(task)
    assert isinstance(task, types.ModuleType) and task.__doc__
    assert task.UNIT.endswith("s") and isinstance(task.LABELS, str)
    assert task.DEFAULTS.keys() <= OPTIONS.keys() and task.DEFAULTS["select"] == task.SELECT[0]
    assert issubclass(task.Predictor, base.Predictor) and task.Predictor.read is not base.Predictor.read
    model = next(model for model, of in recipes.RECIPES if of == name)
    config = recipes.complete(TrainConfig(model=model, task=name, train="x"))
    assert list(inspect.signature(task.loss(config, None)).parameters) == ["model", "batch", "carry"]


def test_others_ask_a_task_for_these_names_and_for_no_others():
    """Whatever is asked of TASKS[name], or of what is called task, in the scripts and in textcls/ but for tasks/."""
    asked = set()
    for path in [*ROOT.glob("*.py"), *(ROOT / "textcls").rglob("*.py")]:
        if path.parent.name != "tasks":
            asked |= names_asked(ast.parse(path.read_text("utf-8")))
    assert asked == contract().keys()


def names_asked(module: ast.Module) -> set[str]:
    def is_task(node: ast.AST) -> bool:
        of_table = isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == "TASKS"
        of_job = isinstance(node, ast.Attribute) and node.attr == "task"
        return of_table or of_job or isinstance(node, ast.Name) and node.id == "task"

    return {node.attr for node in ast.walk(module) if isinstance(node, ast.Attribute) and is_task(node.value)}


# ---- a task from outside --------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Numbered:
    """N texts with a number each (N,) float32."""

    texts: list[str]
    numbers: np.ndarray
    ids: np.ndarray

    def __len__(self) -> int:
        return len(self.texts)


class counting:
    """How many words of a text are about the sky: a regression. Its files have lines NUMBER, tab, TEXT. (A class stands
    for the module tasks/counting.py: its functions are not methods.)"""

    UNIT = "texts"
    LABELS = ""
    SELECT = ("right", "loss")
    DEFAULTS = base.DEFAULTS | {"select": "right", "max_length": 32}

    def load(config, progress=iter, vocabulary=None):
        pool, dev = counting.read(config.train, "train", progress), config.dev_split
        check_share(dev)
        if isinstance(dev, str):
            split, held_out = pool, counting.read(dev, "dev", progress)
        else:
            cut = int(len(pool) * (1 - dev))
            split, held_out = (
                Numbered(pool.texts[part], pool.numbers[part], pool.ids[part])
                for part in (slice(None, cut), slice(cut, None))
            )
        test = counting.read(config.test, "test", progress) if config.test else None
        name = pathlib.Path(config.train).name
        return Corpus(name, f"{name} (numbers)", [], split, held_out, test)

    def read(path, pool, progress=iter):
        texts, numbers = [], []
        for place, line in enumerate(progress(pathlib.Path(path).read_text("utf-8").splitlines()), 1):
            number, tab, text = line.partition("\t")
            if not tab or not number.isdecimal():
                raise InputError(f"{path}:{place}: {line!r}, expected NUMBER, tab, TEXT")
            texts.append(text)
            numbers.append(int(number))
        return Numbered(texts, np.array(numbers, np.float32), identify(pool, [(text,) for text in texts]))

    def count_labels(config):
        return 0

    def prepare(config, run, recipe):
        corpus = base.read(counting.load, config)
        vocabulary = Vocabulary.learn_words(corpus.train.texts, config.vocab_size, config.min_count, WORD)
        return corpus, words_of(config, vocabulary)

    def batches(split, vocabulary, config, name):
        pieces = encode(vocabulary, split.texts, through(f"tokenising {name}", config.quiet))
        sequences = assemble([pieces], vocabulary, config.max_length)
        result = Batches(sequences, split.numbers, config.batch_size, config.seed, vocabulary.pad)
        result.description = f"{len(split)} texts, {split.numbers.mean():.1f} on average"
        return result

    def loss(config, corpus):
        def loss_fn(model, batch, carry):
            return {"label": F.mse_loss(model(**batch.inputs), batch.targets["labels"], reduction="sum")}, carry

        return loss_fn

    @torch.no_grad()
    def numbers(model, batches, device, precision):
        result = np.zeros(len(batches.lengths), np.float32)
        for documents in batches.sorted_order():
            batch = batches.collate(documents).to(device)
            with precision.autocast(device):
                result[documents] = model(**batch.inputs).float().cpu().numpy()
        return result

    def evaluate(batches, corpus, device, precision, quiet):
        def scores(model):
            error = counting.numbers(model, batches, device, precision) - batches.labels
            return {"right": float((abs(error) < 0.5).mean()), "nll": float((error**2).mean())}

        return scores

    def result(predictor, split, quiet):
        start = time.perf_counter()
        error = predictor.predict(split.texts) - split.numbers
        seconds = time.perf_counter() - start

        def values(weights):
            return np.stack([mean(value, weights) for value in (abs(error) < 0.5, error**2)], -1)

        metrics = {k: vars(v) for k, v in zip(("right", "squared_error"), bootstrap(values, len(split)), strict=True)}
        return Result({"metrics": metrics, "documents_per_s": len(split) / seconds}, Correct(abs(error) < 0.5))

    def chance(corpus):
        error = float(((corpus.dev.numbers - corpus.train.numbers.mean()) ** 2).mean())
        return {"metric": "nll", "value": error, "lower_is_better": True}

    class Predictor(base.Predictor):
        def predict(self, texts):
            sequences = assemble([self.vocabulary.encode(texts)], self.vocabulary, self.config.max_length)
            self.model.to(self.device)
            batches = Batches(sequences, None, base.BATCH, pad=self.vocabulary.pad)
            return counting.numbers(self.model, batches, self.device, self.precision)

        def read(self, path):
            return counting.read(path, "test")

        def records(self, lines, kind, columns):
            return PlainLines(lines, lambda where, texts: tuple(texts), columns)

    def predict_file(predictor, source, arguments):
        for texts in stream.items(predictor, source, "lines"):
            for (text,), number in zip(texts, predictor.predict([text for (text,) in texts]), strict=True):
                print(f"{number:.2f}\t{text}", flush=True)


class Sum(torch.nn.Module):
    """A vector for each word, added up; a number for the sum."""

    def __init__(self, dims: WordDims):
        super().__init__()
        self.table, self.number = torch.nn.Embedding(*vars(dims).values()), torch.nn.Linear(dims.hidden_size, 1)

    def forward(self, ids, mask=None, segments=None):
        vectors = self.table(ids)  # (B, T, H)
        if mask is not None:
            vectors = vectors * mask[..., None]
        return self.number(vectors.sum(1)).squeeze(1)  # (B,)


def sum_of_words(c, dims, labels):
    return Sum(dims)


def sum_of_words_blocks(c, dims, labels, step):
    H, B = dims.hidden_size, step.batch
    saved = {
        "mask (B, T)": LONG * step.slots * step.padded,
        "sums (B, H)": FLOAT * B * H,
        "numbers, predicted and true (B)": 2 * FLOAT * B,
    }
    return [
        word_vectors(dims, step),
        Block("sum", "head", saved, flop=2 * B * H, trainable=H + 1, products=H, extra=FLOAT * step.slots * H),
    ]


ROW = {
    "input": "words",
    "build": sum_of_words,
    "blocks": sum_of_words_blocks,
    "encoder": None,
    "share": lambda model, encoder, backbone: None,
    "frozen": lambda c: False,
    "amp": "off",
    "describe": lambda c, name: name,
    "about": {"sequence modelling": "none", "pooling": "sum"},
    "defaults": {"lr": 0.1, "epochs": 8, "embedding": 4, "vocab_size": 100, "min_count": 1},
    "nano": {},
}
COMMAND = "--task counting --model sum --train train.tsv --dev 0.2 --test test.tsv --batch-size 16 --quiet".split()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Files of the task, which is entered into the two tables, and nowhere else."""
    folder = tmp_path_factory.mktemp("counting")
    sky = set(TOPICS["astronomy"].split())
    for name, count, seed in (("train", 400, 0), ("test", 60, 1)):
        texts = [text for text, _ in make_rows(count, seed)]
        lines = [f"{sum(word in sky for word in text.split())}\t{text}\n" for text in texts]
        (folder / f"{name}.tsv").write_text("".join(lines), "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TASKS, "counting", counting)
        patch.setitem(recipes.RECIPES, ("sum", "counting"), ROW)
        yield folder


@pytest.fixture
def run(folder, call):
    """A trained run; what was printed is beside it."""
    if not (folder / "printed").exists():
        (folder / "printed").write_text(call("train", *COMMAND, *"--save-every 3 --out run".split()), "utf-8")
    return "run"


def results(folder: pathlib.Path) -> dict:
    return json.loads((folder / "results.json").read_text("utf-8"))


def test_the_toy_keeps_the_contract_and_what_does_not_is_seen():
    assert not faults(counting)
    assert faults(type("lazy", (counting,), {"chance": None})) == ["chance is missing"]
    assert faults(type("rash", (counting,), {"loss": lambda config: None})) == ["loss(config)"]
    assert faults(type("strict", (counting,), {"load": lambda config, progress, vocabulary: None})) == [
        "load: vocabulary has no default"
    ]


def test_it_trains(folder, run):
    printed = (folder / "printed").read_text("utf-8")
    for part in (
        "sum on cpu, fp32 (this model's recipe)",
        "data: train.tsv (numbers); train 320, dev 80, test 60",
        "words of the training texts",
        "train: 320 texts, ",
        "first words: [CLS] ",
        "trainable + 0 frozen parameters",
        "epoch 8/8  loss ",
        "  dev: right ",
        "by dev right; 160 updates",
        "predicted  measured",
        "test: test.tsv (numbers)\nright ",
        "\nsquared error ",
        "next: python evaluate.py run",
    ):
        assert part in printed, part
    assert "linear" not in printed and "None" not in printed
    found = results(folder / run)
    assert (found["task"], found["unit"], found["documents"]) == ("counting", "texts", 60)
    error = found["metrics"]["squared_error"]
    assert error["low"] <= error["value"] <= error["high"] < 0.1 * found["chance"]["value"]
    assert found["metrics"]["right"]["value"] > 0.95


def test_its_blocks_are_what_is_measured(folder, run):
    measured = json.loads((folder / run / "ledger.json").read_text("utf-8"))
    meta = Run(folder / run).meta()
    config = TrainConfig(**meta["config"])
    step = dataclasses.replace(recipes.step(config, "cpu", None), batch=measured["batch"], tokens=measured["tokens"])
    predicted = plan(recipes.blocks(config, recipes.read_dims(config, meta["dims"]), 0), step)
    assert predicted.activations() == measured["activations"] and measured["padded"]
    assert predicted.trainable == measured["trainable"] == 4 * meta["parameters"]["total"]


def test_resumed_equals_uninterrupted(folder, run, call, monkeypatch):
    with monkeypatch.context() as patch:
        stop_after(patch, 5)
        text = call("train", *COMMAND, *"--save-every 3 --out stopped".split(), status=130)
    assert "python train.py --resume stopped" in text
    assert Run(folder / "stopped").load("last.pt")["state"]["position"] > 0
    call("train", *"--resume stopped --quiet".split())
    whole, stopped = Run(folder / run), Run(folder / "stopped")
    assert equal(whole.load("best.pt"), stopped.load("best.pt"))
    assert equal(without_clock(whole.load("last.pt")), without_clock(stopped.load("last.pt")))


def test_it_is_evaluated_and_compared(folder, run, call):
    text = call("evaluate", run)
    assert text.startswith("run on test.tsv (numbers): 60 texts\nright ") and " texts/s on cpu" in text
    found = json.loads(call("evaluate", run, "--json"), parse_constant=pytest.fail)
    assert found["metrics"] == results(folder / run)["metrics"]
    assert "test.tsv: 60 texts" in call("evaluate", run, "--test", "test.tsv")
    call("train", *COMMAND, *"--seed 2 --epochs 1 --select loss --out brief".split())
    text = call("evaluate", run, "brief")
    for part in ("test right", "test squared error", "95 % interval", "test texts/s", "backbone", "words", "run is "):
        assert part in text, part
    rows = {line[:15].strip(): line for line in text.splitlines()}
    assert rows["pooling"].split() == ["pooling", "sum", "sum"]


def test_it_predicts(folder, run, call):
    texts = ["star planet and comet", "flour", "the the moon"]
    numbers = textcls.load(folder / run).predict(texts)
    assert numbers == pytest.approx([3, 0, 1], abs=0.5)
    (folder / "in.txt").write_text("\n".join(texts) + "\n", "utf-8")
    lines = call("evaluate", run, "--predict", "in.txt").splitlines()
    assert lines == [f"{number:.2f}\t{text}" for number, text in zip(numbers, texts, strict=True)]


def test_it_is_planned_without_data(folder, run, call):
    before = sorted(folder.rglob("*"))
    text = call("train", *COMMAND, *"--train none.tsv --plan --memory 1GB --nodes 2 --gpus 4 --out none".split())
    assert "at most 100 words in vectors of 4; micro-batches of 16 x 32 tokens" in text
    for part in ("activations, embedding", "activations, head", "the peak falls at", "micro-batch", "2 x 4 GPUs"):
        assert part in text, part
    assert sorted(folder.rglob("*")) == before


def test_its_seeds_are_summarised(folder, call):
    text = call("train", *COMMAND, *"--seeds 1 2 --epochs 3 --out both".split())
    found = json.loads((folder / "both" / "seeds.json").read_text("utf-8"))
    values = [results(folder / "both" / f"seed-{seed}")["metrics"]["squared_error"]["value"] for seed in (1, 2)]
    assert found["mean"]["squared_error"] == pytest.approx(np.mean(values)) and values[0] != values[1]
    assert "mean ± sd" in text and "2 runs" in text and found["collapsed"] == [False, False]


@pytest.mark.parametrize("arguments, message", [
    ("--crf", "--crf does not apply to --model sum --task counting"),
    ("--select f1", "--select f1 is not measured for --task counting: right, loss"),
    ("--model bert", "--model bert is not there for --task counting; known: sum"),
    ("--task classification", "--model sum is not there for --task classification"),
    ("--class-weights balanced", "--class-weights goes with --task classification"),
    ("--train wrong.tsv", "wrong.tsv:2: 'two\\tstars', expected NUMBER, tab, TEXT"),
    ("--train none.tsv", "none.tsv: No such file"),
    ("--dev 1.5", "--dev 1.5: a share must lie between 0 and 1"),
])  # fmt: skip
def test_what_does_not_fit_is_refused(folder, call, arguments, message):
    (folder / "wrong.tsv").write_text("1\tone star\ntwo\tstars\n", "utf-8")
    assert message in call("train", *COMMAND, *arguments.split(), "--out", "refused", status=2)
    assert not (folder / "refused").exists()


def test_other_commands_say_that_it_is_not_for_them(run, call):
    assert "--sample needs a language model, this run is a counting" in call("evaluate", run, "--sample", "3", status=2)
    shutil.copytree(run, "again")
    errors = call("ensemble", run, "again", "--out", "mixed", status=2)
    assert "a run of --task counting; an ensemble combines classifiers" in errors


def test_its_names_are_taken_by_the_command_line(folder):
    choices = {action.dest: action.choices for action in train.arguments()._actions}
    assert "counting" in choices["task"] and "sum" in choices["model"] and "right" in choices["select"]
