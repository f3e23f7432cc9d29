"""(model, batches) -> logits and metrics. The training loop and evaluate.py call the same function."""

import numpy as np
import torch

from textcls.batch import Batches
from textcls.device import Precision
from textcls.metrics import Scores
from textcls.progress import through

CPU_TOKENS = 2048  # in a batch: what is between two layers then stays in the cache (1.4 times as fast as 8192)


@torch.no_grad()
def collect_logits(
    model, batches: Batches, device: torch.device, precision: Precision, quiet: bool = True
) -> np.ndarray:
    """Logits of all N documents in their order, float32 (N, C). The model must be in eval mode."""
    assert not model.training
    parts, order = [], batches.sorted_order(CPU_TOKENS if device.type == "cpu" else None)
    for rows in through("evaluating", quiet)(order):
        batch = batches.collate(rows).to(device)
        with precision.autocast(device):
            parts.append(model(batch.ids, batch.mask, batch.segments).float())
    logits = torch.cat(parts).cpu().numpy()
    restored = np.empty_like(logits)
    restored[np.concatenate(order)] = logits
    return restored


def classification(batches: Batches, device: torch.device, precision: Precision, quiet: bool = True):
    """evaluate(model) -> {accuracy, macro_f1, nll} on these batches."""

    def evaluate(model) -> dict[str, float]:
        scores = Scores(collect_logits(model, batches, device, precision, quiet), batches.labels)
        return {"accuracy": scores.accuracy(), "macro_f1": scores.macro_f1(), "nll": scores.nll()}

    return evaluate
