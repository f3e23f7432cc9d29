"""kill -9: at random moments of every model, task and script, and right before and after every call that changes a
folder. Survived: going on (--resume, or the same command) ends with the result of the run that was never stopped, bit
for bit, and nothing is left over."""

import os
import random
import signal
from collections.abc import Callable

from survival.processes import Ended, Place, require, watch
from survival.world import AFTER, CASES, OUT, Worlds, command, difference, fill, result

NAMES = [*CASES, *AFTER]
WRITERS = [name for name in NAMES if name != "evaluate tagger"]  # which changes no folder
MOST = 3  # kills of one run


def kill(number: int, draw: random.Random, place: Place, worlds: Worlds) -> str:
    """One to three kills, each at a moment drawn from the time that the whole takes."""
    name = NAMES[number % len(NAMES)]
    reference = prepare(name, place, worlds)
    kills = 0
    for _ in range(draw.randint(1, MOST)):
        script, arguments = going_on(name, place)
        process = place.start(script, *arguments)
        if process.ends_within(draw.uniform(0, reference["seconds"] * (1 if kills else 0.7))):
            break
        process.send(signal.SIGKILL)
        process.wait()
        kills += 1
        if draw.random() < 0.3 and name not in AFTER:  # a reader of what is half done
            place.call("evaluate", OUT, "--json", "--quiet").check()
    finish(name, place, reference)
    return f"{name}, {kills} kills"


def crash(number: int, draw: random.Random, place: Place, worlds: Worlds) -> str:
    """One kill, before or after a call that is drawn from all those that the whole makes."""
    name = WRITERS[number % len(WRITERS)]
    reference = prepare(name, place, worlds)
    calls = reference["calls"]
    point, after = draw.randrange(calls), draw.random() < 0.5
    script, arguments = command(name)
    ended = place.call(script, *arguments, before=lambda: watch(dying(point, after)))
    late = point >= calls - 3 and ended.status == 0  # what is called at the very end is not always the same
    require(ended.status == -signal.SIGKILL or late, f"did not come to call {point} of {calls}: {ended}")
    finish(name, place, reference)
    return f"{name}, {'after' if after else 'before'} call {point} of {calls}"


def dying(point: int, after: bool) -> Callable[[bool], None]:
    number = -1

    def seen(now_after: bool) -> None:
        nonlocal number
        number += not now_after
        if number == point and now_after == after:
            os.kill(os.getpid(), signal.SIGKILL)

    return seen


def dying_at_save(saves: int = 5) -> None:
    """Die when last.pt has been written so often."""
    from textcls.training.run import Run

    save, count = Run.save, [0]

    def counted(run, name, content):
        save(run, name, content)
        count[0] += name == "last.pt"
        if count[0] == saves:
            os.kill(os.getpid(), signal.SIGKILL)

    Run.save = counted


# ---- before and after -----------------------------------------------------------------------------------------------


def prepare(name: str, place: Place, worlds: Worlds) -> dict:
    """Put what a case begins with into `place`; what it came to when nobody stopped it."""
    reference = worlds.trained(name)[1]
    fill(place, worlds.trained(AFTER[name][2])[0] if name in AFTER else worlds.data())
    return reference


def going_on(name: str, place: Place) -> tuple[str, list[str]]:
    """What a user types next: --resume where there is a run, else the same command."""
    script, arguments = command(name)
    several = "--seeds" in arguments or name == "search"
    if script == "train" and not several and (place.work / OUT / "config.json").exists():
        return script, ["--resume", OUT, "--quiet"]
    return script, [*arguments, *["--resume"] * ("--predict" in arguments)]


def finish(name: str, place: Place, reference: dict) -> Ended:
    script, arguments = going_on(name, place)
    ended = place.call(script, *arguments)
    done = ("already holds a run", "whole: nothing to go on with")  # stopped when all was done
    whole = script != "train" and ended.refused and any(words in ended.err for words in done)
    require(whole or ended.check().status == 0, str(ended))
    require(not (change := difference(reference["result"], result(ended, place))), f"{change}; {ended}")
    require(not place.parts(), f"left over: {place.parts()}")
    require(not place.strays(), f"written outside: {place.strays()}")
    return ended
