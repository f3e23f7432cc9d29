import copy
import dataclasses
import json
import math
import os
import signal

import numpy as np
import pytest
import torch

from tests.conftest import equal, without_clock
from textcls import BertClassifier, BertConfig, BiLSTMClassifier
from textcls.config import TrainConfig
from textcls.runtime import parallel
from textcls.runtime.device import Precision
from textcls.runtime.errors import InputError
from textcls.tasks.classification import cross_entropy
from textcls.tasks.classification import evaluate as evaluation
from textcls.text.batches import Batches
from textcls.text.pieces import Pieces, Sequences
from textcls.training import loop as training
from textcls.training.run import Run
from textcls.training.tally import Diverged, epoch_line

CPU, FP32 = torch.device("cpu"), Precision(None, "test")
SHAPE = BertConfig(
    vocab_size=30,
    hidden_size=16,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=16,
    max_position_embeddings=32,
)


def make_batches(count=40, batch_size=4, seed=0) -> Batches:
    """Documents of unequal length whose class is the most frequent of the tokens 1, 2, 3."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, count)
    rows = [[*random.integers(4, 30, random.integers(1, 12)), *[label + 1] * 3] for label in labels]
    rows = [random.permutation(row) for row in rows]
    pieces = Pieces.join(rows)
    return Batches(Sequences(pieces, pieces.lengths, 0), labels, batch_size, seed)


def make_model(kind="bert", seed=0):
    """A model whose trained part depends on `seed`; the frozen embeddings, which no checkpoint holds, do not."""
    torch.manual_seed(seed)
    if kind == "bert":
        return BertClassifier(SHAPE, 3)
    model = BiLSTMClassifier(SHAPE, 3, hidden=8)
    generator = torch.Generator().manual_seed(0)
    for parameter in model.embeddings.parameters():
        parameter.normal_(generator=generator)
    return model


def settings(**changes) -> TrainConfig:
    values = {
        "epochs": 3,
        "lr": 1e-2,
        "batch_size": 4,
        "accumulate": 2,
        "warmup": 0.1,
        "weight_decay": 0.01,
        "patience": 0,
        "clip": 1.0,
        "select": "accuracy",
        "quiet": True,
        "save_every": 0,
    }
    return dataclasses.replace(TrainConfig(), **(values | changes))


def fit(folder, model, config=None, loss_fn=None, last=None, precision=FP32, batches=None, evaluate=None):
    batches = batches or make_batches()
    run = Run(folder)
    run.folder.mkdir(exist_ok=True)
    evaluate = evaluate or evaluation(make_batches(seed=1), None, CPU, precision)
    loss_fn = loss_fn or cross_entropy()
    return training.train(model, batches, loss_fn, evaluate, config or settings(), run, CPU, precision, last)


# ---- learning -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["bert", "bilstm"])
def test_learns(tmp_path, kind):
    state = fit(tmp_path / "run", make_model(kind), settings(epochs=4, lr=5e-3), batches=make_batches(600))
    assert state.history[-1]["dev"]["accuracy"] > 0.9
    assert state.history[-1]["loss"] < state.history[0]["loss"] / 2
    rows = Run(tmp_path / "run").metrics()
    assert rows == state.history
    assert {"epoch", "loss", "dev", "documents_per_s", "tokens_per_s", "padding", "seconds", "memory"} <= rows[0].keys()


@pytest.mark.parametrize("kind", ["bert", "bilstm"])
def test_two_micro_batches_give_the_gradient_of_one_batch(kind):
    """Unequal lengths and unequal sizes: the loop's own division, against one padded batch."""
    model, batches = make_model(kind).double().eval(), make_batches(count=7)
    loss_fn = cross_entropy()

    def gradients(groups):
        model.zero_grad(set_to_none=True)
        micro_batches = [batches.collate(np.array(rows)) for rows in groups]
        targets = parallel.agree(micro_batches)[0]
        for batch in micro_batches:
            sums, _ = loss_fn(model, batch, None)
            (sums["label"] / targets["label"]).backward()
        return [p.grad.clone() for p in model.parameters() if p.requires_grad]

    whole = gradients([range(7)])
    assert any(g.abs().max() > 1e-4 for g in whole)
    for split in ([[0, 1, 2], [3, 4, 5, 6]], [[6], [5, 0, 1, 2, 3, 4]]):
        for ours, theirs in zip(gradients(split), whole, strict=True):
            assert (ours - theirs).abs().max() < 1e-7  # the loss itself is taken in float32


def test_accumulated_steps_equal_big_steps(tmp_path, monkeypatch):
    """A whole run with micro-batches of 4, two a step, and one with batches of the same eight documents."""
    shape = dataclasses.replace(SHAPE, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)

    def model():
        torch.manual_seed(0)
        return BertClassifier(shape, 3, dropout=0.0)

    small, big = make_batches(), make_batches(batch_size=8)
    monkeypatch.setattr(
        big, "order", lambda epoch: [np.concatenate(pair) for pair in zip(*[iter(small.order(epoch))] * 2, strict=True)]
    )
    a, b = model(), model()
    fit(tmp_path / "a", a, batches=small)
    fit(tmp_path / "b", b, settings(accumulate=1), batches=big)
    for ours, theirs in zip(a.parameters(), b.parameters(), strict=True):
        assert (ours - theirs).abs().max() < 1e-4


def test_a_step_without_targets_stays_finite():
    batch = make_batches().collate(np.array([0, 1]))
    batch.counts = {"label": 0, "mlm": 0}
    assert parallel.agree([batch, batch])[0] == {"label": 1, "mlm": 1}


def test_frozen_embeddings_do_not_move_and_are_not_stored(tmp_path):
    model = make_model("bilstm")
    before = copy.deepcopy(model.embeddings.state_dict())
    fit(tmp_path / "run", model)
    assert equal(before, model.embeddings.state_dict())
    assert not any("embeddings" in name for name in Run(tmp_path / "run").load("best.pt")["model"])


# ---- stopping and going on ------------------------------------------------------------------------------------------


class Kill(Exception):
    pass


def killed_after(calls: int):
    """A loss function that fails at its n-th call, as a crash would."""
    inner, count = cross_entropy(), 0

    def loss_fn(model, batch, carry):
        nonlocal count
        count += 1
        if count > calls:
            raise Kill
        return inner(model, batch, carry)

    return loss_fn


@pytest.fixture(scope="module", params=["bert", "bilstm"])
def uninterrupted(request, tmp_path_factory):
    """(kind of model, settings, run folder) of a run that nothing stopped."""
    folder, config = tmp_path_factory.mktemp("whole") / request.param, settings(save_every=2)
    fit(folder, make_model(request.param), config)
    return request.param, config, folder


@pytest.mark.parametrize("calls", [0, 1, 5, 9, 10, 17, 29])
def test_resume_equals_the_uninterrupted_run(tmp_path, uninterrupted, calls):
    kind, config, folder = uninterrupted
    with pytest.raises(Kill):
        fit(tmp_path / "cut", make_model(kind), config, killed_after(calls))
    fit(tmp_path / "cut", make_model(kind, seed=5), config, last=Run(tmp_path / "cut").load("last.pt"))
    whole, cut = Run(folder), Run(tmp_path / "cut")
    assert equal(without_clock(whole.load("last.pt")), without_clock(cut.load("last.pt")))
    assert equal(whole.load("best.pt"), cut.load("best.pt"))


def test_resuming_at_the_very_end_of_an_epoch(tmp_path):
    """Five steps an epoch and a save at every fifth: the position then is the end of the epoch."""
    config = settings(save_every=5, epochs=2)
    fit(tmp_path / "whole", make_model(), config)
    saved = []
    run = Run(tmp_path / "cut")
    run.folder.mkdir()
    keep, run.save = run.save, lambda name, content: (keep(name, content), saved.append(run.load(name)))
    training.train(
        make_model(),
        make_batches(),
        cross_entropy(),
        evaluation(make_batches(seed=1), None, CPU, FP32),
        config,
        run,
        CPU,
        FP32,
    )
    middle = next(c for c in saved if c.get("state", {}).get("position") == 10)
    fit(tmp_path / "again", make_model(seed=3), config, last=middle)
    assert equal(
        without_clock(Run(tmp_path / "whole").load("last.pt")), without_clock(Run(tmp_path / "again").load("last.pt"))
    )


def test_ctrl_c_finishes_the_step_saves_and_says_how_to_go_on(tmp_path):
    inner, calls = cross_entropy(), 0

    def loss_fn(model, batch, carry):
        nonlocal calls
        calls += 1
        if calls == 7:
            os.kill(os.getpid(), signal.SIGINT)
        return inner(model, batch, carry)

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(training.InterruptedRun, match="go on with: python train.py --resume .*cut"):
        fit(tmp_path / "cut", make_model(), loss_fn=loss_fn)
    assert signal.getsignal(signal.SIGINT) is handler
    last = Run(tmp_path / "cut").load("last.pt")
    assert (last["state"]["step"], last["state"]["position"]) == (4, 8)
    fit(tmp_path / "cut", make_model(seed=5), last=last)
    fit(tmp_path / "whole", make_model())
    assert equal(
        without_clock(Run(tmp_path / "whole").load("last.pt")), without_clock(Run(tmp_path / "cut").load("last.pt"))
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_last_evaluation_stops_the_command_too(tmp_path, number):
    evaluate, calls = evaluation(make_batches(seed=1), None, CPU, FP32), []

    def interrupted(model):
        calls.append(1)
        if len(calls) == 2:
            os.kill(os.getpid(), number)
        return evaluate(model)

    with pytest.raises(training.InterruptedRun, match="go on with: python train.py --resume .*cut"):
        fit(tmp_path / "cut", make_model(), settings(epochs=2), evaluate=interrupted)
    last = Run(tmp_path / "cut").load("last.pt")
    assert last["state"]["epoch"] == 2
    state = fit(tmp_path / "cut", make_model(seed=5), settings(epochs=2), last=last, evaluate=pytest.fail)
    assert state.epoch == 2


@pytest.mark.parametrize("save_every", [0, 1])
def test_weights_that_are_not_finite_are_never_saved(tmp_path, save_every):
    """One step an epoch: the loss and the gradient are finite, what the update makes of them is not."""
    run = Run(tmp_path / "run")
    one_step = settings(epochs=2, lr=1e38, batch_size=32, accumulate=50, warmup=0.0, save_every=save_every)
    with pytest.raises(Diverged, match=r"is not finite after step 1\. .*last.pt holds the last good state"):
        fit(run.folder, make_model(), one_step)
    assert not (run.folder / "best.pt").exists()
    last = run.load("last.pt")
    assert last["state"]["step"] == 0 and all(tensor.isfinite().all() for tensor in last["model"].values())
    model = make_model()
    with torch.no_grad():
        model.classifier.bias[0] = float("nan")
    with pytest.raises(Diverged, match="classifier.bias is not finite before the first step"):
        fit(tmp_path / "damaged", model)


def test_metrics_of_lost_epochs_are_dropped(tmp_path):
    fit(tmp_path / "run", make_model(), settings(epochs=1))
    last = Run(tmp_path / "run").load("last.pt")
    with open(tmp_path / "run" / "metrics.jsonl", "a", encoding="utf-8") as file:
        file.write('{"epoch": 2, "from": "a run that was killed before it saved"}\n{"epo')
    fit(tmp_path / "run", make_model(), settings(epochs=2), last=last)
    rows = [json.loads(line) for line in open(tmp_path / "run" / "metrics.jsonl", encoding="utf-8")]
    assert [row["epoch"] for row in rows] == [1, 2]


@pytest.mark.parametrize(
    "select, values, best", [("accuracy", [0.1, 0.5, 0.5, 0.4, 0.3], 2), ("loss", [3, 1, 2, 2, 2], 2)]
)
def test_early_stopping_keeps_the_first_best(tmp_path, select, values, best):
    scores = iter(values)

    def evaluate(model):
        value = next(scores)
        return {"accuracy": value, "macro_f1": value, "nll": value}

    state = fit(tmp_path / "run", make_model(), settings(epochs=9, patience=3, select=select), evaluate=evaluate)
    assert (state.best_epoch, state.epoch) == (best, best + 3)
    assert Run(tmp_path / "run").load("best.pt")["epoch"] == best


# ---- numbers that are not finite ------------------------------------------------------------------------------------


def poisoned(at: int, gradient_only: bool = False):
    inner, calls = cross_entropy(), 0

    def loss_fn(model, batch, carry):
        nonlocal calls
        calls += 1
        sums, carry = inner(model, batch, carry)
        if calls == at and gradient_only:
            sums["label"].register_hook(lambda gradient: gradient * math.nan)
        elif calls == at:
            sums["label"] = sums["label"] * math.nan
        return sums, carry

    return loss_fn


@pytest.mark.parametrize("gradient_only", [False, True])
def test_non_finite_values_stop_the_run_and_keep_the_last_good_state(tmp_path, gradient_only):
    with pytest.raises(InputError) as error:
        fit(tmp_path / "run", make_model(), settings(save_every=3), poisoned(at=9, gradient_only=gradient_only))
    expected = "gradient norm became" if gradient_only else "loss label became"
    for part in (expected + " nan", "step 5", "gradient scale 1", "training documents", "smaller --lr"):
        assert part in str(error.value)
    last = Run(tmp_path / "run").load("last.pt")
    assert last["state"]["step"] == 3
    assert all(torch.isfinite(tensor).all() for tensor in last["model"].values())


class SkippingScaler:
    """A gradient scaler that refuses given steps, as fp16's does on overflow."""

    def __init__(self, refuse):
        self.refuse, self.calls, self.value = refuse, 0, 1024.0

    def is_enabled(self):
        return True

    def scale(self, loss):
        return loss * self.value

    def get_scale(self):
        return self.value

    def unscale_(self, optimizer):
        for group in optimizer.param_groups:
            for p in group["params"]:
                p.grad /= self.value

    def step(self, optimizer):
        self.calls += 1
        if self.calls not in self.refuse:
            optimizer.step()

    def update(self):
        self.value /= 2 if self.calls in self.refuse else 1

    def state_dict(self):
        return {"value": self.value}


def test_skipped_steps_are_counted_and_do_not_move_the_schedule(tmp_path, monkeypatch):
    rates = []
    monkeypatch.setattr(Precision, "scaler", lambda self, device: SkippingScaler({2, 3}))
    monkeypatch.setattr(training, "set_learning_rate", lambda optimizer, lr: rates.append(lr))
    state = fit(tmp_path / "run", make_model(), settings(epochs=1))
    assert (state.step, state.skipped) == (3, 2)
    assert rates[1] == rates[2] == rates[3] != rates[4]
    assert "skipped steps 2" in epoch_line(state.history[0], 1)


def test_unscaled_before_clipping(tmp_path, monkeypatch):
    """With a scale of 1024 the clipped run equals the unscaled one: clipping sees the true norm."""
    plain = make_model()
    fit(tmp_path / "a", plain, settings(epochs=1, clip=0.1))
    monkeypatch.setattr(Precision, "scaler", lambda self, device: SkippingScaler(set()))
    scaled = make_model()
    fit(tmp_path / "b", scaled, settings(epochs=1, clip=0.1))
    for a, b in zip(plain.parameters(), scaled.parameters(), strict=True):
        assert (a - b).abs().max() < 1e-5


def test_bf16_autocast_trains(tmp_path):
    state = fit(tmp_path / "run", make_model(), settings(epochs=8), precision=Precision(torch.bfloat16, "test"))
    assert state.history[-1]["loss"] < state.history[0]["loss"]


def test_a_run_begun_without_a_gradient_scaler_goes_on_with_one(tmp_path, monkeypatch):
    """As when it began on the CPU, and goes on in fp16 on a GPU."""
    fit(tmp_path / "run", make_model(), settings(epochs=1))
    last = Run(tmp_path / "run").load("last.pt")
    assert last["scaler"] == {}
    monkeypatch.setattr(Precision, "scaler", lambda self, device: torch.amp.GradScaler("cpu", init_scale=4.0))
    state = fit(tmp_path / "run", make_model(), settings(epochs=2), last=last)
    assert state.epoch == 2 and Run(tmp_path / "run").load("last.pt")["scaler"]["scale"] == 4.0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_fp16_on_cuda(tmp_path):
    cuda, precision = torch.device("cuda"), Precision(torch.float16, "test")
    run = Run(tmp_path)
    state = training.train(
        make_model().cuda(),
        make_batches(600),
        cross_entropy(),
        evaluation(make_batches(seed=1), None, cuda, precision),
        settings(epochs=4, lr=5e-3),
        run,
        cuda,
        precision,
    )
    assert state.history[-1]["dev"]["accuracy"] > 0.9
