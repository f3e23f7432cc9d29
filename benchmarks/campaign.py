"""What a run survives: kill -9, damaged and hostile files, and faults of what is around it.

python benchmarks/campaign.py                     the whole, about an hour on two cores
python benchmarks/campaign.py --quick             a part of each kind, five minutes
python benchmarks/campaign.py --kinds kill flip   these alone
python benchmarks/campaign.py --only flip:17      one trial again, its folder kept

Everything is made in a scratch folder: small data, tiny backbones, the runs that are compared with. No network. Survived:
exit status 0 with the right result, or one line that says what is wrong and exit status 2 (of signals 130). What a trial
does is a function of --seed, its kind and its number. Exit status 1 if one was not survived. Linux, with root for a few of
the faults (a full disk of its own); without it they are made otherwise.
"""

import argparse
import os
import pathlib
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from survival import kills, mutations, processes  # noqa: E402
from survival.world import Worlds  # noqa: E402

# kind -> (what is tried, how many trials in the whole, how many in --quick)
KINDS = {
    "kill": (kills.kill, 240, 20),
    "crash": (kills.crash, 240, 20),
    "flip": (mutations.flip, 900, 90),
    "mutation": (mutations.mutate, 2200, 180),
}
LONGEST = 900  # seconds of a trial


def main() -> int:
    arguments = parse()
    processes.prepare()
    scratch = pathlib.Path(arguments.scratch or tempfile.mkdtemp(prefix="campaign-")).resolve()
    (scratch / "trials").mkdir(parents=True, exist_ok=True)
    failed, tried = {}, dict.fromkeys(arguments.kinds, 0)
    trials = [arguments.only] if arguments.only else planned(arguments)
    end = time.monotonic() + 60 * arguments.minutes if arguments.minutes else float("inf")
    running: dict[int, tuple] = {}
    while trials or running:
        while trials and len(running) < arguments.jobs and time.monotonic() < end:
            trial = trials.pop(0)
            running[begin(trial, arguments.seed, scratch)] = (*trial, time.monotonic())
        if not running:
            break
        for pid, (kind, number, start) in list(running.items()):
            error = ended(pid, scratch, kind, number, time.monotonic() - start)
            if error is None:
                continue
            del running[pid]
            tried[kind] = tried.get(kind, 0) + 1
            if error:
                failed[kind, number] = error
            if error or arguments.only:
                print(f"{kind}:{number} {error or 'survived: ' + report(scratch, kind, number)}", flush=True)
        time.sleep(0.01)
    print(table(tried, failed, arguments.seed))
    if failed or arguments.only:
        print(f"folders of what was not survived: {scratch / 'trials'}" if failed else f"kept: {scratch}")
    elif not arguments.scratch:
        shutil.rmtree(scratch)
    return bool(failed)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a part of each kind")
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS), help="(default: all)")
    parser.add_argument("--count", type=int, metavar="N", help="trials of each kind, in place of its own number")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of everything that is drawn (default: 1)")
    parser.add_argument("--minutes", type=float, metavar="X", help="begin no trial after this time")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), metavar="N", help="trials at once")
    parser.add_argument("--only", metavar="KIND:NUMBER", type=one, help="this trial alone")
    parser.add_argument("--scratch", metavar="FOLDER", help="work here, and keep what is made (default: a new one)")
    return parser.parse_args()


def one(text: str) -> tuple[str, int]:
    kind, number = text.split(":")
    if kind not in KINDS:
        raise argparse.ArgumentTypeError(f"unknown kind {kind!r}; known: {', '.join(KINDS)}")
    return kind, int(number)


def planned(arguments: argparse.Namespace) -> list[tuple[str, int]]:
    """(kind, number) of all trials: the kinds take turns by their shares, so that an early end cuts all alike."""
    trials = []
    for kind in arguments.kinds:
        count = arguments.count or KINDS[kind][2 if arguments.quick else 1]
        trials += [((number + 0.5) / count, kind, number) for number in range(count)]
    return [trial[1:] for trial in sorted(trials)]


# ---- one trial ------------------------------------------------------------------------------------------------------


def begin(trial: tuple[str, int], seed: int, scratch: pathlib.Path) -> int:
    """Start a trial in a process, and process group, of its own; its id."""
    pid = os.fork()
    if pid:
        return pid
    os.setpgid(0, 0)
    kind, number = trial
    try:
        words = run(kind, number, seed, scratch)
    except processes.Failed as error:
        words = f"FAILED {error}"
    except BaseException:
        words = f"FAILED in the campaign itself: {traceback.format_exc()}"
    result(scratch, kind, number).write_text(words, "utf-8")
    os._exit(0)


def run(kind: str, number: int, seed: int, scratch: pathlib.Path) -> str:
    """What was tried, in words."""
    draw = random.Random(f"{seed} {kind} {number}")
    with processes.removed(scratch / "trials" / f"{kind}-{number}") as place:
        return KINDS[kind][0](number, draw, place, Worlds(scratch / "worlds"))


def ended(pid: int, scratch: pathlib.Path, kind: str, number: int, seconds: float) -> str | None:
    """Of a trial: nothing ("") where it was survived, else what went wrong; None while it lasts."""
    if not os.waitpid(pid, os.WNOHANG)[0]:
        if seconds < LONGEST:
            return None
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return f"FAILED: longer than {LONGEST} s"
    try:
        os.killpg(pid, signal.SIGKILL)  # what it started and left
    except ProcessLookupError:
        pass
    path = result(scratch, kind, number)
    words = report(scratch, kind, number) if path.exists() else "FAILED: the trial's own process died"
    return words if words.startswith("FAILED") else ""


def result(scratch: pathlib.Path, kind: str, number: int) -> pathlib.Path:
    return scratch / "trials" / f"{kind}-{number}.txt"


def report(scratch: pathlib.Path, kind: str, number: int) -> str:
    return result(scratch, kind, number).read_text("utf-8")


def table(tried: dict[str, int], failed: dict, seed: int) -> str:
    lines = ["", "| kind | tried | survived |", "|---|---|---|"]
    for kind, count in tried.items():
        lines.append(f"| {kind} | {count} | {count - sum(k == kind for k, _ in failed)} |")
    for kind, number in failed:
        lines.append(f"again: python benchmarks/campaign.py --seed {seed} --only {kind}:{number}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
