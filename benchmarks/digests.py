"""Digests of everything that is computed: trained weights, metrics, predictions and plans of every model and task.

python benchmarks/digests.py before.json           small runs of every model and task, about five minutes on one core
python benchmarks/digests.py after.json --against before.json

Same seed, same machine: the same numbers, bit for bit. Run it before code is moved and after: what differs is named. To
have the digests of another commit, copy this file into a checkout of it.
"""

import argparse
import contextlib
import difflib
import hashlib
import importlib
import io
import json
import os
import pathlib
import random
import re
import sys
import tempfile

import torch

ROOT = pathlib.Path(__file__).resolve().parent.parent
TOPICS = {
    "astronomy": "star planet orbit telescope comet moon galaxy rocket".split(),
    "cooking": "flour butter oven recipe sugar pepper onion stew".split(),
    "sailing": "wind mast anchor harbour keel sail rope tide".split(),
}
FILLER = "the a of and with near under old new small great very quite this that".split()
CLOCK = {"seconds", "dev_seconds", "documents_per_s", "tokens_per_s", "memory"}  # of a line of metrics.jsonl

TRANS = ("trans-blstm-1", "trans-blstm-2", "blstm")
MODELS = {
    "classification": ("linear", "bert", "bilstm", "lstm", "bilstm-scratch", "bert-lstm", "bert-bilstm", *TRANS),
    "tagging": ("bert", "bilstm", "bilstm-scratch", "bert-bilstm", *TRANS),
    "lm": ("lstm",),
    "pretrain": ("bert", *TRANS),
}
VARIANTS = {  # name -> (model, task, further flags)
    "crf": ("bert", "tagging", "--crf"),
    "windows": ("bert", "classification", "--long-documents window --max-length 8 --stride 4 --max-windows 3"),
    "windows-lstm": ("lstm", "classification", "--long-documents window --max-length 8"),
    "cls": ("bert-lstm", "classification", "--features cls"),
    "tune": ("bert-bilstm", "classification", "--encoder tune --encoder-lr 1e-4 --pooling last"),
    "tune-tag": ("bert-bilstm", "tagging", "--encoder tune --encoder-lr 1e-4"),
    "max": ("bilstm", "classification", "--pooling max --class-weights balanced"),
    "thinned": ("bilstm", "classification", "--word-dropout 0.3 --pooling attention+max"),
    "thinned-pairs": ("bert", "classification", "--word-dropout 0.3 --pooling mean --train pairs.csv --test pairs.csv "
                      "--text-column a,b --label-column y"),
    "mean": ("bilstm-scratch", "classification", "--pooling mean --truncate headtail --max-length 8"),
    "checkpointed": ("bert", "classification", "--checkpoint-activations --accumulate 3 --amp bf16"),
    "scratch": ("bilstm", "classification", "--scratch"),
    "small": ("trans-blstm-2", "classification", "--small --truncate tail --max-length 8"),
    "vectors": ("lstm", "classification", "--vectors vectors.txt --select macro_f1 --patience 1"),
    "masked-only": ("bert", "pretrain", "--no-next-sentence --dropout 0"),
    "new-vocabulary": ("trans-blstm-1", "pretrain", "--scratch --vocab-size 200 --small"),
    "macro": ("linear", "classification", "--select loss --seed 7"),
    "strict": ("bilstm-scratch", "tagging", "--select strict_f1 --crf"),
    "fp32": ("bert", "classification", "--amp off"),
    "fp32-tag": ("trans-blstm-2", "tagging", "--amp off --crf"),
    "fp32-pretrain": ("trans-blstm-1", "pretrain", "--amp off"),
    "pairs": ("bert", "classification", "--train pairs.csv --test pairs.csv --text-column a,b --label-column y"),
    "bilm": ("elmo", "lm", "--elmo-options options.json"),
    "elmo": ("elmo-bilstm", "classification", "--elmo runs/bilm"),
    "elmo-tune": ("elmo-lstm", "classification", "--elmo runs/bilm --encoder tune --elmo-layers concatenate"),
    "elmo-tag": ("elmo-bilstm", "tagging", "--elmo runs/bilm --crf --mix-norm"),
}
BILM = {
    "lstm": {"dim": 16, "projection_dim": 6, "n_layers": 2, "cell_clip": 3, "proj_clip": 3,
             "use_skip_connections": True},
    "char_cnn": {"embedding": {"dim": 4}, "filters": [[1, 4], [2, 6], [3, 8]], "n_highway": 1, "activation": "relu",
                 "n_characters": 262, "max_characters_per_token": 50},
}  # fmt: skip
PLANS = {
    "bert": "--model bert --bert bert-base-uncased --device cuda --memory 6GB",
    "bilstm": "--model bilstm --bert bert-base-uncased --device cuda --amp bf16",
    "tagger": "--task tagging --model bert --train train.conll --device cuda --crf",
    "lm": "--task lm --model lstm --train train.txt --device cuda",
    "linear": "--model linear --device cuda",
    "cluster": "--task pretrain --model trans-blstm-2 --bert bert-large-uncased --max-length 256 --batch-size 4 "
    "--accumulate 1 --train x --device cuda --nodes 8 --gpus 8",
}


def make_rows(count: int, seed: int) -> list[tuple[str, str]]:
    draw, rows = random.Random(seed), []
    for i in range(count):
        label = sorted(TOPICS)[i % len(TOPICS)]
        words = draw.choices(TOPICS[label], k=draw.randint(2, 5)) + draw.choices(FILLER, k=draw.randint(1, 12))
        draw.shuffle(words)
        rows.append((" ".join(words), label))
    return rows


def write_data(folder: pathlib.Path) -> None:
    for name, count, seed in (("train", 72, 0), ("test", 30, 1)):
        rows = make_rows(count, seed)
        csv = "text,label\n" + "".join(f"{text},{label}\n" for text, label in rows)
        (folder / f"{name}.csv").write_text(csv, "utf-8")
        tags = {word: label[:3].upper() for label, words in TOPICS.items() for word in words[:3]}
        lines = [[f"{word}\t{'B-' + tags[word] if word in tags else 'O'}" for word in text.split()] for text, _ in rows]
        (folder / f"{name}.conll").write_text("\n\n".join(map("\n".join, lines)) + "\n", "utf-8")
        (folder / f"{name}.txt").write_text("".join(f"{text}\n" for text, _ in rows), "utf-8")
        (folder / f"{name}.docs").write_text("\n\n".join("\n".join(text.split("a ")) for text, _ in rows), "utf-8")
    pairs = zip(make_rows(40, 2), make_rows(40, 3)[::-1], strict=True)
    table = "a,b,y\n" + "".join(f"{a},{b},{'same' if x == y else 'other'}\n" for (a, x), (b, y) in pairs)
    (folder / "pairs.csv").write_text(table, "utf-8")
    (folder / "in.txt").write_text("a star and a comet\nflour and butter\n\n", "utf-8")
    (folder / "in.jsonl").write_text('{"a": "a star", "b": "a comet"}\n', "utf-8")
    (folder / "in.conll").write_text("star x\nand y\n\n" + "mast z\n" * 40, "utf-8")
    (folder / "in.docs").write_text("a star and [MASK] comet\n[MASK] butter [MASK]\n", "utf-8")
    vectors = "".join(f"{word} {i / 7} -{i} 0.5\n" for i, word in enumerate(TOPICS["cooking"]))
    (folder / "vectors.txt").write_text(vectors, "utf-8")
    (folder / "options.json").write_text(json.dumps(BILM), "utf-8")


ENDING = {"classification": "csv", "tagging": "conll", "lm": "txt", "pretrain": "docs"}
SMALL = {  # what keeps a run short, for the models that know the flag
    "hidden": ("bilstm", "lstm", "bilstm-scratch", "bert-lstm", "bert-bilstm", "elmo-lstm", "elmo-bilstm"),
    "embedding": ("lstm", "bilstm-scratch"),
}


def flags(model: str, task: str, more: str) -> list[str]:
    ending = ENDING[task]
    given = {"model": model, "task": task, "train": f"train.{ending}", "test": f"test.{ending}", "dev": "0.2"}
    given |= {"epochs": "2", "batch-size": "8", "save-every": "3", "device": "cpu"}
    if model != "linear":
        given["max-length"] = "16"
    for name, models in SMALL.items():
        if model in models and not (task == "lm" and name == "hidden") and not ("vectors" in more):
            given[name] = "12"
    if task == "pretrain":
        given["accumulate"] = "2"
    words = more.split()
    while words:
        name = words.pop(0).removeprefix("--")
        given[name] = words.pop(0) if words and not words[0].startswith("--") else None
    return [word for name, value in given.items() for word in (f"--{name}", value) if word is not None]


def call(script: str, arguments: list[str]) -> str:
    """What a script prints, with numbers that a clock or a meter gave left out."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        status = importlib.import_module(script).main(arguments)
    text = out.getvalue()
    if status:
        raise SystemExit(f"{script} {' '.join(arguments)} ended with {status}:\n{text}")
    return text


def weights(path: pathlib.Path) -> str:
    content = torch.load(path, weights_only=True)["model"]
    digest = hashlib.sha256()
    for name in sorted(content):
        digest.update(name.encode() + content[name].reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def timeless(result: dict) -> dict:
    drop = CLOCK | {"properties", "device", "unit", "split", "checksum"}
    return {name: value for name, value in result.items() if name not in drop}


def digest(name: str, model: str, task: str, more: str) -> dict:
    run = pathlib.Path("runs") / name
    printed = call("train", [*flags(model, task, more), "--out", str(run)])
    history = [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]
    found = {
        "printed": masked(printed),
        "best": weights(run / "best.pt"),
        "last": weights(run / "last.pt"),
        "history": [timeless(line) for line in history],
        "results": timeless(json.loads((run / "results.json").read_text("utf-8"))),
        "evaluated": masked(call("evaluate", [str(run)])),
        "resumed": masked(call("train", ["--resume", str(run)])),
    }
    if task == "lm":
        found["sample"] = call("evaluate", [str(run), "--sample", "30", "--seed", "3"])
    else:
        source = "in.jsonl" if name == "pairs" else f"in.{'txt' if task == 'classification' else ENDING[task]}"
        found["predicted"] = call("evaluate", [str(run), "--predict", source, "--top-k", "2"])
    return found


def masked(text: str) -> str:
    """Without progress bars, times, rates and sizes of the process."""
    text = text.replace(os.getcwd(), ".")
    text = re.sub(r"\d[\d,.]* +on cpu", "# on cpu", text)
    text = re.sub(r"\d[\d,.]* (s|s/epoch|GFLOP/s|GiB|documents/s|sentences/s|words/s|tokens/s)\b", r"# \1", text)
    text = re.sub(r" \+ # s dev", "", text)  # the time of the dev pass is said since
    text = re.sub(r" {3,}|-{3,}", "  ", text)  # a table is as wide as its longest row
    return re.sub(r"(growth of the .*|memory: .*)", "#", text)


def all_digests() -> dict:
    found = {f"{task} {model}": (model, task, "") for task, models in MODELS.items() for model in models}
    found |= VARIANTS
    result = {}
    for name, case in found.items():
        print(name, file=sys.stderr, flush=True)
        result[name] = digest(name.replace(" ", "-"), *case)
    members = ["runs/classification-bert", "runs/classification-bilstm", "runs/classification-linear"]
    for kind in ("learned", "weighted"):
        printed = call("ensemble", [*members, "--combine", kind, "--out", f"runs/{kind}"])
        both = call("evaluate", [*members, f"runs/{kind}"])
        predicted = call("evaluate", [f"runs/{kind}", "--predict", "in.txt", "--top-k", "3"])
        result[kind] = {"printed": masked(printed), "best": weights(pathlib.Path(f"runs/{kind}/best.pt")),
                        "side by side": masked(both), "predicted": predicted}  # fmt: skip
    seeds = [*flags("linear", "classification", ""), "--seeds", "1", "2", "--out", "runs/seeds"]
    result["seeds"] = {"printed": masked(call("train", seeds))}
    for name, given in PLANS.items():
        result[f"plan {name}"] = {"printed": call("train", [*given.split(), "--plan"])}
    return result


def differences(before: dict, after: dict) -> list[str]:
    lines = [f"{name}: only in one of the two" for name in before.keys() ^ after.keys()]
    for name in before.keys() & after.keys():
        for key, old in before[name].items():
            if old != (new := after[name].get(key)):
                texts = [x.splitlines() if isinstance(x, str) else json.dumps(x, indent=1).splitlines()
                         for x in (old, new)]  # fmt: skip
                lines += [f"{name}, {key}:", *difflib.unified_diff(*texts, lineterm="", n=0)]
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path, help="file to write")
    parser.add_argument("--against", type=pathlib.Path, help="digests to compare with")
    arguments = parser.parse_args()
    out, against = arguments.out.resolve(), arguments.against and arguments.against.resolve()
    sys.path.insert(0, str(ROOT))
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ["TEXTCLS_CACHE"] = f"{folder}/cache"
        write_data(pathlib.Path(folder))
        found = all_digests()
        os.chdir(ROOT)
    out.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    if against is None:
        return 0
    lines = differences(json.loads(against.read_text("utf-8")), json.loads(json.dumps(found)))
    print("\n".join(lines) or f"all {len(found)} the same")
    return bool(lines)


if __name__ == "__main__":
    sys.exit(main())
