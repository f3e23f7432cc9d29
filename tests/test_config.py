import dataclasses

import pytest

from textcls import recipes
from textcls.config import MODELS, TASKS, TrainConfig, parse_memory, parser
from textcls.errors import InputError


def parse(*arguments) -> dict:
    return vars(parser("test").parse_args(arguments))


def test_only_what_was_said():
    assert parse() == {}
    assert parse("--lr", "0.1", "--quiet", "--batch-size", "4") == {"lr": 0.1, "quiet": True, "batch_size": 4}
    assert parse("--no-quiet") == {"quiet": False}


def test_every_field_is_a_flag(capsys):
    with pytest.raises(SystemExit):
        parse("--help")
    text = capsys.readouterr().out
    for field in dataclasses.fields(TrainConfig):
        assert "--" + field.name.replace("_", "-") in text


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("--model", "gpt"), "choose from"),
        (("--data", "imdb"), "choose from"),
        (("--epochs", "many"), "invalid int"),
        (("--epoch", "3"), "unrecognized"),
        (("--lr",), "expected one argument"),
        (("--amp", "fp8"), "choose from"),
    ],
)
def test_mistakes_end_with_status_2(capsys, arguments, message):
    with pytest.raises(SystemExit) as exit:
        parse(*arguments)
    assert exit.value.code == 2
    assert message in capsys.readouterr().err


def test_dev_is_a_share_or_a_file():
    assert TrainConfig().dev_split == 0.1
    assert TrainConfig(dev="dev.csv").dev_split == "dev.csv"
    assert TrainConfig(keep="headers,quotes").keep_parts == ("headers", "quotes")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"lr": 0.0}, "--lr 0.0: must be above 0"),
        ({"epochs": -1}, "--epochs -1"),
        ({"dropout": 1.0}, "below 1"),
        ({"warmup": -0.1}, "--warmup -0.1"),
        ({"max_length": 3}, "at least 8"),
        ({"seed": -1}, "--seed -1"),
        ({"lr": float("nan")}, "--lr nan"),
        ({"label_smoothing": 1.5}, "--label-smoothing 1.5"),
    ],
)
def test_numbers_out_of_range(change, message):
    with pytest.raises(InputError, match=message):
        recipes.complete(TrainConfig(**change))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"test": "x.csv"}, "--test goes with --train"),
        ({"text_column": "body"}, "--text-column goes with --train"),
        ({"dev": "dev.csv"}, "--dev dev.csv: the built-in corpora take a share"),
        ({"keep": "headers"}, "--keep goes with --data 20newsgroups"),
        ({"train": "x.csv", "data_dir": "x"}, "--data-dir goes with --data 20newsgroups"),
    ],
)
def test_flags_that_would_be_ignored(change, message):
    with pytest.raises(InputError, match=message):
        recipes.complete(TrainConfig(**change))


@pytest.mark.parametrize("bert", ["nano", "bert-base-uncased"])
@pytest.mark.parametrize("model, task", recipes.RECIPES)
def test_the_table_fills_every_gap(model, task, bert):
    """What a recipe's defaults leave open is open on purpose: paths, and settings of other models."""
    config = recipes.complete(TrainConfig(model=model, task=task, bert=bert, train=None if task[0] == "c" else "x"))
    gaps = {name for name, value in vars(config).items() if value is None}
    assert gaps <= {
        "data_dir", "train", "test", "out", "resume", "memory", "seeds", "nodes", "gpus", "updates",
    } | recipes.SETTINGS  # fmt: skip
    assert not {name for name, value in recipes.defaults(config).items() if value is not None} & gaps


def test_every_name_is_used_and_known():
    assert {model for model, _ in recipes.RECIPES} == set(MODELS)
    assert {task for _, task in recipes.RECIPES} == set(recipes.TASKS) == set(TASKS)
    with pytest.raises(InputError, match="known: bert, bilstm, bilstm-scratch, bert-bilstm"):
        recipes.complete(TrainConfig(model="linear", task="tagging", train="x"))
    with pytest.raises(InputError, match="--task lm has no data of its own; give --train FILE"):
        recipes.complete(TrainConfig(model="lstm", task="lm"))


def test_what_the_user_says_wins():
    config = recipes.complete(TrainConfig(model="bert", bert="x", lr=0.5, epochs=1))
    assert (config.lr, config.epochs, config.batch_size, config.accumulate) == (0.5, 1, 16, 2)
    with pytest.raises(InputError, match="--hidden does not apply to --model bert"):
        recipes.complete(TrainConfig(model="bert", hidden=3))


def test_the_published_recipe():
    config = recipes.complete(TrainConfig(model="bert", bert="bert-base-uncased"))
    assert (
        config.lr,
        config.batch_size,
        config.accumulate,
        config.warmup,
        config.weight_decay,
        config.clip,
        config.max_length,
        config.dropout,
    ) == (2e-5, 16, 2, 0.1, 0.01, 1.0, 256, 0.3)


def test_sizes_of_memory():
    assert [parse_memory(text) for text in ("6GB", "6GiB", "512 mib", "1.5gb", "1TB")] == [
        6 * 10**9,
        6 * 2**30,
        512 * 2**20,
        15 * 10**8,
        10**12,
    ]
    for text in ("6", "GB", "six GB", "6 PB", "", "nanGB"):
        with pytest.raises(InputError, match="expected a size such as 6GB"):
            parse_memory(text)
    with pytest.raises(InputError, match="must be above 0"):
        parse_memory("0GB")
