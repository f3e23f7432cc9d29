"""Memory of the process and of its device, in bytes."""

import contextlib
import sys
from collections.abc import Callable, Iterator

import torch

from textcls.runtime.errors import WAYS_OUT, InputError, is_out_of_memory

try:
    import resource
except ImportError:  # Windows
    resource = None

UNITS = {"KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}


def peak_memory(device: torch.device) -> dict[str, int]:
    """Bytes at the peak so far: `rss`, the resident set of the process, where the system counts it; on CUDA also what
    tensors held (`cuda_allocated`) and what the allocator kept (`cuda_reserved`)."""
    peak = process_memory("VmHWM")
    if not peak and resource is not None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        peak *= 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, others KiB
    memory = {"rss": peak} if peak else {}
    if device.type == "cuda":
        memory["cuda_allocated"] = torch.cuda.max_memory_allocated(device)
        memory["cuda_reserved"] = torch.cuda.max_memory_reserved(device)
    return memory


def resident_memory() -> int:
    """Bytes of the process that are in memory now; 0 where the system does not say."""
    return process_memory("VmRSS")


def free_memory() -> int | None:
    """Bytes that the machine still has for a process (Linux); None where the system does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            return next(1024 * int(line.split()[1]) for line in file if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return None


def check_room(size: int, what: str, ways: str = WAYS_OUT) -> None:
    """Raise InputError where `what`, of so many bytes, cannot fit; `ways` out of it. Linux would give the memory all the
    same, and kill the process when it is written."""
    free = free_memory()
    if free is not None and size > free:
        gib = f"{size / 2**30:,.1f} GiB, and {free / 2**30:,.1f} GiB are free"
        raise InputError(f"out of memory: {what} takes {gib}; {ways}")


def reset_peak() -> None:
    """Let the peak of the resident set begin anew, where the system can do that (Linux)."""
    with contextlib.suppress(OSError):
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")


def process_memory(field: str) -> int:
    """A size from Linux's /proc/self/status, in bytes; 0 elsewhere. (`ru_maxrss` would do for the peak, but it starts
    from that of the process which started this one.)"""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            return next(1024 * int(line.split()[1]) for line in file if line.startswith(field + ":"))
    except (OSError, StopIteration):
        return 0


def size_of(tensors) -> int:
    return sum(tensor.nbytes for tensor in tensors)


@contextlib.contextmanager
def explained(device: torch.device | str, advice: Callable[[], str]) -> Iterator[None]:
    """Around what may run out of memory: an InputError with `advice` then."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        first, *details = advice().split("\n  ")
        raise InputError(f"out of memory on {device}; {first}", details) from None


def cap_memory(device: torch.device, memory: int) -> None:
    """Make going over `memory` bytes an error on this CUDA device, for tensors and the allocator's own holdings."""
    total = torch.cuda.get_device_properties(device).total_memory
    if memory > total:
        raise InputError(f"--memory: {memory / 2**30:.1f} GiB asked for, {device} has {total / 2**30:.1f} GiB")
    index = torch.cuda.current_device() if device.index is None else device.index  # it takes no bare "cuda"
    torch.cuda.set_per_process_memory_fraction(memory / total, index)


def parse_memory(text: str) -> int:
    """Bytes of "6GB" (10^9) or "6GiB" (2^30), with KB, MB and TB alike. Raises InputError."""
    number = text.strip().upper().rstrip("BIKMGT")
    unit = text.strip().upper()[len(number) :]
    try:
        size = int(float(number) * UNITS[unit])
    except (ValueError, KeyError, OverflowError):
        raise InputError(f"--memory {text}: expected a size such as 6GB (10^9 bytes) or 6GiB (2^30 bytes)") from None
    if size <= 0:
        raise InputError(f"--memory {text}: must be above 0")
    return size
