"""What the trials run on: small data of every kind, tiny backbones, and the runs that were never stopped, each made
once when a trial first asks for it."""

import fcntl
import gzip
import hashlib
import json
import lzma
import os
import pathlib
import pickle
import random
import shutil
import tarfile
import time
from collections.abc import Callable

import digests
import torch

from survival.processes import Ended, Place, Process, counting, require, watch
from textcls.models.bert import Bert, BertConfig
from textcls.models.elmo import BiLM, ElmoConfig
from textcls.pretrained.bert import save_bert
from textcls.pretrained.elmo import save_elmo
from textcls.pretrained.safetensors import read_safetensors, write_safetensors
from textcls.recipes import RECIPES
from textcls.runtime.digests import SUMS, note_digests
from textcls.runtime.files import CHECKSUM, with_checksum
from textcls.text.vocabulary import Vocabulary

OUT = "runs/x"
ENDING = digests.ENDING | {"regression": "tsv", "multilabel": "csv", "spans": "json"}
SCRATCH = ("linear", "lstm", "bilstm-scratch", "elmo-lstm", "elmo-bilstm", "elmo")  # models without --bert
ELMO = "--elmo bilm"
WHOLE = ("tokenizer.json", "splits.npz", "done.csv", "done.conll")  # files that are the same in every byte
VARIANTS = {  # name -> (model, task, further flags)
    "elmo bilm": ("elmo", "lm", "--elmo-options options.json"),
    "elmo frozen": ("elmo-bilstm", "classification", ELMO),
    "elmo tuned": ("elmo-lstm", "classification", f"{ELMO} --encoder tune"),
    "elmo tagger": ("elmo-bilstm", "tagging", f"{ELMO} --crf"),
    "crf": ("bert", "tagging", "--crf"),
    "frozen layers": ("bert", "classification", "--freeze 1"),
    "tuned": ("bert-bilstm", "classification", "--encoder tune --encoder-lr 1e-4"),
    "scratch": ("bilstm", "classification", "--scratch"),
    "new vocabulary": ("trans-blstm-1", "pretrain", "--scratch --vocab-size 200 --small"),
    "vectors": ("lstm", "classification", "--vectors vectors.txt"),
    "windows": ("bert", "classification", "--long-documents window --max-length 8 --stride 4"),
    "compressed": ("bert", "pretrain", "--train train.docs.gz,test.docs.xz"),
    "20newsgroups": ("linear", "classification", "--data 20newsgroups --data-dir news.tar.gz"),
    "glue": ("bert", "classification", "--data cola --data-dir glue"),
    "unsigned": ("bilstm", "classification", "--bert plain"),
    "seeds": ("linear", "classification", "--seeds 1 2"),
    "seeds of a bilstm": ("bilstm", "classification", "--seeds 1 2"),
    "search": ("lstm", "classification", "--lr 1e-3 1e-2"),
}
# Every model of every task; those over a biLM need one, and stand among the variants.
CASES = {f"{model} {task}": (model, task, "") for model, task in RECIPES if "elmo" not in model} | VARIANTS
# What the other two scripts stand on: case -> (script, its arguments, the case that has trained the runs).
AFTER = {
    "evaluate": ("evaluate", f"{OUT} --json --quiet", "bert classification"),
    "evaluate tagger": ("evaluate", f"{OUT} --json --quiet", "crf"),
    "evaluate linear beside": ("evaluate", f"{OUT} {OUT}/linear --json --quiet", "bilstm classification"),
    "predict": ("evaluate", f"{OUT} --predict many.csv --out runs/done.csv --quiet", "bert classification"),
    "predict words": ("evaluate", f"{OUT} --predict in.conll --out runs/done.conll --quiet", "crf"),
    "ensemble": ("ensemble", f"{OUT} {OUT}/linear --out runs/e --quiet", "bert classification"),
    "ensemble weighted": ("ensemble", f"{OUT} {OUT}/linear --out runs/e --combine weighted", "lstm classification"),
}


def flags(name: str) -> list[str]:
    """Of train.py; a run of seconds."""
    model, task, more = CASES[name]
    given = {"model": model, "task": task, "train": f"train.{ENDING[task]}", "test": f"test.{ENDING[task]}"}
    if "--data " in more:
        given = {"model": model, "task": task}
    given |= {"dev": "0.2", "epochs": "2", "batch-size": "8", "save-every": "3", "device": "cpu", "out": OUT}
    if model not in SCRATCH:
        given["bert"] = "tiny"
    if model != "linear":
        given["max-length"] = "48" if task == "spans" else "16"
    if task == "spans":
        given["stride"] = "12"
    if model in ("bilstm", "lstm", "bilstm-scratch", "bert-lstm", "bert-bilstm") and task != "lm":
        given["hidden"] = "12"
    if model in ("lstm", "bilstm-scratch") and "vectors" not in more:
        given["embedding"] = "12"
    words = [word for flag, value in given.items() for word in (f"--{flag}", value)]
    return [*words, *more.split(), "--quiet"]


def command(name: str) -> tuple[str, list[str]]:
    """(script, arguments) of a case."""
    if name in AFTER:
        script, arguments, _ = AFTER[name]
        return script, arguments.split()
    return "train", flags(name)


# ---- data -----------------------------------------------------------------------------------------------------------


def write_data(folder: pathlib.Path) -> None:
    """One text in every format that is read."""
    digests.write_data(folder)
    for name, count, seed in (("train", 72, 0), ("test", 30, 1)):
        rows = digests.make_rows(count, seed)
        write(folder / f"{name}.tsv", "text\tlabel\n" + "".join(f"{t}\t{len(t.split()) / 4}\n" for t, _ in rows))
        write(folder / f"{name}.jsonl", "".join(json.dumps({"text": t, "label": c}) + "\n" for t, c in rows))
        write(folder / f"{name}-rows.json", json.dumps([{"text": t, "label": c} for t, c in rows]))
        write(folder / f"{name}.json", json.dumps(questions(count // 6, seed)))
        write(folder / f"{name}-labelled.txt", "".join(f"__label__{c} {t}\n" for t, c in rows))
        docs = (folder / f"{name}.docs").read_bytes()
        (folder / f"{name}.docs.gz").write_bytes(gzip.compress(docs, mtime=0))
        (folder / f"{name}.docs.xz").write_bytes(lzma.compress(docs))
    write(folder / "many.csv", "text\n" + "".join(f"{text}\n" for text, _ in digests.make_rows(2000, 5)))
    for split, count, seed in (("train", 60, 0), ("dev", 20, 1)):
        cola = "".join(f"gj04\t{int(c < 'b')}\t\t{t}\n" for t, c in digests.make_rows(count, seed))
        write(folder / f"glue/CoLA/{split}.tsv", cola)


def write(path: pathlib.Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


def questions(paragraphs: int, seed: int) -> dict:
    """SQuAD's JSON: who lives where."""
    draw, data = random.Random(seed), []
    for number in range(paragraphs):
        context, qas = "", []
        for who in draw.sample("ada grace alan edsger barbara".split(), 3):
            where = draw.choice("turin milan paris oslo lima cairo".split())
            context += f"{' '.join(draw.choices(digests.FILLER, k=5))}. {who} lives in "
            answer = {"text": where, "answer_start": len(context)}
            qas.append({"id": f"{number} {who}", "question": f"where lives {who} ?", "answers": [answer]})
            context += f"{where}. "
        data.append({"title": f"article {number}", "paragraphs": [{"context": context, "qas": qas}]})
    return {"version": "1.1", "data": data}


def write_folders(folder: pathlib.Path) -> None:
    """A text a file: of classes in folders, and posts in the form of 20 Newsgroups; the latter in archives, too."""
    for name, count, seed in (("train", 60, 0), ("test", 20, 1)):
        for number, (text, label) in enumerate(digests.make_rows(count, seed)):
            write(folder / f"{name}-folder" / label / f"{number}.txt", text)
            write(folder / f"news/20news-bydate-{name}/{label}/{number}", f"From: x\nSubject: y\n\n{text}\n{text}\n")
    for kind in ("tar", "tar.gz", "tar.bz2", "tar.xz"):
        with tarfile.open(folder / f"news.{kind}", "w:" + kind[4:]) as archive:
            archive.add(folder / "news", "")


def write_backbones(folder: pathlib.Path) -> None:
    """A BERT of one layer with random weights as a folder with SHA256SUMS (tiny), as one without (plain), in PyTorch's
    own format (pickled), in two files with an index (parts), with vocab.txt alone (words); and a biLM."""
    texts = [text for text, _ in digests.make_rows(72, 0)] + ["ada grace alan edsger barbara lives in turin milan ? ."]
    vocabulary = Vocabulary.learn(texts * 2, 200)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    torch.manual_seed(0)
    tiny = folder / "tiny"
    save_bert(Bert(BertConfig(vocab_size=len(vocabulary), max_position_embeddings=64, **sizes)), tiny)
    vocabulary.save(tiny)
    (tiny / SUMS).unlink(missing_ok=True)
    for name in ("plain", "pickled", "parts", "words"):
        shutil.copytree(tiny, folder / name)
    note_digests(tiny)
    tensors = read_safetensors(tiny / "model.safetensors")
    torch.save(tensors, folder / "pickled/pytorch_model.bin")
    (folder / "pickled/model.safetensors").unlink()
    (folder / "parts/model.safetensors").unlink()
    names, places = sorted(tensors), {}
    for number, half in enumerate((names[::2], names[1::2]), 1):
        file = f"model-0000{number}-of-00002.safetensors"
        write_safetensors({name: tensors[name] for name in half}, folder / "parts" / file)
        places |= dict.fromkeys(half, file)
    write(folder / "parts/model.safetensors.index.json", json.dumps({"metadata": {}, "weight_map": places}))
    vocab = vocabulary.tokenizer.get_vocab()
    write(folder / "words/vocab.txt", "".join(f"{piece}\n" for piece in sorted(vocab, key=vocab.get)))
    write(folder / "words/tokenizer_config.json", json.dumps({"do_lower_case": True}))
    (folder / "words/tokenizer.json").unlink()
    torch.manual_seed(0)
    sizes = {"filters": ((1, 4), (2, 6), (3, 8)), "projection": 6, "cells": 10, "characters": 5}
    (folder / "bilm").mkdir()
    save_elmo(BiLM(ElmoConfig(**sizes)), folder / "bilm")


# ---- made once ------------------------------------------------------------------------------------------------------


class Worlds:
    """Folders with what trials need, made in `root` by whichever process asks first."""

    def __init__(self, root: pathlib.Path):
        self.root = root
        root.mkdir(parents=True, exist_ok=True)

    def once(self, name: str, make: Callable[[Place], object]) -> tuple[Place, object]:
        """(the folder called `name`, what making it gave)."""
        key = name.replace("/", "_").replace(" ", "-")
        place, result = Place(self.root / key), self.root / f"{key}.pickle"
        with open(self.root / f"{key}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not result.exists():
                shutil.rmtree(place.root, ignore_errors=True)
                value = make(place.make())
                result.write_bytes(pickle.dumps(value))
        return place, pickle.loads(result.read_bytes())

    def folders(self) -> Place:
        return self.once("folders", lambda place: write_folders(place.work))[0]

    def data(self) -> Place:
        folders = self.folders()

        def make(place: Place) -> None:
            write_data(place.work)
            for path in folders.work.glob("news.*"):
                shutil.copy(path, place.work)
            ended = in_process(place, lambda: write_backbones(place.work))
            require(ended == 0, f"the backbones were not made: exit status {ended}")

        return self.once("data", make)[0]

    def trained(self, name: str) -> tuple[Place, dict]:
        """(the folder in which a case has ended, never stopped, what came of it: :func:`result`, "seconds", "calls"
        that change a folder)."""

        def make(place: Place) -> dict:
            fill(place, self.trained(AFTER[name][2])[0] if name in AFTER else self.data())
            script, arguments = command(name)
            start, calls = time.monotonic(), place.root / "calls"
            calls.touch()
            ended = place.call(script, *arguments, before=lambda: watch(counting(calls))).done()
            facts = {"seconds": time.monotonic() - start, "calls": calls.stat().st_size}
            return facts | {"result": result(ended, place)}

        return self.once(name, make)


def in_process(place: Place, function: Callable) -> int:
    """The exit status of a function in a process of its own: this one stays without threads."""

    def work() -> None:
        function()
        os._exit(0)

    return Process(place, "train", [], before=work).wait().status


def fill(place: Place, source: Place) -> None:
    """Copy what `source` holds, as if everything had been made here: paths that runs note lead here."""
    for name in ("work", "cache"):
        shutil.copytree(source.root / name, place.root / name, dirs_exist_ok=True, symlinks=True)
    for path in place.work.rglob("config.json"):
        text = path.read_text("utf-8")
        if str(source.work) in text:
            meta = json.loads(text.replace(str(source.work), str(place.work)))
            meta.pop(CHECKSUM, None)
            write(path, json.dumps(with_checksum(meta), indent=2, ensure_ascii=False) + "\n")


# ---- what came of it ------------------------------------------------------------------------------------------------


def state(work: pathlib.Path) -> dict:
    """What a command has left below `work`/runs, without what a clock or a meter gave: the weights of every run, its
    metrics and results, its vocabulary and splits, what it published, what seeds came to."""
    found = {}
    for path in sorted((work / "runs").rglob("*")):
        try:
            content = content_of(path)
        except Exception:  # damaged, in whichever of many ways, and nobody had to read it
            content = "damaged"
        if content is not None:
            found[str(path.relative_to(work))] = content
    return json.loads(json.dumps(found))


def content_of(path: pathlib.Path) -> object:
    """What two runs have to have alike in a file; None where it is none of these."""
    if path.name == "best.pt":
        return digests.weights(path)
    if path.name == "metrics.jsonl":
        return [digests.timeless(json.loads(line)) for line in path.read_text("utf-8").splitlines()]
    if path.name in ("results.json", "seeds.json", "search.json"):
        result = digests.timeless(json.loads(path.read_text("utf-8")))
        return {name: value for name, value in result.items() if name != "run"}
    if path.name in WHOLE or (path.parent.name in ("published", "backbone") and path.name != SUMS):
        return hashlib.sha256(path.read_bytes()).hexdigest()
    return None


def result(ended: Ended, place: Place) -> dict:
    """What a command has left, and what it has answered, without what a clock gave."""
    if "--json" in ended.command:
        answers = json.loads(ended.out)
        answer = [digests.timeless(part) for part in (answers if isinstance(answers, list) else [answers])]
    elif ended.command.startswith("evaluate") or "--plan" in ended.command:
        answer = digests.masked(ended.out)
    else:
        answer = None
    return state(place.work) | {"answer": answer}


def difference(before: dict, after: dict) -> str:
    """In words; nothing where the two are the same."""
    names = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    words = [f"{name} {'is not there' if name not in after else 'is new' if name not in before else 'differs'}"
             for name in names]  # fmt: skip
    return "; ".join(words)
