"""Files of questions about contexts: SQuAD 1.1, tables, what is mended, what is left out, and what is refused."""

import json

import numpy as np
import pytest

from textcls.data import squad
from textcls.data.squad import Gold, find, read
from textcls.runtime.errors import InputError

COLUMNS = ("question", "context", "answer")
CONTEXT = "The sun rose. The moon set, and the sun set."


def document(qas: list[dict], context: str = CONTEXT, **others) -> dict:
    return {"version": "1.1", "data": [{"title": "Sky", "paragraphs": [{"context": context, "qas": qas}]}]} | others


def qa(number: str = "q1", text: str = "sun", start: object = 4, **others) -> dict:
    return {"id": number, "question": "What rose?", "answers": [{"text": text, "answer_start": start}]} | others


@pytest.fixture
def written(tmp_path):
    def write(content, name: str = "x.json") -> squad.Questions:
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
        return read(str(path), COLUMNS)

    return write


def test_squad_is_read(written):
    golds = [
        {"text": "sun", "answer_start": 4},
        {"text": " The sun", "answer_start": -1},
        {"text": "star", "answer_start": 0},
    ]
    split = written(document([qa(), {"id": "q2", "question": "Which? ", "answers": golds, "is_impossible": False}]))
    assert split.questions == ["What rose?", "Which? "] and split.contexts == [CONTEXT] * 2
    assert split.golds == [[Gold("sun", 4)], [Gold("sun", 4), Gold("The sun", 0), Gold("star", None)]]
    assert (split.names, split.titles) == (["q1", "q2"], ["Sky", "Sky"])
    assert split.answers([]) == ["4 sun", "4 sun\n0 The sun\nNone star"]
    assert len(set(split.ids.tolist())) == 2


@pytest.mark.parametrize("start, place", [(4, 4), (5, 4), (20, 4), (23, 36), (36, 36), (999, 36), (-7, 4), (-8, 4)])
def test_an_answer_is_mended_by_the_nearest_occurrence(start, place):
    assert find("x", CONTEXT, "sun", start) == Gold("sun", place, mended=start != place)


def test_what_was_mended_and_what_is_absent_is_counted(written):
    rows = [qa("a", start=5), qa("b", start=4), qa("c", "star", 3), qa("d", "moon", 0)]
    rows[1]["answers"].append({"text": "star", "answer_start": 0})  # one of two golds is there
    split = written(document(rows))
    assert split.remarks() == [
        "answer_start mended to the nearest occurrence: 2", "answers that are not in their context: 1"
    ]  # fmt: skip


def test_overlapping_occurrences_are_all_seen():
    assert squad.occurrences("aaaa", "aa") == [0, 1, 2] and squad.occurrences("abc", "x") == []


TABLE = [
    ("What rose?", CONTEXT, "moon", ""),
    ('Who "set"?', CONTEXT, "sun", "36"),
    ("When?", "a\u00a0b 😀 c", "😀", "4"),
]


@pytest.mark.parametrize("name", ["x.csv", "x.tsv", "x.jsonl", "x.json"])
def test_tables_of_ones_own(written, name):
    names = ["question", "context", "answer", "answer_start"]
    if name.startswith("x.json"):
        rows = [dict(zip(names, row, strict=True)) | {"answer_start": int(row[3]) if row[3] else None} for row in TABLE]
        text = json.dumps(rows) if name == "x.json" else "\n".join(map(json.dumps, rows))
    else:
        mark = "," if name == "x.csv" else "\t"
        quoted = [[f'"{cell.replace(chr(34), 2 * chr(34))}"' for cell in row] for row in TABLE]
        text = "\n".join(mark.join(row) for row in [names, *quoted])
    split = written(text, name)
    assert split.questions == [row[0] for row in TABLE] and split.contexts == [row[1] for row in TABLE]
    assert split.golds == [[Gold("moon", 18)], [Gold("sun", 36)], [Gold("😀", 4)]]
    assert split.names == ["1", "2", "3"] and split.titles == ["", "", ""]


def test_the_columns_that_may_be_absent(written):
    split = written("question,context,answer\nWho?,ada went out,ada\n", "x.csv")
    assert split.golds == [[Gold("ada", 0)]] and split.names == ["1"]
    split = written("id,title,answer,question,context\n7,T,absent,Who?,ada went out\n", "x.csv")
    assert split.golds == [[Gold("absent", None)]] and (split.names, split.titles) == (["7"], ["T"])
    rows = squad.rows_of(
        lambda: iter(['{"question": "Who?", "context": "ada"}']), "-", "jsonl", COLUMNS, answered=False
    )
    assert [(row.question, row.golds, row.name) for row in rows] == [("Who?", [], "1")]


def test_other_names_of_columns(tmp_path):
    (tmp_path / "x.tsv").write_text("q\tpassage\tspan\tspan_start\nWho?\tsun sun\tsun\t4\n", "utf-8")
    assert read(str(tmp_path / "x.tsv"), ("q", "passage", "span")).golds == [[Gold("sun", 4)]]


def test_several_files_are_as_one(tmp_path):
    """Ids of rows without one are counted on, so that they stay unique; what results call the questions is the same."""
    rows = [f"{{\"question\": \"{i}?\", \"context\": \"sun {i}\", \"answer\": \"sun\"}}" for i in range(5)]
    for name, part in (("all", rows), ("a", rows[:2]), ("b", rows[2:])):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(part), "utf-8")
    whole, parts = read(str(tmp_path / "all.jsonl"), COLUMNS), read(f"{tmp_path}/a.jsonl,{tmp_path}/b.jsonl", COLUMNS)
    assert parts.names == whole.names == ["1", "2", "3", "4", "5"] and parts.questions == whole.questions
    assert np.array_equal(parts.ids, whole.ids)
    corpus = squad.load(f"{tmp_path}/a.jsonl,{tmp_path}/b.jsonl", str(tmp_path / "all.jsonl"), None, COLUMNS, 1)
    assert len(corpus.train) == 5 and corpus.name == "a.jsonl,b.jsonl" and corpus.description.startswith("a.jsonl,b.")
    with pytest.raises(InputError, match=r"b.jsonl:1: the id '1' is that of .*a.jsonl:1 too"):
        for name in "ab":
            row = json.loads(rows[0]) | {"id": "1"}
            (tmp_path / f"{name}.jsonl").write_text(json.dumps(row), "utf-8")
        read(f"{tmp_path}/a.jsonl,{tmp_path}/b.jsonl", COLUMNS)
    for names in ("a.jsonl,", ",a.jsonl", "a.jsonl,,b.jsonl"):
        with pytest.raises(InputError, match="an empty name before or after a comma"):
            read(names, COLUMNS)
    (tmp_path / "x,y.jsonl").write_text(rows[0], "utf-8")
    assert len(read(str(tmp_path / "x,y.jsonl"), COLUMNS)) == 1


@pytest.mark.parametrize("ids", [("7", ""), ("", "7"), ("7", " ")])
def test_an_id_in_some_rows_only(written, ids):
    """A row's number in place of a missing id could be the id of another row."""
    rows = [f"{name},Who {name}?,ada,ada" for name in ids]
    message = "x.csv:3: an id, unlike" if ids[1] == "7" else "x.csv:3: no id, unlike"
    with pytest.raises(InputError, match=message):
        written("\n".join(["id,question,context,answer", *rows]), "x.csv")


def test_a_column_that_is_called_id_and_read_as_something_else(tmp_path):
    (tmp_path / "x.csv").write_text("id,title,answer\nWho?,ada,ada\nWho?,ada ran,ada\n", "utf-8")
    split = read(str(tmp_path / "x.csv"), ("id", "title", "answer"))
    assert split.names == ["1", "2"] and split.titles == ["", ""] and split.questions == ["Who?", "Who?"]


def test_contexts_are_held_out_whole(written):
    contexts = [f"{word} shines" for word in ("sun", "moon", "star", "comet", "lamp")]
    rows = [{"question": f"{i}?", "context": contexts[i % 5], "answer": contexts[i % 5].split()[0]} for i in range(20)]
    pool = written("\n".join(map(json.dumps, rows)), "x.jsonl")
    train, dev = pool.hold_out(0.2, seed=3)
    assert len(dev) == 4 and len(train) == 16 and not set(train.contexts) & set(dev.contexts)
    assert sorted([*train.ids, *dev.ids]) == sorted(pool.ids) and pool.hold_out(0.2, 3)[1].names == dev.names
    assert {tuple(pool.hold_out(0.2, seed)[1].names) for seed in range(8)} != {tuple(dev.names)}
    for share in (0.99, 0.01):
        with pytest.raises(InputError, match="about 5 contexts, which stay whole"):
            pool.hold_out(share, 3)


def test_a_context_that_is_too_large_for_the_share_is_passed_over(written):
    """60 of 100 questions are about one context: a tenth is a tenth all the same."""
    contexts = ["sun shines"] * 60 + [f"moon {i // 4} shines" for i in range(40)]
    rows = [{"question": f"{i}?", "context": text, "answer": "shines"} for i, text in enumerate(contexts)]
    pool = written("\n".join(map(json.dumps, rows)), "x.jsonl")
    assert {len(pool.hold_out(0.1, seed)[1]) for seed in range(20)} == {8}  # of 10, in fours


@pytest.mark.parametrize("start, place", [("-1", 0), ("8.0", 8), ("7.00", 8), ("-3.0", 0), ("9" * 18, 8), ("3", 0)])
def test_a_start_as_other_programs_write_it(written, start, place):
    """Off by a few, below 0, or with a decimal point, which comes of gaps in the column: the nearest occurrence."""
    split = written(f"question,context,answer,answer_start\nWho?,ada saw ada,ada,{start}\n", "x.csv")
    assert split.golds[0][0].start == place


@pytest.mark.parametrize("start", ["9.5", "x", "1e3", "9" * 5000, "--1", "٣"])
def test_a_start_that_is_no_whole_number(written, start):
    with pytest.raises(InputError, match="x.csv:2: answer_start is '.*', expected a whole number: the answer's first"):
        written(f"question,context,answer,answer_start\nWho?,ada saw ada,ada,{start}\n", "x.csv")


def test_a_corpus_says_what_is_in_it(tmp_path):
    for name, rows in (("train", [qa("a"), qa("b", start=9), qa("c", "star", 1)]), ("dev", [qa("d")])):
        (tmp_path / f"{name}.json").write_text(json.dumps(document(rows)), "utf-8")
    corpus = squad.load(str(tmp_path / "train.json"), str(tmp_path / "dev.json"), None, COLUMNS, 1)
    assert corpus.description == (
        "train.json: contexts 1; answer_start mended to the nearest occurrence: 1; answers that are not in their "
        "context: 1"
    )
    assert (len(corpus.train), len(corpus.dev), corpus.test, corpus.labels) == (3, 1, None, [])
    (tmp_path / "train.json").write_text(json.dumps(document([qa("c", "star", 1)])), "utf-8")
    with pytest.raises(InputError, match="no answer occurs in its context; there is nothing to learn"):
        squad.load(str(tmp_path / "train.json"), str(tmp_path / "dev.json"), None, COLUMNS, 1)


IMPOSSIBLE = [qa("a"), qa("b", is_impossible=True, answers=[]), qa("c", is_impossible=True, answers=[])]
AT = r"x.json: data\[0\].paragraphs\[0\]"


@pytest.mark.parametrize("content, message", [
    ("{", r"x.json:1: not JSON \(Expecting property name"),
    ("[1, 2", r"x.json:1: not JSON"),
    ('{"a": 1}\n{"a": 2}', "x.json:2: not JSON .*a file of an object a line is called .jsonl"),
    ("3", r'x.json: expected \{"data": \[…\]\} as SQuAD 1.1 has it, found int'),
    ({"rows": []}, "x.json: no 'data', expected an array; it has 'rows'"),
    ({"data": {}}, "x.json.data: expected an array, found {}"),
    ({"data": []}, "x.json: no question in it"),
    ({"data": [3]}, r"x.json: data\[0\]: expected an object, found int"),
    ({"data": [{"title": "Sky"}]}, r"x.json: data\[0\]: no 'paragraphs', expected an array; it has 'title'"),
    ({"data": [{"title": 3, "paragraphs": []}]}, r"x.json: data\[0\].title: expected text, found 3"),
    (document(IMPOSSIBLE), r"x.json: SQuAD 2.0: 2 of its 3 questions have no answer \(is_impossible\); SQuAD 1"),
    (document([{"id": "a"}]), AT + r".qas\[0\]: no 'question', expected text; it has 'id'"),
    (document([qa(), qa(id=5)]), AT + r".qas\[1\].id: expected text, found 5"),
    (document([qa(answers=[])]), AT + r".qas\[0\]: no answers; a file without them can be answered \(--predict\)"),
    (document([qa(start="4")]), AT + r".qas\[0\].answers\[0\].answer_start: expected a whole number, found '4'"),
    (document([qa(start=True)]), AT + r".qas\[0\].answers\[0\].answer_start: expected a whole number, found True"),
    (document([qa(text=" ")]), AT + r".qas\[0\].answers\[0\]: the answer is empty; every question of SQuAD 1.1"),
    (document([qa()], "\u3000 "), AT + r".qas\[0\]: the context is empty"),
    (document([qa(question="")]), AT + r".qas\[0\]: the question is empty"),
    (document([qa(), qa()]), AT + r".qas\[1\]: the id 'q1' is that of .*qas\[0\] too"),
    ([{"question": "?", "context": "ada"}], "x.json: row 1: no field 'answer'; the fields are 'question', 'context'"),
    ([{"question": "?", "context": "ada", "answer": None}], "x.json: row 1: field 'answer' must be text, found None"),
])  # fmt: skip
def test_json_that_does_not_fit_is_refused(written, content, message):
    with pytest.raises(InputError, match=message) as error:
        written(content)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name, text, message", [
    ("x.csv", "question,answer\nWho?,ada\n", "x.csv:1: no column 'context'; the columns are 'question', 'answer'"),
    ("x.csv", "question,context,answer\nWho?,ada\n", "x.csv:2: 2 columns, expected 3"),
    ("x.csv", "question,context,answer\nWho?, ,ada\n", "x.csv:2: the context is empty"),
    ("x.csv", "question,context,answer\nWho?,ada, \n", "x.csv:2: the answer is empty"),
    ("x.csv", "question,context,answer\nWho?,ada ada,ada\n", "x.csv:2: the answer 'ada' occurs 2 times in its context"),
    ("x.csv", "question,context,answer,answer_start\nWho?,ada,ada,one\n", "x.csv:2: answer_start is 'one', expected"),
    ("x.csv", "id,question,context,answer\n1,?,ada,ada\n1,?,ada,ada\n", "x.csv:3: the id '1' is that of .*x.csv:2 too"),
    ("x.csv", "question,context,answer\n", "x.csv: no question in it"),
    ("x.jsonl", '{"question": "Who?"}\n', "x.jsonl:1: no field 'context'"),
    ("x.jsonl", '{"question": ["?"], "context": "a", "answer": "a"}\n', "x.jsonl:1: field 'question' must be text"),
    ("x.txt", "Who?", "x.txt: unknown file type '.txt'; known: SQuAD's .json, and .jsonl, .csv and .tsv with question"),
])  # fmt: skip
def test_tables_that_do_not_fit_are_refused(written, name, text, message):
    with pytest.raises(InputError, match=message):
        written(text, name)


def test_other_refusals(tmp_path):
    with pytest.raises(InputError, match="none.json: no such file"):
        read(str(tmp_path / "none.json"), COLUMNS)
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(InputError, match="folder.json: a folder"):
        read(str(tmp_path / "folder.json"), COLUMNS)
    (tmp_path / "x.csv").write_text("Who?,ada,ada\n", "utf-8")
    with pytest.raises(InputError, match="--text-column 1,2: give names of columns, not positions"):
        read(str(tmp_path / "x.csv"), ("1", "2", "3"))


def test_ids_name_question_and_context(written):
    first = written(document([qa("a"), qa("b")])).ids
    again = written(document([qa("other"), qa("ids")])).ids
    assert np.array_equal(first, again) and first[0] != first[1]
    assert not np.array_equal(first, written(document([qa("a"), qa("b")], CONTEXT + " It rained.")).ids)
