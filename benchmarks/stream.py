"""Memory and time of preparing text for pre-training, against the size of the text: one process a size.

python benchmarks/stream.py --text wikipedia.txt.xz --bert FOLDER --millions 1 5 20
"""

import argparse
import itertools
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from textcls.data.plain import lines_of  # noqa: E402

READ = """
import pathlib, sys, time
from textcls.data import shards
from textcls.runtime.memory import process_memory
from textcls.tasks.masking import PairBatches
from textcls.text.vocabulary import Vocabulary
vocabulary = Vocabulary.from_folder(pathlib.Path(sys.argv[2]))
start = time.perf_counter()
passages, _ = shards.passages(sys.argv[1], vocabulary)
prepared = time.perf_counter() - start
batches = PairBatches(passages, vocabulary, 128, 32)
start = time.perf_counter()
for rows in (order := batches.order(0)[:500]):
    batches.collate(rows)
rate = 128 * 32 * len(order) / (time.perf_counter() - start)
print(passages.lengths.sum(), prepared, rate, process_memory("VmHWM"))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", required=True, metavar="FILE", help="a line a paragraph, .xz and .gz too")
    parser.add_argument("--bert", required=True, metavar="FOLDER", help="whose vocabulary to use")
    parser.add_argument("--millions", type=float, nargs="+", default=[1, 5, 20], metavar="N", help="of words")
    arguments = parser.parse_args()
    print("| million words | tokens | s to prepare | tokens/s as examples | peak RSS, MiB |\n|---|---|---|---|---|")
    for millions in arguments.millions:
        with tempfile.TemporaryDirectory() as folder:
            path = cut(pathlib.Path(arguments.text), int(1e6 * millions), pathlib.Path(folder) / "text.txt")
            variables = os.environ | {"TEXTCLS_CACHE": folder, "PYTHONPATH": str(ROOT)}
            command = [sys.executable, "-c", READ, str(path), arguments.bert]
            done = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
            tokens, seconds, rate, peak = map(float, done.stdout.split())
            print(f"| {millions:g} | {tokens:,.0f} | {seconds:.0f} | {rate:,.0f} | {peak / 2**20:.0f} |", flush=True)


def cut(text: pathlib.Path, words: int, path: pathlib.Path) -> pathlib.Path:
    """The first `words` words of a text, begun again where it is shorter, to the next end of a line."""
    with open(path, "w", encoding="utf-8") as file:
        for line in itertools.chain.from_iterable(lines_of(text) for _ in itertools.count()):
            file.write(line)
            words -= len(line.split())
            if words <= 0:
                return path
    raise AssertionError("an endless loop has ended")


if __name__ == "__main__":
    main()
