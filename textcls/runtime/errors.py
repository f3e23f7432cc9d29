"""The one exception whose message is meant for the user, and the wrapper that prints it."""

import contextlib
import errno
import functools
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator, Sequence

import torch

# How torch's allocator, oneDNN, which needs memory for each kernel that it makes, cuBLAS, and CUDA itself outside of
# torch's allocator, say that there is none.
NO_MEMORY = (
    "can't allocate memory",
    "could not create a primitive",
    "could not execute a primitive",
    "bad_alloc",
    "STATUS_ALLOC_FAILED",
    "CUDA error: out of memory",
)
WAYS_OUT = (
    "close other programs, or choose a smaller model, --batch-size or --max-length, or another --device; "
    "train.py --plan says what a model takes"
)


LONGEST = 1000  # characters of an error
# What would end the line, move the cursor or turn the text round: names in files may hold it.
UNSHOWN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class InputError(Exception):
    """Something the user gave (a flag, a file, a folder) is not usable. The message says what, where, what to do;
    `details` are further lines, as of a table of ways out."""

    def __init__(self, message: str, details: Sequence[str] = ()):
        super().__init__(message)
        self.details = details


def known(kind: str, value: object, names) -> InputError:
    """The error for a name that is not in a closed list: it lists the names that are."""
    return InputError(f"unknown {kind} {str(value)!r}; known: {', '.join(sorted(map(str, names)))}")


def exit_on_input_error(main):
    """Turn `main` into a script entry point: user errors are one line on stderr and exit status 2, no traceback."""

    @functools.wraps(main)
    def entry(argv=None) -> int:
        open_streams()
        try:
            with terminated_like_interrupted():
                status = main(argv) or 0
            sys.stdout.flush()  # here, where an error can still be explained, and not at exit
            return status
        except BrokenPipeError:  # the reader of our output (`| head`) has what it wants: nothing is wrong
            lead_nowhere(sys.stdout)
            return 0
        except InputError as error:
            print_error(str(error), error.details)
        except OSError as error:
            print_error(explain_os_error(error, of_output=output_fails()))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            print_error(f"out of memory; {WAYS_OUT}")
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return 130
        return 2

    return entry


def print_error(error: str, details: Sequence[str] = ()) -> None:
    """An error on standard error, which may be gone."""
    with contextlib.suppress(OSError):
        print(f"error: {one_line(error)}", *map(one_line, details), sep="\n  ", file=sys.stderr, flush=True)


def one_line(text: str) -> str:
    """The text in one line of bounded length, whatever the names in it are: they may come from files."""
    text = UNSHOWN.sub(lambda match: ascii(match[0])[1:-1], text)
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} … {text[-LONGEST // 2 :]}"


@contextlib.contextmanager
def terminated_like_interrupted() -> Iterator[None]:
    """SIGTERM is Ctrl-C: what is half written is removed. Not in one of several processes, which waits for the others
    where Python hears no signal, nor where somebody else listens."""
    alone = int(os.environ.get("WORLD_SIZE", "1")) == 1 and threading.current_thread() is threading.main_thread()
    if not alone or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error is a device or the process running out of memory; torch has no class for the latter."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(what in str(error) for what in NO_MEMORY)


def open_streams() -> None:
    """Standard output and error, ready for any text; where one is closed (`>&-`, a service), what is written to it is
    lost, and nothing else."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))
        show_everything(getattr(sys, name))


def check_output() -> None:
    """Raise InputError where standard output is closed: for what would be nothing but printed."""
    if getattr(sys.stdout, "name", None) == os.devnull:  # as open_streams has left it
        raise InputError("standard output is closed, and the answers would be lost; lead it into a file")


def show_everything(stream, encoding: str | None = None) -> None:
    """Let a stream escape what its encoding cannot show, in place of failing; `encoding` gives it another one."""
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(encoding=encoding or stream.encoding, errors="backslashreplace")


def lead_nowhere(stream) -> None:
    """Lead a stream whose reader is gone to nowhere: later writes, and Python's own flush at exit, are no errors."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def output_fails() -> bool:
    """Whether standard output takes nothing more, as of a full disk: what is left for it is given up then."""
    try:
        sys.stdout.flush()
        return False
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            lead_nowhere(sys.stdout)
        return True


def explain_os_error(error: OSError, of_output: bool = False) -> str:
    """One line for an operating-system error: the path, or that it is `of_output`, what went wrong, what to do."""
    if of_output and not error.filename:
        return f"standard output: {error.strerror or error}; lead it to another place"
    where = f"{error.filename}: " if error.filename else ""
    advice = {
        errno.ENOMEM: WAYS_OUT,
        errno.ENOSPC: "free some space, or choose another folder with --out",
        errno.EDQUOT: "the disk quota is used up: free some space, or choose another folder with --out",
        errno.EFBIG: "the file-size limit was reached: choose another folder with --out",
        errno.EACCES: "check the permissions, or choose another folder with --out",
        errno.EPERM: "check the permissions, or choose another folder with --out",
        errno.EROFS: "the file system is read-only: choose another folder with --out",
    }.get(error.errno)
    text = f"{where}{error.strerror or error}"
    return f"{text}; {advice}" if advice else text
