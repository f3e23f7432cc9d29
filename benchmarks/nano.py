"""What textcls/assets/nano was made of and with, besides train.py: see the README there.

python benchmarks/nano.py text > pydocs.txt                          the docstrings that are not in pydocs' test split
python benchmarks/nano.py halve runs/nano-2 textcls/assets/nano      a published model with its weights in float16
"""

import argparse
import pathlib
import sys
import sysconfig

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from textcls.data.pydocs import distinct, docstrings, is_test  # noqa: E402
from textcls.pretrained.bert import read_weights  # noqa: E402
from textcls.pretrained.hub import find_folder, weights_file  # noqa: E402
from textcls.pretrained.safetensors import write_safetensors  # noqa: E402


def text() -> str:
    """A paragraph a line, a blank line after each docstring."""
    texts = sorted(distinct(docstrings(pathlib.Path(sysconfig.get_paths()["stdlib"]))))
    documents = (
        "\n".join(" ".join(part.split()) for part in text.split("\n\n")) for text in texts if not is_test(text)
    )
    return "\n\n".join(documents) + "\n"


def halve(folder: str, target: pathlib.Path) -> None:
    """Half the size: vocabulary and config.json as they are, weights in float16."""
    source = find_folder(folder)
    target.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.half() for name, tensor in read_weights(weights_file(source)).items()}
    write_safetensors(tensors, target / "model.safetensors")
    for name in ("vocab.txt", "tokenizer_config.json", "config.json"):
        (target / name).write_bytes((source / name).read_bytes())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("text")
    halving = commands.add_parser("halve")
    halving.add_argument("folder")
    halving.add_argument("target", type=pathlib.Path)
    arguments = parser.parse_args()
    if arguments.command == "text":
        print(text(), end="")
    else:
        halve(arguments.folder, arguments.target)


if __name__ == "__main__":
    main()
