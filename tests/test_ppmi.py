"""Word vectors by counts: against slow loops, a dense SVD, and what the memory is said to be."""

import math
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import torch

from textcls.pretrained import ppmi

V = 37


def text(seed: int = 0, documents: int = 30, vocab_size: int = V - 2) -> list[np.ndarray]:
    """Some of one piece, or none; the last two pieces never occur."""
    random = np.random.default_rng(seed)
    lengths = [0, 1, 2, *random.integers(3, 60, documents)]
    return [(random.zipf(1.3, length) - 1) % vocab_size for length in lengths]


def slow_counts(documents, window: int) -> np.ndarray:
    counts = np.zeros((V, V))
    for ids in documents:
        for i, j in ((i, j) for i in range(len(ids)) for j in range(len(ids)) if 0 < abs(i - j) <= window):
            counts[ids[i], ids[j]] += window + 1 - abs(i - j)
    return counts


def slow_ppmi(counts: np.ndarray) -> np.ndarray:
    result, total = np.zeros_like(counts), counts.sum()
    for w, c in np.argwhere(counts > 0):
        result[w, c] = max(0.0, math.log(counts[w, c] * total / (counts[w].sum() * counts[:, c].sum())))
    return result


@pytest.mark.parametrize("window", [1, 2, 5])
@pytest.mark.parametrize("chunk, rows", [(ppmi.CHUNK, ppmi.ROWS), (50, 7), (1, 1)])
def test_counts_are_those_of_a_slow_loop(monkeypatch, window, chunk, rows):
    monkeypatch.setattr(ppmi, "CHUNK", chunk)
    monkeypatch.setattr(ppmi, "ROWS", rows)
    documents = text()
    found = ppmi.cooccurrences(iter(documents), V, window).numpy()
    assert np.array_equal(found, slow_counts(documents, window)) and np.array_equal(found, found.T)


def test_ppmi_is_that_of_its_formula():
    counts = slow_counts(text(), 5)
    found = ppmi.ppmi_(torch.from_numpy(counts).float())
    np.testing.assert_allclose(found.numpy(), slow_ppmi(counts), rtol=1e-4, atol=1e-5)


def test_words_that_share_their_neighbours_alone_have_the_same_vector():
    """0 and 1 stand between 2 and 3 alike; 4 stands elsewhere."""
    documents = [np.array(ids) for ids in ([2, 0, 3], [2, 1, 3], [5, 4, 6], [6, 5, 4])] * 3
    places, vectors = ppmi.word_vectors(documents, 7, 3)
    assert places.tolist() == list(range(7))
    cosine = vectors @ vectors.T
    assert cosine[0, 1] == pytest.approx(1, abs=1e-5) and cosine[0, 4].abs() < 1e-5


def test_factors_are_those_of_a_dense_decomposition():
    """Equal up to a rotation: the product with the transpose has none."""
    matrix = slow_ppmi(slow_counts(text(), 5))
    left, values, _ = np.linalg.svd(matrix)
    for size in (1, 4, 12, V - 2):
        expected = (left[:, :size] * values[:size]) @ left[:, :size].T
        found = ppmi.factorised(torch.from_numpy(matrix).float(), size, seed=3)
        np.testing.assert_allclose((found @ found.T).numpy(), expected, atol=2e-3)


def test_a_larger_matrix_needs_more_than_its_basis():
    """Where the range finder leaves columns out, the largest singular values come out all the same."""
    torch.manual_seed(0)
    basis = torch.linalg.qr(torch.randn(300, 300)).Q
    matrix = (basis * (0.97 ** torch.arange(300))) @ basis.T
    found = ppmi.factorised(matrix, 20, seed=0)
    np.testing.assert_allclose(found.square().sum(0), 0.97 ** torch.arange(20), rtol=1e-3)
    expected = (basis[:, :20] * 0.97 ** torch.arange(20)) @ basis[:, :20].T
    np.testing.assert_allclose(found @ found.T, expected, atol=0.03)


def test_they_are_a_function_of_text_and_seed():
    one, two = (ppmi.word_vectors(text(), V, 8, seed=5) for _ in range(2))
    assert all(map(torch.equal, one, two))
    places, vectors = one
    occurring = Counter(np.concatenate([ids for ids in text() if len(ids) > 1]).tolist())
    assert places.tolist() == sorted(occurring)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(len(places)))
    _, other = ppmi.word_vectors(text(), V, 8, seed=6)
    torch.testing.assert_close(other @ other.T, vectors @ vectors.T, rtol=0, atol=1e-3)  # the seed is of the algorithm


def test_more_numbers_than_words():
    places, vectors = ppmi.word_vectors(text(), V, 64)
    assert vectors.shape == (len(places), 64) and torch.equal(vectors[:, V:], torch.zeros(len(places), 64 - V))


MEASURE = """
import sys, numpy as np, torch
from textcls.pretrained import ppmi
from textcls.runtime.memory import peak_memory, reset_peak, resident_memory
torch.set_num_threads(1)
size = int(sys.argv[1])
documents = [np.random.default_rng(i).integers(0, size, 5000) for i in range(300)]
ppmi.word_vectors([ids % 100 for ids in documents[:2]], 100, 16)  # libraries
reset_peak(); before = resident_memory()
ppmi.word_vectors(documents, size, 64)
print(peak_memory(torch.device("cpu"))["rss"] - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak of the process begins anew on Linux alone")
@pytest.mark.parametrize("size", [2000, 6000])
def test_memory_is_as_said(size):
    grown = int(subprocess.run([sys.executable, "-c", MEASURE, str(size)], capture_output=True, check=True).stdout)
    assert 0.6 * ppmi.memory(size, 64) <= grown <= 1.1 * ppmi.memory(size, 64)
