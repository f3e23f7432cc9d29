"""ELMo through the commands: every way to read a biLM's layers, frozen and tuned, for texts and for words; a biLM of
one's own, and what reads it; what bad input gets."""

import itertools
import json
import random
import shutil

import numpy as np
import pytest
import torch

import textcls
import train
from tests.conftest import equal, make_rows, save_tiny, save_tiny_bilm, stop_after, without_clock, write_csv
from textcls import recipes
from textcls.config import TrainConfig
from textcls.models.elmo import LAYERS, BiLM, ElmoConfig, ScalarMix
from textcls.pretrained.elmo import read_elmo
from textcls.tasks import base, classification, tagging
from textcls.text.batches import Batch
from textcls.training.optim import build_optimizer
from textcls.training.run import Run

KINDS = list(itertools.product(("classification", "tagging"), LAYERS, ("frozen", "tune")))
TEXTS = ["a star and a comet", "flour, butter & naïve Sugar", "", "x" * 10_000]
NAMES = {"Ada": "PER", "Turin": "LOC"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("elmo")
    write_csv(folder / "train.csv", make_rows(60))
    write_csv(folder / "test.csv", make_rows(18, seed=1))
    rng = random.Random(0)
    for name, count in (("train", 50), ("test", 15)):
        sentences = [rng.choices([*NAMES, "the", "ship", "saw"], k=rng.randint(1, 12)) for _ in range(count)]
        lines = [[f"{word}\t{'B-' + NAMES[word] if word in NAMES else 'O'}" for word in words] for words in sentences]
        (folder / f"{name}.conll").write_text("\n\n".join(map("\n".join, lines)) + "\n", "utf-8")
        (folder / f"{name}.txt").write_text("\n".join(map(" ".join, sentences)) + "\n", "utf-8")
    save_tiny_bilm(folder / "bilm")
    return folder


@pytest.fixture(autouse=True)
def without_reference(monkeypatch):
    """The linear model that follows every classifier is test_every_model.py's business."""
    monkeypatch.setattr(train, "ending", lambda *_: [])


def command(task: str, out: str, *more: str) -> list[str]:
    kind = {"classification": "csv", "tagging": "conll", "lm": "txt"}[task]
    text = f"--task {task} --train train.{kind} --test test.{kind} --dev 0.2 --epochs 2 --batch-size 8 --save-every 2"
    over = "" if task == "lm" else "--model elmo-bilstm --elmo bilm --hidden 6 --encoder-lr 1e-3"
    return [*text.split(), *over.split(), *f"--max-length 8 --quiet --out {out}".split(), *more]


# ---- every kind of run ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task, layers, encoder", KINDS)
def test_trains_resumes_evaluates_predicts_and_plans(task, layers, encoder, folder, call, monkeypatch):
    flags, whole = ("--elmo-layers", layers, "--encoder", encoder), f"runs/{task}-{layers}-{encoder}"
    text = call("train", *command(task, whole, *flags))
    assert "predicted  measured" in text and "bilm: biLM of 2 layers" in text
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        call("train", *command(task, whole + "-stopped", *flags), status=130)
    call("train", "--resume", whole + "-stopped", "--quiet")
    for name in ("best.pt", "last.pt"):
        ours, theirs = Run(whole + "-stopped").load(name), Run(whole).load(name)
        assert equal(*map(without_clock, (ours, theirs))) if name == "last.pt" else equal(ours, theirs)
    stored = Run(whole).load("best.pt")["model"]
    assert any(name.startswith("encoder.source.bilm.") for name in stored) == (encoder == "tune")
    before = json.loads((folder / whole / "results.json").read_text("utf-8"))["metrics"]
    after = json.loads(call("evaluate", whole, "--json", "--quiet"))["metrics"]
    assert {name: v["value"] for name, v in after.items()} == pytest.approx(
        {name: v["value"] for name, v in before.items()}
    )
    predictor = textcls.load(whole)
    if task == "classification":
        labels, probabilities = predictor.predict(TEXTS)
        assert np.isfinite(probabilities).all() and probabilities.sum(1) == pytest.approx(1.0)
        (folder / "in.txt").write_text("\n".join(TEXTS) + "\n", "utf-8")
        lines = call("evaluate", whole, "--predict", "in.txt", "--quiet").splitlines()
        assert [line.split("\t")[0] for line in lines] == labels
        for text, expected in zip(TEXTS, probabilities, strict=True):  # a text's answer is its own
            assert predictor.predict([text])[1][0] == pytest.approx(expected, abs=1e-5)
    else:
        sentences = [["Ada", "saw", "x" * 10_000], ["Turin"] * 30, []]
        assert [len(tags) for tags in predictor.predict(sentences)] == [3, 30, 0]
    text = call("train", *command(task, "none", *flags), "--plan")
    assert "biLM: 2 layers, 2 x 10 cells projected to 6" in text and "largest micro-batch" in text


def test_layers_and_mix_share_the_cached_vectors(folder, call, monkeypatch):
    monkeypatch.setenv("TEXTCLS_CACHE", str(folder / "own-cache"))
    call("train", *command("classification", "runs/cache-1", "--elmo-layers", "mix"))
    text = call("train", *command("classification", "runs/cache-2", "--elmo-layers", "concatenate"))
    assert text.count(", from ") == 2  # of train and dev
    text = call("train", *command("classification", "runs/cache-3", "--elmo-layers", "top"))
    assert text.count(", to ") == 2
    save_tiny_bilm(folder / "other", seed=1)
    text = call("train", *command("classification", "runs/cache-4", "--elmo", "other"))
    assert text.count(", to ") == 2
    write_csv(folder / "again.csv", [(text.replace("star", "stir"), label) for text, label in make_rows(60)])
    text = call("train", *command("classification", "runs/cache-5", "--train", "again.csv"))
    assert "train: vectors of" in text and text.count(", to ") == 2  # the same numbers, spelled otherwise


def test_cached_vectors_give_what_the_biLM_gives(folder, call):
    """A frozen run's dev metrics, from the cache, are those of the loaded run, which computes them."""
    call("train", *command("tagging", "runs/cached"))
    predictor = textcls.load("runs/cached")
    split = tagging.load(predictor.config).dev
    result = predictor.predict(split.words)
    history = (folder / "runs/cached/metrics.jsonl").read_text("utf-8").splitlines()
    best = max((json.loads(line)["dev"] for line in history), key=lambda dev: dev["f1"])
    right = np.mean([tag == predictor.labels[true] for tags, answers in zip(result, split.tags, strict=True)
                     for tag, true in zip(tags, answers, strict=True)])  # fmt: skip
    assert right == pytest.approx(best["accuracy"], abs=0.02)


def test_lstm_windows_mix_norm_and_penalty(call):
    base_command = command("classification", "runs/elmo-lstm", "--pooling", "last", "--mix-norm", "--mix-l2", "0.1")
    call("train", *base_command, "--model", "elmo-lstm")
    call("evaluate", "runs/elmo-lstm", "--quiet")
    windows = "--long-documents window --stride 4 --max-windows 3 --tokens blanks".split()
    text = call("train", *command("classification", "runs/elmo-windows", *windows))
    assert "longer than up to 3 windows" in text
    call("evaluate", "runs/elmo-windows", "--quiet")


def test_an_ensemble_takes_elmo(call):
    for seed in ("1", "2"):
        call("train", *command("classification", f"runs/member-{seed}", "--seed", seed, "--dev", "test.csv"))
    text = call("ensemble", "runs/member-1", "runs/member-2", "--out", "runs/elmo-ensemble", "--quiet")
    assert "learned ensemble" in text
    text = call("evaluate", "runs/member-1", "runs/member-2", "runs/elmo-ensemble", "--quiet")
    assert " points " in text


def test_several_seeds(folder, call):
    text = call("train", *command("tagging", "runs/seeds", "--seeds", "1", "2"))
    assert "mean ± sd" in text and "2 runs" in text


def test_the_penalty_counts_once_a_step():
    """Two micro-batches equal one batch: the gradient of L2 on the mix is 2 * weight * w, however a step is divided."""
    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.mix = ScalarMix(3)

        def forward(self, ids):
            return torch.zeros(len(ids), 2) + 0.0 * self.mix(torch.zeros(1, 1, 3, 2)).sum()

    gradients = []
    for parts in ([6], [2, 4]):
        model = Model()
        with torch.no_grad():
            for number, weight in enumerate(model.mix.weights):
                weight.fill_(number + 1.0)
        loss_fn = base.penalised(classification.cross_entropy(), 0.25)
        for count in parts:
            batch = Batch({"ids": torch.zeros(count, 1)}, {"labels": torch.zeros(count, dtype=torch.long)},
                          np.arange(count), count, {"label": count})  # fmt: skip
            (loss_fn(model, batch, None)[0]["label"] / 6).backward()
        gradients.append([weight.grad.item() for weight in model.mix.weights])
    assert gradients[0] == pytest.approx([0.5, 1.0, 1.5]) and gradients[1] == pytest.approx(gradients[0])


def test_the_mix_is_not_decayed_and_the_biLM_has_its_own_rate():
    config = recipes.complete(TrainConfig(model="elmo-bilstm", elmo="x", encoder="tune", train="x.csv"))
    model = recipes.build(config, ElmoConfig(filters=((1, 4), (2, 6)), projection=6, cells=10), 3)
    encoder = recipes.choose(config)["encoder"]
    groups = build_optimizer(model, config.lr, 0.01, encoder, config.encoder_lr).param_groups
    of = {id(p): group for group in groups for p in group["params"]}
    assert len(of) == len(list(model.parameters()))
    for name, parameter in model.named_parameters():
        group = of[id(parameter)]
        assert group["scale"] == (pytest.approx(config.encoder_lr / config.lr) if ".bilm." in name else 1.0), name
        if ".mix." in name:
            assert group["weight_decay"] == 0.0


# ---- a biLM of one's own --------------------------------------------------------------------------------------------


def test_a_biLM_of_ones_own_is_opened_by_elmo(folder, call):
    text = call("train", *command("lm", "runs/bilm", "--model", "elmo", "--elmo-options", "bilm/options.json"))
    assert "nll_forward" in text and "nll_backward" in text and "--elmo runs/bilm" in text
    trained = textcls.load("runs/bilm").model.bilm
    published = read_elmo(folder / "runs/bilm/published")
    assert equal(dict(trained.state_dict()), dict(published.state_dict()))
    text = call("train", *command("tagging", "runs/over-own", "--elmo", "runs/bilm"))
    assert "backbone: bilm: biLM of 2 layers" in text
    shutil.move(folder / "runs/bilm", folder / "moved-bilm")
    try:
        error = call("evaluate", "runs/over-own", "--quiet", status=2)
        assert "its frozen backbone bilm was read from" in error and "--elmo FOLDER" in error
        assert "F1 (conlleval)" in call("evaluate", "runs/over-own", "--elmo", "moved-bilm", "--quiet")
        assert "is not that of the backbone" in call("evaluate", "runs/over-own", "--elmo", "bilm", "--quiet", status=2)
        assert "no such folder" in call("train", "--resume", "runs/over-own", "--quiet", status=2)
        wrong = call("train", "--resume", "runs/over-own", "--elmo", "bilm", "--quiet", status=2)
        assert "is not that of the backbone" in wrong
        call("train", "--resume", "runs/over-own", "--elmo", "moved-bilm", "--quiet")
        save_tiny(folder / "tiny", ["the ship saw Turin"] * 2)
        over_bert = "--task tagging --model bert-bilstm --bert tiny --train train.conll --test test.conll --dev 0.2"
        call("train", *over_bert.split(), *"--epochs 1 --hidden 6 --max-length 16 --quiet --out runs/over-bert".split())
        shutil.move(folder / "tiny", folder / "moved-tiny")
        places = ("--elmo", "moved-bilm", "--bert", "moved-tiny", "--quiet")  # each run takes its own
        assert "in F1 (95 % interval" in call("evaluate", "runs/over-own", "runs/over-bert", *places)
    finally:
        shutil.move(folder / "moved-bilm", folder / "runs/bilm")


def test_its_perplexity_is_that_of_its_probabilities(folder, call):
    """By hand, line by line, each line from the state that the line before has left: forward from `next_word`."""
    call("train", *command("lm", "runs/by-hand", "--model", "elmo", "--elmo-options", "bilm/options.json"))
    predictor = textcls.load("runs/by-hand")
    split = predictor.read("test.txt")
    metrics = json.loads(call("evaluate", "runs/by-hand", "--json", "--quiet"))["metrics"]
    rows, targets = split.both_ways()["forward"]
    ids = torch.from_numpy(split.rows.spelling[rows].astype(np.int64))[None]
    with torch.no_grad():
        scores, _ = predictor.model.next_word(ids)
    real = targets >= 0
    nll = -scores[0][real].double().log_softmax(-1)[range(real.sum()), targets[real]].mean()
    assert metrics["nll_forward"]["value"] == pytest.approx(nll.item(), rel=1e-5)
    both = metrics["nll_forward"]["value"] + metrics["nll_backward"]["value"]
    assert metrics["perplexity"]["value"] == pytest.approx(np.exp(both / 2), rel=1e-9)


def test_shares_of_the_text_are_held_out(call):
    flags = command("lm", "runs/shares", "--model", "elmo", "--elmo-options", "bilm/options.json", "--tokens", "blanks")
    at = flags.index("--test")
    flags[at + 1] = "0.2"
    call("train", *flags)
    assert "train.txt, 0.2 of it held out" in call("evaluate", "runs/shares", "--quiet")
    text = call("train", *command("classification", "runs/divided", "--elmo", "runs/shares"))
    assert "the text it was trained on was divided by --tokens blanks" in text
    text = call("train", *command("classification", "runs/blanks", "--elmo", "runs/shares", "--tokens", "blanks"))
    assert "was divided by" not in text


# ---- what bad input gets --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flags, message", [
    ("--elmo nowhere", "--elmo nowhere: no such folder (a folder with options.json and weights, or a run of --task lm"),
    ("--elmo runs", "expected one *options.json"),
    ("--elmo bilm --bert nano --features cls", "--features does not apply to --model elmo-bilstm"),
    ("--elmo bilm --elmo-options x.json", "--elmo-options does not apply to --model elmo-bilstm"),
    ("--elmo bilm --text-column text,more --train pairs.csv", "reads one text a document, not pairs"),
    ("--elmo bilm --mix-l2 -1", "--mix-l2 -1.0: must be at least 0"),
    ("--elmo bilm --mix-l2 1 --elmo-layers top", "--mix-l2 goes with --elmo-layers mix"),
    ("--elmo bilm --mix-norm --elmo-layers average", "--mix-norm goes with --elmo-layers mix"),
    ("--elmo bilm --encoding utf-16 --train latin.csv", "latin.csv"),
    ("--elmo bilm --train latin.csv", "latin.csv:2: byte 0xe4 at column 2 is not UTF-8"),
])  # fmt: skip
def test_flags_and_files_that_do_not_fit(folder, call, flags, message):
    (folder / "pairs.csv").write_text("text,more,label\n" + "a,b,x\nc,d,y\n" * 9, "utf-8")
    (folder / "latin.csv").write_bytes("text,label\nnäh,a\nb,b\n".encode("latin1"))
    (folder / "runs").mkdir(exist_ok=True)
    base_command = [] if "--train" in flags else ["--train", "train.csv"]
    arguments = ["--model", "elmo-bilstm", *base_command, *flags.split(), *"--quiet --out runs/refused".split()]
    assert message in call("train", *arguments, status=2)
    assert not (folder / "runs/refused").exists()


def test_elmo_must_be_named(call):
    arguments = "--model elmo-bilstm --train train.csv --quiet --out runs/refused".split()
    assert "--model elmo-bilstm reads a biLM: say with --elmo where it is" in call("train", *arguments, status=2)
    assert "say with --elmo where it is" in call("train", *arguments, "--plan", status=2)
    arguments = "--model lstm --elmo bilm --train train.csv --quiet".split()
    assert "--elmo does not apply to --model lstm" in call("train", *arguments, status=2)


def test_damaged_weights_leave_a_run_as_it_was(folder, call):
    shutil.copytree(folder / "bilm", folder / "damaged")
    call("train", *command("tagging", "runs/will-be-damaged", "--elmo", "damaged"))
    before = (folder / "runs/will-be-damaged/last.pt").read_bytes()
    path = folder / "damaged/weights.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert "is not that of the backbone" in call("evaluate", "runs/will-be-damaged", "--quiet", status=2)
    resume = "train", "--resume", "runs/will-be-damaged", "--quiet"
    assert "weights.safetensors: damaged, its digest is" in call(*resume, status=2)
    (folder / "damaged/SHA256SUMS").unlink()
    assert "is not that of the backbone" in call(*resume, status=2)
    assert (folder / "runs/will-be-damaged/last.pt").read_bytes() == before


def test_a_biLM_needs_no_words_but_some_text(folder, call):
    (folder / "empty.txt").write_text("\n\n", "utf-8")
    flags = "--task lm --model elmo --train empty.txt --dev test.txt --quiet --out runs/refused".split()
    assert "the train text has 0 words; at least 2 are needed" in call("train", *flags, status=2)


def test_a_frozen_biLM_does_not_change_while_a_run_trains(folder, call):
    before = dict(read_elmo(folder / "bilm").state_dict())
    call("train", *command("classification", "runs/unchanged"))
    assert equal(before, dict(textcls.load("runs/unchanged").model.encoder.source.bilm.state_dict()))
    tuned = command("classification", "runs/changed", "--encoder", "tune")
    call("train", *tuned)
    assert not equal(before, dict(textcls.load("runs/changed").model.encoder.source.bilm.state_dict()))
    assert isinstance(textcls.load("runs/changed").model.encoder.source.bilm, BiLM)


def test_a_model_that_no_memory_holds_is_said_so(folder, call, monkeypatch):
    def build(*arguments):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1600000000 bytes")

    monkeypatch.setattr(recipes, "build", build)
    error = call("train", *command("tagging", "runs/too-large"), status=2)
    assert "out of memory on cpu; the model alone is too large; --plan says how large" in error


@pytest.mark.parametrize("flag", ["--elmo", "--elmo-options"])
def test_an_empty_name_is_none(folder, call, flag):
    task = ("--task", "lm", "--model", "elmo", "--train", "train.txt") if flag == "--elmo-options" else (
        "--model", "elmo-bilstm", "--train", "train.csv")  # fmt: skip
    assert f"{flag} '': expected a name; leave it out, or say what" in call("train", *task, flag, "", "--quiet", status=2)
