"""What --plan says: where memory and arithmetic of the largest step go. Needs no weights, data, or such device."""

import pathlib
import sys

from textcls import recipes
from textcls.config import TrainConfig
from textcls.ledger import history, tables
from textcls.ledger.cluster import Cluster
from textcls.ledger.plan import plan
from textcls.pretrained.backbone import short
from textcls.runtime.device import choose_device, choose_precision
from textcls.runtime.memory import parse_memory
from textcls.tasks import TASKS


def plan_of(config: TrainConfig) -> list[str]:
    """In lines and tables. Raises InputError for settings that make no model."""
    task, dims = TASKS[config.task], recipes.dims(config)
    device = choose_device(config.device, must_exist=False)
    precision = choose_precision(config.amp, device, recipes.choose(config)["amp"])
    step, labels = recipes.step(config, device.type, precision.dtype), task.count_labels(config)
    blocks = recipes.blocks(config, dims, labels)
    predicted, memory = plan(blocks, step), config.memory or "6GB"
    classes = f"; {labels} {task.LABELS}" if labels else ""
    lines = [
        f"{config.model} on {device}, {precision.name} ({precision.why})",
        f"{tables.dims_in_words(dims, short(config.bert))}{classes}; {tables.step_in_words(step)}\n",
        tables.plan_table(predicted),
        *recipes.beforehand(config, dims),
    ]
    if config.nodes or config.gpus or config.updates:
        cluster = Cluster(config.nodes or 1, config.gpus or 1, config.updates or 1_000_000)
        lines.append(f"\n{tables.cluster_tables(predicted, cluster)}")
    longest = getattr(dims, "max_position_embeddings", sys.maxsize)
    lines += [f"\nwithin {memory}:", tables.micro_batch_table(blocks, step, parse_memory(memory), longest)]
    if runs := history.last_runs(pathlib.Path("runs"), step.device):
        lines.append(f"\n{tables.last_runs(runs)}")
    return lines
