"""Damage to every kind of file that a run reads or writes: single bits, and whole blocks.

Three promises. whole: the same result as of the file that was written, or one line and exit status 2. again: the same
result, for the file can be made again. text: the file is the user's own, and says something else now: any result, or
one line and exit status 2. In no case a traceback, a hang, an abort, or a file written elsewhere.
"""

import dataclasses
import fnmatch
import hashlib
import os
import pathlib
import random

from survival.kills import dying_at_save
from survival.processes import Ended, Place, require
from survival.world import OUT, Worlds, difference, fill, flags, result

EVALUATE, SHOW, RESUME = f"evaluate {OUT} --json --quiet", f"evaluate {OUT} --quiet", f"train --resume {OUT} --quiet"
ENSEMBLE = "evaluate runs/e --json --quiet"
NEW = "train --device cpu --epochs 1 --batch-size 8 --save-every 0 --dev 0.2 --out runs/y --quiet"
BERT, LINEAR = f"{NEW} --model bert --max-length 16", f"{NEW} --model linear"
WORDS = f"{NEW} --model bilstm-scratch --hidden 8 --embedding 8 --max-length 16"
TRAIN = "--train train.csv"
CSV = f"{TRAIN} --test test.csv"
PACKED = (".gz", ".xz", ".bz2")
AGAIN = "again"  # as command: the case's own, into another folder


@dataclasses.dataclass(frozen=True)
class Target:
    """A kind of file (`pattern`, below the folder of a trial) of what a case has left, or of data alone; the command
    that reads it, and what is promised."""

    case: str
    pattern: str
    command: str
    promise: str


def of_run(case: str, command: str, names: str, promise: str = "whole") -> list[Target]:
    return [Target(case, f"work/{OUT}/{name}", command, promise) for name in names.split()]


def of_data(command: str, *patterns: str, promise: str = "text", case: str = "data") -> list[Target]:
    return [Target(case, f"work/{pattern}", command, promise) for pattern in patterns]


TARGETS = [
    # run folders
    *of_run("bert classification", EVALUATE, "best.pt config.json tokenizer.json splits.npz metrics.jsonl"),
    *of_run("bert classification", SHOW, "results.json linear/config.json linear/results.json"),
    *of_run("bert classification", RESUME, "last.pt best.pt config.json tokenizer.json splits.npz metrics.jsonl"),
    *of_run("bert classification", RESUME, "ledger.json results.json"),
    *of_run("bert classification", f"{BERT} {TRAIN} --bert tiny --plan", "ledger.json", "text"),
    *of_run("bert classification", EVALUATE, "logits/*.npz", "again"),
    *of_run("stopped", RESUME, "last.pt best.pt config.json metrics.jsonl splits.npz"),
    *of_run("linear classification", EVALUATE, "best.pt config.json tokenizer.json"),
    *of_run("lstm lm", EVALUATE, "best.pt tokenizer.json config.json"),
    *of_run("lstm lm", f"evaluate {OUT} --sample 20", "best.pt tokenizer.json"),
    *of_run("crf", f"evaluate {OUT} --predict in.conll", "best.pt config.json tokenizer.json"),
    *of_run("bert spans", EVALUATE, "best.pt config.json splits.npz"),
    *of_run("bert regression", EVALUATE, "best.pt config.json splits.npz"),
    *of_run("bilstm classification", EVALUATE, "best.pt config.json"),
    *of_run("scratch", EVALUATE, "backbone/model.safetensors backbone/config.json"),
    *of_run("elmo bilm", EVALUATE, "best.pt config.json"),
    *of_run("seeds", f"train {' '.join(flags('seeds'))}", "seed-1/results.json seed-2/config.json seeds.json"),
    *of_run("search", f"train {' '.join(flags('search'))}", "lr-0.001/seed-1/metrics.jsonl lr-0.01/seed-1/config.json"),
    *of_run("search", f"train {' '.join(flags('search'))}", "search.json lr-0.01/seed-1/results.json"),
    *of_run("ensemble", ENSEMBLE, "best.pt linear/best.pt config.json linear/tokenizer.json"),
    Target("ensemble", "work/runs/e/best.pt", ENSEMBLE, "whole"),
    Target("ensemble", "work/runs/e/config.json", ENSEMBLE, "whole"),
    Target("ensemble", "work/runs/e/splits.npz", ENSEMBLE, "whole"),
    # what was published, and frozen backbones
    *of_run("bert pretrain", f"{BERT} {TRAIN} --bert {OUT}", "published/model.safetensors published/config.json"),
    *of_run("bert pretrain", f"{BERT} {TRAIN} --bert {OUT}", "published/tokenizer.json published/SHA256SUMS"),
    *of_run("bert pretrain", EVALUATE, "best.pt tokenizer.json"),
    *of_run("elmo bilm", f"{NEW} --model elmo-lstm --elmo {OUT} {TRAIN}", "published/weights.safetensors"),
    *of_run("elmo bilm", f"{NEW} --model elmo-lstm --elmo {OUT} {TRAIN}", "published/options.json"),
    Target("bilstm classification", "work/tiny/model.safetensors", EVALUATE, "whole"),
    Target("bilstm classification", "work/tiny/config.json", EVALUATE, "whole"),
    Target("unsigned", "work/plain/model.safetensors", EVALUATE, "whole"),
    Target("unsigned", "work/plain/model.safetensors", RESUME, "whole"),
    Target("elmo frozen", "work/bilm/*.safetensors", EVALUATE, "whole"),
    Target("elmo frozen", "work/bilm/options.json", EVALUATE, "whole"),
    *of_data(f"{BERT} {TRAIN} --bert tiny", "tiny/model.safetensors", "tiny/config.json", promise="whole"),
    *of_data(f"{BERT} {TRAIN} --bert tiny", "tiny/tokenizer.json", "tiny/SHA256SUMS", promise="whole"),
    *of_data(f"{BERT} {TRAIN} --bert pickled", "pickled/pytorch_model.bin", promise="whole"),
    *of_data(f"{BERT} {TRAIN} --bert plain", "plain/model.safetensors", "plain/config.json", "plain/tokenizer.json"),
    *of_data(f"{BERT} {TRAIN} --bert parts", "parts/model-*.safetensors", "parts/model.safetensors.index.json"),
    *of_data(f"{BERT} {TRAIN} --bert words", "words/vocab.txt", "words/tokenizer_config.json"),
    *of_data(f"{NEW} --model elmo-lstm --elmo bilm {TRAIN}", "bilm/*.safetensors", promise="whole"),
    *of_data(f"{NEW} --model elmo-lstm --elmo bilm {TRAIN}", "bilm/options.json", promise="whole"),
    *of_data(f"{WORDS} {TRAIN} --vectors vectors.txt --embedding 3", "vectors.txt"),
    *of_data(f"{NEW} --task lm --model elmo --train train.txt --elmo-options options.json", "options.json"),
    # the cache
    Target("bert-bilstm classification", "cache/features-*.npy", AGAIN, "again"),
    Target("bert-bilstm classification", "cache/features-*.json", AGAIN, "again"),
    Target("bert-bilstm classification", "cache/pieces-*.npz", AGAIN, "again"),
    Target("compressed", "cache/tokens-*.bin", AGAIN, "again"),
    Target("compressed", "cache/tokens-*.npz", AGAIN, "again"),
    Target("20newsgroups", "cache/20newsgroups-*.npz", AGAIN, "again"),
    # texts that a run has begun with
    Target("bert classification", "work/test.csv", EVALUATE, "whole"),
    Target("bert classification", "work/train.csv", RESUME, "whole"),
    Target("crf", "work/test.conll", EVALUATE, "whole"),
    Target("lstm lm", "work/test.txt", EVALUATE, "whole"),
    Target("bert spans", "work/test.json", EVALUATE, "whole"),
    Target("compressed", "work/train.docs.gz", RESUME, "whole"),
    Target("20newsgroups", "work/news.tar.gz", EVALUATE, "whole"),
    Target("glue", "work/glue/CoLA/dev.tsv", EVALUATE, "whole"),
    # archives
    *of_data(f"{LINEAR} --data 20newsgroups --data-dir news.tar.gz", "news.tar.gz", promise="whole"),
    *of_data(f"{LINEAR} --data 20newsgroups --data-dir news.tar.bz2", "news.tar.bz2", promise="whole"),
    *of_data(f"{LINEAR} --data 20newsgroups --data-dir news.tar.xz", "news.tar.xz", promise="whole"),
    *of_data(f"{LINEAR} --data 20newsgroups --data-dir news.tar", "news.tar"),
    *of_data(f"{LINEAR} --data 20newsgroups --data-dir news", "news/20news-bydate-test/*", case="folders"),
    *of_data(f"{BERT} --task pretrain --bert tiny --train train.docs.gz", "train.docs.gz", promise="whole"),
    *of_data(f"{BERT} --task pretrain --bert tiny --train test.docs.xz", "test.docs.xz", promise="whole"),
    # texts
    *of_data(f"{LINEAR} {CSV}", "train.csv", "test.csv"),
    *of_data(f"{LINEAR} --train train.jsonl --test test.jsonl", "train.jsonl"),
    *of_data(f"{LINEAR} --train train-rows.json --test test-rows.json", "train-rows.json", "test-rows.json"),
    *of_data(f"{LINEAR} --train train-labelled.txt --test test-labelled.txt", "train-labelled.txt"),
    *of_data(f"{LINEAR} --train train-folder --test test-folder", "test-folder/*", case="folders"),
    *of_data(f"{LINEAR} --data cola --data-dir glue", "glue/CoLA/train.tsv"),
    *of_data(f"{WORDS} --task regression --train train.tsv", "train.tsv"),
    *of_data(f"{WORDS} --task tagging --train train.conll", "train.conll"),
    *of_data(f"{NEW} --task lm --model lstm --embedding 8 --max-length 16 --train train.txt", "train.txt"),
    *of_data(f"{BERT} --task pretrain --bert tiny --train train.docs", "train.docs"),
    *of_data(f"{NEW} --task spans --model bert --bert tiny --max-length 48 --train train.json", "train.json"),
    Target("bert classification", "work/in.txt", f"evaluate {OUT} --predict in.txt", "text"),
    Target("bert classification", "work/test.csv", f"evaluate {OUT} --predict test.csv", "text"),
    Target("bert classification", "work/test.jsonl", f"evaluate {OUT} --predict test.jsonl --top-k 2", "text"),
    Target("crf", "work/in.conll", f"evaluate {OUT} --predict in.conll", "text"),
    Target("bert pretrain", "work/in.docs", f"evaluate {OUT} --predict in.docs", "text"),
    Target("bert spans", "work/test.json", f"evaluate {OUT} --predict test.json", "text"),
]
# Whole files of another run are no damage: what says in itself whose it is, is compared, and these do not.
OF_ANY_RUN = ("results.json", "metrics.jsonl", "ledger.json", "seeds.json", "search.json", "options.json")


# ---- damage ---------------------------------------------------------------------------------------------------------


def flip_bit(data: bytearray, draw: random.Random) -> str:
    place = draw.randrange(8 * len(data))
    data[place // 8] ^= 1 << place % 8
    return f"bit {place} flipped"


def truncate(data: bytearray, draw: random.Random) -> str:
    size = draw.randrange(len(data))
    del data[size:]
    return f"cut to {size} bytes"


def extend(data: bytearray, draw: random.Random) -> str:
    more = draw.choice([draw.randbytes(draw.randint(1, 300)), bytes(draw.randint(1, 600)), b"\n", bytes(data)])
    data += more
    return f"{len(more)} bytes more"


def zero(data: bytearray, draw: random.Random) -> str:
    start, size = block(data, draw)
    data[start : start + size] = bytes(size)
    return f"{size} bytes from {start} are 0"


def duplicate(data: bytearray, draw: random.Random) -> str:
    start, size = block(data, draw)
    data[start:start] = data[start : start + size]
    return f"{size} bytes from {start} stand there twice"


def swap(data: bytearray, draw: random.Random) -> str:
    start, size = block(data, draw)
    other = draw.randrange(len(data) - size + 1)
    data[start : start + size], data[other : other + size] = data[other : other + size], data[start : start + size]
    return f"{size} bytes from {start} and from {other} swapped"


def empty(data: bytearray, draw: random.Random) -> str:
    data.clear()
    return "empty"


def noise(data: bytearray, draw: random.Random) -> str:
    data[:] = draw.randbytes(len(data))
    return "random bytes"


def scramble(data: bytearray, draw: random.Random) -> str:
    start, size = block(data, draw)
    data[start : start + size] = draw.randbytes(size)
    return f"{size} bytes from {start} are random"


def block(data: bytearray, draw: random.Random) -> tuple[int, int]:
    """(start, size) of a part, of any magnitude."""
    size = min(len(data), 1 << draw.randint(0, 12))
    return draw.randrange(len(data) - size + 1), size


DAMAGE = (truncate, extend, zero, duplicate, swap, empty, noise, scramble)


# ---- trials ---------------------------------------------------------------------------------------------------------


def flip(number: int, draw: random.Random, place: Place, worlds: Worlds) -> str:
    return damaged(TARGETS[number % len(TARGETS)], flip_bit, draw, place, worlds)


def mutate(number: int, draw: random.Random, place: Place, worlds: Worlds) -> str:
    how = [*DAMAGE, None][number // len(TARGETS) % (len(DAMAGE) + 1)]
    return damaged(TARGETS[number % len(TARGETS)], how, draw, place, worlds)


def damaged(target: Target, how, draw: random.Random, place: Place, worlds: Worlds) -> str:
    """Damage a file of the kind, and read it. `how` None: it becomes another file of its ending."""
    source, expected = undamaged(target, worlds)
    fill(place, source)
    path = draw.choice(found(place, target.pattern))
    promise, data = target.promise, bytearray(path.read_bytes())
    if how is None:
        others = sorted(other for other in place.root.rglob(f"*{path.suffix}") if other.is_file() and other != path)
        other = draw.choice(others or [place.work / "train.csv"])
        data, words = other.read_bytes(), f"replaced by {other.relative_to(place.root)}"
        promise = "text" if path.name in OF_ANY_RUN else promise
    else:
        words = how(data, draw) if data else "empty as it was"
    given = target.case == "data" and path.suffix in PACKED  # to a new run, whose text it is then
    if given and (how is None or data == 2 * path.read_bytes()):  # two streams are a file as good as one
        promise = "text"
    path.write_bytes(data)
    what = f"{path.relative_to(place.root)} ({promise}): {words}"
    ended = read(target, place)
    require(ended.status == 0 or ended.refused, f"{what}; {ended}")
    if promise != "text":
        ended = ended.check() if promise == "whole" else ended.done()
        given = result(ended, place) if ended.status == 0 else expected
        for answers in (given, expected):
            answers.pop(os.path.relpath(path, place.work), None)  # the file itself may say the same in other bytes
        change = difference(expected, given)
        require(not change, f"{what}, in silence: {change}; {ended}")
    require(not place.parts(), f"{what}; left over: {place.parts()}")
    require(not place.strays(), f"{what}; written outside: {place.strays()}")
    return f"{what}: {'refused' if ended.status else 'read'}"


def undamaged(target: Target, worlds: Worlds) -> tuple[Place, dict]:
    """(the folder before the damage, what the command gives there)."""
    source = source_of(target.case, worlds)

    def make(place: Place) -> dict:
        fill(place, source)
        return result(read(target, place).done(), place)

    command = hashlib.md5(target.command.encode()).hexdigest()
    return source, worlds.once(f"reading {target.case} {command}", make)[1]


def source_of(case: str, worlds: Worlds) -> Place:
    others = {"data": worlds.data, "folders": worlds.folders, "stopped": lambda: stopped(worlds)}
    return others[case]() if case in others else worlds.trained(case)[0]


def stopped(worlds: Worlds) -> Place:
    """A run in the middle of its second epoch."""
    def make(place: Place) -> None:
        fill(place, worlds.data())
        ended = place.call("train", *flags("bert classification"), before=dying_at_save)
        require(ended.status == -9 and (place.work / OUT / "last.pt").exists(), str(ended))

    return worlds.once("stopped", make)[0]


def found(place: Place, pattern: str) -> list[pathlib.Path]:
    if "*" not in pattern:
        return [place.root / pattern]
    paths = [path for path in place.root.rglob("*") if path.is_file()]
    return sorted(path for path in paths if fnmatch.fnmatch(str(path.relative_to(place.root)), pattern))


def read(target: Target, place: Place) -> Ended:
    if target.command == AGAIN:
        return place.call("train", *flags(target.case), "--out", "runs/y")
    script, *arguments = target.command.split()
    return place.call(script, *arguments)
