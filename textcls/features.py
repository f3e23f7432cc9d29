"""The vectors of a frozen encoder, computed once: epochs after the first cost what stands above it."""

import hashlib
import json
import os
import pathlib
import shutil
import time
from collections.abc import Callable

import numpy as np
import torch

from textcls.batch import Batches
from textcls.data.cache import cache_folder
from textcls.device import Precision
from textcls.errors import InputError
from textcls.evaluation import CPU_TOKENS
from textcls.files import temporary_name, write_json
from textcls.models.recurrent import BertVectors
from textcls.progress import through


def cached_features(
    source: BertVectors,
    weights: str,
    batches: Batches,
    device: torch.device,
    precision: Precision,
    name: str,
    quiet: bool,
    say: Callable[[str], None] = print,
) -> tuple[np.ndarray, float]:
    """(the vectors of all tokens of `batches` (tokens, H), or of every row's [CLS] (rows, H), seconds they took).

    They are kept as fp16 in a memory-mapped file, whose name is a digest of the encoder's `weights` (their sha256), of
    the tokens, and of how they are computed. [CLS] is taken from the file of all tokens where there is one. Raises
    InputError where the disk has no room.
    """
    rows = batches.sequences.rows
    every, alone = (len(rows.tokens), source.features), (len(rows), source.features)
    shape = alone if source.cls_only else every
    path = file_of(batches, weights, precision, shape)
    found, way = opened(path, shape), "from"
    if found is None and source.cls_only:
        larger = file_of(batches, weights, precision, every)
        if (whole := opened(larger, every)) is not None:
            path, found = larger, (np.array(whole[0][rows.offsets[:-1]]), whole[1])
    if found is None:
        way = "to"
    say(f"{name}: vectors of {shape[0]:,} tokens, {2 * shape[0] * shape[1] / 2**30:.2f} GiB, {way} {path}")
    return found or compute(source, batches, path, shape, device, precision, name, quiet)


def file_of(batches: Batches, weights: str, precision: Precision, shape: tuple[int, int]) -> pathlib.Path:
    key = hashlib.blake2b(f"{weights} {precision.name} {shape}".encode(), digest_size=16)
    for part in (batches.sequences.rows.tokens, batches.sequences.rows.offsets, batches.sequences.first):
        key.update(np.ascontiguousarray(part).tobytes())
    return cache_folder() / f"features-{key.hexdigest()}.npy"


def opened(path: pathlib.Path, shape: tuple[int, int]) -> tuple[np.ndarray, float] | None:
    """What `compute` left there, if it is whole."""
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
        seconds = float(json.loads(path.with_suffix(".json").read_text("utf-8"))["seconds"])
    except (OSError, ValueError, EOFError, KeyError, TypeError):
        return None
    return (found, seconds) if found.shape == shape and found.dtype == np.float16 else None


@torch.no_grad()
def compute(source, batches, path, shape, device, precision, name, quiet) -> tuple[np.ndarray, float]:
    path.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(path.parent).free
    if free < 2 * shape[0] * shape[1] + 2**24:  # a mapped file that outgrows its disk kills the process
        raise InputError(
            f"{path.parent}: {free / 2**30:.1f} GiB are free, the vectors need {2 * shape[0] * shape[1] / 2**30:.1f} "
            "GiB; set TEXTCLS_CACHE to a larger disk, or choose --encoder tune"
        )
    temporary, start = temporary_name(path, by_all=True), time.perf_counter()
    vectors = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float16, shape=shape)
    offsets = batches.sequences.rows.offsets
    source.eval().to(device)
    order = batches.sorted_order(CPU_TOKENS if device.type == "cpu" else None)
    for documents in through(f"encoding {name}", quiet)(order):
        batch = batches.collate(documents).to(device)
        with precision.autocast(device):
            hidden = source(batch.ids, batch.mask, batch.segments)
        hidden = hidden.half().cpu().numpy()
        rows = np.concatenate([np.arange(batches.first_row[i], batches.first_row[i + 1]) for i in documents])
        for i, row in enumerate(rows):
            if source.cls_only:
                vectors[row] = hidden[i, 0]
            else:
                vectors[offsets[row] : offsets[row + 1]] = hidden[i, : offsets[row + 1] - offsets[row]]
    vectors.flush()
    del vectors
    seconds = time.perf_counter() - start
    write_json(path.with_suffix(".json"), {"seconds": seconds}, by_all=True)
    os.replace(temporary, path)
    return np.load(path, mmap_mode="r", allow_pickle=False), seconds
