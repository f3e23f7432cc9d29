"""Part 5 of benchmarks/gpu.py, its end: processes under torchrun that exchange gradients, by NCCL on GPUs; and what
each of them does (this file is the script that torchrun starts)."""

import json
import pathlib
import re
import subprocess
import sys
from collections.abc import Iterator

HERE = pathlib.Path(__file__).resolve().parent
if __name__ == "__main__":
    sys.path[:0] = [str(HERE), str(HERE.parent)]

import gpu_device  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from gpu_page import Row  # noqa: E402
from gpu_work import LABELS, PRECISIONS, STEADY, Work, left, made, settings, setup_of  # noqa: E402
from torch import distributed  # noqa: E402

from textcls import recipes  # noqa: E402
from textcls.runtime import parallel  # noqa: E402
from textcls.training.loop import update  # noqa: E402

DOCUMENTS = 8  # of a step, in two micro-batches
SAME = 1e-5  # share by which the gradient's norm may differ from one process's


def processes(work: Work) -> Iterator[Row]:
    """One process, and as many as there are devices: each takes its share of a step, and the exchanged gradients are
    those of the whole batch."""
    device = gpu_device.begin(work.device, work.memory)
    for count in sorted({1, gpu_device.cards(device)}):
        yield from launched(work, device.type, count)


def launched(work: Work, kind: str, count: int) -> Iterator[Row]:
    what = f"torchrun, {count} process{'es' * (count > 1)}"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    done = subprocess.run([*torchrun, __file__, kind], capture_output=True, text=True, timeout=left(work))
    lines = [json.loads(line[1:]) for line in done.stdout.splitlines() if line.startswith("@")]
    if done.returncode or not lines:
        yield Row(what, None, rule="yes", note=f"exit status {done.returncode}: {first_error(done.stderr)[:200]}")
        return
    found = lines[0]
    yield Row(f"{what}: tensors travel by", found["backend"])
    yield Row(f"{what}: a sum over the processes is right", found["sum"] == sum(range(1, count + 1)), rule="yes")
    apart = abs(found["norm"] / found["alone"] - 1)
    yield Row(f"{what}: share of the gradient's norm by which it differs from one process's", apart, SAME, "at most",
              "order of sums")  # fmt: skip
    yield Row(f"{what}: a step", found["milliseconds"], unit="ms", note="of a tiny model: the exchange's least cost")


def first_error(stderr: str) -> str:
    """Of what torchrun leaves: the first exception of a process, not the frame around its own summary."""
    lines = stderr.strip().splitlines() or ["no word"]
    return next((line for line in lines if re.search(r"\b\w*(Error|Exception)\b: ", line)), lines[-1])


# ---- in each process ------------------------------------------------------------------------------------------------


def main(kind: str) -> None:
    parallel.join(least=1)
    name = f"{kind}:{parallel.local_rank()}" if kind == "cuda" else kind
    device = gpu_device.begin(name, None)
    found = {"backend": distributed.get_backend_config(), "sum": summed(device)}
    with parallel.alone() as first:
        found["alone"] = norm_of(device, 1)[0] if first else None
    found["norm"], found["milliseconds"] = norm_of(device, parallel.size())
    if parallel.is_first():
        print("@" + json.dumps(found), flush=True)
    parallel.leave()


def summed(device: torch.device) -> float:
    number = torch.tensor(parallel.rank() + 1.0, device=device)
    distributed.all_reduce(number)
    return number.item()


def norm_of(device: torch.device, processes: int) -> tuple[float, float]:
    """(norm of the gradient of a step, milliseconds of a later one) that `processes` take together."""
    config = settings("bert", dropout=0.0, batch_size=DOCUMENTS // 2 // processes or 1)
    torch.manual_seed(0)
    model = recipes.build(config, STEADY, LABELS).to(device).train()
    setup = setup_of(model, config, device, PRECISIONS["fp32"])
    batches = made(np.arange(4, 4 + DOCUMENTS), DOCUMENTS // 2, STEADY.vocab_size)
    micro_batches, targets, _ = parallel.divide(batches, batches.order(0), config.batch_size, False)
    norm = update(setup, micro_batches, targets)[1].item()
    seconds = gpu_device.seconds_of(device, lambda: update(setup, micro_batches, targets), 5)
    return norm, 1000 * min(seconds)


if __name__ == "__main__":
    main(sys.argv[1])
