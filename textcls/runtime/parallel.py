"""One run by several processes, as `torchrun` starts them. With one process all of this does nothing.

Every process reads the same settings and has a copy of the model. Of each batch it takes its share; gradients are added
up, so that all take the same step. The first process alone prints, and alone writes what all of them know.
"""

import contextlib
import datetime
import os
import sys
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import distributed, nn

# A process waits as long for the others: the first one may have features to compute, or a text to tokenise.
PATIENCE = datetime.timedelta(hours=12)
_alone = False
_lost: list[RuntimeError] = []


class LostProcess(Exception):
    """Another process of the run has died, or cannot be reached."""


def join(least: int = 2) -> None:
    """Meet the other processes, if `torchrun` started `least` or more. CUDA tensors travel by NCCL, others by gloo. A
    process for which there is no device is left to :func:`textcls.runtime.device.choose_device`: it may be for the
    CPU."""
    if int(os.environ.get("WORLD_SIZE", "0")) >= least and not distributed.is_initialized():
        cuda = torch.cuda.is_available()
        if local_rank() < torch.cuda.device_count():
            torch.cuda.set_device(local_rank())
        with lost_processes():
            distributed.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=PATIENCE)


def leave() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()


def end(status: int) -> None:
    """Leave Python. After a process was lost at once: freeing what was exchanged with it while gloo's threads free
    their own can wait for ever, each side for the other (torch 2.13), or abort."""
    if _lost:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def local_rank() -> int:
    """The number of this process on its machine, and of the CUDA device that it takes."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def size() -> int:
    return distributed.get_world_size() if distributed.is_initialized() and not _alone else 1


def rank() -> int:
    return distributed.get_rank() if distributed.is_initialized() and not _alone else 0


def is_first() -> bool:
    return rank() == 0


@contextlib.contextmanager
def apart() -> Iterator[None]:
    """What is inside is done by every process as if there were no others: each has something else to do."""
    global _alone
    before, _alone = _alone, True
    try:
        yield
    finally:
        _alone = before


@contextlib.contextmanager
def alone() -> Iterator[bool]:
    """What is inside `if yielded:` is done by the first process as if there were no others, while they wait."""
    first = is_first()
    with apart() if first else contextlib.nullcontext():
        yield first
    wait()


@contextlib.contextmanager
def first_process_first() -> Iterator[None]:
    """The first process goes through the block, then the others, who find in the cache what it left there."""
    if not is_first():
        wait()
    yield
    if is_first():
        wait()


@contextlib.contextmanager
def lost_processes() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        # NCCL's errors have a class; gloo's are RuntimeErrors that name its source files. Others are not about this.
        if not (isinstance(error, distributed.DistError) or "gloo" in str(error)):
            raise
        _lost.append(error)  # kept with its frames: see end()
        raise LostProcess(str(error).strip().split("\n")[0]) from None


def wait() -> None:
    """Until all processes are here."""
    if size() > 1:
        with lost_processes():
            distributed.all_reduce(torch.zeros(1))  # as barrier(), which would take a CUDA device where there is one


def gather(value) -> list:
    """What each process gives, in their order. Plain values, arrays and tensors on the CPU."""
    if size() == 1:
        return [value]
    values = [None] * size()
    with lost_processes():
        distributed.all_gather_object(values, value, group=cpu_group())
    return values


_groups: list = []


def cpu_group():
    """All processes, by gloo: pickled objects then do not travel through a CUDA device."""
    if not _groups:
        _groups.append(distributed.new_group(backend="gloo", timeout=PATIENCE))
    return _groups[0]


def from_first(value):
    """The first process's value, for all."""
    return gather(value)[0]


def add(values: dict[str, float]) -> dict[str, float]:
    """Sums over all processes, which give the same names."""
    if size() == 1:
        return dict(values)
    names = sorted(values)
    sums = torch.tensor([values[name] for name in names], dtype=torch.float64)
    with lost_processes():
        distributed.all_reduce(sums)
    return dict(zip(names, sums.tolist(), strict=True))


def share(items: np.ndarray) -> np.ndarray:
    """This process's share of what is in a batch."""
    return items[rank() :: size()]


def joined(parts: list[torch.Tensor], dim: int) -> torch.Tensor:
    """The shares of all processes as one: the reverse of :func:`share` along `dim`."""
    whole = torch.empty(
        [*parts[0].shape[:dim], sum(part.shape[dim] for part in parts), *parts[0].shape[dim + 1 :]],
        dtype=parts[0].dtype,
    )
    for number, part in enumerate(parts):
        whole.movedim(dim, 0)[number :: len(parts)] = part.movedim(dim, 0)
    return whole


# ---- training -------------------------------------------------------------------------------------------------------


class Objective(nn.Module):
    """A model and its loss as one module, which is what DistributedDataParallel wraps. Losses of an empty batch are 0,
    with gradients of 0: a process without documents goes along with the others."""

    def __init__(self, model: nn.Module, loss_fn: Callable):
        super().__init__()
        self.model, self.loss_fn = model, loss_fn

    def forward(self, batch, carry):
        losses, carry = self.loss_fn(self.model, batch, carry)
        if not len(batch.documents):
            losses = {name: 0.0 * loss for name, loss in losses.items()}
        return losses, carry


def objective(model: nn.Module, loss_fn: Callable) -> Callable:
    """(batch, carry) -> (losses, carry), whose backward pass adds the gradients of all processes up, while it runs.
    A model some of whose parameters get no gradient says so by `has_unused_parameters`."""
    alone = Objective(model, loss_fn)
    if _alone or not distributed.is_initialized():
        return alone
    unused = getattr(model, "has_unused_parameters", False)
    with lost_processes():
        return nn.parallel.DistributedDataParallel(
            alone, broadcast_buffers=False, find_unused_parameters=unused, gradient_as_bucket_view=True
        )


@contextlib.contextmanager
def exchange(objective: Callable, last: bool) -> Iterator[None]:
    """Around the forward and backward pass of a micro-batch: gradients travel with the `last` of a step alone."""
    with contextlib.nullcontext() if last or size() == 1 else objective.no_sync(), lost_processes():
        yield


def divide(batches, chosen: list[np.ndarray], micro_batch: int, stop: bool) -> tuple[list, dict[str, float], bool]:
    """What this process computes of an optimiser step: (its micro-batches of the `chosen` batches, {loss name: what to
    divide the summed loss by}, whether to stop).

    A micro-batch has at most `micro_batch` documents: there are more in a batch where a run goes on with fewer
    processes than it began with. The streams of a language model stay together, with their state.
    """
    parts = []
    for documents in chosen:
        own = share(documents)
        step = micro_batch if batches.divisible else max(1, len(own))
        parts += [own[start : start + step] for start in range(0, len(own), step)]
    micro_batches = [batches.collate(part) for part in parts] or [batches.collate(chosen[0][:1]).emptied()]
    return micro_batches, *agree(micro_batches, stop)


def agree(micro_batches: list, stop: bool = False) -> tuple[dict[str, float], bool]:
    """({loss name: what to divide the summed loss by}, whether to stop), the same in all processes: the targets of the
    whole step, at least 1, so that a step without targets stays finite. Exchanged gradients are means over the
    processes, so what each divides by is smaller by that factor."""
    names = {name for batch in micro_batches for name in batch.counts}
    counts = {name: sum(batch.counts.get(name, 0) for batch in micro_batches) for name in names}
    counts = add(counts | {"stop": float(stop)})
    stop = counts.pop("stop") > 0
    return {name: max(1, count) / size() for name, count in counts.items()}, stop


def whole_carry(carry):
    """What the processes carry, as if one carried it: the state of every stream, on the CPU where there are several."""
    if carry is None or size() == 1:
        return carry
    parts = gather([[tensor.cpu() for tensor in layer] for layer in carry])
    return tuple(tuple(joined(list(same), 1) for same in zip(*layers, strict=True))
                 for layers in zip(*parts, strict=True))  # fmt: skip


def own_carry(carry, device: torch.device):
    """This process's share of it."""
    if carry is None:
        return None
    own = slice(rank(), None, size())
    return tuple(tuple(tensor[:, own].contiguous().to(device) for tensor in layer) for layer in carry)
