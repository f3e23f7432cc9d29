"""Results as text: numbers with intervals, and tables with aligned columns."""

import dataclasses
from collections.abc import Sequence

from textcls import ledger
from textcls.cluster import NETWORK, PEAKS, USED, Cluster
from textcls.meter import Measured
from textcls.metrics import Interval
from textcls.models.bert import BertConfig
from textcls.models.recurrent import WordShape

TITLES = {
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
    "nll": "NLL",
    "ece": "ECE",
    "f1": "F1 (conlleval)",
    "strict_f1": "F1 (strict)",
    "precision": "precision",
    "recall": "recall",
    "perplexity": "perplexity",
    "mlm_nll": "masked NLL",
    "mlm_accuracy": "masked accuracy",
    "nsp_nll": "pair NLL",
    "nsp_accuracy": "pair accuracy",
}


def number(value: float) -> str:
    """Four decimals for shares and losses; two where there are many before the point, as in a perplexity."""
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.2f}"


def interval(value: Interval) -> str:
    if value.low is None:
        return number(value.value)
    return f"{number(value.value)} [{number(value.low)}, {number(value.high)}]"


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


def headline(result: dict) -> list[str]:
    """A line a metric, with accuracy on the non-empty documents where some are empty."""
    lines = [f"{TITLES[name]:<15} {interval(Interval(**value))}" for name, value in result["metrics"].items()]
    if result.get("empty"):
        share, empty, count = result["accuracy_non_empty"], result["empty"], result["documents"]
        lines.insert(1, f"{'non-empty':<15} {share:.4f} ({empty} of {count} documents are empty)")
    return lines


def details(result: dict) -> list[str]:
    """What else there is to say of a run: classes and confusions, or types of entities."""
    parts = []
    if "per_class" in result:
        parts += [per_class(result["per_class"]), confusions(result["confused"])]
    for sense, types in result.get("per_type", {}).items():
        parts.append(per_type(sense, types))
    return parts


def per_class(classes: dict[str, dict]) -> str:
    rows = [["class", "precision", "recall", "F1", "documents"]]
    for label, values in classes.items():
        shares = (f"{values[name]:.3f}" for name in ("precision", "recall", "f1"))
        rows.append([label, *shares, str(int(values["support"]))])
    return table(rows)


def per_type(sense: str, types: dict[str, tuple]) -> str:
    rows = [[f"type ({sense})", "precision", "recall", "F1", "entities"]]
    rows += [[name, *(f"{value:.3f}" for value in values[:3]), str(values[3])] for name, values in types.items()]
    return table(rows)


def confusions(confused: Sequence[tuple[str, str, int]]) -> str:
    rows = [["true", "predicted", "documents"]] + [[true, guess, str(count)] for true, guess, count in confused]
    return table(rows, right=False) if len(rows) > 1 else "no confusions"


def side_by_side(results: Sequence[dict]) -> str:
    """Properties and results in the form people put in a report: one column a run."""
    names = list(dict.fromkeys(name for result in results for name in result["properties"]))
    rows = [["", *(result["run"] for result in results)]]
    rows += [[name, *(str(result["properties"].get(name, "")) for result in results)] for name in names]
    for name in results[0]["metrics"]:
        values = [Interval(**result["metrics"][name]) for result in results]
        rows.append([f"test {TITLES[name]}", *(number(value.value) for value in values)])
        if values[0].low is not None:
            rows.append(["  95 % interval", *(f"{number(v.low)} to {number(v.high)}" for v in values)])
    rows.append([f"test {unit(results[0])}/s", *(f"{r['documents_per_s']:.0f} on {r['device']}" for r in results)])
    lines = [f"test data: {name}" for name in dict.fromkeys(result["data"] for result in results)]
    if len(lines) > 1:
        rows.append(["test data", *(result["data"] for result in results)])
    return "\n".join(lines) + f"\n\n{table(rows, right=False)}"


def unit(result: dict) -> str:
    return {"classification": "documents", "tagging": "sentences", "lm": "words", "pretrain": "documents"}[
        result["task"]
    ]


# ---- comparisons ----------------------------------------------------------------------------------------------------


def sentence(first: str, second: str, difference: Interval, p: float, what: str) -> str:
    """In words how much better or worse `first` is than `second`; the difference and its interval are shares."""
    better = difference.value >= 0
    size = abs(100 * difference.value)
    low, high = sorted((100 * difference.low, 100 * difference.high) if better else
                       (-100 * difference.high, -100 * difference.low))  # fmt: skip
    settled = p < 0.05 and not difference.low <= 0 <= difference.high
    open_end = "" if settled else "; this test split does not settle it"
    return (
        f"{first} is {size:.1f} points {'better' if better else 'worse'} than {second} in {what} "
        f"(95 % interval {low:.1f} to {high:.1f}, p = {p:.2g}){open_end}"
    )


# ---- the ledger -----------------------------------------------------------------------------------------------------


def shape(shape: BertConfig | WordShape, name: str) -> str:
    if isinstance(shape, BertConfig):
        return f"{name}: {shape.num_hidden_layers} layers, hidden {shape.hidden_size}"
    vectors = f" in vectors of {shape.hidden_size}" if shape.hidden_size else ""
    return f"at most {shape.vocab_size:,} words{vectors}"


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


def cluster_tables(plan: ledger.Plan, cluster: Cluster) -> str:
    """Memory, exchange and arithmetic a GPU, and how long the updates take."""
    step, size = plan.step, plan.peak()[0]
    documents = cluster.processes * step.batch * step.accumulate
    rows = [
        [f"{cluster.nodes} x {cluster.gpus} GPUs, {documents:,} documents a step", "a GPU"],
        ["documents a step", f"{step.batch * step.accumulate:,}"],
        ["memory at the peak, MiB", mib(size)],
        ["gradients sent, and received, a step, MiB", mib(cluster.exchanged(plan))],
        ["arithmetic a step, TFLOP", f"{plan.flop() / 1e12:,.2f}"],
    ]
    if cluster.nodes > 1:
        rows.append([f"exchange at {NETWORK / 1e9:.0f} Gbit/s a machine, s", f"{cluster.network_seconds(plan):.3f}"])
    times = [[f"{cluster.updates:,} updates", "s/update", "tokens/s, all GPUs", "days"]]
    for name, peak in PEAKS.items():
        seconds = cluster.step_seconds(plan, peak)
        rate = cluster.tokens(plan) / seconds
        times.append([f"{name} at {USED:.0%} of {peak / 1e12:.0f} TFLOP/s", f"{seconds:.3f}", f"{rate:,.0f}",
                      f"{cluster.days(plan, peak):.1f}"])  # fmt: skip
    needed = [["to be done in", "tokens/s needed, all GPUs"]]
    needed += [
        [f"{days} day{'s' * (days > 1)}", f"{cluster.tokens_per_second(plan, days):,.0f}"] for days in (1, 3, 7, 14)
    ]
    return "\n\n".join(map(table, (rows, times, needed)))


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
