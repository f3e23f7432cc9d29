"""State dictionaries: read safely, fitted strictly; and the states of the random generators."""

import io
import pathlib
import warnings
import zipfile

import torch
from torch import nn

from textcls.runtime import parallel
from textcls.runtime.errors import InputError
from textcls.runtime.files import CHUNK, check_stored


def load_tensors(path: pathlib.Path):
    """What `torch.save` wrote, on the CPU, if it is whole, and is tensors and plain values. Nothing in the file is
    executed. (Files of PyTorch before 1.6 are no ZIP archives and have no checksums: damage to their numbers is not
    seen.)"""
    try:
        check_records(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch remarks on the pickle protocol of files that it goes on to refuse
            with NoTar(open(path, "rb", buffering=0)) as file:
                source = path if zipfile.is_zipfile(path) else file
                content = torch.load(source, map_location="cpu", weights_only=True)
        check_plain(content)
        return content
    except PermissionError:
        raise
    except Exception as error:  # torch raises RuntimeError, UnpicklingError, EOFError, OSError, …
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise InputError(f"{path}: not a readable checkpoint, damaged or made to run code ({reason})") from None


class NoTar(io.BufferedReader):
    """A file without a number. Of one that has a number torch looks first whether it is a tar archive, as its files were
    in 2016, and tarfile reads headers of any length."""

    def fileno(self) -> int:
        raise io.UnsupportedOperation("fileno")


def check_records(path: pathlib.Path) -> None:
    """Raise ValueError or BadZipFile unless every record of a ZIP archive that `torch.save` wrote has its CRC-32, which
    `torch.load` does not look at, and lies there as it is: a compressed one may be of any size."""
    with open(path, "rb") as file:
        if file.read(4) != b"PK\x03\x04":
            return
        with zipfile.ZipFile(file) as archive:
            records = archive.infolist()
            if len({record.filename for record in records}) < len(records):
                raise ValueError("a record stands there twice")
            check_stored(archive, path.stat().st_size)
            for record in records:
                with archive.open(record) as content:  # compares the CRC at the end
                    while content.read(CHUNK):
                        pass


def check_plain(content) -> None:
    """Raise ValueError for a tensor that is none of the plain ones, with numbers of its own for all of its places: one
    whose numbers are elsewhere, or none, or one number for places without end."""
    waiting = [content]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list | tuple):
            waiting += value
        elif isinstance(value, torch.Tensor):
            plain = value.layout == torch.strided and value.device.type == "cpu" and not value.is_nested
            if not plain or value.is_quantized:
                raise ValueError("a tensor that is sparse, quantised, nested or without numbers")
            if value.numel() * value.element_size() > value.untyped_storage().nbytes():
                raise ValueError(f"a tensor of shape {tuple(value.shape)} in {value.untyped_storage().nbytes()} bytes")


def count_parameters(model: nn.Module) -> dict[str, int]:
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return {"trainable": trainable, "total": sum(p.numel() for p in model.parameters())}


def trainable_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """What training makes: trainable parameters and buffers. Frozen parameters are left to their source."""
    trained = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    return trained | dict(model.named_buffers())


def load_trainable(model: nn.Module, state: dict[str, torch.Tensor], path: pathlib.Path) -> None:
    """The reverse of :func:`trainable_state`, strict in both directions."""
    check_fit(trainable_state(model), state, path)
    model.load_state_dict(state, strict=False)


def check_fit(wanted: dict[str, torch.Tensor], given: dict[str, torch.Tensor], path: pathlib.Path) -> None:
    """Raise InputError naming the tensors that are missing, unknown or of another shape, a few of each."""
    kinds = (
        [f"missing {name}" for name in sorted(wanted.keys() - given.keys())],
        [f"unknown {name}" for name in sorted(given.keys() - wanted.keys())],
        [
            f"{name} is {tuple(given[name].shape)}, expected {tuple(wanted[name].shape)}"
            for name in sorted(wanted.keys() & given.keys())
            if given[name].shape != wanted[name].shape
        ],
    )
    problems = [line for lines in kinds for line in shortened(lines)]
    if problems:
        raise InputError(f"{path}: the weights do not fit the model: {'; '.join(problems)}")


def shortened(lines: list[str], most: int = 4) -> list[str]:
    return lines if len(lines) <= most else [*lines[: most - 1], f"… and {len(lines) - most + 1} more like this"]


def random_states() -> dict:
    """Of every generator that training draws from: torch's, on the CPU and on each CUDA device (of several processes,
    each has one device)."""
    return {"cpu": torch.get_rng_state(), "cuda": [torch.cuda.get_rng_state(device) for device in cuda_devices()]}


def cuda_devices() -> list[int]:
    devices = list(range(torch.cuda.device_count()))
    return [device for device in devices if device == parallel.local_rank()] if parallel.size() > 1 else devices


def restore_random_states(states: dict) -> None:
    torch.set_rng_state(states["cpu"])
    for device, state in zip(cuda_devices(), states["cuda"], strict=False):
        torch.cuda.set_rng_state(state, device)
