"""The reference that every network must beat: TF-IDF bag of words with a linear support vector machine.

Dimensions: N documents, V vocabulary, C classes.
"""

import re
import warnings
from collections import Counter
from collections.abc import Callable, Sequence

import torch

WORD = re.compile(r"\w\w+")


class TfIdf:
    """Words of two or more characters, lower-cased. A document's vector is (1 + ln count) * idf, L2-normalised, with
    idf = ln((1 + N) / (1 + documents with the word)) + 1 (Manning et al., 2008, ch. 6; smoothed as scikit-learn does).
    """

    def __init__(self, texts: Sequence[str], progress: Callable = iter):
        counts = [Counter(words(text)) for text in progress(texts)]
        documents = Counter(word for count in counts for word in count)
        self.vocabulary = {word: i for i, word in enumerate(sorted(documents))}
        frequency = torch.tensor([documents[word] for word in self.vocabulary], dtype=torch.float32)
        self.idf = torch.log((1 + len(texts)) / (1 + frequency)) + 1
        self.train = self._matrix(counts)

    def __call__(self, texts: Sequence[str]) -> torch.Tensor:
        return self._matrix([Counter(words(text)) for text in texts])

    def _matrix(self, counts: list[Counter]) -> torch.Tensor:
        """Sparse CSR (N, V + 1); the last column is 1 everywhere, for the bias."""
        rows, columns, values = [0], [], []
        bias = len(self.vocabulary)
        for count in counts:
            known = sorted((self.vocabulary[word], n) for word, n in count.items() if word in self.vocabulary)
            at = torch.tensor([column for column, _ in known], dtype=torch.int64)
            weight = (1 + torch.log(torch.tensor([n for _, n in known], dtype=torch.float32))) * self.idf[at]
            columns += [at, torch.tensor([bias])]
            values += [weight / weight.norm().clamp_min(1e-12), torch.ones(1)]
            rows.append(rows[-1] + len(known) + 1)
        if not counts:
            return torch.zeros(0, bias + 1).to_sparse_csr()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
            return torch.sparse_csr_tensor(
                torch.tensor(rows),
                torch.cat(columns),
                torch.cat(values),
                size=(len(counts), bias + 1),
                check_invariants=True,
            )


def words(text: str) -> list[str]:
    return WORD.findall(text.lower())


def fit_svm(x: torch.Tensor, labels: torch.Tensor, num_labels: int, c: float = 1.0, progress: Callable = iter):
    """One-against-rest linear SVMs with squared hinge loss: weights (V + 1, C).

    Minimises sum |w|^2 / 2 + c * sum max(0, 1 - y w.x)^2 by L-BFGS: LIBLINEAR's L2-loss SVM (Fan et al., 2008), bias
    regularised like every weight.
    """
    signs = -torch.ones(len(labels), num_labels)
    signs[torch.arange(len(labels)), labels] = 1.0
    transposed = x.to_sparse_coo().t().coalesce().to_sparse_csr()
    weights = torch.zeros(x.shape[1], num_labels, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=5, history_size=10, line_search_fn="strong_wolfe")

    @torch.no_grad()
    def closure():
        slack = (1 - signs * (x @ weights)).clamp_min(0)  # (N, C)
        weights.grad = weights - 2 * c * (transposed @ (signs * slack))
        return weights.square().sum() / 2 + c * slack.square().sum()

    for _ in progress(range(20)):
        optimizer.step(closure)
    return weights.detach()


def svm_scores(
    texts: Sequence[str], labels: torch.Tensor, num_labels: int, others: Sequence[str], progress: Callable = iter
) -> torch.Tensor:
    """Train on `texts`, score `others`: (M, C), the largest being the prediction."""
    features = TfIdf(texts, progress)
    return features(others) @ fit_svm(features.train, labels, num_labels, progress=progress)
