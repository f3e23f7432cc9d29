"""Memory, as the run itself measured it."""

import resource
import sys

import torch


def peak_memory(device: torch.device) -> dict[str, int]:
    """Bytes at the peak so far: resident set of the process; on CUDA also what tensors held and what was reserved."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    memory = {"rss": peak if sys.platform == "darwin" else peak * 1024}  # macOS counts bytes, Linux KiB
    if device.type == "cuda":
        memory["cuda_allocated"] = torch.cuda.max_memory_allocated(device)
        memory["cuda_reserved"] = torch.cuda.max_memory_reserved(device)
    return memory
