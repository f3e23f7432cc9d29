"""Results as text: numbers with intervals, and tables with aligned columns."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from textcls import ledger
from textcls.meter import Measured
from textcls.metrics import Interval, Scores

TITLES = {"accuracy": "accuracy", "macro_f1": "macro-F1", "nll": "NLL", "ece": "ECE"}


def interval(value: Interval) -> str:
    return f"{value.value:.4f} [{value.low:.4f}, {value.high:.4f}]"


def table(rows: Sequence[Sequence[str]], right: bool = True) -> str:
    """Rows of cells with aligned columns, the first to the left; the first row is the head."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for number, row in enumerate(rows):
        cells = [row[0].ljust(widths[0])]
        cells += [
            cell.rjust(width) if right else cell.ljust(width) for cell, width in zip(row[1:], widths[1:], strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
        if number == 0:
            lines.append("  ".join("-" * width for width in widths))
    return "\n".join(lines)


def per_class(scores: Scores, labels: Sequence[str]) -> str:
    parts = scores.per_class()
    rows = [["class", "precision", "recall", "F1", "documents"]]
    for i, label in enumerate(labels):
        rows.append(
            [label, *(f"{parts[name][i]:.3f}" for name in ("precision", "recall", "f1")), str(int(parts["support"][i]))]
        )
    return table(rows)


def confusions(scores: Scores, labels: Sequence[str], most: int = 10) -> str:
    rows = [["true", "predicted", "documents"]]
    rows += [[labels[true], labels[predicted], str(count)] for true, predicted, count in scores.confused(most)]
    return table(rows, right=False) if len(rows) > 1 else "no confusions"


def summary(results: dict[str, Interval], correct: np.ndarray, empty: np.ndarray) -> list[str]:
    """A line a metric, with accuracy on the non-empty documents where some are empty."""
    lines = [f"{TITLES[name]:<10} {interval(value)}" for name, value in results.items()]
    if empty.any():
        lines.insert(
            1,
            f"{'non-empty':<10} {correct[~empty].mean():.4f} ({int(empty.sum())} of {len(empty)} documents are empty)",
        )
    return lines


# ---- the ledger -----------------------------------------------------------------------------------------------------


def mib(size: float) -> str:
    return f"{size / 2**20:,.1f}"


def memory_rows(plan: ledger.Plan) -> dict[str, int]:
    """{what: bytes}, in the order of a step."""
    rows = {
        "parameters, trainable": plan.trainable,
        "parameters, frozen": plan.frozen,
        "gradients": plan.gradients,
        "optimiser state (AdamW)": plan.optimizer,
        "16-bit copies of weights": plan.copies,
    }
    rows |= {f"activations, {part}": size for part, size in plan.activations().items()}
    return {what: size for what, size in rows.items() if size}


def plan_table(plan: ledger.Plan) -> str:
    step = plan.step
    size, moment = plan.peak()
    rows = [["memory", "MiB"], *([what, mib(size)] for what, size in memory_rows(plan).items())]
    rows += [["largest temporary", mib(plan.temporary)], ["peak", mib(size)]]
    if step.device == "cpu":
        rows.append(["growth of the resident set, at least", mib(plan.footprint())])
    passes = ", recomputing included" if step.checkpoint else ""
    return (
        f"{table(rows)}\n\nthe peak falls at: {moment}\narithmetic: {plan.flop_per_document() / 1e9:.2f} GFLOP a "
        f"document of {step.tokens} tokens, {plan.flop() / 1e12:.3f} TFLOP an optimiser step of "
        f"{step.batch * step.accumulate} documents{passes}"
    )


def micro_batch_table(model: ledger.Model, step: ledger.Step, memory: int, longest: int) -> str:
    """The largest micro-batch that fits, and the accumulation that keeps the documents of a step."""
    documents = step.batch * step.accumulate
    rows = [["tokens", "largest micro-batch", f"for {documents} documents a step", "MiB then"]]
    for tokens in (128, 256, 512):
        if tokens > longest:
            continue
        step = dataclasses.replace(step, tokens=tokens, accumulate=2)  # gradients stay between micro-batches
        largest = ledger.largest_micro_batch(model, step, memory)
        if largest == 0:
            rows.append([str(tokens), "none", "", ""])
            continue
        batch, accumulate = ledger.accumulation(documents, largest)
        chosen = ledger.plan(model, dataclasses.replace(step, batch=batch, accumulate=accumulate))
        rows.append(
            [str(tokens), f"{largest:,}", f"--batch-size {batch} --accumulate {accumulate}", mib(chosen.footprint())]
        )
    return table(rows)


def measured_table(plan: ledger.Plan, measured: Measured, growth: int) -> str:
    """Predicted beside measured, in MiB, and the time of a step."""
    found = {
        "parameters, trainable": measured.trainable,
        "parameters, frozen": measured.frozen,
        "gradients": measured.gradients,
        "optimiser state (AdamW)": measured.optimizer,
        "16-bit copies of weights": measured.copies,
    } | {f"activations, {part}": size for part, size in measured.activations.items()}
    rows = [[f"memory in MiB, {measured.batch} x {measured.tokens} tokens", "predicted", "measured"]]
    rows += [[what, mib(size), mib(found.get(what, 0))] for what, size in memory_rows(plan).items()]
    if plan.step.device == "cuda":
        rows.append(["peak, allocated", mib(plan.footprint()), mib(measured.peak["cuda_allocated"])])
        rows.append(["peak, kept by the allocator", "", mib(measured.peak["cuda_reserved"])])
    else:
        rows.append(["growth of the resident set, at least", mib(plan.footprint()), mib(growth) if growth else "?"])
    times = ", ".join(f"{name} {seconds:.3f} s" for name, seconds in measured.seconds.items())
    rate = plan.flop() / plan.step.accumulate / sum(measured.seconds.values())
    return f"{table(rows)}\none micro-batch: {times}; {rate / 1e9:,.0f} GFLOP/s"


def ways_out(model: ledger.Model, step: ledger.Step) -> str:
    """What to change when memory runs out, with the footprint that each change is predicted to have."""

    def size(**changes) -> str:
        plan = ledger.plan(model, dataclasses.replace(step, **changes))
        return f"{plan.footprint() / 2**20:,.0f} MiB"

    lines = [f"predicted for {step.batch} x {step.tokens} tokens: {size()}. With"]
    batch, accumulate = max(1, step.batch // 2), step.accumulate * (2 if step.batch > 1 else 1)
    lines.append(f"--batch-size {batch} --accumulate {accumulate}: {size(batch=batch, accumulate=accumulate)}")
    lines.append(f"--max-length {max(8, step.tokens // 2)}: {size(tokens=max(8, step.tokens // 2))}")
    if not step.checkpoint and any(block.part == "attention" for block in model(step)):
        lines.append(f"--checkpoint-activations: {size(checkpoint=True)}")
    return "\n  ".join(lines)
