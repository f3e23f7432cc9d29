"""The safetensors format: tensors in a file that can hold nothing else. Read with every bound checked, and written."""

import json
import math
import mmap
import pathlib
import warnings

import numpy as np
import torch

from textcls.runtime.errors import InputError
from textcls.runtime.files import in_place_of, parse_json

LARGEST_HEADER = 100_000_000  # bytes, the limit of the format's own reader
LARGEST_SIZE, MOST_DIMENSIONS = 2**48, 64  # beyond them torch has no strides for a tensor, be it empty

# safetensors dtype -> (torch dtype, bytes). Parameters are floating; others are read as they are, for whoever asks.
DTYPES = {
    "F32": (torch.float32, 4),
    "F16": (torch.float16, 2),
    "BF16": (torch.bfloat16, 2),
    "F64": (torch.float64, 8),
    "I64": (torch.int64, 8),
    "I32": (torch.int32, 4),
    "I16": (torch.int16, 2),
    "I8": (torch.int8, 1),
    "U8": (torch.uint8, 1),
    "BOOL": (torch.bool, 1),
}


def read_safetensors(path: pathlib.Path) -> dict[str, torch.Tensor]:
    """The tensors of a .safetensors file, as views of a read-only memory map.

    Format (safetensors README): an 8-byte little-endian header length, a JSON header
    {name: {dtype, shape, data_offsets: [begin, end]}}, then the data. Bounds, sizes, gaps and overlaps are checked.
    """
    size = path.stat().st_size
    if size < 8:
        raise InputError(f"{path}: {size} bytes is too short for a safetensors file")
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > min(size - 8, LARGEST_HEADER):
            raise InputError(f"{path}: header of {length} bytes in a file of {size}; the file is damaged or cut short")
        try:
            header = parse_json(file.read(length).decode("utf-8"))
            header.pop("__metadata__", None)
            check_dtypes(path, header)
            entries = {name: parse_entry(name, entry) for name, entry in header.items()}
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError(f"{path}: damaged safetensors header ({error})") from None
        check_layout(path, entries, size - 8 - length)
        data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))[8 + length :]
    return {name: view(data, *entry) for name, entry in entries.items()}


def check_dtypes(path: pathlib.Path, header: dict) -> None:
    """A whole file may hold numbers of a kind that is not known here: no damage, but nothing to be read."""
    for name, entry in header.items():
        if entry["dtype"] not in DTYPES:
            raise InputError(f"{path}: {name} has dtype {entry['dtype']}, known: {', '.join(DTYPES)}")


def parse_entry(name: str, entry: dict) -> tuple[str, list[int], int, int]:
    dtype, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not all(isinstance(n, int) and not isinstance(n, bool) and 0 <= n < LARGEST_SIZE for n in (*shape, begin, end)):
        raise ValueError(f"{name} has shape {shape} and offsets {[begin, end]}")
    if len(shape) > MOST_DIMENSIONS:
        raise ValueError(f"{name} has {len(shape)} dimensions, expected at most {MOST_DIMENSIONS}")
    if end - begin != math.prod(shape) * DTYPES[dtype][1]:
        raise ValueError(f"{name}: {end - begin} bytes for shape {shape} of {dtype}")
    return dtype, shape, begin, end


def check_layout(path: pathlib.Path, entries: dict, size: int) -> None:
    """The tensors must cover the data exactly, one after the other."""
    at, before = 0, "the header"
    for name, (_, _, begin, end) in sorted(entries.items(), key=lambda item: item[1][2:]):
        if begin != at:
            problem = "overlaps" if begin < at else "leaves a gap after"
            raise InputError(f"{path}: {name} {problem} {before} (starts at {begin}, expected {at})")
        at, before = end, name
    if at != size:
        raise InputError(f"{path}: the tensors end at byte {at} of {size}; the file is damaged or cut short")


def view(data: memoryview, dtype: str, shape: list[int], begin: int, end: int) -> torch.Tensor:
    kind = DTYPES[dtype][0]
    if begin == end:
        return torch.empty(0, dtype=kind).as_strided(shape, [0] * len(shape))  # of strides there might be no number
    # numpy in between: `torch.frombuffer` warns about read-only memory, and bf16 has no numpy type
    array = np.frombuffer(data, np.uint8, end - begin, begin)
    array = array.view({8: np.int64, 4: np.int32, 2: np.int16, 1: np.uint8}[DTYPES[dtype][1]])
    return from_readonly(array).view(kind).reshape(shape)


def from_readonly(array: np.ndarray) -> torch.Tensor:
    """A tensor over read-only memory. Writing to it would crash, so callers copy (see `load_strictly`)."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)


def write_safetensors(tensors: dict[str, torch.Tensor], path: pathlib.Path) -> None:
    names = {kind: name for name, (kind, _) in DTYPES.items()}
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, tensor in tensors.items():
        end = at + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": names[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # the data starts on an 8-byte boundary
    with in_place_of(path) as temporary, open(temporary, "wb") as file:  # whoever has the old file mapped keeps it
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors.values():
            file.write(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
