"""What a training run on the CPU is predicted to take, and what it takes: a row a run, each in a process of its own.

python benchmarks/memory.py                          models over nano, on docstrings of the standard library
python benchmarks/memory.py --bert FOLDER            the same over a larger BERT
python benchmarks/memory.py --fill 2GB               with the largest micro-batches that --plan finds for 2 GB
python benchmarks/memory.py --speed                  seconds an epoch with few compiled kernels kept, against 1,024

Text for taggers, language models and pre-training is made of the docstrings too: capitalised words are the entities.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from textcls import recipes  # noqa: E402
from textcls.config import TrainConfig  # noqa: E402
from textcls.data import pydocs  # noqa: E402
from textcls.ledger.plan import largest_micro_batch  # noqa: E402
from textcls.runtime.device import choose_device, choose_precision  # noqa: E402
from textcls.runtime.memory import parse_memory  # noqa: E402

CASES = [  # (model, task, further settings)
    ("linear", "classification", {}),
    ("lstm", "classification", {}),
    ("bilstm-scratch", "classification", {}),
    ("bilstm", "classification", {}),
    ("bilstm", "classification", {"max_length": 256, "batch_size": 64, "hidden": 256, "layers": 2}),
    ("bert-lstm", "classification", {"features": "cls"}),
    ("bert-bilstm", "classification", {}),
    ("bert-bilstm", "classification", {"encoder": "tune"}),
    ("bert", "classification", {}),
    ("bert", "classification", {"amp": "off"}),
    ("bert", "classification", {"checkpoint_activations": True, "max_length": 256}),
    ("bert", "classification", {"long_documents": "window", "max_length": 64, "max_windows": 4}),
    ("trans-blstm-2", "classification", {}),
    ("bert", "tagging", {"crf": True}),
    ("bilstm", "tagging", {}),
    ("lstm", "lm", {}),
    ("bert", "pretrain", {"accumulate": 1}),
]
FILLED = [("bilstm", {}), ("bert", {}), ("bert", {"amp": "off"}), ("trans-blstm-2", {})]
PAIRS = 5
MANY_KERNELS = {"few": {}, "many": {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "1024", "LRU_CACHE_CAPACITY": "1024"}}
FILES = {"tagging": "train.conll", "lm": "train.txt", "pretrain": "train.txt"}


def write_texts(folder: pathlib.Path) -> None:
    corpus = pydocs.load(seed=1)
    documents = [text.split() for (text,) in corpus.train.texts]
    tagged = [[f"{word}\t{'B-NAME' if word[0].isupper() else 'O'}" for word in words] for words in documents]
    (folder / "train.conll").write_text("\n\n".join(map("\n".join, tagged)) + "\n", "utf-8")
    lines = [" ".join(words[i : i + 20]) for words in documents for i in range(0, len(words), 20)]
    (folder / "train.txt").write_text("".join(f"{line}\n\n" for line in lines), "utf-8")


def filled(model: str, more: dict, bert: str, memory: str) -> dict:
    """The settings with the largest micro-batch at 256 tokens that is predicted to fit."""
    config = recipes.complete(TrainConfig(model=model, bert=bert, max_length=256, **more))
    device = choose_device("cpu")
    precision = choose_precision(config.amp, device, recipes.choose(config)["amp"])
    step = recipes.step(config, "cpu", precision.dtype)
    largest = largest_micro_batch(recipes.blocks(config, recipes.dims(config), 20), step, parse_memory(memory))
    return more | {"max_length": 256, "batch_size": largest, "accumulate": 1}


def train(model: str, task: str, more: dict, bert: str, epochs: int, folder: pathlib.Path, **variables) -> pathlib.Path:
    """The run folder of a training in a process of its own."""
    settings = {"model": model, "task": task, "bert": bert, "epochs": epochs, "device": "cpu", "dev": 0.1} | more
    if task in FILES:
        settings["train"] = folder / FILES[task]
    out = pathlib.Path(tempfile.mkdtemp(dir=folder)) / "run"
    flags = [word for name, value in settings.items() for word in flag(name, value)]
    command = [sys.executable, str(ROOT / "train.py"), *flags, "--quiet", "--out", str(out)]
    variables = os.environ | {"TEXTCLS_CACHE": str(folder / "cache")} | variables
    subprocess.run(command, cwd=folder, env=variables, check=True, stdout=subprocess.DEVNULL)
    return out


def row(model: str, task: str, more: dict, bert: str, epochs: int, folder: pathlib.Path) -> str:
    out = train(model, task, more, bert, epochs, folder)
    ledger = json.loads((out / "ledger.json").read_text("utf-8"))
    predicted, measured = ledger["predicted"], ledger["growth"]
    words = " ".join(word for name, value in more.items() for word in flag(name, value))
    what = f"{model}{'' if task == TrainConfig.task else f' --task {task}'} {words}".strip()
    sizes = f"{ledger['batch']} x {ledger['tokens']} | {predicted / 2**20:,.0f} | {measured / 2**20:,.0f}"
    return f"| {what} | {sizes} | {measured / predicted:.2f} |"


def flag(name: str, value) -> list[str]:
    name = "--" + name.replace("_", "-")
    return [name] if value is True else [name, str(value)]


def speed(bert: str, epochs: int, folder: pathlib.Path) -> None:
    """Pairs of runs, taken in turn: the median of the ratios of their training seconds."""
    for model, task in (("bilstm", "classification"), ("bert", "classification"), ("lstm", "lm")):
        ratios = []
        for number in range(PAIRS):
            seconds = {}
            for setting in sorted(MANY_KERNELS, reverse=number % 2 == 1):
                out = train(model, task, {}, bert, epochs, folder, **MANY_KERNELS[setting])
                lines = (out / "metrics.jsonl").read_text("utf-8").splitlines()
                seconds[setting] = sum(json.loads(line)["seconds"] for line in lines)
            ratios.append(seconds["few"] / seconds["many"])
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        print(f"{model} --task {task}: {statistics.median(ratios):.2f} times the seconds ({spread})", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bert", default="nano", help="backbone (default: nano)")
    parser.add_argument("--epochs", type=int, default=3, help="of each run (default: 3)")
    parser.add_argument("--fill", metavar="SIZE", help="memory to fill, such as 2GB")
    parser.add_argument("--speed", action="store_true", help="what keeping few kernels costs")
    parser.add_argument("--only", nargs="+", metavar="MODEL", help="only these models")
    arguments = parser.parse_args()
    bert = arguments.bert if arguments.bert == "nano" else str(pathlib.Path(arguments.bert).resolve())
    cases = CASES
    if arguments.fill:
        cases = [(model, "classification", filled(model, more, bert, arguments.fill)) for model, more in FILLED]
    if arguments.speed:
        with tempfile.TemporaryDirectory() as folder:
            write_texts(pathlib.Path(folder))
            return speed(bert, arguments.epochs, pathlib.Path(folder))
    print("| run | longest batch | predicted growth, MiB | measured | measured / predicted |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        write_texts(pathlib.Path(folder))
        for model, task, more in cases:
            if not arguments.only or model in arguments.only:
                print(row(model, task, more, bert, arguments.epochs, pathlib.Path(folder)), flush=True)


if __name__ == "__main__":
    main()
