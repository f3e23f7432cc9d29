"""Files that mean harm: numbers without bound, nesting, bombs, pickles that would run code, archives that would write
elsewhere, headers that lie. Survived: one line and exit status 2, or the right thing done; in little memory and time;
nothing run, nothing written elsewhere."""

import io
import json
import lzma
import pickle
import random
import resource
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable

from survival.mutations import BERT, CSV, LINEAR, NEW, TRAIN, WORDS
from survival.processes import Place, require
from survival.world import OUT, Worlds, fill

ROOM = 1 << 30  # bytes of memory that a hostile file may take beyond those of the libraries
MIB = 1 << 20
DEEP = "[" * 100_000
RUN = "bert classification"
INDEX = "parts/model.safetensors.index.json"
Made = tuple[str, str, Callable[[Place], None]]  # the case that it is about, the command, what puts the file there


def hostile(number: int, draw: random.Random, place: Place, worlds: Worlds) -> str:
    name = list(FILES)[number % len(FILES)]
    case, command, put = FILES[name]
    fill(place, worlds.data() if case == "data" else worlds.trained(case)[0])
    put(place)
    script, *arguments = command.split()
    idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10  # of a process that has imported the libraries
    ended = place.call(script, *arguments)
    require(ended.status == 0 or ended.refused, f"{name}: {ended}")
    ended.check()
    require(ended.peak < idle + ROOM, f"{name}: {(ended.peak - idle) / MIB:.0f} MiB of memory; {ended}")
    require(not place.strays(), f"{name}: run, or written outside: {place.strays()}")
    return f"{name}: {'refused' if ended.status else 'read'}"


FILES: dict[str, Made] = {}


def add(name: str, case: str, command: str, path: str, content: bytes | str | Callable[[Place], bytes | str]) -> None:
    """`content`, or what a function of the place gives, in the file `path` of the folder in which commands run."""

    def put(place: Place) -> None:
        data = content(place) if callable(content) else content
        (place.work / path).parent.mkdir(parents=True, exist_ok=True)
        (place.work / path).write_bytes(data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data)

    FILES[name] = case, command, put


def edited(path: str, *keys: str | int, value: object) -> Callable[[Place], str]:
    """A JSON file with another value at a place, and no checksum; `value` is JSON's own text where it is a Raw."""

    def content(place: Place) -> str:
        whole = json.loads((place.work / path).read_text("utf-8"))
        whole.pop("checksum", None)
        part = whole
        for key in keys[:-1]:
            part = part[key]
        part[keys[-1]] = "@" if isinstance(value, Raw) else value
        return json.dumps(whole).replace('"@"', value) if isinstance(value, Raw) else json.dumps(whole)

    return content


class Raw(str):
    """Text of JSON that Python's own writer would not write."""


# ---- settings -------------------------------------------------------------------------------------------------------

PLAIN = f"{BERT} {TRAIN} --bert plain"
SIZES = {
    "num_hidden_layers": (200_000, 0, -1, 10**18, 2.5, "1"),
    "vocab_size": (10**18, 0, -5),
    "hidden_size": (10**9, 0, True),
    "num_attention_heads": (0, 3, 10**9),
    "intermediate_size": (10**15, None),
    "max_position_embeddings": (10**15, 0),
    "type_vocab_size": (10**12, -1),
    "hidden_dropout_prob": (-1, 2, Raw("NaN"), Raw("1e999")),
    "layer_norm_eps": (-1, "x", Raw("NaN")),
    "hidden_act": ("x", DEEP[:50], 1),
}
for field, values in SIZES.items():
    for value in values:
        content = edited("plain/config.json", field, value=value)
        add(f"config.json, {field} {value!s:.20}", "data", PLAIN, "plain/config.json", content)
JSON = {
    "deep": DEEP, "deep objects": '{"a":' * 100_000, "a list": "[]", "null": "null", "a long number": "9" * 10**6,
    "a long number within": '{"hidden_size": ' + "9" * 10**6 + "}", "no UTF-8": b'{"\xff": 1}',
    "blanks": " " * 30 * MIB, "a lone surrogate": '{"hidden_act": "\\ud800"}', "empty": "",
}  # fmt: skip
for name, text in JSON.items():
    add(f"config.json, {name}", "data", PLAIN, "plain/config.json", text)
    add(f"config.json of a run, {name}", RUN, f"evaluate {OUT}", f"{OUT}/config.json", text)
for name in ("deep", "a list", "a long number within", "null"):
    add(f"results.json, {name}", RUN, f"evaluate {OUT}", f"{OUT}/linear/results.json", JSON[name])
    add(f"metrics.jsonl, {name}", RUN, f"evaluate {OUT}", f"{OUT}/metrics.jsonl", JSON[name])
    add(f"ledger.json, {name}", RUN, f"{PLAIN} --plan", f"{OUT}/ledger.json", JSON[name])
    add(f"tokenizer.json, {name}", "data", PLAIN, "plain/tokenizer.json", JSON[name])
    add(f"tokenizer_config.json, {name}", "data", PLAIN, "plain/tokenizer_config.json", JSON[name])
    add(f"an index, {name}", "data", f"{BERT} {TRAIN} --bert parts", INDEX, JSON[name])
SETTINGS = {
    ("config", "batch_size"): 10**18, ("config", "epochs"): "x", ("config", "max_length"): -1,
    ("config", "task"): "../x", ("config", "model"): DEEP[:30], ("config", "train"): {"a": 1},
    ("config", "seed"): 2**64, ("config", "lr"): Raw("1e999"),
    ("config", "encoding"): "zlib", ("config", "bert"): "../../../etc", ("config", "dropout"): 7, ("labels",): [],
    ("labels", 0): ["x"], ("dims", "num_hidden_layers"): 200_000, ("dims", "vocab_size"): 10**15, ("format",): "2",
    ("members",): ["../../x"], ("backbone",): DEEP[:20], ("vocabulary",): None, ("parameters",): 1,
}  # fmt: skip
for keys, value in SETTINGS.items():
    name = f"{OUT}/config.json"
    for script, command in (("read", f"evaluate {OUT}"), ("resumed", f"train --resume {OUT}")):
        if script == "read" or keys[0] in ("config", "labels"):
            add(f"a run's {'.'.join(map(str, keys))} {value!s:.20}, {script}", RUN, command, name,
                edited(name, *keys, value=value))  # fmt: skip
for words in ("--seed 18446744073709551616", "--max-length 1" + "0" * 30, "--batch-size 1" + "0" * 30, "--lr 1e999",
              "--out " + "a" * 5000, "--hidden 1" + "0" * 15, "--vocab-size -1", "--dev 1e-320"):  # fmt: skip
    add(f"train.py {words[:30]}", "data", f"{WORDS} {TRAIN} {words}", "none", "")

# ---- weights --------------------------------------------------------------------------------------------------------


class Touch:
    """Unpickled, it makes a file."""

    def __init__(self, path: str):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def code(place: Place) -> bytes:
    return pickle.dumps({"model": Touch(str(place.root / "executed"))})


def zipped(compression: int = zipfile.ZIP_STORED, **records: Callable[[Place], bytes] | bytes) -> Callable:
    """An archive as torch.save writes it, of these records."""

    def content(place: Place) -> bytes:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", compression) as archive:
            for name, data in {"version": b"3\n", "byteorder": b"little", **records}.items():
                archive.writestr(f"archive/{name.replace('__', '/')}", data(place) if callable(data) else data)
        return out.getvalue()

    return content


def with_record(name: str, data: bytes, compression: int = zipfile.ZIP_STORED) -> Callable[[Place], bytes]:
    """best.pt of the run with one record more."""

    def content(place: Place) -> bytes:
        out = io.BytesIO((place.work / OUT / "best.pt").read_bytes())
        with zipfile.ZipFile(out, "a", compression) as archive:
            archive.writestr(name, data)
        return out.getvalue()

    return content


PT = {
    "pickled code": code,
    "pickled code in an archive": zipped(**{"data.pkl": code}),
    "a record that inflates": zipped(zipfile.ZIP_DEFLATED, **{"data.pkl": bytes(200 * MIB)}),
    "a compressed record more": with_record("best/data/99", bytes(300 * MIB), zipfile.ZIP_DEFLATED),
    "a record that leads elsewhere": with_record("../../executed", b"x"),
    "no pickle": zipped(**{"data.pkl": b"x" * 100}), "a list": pickle.dumps([1] * 1000), "text": "best",
    "deep pickle": b"\x80\x02" + b"(" * 10**6 + b"l" * 10**6 + b".",
}  # fmt: skip
for name, content in PT.items():
    add(f"best.pt, {name}", RUN, f"evaluate {OUT}", f"{OUT}/best.pt", content)
    add(f"last.pt, {name}", RUN, f"train --resume {OUT}", f"{OUT}/last.pt", content)
    if not name.startswith("a compressed") and "elsewhere" not in name:
        command = f"{BERT} {TRAIN} --bert pickled"
        add(f"pytorch_model.bin, {name}", "data", command, "pickled/pytorch_model.bin", content)


def safetensors(header: object, size: int | None = None, data: bytes = bytes(64)) -> bytes:
    text = header.encode() if isinstance(header, str) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + data


def tensor(shape, offsets=(0, 64), dtype="F32") -> dict:
    return {"bert.pooler.dense.bias": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


LYING = {
    "a header of 2**63 bytes": safetensors({}, 2**63), "a header longer than the file": safetensors({}, 10**6),
    "a deep header": safetensors(DEEP), "offsets beyond the end": safetensors(tensor([16], (0, 2**40))),
    "offsets that go back": safetensors(tensor([16], (64, 0))), "negative offsets": safetensors(tensor([16], (-64, 0))),
    "a shape of 2**70": safetensors(tensor([0, 2**70], (0, 0))), "a shape of -1": safetensors(tensor([-4, -4])),
    "a shape of words": safetensors(tensor(["a"])), "unknown numbers": safetensors(tensor([16], dtype="X32")),
    "no shape": safetensors({"a": {}}), "a list": safetensors([]), "too short": b"\1\0\0", "no header": safetensors(""),
    "blanks": safetensors(" " * 30 * MIB), "a shape of many": safetensors(tensor([1] * 10**6)),
    "a shape of floats": safetensors(tensor([4.0, 4.0])), "the same place twice":
    safetensors(tensor([16]) | {"x": {"dtype": "F32", "shape": [16], "data_offsets": [0, 64]}}),
}  # fmt: skip
for name, content in LYING.items():
    add(f"model.safetensors, {name}", "data", PLAIN, "plain/model.safetensors", content)
for name, target in {"../x": "../plain/model.safetensors", "absolute": "/etc/passwd", "pickle": "x.bin"}.items():
    content = json.dumps({"weight_map": {"bert.pooler.dense.bias": target}})
    add(f"an index that names {name}", "data", f"{BERT} {TRAIN} --bert parts", INDEX, content)

# ---- vocabularies and vectors ---------------------------------------------------------------------------------------


def tokenizer(**changes: object) -> Callable[[Place], str]:
    def content(place: Place) -> str:
        whole = json.loads((place.work / "plain/tokenizer.json").read_text("utf-8"))
        for name, value in changes.items():
            whole[name] = value(whole) if callable(value) else value
        return json.dumps(whole)

    return content


def with_ids(change: Callable[[int], int]) -> Callable[[dict], dict]:
    return lambda whole: whole["model"] | {"vocab": {k: change(v) for k, v in whole["model"]["vocab"].items()}}


SPLIT = {"type": "Split", "pattern": {"Regex": "(a|aa)+$" * 20}, "behavior": "Isolated", "invert": False}
ADDED = {"id": 10**7, "content": "star", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
         "special": False}  # fmt: skip
VOCABULARIES = {
    "ids beyond the embeddings": tokenizer(model=with_ids(lambda i: i + 10_000)),
    "ids of 2**31": tokenizer(model=with_ids(lambda i: i + 2**31)), "equal ids": tokenizer(model=with_ids(lambda i: 7)),
    "negative ids": tokenizer(model=with_ids(lambda i: -i)), "an added token beyond": tokenizer(added_tokens=[ADDED]),
    "a slow pattern": tokenizer(pre_tokenizer=SPLIT), "another model": tokenizer(model={"type": "BPE"}),
    "a broken normaliser": tokenizer(normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA"}),
}  # fmt: skip
for name, content in VOCABULARIES.items():
    add(f"tokenizer.json, {name}", "data", PLAIN, "plain/tokenizer.json", content)
    add(f"tokenizer.json of a run, {name}", RUN, f"evaluate {OUT}", f"{OUT}/tokenizer.json", content)
for name, text in {"one long line": "a" * 50 * MIB, "the same lines": "a\n" * 10**6, "NULs": "\0" * MIB, "empty": "",
                   "many lines": "".join(f"{i}\n" for i in range(10**6))}.items():  # fmt: skip
    add(f"vocab.txt, {name}", "data", f"{BERT} {TRAIN} --bert words", "words/vocab.txt", text)
VECTORS = {
    "10**12 of them": "1000000000000 3\nstar 1 2 3\n", "of 10**12 numbers": "1 1000000000000\nstar 1 2 3\n",
    "-1 of them": "-1 3\nstar 1 2 3\n", "of 0 numbers": "3 0\nstar\n", "NaN": "star nan nan nan\n",
    "text": "no vectors\n",
    "infinite": "star inf 1 2\n", "beyond float32": "star 1e300 1 2\n", "one long line": "star " + "1 " * 10 * MIB,
    "one long word": "a" * 40 * MIB + " 1 2 3\nstar 1 2 3\n", "a number alone": "3\n", "blank": "\n\n\n",
    "NULs": "\0" * MIB,
    "digits of another script": "star ١ ٢ ٣\n", "lengths that differ": "star 1 2 3\nplanet 1 2\n",
}  # fmt: skip
for name, text in VECTORS.items():
    add(f"vectors, {name}", "data", f"{WORDS} {TRAIN} --embedding 3 --vectors vectors.txt", "vectors.txt", text)

# ---- texts ----------------------------------------------------------------------------------------------------------

PREDICT = f"evaluate {OUT} --predict in.txt"
ROWS = "text,label\n" + "a star,x\nflour,y\n" * 40
add("a line of 60 MiB to predict", RUN, PREDICT, "in.txt", "star " * 12 * MIB)
add("a word of 60 MiB to predict", RUN, PREDICT, "in.txt", "s" * 60 * MIB)
add("NULs to predict", RUN, PREDICT, "in.txt", "\0" * MIB + "\n")
add("JSON of great depth to predict", RUN, f"evaluate {OUT} --predict in.jsonl", "in.jsonl", DEEP + "\n")
add("a field of 40 MiB", "data", f"{LINEAR} {CSV}", "train.csv", ROWS + '"' + "star " * 8 * MIB + '",x\n')
add("a quote that never ends", "data", f"{LINEAR} {CSV}", "train.csv", ROWS + '"' + "star\n" * 4 * MIB)
add("a million columns", "data", f"{LINEAR} {CSV}", "train.csv", ROWS + "," * 10**6 + "\n")
add("a table of NULs", "data", f"{LINEAR} {CSV}", "train.csv", "text,label\n" + "\0" * MIB)
LINES = {
    "deep": DEEP, "a long number": '{"text": "x", "label": ' + "9" * 10**6 + "}",
    "no strings": '{"text": {"a": 1}, "label": []}', "a lone surrogate": '{"text": "\\ud800", "label": "x"}',
}  # fmt: skip
for name, line in LINES.items():
    command = f"{LINEAR} --train train.jsonl --test test.jsonl"
    add(f"JSON Lines, {name}", "data", command, "train.jsonl", line + "\n")
TAGGER = f"{WORDS} --task tagging --train train.conll"
add("a sentence of a million words", "data", TAGGER, "train.conll", "star\tB-X\n" * 10**6)
add("words to tag without an end", "crf", f"evaluate {OUT} --predict in.conll", "in.conll", "star x\n" * 300_000)
SQUAD = f"{NEW} --task spans --model bert --bert tiny --max-length 48 --train train.json"
for name, value in {"1e30": 10**30, "-1": -1, "true": True, "a list": [], "a deep list": Raw(DEEP)}.items():
    keys = ("data", 0, "paragraphs", 0, "qas", 0, "answers", 0, "answer_start")
    add(f"answer_start {name}", "data", SQUAD, "train.json", edited("train.json", *keys, value=value))
PRETRAIN = f"{BERT} --task pretrain --bert tiny --train"


def bomb(compressor) -> bytes:
    """1 GiB in one line."""
    return b"".join(compressor.compress(b"star " * MIB) for _ in range(205)) + compressor.flush()


add("a bomb in gzip", "data", f"{PRETRAIN} b.gz", "b.gz", lambda place: bomb(zlib.compressobj(1, wbits=31)))
add("a bomb in xz", "data", f"{PRETRAIN} b.xz", "b.xz", lambda place: bomb(lzma.LZMACompressor(preset=0)))
add("no gzip", "data", f"{PRETRAIN} bomb.gz", "bomb.gz", "text")
add("a line of 60 MiB to pre-train on", "data", f"{PRETRAIN} train.docs", "train.docs", "star " * 12 * MIB)
OPTIONS = f"{NEW} --task lm --model elmo --train train.txt --elmo-options options.json"
SHAPES = {
    ("lstm", "dim"): 10**12, ("lstm", "n_layers"): 10**9, ("char_cnn", "filters"): [[1, 10**12]],
    ("char_cnn", "max_characters_per_token"): 10**15, ("lstm", "projection_dim"): Raw(DEEP),
}  # fmt: skip
for keys, value in SHAPES.items():
    add(f"options.json, {keys[1]}", "data", OPTIONS, "options.json", edited("options.json", *keys, value=value))

# ---- archives -------------------------------------------------------------------------------------------------------

NEWS = f"{LINEAR} --data 20newsgroups --data-dir news.tar.gz"
POST = "20news-bydate-train/x/1"


def archive(*members: tarfile.TarInfo | tuple[tarfile.TarInfo, bytes], pax: dict | None = None) -> Callable:
    """The posts, and these members."""

    def content(place: Place) -> bytes:
        out = io.BytesIO()
        with tarfile.open(place.work / "news.tar.gz") as whole, tarfile.open(
            fileobj=out, mode="w:gz", format=tarfile.PAX_FORMAT, pax_headers=pax or {}
        ) as archive:
            for member in whole:
                archive.addfile(member, whole.extractfile(member))
            for member, data in (m if isinstance(m, tuple) else (m, b"") for m in members):
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
        return out.getvalue()

    return content


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", **headers: str) -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type, found.linkname, found.pax_headers = kind, link, headers
    return found


TARS = {
    "../": archive((member("../../executed"), b"x")), "an absolute path": archive((member("/tmp/executed"), b"x")),
    "a link": archive(member(POST, tarfile.SYMTYPE, "/etc/passwd")),
    "a hard link": archive(member(POST, tarfile.LNKTYPE, "../../executed")),
    "a device": archive(member(POST, tarfile.CHRTYPE)), "a pipe": archive(member(POST, tarfile.FIFOTYPE)),
    "a long pax header": archive((member(POST, comment="9" * 400_000), b"x")),
    "a pax size of many digits": archive((member(POST, size="9" * 60_000), b"x")),
    "a pax header of the whole archive": archive(pax={"comment": "9" * 10**7}),
    "a long name": archive((member("x" * 10**6), b"x")), "a large post": archive((member(POST), bytes(300 * MIB))),
    "many large posts": archive(*((member(f"{POST}{i}"), bytes(MIB - 1)) for i in range(1200))),
    "many members": archive(*((member(f"{POST}{i}"), b"x") for i in range(3000))),
    "a bomb": lambda place: bomb(zlib.compressobj(1, wbits=31)), "text": "no archive",
}  # fmt: skip
for name, content in TARS.items():
    add(f"an archive with {name}", "data", NEWS, "news.tar.gz", content)
