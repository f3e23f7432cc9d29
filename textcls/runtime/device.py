"""Which device, which precision, and how the CPU is set up. Every choice comes with the reason that is printed."""

import contextlib
import ctypes
import dataclasses
import os

import torch

from textcls.runtime import parallel
from textcls.runtime.errors import InputError


def choose_device(name: str, must_exist: bool = True) -> torch.device:
    """`auto` is CUDA where there is one; of several processes each takes its own. Raises InputError for a device that
    is not there, if it must be."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and parallel.size() > 1:
        name = f"cuda:{parallel.local_rank()}"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"--device {name}: known are auto, cpu, cuda and cuda:N") from None
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"--device {name}: known are auto, cpu, cuda and cuda:N")
    if must_exist and device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(f"--device {name}: this machine has {torch.cuda.device_count()} CUDA devices")
    return device


@dataclasses.dataclass(frozen=True)
class Precision:
    """`dtype` of autocast, or None for float32 throughout; `why` is a phrase for the user."""

    dtype: torch.dtype | None
    why: str

    @property
    def name(self) -> str:
        return {None: "fp32", torch.float16: "fp16 AMP", torch.bfloat16: "bf16 AMP"}[self.dtype]

    def autocast(self, device: torch.device):
        if self.dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(device.type, self.dtype)

    def scaler(self, device: torch.device) -> torch.amp.GradScaler:
        """A GradScaler that scales only for fp16, whose gradients would underflow."""
        return torch.amp.GradScaler(device.type, enabled=self.dtype == torch.float16)


@contextlib.contextmanager
def copies_kept():
    """While the block (or the function that this decorates) lasts, autocast makes its 16-bit copy of a weight once, and
    not anew for every batch: it forgets them where the outermost autocast ends, and this is one that is off. For
    evaluation alone: no weight may change meanwhile."""
    with torch.autocast("cpu", enabled=False):
        yield


def choose_precision(amp: str, device: torch.device, recipe: str) -> Precision:
    """`amp` is the user's choice; `recipe` is what the model's recipe wants on CUDA when the choice is `auto`."""
    if amp == "fp16" and device.type == "cpu":
        raise InputError("--amp fp16 needs a CUDA device; on the CPU choose bf16 or off")
    if amp in ("fp16", "bf16"):
        slow = amp == "bf16" and not has_bf16(device)
        why = "as asked; this processor emulates bf16, which is slower than fp32" if slow else "as asked"
        return Precision({"fp16": torch.float16, "bf16": torch.bfloat16}[amp], why)
    if amp == "off":
        return Precision(None, "as asked")
    if recipe == "off":
        return Precision(None, "this model's recipe")
    if device.type == "cuda":
        return Precision({"fp16": torch.float16, "bf16": torch.bfloat16}[recipe], "this model's recipe on CUDA")
    if native_bf16():
        return Precision(torch.bfloat16, "this processor multiplies bf16 natively")
    return Precision(None, "this processor has no native bf16")


def has_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bf16 natively; a CUDA device that is not there is taken for one that does."""
    if device.type == "cpu":
        return native_bf16()
    if (device.index or 0) >= torch.cuda.device_count():
        return True
    with torch.cuda.device(device):  # torch asks the present device
        return torch.cuda.is_bf16_supported(including_emulation=False)


def native_bf16() -> bool:
    """Whether the processor has bf16 matrix instructions; without them bf16 is emulated, slower than fp32."""
    has = torch.cpu.get_capabilities()
    return any(has.get(name, False) for name in ("avx512_bf16", "amx_bf16", "amx_tile", "arm_bf16", "bf16"))


# oneDNN compiles kernels for each shape that it meets and keeps 1,024 of them, beside another 1,024 that torch's own layer
# above it keeps: with batches of many lengths the process grows by hundreds of MiB over the epochs. Both variables are
# read at the first product.
KERNELS = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "32", "LRU_CACHE_CAPACITY": "1"}
M_MMAP_THRESHOLD, M_TRIM_THRESHOLD = -3, -1  # glibc's malloc.h


def prepare(device: torch.device) -> str:
    """Set the device up for training or for predicting; returns a sentence on what was decided."""
    return prepare_cpu() if device.type == "cpu" else prepare_cuda()


def prepare_cuda() -> str:
    """float32 is float32: left alone, cuDNN rounds the inputs of an LSTM's products to TF32 (10 bits of mantissa) on
    GPUs that have it, and cuBLAS does where `prepare_cpu` was called before in the process."""
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    return "fp32 products in float32 throughout, not in TF32"


def prepare_cpu() -> str:
    """Set the CPU up for training; returns a sentence on what was decided. To be called before the first product of the
    process. What the user's environment says of memory is left alone.

    Memory: few compiled kernels are kept, and few holes in the heap.

    Matrix products: `medium` sends float32 products to oneDNN, often faster than MKL. On processors where that setting
    really computes in lower precision the check below sees it, and it is taken back.
    """
    for name, value in KERNELS.items():
        os.environ.setdefault(name, value)
    limit_holes()
    torch.set_float32_matmul_precision("medium")
    error = matmul_error()
    if error < 1e-6:
        return f"fp32 matrix products by oneDNN (relative error {error:.0e})"
    torch.set_float32_matmul_precision("highest")
    return f"fp32 matrix products by BLAS (oneDNN would round: relative error {error:.0e})"


def limit_holes() -> None:
    """Give every block from 8 MiB on a mapping of its own, and keep the end of the heap, where the C library is glibc.
    Left alone, glibc raises that limit to 32 MiB by itself, and blocks of varying size (logits over a vocabulary) leave
    holes of their size in the heap."""
    if "MALLOC_MMAP_THRESHOLD_" in os.environ:
        return
    with contextlib.suppress(OSError, AttributeError, TypeError):  # no glibc
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_THRESHOLD, 8 * 2**20)
        mallopt(M_TRIM_THRESHOLD, 2**30)


def matmul_error() -> float:
    """Relative error of a 256 x 256 product at the present setting, against float64."""
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(256, 256, generator=generator) for _ in range(2))
    exact = a.double() @ b.double()
    return float(((a @ b).double() - exact).norm() / exact.norm())
