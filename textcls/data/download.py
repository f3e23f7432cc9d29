"""One file over HTTP: progress bar, resume, a bound on its size, pinned sha256, and an error that says where to put the
file by hand."""

import contextlib
import http.client
import os
import pathlib
import secrets
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import BinaryIO

from textcls.runtime import files
from textcls.runtime.errors import InputError
from textcls.runtime.files import fcntl
from textcls.runtime.progress import bar, say

CHUNK = 1 << 16


def download(
    url: str, target: pathlib.Path, most: int, sha256: str, what: str, flag: str, quiet: bool = False
) -> pathlib.Path:
    """Fetch `url`, a file of at most `most` bytes, to `target`. A broken transfer leaves `target`.part, and the next
    call goes on from there; of two at once the second waits, and finds the file. Raises InputError."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with claimed(target.with_name(target.name + files.PART), what) as (part, file):
        if target.is_file() and files.sha256(target) == sha256:
            part.unlink()
            return target  # another process has made it meanwhile
        try:
            fetch(url, file, most, what, quiet)
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
            reason = getattr(error, "reason", error) or type(error).__name__
            raise InputError(
                f"{what} could not be fetched from {url} ({reason}). Without a network: put {target.name} into "
                f"{target.parent}, or give its folder with {flag}"
            ) from None
        file.flush()
        os.fsync(file.fileno())
        digest = files.sha256(part)
        if digest != sha256:
            part.unlink()
            raise InputError(
                f"{what} from {url}: sha256 is {digest}, expected {sha256}; the download was deleted, try again"
            )
        if fcntl is None:
            file.close()  # Windows renames no open file
        os.replace(part, target)
        files.flush_folder(target.parent)
    return target


@contextlib.contextmanager
def claimed(part: pathlib.Path, what: str) -> Iterator[tuple[pathlib.Path, BinaryIO]]:
    """(the name, the file) of what is downloaded, which no other process writes meanwhile: it is locked. Where there
    are no locks it is a file of its own, under a random name, from which nobody goes on."""
    flags = os.O_CREAT | os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    while True:
        with open(os.open(part, flags, 0o644), "rb+") as file:
            if not locked(file, what):
                file.close()
                part.unlink(missing_ok=True)
                part = part.with_name(f"{part.name}.{secrets.token_hex(8)}")
                break
            with contextlib.suppress(FileNotFoundError):  # renamed by the process that had it
                if os.path.samestat(os.fstat(file.fileno()), os.stat(part)):
                    yield part, file
                    return
    with open(part, "xb+") as file:
        try:
            yield part, file
        finally:
            with contextlib.suppress(OSError):
                part.unlink()


def locked(file: BinaryIO, what: str) -> bool:
    """Wait for the lock of a file; False where there are no locks."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say(f"another process is fetching {what}; waiting for it")
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError:
        return False
    return True


def fetch(url: str, file: BinaryIO, most: int, what: str, quiet: bool) -> None:
    """Let `file`, which may hold a beginning, become what `url` leads to."""
    start = file.seek(0, os.SEEK_END)
    response = answer(url, file, start)
    if response is None:
        return
    with response:
        if start and not goes_on(response, start):
            start = 0  # the server sends the whole file again
        length = response.headers.get("Content-Length", "")
        total = start + int(length) if length.isascii() and length.isdigit() else None
        file.seek(start)
        file.truncate()
        with bar(what, quiet, total=total, initial=start, unit="B", unit_scale=True) as progress:
            while max(start, total or 0) <= most and (chunk := response.read(CHUNK)):
                file.write(chunk)
                start += len(chunk)
                progress.update(len(chunk))
    if max(start, total or 0) > most:
        file.truncate(0)
        raise ConnectionError(f"{max(start, total or 0):,} bytes or more, expected at most {most:,}")
    if start < (total or 0):
        raise ConnectionError(f"the transfer stopped at {start} of {total} bytes; run it again to go on")


def answer(url: str, file: BinaryIO, start: int) -> http.client.HTTPResponse | None:
    """What the server sends from byte `start` on; None where it has nothing there: the earlier transfer was whole, and
    the digest decides."""
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        return urllib.request.urlopen(request, timeout=30)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        return None


def goes_on(response, start: int) -> bool:
    """Whether an answer begins where it was asked to."""
    given = response.headers.get("Content-Range", f"bytes {start}-")
    return response.status == 206 and given.replace("bytes", "").strip().startswith(f"{start}-")
