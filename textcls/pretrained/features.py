"""The vectors of a frozen encoder, computed once: epochs after the first cost what stands above it.

Dimensions: H size of a vector.
"""

import errno
import hashlib
import os
import pathlib
import shutil
import tempfile
import time

import numpy as np
import torch

from textcls.models.bert import Bert
from textcls.models.elmo import ElmoVectors
from textcls.models.probe import PooledVectors
from textcls.models.recurrent import BertVectors
from textcls.runtime.cache import ADVICE, cache_folder, not_kept
from textcls.runtime.device import Precision
from textcls.runtime.errors import InputError
from textcls.runtime.files import checked, crc32, in_place_of, read_arrays, with_checksum, write_json
from textcls.runtime.memory import check_room
from textcls.runtime.progress import through
from textcls.text.batches import CPU_TOKENS, Batches

Source = Bert | BertVectors | ElmoVectors | PooledVectors
Computed = tuple[np.ndarray, float]  # vectors fp16, and the seconds that they took


class Features:
    """What `source.encode` gives of all tokens of `batches` (tokens, H), or, where it is `pooled`, of every row (rows, H).

    They are kept as fp16 in a memory-mapped file, whose name is a digest of the encoder's `weights` (their sha256), of
    the tokens, and of how they are computed. [CLS] is taken from the file of all tokens where there is one. Where the
    cache is no place for them they are computed for this run alone, in memory.
    """

    def __init__(self, source: Source, weights: str, batches: Batches, precision: Precision):
        self.source, self.batches, self.precision = source, batches, precision
        rows = batches.sequences.rows
        every_token, every_row = (len(rows.tokens), source.encoded_size), (len(rows), source.encoded_size)
        self.size = every_row if source.pooled else every_token
        self.cached, self.obstacle = None, None  # what keeps them out of the cache, in words
        try:
            self.path = self._file(weights, self.size)
        except InputError as error:  # no home directory
            self.obstacle = str(error)
            return
        self.cached = read(self.path, self.size)
        if self.cached is None and source.pooled == "cls":
            larger = self._file(weights, every_token)
            if (tokens := read(larger, every_token)) is not None:
                self.path, self.cached = larger, (np.array(tokens[0][rows.offsets[:-1]]), tokens[1])
        if self.cached is None:
            self.obstacle = obstacle(self.path.parent, self.bytes)

    @property
    def description(self) -> str:
        what = f"vectors of {self.size[0]:,} {'texts' if self.source.pooled else 'tokens'}, {self.bytes / 2**30:.2f} GiB"
        if self.obstacle:
            return f"{what}, in memory: {self.obstacle}"
        return f"{what}, {'to' if self.cached is None else 'from'} {self.path}"

    @property
    def bytes(self) -> int:
        return 2 * self.size[0] * self.size[1]

    def get(self, device: torch.device, name: str, quiet: bool) -> Computed:
        """(vectors, seconds that they took, now or before). Raises InputError where neither the cache nor the memory
        has room for them."""
        return self.cached or self._compute(device, name, quiet)

    def _file(self, weights: str, size: tuple[int, int]) -> pathlib.Path:
        dims, layers = sorted(vars(self.source.dims).items()), getattr(self.source, "encoded", "")
        key = hashlib.blake2b(f"{weights} {dims}{layers} {self.precision.name} {size}".encode(), digest_size=16)
        rows, spelled = self.batches.sequences.rows, self.batches.sequences.rows.spelling is not None
        for part in (rows.tokens, rows.offsets, self.batches.sequences.first, *[rows.spelling] * spelled):
            key.update(np.ascontiguousarray(part).tobytes())
        return cache_folder() / f"features-{key.hexdigest()}.npy"

    @torch.no_grad()
    def _compute(self, device: torch.device, name: str, quiet: bool) -> Computed:
        start = time.perf_counter()
        if self.obstacle:
            not_kept(self.obstacle)
            check_room(self.bytes, "what the encoder gives", f"{self.obstacle}, or choose --encoder tune")
            vectors = np.empty(self.size, np.float16)
            self._encode_all(vectors, device, name, quiet)
            return vectors, time.perf_counter() - start
        with in_place_of(self.path) as temporary:
            vectors = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float16, shape=self.size)
            self._encode_all(vectors, device, name, quiet)
            vectors.flush()
            del vectors
            seconds = time.perf_counter() - start
            facts = {"seconds": seconds, "crc32": crc32(temporary)}
            write_json(self.path.with_suffix(".json"), with_checksum(facts), by_all=True)
        return read_arrays(self.path, mapped=True), seconds

    def _encode_all(self, vectors: np.ndarray, device: torch.device, name: str, quiet: bool) -> None:
        self.source.eval().to(device)
        order = self.batches.sorted_order(CPU_TOKENS if device.type == "cpu" else None)
        for documents in through(f"encoding {name}", quiet)(order):
            self._encode(documents, vectors, device)

    def _encode(self, documents: np.ndarray, vectors: np.ndarray, device: torch.device) -> None:
        batch = self.batches.collate(documents).to(device)
        with self.precision.autocast(device):
            hidden = self.source.encode(*(batch.inputs[name] for name in ("ids", "mask", "segments")))
        hidden = hidden.half().cpu().numpy()
        first, offsets = self.batches.first_row, self.batches.sequences.rows.offsets
        rows = np.concatenate([np.arange(first[i], first[i + 1]) for i in documents])
        for i, row in enumerate(rows):
            if self.source.pooled:
                vectors[row] = hidden[i, 0]
            else:
                vectors[offsets[row] : offsets[row + 1]] = hidden[i, : offsets[row + 1] - offsets[row]]


def read(path: pathlib.Path, size: tuple[int, int]) -> Computed | None:
    """What :class:`Features` left there, if it is whole, to the last bit."""
    vectors = read_arrays(path, mapped=True)
    if not (isinstance(vectors, np.ndarray) and vectors.shape == size and vectors.dtype == np.float16):
        return None
    try:
        facts = checked(path.with_suffix(".json").read_bytes())
        return (vectors, float(facts["seconds"])) if facts["crc32"] == crc32(path) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def obstacle(folder: pathlib.Path, size: int) -> str | None:
    """Why a file of `size` bytes cannot be made in `folder`, which is made where it is not there; None where it can. A
    mapped file that outgrew its disk would kill the process, so the bytes are taken before any is written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        if free < size + 2**24:
            return f"{folder} has {free / 2**30:.1f} GiB free; {ADVICE}"
        with tempfile.TemporaryFile(dir=folder) as file:
            if hasattr(os, "posix_fallocate"):  # sees quotas and limits too
                os.posix_fallocate(file.fileno(), 0, max(1, size))
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # a file system that cannot tell
            return f"{folder}: {error.strerror}; {ADVICE}"
    return None
