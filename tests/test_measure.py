import os

import numpy as np
import pytest
import torch

from tests.conftest import batch_of
from textcls import BertClassifier
from textcls.ledger.measure import SavedTensors, measure
from textcls.runtime.device import Precision
from textcls.runtime.errors import InputError, exit_on_input_error, is_out_of_memory
from textcls.runtime.memory import cap_memory, peak_memory, reset_peak, resident_memory
from textcls.tasks.classification import cross_entropy
from textcls.text.batches import Batches
from textcls.text.pieces import Pieces, Sequences

CPU = torch.device("cpu")


def test_peak_of_the_process_grows_with_what_it_touches():
    pytest.importorskip("resource")
    reset_peak()
    before = peak_memory(CPU)["rss"]
    size = before - resident_memory() + 200 * 2**20  # above the peak so far, where it cannot begin anew
    block = bytearray(size)
    for i in range(0, size, 4096):
        block[i] = 1
    grown = peak_memory(CPU)["rss"] - before
    assert 150 * 2**20 < grown


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="the peak cannot begin anew here")
def test_the_peak_begins_anew():
    block = bytearray(200 * 2**20)
    block[::4096] = b"x" * len(block[::4096])
    del block
    assert peak_memory(CPU)["rss"] - resident_memory() > 150 * 2**20
    reset_peak()
    assert peak_memory(CPU)["rss"] - resident_memory() < 50 * 2**20


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_peak_on_cuda():
    torch.cuda.reset_peak_memory_stats()
    block = torch.zeros(2**20, device="cuda")
    memory = peak_memory(block.device)
    assert memory["cuda_reserved"] >= memory["cuda_allocated"] >= 2**22


@pytest.mark.parametrize("name, index", [("cuda", 3), ("cuda:1", 1)])
def test_the_cap_is_a_share_of_the_device(monkeypatch, name, index):
    """torch takes no bare "cuda" here: then it is the present device's."""
    capped = {}
    total = type("Properties", (), {"total_memory": 8 * 2**30})()
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: total)

    def set_fraction(fraction: float, device: int) -> None:
        assert isinstance(fraction, float) and isinstance(device, int)  # as torch's own checks them
        capped[device] = fraction

    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", set_fraction)
    cap_memory(torch.device(name), 6 * 2**30)
    assert capped == {index: 0.75}
    with pytest.raises(InputError, match="9.0 GiB asked for, .* has 8.0 GiB"):
        cap_memory(torch.device(name), 9 * 2**30)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_cap_holds_on_cuda():
    device = torch.device("cuda")
    torch.cuda.empty_cache()
    cap_memory(device, torch.cuda.memory_reserved(device) + 2**28)
    try:
        with pytest.raises(torch.OutOfMemoryError):
            torch.empty(2**29, dtype=torch.uint8, device=device)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, torch.cuda.current_device())


def test_saved_tensors_of_a_model_that_can_be_counted_by_hand():
    model = torch.nn.Sequential(torch.nn.Linear(10, 20), torch.nn.GELU(), torch.nn.Linear(20, 30), torch.nn.Tanh())
    x = 1.0 * torch.randn(8, 10, requires_grad=True)  # not a leaf, and the first product keeps its weight, too
    with SavedTensors(model) as saved:
        model(x)
    # input of the first product; input of GELU; its output, input of the second product; output of tanh
    assert saved.parts == {"head": 4 * 8 * (10 + 20 + 20 + 30)}
    with torch.autocast("cpu", torch.bfloat16), SavedTensors(model) as saved:
        model(x)
    assert saved.parts == {"head": 2 * 8 * (10 + 20 + 20 + 30)}
    assert saved.copies == 2 * (10 * 20 + 20 * 30)


def test_measuring_changes_no_weight_and_leaves_no_hook(tiny_shape):
    torch.manual_seed(0)
    model = BertClassifier(tiny_shape, 3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    ids, mask = batch_of([9, 4, 6, 9, 5, 3, 8], 60)
    tokens = ids[mask.bool()].numpy()
    rows = Pieces(tokens, np.concatenate([[0], mask.sum(1).cumsum(0).numpy()]))
    batches = Batches(Sequences(rows, rows.lengths, 0), np.array([0, 1, 2, 0, 1, 2, 0]), batch_size=4)
    measured = measure(model, batches, cross_entropy(), CPU, Precision(None, ""), 100)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())
    assert (measured.batch, measured.tokens, measured.padded) == (4, 9, True)
    size = 4 * sum(p.numel() for p in model.parameters())
    assert measured.trainable == measured.gradients == size and measured.frozen == 0
    assert 2 * size <= measured.optimizer <= 2 * size + 8 * len(before)  # and a step count for each parameter
    assert set(measured.seconds) == {"data", "forward", "backward", "optimiser"}
    assert all(seconds > 0 for seconds in measured.seconds.values())


def test_running_out_of_memory_is_recognised():
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory."))
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(RuntimeError("CUDA error: out of memory"))  # from a library beside torch's allocator
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("could not execute a primitive")])
def test_running_out_of_memory_anywhere_is_one_line_with_the_ways_out(capsys, error):
    def main(argv):
        raise error

    assert exit_on_input_error(main)([]) == 2
    assert capsys.readouterr().err.startswith("error: out of memory; close other programs, or choose a smaller model")
