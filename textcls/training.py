"""The loop. One for every task: what a task is, is in the loss function and the evaluation function it is given."""

import contextlib
import dataclasses
import math
import signal
import threading
import time

import numpy as np
import torch

from textcls import parallel
from textcls.batch import Batch, Batches
from textcls.checkpoint import Run, load_trainable, random_states, restore_random_states, trainable_state
from textcls.config import TrainConfig
from textcls.device import Precision
from textcls.errors import InputError
from textcls.meter import peak_memory
from textcls.optim import build_optimizer, learning_rate, set_learning_rate
from textcls.progress import bar

LOG_EVERY = 20  # steps between looks at the losses, each of which waits for the device


@dataclasses.dataclass
class State:
    """Where the run is. With the tensors and the random states this is all that resuming needs."""

    epoch: int = 0  # epochs finished
    position: int = 0  # batches of the present epoch that are done
    step: int = 0  # updates done; the learning rate is a function of it
    skipped: int = 0  # updates that the GradScaler refused
    processes: int = 1  # that the run began with: a batch has so many times --batch-size documents
    best: float | None = None
    best_epoch: int = 0
    tally: dict = dataclasses.field(default_factory=dict)
    history: list = dataclasses.field(default_factory=list)


def train(
    model,
    batches: Batches,
    loss_fn,
    evaluate,
    config: TrainConfig,
    run: Run,
    device: torch.device,
    precision: Precision,
    last: dict | None = None,
) -> State:
    """Train `model` (on `device`) and leave best.pt, last.pt and metrics.jsonl in `run`.

    `loss_fn(model, batch, carry) -> ({name: summed loss}, carry)`; `evaluate(model) -> {metric: value}`. `last` is the
    content of a last.pt to go on from, and is emptied: the result is then that of the run that was never stopped, bit
    for bit on the CPU. Of several processes (parallel.py) each takes its share of every batch. Raises InputError when a
    loss stops being finite, InterruptedRun on Ctrl-C, LostProcess when another process dies.
    """
    optimizer = build_optimizer(model, config.lr, config.weight_decay, config.encoder_lr)
    scaler = precision.scaler(device)
    if parallel.rank() > 0:
        torch.manual_seed(config.seed + parallel.rank())  # of dropout: each process draws its own
    state, carry = State(processes=parallel.size()), None
    if last:
        state, carry = restore(last, model, optimizer, scaler, run, device)
    objective = parallel.objective(model, loss_fn, unused=config.next_sentence is False)
    total = config.epochs * math.ceil(len(batches) / config.accumulate)
    tally = Tally(state, scaler, run)

    def save():
        tally.settle()  # never keep weights whose loss was not looked at
        run.save(
            "last.pt",
            {
                "model": trainable_state(model),
                "optimizer": optimizer.state_dict(),
                "scaler": scaler.state_dict(),
                "random": parallel.gather(random_states()),
                "carry": whole_carry(carry),
                "state": dataclasses.asdict(state) | {"tally": tally.sums()},
            },
        )

    if last is None:
        save()
    with Interruption() as interruption:
        while state.epoch < config.epochs and not out_of_patience(state, config):
            model.train()
            tally.begin()
            order, carry = batches.order(state.epoch), carry if state.position else None
            what = f"epoch {state.epoch + 1}/{config.epochs}"
            progress = bar(what, config.quiet, total=len(order), initial=state.position, unit="batch")
            while state.position < len(order):
                rows = order[state.position : state.position + config.accumulate]
                micro_batches = [batches.collate(part) for r in rows for part in own_share(r, config)]
                micro_batches = micro_batches or [batches.collate(rows[0][:1]).emptied()]  # takes part with gradient 0
                targets, stop = agree(micro_batches, interruption.requested)
                set_learning_rate(optimizer, learning_rate(state.step, total, config.lr, config.warmup))
                for number, batch in enumerate(micro_batches, 1):
                    batch = batch.to(device)
                    last_one = number == len(micro_batches)
                    with contextlib.nullcontext() if last_one else parallel.without_exchange(objective):
                        with precision.autocast(device):
                            losses, carry = objective(batch, carry)
                            if not len(batch.rows):
                                losses = {name: 0.0 * loss for name, loss in losses.items()}
                            loss = sum(losses[name] / targets[name] for name in losses)
                        with parallel.lost_processes():
                            scaler.scale(loss).backward()
                    tally.add(batch, losses)
                scale = scaler.get_scale()
                scaler.unscale_(optimizer)
                tally.add_norm(torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip))
                scaler.step(optimizer)
                scaler.update()
                optimizer.zero_grad(set_to_none=True)
                taken = scaler.get_scale() >= scale  # the scaler lowers its scale when it refuses a step
                state.step += taken
                state.skipped += not taken
                state.position += len(rows)
                progress.update(len(rows))
                if (state.step + state.skipped) % LOG_EVERY == 0:
                    progress.set_postfix(loss=f"{tally.settle():.3f}")
                if config.save_every and (state.step + state.skipped) % config.save_every == 0:
                    save()
                if stop or (interruption.requested and parallel.size() == 1):  # several stop together, a step later
                    save()
                    raise InterruptedRun(run)
            progress.close()
            row = tally.close_epoch()
            model.eval()
            row |= {
                "epoch": state.epoch + 1,
                "dev": evaluate(model),
                "lr": learning_rate(state.step, total, config.lr, config.warmup),
                "step": state.step,
                "skipped": state.skipped,
                "memory": peak_memory(device),
            }
            end_epoch(state, row, config.select)
            if state.best_epoch == state.epoch:
                run.save("best.pt", {"model": trainable_state(model), "epoch": state.epoch, "dev": row["dev"]})
            save()
            run.write_metrics(state.history)
            print(epoch_line(row, config.epochs), flush=True)
    parallel.wait()  # until the first process has written everything
    return state


def own_share(rows: np.ndarray, config: TrainConfig) -> list[np.ndarray]:
    """What this process computes of a batch, at most --batch-size documents at a time: there are more where a run goes
    on with fewer processes than it began with. The streams of a language model stay together, with their state."""
    own = parallel.share(rows)
    limit = len(rows) if config.task == "lm" else config.batch_size
    return [own[start : start + limit] for start in range(0, len(own), limit)]


def agree(micro_batches: list[Batch], stop: bool) -> tuple[dict[str, float], bool]:
    """({loss name: what to divide the summed loss by}, whether to stop), the same in all processes: the targets of the
    whole step, at least 1, so that a step without targets stays finite. Exchanged gradients are means over the
    processes, so what each divides by is smaller by that factor."""
    names = {name for batch in micro_batches for name in batch.counts}
    counts = {name: sum(batch.counts.get(name, 0) for batch in micro_batches) for name in names}
    counts = parallel.add(counts | {"stop": float(stop)})
    stop = counts.pop("stop") > 0
    return {name: max(1, count) / parallel.size() for name, count in counts.items()}, stop


def restore(last: dict, model, optimizer, scaler, run: Run, device: torch.device) -> tuple[State, object]:
    """Put the content of last.pt back; (where the run is, what it carried)."""
    load_trainable(model, last["model"], run.folder / "last.pt")
    try:
        optimizer.load_state_dict(last["optimizer"])
        scaler.load_state_dict(last["scaler"])
        random = last["random"] if isinstance(last["random"], list) else [last["random"]]  # as of one process, earlier
        state = State(**last["state"])
        if parallel.rank() < len(random):
            restore_random_states(random[parallel.rank()])
        else:  # the run goes on with more processes than it had
            torch.manual_seed(state.step * parallel.size() + parallel.rank())
        carry = own_carry(last.get("carry"), device)
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"{run.folder / 'last.pt'}: damaged, or of another version ({error})") from None
    if parallel.rank() > 0:  # the sums so far are those of all processes together
        state.tally = {name: 0 for name in state.tally}
    last.clear()  # the caller's copy of the tensors would stay in memory for the whole run
    run.write_metrics(state.history)  # drop the lines of epochs that last.pt has not seen
    return state, carry


def whole_carry(carry):
    """What the processes carry, as if one carried it: the state of every stream, on the CPU where there are several."""
    if carry is None or parallel.size() == 1:
        return carry
    parts = parallel.gather([[tensor.cpu() for tensor in layer] for layer in carry])
    return tuple(tuple(parallel.joined(list(same), 1) for same in zip(*layers, strict=True))
                 for layers in zip(*parts, strict=True))  # fmt: skip


def own_carry(carry, device: torch.device):
    """This process's share of it."""
    if carry is None:
        return None
    own = slice(parallel.rank(), None, parallel.size())
    return tuple(tuple(tensor[:, own].contiguous().to(device) for tensor in layer) for layer in carry)


def end_epoch(state: State, row: dict, select: str) -> None:
    """Book a finished epoch, and whether it is the best so far by the dev metric `select`."""
    value = row["dev"]["nll" if select == "loss" else select]
    better = state.best is None or (value < state.best if select == "loss" else value > state.best)
    state.epoch, state.position = state.epoch + 1, 0
    if better:
        state.best, state.best_epoch = value, state.epoch
    state.history.append(row)


def out_of_patience(state: State, config: TrainConfig) -> bool:
    return bool(config.patience) and state.epoch - state.best_epoch >= config.patience


class Tally:
    """What an epoch adds up to. Losses stay on the device until `settle` looks at them, all at once."""

    def __init__(self, state: State, scaler, run: Run):
        self.state, self.scaler, self.run = state, scaler, run
        self.pending: list[tuple[str, torch.Tensor, np.ndarray]] = []  # what, value on the device, documents
        self.start = time.perf_counter()

    def begin(self) -> None:
        """Start the clock: what went before (evaluation, checkpoints) is not training time."""
        self.start = time.perf_counter()

    def add(self, batch: Batch, losses: dict[str, torch.Tensor]) -> None:
        self.pending += [(f"loss {name}", loss.detach(), batch.rows) for name, loss in losses.items()]
        sums = self.state.tally
        counts = {f"targets {name}": count for name, count in batch.counts.items()}
        documents = 0 if "word" in batch.counts else len(batch.rows)  # a text for a language model is one
        counts |= {"documents": documents, "tokens": batch.tokens, "slots": batch.ids.numel()}
        for name, value in counts.items():
            sums[name] = sums.get(name, 0) + value

    def add_norm(self, norm: torch.Tensor) -> None:
        """The gradient's norm is only looked at for being finite. A scaler does that itself, and skips the step."""
        if not self.scaler.is_enabled():
            self.pending.append(("gradient norm", norm, self.pending[-1][2]))

    def settle(self) -> float:
        """Add the pending losses up, checking each value. Returns the mean loss of the epoch so far."""
        sums = self.state.tally
        values = torch.stack([value.float() for _, value, _ in self.pending]).tolist() if self.pending else []
        for (name, _, rows), value in zip(self.pending, values, strict=True):
            if not math.isfinite(value):
                raise InputError(self.explain(name, value, rows))
            if name.startswith("loss "):
                sums[name] = sums.get(name, 0.0) + value
        self.pending.clear()
        sums["seconds"] = sums.get("seconds", 0.0) + time.perf_counter() - self.start
        self.start = time.perf_counter()
        return mean_loss(sums)

    def sums(self) -> dict[str, float]:
        """The epoch so far, of all processes together; `seconds` are this one's."""
        own = dict(self.state.tally)
        seconds = own.pop("seconds", 0.0)
        return parallel.add(own) | {"seconds": seconds}

    def explain(self, name: str, value: float, rows: np.ndarray) -> str:
        documents = ", ".join(map(str, rows[:16].tolist())) + (", …" if len(rows) > 16 else "")
        return (
            f"{name} became {value} at or shortly before step {self.state.step} (gradient scale "
            f"{self.scaler.get_scale():g}, training documents {documents}). {self.run.folder / 'last.pt'} holds the "
            "last good state; try a smaller --lr, or --amp off"
        )

    def close_epoch(self) -> dict:
        self.settle()
        sums, self.state.tally = self.sums(), {}
        seconds = sums["seconds"]
        return {
            "loss": mean_loss(sums),
            "seconds": seconds,
            "documents_per_s": sums["documents"] / seconds,
            "tokens_per_s": sums["tokens"] / seconds,
            "padding": 1 - sums["tokens"] / sums["slots"],
        }


def mean_loss(sums: dict[str, float]) -> float:
    return sum(sums[key] / max(1, sums["targets " + key[5:]]) for key in sums if key.startswith("loss "))


def epoch_line(row: dict, epochs: int) -> str:
    """What is printed of an epoch. metrics.jsonl holds the same numbers."""
    dev = "  ".join(f"{name} {value:.4f}" for name, value in row["dev"].items())
    memory = ", ".join(f"{name.replace('_', ' ')} {size / 2**30:.2f} GiB" for name, size in row["memory"].items())
    documents = f"  {row['documents_per_s']:.0f} documents/s" if row["documents_per_s"] else ""
    skipped = f"  skipped steps {row['skipped']}" if row["skipped"] else ""
    return (
        f"epoch {row['epoch']}/{epochs}  loss {row['loss']:.4f}  dev: {dev}{documents}"
        f"  {row['tokens_per_s']:.0f} tokens/s  padding {row['padding']:.1%}  {row['seconds']:.1f} s/epoch"
        f"  peak {memory}{skipped}"
    )


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
