import os

import pytest
import torch

from textcls.runtime import device as module
from textcls.runtime.device import (
    Precision,
    choose_device,
    choose_precision,
    copies_kept,
    matmul_error,
    prepare,
    prepare_cpu,
)
from textcls.runtime.errors import InputError

CPU = torch.device("cpu")


def test_devices():
    assert choose_device("cpu") == CPU
    for name in ("tpu", "mps", "cuda:99", "cuda:x"):
        with pytest.raises(InputError, match=f"--device {name}"):
            choose_device(name)


@pytest.mark.parametrize("native", [True, False])
def test_auto_on_the_cpu_is_bf16_only_where_it_is_native(monkeypatch, native):
    monkeypatch.setattr(module, "native_bf16", lambda: native)
    precision = choose_precision("auto", CPU, "fp16")
    assert precision.dtype == (torch.bfloat16 if native else None)
    assert "native" in precision.why
    assert choose_precision("auto", CPU, "off").dtype is None
    asked = choose_precision("bf16", CPU, "fp16")
    assert asked.dtype == torch.bfloat16 and ("emulates" in asked.why) == (not native)


def test_choices():
    assert choose_precision("off", CPU, "fp16").name == "fp32"
    with pytest.raises(InputError, match="--amp fp16 needs a CUDA device"):
        choose_precision("fp16", CPU, "fp16")
    cuda = torch.device("cuda")
    assert choose_precision("auto", cuda, "fp16").dtype == torch.float16
    assert choose_precision("auto", cuda, "off").dtype is None
    assert choose_precision("fp16", cuda, "off").name == "fp16 AMP"
    assert not choose_precision("off", CPU, "fp16").scaler(CPU).is_enabled()


def test_bf16_of_a_gpu_that_is_not_there(monkeypatch):
    """It can be planned for, on a machine with other GPUs too, which must not be asked for it."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "device", None)
    assert choose_precision("bf16", torch.device("cuda:1"), "off").why == "as asked"


def test_native_bf16_is_what_the_processor_says(monkeypatch):
    for capabilities, expected in (({"avx512_bf16": True}, True), ({"amx_bf16": True}, True), ({"avx2": True}, False)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda c=capabilities: c)
        assert module.native_bf16() == expected


@pytest.fixture
def process(monkeypatch):
    """This process, whose heap `prepare_cpu` leaves alone; what else it changes is put back."""
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", str(2**25))
    precision, environment = torch.get_float32_matmul_precision(), dict(os.environ)
    yield
    torch.set_float32_matmul_precision(precision)
    os.environ.clear()
    os.environ.update(environment)


def test_faster_products_only_where_they_are_as_exact(process, monkeypatch):
    assert "oneDNN" in prepare_cpu() or "BLAS" in prepare_cpu()
    assert matmul_error() < 1e-6
    monkeypatch.setattr(module, "matmul_error", lambda: 1e-3)
    assert "BLAS" in prepare_cpu()
    assert torch.get_float32_matmul_precision() == "highest"


def test_a_gpu_computes_float32_in_float32(process):
    """`prepare_cpu`'s setting would be TF32 on a GPU, and cuDNN's own default is. (The flags are there without one.)"""
    before = torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("medium")
    try:
        assert "float32" in prepare(torch.device("cuda"))
        assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # as models/elmo.py has it
            pass
        assert not torch.backends.cudnn.allow_tf32
    finally:
        torch.backends.cudnn.allow_tf32 = before


def test_what_the_users_environment_says_of_memory_is_left_alone(process):
    os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] = "7"
    prepare_cpu()
    assert os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == "7"
    del os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"]
    prepare_cpu()
    assert int(os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"]) < 1024


def test_autocasts_copies_of_weights_are_kept_for_an_evaluation_and_no_longer():
    """A weight that changes meanwhile, as it must not, shows which copy was used."""
    linear, x, bf16 = torch.nn.Linear(2, 2), torch.ones(1, 2), Precision(torch.bfloat16, "")

    def product():
        with torch.no_grad(), bf16.autocast(torch.device("cpu")):
            return linear(x)

    with copies_kept():
        assert not torch.is_autocast_enabled("cpu")
        before = product()
        with torch.no_grad():
            linear.weight += 1.0
        assert torch.equal(product(), before)
    assert torch.allclose(product(), before + 2.0, atol=0.05)
