"""What benchmarks/gpu.py asks of the device itself. Every line that runs on CUDA alone stands in this file; the rest of
the benchmark is the same on the CPU, where a test runs it."""

import contextlib
import gc
import pathlib
import platform
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

import textcls
from textcls.runtime.device import choose_device, prepare
from textcls.runtime.errors import is_out_of_memory
from textcls.runtime.memory import cap_memory, peak_memory, reset_peak, resident_memory

HERE = pathlib.Path(__file__).resolve().parent
ASK = 10  # seconds that another program may take to answer


def begin(name: str, memory: int | None) -> torch.device:
    """The device, ready and capped at `memory` bytes; a process that works with it calls this first."""
    device = choose_device(name)
    prepare(device)
    if device.type == "cuda":
        device = torch.device("cuda", device.index or 0)
        torch.cuda.set_device(device)
        if memory:
            cap_memory(device, memory)
    return device


def facts(device: torch.device) -> dict:
    """What a reader has to know of the machine beside the numbers."""
    known = {
        "device": str(device),
        "card": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "textcls": textcls.__version__,
        "commit": answer("git", "describe", "--always", "--dirty", "--exclude=*"),
    }
    return known | (cuda_facts(device) if device.type == "cuda" else {})


def cuda_facts(device: torch.device) -> dict:
    properties = torch.cuda.get_device_properties(device)
    query = answer("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
    return {
        "card": properties.name,
        "capability": f"{properties.major}.{properties.minor}",
        "memory, GiB": round(properties.total_memory / 2**30, 2),
        "cards": torch.cuda.device_count(),
        "driver": query.splitlines()[0] if query else "unknown",
        "CUDA": torch.version.cuda,
        "cuDNN": torch.backends.cudnn.version(),
    }


def answer(*command: str) -> str:
    """What a program prints; "" where it is not there, fails, or does not answer."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ASK, check=True, cwd=HERE)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def cards(device: torch.device) -> int:
    """How many devices of the kind there are; two processes share a CPU."""
    return torch.cuda.device_count() if device.type == "cuda" else 2


def empty(device: torch.device) -> None:
    """Give back what nobody holds any more."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def peak_of(device: torch.device, work: Callable[[], object]) -> dict[str, int] | None:
    """{"allocated", "reserved"}: bytes at the peak of `work`; on the CPU both are what the process grew by. None where
    the memory does not suffice."""
    empty(device)
    reset_peak()
    before = resident_memory()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    if within_memory(lambda: (work(),)) is None:
        return None
    peak = peak_memory(device)
    if device.type == "cuda":
        return {"allocated": peak["cuda_allocated"], "reserved": peak["cuda_reserved"]}
    grown = max(0, peak.get("rss", 0) - before)
    return {"allocated": grown, "reserved": grown}


def within_memory(work: Callable[[], Any]) -> Any:
    """What `work` gives; None where the memory does not suffice."""
    try:
        return work()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return None


def seconds_of(device: torch.device, work: Callable[[], object], repeats: int, warm: int = 2) -> list[float]:
    """Of each repetition, after `warm` ones that do not count; the device has done its work when the clock is read."""
    times = []
    for number in range(warm + repeats):
        synchronise(device)
        start = time.perf_counter()
        work()
        synchronise(device)
        times += [time.perf_counter() - start] * (number >= warm)
    return times


@contextlib.contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """cuDNN's LSTM in float32 rounds its inputs to TF32, or does not."""
    before, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, allowed
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


