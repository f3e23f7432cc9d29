"""What a run survives: kill -9, damaged and hostile files, and faults of what is around it.

python benchmarks/campaign.py                     the whole, some 4,000 trials
python benchmarks/campaign.py --quick             a part of each kind, some 500
python benchmarks/campaign.py --kinds kill flip   these alone
python benchmarks/campaign.py --only flip:17      one trial again; its folder is kept

Everything is made in a scratch folder: small data, tiny backbones, the runs that are compared with. No network.
Survived: exit status 0 with the right result, or one line that says what is wrong and exit status 2 (of signals 130).
What a trial does follows from --seed, its kind and its number. The exit status is 1 if one was not survived. Linux; as
root, disks are full and folders read-only in earnest.
"""

import argparse
import contextlib
import dataclasses
import os
import pathlib
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from survival import environment, hostile, kills, mutations, processes  # noqa: E402
from survival.world import Worlds  # noqa: E402

# kind -> (what is tried, trials in the whole, in --quick)
KINDS = {
    "kill": (kills.kill, 240, 30),
    "crash": (kills.crash, 240, 30),
    "flip": (mutations.flip, 900, 120),
    "mutation": (mutations.mutate, 2200, 220),
    "hostile": (hostile.hostile, len(hostile.FILES), 60),
    "fault": (environment.fault, 168, 48),
}
LONGEST = 600  # seconds of a trial on a quiet machine
Trial = tuple[str, int]  # its kind and its number


def main() -> int:
    arguments = parse()
    scratch = pathlib.Path(arguments.scratch or tempfile.mkdtemp(prefix="campaign-")).resolve()
    processes.prepare()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with Campaign(scratch, arguments.seed) as campaign, contextlib.suppress(KeyboardInterrupt):  # what was tried counts
        campaign.run(list(arguments.only or planned(arguments)), arguments.jobs, 60 * arguments.minutes)
    if arguments.only:
        for kind, number in arguments.only:
            print(f"{kind}:{number} {campaign.report((kind, number))}")
        print(f"kept: {scratch}")
    print(table(campaign, arguments.seed))
    if not (campaign.failed or arguments.only or arguments.scratch):
        shutil.rmtree(scratch)
    return bool(campaign.failed)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a part of each kind")
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS), help="(default: all)")
    parser.add_argument("--count", type=int, metavar="N", help="trials of each kind, in place of its own number")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of everything that is drawn (default: 1)")
    parser.add_argument("--minutes", type=float, default=1e9, metavar="X", help="begin no trial after this time")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), metavar="N", help="trials at once")
    parser.add_argument("--only", metavar="KIND:NUMBER", type=one, nargs="+", help="these trials alone")
    parser.add_argument("--scratch", metavar="FOLDER", help="work here, and keep what is made (default: a new one)")
    return parser.parse_args()


def one(text: str) -> Trial:
    kind, _, number = text.partition(":")
    if kind not in KINDS or not number.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r}: expected KIND:NUMBER with one of {', '.join(KINDS)}")
    return kind, int(number)


def planned(arguments: argparse.Namespace) -> list[Trial]:
    """All trials: the kinds take turns by their shares, so that an early end cuts all alike."""
    trials = []
    for kind in arguments.kinds:
        count = arguments.count or KINDS[kind][2 if arguments.quick else 1]
        # What is tried goes by the number: a part of all numbers would be a part of the cases.
        numbers = random.Random(f"{arguments.seed} {kind}").sample(range(KINDS[kind][1]), min(count, KINDS[kind][1]))
        trials += [((place + 0.5) / count, kind, number) for place, number in enumerate(numbers)]
    return [trial[1:] for trial in sorted(trials)]


def table(campaign: "Campaign", seed: int) -> str:
    lines = ["", "| kind | tried | survived |", "|---|---|---|"]
    for kind, count in campaign.tried.items():
        lines.append(f"| {kind} | {count} | {count - sum(trial[0] == kind for trial in campaign.failed)} |")
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    lines.append(f"{spent.ru_utime + spent.ru_stime:.0f} s of processor time, what is compared with included")
    lines += [f"again: python benchmarks/campaign.py --seed {seed} --only {k}:{n}" for k, n in campaign.failed]
    return "\n".join(lines)


@dataclasses.dataclass
class Campaign:
    """Trials, each in a process and process group of its own, with a folder and what came of it in `scratch`/trials."""

    scratch: pathlib.Path
    seed: int

    def __post_init__(self):
        self.running: dict[int, tuple[Trial, float]] = {}  # process -> (trial, when it began)
        self.tried: dict[str, int] = {}
        self.failed: list[Trial] = []

    def __enter__(self) -> "Campaign":
        (self.scratch / "trials").mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *exception) -> None:
        for pid in self.running:
            end(pid)

    def run(self, trials: list[Trial], jobs: int, seconds: float) -> None:
        last = time.monotonic() + seconds
        while self.running or (trials and time.monotonic() < last):
            while trials and len(self.running) < jobs and time.monotonic() < last:
                self.begin(trials.pop(0))
            for pid, (trial, start) in list(self.running.items()):
                late = time.monotonic() - start > LONGEST * processes.busy()
                if late:
                    end(pid)
                if os.waitpid(pid, 0 if late else os.WNOHANG)[0]:
                    end(pid)  # what it started and left
                    del self.running[pid]
                    self.judge(trial, "FAILED: it did not end" if late else self.report(trial))
            time.sleep(0.01)

    def begin(self, trial: Trial) -> None:
        self.file(trial).unlink(missing_ok=True)
        pid = os.fork()
        if pid:
            self.running[pid] = trial, time.monotonic()
            return
        os.setpgid(0, 0)
        try:
            words = self.words(*trial)
        except processes.Failed as error:
            words = f"FAILED {error}"
        except BaseException:
            words = f"FAILED in the campaign itself: {traceback.format_exc()}"
        self.file(trial).write_text(words, "utf-8")
        os._exit(0)

    def words(self, kind: str, number: int) -> str:
        """Do a trial; what was tried."""
        draw = random.Random(f"{self.seed} {kind} {number}")
        with processes.removed(self.scratch / "trials" / f"{kind}-{number}") as place:
            return KINDS[kind][0](number, draw, place, Worlds(self.scratch / "worlds"))

    def judge(self, trial: Trial, words: str) -> None:
        self.tried[trial[0]] = self.tried.get(trial[0], 0) + 1
        if words.startswith("FAILED"):
            self.failed.append(trial)
            print(f"{trial[0]}:{trial[1]} {words}", flush=True)

    def report(self, trial: Trial) -> str:
        path = self.file(trial)
        return path.read_text("utf-8") if path.exists() else "FAILED: the trial's own process died"

    def file(self, trial: Trial) -> pathlib.Path:
        return self.scratch / "trials" / f"{trial[0]}-{trial[1]}.txt"


def end(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
