"""Scripts, and functions of tests, in processes of their own, forked from one that has imported them and done nothing:
as real as a new Python, and seconds quicker."""

import importlib
import multiprocessing
import os
import pathlib
import sys
import tempfile
from collections.abc import Callable

CONTEXT = multiprocessing.get_context("forkserver" if os.name == "posix" else "spawn")
# torch._dynamo, which torch imports when it first builds an optimiser, takes a second.
CONTEXT.set_forkserver_preload(["train", "evaluate", "ensemble", "tests.conftest", "tests.launch", "torch._dynamo"])


class Launched:
    """`script`, or a function of a list of strings, with its arguments in the folder `cwd`; standard output and error
    go to files. `before` is called in the new process first."""

    def __init__(
        self, cwd, script: str | Callable, *arguments, stdin: str | bytes = b"", before=None, **variables: str
    ):
        self.folder = pathlib.Path(tempfile.mkdtemp(dir=pathlib.Path(cwd).parent))
        (self.folder / "0").write_bytes(stdin.encode() if isinstance(stdin, str) else stdin)
        given = (str(cwd), str(self.folder), script, list(map(str, arguments)), before, variables)
        self.process = CONTEXT.Process(target=work, args=given)
        self.process.start()

    @property
    def returncode(self) -> int | None:
        return self.process.exitcode

    def wait(self, timeout: float = 240) -> int:
        self.process.join(timeout)
        if self.process.exitcode is None:
            self.process.kill()  # or pytest would wait for it at its end
            raise AssertionError(f"still running after {timeout} s: {self.stderr}")
        return self.process.exitcode

    def send(self, number: int) -> None:
        os.kill(self.process.pid, number)

    @property
    def stdout(self) -> str:
        return (self.folder / "1").read_text("utf-8")

    @property
    def stderr(self) -> str:
        return (self.folder / "2").read_text("utf-8")


def work(cwd: str, folder: str, script, arguments: list[str], before, variables: dict[str, str]) -> None:
    import torch

    os.chdir(cwd)
    os.environ.update(variables)
    for number in range(3):
        file = os.open(f"{folder}/{number}", os.O_RDWR | os.O_CREAT)
        os.dup2(file, number)
        os.close(file)
    sys.stdin = open(0, encoding="utf-8")
    torch.set_num_threads(1)
    if before is not None:
        before()
    main = importlib.import_module(script.removesuffix(".py")).main if isinstance(script, str) else script
    sys.exit(main(arguments))
