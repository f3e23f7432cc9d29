"""(model, batches) -> predictions and metrics. The training loop and evaluate.py call the same functions."""

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional as F

from textcls import entities, parallel
from textcls.batch import Batches, Streams, TagBatches
from textcls.device import Precision
from textcls.losses import document_logits
from textcls.metrics import Scores
from textcls.pairs import PairBatches
from textcls.progress import through

CPU_TOKENS = 2048  # in a batch: what is between two layers then stays in the cache (1.4 times as fast as 8192)
DECODED = 256  # sentences that are decoded together


@torch.no_grad()
def collect_logits(
    model, batches: Batches, device: torch.device, precision: Precision, quiet: bool = True
) -> np.ndarray:
    """Logits of all N documents in their order, float32 (N, C). The model must be in eval mode."""
    assert not model.training
    parts, order = [], parallel.share(batches.sorted_order(CPU_TOKENS if device.type == "cpu" else None))
    for rows in through("evaluating", quiet)(order):
        batch = batches.collate(rows).to(device)
        with precision.autocast(device):
            parts.append(document_logits(model, batch).float())
    found = parallel.gather((np.concatenate([*order, []]), torch.cat(parts).cpu().numpy() if parts else None))
    rows = np.concatenate([numbers for numbers, _ in found]).astype(np.int64)
    logits = np.concatenate([part for _, part in found if part is not None])
    restored = np.empty_like(logits)
    restored[rows] = logits
    return restored


def classification(
    batches: Batches, device: torch.device, precision: Precision, labels: Sequence[str] = (), quiet: bool = True
):
    """evaluate(model) -> {accuracy, macro_f1, nll} on these batches."""

    def evaluate(model) -> dict[str, float]:
        scores = Scores(collect_logits(model, batches, device, precision, quiet), batches.labels)
        return {"accuracy": scores.accuracy(), "macro_f1": scores.macro_f1(), "nll": scores.nll()}

    return evaluate


@torch.no_grad()
def predict_tags(
    model, batches: TagBatches, device: torch.device, precision: Precision, quiet: bool = True
) -> list[np.ndarray]:
    """The tags of every word of N sentences in their order, (words,) each. The rows of a long sentence are joined
    before the CRF, where there is one, decodes it."""
    assert not model.training
    order = batches.sorted_order(CPU_TOKENS if device.type == "cpu" else None)
    mine: dict[int, torch.Tensor] = {}
    for chosen in through("evaluating", quiet)(parallel.share(order)):
        batch = batches.collate(chosen).to(device)
        with precision.autocast(device):
            scores = model(**batch.inputs()).float().cpu()
        for row, score, count in zip(chosen, scores, batches.starts.lengths[chosen], strict=True):
            mine[row] = score[:count]  # (words, C)
    every = {row: score for part in parallel.gather(mine) for row, score in part.items()}
    rows = [every[row] for row in range(len(batches.labels))]
    first = np.searchsorted(batches.sentences, np.arange(batches.sentences[-1] + 2))
    joined = [torch.cat(rows[start:end]) for start, end in zip(first[:-1], first[1:], strict=True)]
    if model.crf is None:
        return [scores.argmax(1).numpy() for scores in joined]
    return decode(model.crf, joined, device)


def decode(crf, scores: list[torch.Tensor], device: torch.device) -> list[np.ndarray]:
    """Viterbi over sentences of like length: (words, C) each -> (words,) each."""
    order = sorted(range(len(scores)), key=lambda i: len(scores[i]))
    tags: list[np.ndarray] = [np.empty(0)] * len(scores)
    for start in range(0, len(order), DECODED):
        chosen = order[start : start + DECODED]
        lengths = torch.tensor([len(scores[i]) for i in chosen], device=device)
        padded = torch.nn.utils.rnn.pad_sequence([scores[i] for i in chosen], batch_first=True).to(device)
        for i, row, length in zip(chosen, crf.decode(padded, lengths).cpu().numpy(), lengths.tolist(), strict=True):
            tags[i] = row[:length]
    return tags


def tagging(batches: TagBatches, device: torch.device, precision: Precision, labels: Sequence[str], quiet: bool = True):
    """evaluate(model) -> {f1 (conlleval), strict_f1, accuracy of words} on these sentences."""
    true = [np.concatenate(part) for part in by_sentence(batches)]
    true_names = [[labels[tag] for tag in tags] for tags in true]

    def evaluate(model) -> dict[str, float]:
        predicted = predict_tags(model, batches, device, precision, quiet)
        names = [[labels[tag] for tag in tags] for tags in predicted]
        return {
            "f1": entities.count(names, true_names).overall()[2],
            "strict_f1": entities.count(names, true_names, strict=True).overall()[2],
            "accuracy": float(np.mean(np.concatenate(predicted) == np.concatenate(true))),
        }

    return evaluate


def by_sentence(batches: TagBatches) -> list[list[np.ndarray]]:
    sentences: list[list[np.ndarray]] = [[] for _ in range(batches.sentences[-1] + 1)]
    for row, number in enumerate(batches.sentences):
        sentences[number].append(batches.tags[row])
    return sentences


@torch.no_grad()
def word_losses(model, batches: Streams, device: torch.device, precision: Precision, quiet: bool = True) -> float:
    """The summed negative log-likelihood, in nats, of every word of the stream but its first."""
    assert not model.training and batches.batch_size == 1, "streams side by side would each begin without a past"
    with parallel.alone() as first:  # what is carried from window to window cannot be shared out
        total = stream_losses(model, batches, device, precision, quiet) if first else 0.0
    return parallel.from_first(total)


def stream_losses(model, batches: Streams, device: torch.device, precision: Precision, quiet: bool) -> float:
    total, carry = 0.0, None
    for rows in through("evaluating", quiet)(batches.sorted_order()):
        batch = batches.collate(rows).to(device)
        with precision.autocast(device):
            logits, carry = model(batch.ids, carry)
        total += F.cross_entropy(logits.flatten(0, 1).double(), batch.labels.flatten(), reduction="sum").item()
    return total


def language(
    batches: Streams, device: torch.device, precision: Precision, labels: Sequence[str] = (), quiet: bool = True
):
    """evaluate(model) -> {perplexity, nll a word} on this text, the same whatever the window."""

    def evaluate(model) -> dict[str, float]:
        nll = word_losses(model, batches, device, precision, quiet) / batches.inputs.numel()
        return {"perplexity": float(np.exp(nll)), "nll": nll}

    return evaluate


@torch.no_grad()
def pair_scores(model, batches: PairBatches, device: torch.device, precision: Precision, quiet: bool = True) -> dict:
    """{mlm_nll, mlm_accuracy of the masked tokens, nsp_nll, nsp_accuracy of the pairs where the model has the head,
    nll: the losses' sum}, in nats, with the masks of epoch 0."""
    assert not model.training
    sums: dict[str, list[torch.Tensor]] = {}
    for rows in through("evaluating", quiet)(parallel.share(batches.order(0))):
        batch = batches.collate(rows).to(device)
        with precision.autocast(device):
            found = dict(zip(("mlm", "nsp"), model(**batch.inputs()), strict=True))
        for name, targets in (("mlm", batch.targets), ("nsp", batch.labels)):
            if (logits := found[name]) is not None:
                nll = F.cross_entropy(logits.float(), targets, reduction="sum").double()
                right = (logits.argmax(1) == targets).sum()
                sums.setdefault(name, []).append(torch.stack([nll, right, torch.tensor(len(targets)).to(nll)]))
    result = {}
    heads = ("mlm", "nsp") if batches.next_sentence else ("mlm",)
    for name in heads:
        own = torch.stack(sums[name]).sum(0).tolist() if name in sums else [0.0, 0.0, 0.0]
        nll, right, count = parallel.add(dict(zip(range(3), own, strict=True))).values()
        result |= {f"{name}_nll": nll / count, f"{name}_accuracy": right / count}
    return result | {"nll": sum(value for name, value in result.items() if name.endswith("_nll"))}


def pretraining(
    batches: PairBatches, device: torch.device, precision: Precision, labels: Sequence[str] = (), quiet: bool = True
):
    """evaluate(model) -> :func:`pair_scores` on these examples."""
    return lambda model: pair_scores(model, batches, device, precision, quiet)
