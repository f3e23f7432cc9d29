"""One file over HTTP: progress bar, resume, pinned sha256, and an error that says where to put the file by hand."""

import os
import pathlib
import urllib.error
import urllib.request

from textcls.runtime import files
from textcls.runtime.errors import InputError
from textcls.runtime.progress import bar

CHUNK = 1 << 16


def download(url: str, target: pathlib.Path, sha256: str, what: str, flag: str, quiet: bool = False) -> pathlib.Path:
    """Fetch `url` to `target`. A broken transfer leaves `target`.part, and the next call goes on from there."""
    part = target.with_name(target.name + ".part")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        fetch(url, part, what, quiet)
    except (urllib.error.URLError, ConnectionError, TimeoutError) as error:
        reason = getattr(error, "reason", error)
        raise InputError(
            f"{what} could not be fetched from {url} ({reason}). Without a network: put {target.name} into "
            f"{target.parent}, or give its folder with {flag}"
        ) from None
    digest = files.sha256(part)
    if digest != sha256:
        part.unlink()
        raise InputError(
            f"{what} from {url}: sha256 is {digest}, expected {sha256}; the download was deleted, try again"
        )
    os.replace(part, target)
    return target


def fetch(url: str, part: pathlib.Path, what: str, quiet: bool) -> None:
    start = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        response = urllib.request.urlopen(request, timeout=30)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing after `start`: the earlier transfer was whole, the digest decides
            return
        raise
    with response:
        if start and response.status != 206:
            start = 0  # the server sends the whole file again
        length = response.headers.get("Content-Length")
        total = start + int(length) if length else None
        progress = bar(what, quiet, total=total, initial=start, unit="B", unit_scale=True)
        with open(part, "ab" if start else "wb") as file, progress:
            while chunk := response.read(CHUNK):
                file.write(chunk)
                progress.update(len(chunk))
    if total is not None and part.stat().st_size < total:
        raise ConnectionError(f"the transfer stopped at {part.stat().st_size} of {total} bytes; run it again to go on")
