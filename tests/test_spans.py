"""Answer spans: the model against the published one, windows on their own, and the whole way from a file to answers."""

import json
import random
import re

import numpy as np
import pytest
import torch

import textcls
from tests.conftest import equal, save_tiny, stop_after, without_clock
from textcls import recipes
from textcls.config import TrainConfig
from textcls.data.squad import rows_of
from textcls.models.bert import BertConfig
from textcls.models.spans import SpanModel
from textcls.models.trans_blstm import layer
from textcls.runtime.device import Precision
from textcls.runtime.errors import InputError
from textcls.tasks import spans as task
from textcls.text.batches import Batch
from textcls.text.spans import NO_ANSWER
from textcls.training.run import Run

PLACES = "turin milan paris oslo lima cairo delhi quito".split()
PEOPLE = "ada grace alan edsger barbara donald".split()
FILLER = "the old road from here to there was long and very dusty in summer".split()
COLUMNS = ("question", "context", "answer")
PRECISION = Precision(None, "as tests have it")


def made(articles: int, seed: int) -> dict:
    """SQuAD's JSON: who lives where, among other words; several paragraphs an article, two golds a question."""
    rng, data = random.Random(seed), []
    for a in range(articles):
        paragraphs = []
        for p in range(2):
            people = rng.sample(PEOPLE, 3)
            facts = [(person, rng.choice(PLACES)) for person in people]
            parts = [
                f"{' '.join(rng.choices(FILLER, k=rng.randrange(3, 12)))}. {who} lives in {where}."
                for who, where in facts
            ]
            context = "  ".join(parts)
            qas = []
            for who, where in facts:
                start = context.index(f"{who} lives in {where}") + len(f"{who} lives in ")
                answers = [{"text": where, "answer_start": start}, {"text": f"in {where}", "answer_start": start - 3}]
                qas.append({"id": f"{seed}-{a}-{p}-{who}", "question": f"where lives {who} ?", "answers": answers})
            paragraphs.append({"context": context, "qas": qas})
        data.append({"title": f"article {a}", "paragraphs": paragraphs})
    return {"version": "1.1", "data": data}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("spans")
    for name, articles, seed in (("train", 14, 0), ("dev", 3, 1), ("test", 5, 2)):
        (folder / f"{name}.json").write_text(json.dumps(made(articles, seed)), "utf-8")
    words = " ".join([*PLACES, *PEOPLE, *FILLER, "lives where ? ."])
    save_tiny(folder / "tiny", [words] * 3, max_position_embeddings=64)
    return folder


COMMAND = (
    "--task spans --train train.json --dev dev.json --test test.json --bert tiny --max-length 48 --stride 12 "
    "--epochs 4 --lr 5e-3 --save-every 4 --quiet"
).split()


@pytest.fixture
def run(folder, call):
    """A trained run; what was printed is beside it."""
    if not (folder / "printed").exists():
        text = call("train", *COMMAND, *"--model bert --decoder blstm --out run".split())
        (folder / "printed").write_text(text, "utf-8")
    return "run"


# ---- the model ------------------------------------------------------------------------------------------------------


def test_logits_are_those_of_hugging_face(tiny_shape):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    theirs = transformers.BertForQuestionAnswering(transformers.BertConfig(**vars(tiny_shape))).eval()
    torch.nn.init.normal_(theirs.qa_outputs.weight)
    ours = SpanModel(tiny_shape).eval()
    ours.load_state_dict(theirs.state_dict())  # strict both ways: the published names, and no others
    ids, mask, segments = torch.randint(1, 60, (3, 20)), torch.ones(3, 20, dtype=torch.long), torch.zeros(3, 20).long()
    mask[1, 13:], segments[:, 6:] = 0, 1
    with torch.no_grad():
        expected = theirs(input_ids=ids, attention_mask=mask, token_type_ids=segments)
        logits = ours(ids, mask, segments)
    real = mask.bool()
    for number, values in enumerate((expected.start_logits, expected.end_logits)):
        torch.testing.assert_close(logits[..., number][real], values[real], atol=2e-5, rtol=0)


def models(dims: BertConfig) -> dict[str, torch.nn.Module]:
    torch.manual_seed(1)
    config = recipes.complete(TrainConfig(model="bilstm", task="spans", train="x", bert="x", hidden=6, layers=2))
    return {
        "bert": SpanModel(dims),
        "decoder": SpanModel(dims, 0.1, 2),
        "trans-blstm-2": SpanModel(dims, 0.1, 1, 5, layer("trans-blstm-2", True)),
        "bilstm": recipes.build(config, dims, 0),
    }


@pytest.mark.parametrize("name", ["bert", "decoder", "trans-blstm-2", "bilstm"])
def test_a_windows_logits_do_not_depend_on_its_neighbours(tiny_shape, name):
    model, lengths = models(tiny_shape)[name].eval(), [20, 7, 13, 1]
    rows = [torch.randint(1, 60, (length,)) for length in lengths]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    mask = (torch.arange(20) < torch.tensor(lengths)[:, None]).long()
    segments = (torch.arange(20) >= 4).long() * mask
    with torch.no_grad():
        together = model(ids, mask, segments)
        for i, length in enumerate(lengths):
            alone = model(ids[i : i + 1, :length], None, segments[i : i + 1, :length])
            torch.testing.assert_close(together[i : i + 1, :length], alone, atol=1e-5, rtol=1e-5)
    assert together.shape == (4, 20, 2) and together.dtype == torch.float32


@pytest.mark.parametrize("name", ["bert", "decoder"])
def test_logits_are_not_rounded_to_16_bits(tiny_shape, name):
    """Under autocast, too: rounded, many tokens of a window would have the same."""
    model = models(tiny_shape)[name].eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        logits = model(torch.randint(1, 60, (4, 30)))
    assert logits.dtype == torch.float32 and (logits != logits.bfloat16().float()).float().mean() > 0.9


def test_the_decoder_has_half_the_width_a_direction_unless_told(tiny_shape):
    default, told = SpanModel(tiny_shape, 0.0, 2), SpanModel(tiny_shape, 0.0, 1, 5)
    assert (default.decoder.hidden_size, default.decoder.num_layers, default.qa_outputs.in_features) == (8, 2, 16)
    assert (told.decoder.hidden_size, told.decoder.num_layers, told.qa_outputs.in_features) == (5, 1, 10)
    assert SpanModel(tiny_shape).decoder is None and SpanModel(tiny_shape).bert.pooler is None


def test_the_loss_is_that_of_the_real_tokens():
    """Half of two cross-entropies a window, against logarithms of each window's own softmax."""
    logits, lengths = torch.randn(3, 9, 2), [9, 4, 6]
    labels = torch.tensor([[2, 5], [0, 0], [5, 5]])
    mask = (torch.arange(9) < torch.tensor(lengths)[:, None]).long()

    def loss(mask, rows):
        batch = Batch({"mask": mask}, {"labels": labels[rows]}, np.arange(len(rows)), 0, {})
        return float(task.span_loss(lambda mask: logits[rows], batch, None)[0]["label"])

    expected = 0.0
    for values, label, length in zip(logits, labels, lengths, strict=True):
        for kind in (0, 1):
            expected -= float(values[:length, kind].log_softmax(0)[label[kind]]) / 2
    assert loss(mask, [0, 1, 2]) == pytest.approx(expected, rel=1e-5)
    assert loss(None, [0]) == pytest.approx(loss(mask[:1], [0]), rel=1e-6)


# ---- a run ----------------------------------------------------------------------------------------------------------


def test_it_trains(folder, run):
    printed = (folder / "printed").read_text("utf-8")
    for part in (
        "data: train.json: contexts 28; train 84, dev 18, test 30",
        r"train: 84 questions in \d+ windows of up to 48 tokens\n",
        r"dev: 18 questions in \d+ windows of up to 48 tokens\n",
        r"first words: \[CLS\] where lives ",
        r"epoch 4/4  loss .*  dev: answer_f1 \d\.\d+  exact_match ",
        "by dev answer_f1",
        r"test: test.json\nF1 +\d.* \[.*\nEM +\d.* \[.*\nintervals over 30 questions",
    ):
        assert re.search(part, printed), part
    found = json.loads((folder / run / "results.json").read_text("utf-8"))
    assert found["unit"] == "questions" and found["documents"] == 30
    assert found["metrics"]["exact_match"]["value"] > 0.15  # it has found out that places are asked for
    assert found["chance"] == {"metric": "answer_f1", "value": 0.0, "lower_is_better": False}


@pytest.mark.parametrize("flags", ["--decoder blstm", "--decoder none --accumulate 2"])
def test_resumed_equals_uninterrupted(folder, call, monkeypatch, flags):
    """Stopped in the middle of an epoch."""
    short = [*COMMAND, *"--model bert --epochs 2".split(), *flags.split()]
    out = "r" + str(len(flags))
    call("train", *short, "--out", out)
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        call("train", *short, "--out", f"{out}-stopped", status=130)
    state = Run(folder / f"{out}-stopped").load("last.pt")["state"]
    assert state["position"] > 0 and state["epoch"] == 0
    call("train", "--resume", f"{out}-stopped", "--quiet")
    whole, stopped = Run(folder / out), Run(folder / f"{out}-stopped")
    assert equal(whole.load("best.pt"), stopped.load("best.pt"))
    assert equal(without_clock(whole.load("last.pt")), without_clock(stopped.load("last.pt")))


def questions_of(folder, name: str = "test") -> list:
    lines = (folder / f"{name}.json").read_text("utf-8").splitlines()
    return list(rows_of(lambda: iter(lines), name, "json", COLUMNS))


def test_answers_do_not_depend_on_the_batch(folder, run, monkeypatch):
    predictor, rows = textcls.load(folder / run), questions_of(folder)
    pairs = [(row.question, row.context) for row in rows]
    together = predictor.n_best(pairs, 5)
    for tokens in (1, 10_000):
        monkeypatch.setattr(task, "CPU_TOKENS", tokens)
        again = predictor.n_best(pairs, 5)
        for ours, theirs in zip(again, together, strict=True):
            assert [answer[2:] for answer in ours] == [answer[2:] for answer in theirs]
            assert [a.probability for a in ours] == pytest.approx([a.probability for a in theirs], rel=1e-3)
    assert predictor.predict(*pairs[3]).text == together[3][0].text


ODD = [
    "ada\u00a0lives  in\u202fturin.\tgrace\u3000lives in\r\nmilan",
    "Ada lives in CAFE\u0301 Zu\u0308rich; re\u0301sume\u0301.",
    "日本に住む ada lives in 東京都",
    "😀👩‍👩‍👧 ada 🇮🇹 lives in 😀turin😀",
    "हिन्दी ada lives in दिल्ली",
    "ada lives\u200bin\u00adturin \u200d",
    "[CLS] ada [SEP] lives in [MASK]",
    "half \ud83d of ada lives in turin",
    "x" * 300 + " ada " * 60,
    "مرحبا ada lives in القاهرة",
]


def test_every_answer_is_a_piece_of_its_context(folder, run):
    predictor = textcls.load(folder / run)
    pairs = [(question, context) for context in ODD for question in ("where lives ada ?", "日本 \ud83d e\u0301")]
    found = predictor.n_best(pairs)
    for (_, context), answers in zip(pairs, found, strict=True):
        assert answers and len({answer.text for answer in answers}) == len(answers)
        assert sum(answer.probability for answer in answers) == pytest.approx(1)
        for answer in answers:
            assert answer.text == context[answer.start : answer.end] and answer.text.strip() == answer.text != ""
    assert predictor.predict("where ?", "\x00\x01") == NO_ANSWER and predictor.n_best([("where ?", "\x01")]) == [[]]
    assert predictor.predict([]) == []


@pytest.mark.parametrize("arguments, message", [
    (("where ?", ""), "pair 0: the context is empty"),
    ((" ", "turin"), "pair 0: the question is empty"),
    (("where ?", 3), "pair 0: expected a str, got int: 3"),
    (("where ?",), "expected a list of pairs .question, context.*got 'where .*one alone is given as predict"),
    ((["where ?"],), "pair 0: expected .question, context., got 'where .'"),
    (([("a", "b"), ("a", "b", "c")],), "pair 1: expected .question, context., got"),
])  # fmt: skip
def test_pairs_that_are_none_are_refused(folder, run, arguments, message):
    with pytest.raises(InputError, match=message):
        textcls.load(folder / run).predict(*arguments)


# ---- evaluation and prediction --------------------------------------------------------------------------------------


def test_it_is_evaluated_as_the_official_script_would(folder, run, call):
    """The file of answers, scored by hand, gives what evaluate.py says."""
    found = json.loads(call("evaluate", run, "--json", "--quiet"))
    answers = json.loads(call("evaluate", run, "--predict", "test.json", "--quiet"))
    golds = {row.name: [gold.text for gold in row.golds] for row in questions_of(folder)}
    assert answers.keys() == golds.keys()
    exact = [answers[name] in texts for name, texts in golds.items()]  # nothing here needs normalising
    assert found["metrics"]["exact_match"]["value"] == pytest.approx(np.mean(exact))
    assert found["metrics"] == json.loads((folder / run / "results.json").read_text("utf-8"))["metrics"]
    text = call("evaluate", run, "--test", "dev.json", "--quiet")
    assert "on dev.json: 18 questions\nF1 " in text and "intervals over 18 questions" in text


def test_the_n_best_have_probabilities_and_places(folder, run, call):
    best = json.loads(call("evaluate", run, *"--predict test.json --top-k 4 --quiet".split()))
    single = json.loads(call("evaluate", run, *"--predict test.json --quiet".split()))
    for row in questions_of(folder):
        answers = best[row.name]
        assert len(answers) == 4 and answers[0]["text"] == single[row.name]
        assert all(row.context[a["start"] : a["end"]] == a["text"] for a in answers)
        values = [a["probability"] for a in answers]
        assert values == sorted(values, reverse=True) and 0 < sum(values) < 1


def test_tables_are_answered_too(folder, run, call, monkeypatch):
    (folder / "ask.csv").write_text("question,context\nwhere lives ada ?,ada lives in turin.\n", "utf-8")
    (folder / "ask.jsonl").write_text(
        '{"question": "where lives ada ?", "context": "ada lives in turin.", "id": "x"}\n'
    )
    expected = textcls.load(folder / run).predict("where lives ada ?", "ada lives in turin.").text
    assert json.loads(call("evaluate", run, "--predict", "ask.csv", "--quiet")) == {"1": expected}
    assert json.loads(call("evaluate", run, "--predict", "ask.jsonl", "--quiet")) == {"x": expected}
    with open(folder / "ask.jsonl", "rb") as file:
        monkeypatch.setattr("sys.stdin", type("stdin", (), {"buffer": file, "isatty": lambda: False}))
        assert json.loads(call("evaluate", run, *"--predict - --format jsonl --quiet".split())) == {"x": expected}


def test_two_runs_are_compared_in_words(folder, run, call):
    call("train", *COMMAND, *"--model bilstm --hidden 8 --layers 1 --epochs 1 --out weak".split())
    text = call("evaluate", run, "weak", "--quiet")
    assert "test F1" in text and "test EM" in text
    for what in ("F1, by a paired bootstrap over questions", "EM, by McNemar's test over questions"):
        assert re.search(rf"run is [\d.]+ points (better|worse) than weak in {re.escape(what)} \(95 % interval", text)


def test_a_table_of_ones_own_is_trained_on(folder, call):
    rows = [
        {"q": row.question, "passage": row.context, "a": row.golds[0].text, "a_start": row.golds[0].start}
        for row in questions_of(folder, "train")
    ]
    rows[3]["a"], rows[5]["a_start"], rows[9]["a"] = "nowhere", rows[5]["a_start"] + 1, "elsewhere"
    rows[0]["q"] = "where " * 10_000
    (folder / "own.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    flags = [*COMMAND, *"--train own.jsonl --epochs 1 --model bert --text-column q,passage --label-column a".split()]
    text = call("train", *flags, *"--out own".split())
    assert "answer_start mended to the nearest occurrence: 1; answers that are not in their context: 2" in text
    assert "; questions cut to 24 pieces: 1; left out, since their answer is not in the context: 2\ndev: 18" in text
    text = call("train", *flags, *"--dev 0.2 --test 0.2 --out shares".split())
    sizes = [int(number) for number in re.search(r"train (\d+), dev (\d+), test (\d+)", text).groups()]
    assert sum(sizes) == 84 and all(size % 3 == 0 for size in sizes)  # three questions a context
    assert f"intervals over {sizes[2]} questions" in text
    assert f"intervals over {sizes[2]} questions" in call("evaluate", "shares", "--quiet")


def test_an_answer_longer_than_a_window_is_said(folder, call):
    words = " ".join(FILLER * 5)
    row = {"question": "where ?", "context": f"{words} turin", "answer": words}
    (folder / "long.jsonl").write_text("\n".join([json.dumps(row)] * 4), "utf-8")
    flags = [*COMMAND, *"--train long.jsonl --epochs 1 --model bert --out long".split()]
    assert "answers that no window holds whole: 4" in call("train", *flags)


def test_seeds_are_summarised(folder, call):
    text = call("train", *COMMAND, *"--model bilstm --hidden 8 --layers 1 --epochs 1 --seeds 1 2 --out both".split())
    found = json.loads((folder / "both" / "seeds.json").read_text("utf-8"))
    assert set(found["mean"]) == {"answer_f1", "exact_match"} and "mean ± sd" in text


# ---- settings -------------------------------------------------------------------------------------------------------


def test_the_recipe_is_that_of_run_squad():
    config = recipes.complete(TrainConfig(model="bert", task="spans", train="x", bert="x"))
    assert (config.lr, config.batch_size, config.epochs, config.warmup) == (3e-5, 12, 2, 0.1)
    assert (config.max_length, config.stride, config.decoder, config.dropout) == (384, 128, "none", 0.0)


BAD = made(1, 3)
BAD["data"][0]["paragraphs"][0]["qas"][1]["is_impossible"] = True


@pytest.mark.parametrize("arguments, message", [
    ("--decoder-layers 3", "--decoder-layers goes with --decoder blstm"),
    ("--hidden 8", "--hidden goes with --decoder blstm"),
    ("--label-smoothing 0.1", "--label-smoothing does not apply to --model bert --task spans"),
    ("--long-documents window", "--long-documents does not apply to --model bert --task spans"),
    ("--select accuracy", "--select accuracy is not measured for --task spans: answer_f1, exact_match"),
    ("--max-length 100", "--max-length 100 is longer than the 64 positions of tiny"),
    ("--text-column question", "--text-column question: give two columns, QUESTION,CONTEXT"),
    ("--stride 0", "--stride 0: must be above 0"),
    ("--train bad.json", "bad.json: SQuAD 2.0: 1 of its 6 questions have no answer (is_impossible); SQuAD 1.1 is read"),
    ("--dev asked.jsonl", "asked.jsonl:1: no field 'answer'"),
    ("--model linear", "--model linear is not there for --task spans; known: bert, trans-blstm-1"),
])  # fmt: skip
def test_what_does_not_fit_is_refused(folder, call, arguments, message):
    (folder / "bad.json").write_text(json.dumps(BAD), "utf-8")
    (folder / "asked.jsonl").write_text('{"question": "where ?", "context": "turin"}\n', "utf-8")
    command = [*COMMAND, "--model", "bert", *arguments.split(), "--out", "refused"]
    errors = call("train", *command, status=2)
    assert message in errors.replace(str(folder) + "/", "") and not (folder / "refused").exists()


@pytest.mark.parametrize("arguments, message", [
    ("--test asked.jsonl", "asked.jsonl:1: no field 'answer'"),
    ("--test bare.json", "bare.json: data[0].paragraphs[0].qas[0]: no 'answers', expected an array"),
    ("--predict bad.json", "bad.json: SQuAD 2.0: 1 of its 6 questions"),
    ("--predict lines.txt", "lines.txt:1: not JSON"),
    ("--predict lines.txt --format lines", "lines.txt: questions and contexts are no lines"),
    ("--predict none.json", "none.json: No such file"),
    ("--sample 3", "--sample needs a language model, this run is a spans"),
])  # fmt: skip
def test_files_that_do_not_fit_are_refused(folder, run, call, arguments, message):
    (folder / "bad.json").write_text(json.dumps(BAD), "utf-8")
    (folder / "asked.jsonl").write_text('{"question": "where ?", "context": "turin"}\n', "utf-8")
    (folder / "lines.txt").write_text("where ?\n", "utf-8")
    bare = {"data": [{"paragraphs": [{"context": "turin", "qas": [{"id": "1", "question": "where ?"}]}]}]}
    (folder / "bare.json").write_text(json.dumps(bare), "utf-8")
    assert message in call("evaluate", run, *arguments.split(), "--quiet", status=2)


def test_a_file_without_answers_is_answered(folder, run, call):
    bare = {"data": [{"paragraphs": [{"context": "ada lives in turin", "qas": [{"id": "1", "question": "where ?"}]}]}]}
    (folder / "bare.json").write_text(json.dumps(bare), "utf-8")
    assert json.loads(call("evaluate", run, "--predict", "bare.json", "--quiet")).keys() == {"1"}


def test_other_models_have_no_decoder(call):
    command = [*COMMAND, *"--model bilstm --decoder blstm --out refused".split()]
    assert "--decoder does not apply to --model bilstm --task spans" in call("train", *command, status=2)


def test_what_is_learned_is_found_in_other_contexts(folder, call):
    """The one place of each context, which may stand in any of its windows: nothing is shifted between characters,
    targets, logits and characters."""
    rng = random.Random(0)
    for name, count in (("easy", 150), ("other", 40)):
        rows = []
        for _ in range(count):
            where, words = rng.choice(PLACES), rng.choices(FILLER, k=rng.randrange(5, 60))
            words.insert(rng.randrange(len(words)), where)
            rows.append({"question": "where ?", "context": "  ".join(words), "answer": where})
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    flags = "--model bert --train easy.jsonl --dev other.jsonl --test other.jsonl --epochs 2 --lr 1e-2 --out easy"
    call("train", *COMMAND, *flags.split())
    found = json.loads((folder / "easy" / "results.json").read_text("utf-8"))
    assert found["metrics"]["exact_match"]["value"] > 0.9
