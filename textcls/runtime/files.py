"""Small file habits shared by everything that reads and writes: atomic replacement, digests, arrays."""

import contextlib
import functools
import hashlib
import io
import json
import math
import os
import pathlib
import secrets
import shutil
import socket
import time
import zipfile
import zlib

import numpy as np

from textcls.runtime import parallel
from textcls.runtime.errors import InputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

PART = ".part"  # how the name of a file ends that is being written
OLD = 24 * 3600  # seconds
CHUNK = 1 << 20  # bytes read at once
CHECKSUM = "checksum"  # of a JSON object, in it
NAME = "file name"  # of arrays that are kept, among them


@contextlib.contextmanager
def replacing(path: pathlib.Path, by_all: bool = False):
    """A binary file that becomes `path` when the block ends well: written beside it, flushed to the disk, renamed.

    A crash, a full disk, kill -9 or a power failure at any moment leaves the old file or the new one, whole. Of several
    processes of one run only the first writes, unless `by_all`: files of the cache, which processes of other runs may
    be making too.
    """
    if not (by_all or parallel.is_first()):
        yield io.BytesIO()
        return
    with in_place_of(path) as temporary, open(temporary, "wb") as file:
        yield file


@contextlib.contextmanager
def in_place_of(path: pathlib.Path):
    """The name of a new file beside `path`, for the block to write and close; it becomes `path` when the block ends
    well, and is removed otherwise. Nobody else has the name: it is random, whatever processes and machines share the
    folder, and no link is followed there. What killed processes have left in the folder is removed."""
    remove_left_overs(path.parent)
    temporary, file = new_file(path)
    with file:
        try:
            yield temporary
            with open(temporary, "rb+") as written:
                os.fsync(written.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
    flush_folder(path.parent)


@contextlib.contextmanager
def folder_in_place_of(folder: pathlib.Path):
    """A new folder beside `folder`, for the block to fill; it becomes `folder` when the block ends well, and is removed
    otherwise. Raises InputError where there is something in `folder` already."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: is there already; choose another folder, or remove it")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{secrets.token_hex(8)}{PART}")
    temporary.mkdir()
    try:
        yield temporary
        os.replace(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    flush_folder(folder.parent)


def new_file(path: pathlib.Path) -> tuple[pathlib.Path, io.FileIO]:
    """(a name beside `path` that no file had, the file): locked while it is open, which says that somebody is writing
    it. Another process may take it for a left-over before the lock is there: then it is made once more."""
    flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_NOFOLLOW", 0)
    while True:
        temporary = path.with_name(f".{path.name}.{machine()}.{secrets.token_hex(8)}{PART}")
        file = open(temporary, "xb", buffering=0, opener=lambda name, _: os.open(name, flags, 0o666))
        if fcntl is None:
            file.close()  # Windows renames no open file
            return temporary, file
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), os.stat(temporary)):
                return temporary, file
        file.close()


def remove_left_overs(folder: pathlib.Path) -> None:
    """Files of :func:`new_file` whose writers are dead. A file of another machine has to be old, too: on some shared
    file systems nobody sees its lock from here. Where there are no locks all stay: nobody can tell."""
    if fcntl is None:
        return
    for path in folder.glob(f".*{PART}"):
        with contextlib.suppress(OSError):
            file = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if f".{machine()}." in path.name or os.fstat(file).st_mtime < time.time() - OLD:
                    path.unlink()
            finally:
                os.close(file)


@functools.cache
def machine() -> str:
    """The same for all processes that see each other's locks: of containers on one machine too."""
    try:
        name = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text("ascii")
    except OSError:
        name = socket.gethostname()
    return fingerprint(name).hex()[:8]


def make_folder(folder: pathlib.Path) -> None:
    """Make a folder with its parents where they are not there; the names of new ones are flushed to the disk."""
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in new:
        flush_folder(path.parent)


def flush_folder(folder: pathlib.Path) -> None:
    """The names in a folder are on the disk, where the system can be asked for it (not on Windows)."""
    with contextlib.suppress(OSError):
        file = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)


def paths_of(names: str) -> list[pathlib.Path]:
    """The files of a path, or of several with commas between; a comma in the name of a file that exists is its own.
    Raises InputError for an empty name among them, and for a pipe or a device, which cannot be read twice."""
    parts = [names] if os.path.exists(names) else names.split(",")
    if "" in parts[1:] or "" in parts[:-1]:
        raise InputError(f"{names!r}: an empty name before or after a comma")
    paths = [pathlib.Path(name) for name in parts]
    for path in paths:
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise InputError(f"{path}: neither a file nor a folder, but a pipe or a device")
    return paths


def seen_from(start: pathlib.Path, path: str | os.PathLike) -> str:
    """The path as seen from the folder `start`, so that both can be moved together; of links the ends, since .. is
    taken there. In full where no way leads to it (another drive of Windows)."""
    end = os.path.realpath(path)
    try:
        return os.path.relpath(end, os.path.realpath(start))
    except ValueError:
        return end


def file_names(paths: str) -> str:
    """The names of the files alone, with commas between."""
    return ",".join(path.name for path in paths_of(paths))


def write_text(path: pathlib.Path, text: str, by_all: bool = False) -> None:
    with replacing(path, by_all) as file:
        file.write(text.encode("utf-8"))


def write_json(path: pathlib.Path, value: object, by_all: bool = False) -> None:
    """UTF-8. The bytes of a file's name that are no UTF-8 (lone surrogates in Python) become JSON's own escapes."""
    text = json_text(value, indent=2, ensure_ascii=False) + "\n"
    write_text(path, text.encode("utf-8", "backslashreplace").decode("utf-8"), by_all)


def json_text(value: object, **options) -> str:
    """What json.dumps gives, but nothing that is no JSON: null for a number that is not finite."""
    return json.dumps(finite(value), allow_nan=False, **options)


def finite(value: object) -> object:
    """The same with None in place of NaN and infinities, wherever they stand: JSON has none, and other readers stop at
    what Python would write for them."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: finite(item) for name, item in value.items()}
    return [finite(item) for item in value] if isinstance(value, list | tuple) else value


def parse_json(text: str | bytes) -> object:
    """What json.loads gives; ValueError too for brackets that are nested too deep for it."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("brackets nested too deep") from None


def with_checksum(value: dict) -> dict:
    """A JSON object with a digest of what it says, by which damage is seen when it is read again."""
    value = finite(value)  # as it is written, and read again
    return value | {CHECKSUM: fingerprint(json.dumps(value)).hex()}


def checked(text: str | bytes) -> dict:
    """The JSON object of :func:`with_checksum`, without its checksum. Raises ValueError where it is another than was
    written; one that has none (an older one, or one that was edited on purpose) is taken as it is."""
    value = parse_json(text)
    if not isinstance(value, dict):
        raise ValueError(f"not a JSON object but {str(value)[:60]!r}")
    try:
        noted, found = value.pop(CHECKSUM, None), fingerprint(json.dumps(value)).hex()
    except RecursionError:  # just not too deep to be read
        raise ValueError("brackets nested too deep") from None
    if noted not in (None, found):
        raise ValueError(f"its checksum is another; if it was edited on purpose, delete {json.dumps(CHECKSUM)} in it")
    return value


def crc32(path: pathlib.Path) -> int:
    """Of a file of any size, which is read (a memory map's pages would count as ours). It tells damage from the file
    that was written, several times as fast as a digest; it is no protection from somebody who means harm."""
    value = 0
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            value = zlib.crc32(chunk, value)
    return value


def sha256(path: pathlib.Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(*parts: str) -> bytes:
    """A digest of a list of strings; the lengths keep ("ab", "c") and ("a", "bc") apart."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.digest()


def keep_arrays(path: pathlib.Path, **arrays: np.ndarray) -> None:
    """Arrays that can be made again, for whichever process wants them next."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, by_all=True) as file:
        np.savez(file, **arrays, **{NAME: path.name})


def kept_arrays(path: pathlib.Path) -> dict[str, np.ndarray] | None:
    """What :func:`keep_arrays` kept there; None where the file is absent or damaged, or was kept under another name: by
    its name alone it is known what the arrays were made of."""
    arrays = read_arrays(path)
    return arrays if isinstance(arrays, dict) and str(arrays.pop(NAME, "")) == path.name else None


def check_stored(archive: zipfile.ZipFile, size: int) -> None:
    """Raise ValueError unless the records of a ZIP archive of `size` bytes lie there as they are, each for itself: a
    compressed one may be of any size, and several may be the same bytes."""
    for record in archive.infolist():
        if record.compress_type != zipfile.ZIP_STORED or record.compress_size != record.file_size:
            raise ValueError(f"record {record.filename} is compressed")
    if sum(record.file_size for record in archive.infolist()) > size:
        raise ValueError(f"its records are larger than the file of {size:,} bytes")


def read_arrays(path: pathlib.Path, mapped: bool = False) -> dict[str, np.ndarray] | np.ndarray | None:
    """The arrays of a .npz file by name, or that of a .npy file (`mapped`: left on the disk); None where the file is
    absent or damaged. Nothing in it is executed."""
    try:
        content = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
        if isinstance(content, np.ndarray):
            return content
        with content:
            check_stored(content.zip, path.stat().st_size)
            return dict(content)
    except Exception:  # OSError, ValueError, EOFError, KeyError, BadZipFile, …: all mean the same here
        return None
