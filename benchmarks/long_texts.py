"""Peak memory of reading and tokenising one text of so many MiB, in every format, beyond that of a text of 1 KiB.

    python benchmarks/long_texts.py --mib 2 16

Each case is a process of its own. The text is prose, a line of it where the format has lines; `digits` is one word
without end; `stream` are 32 texts of a 16th of the size, as evaluate.py --predict takes them from a file; `words` is a
CoNLL file without a blank line, as --predict takes it; `bomb` is an .xz file of a line of 64 times the size.
"""

import argparse
import json
import lzma
import pathlib
import subprocess
import sys
import tempfile

import torch

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from textcls.data import plain, shards, squad, tabular  # noqa: E402
from textcls.records import fill  # noqa: E402
from textcls.records.conll import SentenceRecords  # noqa: E402
from textcls.records.lines import opened  # noqa: E402
from textcls.records.plain import PlainLines  # noqa: E402
from textcls.runtime.errors import InputError  # noqa: E402
from textcls.runtime.memory import peak_memory  # noqa: E402
from textcls.tasks.documents import as_document  # noqa: E402
from textcls.text.passages import place  # noqa: E402
from textcls.text.vocabulary import Vocabulary, Words  # noqa: E402

NANO = pathlib.Path(__file__).parent.parent / "textcls" / "assets" / "nano"
PROSE = "It was the best of times, it was the worst of times; Dickens (1859), chapter 1. "
CASES = ("csv", "tsv", "jsonl", "json", "txt", "folder", "squad", "lm", "pretrain", "digits", "stream", "words", "bomb")


def write(case: str, folder: pathlib.Path, size: int) -> pathlib.Path:
    """The file, or folder, of a case with a text of `size` bytes."""
    path, text = folder / f"a.{case}", (PROSE * (size // len(PROSE) + 1))[:size]
    if case in ("csv", "tsv"):
        separator = "," if case == "csv" else "\t"
        path.write_text(f'text{separator}label\n"{text}"{separator}x\nb{separator}y\n')
    elif case == "digits":
        path.write_text("0123456789abcdef" * (size // 16))
    elif case in ("jsonl", "json"):
        rows = [{"text": text, "label": "x"}, {"text": "b", "label": "y"}]
        path.write_text("\n".join(map(json.dumps, rows)) if case == "jsonl" else json.dumps(rows))
    elif case == "txt":
        path.write_text(f"A:b {text}\nB:b c\n")
    elif case == "folder":
        (path / "x").mkdir(parents=True)
        (path / "x" / "1.txt").write_text(text)
    elif case == "squad":
        path = folder / "a.json"
        answer = {"text": PROSE[:6], "answer_start": 0}
        paragraph = {"context": text, "qas": [{"id": "1", "question": "What was it?", "answers": [answer]}]}
        path.write_text(json.dumps({"data": [{"paragraphs": [paragraph]}]}))
    elif case == "stream":
        with open(path, "w") as file:
            file.writelines(f"{text[: size // 16]}\n" for _ in range(32))
    elif case == "words":
        path.write_text("word\n" * (size // 5))
    elif case == "bomb":
        with lzma.open(path.with_suffix(".xz"), "wb", preset=0) as file:
            for _ in range(64):
                file.write(b"x" * size)
        path = path.with_suffix(".xz")
    else:
        path.write_text(text)
    return path


def run(case: str, path: pathlib.Path) -> None:
    """Read what was written, and tokenise it."""
    vocabulary = Vocabulary.from_folder(NANO)
    if case in ("csv", "tsv", "jsonl", "json", "txt", "folder"):
        texts = [texts[0] for _, texts, _ in tabular.read(path, ["text", "label"])]
        vocabulary.encode(texts)
    elif case == "squad":
        place(vocabulary, squad.read(str(path), ["question", "context", "answer"]).contexts)
    elif case == "lm":
        lines = plain.Lines(str(path))
        Words.learn(lines, 1000).encode(lines)
    elif case in ("words", "stream"):
        with opened(path, "utf-8") as (lines, _):
            every = SentenceRecords(lines, 0, -1, {}) if case == "words" else PlainLines(lines, as_document, {})
            for chunk, _ in fill.chunks_of(every, fill.CHUNK):
                if case == "stream":
                    vocabulary.encode([record.item[0] for record in chunk])
    else:  # pretrain, digits, bomb
        for _ in shards.tokenised(plain.lines_of(path), vocabulary):
            pass


def measure(case: str, size: int) -> str:
    """Peak bytes of the process, in a word."""
    with tempfile.TemporaryDirectory() as folder:
        path = write(case, pathlib.Path(folder), size)
        code = f"import sys; sys.path.insert(0, {str(pathlib.Path(__file__).parent)!r}); import long_texts as m; m.child()"
        done = subprocess.run([sys.executable, "-c", code, case, str(path)], capture_output=True, text=True)
    return done.stdout.strip() or f"died ({done.returncode}): {done.stderr.strip()[-60:]}"


def child() -> None:
    refused = ""
    try:
        run(sys.argv[1], pathlib.Path(sys.argv[2]))
    except InputError as error:
        refused = f" {str(error)[-100:]}"
    print(f"{peak_memory(torch.device('cpu'))['rss']}{refused}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--mib", nargs="+", type=int, default=[2, 16])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=CASES)
    arguments = parser.parse_args()
    for case in arguments.cases:
        small = int(measure(case, 1024).split()[0])
        cells = []
        for mib in arguments.mib:
            found, *words = measure(case, mib << 20).split()
            peak = f"{(int(found) - small) / 2**20:,.0f} MiB" if found.isdecimal() else found
            cells.append(" ".join([peak, *words]))
        print(f"{case:9} {'   '.join(cells)}", flush=True)


if __name__ == "__main__":
    main()
