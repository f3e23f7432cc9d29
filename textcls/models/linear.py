"""The reference that every network must beat: a TF-IDF bag of words with one linear layer, fitted before the first
update: complement naive Bayes and logistic regression, in the shares that suit the dev documents best.

The two are complements. Naive Bayes learns quickly from few documents of many words, logistic regression what words
tell together (Ng and Jordan, 2002); the sum of their logits is again one linear layer, and better than either on most
texts. With a share of 0 for one of the two it is the other.

Dimensions: B batch, T words, N documents, V vocabulary, C classes.
"""

import math
from collections.abc import Callable, Iterable

import torch
from torch import nn
from torch.nn import functional as F

SMOOTHINGS = (0.1, 0.3, 1.0)  # of naive Bayes: what is added to every count; scikit-learn's alpha
STRENGTHS = (1.0, 0.3, 0.1, 0.03, 0.01)  # of L2, beside the loss summed over all documents; 1 / scikit-learn's C
ITERATIONS, LOOK = 40, 5  # of L-BFGS at one strength, at most; after so many it is seen whether they were worth it
HISTORY = 5  # updates from which L-BFGS estimates the curvature: each costs two passes over all weights an iteration
TOLERANCE = 3e-4  # of the mean loss over the documents

# (logits (N, C), labels (N,), or of several a document (N, C), or what each counts (N, C)) -> sum over the documents
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class LinearClassifier(nn.Module):
    """(ids (B, T) of all words of a text and of its pairs of words, in any order) -> logits (B, C).

    A document's vector is (1 + ln count) * idf, L2-normalised, with idf = ln((1 + N) / (1 + documents with the word))
    + 1 (Manning et al., 2008, ch. 6; smoothed as scikit-learn does), times what the word is worth. Ids below `special`
    ([PAD], unknown words) do not count.
    """

    def __init__(self, vocab_size: int, num_labels: int, special: int):
        super().__init__()
        self.special = special
        self.register_buffer("idf", torch.ones(vocab_size))
        self.weight = nn.Parameter(torch.zeros(vocab_size, num_labels))
        self.bias = nn.Parameter(torch.zeros(num_labels))

    def forward(self, ids: torch.Tensor, mask=None, segments=None) -> torch.Tensor:
        rows, words, values = self.bag(ids)
        if torch.jit.is_tracing():  # ONNX has neither searchsorted nor embedding_bag, which are quicker
            terms = values[:, None] * self.weight[words]
            total = terms.new_zeros(ids.shape[0], terms.shape[1])
            return total.scatter_add(0, rows[:, None].expand_as(terms), terms) + self.bias
        starts = torch.searchsorted(rows, torch.arange(len(ids), device=ids.device))
        return F.embedding_bag(words, self.weight, starts, mode="sum", per_sample_weights=values) + self.bias

    def bag(self, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(row, word, value) of every distinct word, sorted by row: (B, T) -> three (distinct words,)."""
        V = len(self.idf)
        keys = ids + V * torch.arange(ids.shape[0], device=ids.device)[:, None]
        keys, counts = torch.unique(keys[ids >= self.special], return_counts=True)
        rows, words = keys // V, keys % V
        values = (1 + counts.float().log()) * self.idf[words]
        squares = torch.zeros(ids.shape[0], device=ids.device).scatter_add_(0, rows, values.square())
        return rows, words, values * squares.clamp_min(1e-24).rsqrt()[rows]

    @torch.no_grad()
    def learn_idf(self, texts: Iterable[torch.Tensor], worth: torch.Tensor) -> None:
        """Of the words of the `texts`, batches of ids (B, T); `worth` (V,) is a factor for each word."""
        documents, N = torch.zeros_like(self.idf), 0
        for ids in texts:
            documents += torch.bincount(self.bag(ids)[1], minlength=len(documents))
            N += len(ids)
        self.idf.copy_(worth * (torch.log((1 + N) / (1 + documents)) + 1))

    @torch.no_grad()
    def bags(self, texts: Iterable[torch.Tensor]) -> "Bags":
        """The vectors of all `texts`, in their order."""
        rows, words, values, N = [], [], [], 0
        for ids in texts:
            row, word, value = self.bag(ids)
            rows.append(row + N)
            words.append(word)
            values.append(value)
            N += len(ids)
        return Bags(torch.cat(rows), torch.cat(words), torch.cat(values), N, len(self.idf))

    def fit(self, x: "Bags", labels: torch.Tensor, dev: "Bags", dev_labels: torch.Tensor, loss: Loss) -> str:
        """Fit naive Bayes and logistic regression to `x` at each smoothing and strength, and take the sum of the two
        that has the least loss on `dev`. What was taken, in words. idf is there already."""
        C = self.weight.shape[1]

        def dev_loss(smoothing: float) -> float:
            return mixture([dev @ naive_bayes(x, labels, C, smoothing)], dev_labels, loss)[1]

        smoothing, best = min(SMOOTHINGS, key=dev_loss), math.inf
        bayes = naive_bayes(x, labels, C, smoothing)
        weight, bias = torch.zeros_like(bayes), torch.zeros(C)
        for strength in STRENGTHS:  # the weaker ones from the stronger one's weights on
            logistic_regression(x, labels, weight, bias, strength, loss)
            shares, value = mixture([dev @ bayes, dev @ weight + bias], dev_labels, loss)
            if value > best:  # a still weaker penalty would fit the training texts more closely yet
                break
            best, chosen = value, (shares.tolist(), strength)
            self.take(bayes, weight, bias, *shares.float())
        return in_words(smoothing, *chosen)

    @torch.no_grad()
    def take(self, bayes: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, of_bayes, of_regression) -> None:
        """A sum of two linear layers is one linear layer."""
        self.weight.copy_(of_bayes * bayes + of_regression * weight)
        self.weight[: self.special] = 0.0
        self.bias.copy_(of_regression * bias)


class OneVersusRest(LinearClassifier):
    """The same for several labels a text: a logistic regression of each label against its absence, without naive
    Bayes."""

    def fit(self, x: "Bags", labels: torch.Tensor, dev: "Bags", dev_labels: torch.Tensor, loss: Loss) -> str:
        """Fit logistic regression to `x` and `labels` (N, C) at each strength, and take that which has the least loss
        on `dev`. What was taken, in words. idf is there already."""
        weight, bias, best = torch.zeros_like(self.weight), torch.zeros_like(self.bias), math.inf
        for strength in STRENGTHS:
            logistic_regression(x, labels, weight, bias, strength, loss)
            value = float(loss(dev @ weight + bias, dev_labels))
            if value > best:
                break
            best, chosen = value, strength
            self.take(torch.zeros_like(weight), weight, bias, 0.0, 1.0)
        return f"a logistic regression a label (L2 {chosen:g}), chosen on dev among strengths {in_row(STRENGTHS)} of L2"


def in_row(grid: tuple[float, ...]) -> str:
    return "/".join(f"{value:g}" for value in grid)


def in_words(smoothing: float, shares: list[float], strength: float) -> str:
    names = f"complement naive Bayes (smoothing {smoothing:g})", f"logistic regression (L2 {strength:g})"
    taken = [f"{share:.2f} x {name}" for share, name in zip(shares, names, strict=True) if share > 0]
    among = f"chosen on dev among smoothings {in_row(SMOOTHINGS)} and strengths {in_row(STRENGTHS)} of L2"
    return f"{' + '.join(taken) or 'every class alike'}, {among}"


# ---- sparse products ------------------------------------------------------------------------------------------------


class Bags:
    """A sparse matrix (N, V) of the documents' vectors, by rows and by columns: neither product scatters, so that both
    are quick and the same on every run. `bags @ weight (V, C)` has a gradient."""

    def __init__(self, rows: torch.Tensor, words: torch.Tensor, values: torch.Tensor, N: int, V: int):
        self.by_row = words, starts_of(rows, N), values
        order = torch.argsort(words, stable=True)
        self.by_word = rows[order], starts_of(words[order], V), values[order]

    def __len__(self) -> int:
        return len(self.by_row[1])

    def double(self) -> "Bags":
        other = object.__new__(Bags)
        other.by_row = *self.by_row[:2], self.by_row[2].double()
        other.by_word = *self.by_word[:2], self.by_word[2].double()
        return other

    def __matmul__(self, weight: torch.Tensor) -> torch.Tensor:
        return Product.apply(weight, self)

    def transposed(self, x: torch.Tensor) -> torch.Tensor:
        """bags.T @ x: (N, C) -> (V, C)."""
        return sums(x, self.by_word)


class Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx, weight, bags):
        ctx.bags = bags
        return sums(weight, bags.by_row)

    @staticmethod
    def backward(ctx, grad):
        return ctx.bags.transposed(grad), None


def starts_of(numbers: torch.Tensor, count: int) -> torch.Tensor:
    """Where each of 0 … `count` - 1 begins in the sorted `numbers`."""
    return torch.searchsorted(numbers, torch.arange(count))


def sums(table: torch.Tensor, compressed: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> torch.Tensor:
    places, starts, values = compressed
    return F.embedding_bag(places, table.contiguous(), starts, mode="sum", per_sample_weights=values)


# ---- estimators -----------------------------------------------------------------------------------------------------


def naive_bayes(x: Bags, labels: torch.Tensor, num_labels: int, smoothing: float) -> torch.Tensor:
    """Complement naive Bayes (Rennie et al., 2003): the weight of a word for a class is -log of its share in all other
    classes, centred over the classes: (V, C). `labels` (N,), or how much each document counts for each class (N, C)."""
    shares = labels if labels.dim() == 2 else F.one_hot(labels, num_labels)
    of_class = x.transposed(shares.to(x.by_row[2].dtype))  # (V, C)
    others = of_class.sum(1, keepdim=True) - of_class + smoothing
    weights = -torch.log(others / others[of_class.any(1)].sum(0))
    return weights - weights.mean(1, keepdim=True)


def logistic_regression(
    x: Bags, labels: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, strength: float, loss: Loss,
    iterations: int = ITERATIONS, tolerance: float = TOLERANCE,
) -> None:  # fmt: skip
    """Minimise loss + strength / 2 * |weight|^2 by L-BFGS (Liu and Nocedal, 1989), from `weight` (V, C) and `bias` (C)
    on and in place, until `LOOK` iterations lower its mean over the documents by less than `tolerance`. The bias is not
    penalised, as in scikit-learn's lbfgs."""
    weight.requires_grad_(True)
    bias.requires_grad_(True)
    # torch holds its own tolerance against lengths of steps and slopes too, which have other units: 0 turns it off.
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=LOOK, history_size=HISTORY, tolerance_grad=0.0, tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def closure():
        optimizer.zero_grad()
        value = loss(x @ weight + bias, labels) / len(x)
        value.backward()
        flat = weight.detach().view(-1)  # by hand, for autograd would fill four more tensors of this size
        weight.grad.add_(weight.detach(), alpha=strength / len(x))
        return value.detach() + 0.5 * strength / len(x) * flat.dot(flat)

    before = math.inf
    for _ in range(0, iterations, LOOK):
        value = float(optimizer.step(closure))  # what it was before the step
        if before - value < tolerance:
            break
        before = value
    weight.requires_grad_(False)
    bias.requires_grad_(False)


# ---- choice on the dev documents ------------------------------------------------------------------------------------


def mixture(scores: list[torch.Tensor], labels: torch.Tensor, loss: Loss) -> tuple[torch.Tensor, float]:
    """(shares (n,), mean loss) of the best sum of n `scores` (N, C), each times a share of 0 or more: with one score,
    temperature scaling (Guo et al., 2017). It counts as much as one document that every document would also have its
    other labels, without which the shares of scores that make no error would grow for ever."""
    stacked = torch.stack(scores).double()  # (n, N, C)
    shares = torch.full((len(scores),), 1.0 / len(scores), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([shares], max_iter=100, line_search_fn="strong_wolfe")

    def mean(shares):
        logits = torch.einsum("n,nbc->bc", shares, stacked)
        return (loss(logits, labels) - logits.log_softmax(1).mean()) / len(labels)

    def closure():
        optimizer.zero_grad()
        value = mean(shares)
        value.backward()
        return value.detach()

    optimizer.step(closure)
    best = shares.detach()
    if (best >= 0).all():
        return best, float(mean(best))
    if len(scores) == 1:
        return torch.zeros_like(best), float(mean(torch.zeros_like(best)))
    # The problem is convex: its best point without a negative share is on an edge.
    return min((alone(scores, place, labels, loss) for place in range(len(scores))), key=lambda found: found[1])


def alone(scores: list[torch.Tensor], place: int, labels: torch.Tensor, loss: Loss) -> tuple[torch.Tensor, float]:
    """:func:`mixture` of one of the scores, and nothing of the others."""
    shares = torch.zeros(len(scores), dtype=torch.float64)
    shares[place : place + 1], value = mixture([scores[place]], labels, loss)
    return shares, value
