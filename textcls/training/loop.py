"""The loop. One for every task: what a task is, is in the loss function and the evaluation function it is given."""

import dataclasses
import math
import signal
import threading
import time
from collections.abc import Callable

import torch
from torch import nn

from textcls.config import TrainConfig
from textcls.runtime import parallel
from textcls.runtime.device import Precision
from textcls.runtime.errors import InputError
from textcls.runtime.memory import peak_memory
from textcls.runtime.progress import EpochProgress, say
from textcls.runtime.tensors import load_trainable, random_states, restore_random_states, trainable_state
from textcls.text.batches import Batch, Batches
from textcls.training.optim import build_optimizer, learning_rate, set_learning_rate
from textcls.training.run import Run
from textcls.training.tally import State, Tally, end_epoch, epoch_line, out_of_patience

LOG_EVERY = 20  # steps between looks at the losses, each of which waits for the device


@dataclasses.dataclass(frozen=True)
class Setup:
    """What every optimiser step works with. `objective`, the model with its loss: (batch, carry) -> (losses, carry)."""

    model: nn.Module
    objective: Callable
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    clip: float  # largest norm of the gradient
    device: torch.device
    precision: Precision


def train(
    model: nn.Module,
    batches: Batches,
    loss_fn: Callable,
    evaluate: Callable,
    config: TrainConfig,
    run: Run,
    device: torch.device,
    precision: Precision,
    last: dict | None = None,
    encoder: str | None = None,
) -> State:
    """Train `model` (on `device`) and leave best.pt, last.pt and metrics.jsonl in `run`.

    `loss_fn(model, batch, carry) -> ({name: summed loss}, carry)`; `evaluate(model) -> {metric: value}`. `last` is the
    content of a last.pt to go on from, and is emptied: the result is then that of the run that was never stopped, bit
    for bit on the CPU. `encoder` is the sub-module that --encoder-lr is for. Of several processes (parallel.py) each
    takes its share of every batch. Raises Diverged when a loss or a weight stops being finite, InterruptedRun on
    Ctrl-C, LostProcess when another process dies.
    """
    setup = make_setup(model, loss_fn, config, device, precision, encoder)
    state, carry = begin(config.seed) if last is None else restore(last, setup, run)
    tally = Tally(state, setup.scaler, run.folder / "last.pt", batches.divisible)
    total = config.epochs * math.ceil(len(batches) / config.accumulate)
    if last is None:
        save(run, setup, tally, carry)
    with Interruption() as interruption:
        while state.epoch < config.epochs and not out_of_patience(state, config):
            model.train()
            tally.begin()
            order, carry = batches.order(state.epoch), carry if state.position else None
            what = f"epoch {state.epoch + 1}/{config.epochs}"
            of_run = state.epoch * len(order), config.epochs * len(order)
            progress = EpochProgress(what, config.quiet, len(order), state.position, *of_run)
            while state.position < len(order):
                chosen = order[state.position : state.position + config.accumulate]
                micro_batches, targets, stop = parallel.divide(
                    batches, chosen, config.batch_size, interruption.requested
                )
                set_learning_rate(setup.optimizer, learning_rate(state.step, total, config.lr, config.warmup))
                losses, norm, taken, carry = update(setup, micro_batches, targets, carry)
                tally.add(micro_batches, losses, norm)
                state.step, state.skipped = state.step + taken, state.skipped + (not taken)
                state.position += len(chosen)
                progress.update(len(chosen))
                if progress.due() or (state.step + state.skipped) % LOG_EVERY == 0:
                    progress.show(tally.settle(), tally.speed())
                if config.save_every and (state.step + state.skipped) % config.save_every == 0:
                    save(run, setup, tally, carry)
                if stop or (interruption.requested and parallel.size() == 1):  # several stop together, a step later
                    save(run, setup, tally, carry)
                    raise InterruptedRun(run)
            progress.close()
            row = tally.close_epoch() | {"lr": learning_rate(state.step, total, config.lr, config.warmup)}
            close_epoch(row, run, setup, tally, carry, evaluate, config)
    if parallel.add({"stop": interruption.requested})["stop"]:  # in the last evaluation; all is saved
        raise InterruptedRun(run)
    parallel.wait()  # until the first process has written everything
    return state


def update(
    setup: Setup,
    micro_batches: list[Batch],
    targets: dict[str, float],
    carry=None,
    watch: Callable = lambda phase: None,
) -> tuple[list[dict[str, torch.Tensor]], torch.Tensor, bool, object]:
    """One optimiser step: (losses of each micro-batch, norm of the gradient, whether the step was taken, carry).

    Losses are sums; each is divided by its `targets` of the whole step, so that several micro-batches equal one big
    batch. `watch` is told when a phase has ended: data, forward, backward (for each micro-batch), optimiser.
    """
    losses = []
    for number, batch in enumerate(micro_batches, 1):
        batch = batch.to(setup.device)
        watch("data")
        with parallel.exchange(setup.objective, last=number == len(micro_batches)):
            with setup.precision.autocast(setup.device):
                sums, carry = setup.objective(batch, carry)
                loss = sum(sums[name] / targets[name] for name in sums)
            watch("forward")
            setup.scaler.scale(loss).backward()
        watch("backward")
        losses.append({name: value.detach() for name, value in sums.items()})
    scale = setup.scaler.get_scale()
    setup.scaler.unscale_(setup.optimizer)
    norm = nn.utils.clip_grad_norm_(setup.model.parameters(), setup.clip)
    setup.scaler.step(setup.optimizer)
    setup.scaler.update()
    setup.optimizer.zero_grad(set_to_none=True)
    watch("optimiser")
    return losses, norm, setup.scaler.get_scale() >= scale, carry  # the scaler lowers its scale when it refuses a step


def make_setup(model, loss_fn, config: TrainConfig, device, precision: Precision, encoder: str | None) -> Setup:
    optimizer = build_optimizer(model, config.lr, config.weight_decay, encoder, config.encoder_lr)
    objective = parallel.objective(model, loss_fn)
    return Setup(model, objective, optimizer, precision.scaler(device), config.clip, device, precision)


# ---- what is kept ---------------------------------------------------------------------------------------------------


def begin(seed: int) -> tuple[State, object]:
    if parallel.rank() > 0:
        torch.manual_seed(seed + parallel.rank())  # of dropout: each process draws its own
    return State(processes=parallel.size()), None


def save(run: Run, setup: Setup, tally: Tally, carry) -> None:
    """last.pt: all that resuming needs."""
    tally.settle()  # never keep weights whose loss was not looked at, or that are not finite
    tally.check_weights(setup.model)
    run.save(
        "last.pt",
        {
            "model": trainable_state(setup.model),
            "optimizer": setup.optimizer.state_dict(),
            "scaler": setup.scaler.state_dict(),
            "random": parallel.gather(random_states()),
            "carry": parallel.whole_carry(carry),
            "state": dataclasses.asdict(tally.state) | {"tally": tally.sums()},
        },
    )


def close_epoch(
    row: dict, run: Run, setup: Setup, tally: Tally, carry, evaluate: Callable, config: TrainConfig
) -> None:
    """The end of an epoch: the dev metrics, the weights where they are the best so far, last.pt, metrics.jsonl."""
    state = tally.state
    tally.check_weights(setup.model)
    setup.model.eval()
    start = time.perf_counter()
    dev = {name: float(value) for name, value in evaluate(setup.model).items()}  # a checkpoint holds no scalars of numpy
    row |= {"epoch": state.epoch + 1, "dev": dev, "step": state.step, "skipped": state.skipped}
    row["dev_seconds"] = time.perf_counter() - start
    end_epoch(state, row | {"memory": peak_memory(setup.device)}, config.select)
    if state.best_epoch == state.epoch:
        run.save("best.pt", {"model": trainable_state(setup.model), "epoch": state.epoch, "dev": row["dev"]})
    save(run, setup, tally, carry)
    run.write_metrics(state.history)
    say(epoch_line(state.history[-1], config.epochs))


def restore(last: dict, setup: Setup, run: Run) -> tuple[State, object]:
    """Put the content of last.pt back; (where the run is, what it carried)."""
    load_trainable(setup.model, last["model"], run.folder / "last.pt")
    try:
        setup.optimizer.load_state_dict(last["optimizer"])
        if last["scaler"]:  # there was none while the run was on the CPU, or in another precision
            setup.scaler.load_state_dict(last["scaler"])
        state = State(**last["state"])
        if parallel.rank() < len(last["random"]):
            restore_random_states(last["random"][parallel.rank()])
        else:  # the run goes on with more processes than it had
            torch.manual_seed(state.step * parallel.size() + parallel.rank())
        carry = parallel.own_carry(last["carry"], setup.device)
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"{run.folder / 'last.pt'}: damaged, or of another version ({error})") from None
    if parallel.rank() > 0:  # last.pt holds the sums of all processes together: they are counted once
        state.tally = {name: 0 for name in state.tally}
    last.clear()  # the caller's copy of the tensors would stay in memory for the whole run
    run.write_metrics(state.history)  # drop the lines of epochs that last.pt has not seen
    return state, carry


# ---- Ctrl-C ---------------------------------------------------------------------------------------------------------


class InterruptedRun(Exception):
    """Ctrl-C, after everything was saved."""

    def __init__(self, run: Run):
        super().__init__(f"stopped and saved; go on with: python train.py --resume {run.folder}")


class Interruption:
    """Between `with` and its end, the first Ctrl-C (or SIGTERM) only sets `requested`, so that the loop can finish its
    step and save; the second one stops at once."""

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self):
        self.requested = False

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            self.before = {number: signal.signal(number, self.handle) for number in self.SIGNALS}
        else:
            self.before = {}
        return self

    def handle(self, number, frame):
        self.requested = True
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def __exit__(self, *exception):
        for number, handler in self.before.items():
            signal.signal(number, handler)
