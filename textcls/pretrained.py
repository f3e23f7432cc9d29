"""Published BERT weights: find them, read them without executing anything, map the names, load strictly, write.

A folder holds config.json, model.safetensors or pytorch_model.bin, and vocab.txt or tokenizer.json. A pre-training run
holds such a folder as RUN/published; where it is a TRANS-BLSTM's, config.json says which by `model_type` and `small`.
"""

import json
import math
import mmap
import os
import pathlib
import re
from collections.abc import Callable

import numpy as np
import torch

from textcls import files
from textcls.checkpoint import check_fit, load_tensors
from textcls.errors import InputError
from textcls.models.bert import Bert, BertConfig, Layer
from textcls.models.pretraining import BertForPreTraining
from textcls.models.trans_blstm import VARIANTS, layer

FILES = (
    "config.json",
    "model.safetensors",
    "pytorch_model.bin",
    "vocab.txt",
    "tokenizer.json",
    "tokenizer_config.json",
)
PUBLISHED = "published"
NANO = pathlib.Path(__file__).parent / "assets" / "nano"  # the small BERT that comes with the library
LARGEST_HEADER = 100_000_000  # bytes, the limit of the format's own reader

# safetensors dtype -> (torch dtype, bytes)
DTYPES = {"F32": (torch.float32, 4), "F16": (torch.float16, 2), "BF16": (torch.bfloat16, 2), "I64": (torch.int64, 8)}

# Tensors of a published checkpoint that are no part of the encoder and pooler.
IGNORED = re.compile(r"cls\..*|classifier\..*|qa_outputs\..*|dropout\..*|(bert\.)?embeddings\.position_ids")
LEGACY = ((".gamma", ".weight"), (".beta", ".bias"))  # LayerNorm's names in the first PyTorch conversions


def load_bert(folder_or_name: str | os.PathLike) -> Bert:
    """A :class:`Bert` in eval mode with published weights, in float32.

    `folder_or_name`: a folder, `nano`, or a name on the Hugging Face hub such as `bert-base-uncased`. Raises
    :class:`InputError` naming every missing, unknown or mis-shaped tensor.
    """
    folder = find_folder(folder_or_name)
    config = read_config(folder / "config.json")
    with torch.device("meta"):
        model = Bert(config, make=read_layer(folder / "config.json"))
    path = weights_file(folder)
    load_strictly(model, our_names(read_weights(path)), path)
    return model.eval()


def find_folder(folder_or_name: str | os.PathLike) -> pathlib.Path:
    """The folder itself, nano's, what a pre-training run has in it, or the hub's files in huggingface_hub's cache
    (which checks their digests)."""
    if folder_or_name == "nano":
        return NANO
    path = pathlib.Path(folder_or_name)
    if (path / PUBLISHED / FILES[0]).is_file():
        return path / PUBLISHED
    if path.is_dir():
        return path
    name = str(folder_or_name)
    if path.exists() or not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) or name.startswith("."):
        raise InputError(f"--bert {name}: no such folder (a folder with {FILES[0]}, {FILES[1]} and {FILES[3]})")
    return fetch_from_hub(name)


def find_config(name: str) -> pathlib.Path:
    """config.json of a name on the hub, from huggingface_hub's cache or fetched without the weights."""
    from huggingface_hub import hf_hub_download

    try:
        return pathlib.Path(hf_hub_download(name, FILES[0]))
    except Exception as error:
        raise not_to_be_had(name, error) from None


def fetch_from_hub(name: str) -> pathlib.Path:
    from huggingface_hub import snapshot_download  # comes with `tokenizers`; slow to import, so only here

    try:
        folder = pathlib.Path(snapshot_download(name, allow_patterns=[f for f in FILES if f != FILES[2]]))
        if not (folder / FILES[1]).exists():  # older repositories hold only the pickled form
            snapshot_download(name, allow_patterns=[FILES[2]])
        return folder
    except Exception as error:  # whatever the HTTP client of this version raises
        raise not_to_be_had(name, error) from None


def not_to_be_had(name: str, error: Exception) -> InputError:
    reason = str(error).strip().split("\n")[0] or type(error).__name__
    return InputError(
        f"--bert {name}: neither a folder nor to be had from the hub ({reason}). Without a network: "
        f"put {FILES[0]}, {FILES[1]} and {FILES[3]} into a folder and give it with --bert"
    )


def weights_file(folder: pathlib.Path) -> pathlib.Path:
    for name in FILES[1:3]:
        if (folder / name).is_file():
            return folder / name
    raise InputError(f"{folder}: holds neither {FILES[1]} nor {FILES[2]}")


def read_config(path: pathlib.Path) -> BertConfig:
    """config.json of a published BERT. Fields that do not change the forward pass are skipped; a field that asks for
    an architecture we do not have is an error."""
    try:
        values = json.loads(path.read_text("utf-8"))
        if not isinstance(values, dict):
            raise ValueError("not a JSON object")
        supported = {
            "model_type": ("bert", *VARIANTS),
            "position_embedding_type": ("absolute",),
            "is_decoder": (False,),
        }
        for field, known in supported.items():
            if values.get(field, known[0]) not in known:
                raise ValueError(f"{field} is {values[field]!r}, supported: {', '.join(map(repr, known))}")
        fields = BertConfig.__dataclass_fields__
        # Published files write null for the padding id of some models: the default then.
        return BertConfig(**{k: v for k, v in values.items() if k in fields and v is not None})
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None


def read_layer(path: pathlib.Path) -> Callable[[BertConfig], torch.nn.Module]:
    """What the model of a config.json, which :func:`read_config` has accepted, builds its layers with."""
    values = json.loads(path.read_text("utf-8"))
    variant = values.get("model_type", "bert")
    return Layer if variant == "bert" else layer(variant, bool(values.get("small", False)))


def read_heads(folder: pathlib.Path) -> dict[str, torch.Tensor]:
    """The pre-training heads of a folder, float32, in the names of models/pretraining.py; empty where it has none. The
    decoder's weights are those of the word embeddings and its bias is that of the predictions, under a second name."""
    tensors = read_weights(weights_file(folder))
    heads = {
        new_name(name[4:]): t for name, t in tensors.items() if re.match(r"cls\.(predictions|seq_relationship)", name)
    }
    return {name: t.to(torch.float32, copy=True) for name, t in heads.items() if ".decoder." not in name}


def new_name(name: str) -> str:
    """LayerNorm's weights with their present names."""
    for old, new in LEGACY:
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name


def our_names(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Published names -> ours: without `bert.`, LayerNorms with weight and bias, other heads dropped."""
    renamed = {}
    for name, tensor in tensors.items():
        if IGNORED.fullmatch(name):
            continue
        ours = new_name(name.removeprefix("bert."))
        if ours in renamed:
            raise InputError(f"weights: {name} and another tensor are both our {ours}")
        renamed[ours] = tensor
    return renamed


def load_strictly(model: torch.nn.Module, tensors: dict[str, torch.Tensor], path: pathlib.Path) -> None:
    """Give `model` (on any device, `meta` too) these tensors as float32; names and shapes must agree both ways."""
    wanted = model.state_dict()
    check_fit(wanted, tensors, path)
    # Copies: the tensors may lie in a read-only memory map.
    model.load_state_dict({name: tensors[name].to(torch.float32, copy=True) for name in wanted}, assign=True)


def read_weights(path: pathlib.Path) -> dict[str, torch.Tensor]:
    """{name: tensor} of a .safetensors or .bin file. Nothing in the file is ever executed."""
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    tensors = load_tensors(path)
    if not isinstance(tensors, dict) or not all(isinstance(t, torch.Tensor) for t in tensors.values()):
        raise InputError(f"{path}: expected a dictionary of tensors")
    return tensors


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
            header = json.loads(file.read(length).decode("utf-8"))
            entries = {name: parse_entry(name, entry) for name, entry in header.items() if name != "__metadata__"}
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise InputError(f"{path}: damaged safetensors header ({error})") from None
        check_layout(path, entries, size - 8 - length)
        data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))[8 + length :]
    return {name: view(data, *entry) for name, entry in entries.items()}


def parse_entry(name: str, entry: dict) -> tuple[str, list[int], int, int]:
    dtype, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    if dtype not in DTYPES:
        raise ValueError(f"{name} has dtype {dtype}, known: {', '.join(DTYPES)}")
    if not all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in (*shape, begin, end)):
        raise ValueError(f"{name} has shape {shape} and offsets {[begin, end]}")
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
        return torch.empty(shape, dtype=kind)
    # numpy in between: `torch.frombuffer` warns about read-only memory, and bf16 has no numpy type
    array = np.frombuffer(data, np.uint8, end - begin, begin)
    array = array.view({8: np.int64, 4: np.int32, 2: np.int16}[DTYPES[dtype][1]])
    return from_readonly(array).view(kind).reshape(shape)


def from_readonly(array: np.ndarray) -> torch.Tensor:
    """A tensor over read-only memory. Writing to it would crash, so callers copy (see `load_strictly`)."""
    import warnings

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)


def save_bert(model: Bert, folder: pathlib.Path) -> None:
    """config.json and model.safetensors (float32), as other libraries read them."""
    folder.mkdir(parents=True, exist_ok=True)
    write_safetensors(model.state_dict(), folder / "model.safetensors")
    write_config(model.config, "BertModel", {}, folder)


def publish(model: BertForPreTraining, shape: BertConfig, layers: dict, folder: pathlib.Path) -> None:
    """A pre-trained model with its heads as config.json and model.safetensors (float32), in their published names.
    `shape` stands in for the model's own, whose dropout may have been another during pre-training; `layers` is empty
    for a BERT, else its `model_type` and `small`. config.json comes last: with it the folder is complete."""
    folder.mkdir(parents=True, exist_ok=True)
    write_safetensors(model.state_dict(), folder / "model.safetensors")
    paired = model.cls.seq_relationship is not None
    write_config(shape, "BertForPreTraining" if paired else "BertForMaskedLM", layers, folder)


def halve(folder: str | os.PathLike, target: str | os.PathLike) -> None:
    """Copy a published model into the folder `target` with its weights in float16: half the size."""
    source, target = find_folder(folder), pathlib.Path(target)
    target.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.half() for name, tensor in read_weights(weights_file(source)).items()}
    write_safetensors(tensors, target / "model.safetensors")
    for name in ("vocab.txt", "tokenizer_config.json", "config.json"):
        (target / name).write_bytes((source / name).read_bytes())


def write_config(shape: BertConfig, architecture: str, layers: dict, folder: pathlib.Path) -> None:
    files.write_json(
        folder / "config.json", {"model_type": "bert", "architectures": [architecture], **vars(shape), **layers}
    )


def write_safetensors(tensors: dict[str, torch.Tensor], path: pathlib.Path) -> None:
    names = {kind: name for name, (kind, _) in DTYPES.items()}
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, tensor in tensors.items():
        end = at + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": names[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # the data starts on an 8-byte boundary
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors.values():
            file.write(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
