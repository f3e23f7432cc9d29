"""Memory, as the run itself measured it."""

import sys

import torch

try:
    import resource
except ImportError:  # Windows
    resource = None


def peak_memory(device: torch.device) -> dict[str, int]:
    """Bytes at the peak so far: `rss`, the resident set of the process, where the system counts it; on CUDA also what
    tensors held (`cuda_allocated`) and what the allocator kept (`cuda_reserved`)."""
    memory = {}
    if resource is not None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        memory["rss"] = peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, Linux KiB
    if device.type == "cuda":
        memory["cuda_allocated"] = torch.cuda.max_memory_allocated(device)
        memory["cuda_reserved"] = torch.cuda.max_memory_reserved(device)
    return memory
