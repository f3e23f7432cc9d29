"""The ledger in words: tables of what a step is predicted to take, and of what it took."""

import dataclasses

from textcls.ledger.cluster import NETWORK, PEAKS, USED, Cluster
from textcls.ledger.measure import Measured
from textcls.ledger.plan import BEFORE, HEAP, KERNELS, Model, Plan, Step, accumulation, largest_micro_batch, plan
from textcls.models.bert import BertConfig
from textcls.models.elmo import ElmoConfig
from textcls.models.recurrent import WordDims
from textcls.report.text import table

GROWTH = "growth of the process"


def dims_in_words(dims: BertConfig | ElmoConfig | WordDims, name: str) -> str:
    if isinstance(dims, ElmoConfig):
        words = f"; {dims.vocab_size:,} words to be predicted" if dims.vocab_size else ""
        return f"biLM: {dims.layers} layers, 2 x {dims.cells} cells projected to {dims.projection}{words}"
    if isinstance(dims, BertConfig):
        return f"{name}: {dims.num_hidden_layers} layers, hidden {dims.hidden_size}"
    vectors = f" in vectors of {dims.hidden_size}" if dims.hidden_size else ""
    return f"at most {dims.vocab_size:,} words{vectors}"


def step_in_words(step: Step) -> str:
    windows = f" ({step.batch // step.windows} documents, {step.windows} windows each)" if step.windows > 1 else ""
    return f"micro-batches of {step.batch} x {step.tokens} tokens{windows}, {step.accumulate} to an optimiser step"


def mib(size: float) -> str:
    return f"{size / 2**20:,.1f}"


def memory_rows(predicted: Plan) -> dict[str, int]:
    """{what: bytes}, in the order of a step."""
    rows = {
        "parameters, trainable": predicted.trainable,
        "parameters, frozen": predicted.frozen,
        "gradients": predicted.gradients,
        "optimiser state (AdamW)": predicted.optimizer,
        "16-bit copies of weights": predicted.copies,
    }
    rows |= {f"activations, {part}": size for part, size in predicted.activations().items()}
    return {what: size for what, size in rows.items() if size}


# What the numbers on a CPU are, said once, below the table that has them.
MEANING = f"""\
peak of the tensors: everything that a step asks for at its worst moment
growth of the process: what has to fit, estimated from above: the tensors that are written, times {HEAP:g} for holes in
    the heap, and {KERNELS / 2**20:.0f} MiB for compiled kernels; the table below counts {BEFORE / 2**20:.0f} MiB
    besides, which the process has before training
"""


def plan_table(predicted: Plan) -> str:
    step, on_cpu = predicted.step, predicted.step.device == "cpu"
    size, moment = predicted.peak()
    rows = [["memory", "MiB"], *([what, mib(size)] for what, size in memory_rows(predicted).items())]
    rows += [["largest temporary", mib(predicted.temporary)], ["peak of the tensors" if on_cpu else "peak", mib(size)]]
    if on_cpu:
        rows.append([GROWTH, mib(predicted.footprint())])
    passes = ", recomputing included" if step.checkpoint else ""
    windows = f"{step.windows} x " if step.windows > 1 else ""
    return (
        f"{table(rows)}\n\n{MEANING if on_cpu else ''}the peak falls at: {moment}\narithmetic: {predicted.flop_per_document() / 1e9:.2f} GFLOP a "
        f"document of {windows}{step.tokens} tokens, {predicted.flop() / 1e12:.3f} TFLOP an optimiser step of "
        f"{step.documents} documents{passes}"
    )


def micro_batch_table(model: Model, step: Step, memory: int, longest: int) -> str:
    """The largest micro-batch that fits, and the accumulation that keeps the documents of a step."""
    documents = step.documents
    rows = [["tokens", "largest micro-batch", f"for {documents} documents a step", "MiB then"]]
    for tokens in sorted({128, 256, 512, step.tokens}):
        if tokens > longest:
            continue
        step = dataclasses.replace(step, tokens=tokens, accumulate=2)  # gradients stay between micro-batches
        largest = largest_micro_batch(model, step, memory)
        if largest == 0:
            rows.append([str(tokens), "none", "", ""])
            continue
        batch, accumulate = accumulation(documents, largest)
        chosen = plan(model, dataclasses.replace(step, batch=batch * step.windows, accumulate=accumulate))
        flags = f"--batch-size {batch} --accumulate {accumulate}"
        rows.append([str(tokens), f"{largest:,}", flags, mib(chosen.footprint())])
    return table(rows)


def cluster_tables(predicted: Plan, cluster: Cluster) -> str:
    """Memory, exchange and arithmetic a GPU, and how long the updates take."""
    step = predicted.step
    rows = [
        [
            f"{cluster.nodes} x {cluster.gpus} GPUs, {cluster.processes * step.documents:,} documents a step",
            "a GPU",
        ],
        ["documents a step", f"{step.documents:,}"],
        ["memory at the peak, MiB", mib(predicted.peak()[0])],
        ["gradients sent, and received, a step, MiB", mib(cluster.exchanged(predicted))],
        ["arithmetic a step, TFLOP", f"{predicted.flop() / 1e12:,.2f}"],
    ]
    if cluster.nodes > 1:
        seconds = cluster.network_seconds(predicted)
        rows.append([f"exchange at {NETWORK / 1e9:.0f} Gbit/s a machine, s", f"{seconds:.3f}"])
    return "\n\n".join(map(table, (rows, times(predicted, cluster), needed(predicted, cluster))))


def times(predicted: Plan, cluster: Cluster) -> list[list[str]]:
    rows = [[f"{cluster.updates:,} updates", "s/update", "tokens/s, all GPUs", "days"]]
    for name, peak in PEAKS.items():
        seconds, days = cluster.step_seconds(predicted, peak), cluster.days(predicted, peak)
        rate = cluster.tokens(predicted) / seconds
        what = f"{name} at {USED:.0%} of {peak / 1e12:.0f} TFLOP/s"
        rows.append([what, f"{seconds:.3f}", f"{rate:,.0f}", f"{days:.1f}"])
    return rows


def needed(predicted: Plan, cluster: Cluster) -> list[list[str]]:
    rows = [["to be done in", "tokens/s needed, all GPUs"]]
    for days in (1, 3, 7, 14):
        rows.append([f"{days} day{'s' * (days > 1)}", f"{cluster.tokens_per_second(predicted, days):,.0f}"])
    return rows


def measured_table(predicted: Plan, measured: Measured, growth: int) -> str:
    """Predicted beside measured, in MiB, and the time of a step. `growth` is that of the resident set."""
    rows = measured_rows(measured, memory_rows(predicted), predicted.footprint(), growth, predicted.step.device)
    return f"{table(rows)}\n{timed(measured, predicted.flop() // predicted.step.accumulate)}"


def measured_rows(
    measured: Measured, parts: dict[str, int], footprint: int, growth: int, device: str
) -> list[list[str]]:
    """The same as rows, of what was predicted: `parts` as memory_rows gives them, and the footprint."""
    sizes = {
        "parameters, trainable": measured.trainable,
        "parameters, frozen": measured.frozen,
        "gradients": measured.gradients,
        "optimiser state (AdamW)": measured.optimizer,
        "16-bit copies of weights": measured.copies,
    } | {f"activations, {part}": size for part, size in measured.activations.items()}
    rows = [[f"memory in MiB, {measured.batch} x {measured.tokens} tokens", "predicted", "measured"]]
    rows += [[what, mib(size), mib(sizes.get(what, 0))] for what, size in parts.items()]
    if device == "cuda":
        rows.append(["peak, allocated", mib(footprint), mib(measured.peak["cuda_allocated"])])
        rows.append(["peak, kept by the allocator", "", mib(measured.peak["cuda_reserved"])])
    else:
        rows.append([GROWTH, mib(footprint), mib(growth) if growth else "?"])
    return rows


def timed(measured: Measured, flop: int) -> str:
    """How long a micro-batch took, of so many FLOP if that is known."""
    phases = ", ".join(f"{name} {seconds:.3f} s" for name, seconds in measured.seconds.items())
    rate = f"; {flop / sum(measured.seconds.values()) / 1e9:,.0f} GFLOP/s" if flop else ""
    return f"one micro-batch: {phases}{rate}"


def last_runs(runs: dict[str, tuple[int, int]]) -> str:
    """{run: (predicted, measured) bytes} as a table of how far the one was from the other."""
    rows = [["last runs here", "predicted, MiB", "measured, MiB", "measured / predicted"]]
    for run, (predicted, measured) in runs.items():
        rows.append([run, mib(predicted), mib(measured), f"{measured / predicted:.2f}"])
    return table(rows)


def ways_out(model: Model, step: Step) -> str:
    """What to change when memory runs out, with the footprint that each change is predicted to have."""

    def size(**changes) -> str:
        return f"{plan(model, dataclasses.replace(step, **changes)).footprint() / 2**20:,.0f} MiB"

    documents = step.batch // step.windows
    half, accumulate = max(1, documents // 2), step.accumulate * (2 if documents > 1 else 1)
    shorter = max(8, step.tokens // 2)
    lines = [
        f"predicted for {step.batch} x {step.tokens} tokens: {size()}. With",
        f"--batch-size {half} --accumulate {accumulate}: {size(batch=half * step.windows, accumulate=accumulate)}",
        f"--max-length {shorter}: {size(tokens=shorter)}",
    ]
    if not step.checkpoint and any(block.part == "attention" for block in model(step)):
        lines.append(f"--checkpoint-activations: {size(checkpoint=True)}")
    return "\n  ".join(lines)
