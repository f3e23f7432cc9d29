"""Measure this library against its peers on the same work.

python benchmarks/run.py --data FOLDER --bert FOLDER            all rows, growth curves, and every classifier
python benchmarks/run.py --data FOLDER --bert FOLDER --quick    less work, one repetition, no --rows family

--data holds 20news-bydate.tar.gz, --bert a BERT (MiniLM: 6 layers, hidden 384). Peers come with
pip install -r benchmarks/requirements.txt. Contenders run in processes of their own, in turn (A B A B), after one
repetition that is not counted; a ratio is the median of the ratios of neighbouring repetitions.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
from importlib import metadata

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
sys.path.insert(0, str(HERE))


@dataclasses.dataclass
class Row:
    """`ours` against `peer`: the peer's seconds over ours must be at least `target`."""

    what: str
    ours: str
    peer: str
    target: float
    work: dict
    quick: int  # documents of a --quick run
    full: int


ROWS = {
    "bilstm": Row(
        "BiLSTM training, against nn.LSTM on a PackedSequence", "Ours", "OursPacked", 5.0,
        {"model": "bilstm", "batch": 32, "hidden": 384, "layers": 2}, 64, 128,
    ),
    "features": Row(
        "LSTM on a frozen BERT, vectors cached, against computing them again", "OursCached", "Ours", 5.0,
        {"model": "bert-lstm", "batch": 32}, 64, 512,
    ),
    "trainer": Row("BERT fine-tuning, against Trainer, padded to the maximum", "Ours", "Trainer", 5.0, {}, 32, 96),
    "trainer-best": Row("BERT fine-tuning, against Trainer at its best", "Ours", "TrainerBest", 1.3, {}, 32, 96),
    "pipeline": Row(
        "BERT inference, against the pipeline", "OursInference", "Pipeline", 5.0, {"batch": 32}, 64, 256
    ),
    "onnx": Row("BERT forwards, against ONNX Runtime", "OursForward", "OnnxRuntime", 1.5, {"batch": 32}, 96, 384),
    "reading": Row("load, strip, tokenise again, against the first time", "ReadingAgain", "Reading", 10.0, {}, 0, 0),
}  # fmt: skip


class Worker:
    """A contender in a process of its own, told by a line to work once and answering by a line."""

    def __init__(self, name: str, work: dict):
        command = [sys.executable, __file__, "--worker", name, json.dumps(work)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.answer()

    def answer(self) -> dict:
        for line in self.process.stdout:  # libraries may print, too
            if line.startswith("@"):
                return json.loads(line[1:])
        raise SystemExit(f"a contender died: {' '.join(self.process.args[2:])}")

    def work(self) -> dict:
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return self.answer()

    def stop(self) -> None:
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def serve(name: str, work: dict) -> None:
    import torch
    from contenders import CONTENDERS, Work

    from textcls.runtime.memory import peak_memory

    contender = CONTENDERS[name](Work(**work))
    print("@" + json.dumps({}), flush=True)
    for _ in sys.stdin:
        value = contender.run()
        memory = peak_memory(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
        print("@" + json.dumps({"value": value, **memory}), flush=True)


def measure(names: list[str], work: dict, repetitions: int, warm: bool = True) -> list[list[dict]]:
    """The answers of each contender, taken in turn; with `warm` after one that does not count."""
    workers = [Worker(name, work) for name in names]
    answers = [[worker.work() for worker in workers] for _ in range(repetitions + warm)]
    for worker in workers:
        worker.stop()
    return [list(column) for column in zip(*answers[warm:], strict=True)]


def compare(row: Row, work: dict, documents: int, repetitions: int) -> dict:
    warm = documents > 0  # reading everything twice over would only repeat the first repetition
    ours, peer = measure([row.ours, row.peer], work | row.work | {"documents": documents}, repetitions, warm)
    ratios = [b["value"] / a["value"] for a, b in zip(ours, peer, strict=True)]
    result = {"what": row.what, "target": row.target, "ratio": statistics.median(ratios), "ratios": ratios}
    for name, answers in (("ours", ours), ("peer", peer)):
        result[name] = {
            "seconds": [answer["value"] for answer in answers],
            "documents_per_s": documents / statistics.median(answer["value"] for answer in answers),
            "rss": answers[-1]["rss"],
        }
    return result


def arithmetic(work: dict, documents: int, repetitions: int) -> dict:
    (answers,) = measure(["OursRate"], work | {"documents": documents}, repetitions)
    shares = [answer["value"] for answer in answers]
    what = "BERT training arithmetic, of the best matrix product rate"
    return {"what": what, "target": 0.5, "ratio": statistics.median(shares), "ratios": shares}


FAMILY = {  # name: (settings, documents, how training reads a frozen encoder)
    "linear": ({"model": "linear", "batch": 32, "max_length": 20_000}, 2000, "Ours"),
    "lstm": ({"model": "lstm", "batch": 32}, 1000, "Ours"),
    "bilstm-scratch": ({"model": "bilstm-scratch", "batch": 32}, 1000, "Ours"),
    "bilstm": ({"model": "bilstm", "batch": 32}, 128, "Ours"),
    "bert-lstm, [CLS]": ({"model": "bert-lstm", "batch": 32, "features": "cls"}, 128, "OursCached"),
    "bert-lstm": ({"model": "bert-lstm", "batch": 32}, 128, "OursCached"),
    "bert-bilstm": ({"model": "bert-bilstm", "batch": 32}, 128, "OursCached"),
    "bert": ({}, 96, "Ours"),
}


def family(work: dict, quick: bool) -> list[dict]:
    """Every classifier, in training (frozen encoders cached) and from text to logits: one process each."""
    result = []
    for name, (settings, documents, trainer) in FAMILY.items():
        documents //= 4 if quick else 1
        row = {"model": name}
        for what, contender in (("training", trainer), ("inference", "OursInference")):
            (answers,) = measure([contender], work | settings | {"documents": documents}, 1)
            row[what] = {"documents_per_s": documents / answers[0]["value"], "rss": answers[0]["rss"]}
        result.append(row)
        speeds = ", ".join(
            f"{what} {row[what]['documents_per_s']:.0f} documents/s {row[what]['rss'] / 2**30:.2f} GiB"
            for what in ("training", "inference")
        )
        print(f"{name}: {speeds}", flush=True)
    return result


def growth(work: dict, quick: bool) -> dict[str, list]:
    """documents/s and peak resident set against length, batch and number of documents: one point, one process."""
    documents = 16 if quick else 96
    lengths = (64, 256) if quick else (64, 128, 256, 512)
    sizes = (8, 32) if quick else (8, 16, 32, 64, 128)
    counts = (500, 1500) if quick else (1000, 10_000, 100_000)
    small = {"model": "bilstm", "hidden": 64, "layers": 1, "batch": 64, "max_length": 32}
    curves = {
        "max length (BERT, batch 16)": [(n, {"max_length": n, "documents": documents}) for n in lengths],
        "batch (BERT, 128 tokens)": [
            (n, {"batch": n, "max_length": 128, "documents": max(documents, 2 * n)}) for n in sizes
        ],
        "documents (BiLSTM, 64 units, 32 tokens)": [(n, small | {"documents": n}) for n in counts],
    }
    result = {}
    for name, points in curves.items():
        result[name] = []
        for at, changes in points:
            (answers,) = measure(["Ours"], work | changes, 1, warm=False)
            speed = changes["documents"] / answers[0]["value"]
            result[name].append({"at": at, "documents_per_s": speed, "rss": answers[0]["rss"]})
            print(f"{name}: {at}: {speed:.1f} documents/s, {answers[0]['rss'] / 2**30:.2f} GiB", flush=True)
    return result


def describe() -> dict:
    import torch

    versions = {}
    for name in ("torch", "transformers", "onnxruntime", "tokenizers", "numpy"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    cpu = platform.processor()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            cpu = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), cpu)
    flags = [name for name, has in torch.cpu.get_capabilities().items() if has is True and name.startswith(("a", "f"))]
    machine = {
        "cpu": cpu,
        "flags": flags,
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
    }
    return machine | versions


def line(row: dict) -> str:
    spread = f"{min(row['ratios']):.2f} to {max(row['ratios']):.2f}"
    text = f"{row['what']:<58} {row['ratio']:6.2f} x  ({spread}; target {row['target']:g})"
    if "ours" in row:
        ours, peer = row["ours"], row["peer"]
        if ours["documents_per_s"]:
            text += f"  {ours['documents_per_s']:.1f} against {peer['documents_per_s']:.1f} documents/s"
        text += f"  rss {ours['rss'] / 2**30:.2f} against {peer['rss'] / 2**30:.2f} GiB"
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--data", help="folder that holds 20news-bydate.tar.gz")
    parser.add_argument("--bert", help="folder of a pretrained BERT")
    parser.add_argument("--rows", nargs="+", choices=[*ROWS, "arithmetic", "growth", "family"], help="only these")
    parser.add_argument("--repetitions", type=int, default=3, help="of each contender (default: 3)")
    parser.add_argument("--quick", action="store_true", help="less work, one repetition")
    parser.add_argument("--out", default="benchmarks.json", help="results (default: benchmarks.json)")
    options = parser.parse_args()
    if options.worker:
        return serve(options.worker[0], json.loads(options.worker[1]))
    if not (options.data and options.bert):
        parser.error("--data and --bert are needed")
    work = {"data": str(pathlib.Path(options.data).resolve()), "bert": str(pathlib.Path(options.bert).resolve())}
    repetitions = 1 if options.quick else options.repetitions
    chosen = options.rows or [*ROWS, "arithmetic", "growth", *([] if options.quick else ["family"])]
    results = {"machine": describe(), "quick": options.quick, "rows": []}
    print(json.dumps(results["machine"]), flush=True)
    for name in chosen:
        if name in ("growth", "family"):
            results[name] = {"growth": growth, "family": family}[name](work, options.quick)
            continue
        if name == "arithmetic":
            row = arithmetic(work, 32 if options.quick else 96, repetitions)
        else:
            row = compare(ROWS[name], work, ROWS[name].quick if options.quick else ROWS[name].full, repetitions)
        results["rows"].append(row)
        print(line(row), flush=True)
    with open(options.out, "w", encoding="utf-8") as file:
        json.dump(results, file, indent=2)
    print(f"written to {options.out}")


if __name__ == "__main__":
    main()
