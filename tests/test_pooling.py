"""--pooling as the files of a sentence encoder say it."""

import json

import pytest

from tests.conftest import make_rows, save_tiny, write_csv
from textcls.pretrained.hub import POOLING
from textcls.pretrained.pooling import read_pooling
from textcls.runtime.errors import InputError
from textcls.training.run import Run

OLDER = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken")


def older(*modes: str) -> dict:
    """What sentence-transformers has written for years."""
    return {"word_embedding_dimension": 16} | {f"pooling_mode_{mode}": mode in modes for mode in OLDER}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the scripts run: texts, and a sentence encoder."""
    folder = tmp_path_factory.mktemp("pooling")
    rows = make_rows(24)
    write_csv(folder / "train.csv", rows)
    (folder / "tags.conll").write_text("ada B-PER\nsaw O\n")
    save_tiny(folder / "encoder", [text for text, _ in rows])
    return folder


@pytest.fixture
def say(folder, call):
    """Let the files of the encoder say something, or nothing."""

    def write(content: dict | str | None) -> None:
        path = folder / "encoder" / POOLING
        path.parent.mkdir(exist_ok=True)
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_text(content if isinstance(content, str) else json.dumps(content))

    write(None)
    return write


@pytest.mark.parametrize("content, expected", [
    (older("mean_tokens"), "mean"),
    (older("max_tokens", "mean_tokens"), "mean+max"),
    (older("lasttoken", "cls_token"), "cls+lasttoken"),
    (older(), "mean"),  # their own reading of it
    ({"word_embedding_dimension": 16, "pooling_mode_max_tokens": None}, "mean"),
    ({"embedding_dimension": 16, "pooling_mode": "cls", "include_prompt": True}, "cls"),
    ({"pooling_mode": ["max", "mean"]}, "mean+max"),
    ({"pooling_mode": ["new", "mean", "mean"]}, "mean+new"),
    (older("mean_tokens") | {"pooling_mode": "max"}, "max"),
    (None, None),
])  # fmt: skip
def test_what_the_files_say(folder, say, content, expected):
    say(content)
    assert read_pooling(str(folder / "encoder")) == expected


@pytest.mark.parametrize("content, message", [
    ("{", "Expecting"),
    ("[" * 100_000, "nested too deep"),
    ("[]", "not a JSON object"),
    ('{"pooling_mode_mean_tokens": "yes"}', "pooling_mode_mean_tokens is 'yes', expected true or false"),
    ('{"pooling_mode": []}', r"pooling_mode is \[\], expected a name, or a list of names"),
    ('{"pooling_mode": {"mean": 1}}', "pooling_mode is {'mean': 1}"),
    ('{"pooling_mode": ["mean", 3]}', "pooling_mode is "),
    ('{"pooling_mode": "me\\u001b[31man"}', r"pooling_mode is 'me\\x1b\[31man'"),
])  # fmt: skip
def test_a_file_that_cannot_be_one_is_named(folder, say, content, message):
    say(content)
    with pytest.raises(InputError, match=f"{POOLING}: .*{message}"):
        read_pooling(str(folder / "encoder"))


def of_plan(call, *flags: str, status: int = 0) -> str:
    return call("train", "--train", "train.csv", "--bert", "encoder", "--max-length", 16, *flags, "--plan", status=status)


def test_a_plan_counts_it_and_says_why(call, say):
    """The plan is that of the same pooling given in words; what the user says stands, and so does what is no model's."""
    bare, asked = (of_plan(call, "--model", "bert", *flags) for flags in ((), ("--pooling", "mean+max")))
    assert "pooling: " not in bare + asked
    say(older("mean_tokens", "max_tokens"))
    line = f"pooling: mean+max, as encoder/{POOLING} says\n"
    assert of_plan(call, "--model", "bert") == line + asked
    assert of_plan(call, "--model", "bert", "--pooling", "cls") == bare
    assert of_plan(call, "--model", "bert", "--scratch").count("pooling: ") == 0
    for others in ("--model bert-lstm", "--model bert --task tagging --train tags.conll", "--model linear"):
        assert "pooling: " not in of_plan(call, *others.split())


@pytest.mark.parametrize("flags", ["--model blstm", "--model bert --task multilabel", "--model bert --task regression",
                                   "--model probe", "--model probe --task multilabel"])  # fmt: skip
def test_of_every_model_that_pools_tokens(call, say, flags):
    say(older("max_tokens"))
    assert of_plan(call, *flags.split()).startswith(f"pooling: max, as encoder/{POOLING} says\n")


@pytest.mark.parametrize("model, modes, words", [
    ("bert", ("lasttoken",), "pooling: cls, while encoder/{} says lasttoken: --model bert has no such"),
    ("bert", ("cls_token", "mean_tokens"), "pooling: cls, while encoder/{} says cls+mean: --model bert has no such"),
    ("probe", ("cls_token",), "pooling: mean, while encoder/{} says cls: --model probe has no such"),
])  # fmt: skip
def test_what_the_model_has_not_is_said(call, say, model, modes, words):
    say(older(*modes))
    assert of_plan(call, "--model", model).startswith(words.format(POOLING) + "\n")
    say({"pooling_mode": "attention"})  # is something else here
    assert f"{POOLING} says attention: --model {model} has no such" in of_plan(call, "--model", model)


def test_a_damaged_file_ends_the_command_unless_it_is_not_asked(call, say):
    say("{")
    assert f"{POOLING}: Expecting" in of_plan(call, "--model", "bert", status=2)
    of_plan(call, "--model", "bert", "--pooling", "mean")
    of_plan(call, "--model", "bilstm")


def test_a_run_keeps_it(folder, call, say):
    """In its config.json, its weights, on --resume when the files say something else, and over seeds."""
    command = "--model bert --bert encoder --train train.csv --dev 0.25 --epochs 1 --max-length 16".split()
    say(older("max_tokens"))
    assert f"pooling: max, as encoder/{POOLING} says\n" in call("train", *command, "--out", "one")
    run = Run(folder / "one")
    assert run.meta()["config"]["pooling"] == "max"
    assert not any("pooler" in name for name in run.load("best.pt")["model"])
    assert call("train", *command, "--seeds", 1, 2, "--out", "two").count("pooling: ") == 1
    assert {Run(folder / "two" / f"seed-{n}").meta()["config"]["pooling"] for n in (1, 2)} == {"max"}
    say(older("mean_tokens"))
    assert "pooling: " not in call("train", "--resume", "one") and run.meta()["config"]["pooling"] == "max"
    wrong = call("train", *command, "--seeds", 1, 2, 3, "--out", "two", status=2)
    assert "seed-1 was trained with --pooling max, not mean" in wrong
