"""Word vectors from counts: positive pointwise mutual information, factorised (Levy and Goldberg, 2014; Levy, Goldberg
and Dagan, 2015, "Improving distributional similarity with lessons learned from word embeddings", TACL 3).

    PPMI(w, c) = max(0, log(#(w, c) · N / (#(w) · #(c))))        vectors = U · √S, rows of length 1

where #(w, c) counts how often c stands within WINDOW pieces of w in a document, a neighbour at distance d as
WINDOW + 1 − d (as word2vec does on average), #(w) and N are its sums, and U S Vᵀ is the singular value decomposition, cut
after H values. The paper's context distribution smoothing and shift are left out. Everything is a function of the text
and the seed.

Dimensions: V vocabulary, H size of a vector, T pieces, K basis of the range finder.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import torch

WINDOW = 5
CHUNK = 2**20  # pieces that are counted together
ROWS = 256  # rows of the matrix that are worked on together
OVERSAMPLING, ITERATIONS = 32, 4  # of the range finder


def word_vectors(
    documents: Iterable[np.ndarray], vocab_size: int, size: int, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """(ids of the pieces that have neighbours (n,), their vectors (n, H) float32 of length 1) of `documents`, arrays of
    ids, which are gone through once. Takes :func:`memory` bytes."""
    matrix = ppmi_(cooccurrences(documents, vocab_size))
    places = matrix.sum(1).nonzero()[:, 0]
    vectors = factorised(matrix, size, seed)[places]
    return places, vectors / vectors.norm(dim=1, keepdim=True).clamp_min(1e-12)


def memory(vocab_size: int, size: int) -> int:
    """Bytes that :func:`word_vectors` takes at most: the matrix of counts in float32, the pairs of a chunk, and the
    narrow matrices of the factorisation."""
    basis = min(size + OVERSAMPLING, vocab_size)
    return 4 * vocab_size**2 + max(64 * CHUNK, 6 * 4 * vocab_size * basis)


def cooccurrences(documents: Iterable[np.ndarray], vocab_size: int, window: int = WINDOW) -> torch.Tensor:
    """(V, V) float32, symmetric: how often two pieces stand within `window` of each other, nearer ones counted more
    often. The counts are whole numbers, and exact up to 2²⁴."""
    counts = torch.zeros(vocab_size**2)
    for ids, document in chunks(documents):
        for distance in range(1, window + 1):
            together = document[:-distance] == document[distance:]
            cells = (ids[:-distance] * vocab_size + ids[distance:])[together]
            counts.index_add_(0, torch.from_numpy(cells), torch.tensor(window + 1.0 - distance).expand(len(cells)))
    counts = counts.view(vocab_size, vocab_size)
    for start in range(0, vocab_size, ROWS):  # add the transpose where the matrix stands, a strip at a time
        own = slice(start, start + ROWS)
        both = counts[own, start:] + counts[start:, own].T
        counts[own, start:], counts[start:, own] = both, both.T
    return counts


def chunks(documents: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(ids (T,) int64, number of the document of each), of whole documents: CHUNK pieces together, or a longer one."""
    waiting, count = [], 0
    for ids in documents:
        if waiting and count + len(ids) > CHUNK:
            yield joined(waiting)
            waiting, count = [], 0
        waiting.append(ids.astype(np.int64))
        count += len(ids)
    if waiting:
        yield joined(waiting)


def joined(documents: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate(documents), np.repeat(np.arange(len(documents)), [len(ids) for ids in documents])


def ppmi_(counts: torch.Tensor) -> torch.Tensor:
    """The PPMI of a symmetric matrix of counts (V, V), in its place; 0 for a piece that never occurs."""
    sums = counts.sum(1)
    own, total = sums.clamp_min(1).log(), sums.double().sum().log().item()
    counts.log_().add_(total).sub_(own[:, None]).sub_(own).clamp_min_(0)
    return counts


def factorised(matrix: torch.Tensor, size: int, seed: int) -> torch.Tensor:
    """U √S (V, H) of a symmetric matrix's largest `size` singular values, by a randomised range finder with subspace
    iteration (Halko, Martinsson and Tropp, 2011, algorithms 4.4 and 5.1). The largest number of a column is positive.
    Where the matrix has fewer than `size` columns, the others are 0."""
    drawn = torch.randn(len(matrix), size + OVERSAMPLING, generator=torch.Generator().manual_seed(seed))
    basis = drawn[:, : len(matrix)]  # (V, K)
    for _ in range(ITERATIONS + 1):
        basis = torch.linalg.qr(matrix @ basis).Q
    left, values, _ = torch.linalg.svd(matrix @ basis, full_matrices=False)  # whose U and S are those of the matrix
    left, values = left[:, :size], values[:size]
    largest = left.gather(0, left.abs().argmax(0, keepdim=True))  # (1, H)
    result = torch.zeros(len(matrix), size)
    result[:, : len(values)] = left * largest.sign() * values.sqrt()
    return result
