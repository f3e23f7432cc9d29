"""20 Newsgroups, split by date (Lang, 1995; the "bydate" version of J. Rennie): 11,314 train and 7,532 test posts."""

import hashlib
import pathlib
import re
from collections.abc import Callable, Iterator

import numpy as np

from textcls.data import tar
from textcls.data.corpus import Corpus, check, documents, split_dev
from textcls.data.download import download
from textcls.data.packed import Damaged, by_beginning
from textcls.runtime import files
from textcls.runtime.cache import cache_folder, cached, needed, pack, unpack
from textcls.runtime.errors import InputError, known
from textcls.runtime.files import fingerprint

ARCHIVE = "20news-bydate.tar.gz"
URL = "https://ndownloader.figshare.com/files/5975967"
LARGEST_ARCHIVE = 1 << 26  # bytes that are downloaded; the published one has 14 MB
SHA256 = "8f1b2514ca22a5ade8fbb9cfa5727df95fa587f4c87b786e15c759fa66d95610"
POST = re.compile(r"(?:.*/)?20news-bydate-(train|test)/([\w.-]+)/(\w+)")
RULES = 1  # of stripping; raise it when they change, so that what the cache holds is made again
POSTS, CLASSES = 18846, 20  # of the published corpus
LARGEST_POST = 1 << 20  # bytes; the largest of the published ones has 160 KB
LARGEST = 1 << 28  # bytes of all posts, and of what an archive holds; the published ones have 36 MB
PARTS = ("headers", "footers", "quotes")

ATTRIBUTION = re.compile(r"writes in|writes:|wrote:|says:|said:|^In article|^Quoted from|^\||^>")


def load(
    data_dir: str | None,
    keep: tuple[str, ...],
    seed: int,
    dev_share: float = 0.1,
    progress: Callable = iter,
    quiet: bool = False,
) -> Corpus:
    """The corpus from `data_dir` (a folder that holds the archive or its unpacked folders, or the archive itself),
    else from the cache, else downloaded. `keep` names the parts that are left in: headers, footers, quotes."""
    for part in keep:
        if part not in PARTS:
            raise known("part in --keep", part, PARTS)
    path = find(data_dir, quiet)
    arrays = cached(f"20newsgroups-{digest(path, keep)}", lambda: stripped(path, keep, progress))
    texts, names = unpack(arrays), arrays["names"].tolist()
    pools = {}
    for pool in ("train", "test"):
        rows = np.flatnonzero(arrays["pools"] == pool)
        pools[pool] = documents(pool, [(texts[i],) for i in rows], arrays["labels"][rows])
    train, dev = split_dev(pools["train"], dev_share, seed)
    return check(Corpus("20newsgroups", describe(keep, len(texts), len(names)), names, train, dev, pools["test"]))


def digest(path: pathlib.Path, keep: tuple[str, ...]) -> str:
    """Of what the stripped posts depend on: the archive (of a folder: names, sizes and times), and what is kept."""
    if path.is_file():
        source = files.sha256(path)
    else:
        stats = sorted((str(file), file.stat()) for file in posts_files(path))
        source = " ".join(f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in stats)
    parts = [part for part in PARTS if part in keep]
    return hashlib.blake2b(fingerprint(str(RULES), source, *parts), digest_size=16).hexdigest()


def stripped(path: pathlib.Path, keep: tuple[str, ...], progress: Callable) -> dict[str, np.ndarray]:
    """The posts as the cache keeps them, in the order of `read_posts`."""
    posts = read_posts(path, progress)
    names = sorted({group for _, group, _ in posts})
    return pack([strip(text, keep) for _, _, text in posts]) | {
        "pools": np.array([split for split, _, _ in posts]),
        "labels": np.array([names.index(group) for _, group, _ in posts]),
        "names": np.array(names),
    }


def describe(keep: tuple[str, ...], posts: int, classes: int) -> str:
    gone = [part for part in PARTS if part not in keep]
    other = f"; {posts:,} posts of {classes} classes, not the published {POSTS:,} of {CLASSES}"
    other *= (posts, classes) != (POSTS, CLASSES)
    return f"20newsgroups by date, {', '.join(gone) or 'nothing'} stripped{other}"


def find(data_dir: str | None, quiet: bool) -> pathlib.Path:
    """The archive, or the folder that holds the two unpacked ones."""
    if data_dir is None:
        target = cache_folder() / ARCHIVE
        with needed("20newsgroups"):
            if target.is_file() and files.sha256(target) == SHA256:
                return target
            return download(URL, target, LARGEST_ARCHIVE, SHA256, "20newsgroups", "--data-dir", quiet)
    path = pathlib.Path(data_dir)
    if path.is_file():
        return path
    if (path / "20news-bydate-train").is_dir() and (path / "20news-bydate-test").is_dir():
        return path
    if (path / ARCHIVE).is_file():
        return path / ARCHIVE
    raise InputError(
        f"--data-dir {path}: neither {ARCHIVE} nor the folders 20news-bydate-train and 20news-bydate-test are there"
    )


def read_posts(path: pathlib.Path, progress: Callable = iter) -> list[tuple[str, str, str]]:
    """(split, group, text) of every post, sorted by split, group and file name."""
    members = posts_in_folder(path) if path.is_dir() else posts_in_archive(path)
    posts, size = [], 0
    for name, data in progress(members):
        match = POST.fullmatch(name)
        if match:
            if (size := size + len(data)) > LARGEST:
                raise InputError(f"{path}: holds posts of more than {LARGEST:,} bytes; the published ones have 36 MB")
            posts.append((*match.groups(), data.decode("latin-1")))
    for split in ("train", "test"):
        if not any(post[0] == split for post in posts):
            raise InputError(f"{path}: holds no post under 20news-bydate-{split}/GROUP/")
    return [(split, group, text) for split, group, _, text in sorted(posts, key=lambda post: post[:3])]


def posts_in_archive(path: pathlib.Path) -> Iterator[tuple[str, bytes]]:
    """(name, content) of the posts, read straight out of the archive: nothing in it decides where anything is written.
    It is read to its last byte, where the decompressor compares checksum and length."""
    try:
        with by_beginning(path) as file:
            yield from tar.files(file, LARGEST_POST, LARGEST)
    except Damaged as error:
        raise InputError(
            f"{path}: the archive is damaged or cut short ({error}); delete it and fetch it again"
        ) from None


def posts_in_folder(path: pathlib.Path):
    for file in posts_files(path):
        yield file.relative_to(path).as_posix(), file.read_bytes()


def posts_files(path: pathlib.Path):
    for split in ("train", "test"):
        for file in (path / f"20news-bydate-{split}").glob("*/*"):
            if file.is_file() and file.stat().st_size <= LARGEST_POST:
                yield file


def strip(text: str, keep: tuple[str, ...] = ()) -> str:
    """The post without headers, footers and quotes, in this order: scikit-learn's `remove=`, to the character."""
    if "headers" not in keep:
        text = without_headers(text)
    if "footers" not in keep:
        text = without_footer(text)
    if "quotes" not in keep:
        text = without_quotes(text)
    return text


def without_headers(text: str) -> str:
    """What follows the first empty line; nothing where there is none."""
    return text.partition("\n\n")[2]


def without_footer(text: str) -> str:
    """What precedes the last line that is blank or only dashes; all of it, untrimmed, where that is the first line or
    there is none."""
    lines = text.strip().split("\n")
    last = next((i for i in reversed(range(len(lines))) if not lines[i].strip().strip("-")), 0)
    return "\n".join(lines[:last]) if last > 0 else text


def without_quotes(text: str) -> str:
    """Without the lines that quote, or announce a quotation."""
    return "\n".join(line for line in text.split("\n") if not ATTRIBUTION.search(line))
