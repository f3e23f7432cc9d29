"""What evaluate.py --predict reads and prints, and what predict() takes, of every task."""

import io
import json

import pytest

import textcls
from tests.conftest import TOPICS, make_rows, write_csv
from textcls.runtime.errors import InputError

TAGS = "--task tagging --model bilstm-scratch --hidden 16 --embedding 16 --min-count 1 --lr 0.02 --epochs 30 --quiet"
CONLL = "-DOCSTART- -X- O\n\nAda NN B-PER\nLee NN I-PER\nsaw VB O\nTurin NN B-LOC\n\nada NN O\nsaw VB O\n\n"
TEXTS = [" ".join(TOPICS[label].split()[:4]) for label in sorted(TOPICS)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("predict")
    write_csv(folder / "train.csv", make_rows(60))
    write_csv(folder / "held.csv", zip(TEXTS, sorted(TOPICS), strict=True))
    rows = make_rows(60)
    (folder / "bare.csv").write_text("".join(f"{text},{label}\n" for text, label in rows), "utf-8")
    (folder / "pairs.csv").write_text("a,b,y\n" + "".join(f"{text},{text},{label}\n" for text, label in rows), "utf-8")
    odd = {label: label.replace("o", "\\t").replace("i", "\\n") for label in TOPICS}
    lines = (f'{{"text": "{text}", "label": "{odd[label]}"}}\n' for text, label in rows)
    (folder / "odd.jsonl").write_text("".join(lines), "utf-8")
    (folder / "train.conll").write_text(CONLL * 20, "utf-8")
    return folder


@pytest.fixture
def run(folder, call):
    """Train once what a test wants a run of."""
    flags = {
        "plain": "--model linear --train train.csv",
        "bare": "--model linear --train bare.csv --text-column 1 --label-column 2",
        "pairs": "--model linear --train pairs.csv --label-column y",
        "odd": "--model linear --train odd.jsonl",
        "tagger": f"{TAGS} --train train.conll",
        "masked": "--task pretrain --train lines.txt --dev 0.5 --max-length 16 --batch-size 2",
    }
    (folder / "lines.txt").write_text("\n\n".join(["a line of some ten words that is long enough"] * 9), "utf-8")

    def trained(name: str, *more: str) -> str:
        if not (folder / name).exists():
            pair = ["--text-column", "a, b"] if name == "pairs" else []
            call("train", *flags[name].split(), *pair, "--quiet", "--out", name, *more)
        return name

    return trained


def predict(call, run, *arguments, status=0):
    return call("evaluate", run, "--quiet", "--predict", *arguments, status=status)


def first_column(text: str) -> list[str]:
    return [line.split("\t")[0] for line in text.splitlines()]


# ---- tables ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, separator, quote", [
    ("held.csv", ",", ""), ("held.CSV", ",", '"'), ("held.csv", ";", '"'), ("held.tsv", "\t", ""), ("h.tsv", "\t", '"')
])  # fmt: skip
@pytest.mark.parametrize("with_labels", [True, False])
def test_a_table_is_read_by_the_runs_column(run, call, tmp_path, name, separator, quote, with_labels):
    rows = [["text", "label"], *([text, "not known"] for text in TEXTS)]
    lines = (separator.join(f"{quote}{cell}{quote}" for cell in (row if with_labels else row[:1])) for row in rows)
    (tmp_path / name).write_text("\n".join(lines), "utf-8")
    assert first_column(predict(call, run("plain"), tmp_path / name)) == sorted(TOPICS)


def test_formats_can_be_said(run, call, folder, tmp_path):
    (tmp_path / "table").write_bytes((folder / "held.csv").read_bytes())
    assert first_column(predict(call, run("plain"), tmp_path / "table", "--format", "csv")) == sorted(TOPICS)
    assert len(first_column(predict(call, run("plain"), tmp_path / "table"))) == 4  # a text a line
    assert len(first_column(predict(call, run("plain"), "held.csv", "--format", "lines"))) == 4
    (tmp_path / "other.csv").write_text("words,label\na,x\n", "utf-8")
    assert "other.csv:1: no column 'text'" in predict(call, run("plain"), tmp_path / "other.csv", status=2)


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl"])
def test_standard_input_in_every_format(run, call, monkeypatch, kind):
    separator = {"csv": ",", "tsv": "\t"}.get(kind)
    lines = [json.dumps({"text": text}) for text in TEXTS]
    if separator:
        lines = [separator.join(row) for row in [("id", "text"), *(("1", text) for text in TEXTS)]]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("\n".join(lines).encode("utf-8"))))
    text = predict(call, run("plain"), "-", "--format", kind)
    answers = first_column(text) if separator else [json.loads(line)["labels"][0] for line in text.splitlines()]
    assert answers == sorted(TOPICS)


def test_columns_by_position(run, call, tmp_path):
    (tmp_path / "a.csv").write_text("\n".join(TEXTS), "utf-8")
    assert first_column(predict(call, run("bare"), tmp_path / "a.csv")) == sorted(TOPICS)
    (tmp_path / "a.csv").write_text("text,label\nstar,x\n", "utf-8")
    assert "a.csv:1: 'text' looks like a header" in predict(call, run("bare"), tmp_path / "a.csv", status=2)
    (tmp_path / "a.jsonl").write_text("".join(json.dumps([text]) + "\n" for text in TEXTS), "utf-8")
    answers = [json.loads(line)["labels"] for line in predict(call, run("bare"), tmp_path / "a.jsonl").splitlines()]
    assert answers == [[label] for label in sorted(TOPICS)]
    (tmp_path / "a.jsonl").write_text('{"text": "star"}\n', "utf-8")
    assert "The columns are positions (1): give arrays" in predict(call, run("bare"), tmp_path / "a.jsonl", status=2)


def test_pairs_in_a_table(run, call, folder, tmp_path):
    assert len(first_column(predict(call, run("pairs"), folder / "pairs.csv"))) == 60
    (tmp_path / "a.txt").write_text("star\n", "utf-8")
    message = predict(call, run("pairs"), tmp_path / "a.txt", status=2)
    assert "the columns a, b, and --format jsonl, csv or tsv" in message


# ---- lines ----------------------------------------------------------------------------------------------------------


def test_blank_lines_of_json_lines_are_left_out(run, call, tmp_path):
    lines = [json.dumps({"text": text}) for text in TEXTS]
    (tmp_path / "a.jsonl").write_text("\ufeff" + "\n\n".join(lines) + "\n \n", "utf-8")
    assert len(predict(call, run("plain"), tmp_path / "a.jsonl").splitlines()) == 3


@pytest.mark.parametrize("name, bad", [("a.jsonl", "{"), ("a.txt", "b\xe9d"), ("a.csv", "one,two")])
def test_what_comes_before_a_bad_line_is_answered(run, call, tmp_path, capsys, name, bad):
    before = {"a.jsonl": [json.dumps({"text": text}) for text in TEXTS], "a.csv": ["text", *TEXTS]}.get(name, TEXTS)
    (tmp_path / name).write_bytes("\n".join([*before, bad, "star"]).encode("latin1"))
    run("plain")
    from evaluate import main

    capsys.readouterr()
    assert main(["plain", "--quiet", "--predict", str(tmp_path / name)]) == 2
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 3 and f"{name}:{len(before) + 1}: " in printed.err


def test_another_encoding(run, call, tmp_path):
    (tmp_path / "a.txt").write_bytes("caf\xe9 star planet\n".encode("latin1"))
    assert "--encoding latin1" in predict(call, run("plain"), tmp_path / "a.txt", status=2)
    assert len(predict(call, run("plain"), tmp_path / "a.txt", "--encoding", "latin1").splitlines()) == 1
    assert "--encoding x: unknown" in predict(call, run("plain"), tmp_path / "a.txt", "--encoding", "x", status=2)


def test_labels_with_a_tab_or_line_break_stay_in_their_column(run, call, tmp_path):
    (tmp_path / "a.txt").write_text("\n".join(TEXTS), "utf-8")
    lines = predict(call, run("odd"), tmp_path / "a.txt", "--top-k", "3").splitlines()
    assert [line.count("\t") for line in lines] == [5, 5, 5]
    assert first_column("\n".join(lines)) == [label.replace("o", "\\t").replace("i", "\\n") for label in sorted(TOPICS)]


# ---- tags -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme, tags", [
    ("BIO", "B-PER I-PER O B-LOC".split()),
    ("IOB1", "I-PER I-PER O I-LOC".split()),
    ("BIOES", "B-PER E-PER O S-LOC".split()),
    ("BILOU", "B-PER L-PER O U-LOC".split()),
])  # fmt: skip
def test_tags_come_in_the_files_own_scheme_and_every_line_has_its_column(folder, call, scheme, tags):
    text = CONLL
    for ours, theirs in zip("B-PER I-PER O B-LOC".split(), tags, strict=True):
        text = text.replace(f" {ours}\n", f" {theirs}\n")
    (folder / f"{scheme}.conll").write_text(text * 20, "utf-8")
    call("train", *TAGS.split(), "--train", f"{scheme}.conll", "--out", scheme)
    assert json.loads((folder / scheme / "config.json").read_text("utf-8"))["scheme"] == scheme
    lines = [line.split(" ") for line in predict(call, scheme, f"{scheme}.conll").splitlines() if line]
    assert {len(line) for line in lines} == {4}
    assert all(line[2] == line[3] for line in lines)  # capitals tell Ada from ada: learned by heart


def test_a_no_break_space_ends_no_sentence(run, call, tmp_path):
    (tmp_path / "a.txt").write_text("Ada\n\u00a0\nLee\n\nsaw \t\n", "utf-8")
    lines = predict(call, run("tagger"), tmp_path / "a.txt").split("\n")
    assert [line.split("\t")[0] for line in lines] == ["Ada", "\u00a0", "Lee", "", "saw", ""]
    assert [line.rstrip().count("\t") for line in lines] == [1, 1, 1, 0, 1, 0]


def test_comments_and_ranges_are_written_back(run, call, folder, tmp_path):
    rows = ["# sent_id = 1", "1-2\tAdaLee\t_", "1\tAda\tB-PER", "2\tLee\tI-PER", ""]
    (tmp_path / "u.conll").write_text("\n".join(rows * 20), "utf-8")
    call("train", *TAGS.split(), "--text-column", "2", "--train", tmp_path / "u.conll", "--out", tmp_path / "u")
    lines = predict(call, tmp_path / "u", tmp_path / "u.conll").splitlines()
    assert lines[:5] == [rows[0], rows[1] + "\t_", rows[2] + "\tB-PER", rows[3] + "\tI-PER", ""]


def test_a_table_for_a_tagger_is_refused(run, call):
    assert "a tagger reads CoNLL" in predict(call, run("tagger"), "held.csv", status=2)


def test_case_is_kept_unless_said_otherwise(folder, call, run):
    words = set(textcls.load(folder / run("tagger")).vocabulary.tokenizer.get_vocab())
    assert {"Ada", "ada", "Lee", "Turin"} <= words
    call("train", *TAGS.split(), "--lower", "--epochs", "1", "--train", "train.conll", "--out", "lowered")
    words = set(textcls.load(folder / "lowered").vocabulary.tokenizer.get_vocab())
    assert "ada" in words and not {"Ada", "Lee", "Turin"} & words
    assert "--lower does not apply to --model bert" in call("train", "--model", "bert", "--no-lower", status=2)


# ---- masked words ---------------------------------------------------------------------------------------------------


def test_every_masked_line_has_its_line_of_answers(run, folder, tmp_path, capsys, call):
    run("masked")
    (tmp_path / "a.txt").write_text("\ufeffa [MASK] line\n\nno mask\n\u00a0\n[MASK] of [MASK]\n", "utf-8")
    from evaluate import main

    capsys.readouterr()
    assert main(["masked", "--quiet", "--predict", str(tmp_path / "a.txt")]) == 0
    printed = capsys.readouterr()
    assert [len(line.split("\t")) for line in printed.out.split("\n")] == [2, 1, 1, 1, 4, 1]
    assert printed.err.count("\n") == 1 and "a.txt:3: no [MASK] among the first 16 tokens" in printed.err


# ---- from Python ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("texts", ["one text", b"bytes", [None], [1.5], 3, None, [["a", None]]])
def test_what_is_no_list_of_texts(run, folder, texts):
    with pytest.raises(InputError, match="expected a (list of texts|str)"):
        textcls.load(folder / run("plain")).predict(texts)


@pytest.mark.parametrize("sentences", ["one", ["one two"], [None], [["Ada", None]], 3])
def test_what_is_no_list_of_sentences(run, folder, sentences):
    with pytest.raises(InputError, match="expected a (list of|str)"):
        textcls.load(folder / run("tagger")).predict(sentences)


@pytest.mark.parametrize("text", [None, ["a [MASK]"], 3])
def test_what_is_no_masked_text(run, folder, text):
    with pytest.raises(InputError, match="fill: expected a str"):
        textcls.load(folder / run("masked")).fill(text)


def test_generators_and_arrays_are_lists(run, folder):
    predictor = textcls.load(folder / run("plain"))
    assert predictor.predict(text for text in TEXTS)[0] == sorted(TOPICS)
    assert textcls.load(folder / run("tagger")).predict([("Ada", "saw"), []])[1] == []


# ---- results --------------------------------------------------------------------------------------------------------


def test_results_name_the_file_they_are_of(folder, call):
    text = call("train", *"--model linear --train train.csv --test held.csv --quiet --out named".split())
    assert "test: held.csv (3 classes)" in text
    assert call("evaluate", "named").startswith("named on held.csv (3 classes): 3 documents")
    text = call("train", *"--model linear --train train.csv --test 0.2 --quiet --out share".split())
    assert "test 12" in text and "test: train.csv, 0.2 of it held out (3 classes)" in text
    shown = call("evaluate", "share")
    assert shown.startswith("share on train.csv, 0.2 of it held out (3 classes): 12 documents")
    assert "--test 0.2: each seed" in call("train", *"--train train.csv --test 0.2 --seeds 1 2".split(), status=2)


def test_a_run_without_a_test_split_recommends_what_works(folder, call):
    def recommended(*flags: str) -> list[str]:
        text = call("train", *"--model linear --train train.csv --quiet".split(), *flags)
        script, *arguments = text.split("next: python ")[1].split()
        call(script.removesuffix(".py"), *arguments)
        return arguments

    assert recommended("--out", "a") == "--model linear --train train.csv --quiet --test 0.2".split()
    assert recommended("--dev", "held.csv", "--out", "b") == ["b", "--test", str(folder / "held.csv")]
    assert f"--test {folder / 'held.csv'})" in call("evaluate", "b", status=2)


def test_a_test_file_of_empty_texts(run, call, tmp_path):
    (tmp_path / "empty.csv").write_text("text,label\n,astronomy\n ,cooking\n", "utf-8")
    text = call("evaluate", run("plain"), "--test", tmp_path / "empty.csv")
    assert "non-empty       none (2 of 2 documents are empty)" in text


def test_tasks_know_their_model(folder, call, tmp_path):
    (tmp_path / "a.txt").write_text("the cat sat\n" * 20, "utf-8")
    small = f"--embedding 8 --epochs 1 --batch-size 2 --train {tmp_path / 'a.txt'} --quiet".split()
    assert "lstm on cpu" in call("train", "--task", "lm", *small, "--out", "words", "--test", "0.2")
    assert "words on a.txt, 0.2 of it held out: 16 words" in call("evaluate", "words")
    message = call("train", "--task", "lm", "--model", "bilstm", *small, status=2)
    assert "--model bilstm is not there for --task lm" in message


@pytest.mark.parametrize("script, arguments, flag", [
    ("evaluate", ["run", "--predict", ""], "--predict"),
    ("evaluate", ["run", "--predict", "a.txt", "--out", ""], "--out"),
    ("evaluate", ["run", ""], "RUN"),
    ("ensemble", ["run", "other", "--out", ""], "--out"),
    ("ensemble", ["run", "other", "--out-of-fold", "folds", ""], "--out-of-fold"),
])  # fmt: skip
def test_a_value_that_is_nothing_is_no_name(call, script, arguments, flag):
    assert f"{flag} '': expected a name" in call(script, *arguments, status=2)
