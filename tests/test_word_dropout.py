"""Whole words left out in training: which ones, of what, and that a resumed run leaves out the same."""

import numpy as np
import pytest

from tests.conftest import equal, make_rows, save_tiny, stop_after, without_clock, write_csv
from textcls import recipes
from textcls.config import TrainConfig
from textcls.text.batches import Batches
from textcls.text.pieces import Pieces, Sequences
from textcls.text.word_dropout import WordDropout
from textcls.training.run import Run

CLS, SEP = 2, 3
INNER = np.arange(40) >= 30  # ids 30 to 39 go on with a word
SHARE, SEED = 0.4, 5


def sequences(pairs: bool = False) -> Sequences:
    """Random rows of words of one to three pieces, as one text or two."""
    random = np.random.default_rng(0)
    rows, first = [], []
    for _ in range(40):
        row = [CLS]
        for text in range(1 + pairs):
            for _ in range(random.integers(1, 12)):
                row += [random.integers(5, 30), *random.integers(30, 40, random.integers(0, 3))]
            row.append(SEP)
            if text == 0:
                first.append(len(row))
        rows.append(row)
    return Sequences(Pieces.join(rows), np.array(first), 0)


def words_of(row: list[int]) -> list[list[int]]:
    words = []
    for token in row:
        if INNER[token]:
            words[-1].append(token)
        else:
            words.append([token])
    return words


def expected(row: list[int], first: int, epoch: int, number: int) -> list[list[int]]:
    """The two texts of a row as one loop over words leaves them."""
    words, sides, place = words_of(row), ([], []), 0
    draws = np.random.default_rng([SEED, epoch, number]).random(len(row))
    for word, draw in zip(words, draws, strict=False):
        sides[int(place >= first)].append((word, draw))
        place += len(word)
    result = []
    for side in sides:
        most = max((draw for word, draw in side if word[0] not in (CLS, SEP)), default=None)
        kept = [word for word, draw in side if word[0] in (CLS, SEP) or draw >= min(SHARE, most)]
        result.append([token for word in kept for token in word])
    return result


def dropout(share: float = SHARE) -> WordDropout:
    return WordDropout(share, SEED, INNER, (CLS, SEP))


@pytest.mark.parametrize("pairs", [False, True])
def test_whole_words_are_left_out_as_one_word_after_the_other_is(pairs):
    before = sequences(pairs)
    rows, epochs = np.array([3, 0, 39, 3]), np.array([0, 0, 7, 1])
    after = dropout().thinned(before, rows, epochs)
    for i, (row, epoch) in enumerate(zip(rows, epochs, strict=True)):
        first, second = expected(before.rows[row].tolist(), before.first[row], epoch, row)
        assert after.rows[i].tolist() == first + second and after.first[i] == len(first)
    assert after.rows[0].tolist() != after.rows[3].tolist()  # another epoch leaves out others


def test_share_and_ends():
    before, everything = sequences(True), np.arange(40)
    texts = [part for row, first in zip(before.rows, before.first, strict=True) for part in (row[1:first], row[first:])]
    words = [len(words_of(text.tolist())) - 1 for text in texts]
    left = 0
    for epoch in range(200):
        after = dropout(0.3).thinned(before, everything, np.full(40, epoch))
        left += sum(len(words_of(row.tolist())) - 3 for row in after.rows)
    assert left / 200 == pytest.approx(sum(0.7 * n + 0.3**n for n in words), rel=0.01)  # one stays in any case
    after = dropout(0.999).thinned(before, everything, np.zeros(40, int))
    for row, first in zip(after.rows, after.first, strict=True):
        for side in (row[1:first].tolist(), row[first:].tolist()):
            assert side[-1] == SEP and len(words_of(side)) >= 2
        assert row[0] == CLS


def test_characters_are_words_and_a_text_without_words_stays():
    rows = Pieces.join([[7, 8, 9], [1]], np.arange(40).reshape(10, 4))
    dropped = WordDropout(0.9, SEED, None, ())
    after = dropped.thinned(Sequences(rows, np.array([3, 1]), 0), np.arange(2), np.zeros(2, int))
    assert after.rows.spelling is rows.spelling and 1 <= len(after.rows[0]) < 3 and after.rows[1].tolist() == [1]
    empty = Sequences(Pieces.join([[CLS, SEP]]), np.array([2]), 0)
    assert dropout().thinned(empty, np.zeros(1, int), np.zeros(1, int)).rows[0].tolist() == [CLS, SEP]


@pytest.mark.parametrize("windows", [False, True])
def test_batches_of_an_epoch(windows):
    """Numbers say document and epoch: however they are divided, and in whatever order they come, rows are the same."""
    before = sequences(True)
    if windows:
        before = Sequences(before.rows, before.first, 0, np.arange(40) // 2)
    batches = Batches(before, np.arange(20 if windows else 40), 8, seed=SEED)
    whole = {tuple(part) for part in batches.order(1)}
    batches.word_dropout = dropout()
    N = len(batches.lengths)
    order = batches.order(1)
    assert {tuple(part - 2 * N) for part in order} == whole
    for part in order:
        batch, one = batches.collate(part), batches.collate(part[-1:])
        assert batch.documents.tolist() == (part - 2 * N).tolist() == batch.targets["labels"].tolist()
        rows = one.inputs["ids"].shape[0]
        ids, alone = batch.inputs["ids"][-rows:], one.inputs["ids"]
        assert ids[:, : alone.shape[1]].tolist() == alone.tolist() and not ids[:, alone.shape[1] :].any()
        first, second = expected(before.rows[row := rows * (part[-1] - 2 * N)].tolist(), before.first[row], 1, row)
        length, segments = len(first + second), one.inputs["segments"][0].tolist()
        assert one.inputs["ids"][0, :length].tolist() == first + second
        assert segments[:length] == [0] * len(first) + [1] * len(second)
    plain = Batches(before, batches.labels, 8)
    for part in batches.sorted_order():  # evaluation, and what memory is measured on
        assert batches.collate(part).inputs["ids"].tolist() == plain.collate(part).inputs["ids"].tolist()


# ---- runs -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dropout")
    rows = make_rows(72)
    write_csv(folder / "train.csv", rows)
    save_tiny(folder / "tiny", [text for text, _ in rows])
    return folder


@pytest.mark.parametrize("model", ["lstm", "bert"])
def test_resumed_equals_uninterrupted(model, call, monkeypatch):
    flags = f"--model {model} --train train.csv --bert tiny --max-length 16 --epochs 2 --batch-size 8 --save-every 3"
    command = [*flags.split(), "--word-dropout", "0.5", "--quiet", "--out"]
    call("train", *command, f"runs/{model}")
    with monkeypatch.context() as patch:
        stop_after(patch, 4)
        call("train", *command, f"runs/{model}-stopped", status=130)
    assert Run(f"runs/{model}-stopped").load("last.pt")["state"]["position"] > 0
    call("train", "--resume", f"runs/{model}-stopped", "--quiet")
    ours, theirs = (without_clock(Run(f"runs/{name}").load("last.pt")) for name in (model, f"{model}-stopped"))
    assert equal(ours, theirs) and ours["state"]["history"][0]["dev"]
    plain = [*flags.split(), "--quiet", "--out", f"runs/{model}-plain"]
    call("train", *plain)
    assert not equal(without_clock(Run(f"runs/{model}-plain").load("last.pt"))["model"], ours["model"])


@pytest.mark.parametrize("arguments, message", [
    ("--model bert-lstm", "a frozen one reads every text once: add --encoder tune"),
    ("--model elmo-lstm --elmo x", "add --encoder tune"),
    ("--model linear", "--word-dropout does not apply to --model linear"),
    ("--task tagging --model bert", "--word-dropout does not apply to --model bert --task tagging"),
])  # fmt: skip
def test_where_no_words_can_be_left_out(call, arguments, message):
    flags = [*arguments.split(), *"--train train.csv --quiet --out runs/refused --word-dropout 0.2".split()]
    assert message in call("train", *flags, status=2)


def test_a_tuned_encoder_reads_what_is_left():
    config = TrainConfig(model="bert-lstm", encoder="tune", word_dropout=0.2, bert="x", train="x.csv")
    assert recipes.complete(config).word_dropout == 0.2
