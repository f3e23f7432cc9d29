"""What textcls/assets/nano was made of and with, besides train.py: see the README there.

python benchmarks/nano.py text > python.txt                          documentation of Python that is not in pydocs
python benchmarks/nano.py vectors wikipedia.txt,python.txt shape     vocabulary, word vectors and shape to begin with
python benchmarks/nano.py join runs/nano-2 runs/long-2 joined        embeddings of the first, layers of the second
python benchmarks/nano.py pack runs/nano-2 textcls/assets/nano       a published model in a third of its size
"""

import argparse
import pathlib
import sys
import sysconfig
from pydoc_data.topics import topics

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from textcls.data import pydocs, shards  # noqa: E402
from textcls.data.plain import Lines  # noqa: E402
from textcls.pretrained import ppmi  # noqa: E402
from textcls.pretrained.bert import in_8_bits, read_weights, scaled  # noqa: E402
from textcls.pretrained.hub import find_folder, weights_file  # noqa: E402
from textcls.pretrained.safetensors import write_safetensors  # noqa: E402
from textcls.pretrained.vectors import write  # noqa: E402
from textcls.runtime.digests import note_digests  # noqa: E402
from textcls.runtime.files import write_json  # noqa: E402
from textcls.text.vocabulary import Vocabulary  # noqa: E402

SHAPE = {
    "vocab_size": 16000,
    "hidden_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 512,
    "max_position_embeddings": 512,
}


def text() -> str:
    """Documentation of Python that `--data pydocs` has no part of, a paragraph a line, a blank line after each text:
    the docstrings of the modules that are no packages, of the packages that are none of its classes, and the language
    reference that `help()` shows."""
    folder = pathlib.Path(sysconfig.get_paths()["stdlib"])
    labels, taken = pydocs.distinct(pydocs.docstrings(folder)), set(pydocs.load(seed=1).labels)
    texts = {text for text, label in labels.items() if label not in taken}
    for path in folder.glob("*.py"):
        texts |= set(pydocs.docstrings_of(path))
    texts = sorted(texts - {text for text, label in labels.items() if label in taken}) + sorted(topics.values())
    documents = ("\n".join(" ".join(part.split()) for part in text.split("\n\n")) for text in texts)
    return "\n\n".join(documents) + "\n"


def vectors(names: str, folder: pathlib.Path) -> None:
    """A vocabulary learned from the text files (commas between), the vectors of its pieces by their neighbours in all
    of the text, and a shape: what pre-training on parts of the text begins with."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = Vocabulary.learn(Lines(names), SHAPE["vocab_size"])
    vocabulary.publish(folder)
    write_json(folder / "config.json", SHAPE)
    places, rows = ppmi.word_vectors(shards.text(names, vocabulary).documents(), len(vocabulary), SHAPE["hidden_size"])
    write(folder / "vectors.txt", [vocabulary.tokenizer.id_to_token(place) for place in places.tolist()], rows)


def join(words: str, layers: str, target: pathlib.Path) -> None:
    """The embedding module of one published model, as :func:`pack` keeps it, with the layers and heads of another, whose
    vocabulary and shape it has. (What pre-training makes of the vectors is of use to its layers, not to others.)"""
    source, kept = find_folder(layers), read_weights(weights_file(find_folder(words)))
    tensors = read_weights(weights_file(source))
    for name, tensor in scaled(packed({name: kept[name] for name in kept if ".embeddings." in name})).items():
        assert tensor.shape == tensors[name].shape, (name, tensor.shape, tensors[name].shape)
        tensors[name] = tensor.float()
    target.mkdir(parents=True, exist_ok=True)
    write_safetensors(tensors, target / "model.safetensors")
    for name in ("vocab.txt", "tokenizer.json", "tokenizer_config.json", "config.json"):
        (target / name).write_bytes((source / name).read_bytes())


def pack(folder: str, target: pathlib.Path) -> None:
    """A quarter of the size and a little more: vocabulary and config.json as they are, weights :func:`packed`."""
    source = find_folder(folder)
    target.mkdir(parents=True, exist_ok=True)
    write_safetensors(packed(read_weights(weights_file(source))), target / "model.safetensors")
    for name in ("vocab.txt", "tokenizer_config.json", "config.json"):
        (target / name).write_bytes((source / name).read_bytes())
    note_digests(target)


def packed(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Word vectors in 8 bits a number with a scale a row, the others in float16."""
    result = {}
    for name, tensor in tensors.items():
        words = name.endswith("word_embeddings.weight")
        result |= in_8_bits(name, tensor) if words else {name: tensor.half()}
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("text")
    counting = commands.add_parser("vectors")
    counting.add_argument("text")
    counting.add_argument("folder", type=pathlib.Path)
    joining = commands.add_parser("join")
    joining.add_argument("words")
    joining.add_argument("layers")
    joining.add_argument("target", type=pathlib.Path)
    packing = commands.add_parser("pack")
    packing.add_argument("folder")
    packing.add_argument("target", type=pathlib.Path)
    arguments = parser.parse_args()
    if arguments.command == "text":
        print(text(), end="")
    elif arguments.command == "vectors":
        vectors(arguments.text, arguments.folder)
    elif arguments.command == "join":
        join(arguments.words, arguments.layers, arguments.target)
    else:
        pack(arguments.folder, arguments.target)


if __name__ == "__main__":
    main()
