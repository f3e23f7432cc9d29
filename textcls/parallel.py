"""One run by several processes, as `torchrun` starts them. With one process all of this does nothing.

Every process reads the same settings and has a copy of the model. Of each batch it takes its share; gradients are added
up, so that all take the same step. The first process alone prints, and alone writes what all of them know.
"""

import contextlib
import datetime
import os
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import distributed, nn

# A process waits as long for the others: the first one may have features to compute, or a text to tokenise.
PATIENCE = datetime.timedelta(hours=12)
_alone = False


class LostProcess(Exception):
    """Another process of the run has died, or cannot be reached."""


def join() -> None:
    """Meet the other processes, if `torchrun` started more than one. CUDA tensors travel by NCCL, others by gloo."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not distributed.is_initialized():
        cuda = torch.cuda.is_available()
        if cuda:
            torch.cuda.set_device(local_rank())
        with lost_processes():
            distributed.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=PATIENCE)


def leave() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()


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
def alone() -> Iterator[bool]:
    """What is inside `if yielded:` is done by the first process as if there were no others, while they wait."""
    global _alone
    first, before = is_first(), _alone
    try:
        _alone = _alone or first
        yield first
    finally:
        _alone = before
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
    found = [None] * size()
    with lost_processes():
        distributed.all_gather_object(found, value, group=cpu_group())
    return found


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


def share(rows: np.ndarray) -> np.ndarray:
    """This process's share of what is in a batch."""
    return rows[rank() :: size()]


def joined(parts: list[torch.Tensor], dim: int) -> torch.Tensor:
    """The shares of all processes as one: the reverse of :func:`share` along `dim`."""
    whole = torch.empty(
        [*parts[0].shape[:dim], sum(part.shape[dim] for part in parts), *parts[0].shape[dim + 1 :]],
        dtype=parts[0].dtype,
    )
    for number, part in enumerate(parts):
        whole.movedim(dim, 0)[number :: len(parts)] = part.movedim(dim, 0)
    return whole


class Objective(nn.Module):
    """A model and its loss as one module, which is what DistributedDataParallel wraps."""

    def __init__(self, model: nn.Module, loss_fn: Callable):
        super().__init__()
        self.model, self.loss_fn = model, loss_fn

    def forward(self, batch, carry):
        return self.loss_fn(self.model, batch, carry)


def objective(model: nn.Module, loss_fn: Callable, unused: bool = False) -> Callable:
    """(batch, carry) -> (losses, carry), whose backward pass adds the gradients of all processes up, while it runs.
    `unused`: some parameters may get no gradient."""
    whole = Objective(model, loss_fn)
    if size() == 1:
        return whole
    with lost_processes():
        return nn.parallel.DistributedDataParallel(
            whole, broadcast_buffers=False, find_unused_parameters=unused, gradient_as_bucket_view=True
        )


def without_exchange(objective: Callable):
    """A context in which gradients stay with their process: for all micro-batches of a step but the last."""
    return objective.no_sync() if size() > 1 else contextlib.nullcontext()
