"""Files in, files out: rows a second and peak memory of `evaluate.py --predict FILE --out FILE` against the size of the
file, beside reading alone and answers alone; and the largest file again, killed with SIGKILL twice, resumed, compared.

python benchmarks/files.py --rows 10000 100000 1000000
python benchmarks/files.py --rows 10000 --run RUN       with a run of one's own that reads a column `text`
python benchmarks/files.py --padding                    what sorting by length within a chunk saves
"""

import argparse
import csv
import itertools
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np

ROOT = pathlib.Path(__file__).parent.parent
TOPICS = {
    "astronomy": "star planet orbit telescope comet moon galaxy rocket",
    "cooking": "flour butter oven recipe sugar pepper onion stew",
    "sailing": "wind mast anchor harbour keel sail rope tide",
}
FILLER = "the a of and with near under old new small great very quite this that".split()
READ = """
import csv, sys
print(sum(len(row) == 4 for row in csv.reader(open(sys.argv[1], encoding="utf-8", newline=""))))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000], metavar="N")
    parser.add_argument("--run", metavar="RUN", help="default: a linear model, trained here")
    parser.add_argument("--padding", action="store_true", help="of the embedded corpus in batches of 32")
    arguments = parser.parse_args()
    if arguments.padding:
        return show_padding()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        run = pathlib.Path(arguments.run).resolve() if arguments.run else train(folder)
        print("| rows | MB | | rows/s | rows/s of CPU time | peak RSS, MiB |\n|---|---|---|---|---|---|")
        for rows in sorted(arguments.rows):
            source = write(folder / f"{rows}.csv", rows)
            predict = ["evaluate.py", str(run), "--quiet", "--predict", str(source)]
            show(rows, source, "csv.reader alone", ended(start("-c", READ, str(source))))
            show(rows, source, "answers alone", ended(start(*predict)))
            show(rows, source, "`--out`", ended(start(*predict, "--out", str(folder / "quiet.csv"), "--overwrite")))
        kill_twice(predict, rows, source, folder)


def show_padding() -> None:
    """Padding over real tokens, in random order and word pieces of nano, at most 256 of a text."""
    sys.path.insert(0, str(ROOT))
    from textcls.data import pydocs
    from textcls.text.batches import longest_first
    from textcls.text.vocabulary import Vocabulary

    vocabulary = Vocabulary.from_folder(ROOT / "textcls" / "assets" / "nano")
    texts = [text for (text,) in pydocs.load(0, 0.1).train.texts]
    lengths = np.minimum(vocabulary.encode(texts).lengths + 2, 256)
    lengths = np.random.default_rng(0).permutation(np.tile(lengths, 4))
    print("| rows a chunk | padding |\n|---|---|")
    for size in (64, 256, 1024, 4096):
        slots = 0
        for start in range(0, len(lengths), size):
            chunk = lengths[start : start + size]
            slots += sum(int(chunk[batch].max()) * len(batch) for batch in longest_first(chunk, 32))
        print(f"| {size:,} | {slots / lengths.sum() - 1:.1%} |")


def write(path: pathlib.Path, rows: int) -> pathlib.Path:
    """A table whose texts have quotes, commas, letters beyond ASCII, and now and then a line break."""
    rng = random.Random(rows)
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text", "label given", "note"])
        for number in range(rows):
            topic = rng.choice(sorted(TOPICS))
            words = rng.choices(TOPICS[topic].split(), k=rng.randint(1, 6)) + rng.choices(FILLER, k=rng.randint(1, 30))
            rng.shuffle(words)
            words.insert(0, rng.choice(["", '"so"', "well,", "é", "two\nlines"]))
            writer.writerow([number, " ".join(words), topic, "" if number % 3 else 'a "note"'])
    return path


def train(folder: pathlib.Path) -> pathlib.Path:
    source = write(folder / "train.csv", 2000)
    command = ["train.py", "--model", "linear", "--train", str(source), "--label-column", "label given", "--quiet"]
    ended(start(*command, "--out", str(folder / "run")))
    return folder / "run"


def start(*command: str) -> tuple[subprocess.Popen, float]:
    variables = os.environ | {"TEXTCLS_CACHE": str(pathlib.Path(tempfile.gettempdir()) / "textcls-files")}
    process = subprocess.Popen([sys.executable, *command], cwd=ROOT, env=variables, stdout=subprocess.DEVNULL)
    return process, time.perf_counter()


def ended(started: tuple[subprocess.Popen, float]) -> tuple[float, float, float]:
    """(seconds, seconds of CPU time, peak RSS in bytes) of a process that ends well."""
    process, begin = started
    _, status, used = os.wait4(process.pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, status
    return time.perf_counter() - begin, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024


def show(rows: int, source: pathlib.Path, what: str, measured: tuple[float, float, float]) -> None:
    seconds, cpu, peak = measured
    size, rates = source.stat().st_size / 1e6, f"{rows / seconds:,.0f} | {rows / cpu:,.0f}"
    print(f"| {rows:,} | {size:.1f} | {what} | {rates} | {peak / 2**20:.0f} |", flush=True)


def kill_twice(predict: list[str], rows: int, source: pathlib.Path, folder: pathlib.Path) -> None:
    """Once after a third of the rows, once after two thirds; then to the end."""
    out, noted = folder / "killed.csv", []
    command = [*predict, "--out", str(out), "--resume"]
    for share in (1 / 3, 2 / 3):
        process, _ = start(*command)
        while rows_noted(out) < share * rows:
            assert process.poll() is None, "it ended before it could be killed; take more --rows"
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
        noted.append(rows_noted(out))
        assert not out.exists()
    _, _, peak = ended(start(*command))
    print(f"\nkilled with {' and '.join(f'{count:,}' for count in noted)} of {rows:,} rows noted, then resumed:")
    same = out.read_bytes() == (folder / "quiet.csv").read_bytes()
    print(f"- the same bytes as without a kill: {'yes' if same else 'NO'}; peak RSS {peak / 2**20:.0f} MiB")
    print(f"- rows that have all columns as they were, and a label: {in_place(source, out):,} of {rows:,}")


def rows_noted(out: pathlib.Path) -> int:
    try:
        return json.loads(out.with_name(f"{out.name}.partial.json").read_bytes())["state"]["rows"]
    except (OSError, ValueError):
        return 0


def in_place(source: pathlib.Path, out: pathlib.Path) -> int:
    with open(source, encoding="utf-8", newline="") as before, open(out, encoding="utf-8", newline="") as after:
        pairs = itertools.zip_longest(csv.reader(before), csv.reader(after), fillvalue=[])
        header, named = next(pairs)
        assert named == [*header, "label", "probability"]
        return sum(new[:-2] == old and new[-2] in TOPICS and 0 < float(new[-1]) <= 1 for old, new in pairs)


if __name__ == "__main__":
    main()
