"""How what combines the members of an ensemble is fitted: a weight for each of them, or a small network over them.

Dimensions: N documents, M members, C classes.
"""

import copy
import time
from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional as F

from textcls.models.ensemble import LearnedEnsemble, WeightedEnsemble
from textcls.runtime.errors import InputError

RIDGE = 1e-3  # of the weights
EPOCHS, PATIENCE, INNER_SHARE = 1500, 100, 0.2  # of the network
LR, WEIGHT_DECAY, PERMUTED = 3e-3, 0.1, 0.9  # by cross-validation on the dev documents of 20newsgroups and pydocs


def fit_weights(
    model: WeightedEnsemble, probabilities: torch.Tensor, labels: torch.Tensor, loss_fn: Callable = F.cross_entropy
) -> None:
    """The weights with the lowest loss on all dev documents, by L-BFGS. So few of them cannot overfit, but where the dev
    documents are separable they would grow without end: hence a little L2."""
    if not probabilities.isfinite().all():
        raise InputError("a member's probabilities are not finite numbers; there is nothing to weigh")
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = loss_fn(model(probabilities), labels) + RIDGE * model.weights.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)


def fit_network(
    model: LearnedEnsemble,
    probabilities: torch.Tensor,
    labels: torch.Tensor,
    seed: int,
    epochs: int = EPOCHS,
    loss_fn: Callable = F.cross_entropy,
) -> tuple[int, float]:
    """Full-batch AdamW; the epoch with the lowest loss on an inner fifth wins. Returns (epochs, seconds).

    Few dev documents show a rare class, and the network would never learn to name it. What there is to learn, mostly,
    is which member to believe when, and that does not depend on how the classes are numbered: see `permute_classes`.
    """
    inner, outer = map(torch.from_numpy, inner_split(len(labels), seed))
    if not len(outer):
        raise InputError(f"{len(labels)} dev document(s) are too few to fit an ensemble on")
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=WEIGHT_DECAY)
    best, best_epoch, best_state, start = float("inf"), 0, copy.deepcopy(model.state_dict()), time.perf_counter()
    for epoch in range(1, epochs + 1):
        model.train()
        optimizer.zero_grad(set_to_none=True)
        inputs, targets = permute_classes(probabilities[outer], labels[outer], model.num_labels, PERMUTED)
        loss_fn(model(inputs), targets).backward()
        optimizer.step()
        model.eval()
        with torch.no_grad():
            loss = loss_fn(model(probabilities[inner]), labels[inner]).item()
        if loss < best:
            best, best_epoch, best_state = loss, epoch, copy.deepcopy(model.state_dict())
        if epoch - best_epoch >= PATIENCE:
            break
    model.load_state_dict(best_state)
    return epoch, time.perf_counter() - start


def inner_split(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(the inner fifth, the others) of so many documents."""
    order = np.random.default_rng(seed).permutation(count)
    held = max(1, round(INNER_SHARE * count))
    return order[:held], order[held:]


def permute_classes(probabilities: torch.Tensor, labels: torch.Tensor, num_labels: int, share: float):
    """Renumber the classes of about `share` of the documents, each at random and alike in all members and the label.

    (probabilities (N, M * C), labels (N,), or of several a document (N, C)) -> the same two, renumbered.
    """
    members = probabilities.view(len(labels), -1, num_labels)  # (N, M, C)
    order = torch.rand(len(labels), num_labels).argsort(1)  # (N, C): the old class at each new place
    order[torch.rand(len(labels)) >= share] = torch.arange(num_labels)
    permuted = members.gather(2, order[:, None, :].expand_as(members))
    renumbered = labels.gather(1, order) if labels.dim() == 2 else (order == labels[:, None]).int().argmax(1)
    return permuted.flatten(1), renumbered
