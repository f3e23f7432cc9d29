import pytest
import torch

from textcls.meter import peak_memory


def test_peak_of_the_process_grows_with_what_it_touches():
    pytest.importorskip("resource")
    before = peak_memory(torch.device("cpu"))["rss"]
    size = before + 200 * 2**20  # above the peak so far, whatever other tests used
    block = bytearray(size)
    for i in range(0, size, 4096):
        block[i] = 1
    grown = peak_memory(torch.device("cpu"))["rss"] - before
    assert 150 * 2**20 < grown


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_peak_on_cuda():
    torch.cuda.reset_peak_memory_stats()
    block = torch.zeros(2**20, device="cuda")
    memory = peak_memory(block.device)
    assert memory["cuda_reserved"] >= memory["cuda_allocated"] >= 2**22
