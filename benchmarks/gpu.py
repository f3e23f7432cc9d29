"""Measure on a GPU what the documentation computes, and run every CUDA path once.

python benchmarks/gpu.py                               gpu-results.json and gpu-results.md, in about nine minutes
python benchmarks/gpu.py --memory 6GB --minutes 9      the same, said
python benchmarks/gpu.py --quick                       the most important numbers alone
python benchmarks/gpu.py --device cpu                  a rehearsal on tiny shapes: all parts, no number worth anything

It needs no network, no weights and no data. The parts come in the order of importance, each in a process of its own,
and every number is in the files as soon as it is measured: cut it off at any time. Given again, it does what is
missing, for the same card, versions and settings. What there was no time for is said. Exit status 1: something failed;
the files say what and why.
"""

import argparse
import contextlib
import dataclasses
import datetime
import multiprocessing
import os
import pathlib
import shlex
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import gpu_device  # noqa: E402
import gpu_epochs  # noqa: E402
import gpu_kernels  # noqa: E402
import gpu_lstm  # noqa: E402
import gpu_memory  # noqa: E402
import gpu_page  # noqa: E402
import gpu_processes  # noqa: E402
import gpu_steps  # noqa: E402
from gpu_work import SCALES, Work  # noqa: E402

from textcls.runtime.errors import InputError, exit_on_input_error  # noqa: E402
from textcls.runtime.memory import parse_memory  # noqa: E402


@dataclasses.dataclass(frozen=True)
class Part:
    title: str
    rows: Callable[[Work], Iterator]  # Rows, and lines (str) that the code should have in place of its own
    seconds: int  # that it needs at least to be worth beginning, on the card of a laptop
    share: float  # of all the time, at most, so that the later ones get theirs; what is left over goes to them


PARTS = {
    "suite": Part("1. The suite's CUDA tests", gpu_steps.suite, 30, 0.15),
    "models": Part("1. Every model and task, three steps", gpu_steps.every_model, 20, 0.2),
    "memory": Part("2. Memory: predicted and measured", gpu_memory.memory, 30, 0.25),
    "epochs": Part("3. Seconds an epoch", gpu_epochs.epochs, 40, 0.4),
    "lstm": Part("4. Packed or padded, 16 bits or 32", gpu_lstm.lstm, 20, 0.15),
    "kernels": Part("5. Pre-training, attention, AdamW, arithmetic", gpu_kernels.kernels, 20, 0.15),
    "processes": Part("5. NCCL", gpu_processes.processes, 15, 0.15),
}


@exit_on_input_error
def main(argv=None):
    arguments = parse(argv)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="textcls-gpu-"))
    try:
        return measure(arguments, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def parse(argv) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memory", default="6GB", metavar="SIZE", help="cap, such as 6GB or 24GiB (default: 6GB)")
    parser.add_argument("--minutes", type=float, default=9.0, metavar="N", help="when to end (default: 9)")
    parser.add_argument("--quick", action="store_true", help="fewer lengths, models and documents")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N, or cpu: a rehearsal (default: cuda)")
    parser.add_argument("--only", nargs="+", choices=PARTS, metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--bert", metavar="FOLDER", help="a BERT for shape and vocabulary (default: bert-base)")
    parser.add_argument("--data-dir", metavar="FOLDER", help="20 Newsgroups, in place of made texts of like lengths")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(), metavar="FOLDER", help="for the two files")
    parser.add_argument("--afresh", action="store_true", help="measure again what is done, replace what is of others")
    arguments = parser.parse_args(argv)
    if not arguments.minutes > 0:
        parser.error(f"--minutes {arguments.minutes:g}: must be above 0")
    for name in ("bert", "data_dir"):
        path = getattr(arguments, name)
        if path is not None and not pathlib.Path(path).is_dir():
            parser.error(f"--{name.replace('_', '-')} {path}: no such folder")
    return arguments


def measure(arguments: argparse.Namespace, folder: pathlib.Path) -> int:
    rehearsal = arguments.device == "cpu"
    scale = SCALES["rehearsal" if rehearsal else "quick" if arguments.quick else "full"]
    paths = [path and str(pathlib.Path(path).resolve()) for path in (arguments.bert, arguments.data_dir)]
    memory = gpu_memory.REHEARSED if rehearsal else parse_memory(arguments.memory)
    end = time.monotonic() + 60 * arguments.minutes
    work = Work(arguments.device, memory, scale, folder, end, *paths)
    names = [path and pathlib.Path(path).name for path in paths]  # where they are is nobody's business
    settings = {"memory": memory, "scale": scale.name, "bert": names[0], "data": names[1]}
    machine = machine_of(work)
    arguments.out.mkdir(parents=True, exist_ok=True)
    earlier = gpu_page.read(arguments.out, machine | settings, arguments.afresh)
    results = {
        "date": datetime.date.today().isoformat(),
        "command": command(arguments),
        "machine": machine,
        "settings": settings,
        "parts": earlier,
    }
    for name in PARTS if arguments.only is None else sorted(set(arguments.only), key=list(PARTS).index):
        if arguments.afresh or earlier.get(name, {}).get("state") != "done":
            run_part(name, work, results, arguments)
    gpu_page.write(arguments.out, results)
    print(f"\n{gpu_page.summary(results)}\n{arguments.out / gpu_page.PAGE}")
    states = [part["state"] for part in results["parts"].values()]
    verdicts = [row["verdict"] for part in results["parts"].values() for row in part["rows"]]
    return int(any(text.startswith("failed") for text in states + verdicts))


def command(arguments: argparse.Namespace) -> str:
    """What was typed, without where the files went."""
    words = ["python", "benchmarks/gpu.py", "--memory", arguments.memory, "--minutes", f"{arguments.minutes:g}"]
    words += ["--device", arguments.device] * (arguments.device != "cuda") + ["--quick"] * arguments.quick
    words += ["--bert", "FOLDER"] * (arguments.bert is not None)
    return shlex.join(words + ["--data-dir", "FOLDER"] * (arguments.data_dir is not None))


# ---- a part, in a process of its own --------------------------------------------------------------------------------

# What is forked has torch loaded already. This process itself never asks CUDA anything, which no fork would survive.
PROCESSES = multiprocessing.get_context("fork" if hasattr(os, "fork") else "spawn")
STARTING, GRACE = 90, 2  # seconds until a driver has to answer, and for programs to end


class Child:
    """A function of the work in a process of its own: what it yields comes one by one, and an error as text. Whatever
    it started ends with it."""

    def __init__(self, function: Callable, work: Work):
        self.answers, theirs = PROCESSES.Pipe(duplex=False)
        self.process = PROCESSES.Process(target=serve, args=(theirs, function, work))
        self.process.start()
        theirs.close()

    def __iter__(self):
        return self

    def __next__(self):
        kind, value = self.answers.recv()
        if kind == "end":
            raise StopIteration
        if kind == "error":
            raise Failed(value)
        return value

    def ready(self, seconds: float) -> bool:
        return self.answers.poll(max(0.0, seconds))

    def stop(self) -> None:
        """End the process, where it has not ended, and its group: torchrun ends its workers when it is told to end."""
        self.process.join(1)
        if not self.process.is_alive():
            return
        end = os.killpg if hasattr(os, "killpg") else os.kill
        end(self.process.pid, signal.SIGTERM)
        self.process.join()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            time.sleep(GRACE)
            end(self.process.pid, getattr(signal, "SIGKILL", signal.SIGTERM))


class Failed(Exception):
    """What went wrong in a child, in its words."""


def serve(answers, function: Callable, work: Work) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if hasattr(os, "setsid"):
        os.setsid()  # a group of its own, which can be ended as a whole
    try:
        for value in function(work):
            answers.send(("value", value))
        answers.send(("end", None))
    except Exception as error:
        if not isinstance(error, InputError):
            traceback.print_exc()
        answers.send(("error", f"{type(error).__name__}: {gpu_steps.first_line(error)}"))


def machine_of(work: Work) -> dict:
    child = Child(facts, work)
    try:
        if not child.ready(STARTING):
            raise InputError(f"--device {work.device}: no answer within {STARTING} s")
        return next(child)
    except (Failed, EOFError) as error:
        raise InputError(str(error).removeprefix("InputError: ") or f"--device {work.device}: a process died") from None
    finally:
        child.stop()


def facts(work: Work) -> Iterator[dict]:
    yield gpu_device.facts(gpu_device.begin(work.device, work.memory))


def run_part(name: str, work: Work, results: dict, arguments: argparse.Namespace) -> None:
    """Do a part, as far as there is time for it; both files are written anew with every row."""
    part, start = PARTS[name], time.monotonic()
    found = {"title": part.title, "state": "begun", "rows": [], "changes": []}
    parts = results["parts"] | {name: found}
    results["parts"] = {key: parts[key] for key in PARTS if key in parts}
    left = work.deadline - start
    if left < part.seconds:
        found["state"] = f"skipped: needs about {part.seconds} s, {max(0.0, left):.0f} s were left"
    else:
        share = 1.0 if arguments.only else part.share
        own = dataclasses.replace(work, deadline=min(work.deadline, start + share * 60 * arguments.minutes))
        found["state"] = watch(Child(part.rows, own), own, found, results, arguments.out)
        found["seconds"] = round(time.monotonic() - start, 1)
    print(f"{part.title}: {found['state']}", flush=True)
    gpu_page.write(arguments.out, results)


def watch(child: Child, work: Work, found: dict, results: dict, out: pathlib.Path) -> str:
    """Take in what a part gives; how it ended."""
    try:
        while True:
            if not child.ready(work.deadline - time.monotonic()):
                return f"cut off after {len(found['rows'])} rows: its time is over"
            value = next(child)
            if isinstance(value, str):
                found["changes"].append(value)
                continue
            found["rows"].append(gpu_page.plain(value))
            print(f"  {value.what}: {gpu_page.number(value.measured)} {value.unit}  {value.verdict}", flush=True)
            gpu_page.write(out, results)
    except StopIteration:
        return "done"
    except Failed as error:
        return f"failed: {error}"
    except EOFError:
        child.process.join(10)  # its end of the pipe is closed a moment before it has an exit code
        return f"failed: its process died (exit code {child.process.exitcode})"
    except KeyboardInterrupt:
        found["state"] = f"cut off after {len(found['rows'])} rows: Ctrl-C"
        gpu_page.write(out, results)
        raise
    finally:
        child.stop()


if __name__ == "__main__":
    sys.exit(main())
