"""Files in, files out: the engine with an answer that everyone can compute, then evaluate.py with trained runs."""

import csv
import gzip
import io
import json
import lzma
import os
import random
import re
import signal
import socket
import time

import pytest

import textcls
from tests.conftest import TOPICS, make_rows, save_tiny, write_csv
from tests.launch import Launched
from textcls.records import fill
from textcls.records.lines import opened
from textcls.records.tables import Table
from textcls.runtime import partial
from textcls.runtime.errors import InputError
from textcls.runtime.partial import Partial, growing

# ---- the engine -----------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """As kill -9: nothing is tidied up after it."""


def answers(items):
    return [InputError("no answer") if text == "none" else [text.upper(), len(text) / 7] for (text,) in items]


def write(path, rows) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["text", "n"], *rows])


def random_rows(rng: random.Random, count: int) -> list[list[str]]:
    words = ["star", "a, b", 'say "hi"', "two\nlines", "none", "é"]
    return [[rng.choice(words) * rng.randint(1, 3), str(i)] for i in range(count)]


def filled(
    source, out, resume=False, overwrite=False, size=4, kill=None, facts=None, strict=False, pack=None, quiet=True
):  # fmt: skip
    """The engine from one file to another; `kill`: (bytes written, …) -> whether to die there."""
    with opened(source, "utf-8") as (lines, done):
        records = Table(lines, ["text"], False, lambda where, texts: tuple(texts), {"label": "", "score": None})
        with growing(out, {"run": ["digest"], "size": size} | (facts or {}), resume, overwrite) as target:
            if kill is not None:
                deadly(target, kill)
            packed = fill.Packed(target, pack) if pack else target
            state = fill.fill(records, answers, packed, done, size, strict, quiet)
            packed.finish()
    return state


def deadly(target: Partial, kill) -> None:
    """A target that dies in the middle of a write, and leaves things as they lie."""
    whole = target.write

    def write(data):
        if kill():
            target.file.write(data[: len(data) // 2])
            target.file.flush()
            target.leave = target.file.close
            raise Killed
        whole(data)

    target.write = write


@pytest.fixture
def note_always(monkeypatch):
    monkeypatch.setattr(partial, "EVERY", -1.0)


@pytest.mark.parametrize("pack", [None, lambda data: gzip.compress(data, mtime=0)])
@pytest.mark.parametrize("noting", [-1.0, 1e9])
def test_killed_anywhere_and_resumed_it_is_the_file_of_a_quiet_run(tmp_path, monkeypatch, capsys, noting, pack):
    monkeypatch.setattr(partial, "EVERY", noting)
    rng = random.Random(3)
    for trial in range(8):
        source, quiet, out = (tmp_path / f"{trial}-{name}" for name in ("in.csv", "quiet.csv", "out.csv"))
        rows = random_rows(rng, rng.randint(0, 60))
        write(source, rows)
        expected = filled(source, quiet, pack=pack)
        deaths = 0
        while not out.exists():
            assert deaths < 200
            try:
                kill = lambda: rng.random() < (0.4 if deaths < 5 else 0)  # noqa: B023, E731
                state = filled(source, out, resume=True, kill=kill, pack=pack)
            except Killed:
                deaths += 1
                assert not out.exists()
        assert out.read_bytes() == quiet.read_bytes()
        assert (state.rows, state.unanswered) == (expected.rows, expected.unanswered)
        assert {path.name for path in tmp_path.iterdir() if path.name.startswith(f"{trial}-")} == {
            f"{trial}-in.csv", f"{trial}-quiet.csv", f"{trial}-out.csv"
        }  # fmt: skip
        data = gzip.decompress(out.read_bytes()) if pack else out.read_bytes()
        found = list(csv.reader(io.StringIO(data.decode("utf-8"), newline="")))
        assert found[0] == ["text", "n", "label", "score"] and [row[:2] for row in found[1:]] == rows
        for text, _, label, score in found[1:]:
            assert (label, score) == (("", "") if text == "none" else (text.upper(), f"{len(text) / 7:.6g}"))
    assert capsys.readouterr().err.count("no answer") >= expected.unanswered


def stopped(tmp_path, deaths_at: int = 3):
    """A source, and an output that was killed at a chunk."""
    source, out, count = tmp_path / "in.csv", tmp_path / "out.csv", [0]
    write(source, random_rows(random.Random(0), 40))

    def kill():
        count[0] += 1
        return count[0] == deaths_at

    with pytest.raises(Killed):
        filled(source, out, kill=kill)
    return source, out


def change(path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def test_what_has_changed_is_never_gone_on_with(tmp_path, note_always):
    source, out = stopped(tmp_path)
    with pytest.raises(InputError, match="of a command that was stopped: go on with it .--resume., or begin again"):
        filled(source, out)
    with pytest.raises(InputError, match="was not begun with the same run; begin again with --overwrite"):
        filled(source, out, resume=True, facts={"run": ["other"]})
    with pytest.raises(InputError, match="was begun with size 4, and it is 5 now"):
        filled(source, out, resume=True, size=5)
    whole = source.read_bytes()
    change(source, 12)
    with pytest.raises(InputError, match="in.csv has changed in what was answered before, its first 8 rows"):
        filled(source, out, resume=True)
    source.write_bytes(whole[:20])
    with pytest.raises(InputError, match="in.csv has become shorter; begin again"):
        filled(source, out, resume=True)
    source.write_bytes(whole)
    journal = tmp_path / "out.csv.partial.json"
    noted = journal.read_bytes()
    journal.write_bytes(noted.replace(b'"rows": 8', b'"rows": 9'))
    with pytest.raises(InputError, match="partial.json: damaged .its checksum is another"):
        filled(source, out, resume=True)
    journal.write_bytes(noted)
    change(tmp_path / "out.csv.partial", 15)
    with pytest.raises(InputError, match="out.csv.partial: not what was noted"):
        filled(source, out, resume=True)
    assert not out.exists()
    filled(source, out, overwrite=True)
    assert out.exists() and not journal.exists()


def test_rows_that_were_added_since_are_answered(tmp_path, note_always):
    source, out = stopped(tmp_path)
    with open(source, "a", encoding="utf-8") as file:
        file.write("more,1\n")
    filled(source, out, resume=True)
    filled(source, tmp_path / "again.csv")
    assert out.read_bytes() == (tmp_path / "again.csv").read_bytes()


def test_standard_input_goes_on_where_it_comes_again(tmp_path, note_always, monkeypatch):
    source, out = stopped(tmp_path)
    filled(source, tmp_path / "quiet.csv")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(source.read_bytes())))
    filled("-", out, resume=True)
    assert out.read_bytes() == (tmp_path / "quiet.csv").read_bytes()


def test_what_is_there_is_not_lost(tmp_path):
    source, out = tmp_path / "in.csv", tmp_path / "out.csv"
    write(source, [["star", "1"]])
    out.write_text("mine")
    for resume in (False, True):
        with pytest.raises(InputError, match="out.csv is there already.*--overwrite"):
            filled(source, out, resume=resume)
    assert out.read_text() == "mine" and len(list(tmp_path.iterdir())) == 2
    with pytest.raises(Killed):
        filled(source, out, overwrite=True, kill=lambda: True)
    assert out.read_text() == "mine"
    filled(source, out, overwrite=True)
    assert out.read_text().startswith("text,n,label,score")
    filled(source, source, overwrite=True)  # in place of what was read
    assert source.read_bytes() == out.read_bytes()
    with pytest.raises(InputError, match="there is no folder"):
        filled(source, tmp_path / "no" / "out.csv")
    with pytest.raises(InputError, match="is no file"):
        filled(source, tmp_path, overwrite=True)


def test_a_name_that_was_taken_meanwhile_is_not_taken_again(tmp_path, note_always):
    source, out = tmp_path / "in.csv", tmp_path / "out.csv"
    write(source, [["star", "1"]] * 8)

    def appear():
        out.write_text("mine")
        return False

    with pytest.raises(InputError, match="out.csv is there already; --overwrite replaces it"):
        filled(source, out, kill=appear)
    assert out.read_text() == "mine"
    assert filled(source, out, resume=True, overwrite=True).rows == 8


def test_two_commands_do_not_write_one_file(tmp_path):
    pytest.importorskip("fcntl")
    first = Partial(tmp_path / "a", {})
    with pytest.raises(InputError, match="another command is writing it"):
        Partial(tmp_path / "a", {}, resume=True)
    first.write(b"whole")
    first.finish()
    first.leave()
    assert (tmp_path / "a").read_bytes() == b"whole"


def test_a_link_in_place_of_the_partial_file_is_not_followed(tmp_path):
    (tmp_path / "other").write_text("mine")
    (tmp_path / "a.partial").symlink_to(tmp_path / "other")
    with pytest.raises(OSError):
        Partial(tmp_path / "a", {}, overwrite=True)
    assert (tmp_path / "other").read_text() == "mine"


def test_strict_ends_at_the_first_and_keeps_what_came_before(tmp_path, note_always):
    source, out = tmp_path / "in.csv", tmp_path / "out.csv"
    rows = [[f"text {i}", str(i)] for i in range(20)]
    write(source, [*rows[:10], ["none", "10"], *rows[11:]])
    with pytest.raises(InputError, match="in.csv:12: no answer"):
        filled(source, out, strict=True)
    assert not out.exists()
    write(source, rows)  # mended
    assert filled(source, out, resume=True, strict=True).rows == 20
    filled(source, tmp_path / "again.csv")
    assert out.read_bytes() == (tmp_path / "again.csv").read_bytes()


def test_a_file_of_which_nothing_can_be_read_is_an_error(tmp_path):
    write(tmp_path / "in.csv", [["none", "1"]] * 12)
    with pytest.raises(InputError, match="none of the first 12 rows can be read; .*in.csv:2: no answer"):
        filled(tmp_path / "in.csv", tmp_path / "out.csv", size=100)
    assert not list(tmp_path.glob("out*"))
    write(tmp_path / "in.csv", [["none", "1"]] * 9)
    assert filled(tmp_path / "in.csv", tmp_path / "out.csv", size=100).unanswered == 9


def test_chunks_are_cut_by_rows_and_by_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(fill, "CHUNK_BYTES", 100)
    write(tmp_path / "in.csv", [["x" * length, "1"] for length in (1, 1, 1, 1, 1, 95, 200, 1, 1)])
    with opened(tmp_path / "in.csv", "utf-8") as (lines, _):
        records = Table(lines, ["text"], False, lambda where, texts: tuple(texts), {"label": ""})
        sizes = [sum(record.data for record in chunk) for chunk, _ in fill.chunks_of(records, 4)]
    assert sizes == [4, 2, 1, 2]


def test_without_a_terminal_there_is_a_line_now_and_then(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("textcls.runtime.progress.EVERY", 0)
    write(tmp_path / "in.csv", [["star", "1"]] * 10)
    filled(tmp_path / "in.csv", tmp_path / "out.csv", quiet=False)
    said = capsys.readouterr().err.splitlines()
    size = (tmp_path / "in.csv").stat().st_size
    read = [(size * (1 + rows) / 11, rows) for rows in (4, 8, 10)]  # lines of the same length
    assert [re.sub(" [0-9,]+ rows/s", "", line) for line in said] == [
        f"{tmp_path / 'in.csv'}: {done / size:.0%}, about 0 s left, {rows} rows," for done, rows in read
    ]


def test_rows_are_answered_in_chunks_unless_somebody_waits(monkeypatch):
    assert fill.chunk_size("a.csv", "-") == fill.chunk_size("-", "a.csv") == fill.CHUNK
    assert fill.chunk_size("-", "-") == fill.BOTH_ENDS
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr("sys.stdin", terminal)
    assert fill.chunk_size("-", "-") == 1 and fill.chunk_size("-", "a.csv") == fill.CHUNK


# ---- evaluate.py ----------------------------------------------------------------------------------------------------

TEXTS = [" ".join(TOPICS[label].split()[:4]) for label in sorted(TOPICS)]
SMALL = "--bert tiny --max-length 24 --epochs 1 --batch-size 8 --quiet"
RUNS = {
    "plain": "--model linear --train train.csv --test 0.2",
    "pairs": "--model linear --train pairs.csv --label-column y",
    "scores": f"--task regression --model bert --train scores.csv {SMALL}",
    "tagger": "--task tagging --model bilstm-scratch --hidden 8 --embedding 8 --epochs 1 --train train.conll",
    "spans": f"--task spans --model bert --train train.jsonl {SMALL}",
    "masked": f"--task pretrain --model bert --train train.txt --dev 0.5 {SMALL}",
    "words": "--task lm --train train.txt --embedding 8 --epochs 1 --batch-size 2",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fill")
    rows = make_rows(60)
    write_csv(folder / "train.csv", rows)
    write_csv(folder / "scores.csv", [(text, len(text.split()) / 4) for text, _ in rows])
    (folder / "pairs.csv").write_text("a,b,y\n" + "".join(f"{text},{text},{label}\n" for text, label in rows), "utf-8")
    (folder / "train.conll").write_text("Ada B-PER\nsaw O\nTurin B-LOC\n\n" * 20, "utf-8")
    asked = [{"question": label, "context": text, "answer": text.split()[0], "answer_start": 0} for text, label in rows]
    (folder / "train.jsonl").write_text("\n".join(map(json.dumps, asked)) + "\n", "utf-8")
    (folder / "train.txt").write_text("\n\n".join(text for text, _ in rows) + "\n", "utf-8")
    save_tiny(folder / "tiny", [text for text, _ in rows])
    return folder


@pytest.fixture
def run(folder, call, monkeypatch):
    """Train once what a test wants a run of."""

    def trained(name: str) -> str:
        if not (folder / name).exists():
            monkeypatch.setattr("train.ending", lambda *_: [])
            pair = ["--text-column", "a,b"] if name == "pairs" else []
            call("train", *RUNS[name].split(), *pair, "--quiet", "--out", name)
        return name

    return trained


def predict(call, name, source, *arguments, status=0) -> str:
    return call("evaluate", name, "--quiet", "--predict", source, *arguments, status=status)


def table_of(path) -> list[dict]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_table_is_filled_with_what_predict_says(run, folder, call, tmp_path):
    predictor = textcls.load(folder / run("plain"))
    texts = [text for text, _ in make_rows(40, seed=5)]
    (tmp_path / "a.csv").write_text("id;text\n" + "".join(f'{i};"{text}"\n' for i, text in enumerate(texts)), "utf-8")
    predict(call, "plain", tmp_path / "a.csv", "--out", tmp_path / "b.csv", "--all-probabilities")
    lines = (tmp_path / "b.csv").read_text("utf-8").splitlines()
    names = [f"probability_{label}" for label in predictor.labels]
    assert lines[0] == ";".join(["id", "text", "label", "probability", *names])
    labels, probabilities = predictor.predict(texts)
    for i, line in enumerate(lines[1:]):
        assert line.startswith(f'{i};"{texts[i]}";{labels[i]};')
        numbers = [float(value) for value in line.split(";")[3:]]
        assert numbers == pytest.approx([probabilities[i].max(), *probabilities[i]], rel=1e-5)
    predict(call, "plain", tmp_path / "a.csv", "--out", tmp_path / "c.csv", "--top-k", "2", "--prefix", "p_")
    lines = (tmp_path / "c.csv").read_text("utf-8").splitlines()
    assert lines[0] == "id;text;p_label;p_probability;p_label_2;p_probability_2"
    second = [predictor.labels[i] for i in (-probabilities).argsort(1, kind="stable")[:, 1]]
    assert [line.split(";")[4] for line in lines[1:]] == second


def test_every_format_of_a_classifier(run, folder, call, tmp_path, monkeypatch):
    run("plain")
    rows = [{"text": text} for text in TEXTS]
    files = {
        "a.csv": "text,n\n" + "".join(f"{text},1\n" for text in TEXTS),
        "a.tsv": "text\tn\n" + "".join(f"{text}\t1\n" for text in TEXTS),
        "a.jsonl": "".join(json.dumps(row) + "\n" for row in rows),
        "a.json": json.dumps(rows, indent=1),
        "a.txt": "\n".join(TEXTS),
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text, "utf-8")
        predict(call, "plain", tmp_path / name, "--out", tmp_path / f"out-{name}")
        out = (tmp_path / f"out-{name}").read_text("utf-8")
        assert [out.find(f"{label}") > 0 for label in sorted(TOPICS)] == [True] * 3
        for pack, ending in ((gzip, "gz"), (lzma, "xz")):
            (tmp_path / f"{name}.{ending}").write_bytes(pack.compress(text.encode()))
            predict(call, "plain", tmp_path / f"{name}.{ending}", "--out", tmp_path / f"out-{name}.{ending}")
            assert pack.decompress((tmp_path / f"out-{name}.{ending}").read_bytes()).decode() == out
        if name != "a.json":
            monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode("utf-8"))))
            kind = [] if name == "a.txt" else ["--format", name[2:]]
            assert predict(call, "plain", "-", "--out", "-", *kind) == out
            monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode("utf-8"))))
            predict(call, "plain", "-", "--out", tmp_path / f"again-{name}")
            assert (tmp_path / f"again-{name}").read_text("utf-8") == out
    assert json.loads((tmp_path / "out-a.json").read_text("utf-8"))[0].keys() == {"text", "label", "probability"}


def test_an_ensemble_is_a_classifier(run, folder, call, tmp_path):
    call("train", *RUNS["plain"].split(), "--quiet", "--min-count", "2", "--out", "other")
    call("ensemble", run("plain"), "other", "--out", "both", "--combine", "weighted", "--quiet")
    predict(call, "both", "train.csv", "--out", tmp_path / "b.csv", "--prefix", "its_")
    labels, _ = textcls.load(folder / "both").predict([row["text"] for row in table_of(folder / "train.csv")])
    assert [row["its_label"] for row in table_of(tmp_path / "b.csv")] == labels


def test_a_stopped_command_says_how_to_go_on(run, folder, call, tmp_path, monkeypatch):
    monkeypatch.setattr(fill, "CHUNK", 8)
    lines = (folder / "train.csv").read_text("utf-8").replace("label", "topic").splitlines(keepends=True)
    (tmp_path / "a.csv").write_text("".join([*lines[:20], "one\n", *lines[20:]]), "utf-8")
    arguments = tmp_path / "a.csv", "--out", tmp_path / "b.csv", "--strict"
    message = predict(call, run("plain"), *arguments, status=2)
    held = f"{tmp_path / 'b.csv'}.partial holds what came before; go on with --resume"
    assert message.endswith(f"as in the first row; {held}\n")
    (tmp_path / "a.csv").write_text("".join([*lines[:2], *lines[3:]]), "utf-8")
    message = predict(call, "plain", *arguments, "--resume", status=2)
    assert "has changed in what was answered before, its first 16 rows; begin again" in message
    assert "go on" not in message
    assert f"{tmp_path / 'b.csv'}.partial is there" in predict(call, "plain", *arguments, status=2)


def test_scores(run, folder, call, tmp_path):
    predict(call, run("scores"), "train.csv", "--out", tmp_path / "b.csv")
    scores = textcls.load(folder / "scores").predict([row["text"] for row in table_of(folder / "train.csv")])
    assert [float(row["score"]) for row in table_of(tmp_path / "b.csv")] == pytest.approx(scores.tolist(), rel=1e-5)
    message = predict(call, "scores", "train.csv", "--out", tmp_path / "c.csv", "--all-probabilities", status=2)
    assert "predicts a number" in message


def test_tags(run, folder, call, tmp_path):
    predict(call, run("tagger"), "train.conll", "--out", tmp_path / "b.conll")
    assert (tmp_path / "b.conll").read_text("utf-8") == predict(call, "tagger", "train.conll")
    assert "a tagger reads CoNLL" in predict(call, "tagger", "train.csv", "--out", tmp_path / "b.csv", status=2)
    assert "gives each word a tag" in predict(
        call, "tagger", "train.conll", "--out", tmp_path / "c", "--top-k", "2", status=2
    )


def test_answers_to_questions(run, folder, call, tmp_path):
    rows = [json.loads(line) for line in open(folder / "train.jsonl", encoding="utf-8")][:7]
    asked = [{"question": row["question"], "context": row["context"], "id": str(i)} for i, row in enumerate(rows)]
    lines = [json.dumps(row) + "\n" for row in [*asked, {"question": "", "context": "x"}]]
    (tmp_path / "a.jsonl").write_text("".join(lines), "utf-8")
    predict(call, run("spans"), tmp_path / "a.jsonl", "--out", tmp_path / "b.jsonl", "--top-k", "2")
    found = [json.loads(line) for line in open(tmp_path / "b.jsonl", encoding="utf-8")]
    best = textcls.load(folder / "spans").n_best([(row["question"], row["context"]) for row in asked], 2)
    for row, answers in zip(found, best, strict=False):
        for rank, answer in zip(("", "_2"), answers, strict=False):
            start = row[f"answer_start{rank}"]
            assert row[f"answer{rank}"] == answer.text == row["context"][start : start + len(answer.text)]
            assert row[f"probability{rank}"] == pytest.approx(answer.probability, rel=1e-5)
    assert found[-1] | {"answer": "", "probability": None} == found[-1]
    paragraphs = [{"context": row["context"], "qas": [{"id": row["id"], "question": row["question"]}]} for row in asked]
    content = {"version": "1.1", "data": [{"title": "t", "paragraphs": paragraphs}]}
    (tmp_path / "a.json").write_text(json.dumps(content, indent=2), "utf-8")
    predict(call, "spans", tmp_path / "a.json", "--out", tmp_path / "b.json")
    out = json.loads((tmp_path / "b.json").read_text("utf-8"))
    predictions = json.loads(predict(call, "spans", tmp_path / "a.json"))
    for paragraph in out["data"][0]["paragraphs"]:
        item = paragraph["qas"][0]
        assert item.pop("answer") == predictions[item["id"]]
        del item["answer_start"], item["probability"]
    assert out == content
    assert "a column 'answer' already" in predict(call, "spans", "train.jsonl", "--out", tmp_path / "c.jsonl", status=2)


def test_masked_words(run, folder, call, tmp_path, capsys):
    (tmp_path / "a.txt").write_text("the [MASK] of\n\nno mask\n[MASK] [MASK]", "utf-8")
    predict(call, run("masked"), tmp_path / "a.txt", "--out", tmp_path / "b.txt")
    lines = [line.split("\t") for line in (tmp_path / "b.txt").read_text("utf-8").split("\n")]
    assert [line[0] for line in lines] == ["the [MASK] of", "", "no mask", "[MASK] [MASK]"]
    assert [(len(line[1].split()), len(line[2].split())) for line in lines] == [(1, 1), (0, 0), (0, 0), (2, 2)]
    best = textcls.load(folder / "masked").fill("the [MASK] of")[0]
    assert best[lines[0][1]] == max(best.values())
    assert "not a lm" in predict(call, run("words"), tmp_path / "a.txt", "--out", tmp_path / "c.txt", status=2)


@pytest.mark.parametrize("flags, message", [
    ("--predict train.csv --out out.jsonl", "train.csv is CSV, and comes out as it went in"),
    ("--predict train.txt --out out.tsv", "train.txt is a text a line, and comes out as it went in"),
    ("--predict train.csv --out out.csv --top-k 2 --all-probabilities", "leave out --top-k"),
    ("--predict train.csv --out out.csv", "a column 'label' already; .*--prefix predicted_"),
    ("--predict train.txt --out out.txt --prefix p_", "the columns of train.txt have no names"),
    ("--predict train.csv --out - --resume", "go with a file as --out"),
    ("--predict train.csv --strict", "--strict goes with --out FILE"),
    ("--out out.csv", "--out goes with --predict FILE"),
    ("--predict no.csv --out out.csv", "no.csv: No such file"),
    ("--predict tiny --out out.csv", "tiny: Is a directory"),
])  # fmt: skip
def test_what_does_not_go_together(run, folder, call, flags, message):
    assert re.search(message, call("evaluate", run("plain"), *flags.split(), status=2))
    assert not list(folder.glob("out.*"))


def test_pairs_need_columns(run, call, tmp_path):
    predict(call, run("pairs"), "pairs.csv", "--out", tmp_path / "b.csv")
    assert {row["label"] for row in table_of(tmp_path / "b.csv")} <= set(TOPICS)
    message = predict(call, "pairs", "train.txt", "--out", tmp_path / "b.txt", status=2)
    assert "the columns a, b, and --format" in message


# ---- processes ------------------------------------------------------------------------------------------------------


def in_small_chunks() -> None:
    fill.CHUNK = 16
    partial.EVERY = -1.0


def slowly() -> None:
    """… so that a kill finds it at work."""
    in_small_chunks()
    answered = fill.answered

    def slow(*given):
        time.sleep(0.05)
        return answered(*given)

    fill.answered = slow


def dying() -> None:
    """The second process is killed at its second chunk."""
    in_small_chunks()
    answered, count = fill.answered, [0]

    def counted(*given):
        count[0] += 1
        if count[0] == 2 and os.environ.get("RANK") == "1":
            os.kill(os.getpid(), signal.SIGKILL)
        return answered(*given)

    fill.answered = counted


def start(folder, processes: int, *arguments, before=in_small_chunks, name="scores") -> list[Launched]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"TEXTCLS_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    if processes > 1:
        common |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(processes)}
    numbered = [common | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(processes)]
    return [Launched(folder, "evaluate", name, "--quiet", *arguments, before=before, **more) for more in numbered]


def many(folder) -> str:
    """A table of 250 rows, two of them wrong."""
    if not (folder / "many.csv").exists():
        rows = [f'{i},"{text}"' for i, (text, _) in enumerate(make_rows(250, seed=8))]
        rows[30] += ",more"
        rows[170] = "170"
        (folder / "many.csv").write_text("id,text\n" + "\n".join(rows) + "\n", "utf-8")
    return "many.csv"


@pytest.fixture(scope="module")
def alone(folder):
    """What one process makes of it, and what it says."""

    def made() -> tuple[bytes, str]:
        if not (folder / "alone.csv").exists():
            (process,) = start(folder, 1, "--predict", many(folder), "--out", "alone.csv")
            assert process.wait() == 0, process.stderr
            (folder / "alone.err").write_text(process.stderr, "utf-8")
        return (folder / "alone.csv").read_bytes(), (folder / "alone.err").read_text("utf-8")

    return made


def test_two_processes_write_what_one_writes(run, folder, alone):
    run("scores")
    expected, said = alone()
    assert said.splitlines() == [
        "many.csv:32: 3 columns, expected 2 as in the first row",
        "many.csv:172: 1 columns, expected 2 as in the first row",
    ]
    both = start(folder, 2, "--predict", "many.csv", "--out", "two.csv")
    assert [process.wait() for process in both] == [0, 0], both[0].stderr + both[1].stderr
    assert (folder / "two.csv").read_bytes() == expected
    assert both[0].stderr == said and both[1].stderr == ""


def test_a_threshold_holds_in_every_process(run, folder):
    flags = "--predict", many(folder), "--threshold", "0.8", "--out"
    (process,) = start(folder, 1, *flags, "sure-1.csv", name=run("plain"))
    both = start(folder, 2, *flags, "sure-2.csv", name="plain")
    assert [one.wait() for one in (process, *both)] == [0, 0, 0], process.stderr + both[0].stderr + both[1].stderr
    expected = (folder / "sure-1.csv").read_bytes()
    assert (folder / "sure-2.csv").read_bytes() == expected
    empty = [number for number, line in enumerate(expected.splitlines()[1:]) if b",," in line]
    assert {number // 16 % 2 for number in empty} == {0, 1} and len(empty) < 200  # in chunks of both processes


def test_two_processes_do_not_print_the_same_answers(run, folder):
    both = start(folder, 2, "--predict", many(folder), name=run("scores"))
    assert [process.wait() for process in both] == [2, 2]
    assert both[0].stderr == "error: several processes answer a file together; give --out FILE\n"


def test_when_a_process_dies_the_other_says_so_and_one_goes_on(run, folder, alone):
    run("scores")
    both = start(folder, 2, "--predict", many(folder), "--out", "lost.csv", before=dying)
    assert both[1].wait() == -signal.SIGKILL and both[0].wait() == 2
    assert both[0].stderr.splitlines()[-1].startswith("error: another process has died")
    assert "Traceback" not in both[0].stderr and not (folder / "lost.csv").exists()
    (process,) = start(folder, 1, "--predict", "many.csv", "--out", "lost.csv", "--resume")
    assert process.wait() == 0, process.stderr
    assert (folder / "lost.csv").read_bytes() == alone()[0]


def test_killed_twice_and_stopped_once_it_ends_as_if_it_never_was(run, folder, alone):
    run("scores")
    journal = folder / "killed.csv.partial.json"
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
        before = journal.stat().st_mtime_ns if journal.exists() else 0
        (process,) = start(folder, 1, "--predict", many(folder), "--out", "killed.csv", "--resume", before=slowly)
        while not (journal.exists() and journal.stat().st_mtime_ns > before):
            assert process.returncode is None, process.stderr
            time.sleep(0.01)
        process.send(number)
        assert process.wait() == (130 if number == signal.SIGTERM else -number)
        assert not (folder / "killed.csv").exists()
        if number == signal.SIGTERM:
            assert "killed.csv.partial holds what came before; go on with --resume\ninterrupted" in process.stderr
    (process,) = start(folder, 1, "--predict", "many.csv", "--out", "killed.csv", "--resume")
    assert process.wait() == 0, process.stderr
    assert (folder / "killed.csv").read_bytes() == alone()[0]
    assert not list(folder.glob("killed.csv.*"))
