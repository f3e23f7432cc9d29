import dataclasses
import json
import re

import pytest

import train
from tests.conftest import facts_of_a_run, make_rows, write_csv
from textcls import recipes
from textcls.arguments import parser
from textcls.config import COMMAND, EITHER, OPTIONS, RUN, TrainConfig, check_bounds, flag
from textcls.models.bert import BertConfig
from textcls.models.heads import BERT_POOLINGS, POOLINGS
from textcls.recipes.command import settings
from textcls.runtime.errors import InputError
from textcls.runtime.memory import parse_memory
from textcls.tasks import TASKS
from textcls.tasks.classification import DATA
from textcls.training.run import Run

GROUPS = ("data", "model", "training", "memory", "run")
BOUNDED = [name for name, option in OPTIONS.items() if any(option[bound] is not None for bound in ("above", "least"))]


def parse(*arguments) -> dict:
    return vars(train.arguments().parse_args(arguments))


def test_only_what_was_said():
    assert parse() == {}
    with pytest.raises(InputError, match="--pooling last is not there for --model bert: cls, mean, max, "):
        recipes.complete(TrainConfig(model="bert", pooling="last"))
    with pytest.raises(InputError, match="--pooling cls is not there for --model bilstm: last, mean, max, "):
        recipes.complete(TrainConfig(model="bilstm", pooling="cls"))
    assert parse(*"--lr 0.1 --quiet --batch-size 4".split()) == {"lr": 0.1, "quiet": True, "batch_size": 4}
    assert parse("--no-quiet") == {"quiet": False}


@pytest.mark.parametrize("arguments, message", [
    ("--model gpt", "choose from"),
    ("--task parsing", "choose from"),
    ("--data imdb", "choose from"),
    ("--pooling first", "choose from"),
    ("--select bleu", "choose from"),
    ("--epochs many", "invalid int"),
    ("--epoch 3", "unrecognized"),
    ("--lr", "expected at least one argument"),
    ("--amp fp8", "choose from"),
])  # fmt: skip
def test_mistakes_end_with_status_2(capsys, arguments, message):
    with pytest.raises(SystemExit) as exit:
        parse(*arguments.split())
    assert exit.value.code == 2
    assert message in capsys.readouterr().err


def test_dev_is_a_share_or_a_file():
    assert TrainConfig().dev_split == 0.1
    assert TrainConfig(dev="dev.csv").dev_split == "dev.csv"
    assert TrainConfig(keep="headers,quotes").keep_parts == ("headers", "quotes")


# ---- --help ---------------------------------------------------------------------------------------------------------


def test_every_field_stands_in_its_group_of_help():
    """Sections of --help begin with a name and a colon at the margin."""
    assert {option["group"] for option in OPTIONS.values()} == set(GROUPS)
    usage, *rest = re.split(r"^(\w[\w ]*):\n", train.arguments().format_help(), flags=re.MULTILINE)
    groups = dict(zip(rest[::2], rest[1::2], strict=True))
    assert set(groups) == {"options", *GROUPS}  # argparse's own has --help alone
    assert re.findall(r"^  (?:-\w, )?(--[\w-]+)", groups["options"], flags=re.MULTILINE) == ["--help"]
    for group in GROUPS:
        shown = re.findall(r"^  (--[\w-]+)", groups[group], flags=re.MULTILINE)
        assert shown == [flag(name) for name, option in OPTIONS.items() if option["group"] == group]
    first = usage.splitlines()[0]
    assert first.startswith("usage: ") and len(first) < 80 and "--model" not in first
    assert train.__doc__.strip() in usage  # the examples come right after it


def test_every_field_is_described_and_its_default_shown():
    text = " ".join(train.arguments().format_help().split())
    for field in dataclasses.fields(TrainConfig):
        assert " ".join(field.metadata["help"].split()) in text, field.name
    assert "(default: pydocs)" in text and "(default: None)" not in text and "(default: )" not in text


# ---- bounds ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BOUNDED)
def test_a_number_is_held_to_the_bounds_of_its_field(name):
    option, nan = OPTIONS[name], float("nan")
    above, least, below = option["above"], option["least"], option["below"]
    wrong = [value for value in (above, below, None if least is None else least - 1) if value is not None]
    right = [above + (1 if below is None else below / 2) if least is None else least] + ([] if below is None else [below * (1 - 1e-6)])
    for value in (*wrong, nan):
        with pytest.raises(InputError, match=re.escape(f"{flag(name)} {value}: must be ")):
            check_bounds(name, value)
    for value in (*right, None):
        check_bounds(name, value)
    with pytest.raises(InputError, match=re.escape(f"{flag(name)} {wrong[0]}: must be ")):
        TrainConfig(**{name: wrong[0]}, plan=True).check()


def test_every_number_has_bounds():
    kinds = int, float, int | None, float | None
    assert {field.name for field in dataclasses.fields(TrainConfig) if field.type in kinds} == set(BOUNDED)


@pytest.mark.parametrize("change, message", [
    ({"lr": 0.0}, "--lr 0.0: must be above 0"),
    ({"epochs": -1}, "--epochs -1: must be above 0"),
    ({"dropout": 1.0}, "--dropout 1.0: must be at least 0 and below 1"),
    ({"warmup": -0.1}, "--warmup -0.1: must be at least 0 and below 1"),
    ({"max_length": 3}, "--max-length 3: must be at least 8"),
    ({"seed": -1}, "--seed -1: must be 0 or more"),
    ({"lr": float("nan")}, "--lr nan"),
    ({"lr": float("inf")}, r"--lr inf: must be above 0 and below 3e\+38"),
    ({"label_smoothing": 1.5}, "--label-smoothing 1.5"),
])  # fmt: skip
def test_numbers_out_of_range(change, message):
    with pytest.raises(InputError, match=message):
        recipes.complete(TrainConfig(**change))


@pytest.mark.parametrize("change, message", [
    ({"test": "x.csv"}, "--test goes with --train"),
    ({"text_column": "body"}, "--text-column goes with --train"),
    ({"dev": "dev.csv"}, "--dev dev.csv: the built-in corpora take a share"),
    ({"keep": "headers"}, "--keep goes with --data 20newsgroups"),
    ({"train": "x.csv", "data_dir": "x"}, "--data-dir goes with --data 20newsgroups"),
    ({"nodes": 2}, "--nodes goes with --plan"),
    ({"gpus": 2}, "--gpus goes with --plan"),
    ({"updates": 2}, "--updates goes with --plan"),
])  # fmt: skip
def test_flags_that_would_be_ignored(change, message):
    with pytest.raises(InputError, match=message):
        recipes.complete(TrainConfig(**change))


# ---- the run and the command ----------------------------------------------------------------------------------------


def belonging(to: str) -> set[str]:
    return {name for name, option in OPTIONS.items() if option["belongs"] == to}


def test_what_belongs_to_the_command():
    assert belonging(COMMAND) == {"seeds", "folds", "plan", "nodes", "gpus", "updates", "resume", "quiet"}
    assert belonging(EITHER) == {"data_dir", "elmo", "teacher", "memory", "checkpoint_activations", "device"}
    assert belonging(RUN) == OPTIONS.keys() - belonging(COMMAND) - belonging(EITHER)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run that was trained, and one of each kind that was only begun."""
    folder = tmp_path_factory.mktemp("config")
    write_csv(folder / "train.csv", make_rows(40))
    for name, chosen in (("bert", {"model": "bert"}), ("news", {"model": "bilstm", "data": "20newsgroups"})):
        config = recipes.complete(TrainConfig(**chosen, out=str(folder / name)))
        Run(folder / name).create(facts_of_a_run(config.stored(), vars(BertConfig())), {})
    return folder


def test_a_run_keeps_its_own_settings_and_not_the_commands(folder, call):
    call("train", *"--model linear --train train.csv --epochs 1 --memory 6GB --device cpu --quiet --out linear".split())
    kept = json.loads((folder / "linear" / "config.json").read_text("utf-8"))["config"]
    assert kept.keys() == belonging(RUN) | belonging(EITHER)
    assert (kept["epochs"], kept["memory"], kept["device"], kept["out"]) == (1, "6GB", "cpu", "linear")


def example(name: str) -> list[str]:
    """The flag of a field with a value that argparse takes."""
    action = next(action for action in train.arguments()._actions if action.dest == name)
    if action.nargs == 0:
        return [flag(name)]
    return [flag(name), action.choices[0] if action.choices else {int: "8", float: "0.5", str: "x"}[action.type]]


@pytest.mark.parametrize("name", sorted(belonging(RUN)))
def test_a_runs_settings_are_not_given_anew(call, name):
    error = call("train", "--resume", "bert", *example(name), status=2)
    assert error == f"error: --resume keeps the settings of its run; leave out {flag(name)}\n"


def test_every_fixed_flag_is_named(call):
    error = call("train", *"--resume bert --lr 1 --quiet --batch-size 8 --no-scratch".split(), status=2)
    assert "leave out --batch-size, --lr, --scratch\n" in error


@pytest.mark.parametrize("run, name, value", [
    ("bert", "memory", "3GB"),
    ("bert", "checkpoint_activations", True),
    ("bert", "device", "cpu"),
    ("news", "data_dir", "elsewhere"),
])  # fmt: skip
def test_what_may_be_given_anew_is_taken(folder, run, name, value):
    before, _, _ = settings({"resume": str(folder / run)})
    after, _, _ = settings({"resume": str(folder / run), name: value})
    assert getattr(before, name) != value and name in belonging(EITHER)
    assert after == dataclasses.replace(before, **{name: value})


def test_the_command_is_this_one(folder):
    given = {"resume": str(folder / "bert"), "quiet": True, "plan": True, "nodes": 2, "gpus": 4, "updates": 100}
    config, run, last = settings(given)
    assert {name: getattr(config, name) for name in given} == given and given.keys() < belonging(COMMAND)
    assert run.folder == folder / "bert" and last is None
    assert settings({"resume": str(folder / "bert")})[0].quiet is False


# ---- recipes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bert", ["nano", "bert-base-uncased"])
@pytest.mark.parametrize("model, task", recipes.RECIPES)
def test_the_table_fills_every_gap(model, task, bert):
    """What a recipe's defaults leave open is open on purpose: paths, and settings of other models."""
    config = recipes.complete(TrainConfig(model=model, task=task, bert=bert, train=None if task[0] == "c" else "x"))
    gaps = {name for name, value in vars(config).items() if value is None}
    assert gaps <= {
        "data_dir", "train", "test", "fold", "out", "resume", "memory", "seeds", "folds", "nodes", "gpus", "updates",
    } | recipes.settings()  # fmt: skip
    assert not {name for name, value in recipes.defaults(config).items() if value is not None} & gaps


def test_every_name_is_used_and_known():
    """The flags take the names of the tables, and no others."""
    taken = {action.dest: action.choices for action in train.arguments()._actions}
    assert set(taken["model"]) == {model for model, _ in recipes.RECIPES}
    assert set(taken["task"]) == {task for _, task in recipes.RECIPES} == set(TASKS)
    assert set(taken["select"]) == {metric for task in TASKS.values() for metric in task.SELECT}
    assert set(taken["pooling"]) == {*POOLINGS, *BERT_POOLINGS} and set(taken["data"]) == set(DATA)
    assert parser("of nothing").parse_args(["--model", "gpt"]).model == "gpt"  # which knows no tables
    with pytest.raises(InputError, match="--model linear is not there for --task tagging; known: ") as refused:
        recipes.complete(TrainConfig(model="linear", task="tagging", train="x"))
    known = str(refused.value).split("known: ")[1].split(", ")
    assert known == [model for model, task in recipes.RECIPES if task == "tagging"] and "bilstm-scratch" in known
    with pytest.raises(InputError, match="--task lm has no data of its own; give --train FILE"):
        recipes.complete(TrainConfig(model="lstm", task="lm"))


def test_what_the_user_says_wins():
    config = recipes.complete(TrainConfig(model="bert", bert="x", lr=0.5, epochs=1))
    assert (config.lr, config.epochs, config.batch_size, config.accumulate) == (0.5, 1, 16, 2)
    with pytest.raises(InputError, match="--hidden does not apply to --model bert"):
        recipes.complete(TrainConfig(model="bert", hidden=3))


def test_the_published_recipe():
    config = recipes.complete(TrainConfig(model="bert", bert="bert-base-uncased"))
    values = config.lr, config.batch_size, config.accumulate, config.warmup, config.weight_decay, config.clip
    assert values == (2e-5, 16, 2, 0.1, 0.01, 1.0)
    assert (config.max_length, config.dropout) == (256, 0.3)


def test_sizes_of_memory():
    sizes = {"6GB": 6 * 10**9, "6GiB": 6 * 2**30, "512 mib": 512 * 2**20, "1.5gb": 15 * 10**8, "1TB": 10**12}
    assert {text: parse_memory(text) for text in sizes} == sizes
    for text in ("6", "GB", "six GB", "6 PB", "", "nanGB"):
        with pytest.raises(InputError, match="expected a size such as 6GB"):
            parse_memory(text)
    with pytest.raises(InputError, match="must be above 0"):
        parse_memory("0GB")
