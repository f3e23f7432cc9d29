"""The vectors of a frozen encoder, computed once: epochs after the first cost what stands above it."""

import hashlib
import os
import pathlib
import shutil

import numpy as np
import torch

from textcls.batch import Batches
from textcls.data.cache import cache_folder
from textcls.device import Precision
from textcls.errors import InputError
from textcls.evaluation import CPU_TOKENS
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
) -> np.ndarray:
    """The vectors of all tokens of `batches` (tokens, H), or of every row's [CLS] (rows, H), as fp16 in a memory-mapped
    file. Its name is a digest of the encoder's `weights` (their sha256), of the tokens, and of how they are computed.
    Raises InputError where the disk has no room."""
    rows = batches.sequences.rows
    shape = (len(rows) if source.cls_only else len(rows.tokens), source.features)
    key = hashlib.blake2b(f"{weights} {source.cls_only} {precision.name} {shape}".encode(), digest_size=16)
    for part in (rows.tokens, rows.offsets, batches.sequences.first):
        key.update(np.ascontiguousarray(part).tobytes())
    path = cache_folder() / f"features-{key.hexdigest()}.npy"
    size = 2 * shape[0] * shape[1]
    found = opened(path, shape)
    way = "to" if found is None else "from"
    print(f"{name}: vectors of {shape[0]:,} tokens, {size / 2**30:.2f} GiB, {way} {path}")
    return found if found is not None else compute(source, batches, path, shape, device, precision, name, quiet)


def opened(path: pathlib.Path, shape: tuple[int, int]) -> np.ndarray | None:
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return found if found.shape == shape and found.dtype == np.float16 else None


@torch.no_grad()
def compute(source, batches, path, shape, device, precision, name, quiet) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(path.parent).free
    if free < 2 * shape[0] * shape[1] + 2**24:  # a mapped file that outgrows its disk kills the process
        raise InputError(
            f"{path.parent}: {free / 2**30:.1f} GiB are free, the vectors need {2 * shape[0] * shape[1] / 2**30:.1f} "
            "GiB; set TEXTCLS_CACHE to a larger disk, or choose --encoder tune"
        )
    temporary = path.with_name(f".{path.name}.part")
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
    os.replace(temporary, path)
    return np.load(path, mmap_mode="r", allow_pickle=False)
