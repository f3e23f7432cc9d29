import io
import tarfile

import numpy as np
import pytest

from textcls.data import newsgroups
from textcls.runtime.errors import InputError

pytestmark = pytest.mark.usefixtures("cache")

POST = """From: someone@example.com
Subject: a question

In article <1@x> another@example.com writes:
> quoted words
| more quoted words
An answer of my own.

Yes.
--
Someone, somewhere
"""


def test_strip_each_part():
    body = POST.partition("\n\n")[2]
    assert newsgroups.without_headers(POST) == body
    assert newsgroups.without_footer(body).endswith("Yes.")
    assert "quoted" not in newsgroups.without_quotes(body)
    assert newsgroups.strip(POST) == "An answer of my own.\n\nYes."
    assert newsgroups.strip(POST, ("headers", "footers", "quotes")) == POST
    assert newsgroups.strip(POST, ("quotes",)).startswith("In article")


@pytest.mark.parametrize(
    "text, expected",
    [
        ("one\ntwo", "one\ntwo"),
        ("one\n--\ntwo", "one"),
        ("one\n\ntwo\n  -- \nthree", "one\n\ntwo"),
        ("", ""),
        ("\n\n", "\n\n"),
        ("---\nonly", "---\nonly"),
        ("  a\n\n", "  a\n\n"),
        ("a\n\n\n", "a\n\n\n"),
        ("x\n-\n-\ny", "x\n-"),
    ],
)
def test_footer_by_hand(text, expected):
    assert newsgroups.without_footer(text) == expected


def random_posts(count: int) -> list[str]:
    """Texts made of the very things the rules look at."""
    random = np.random.default_rng(0)
    bits = [
        "\n",
        "\n\n",
        "--",
        " ",
        "- -",
        "> q",
        "| q",
        "words",
        "In article x",
        "he writes:",
        "she said:",
        "wrote: x",
        "Quoted from y",
        "\t",
        "writes in z",
        "Subject: s",
    ]
    return ["".join(random.choice(bits, random.integers(0, 15))) for _ in range(count)]


def test_strip_equals_scikit_learn():
    theirs = pytest.importorskip("sklearn.datasets._twenty_newsgroups")
    for text in random_posts(5000):
        assert newsgroups.without_headers(text) == theirs.strip_newsgroup_header(text), repr(text)
        assert newsgroups.without_footer(text) == theirs.strip_newsgroup_footer(text), repr(text)
        assert newsgroups.without_quotes(text) == theirs.strip_newsgroup_quoting(text), repr(text)


def archive(path, files: dict[str, bytes]):
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def posts() -> dict[str, bytes]:
    return {
        f"20news-bydate-{split}/{group}/{n}": f"S: x\n\n{group} caf\xe9 {split} {n}".encode("latin-1")
        for split in ("train", "test")
        for group in ("rec.autos", "sci.space")
        for n in range(101, 106)
    }


def test_archive_and_folders_give_the_same_corpus(tmp_path):
    archive(tmp_path / newsgroups.ARCHIVE, posts())
    packed = newsgroups.load(str(tmp_path), (), seed=3)
    for name, content in posts().items():
        (tmp_path / "plain" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "plain" / name).write_bytes(content)
    plain = newsgroups.load(str(tmp_path / "plain"), (), seed=3)
    for split in ("train", "dev", "test"):
        assert getattr(packed, split).texts == getattr(plain, split).texts
        assert np.array_equal(getattr(packed, split).ids, getattr(plain, split).ids)
    assert packed.labels == ["rec.autos", "sci.space"]
    assert (len(packed.train), len(packed.dev), len(packed.test)) == (8, 2, 10)
    assert packed.test.texts[0] == ("rec.autos caf\xe9 test 101",)
    other = "; 20 posts of 2 classes, not the published 18,846 of 20"
    assert packed.description == f"20newsgroups by date, headers, footers, quotes stripped{other}"
    kept = newsgroups.load(str(tmp_path), ("headers", "quotes"), seed=3)
    assert kept.test.texts[0][0].startswith("S: x") and "date, footers stripped;" in kept.description


def test_nothing_in_an_archive_is_ever_written(tmp_path):
    """Members that climb out, links and devices are neither unpacked nor followed."""
    path = tmp_path / "in" / newsgroups.ARCHIVE
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as tar:
        for name, content in (posts() | {"../escaped": b"x", "/tmp/textcls-escaped": b"x"}).items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("20news-bydate-train/rec.autos/999")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        huge = tarfile.TarInfo("20news-bydate-train/rec.autos/998")
        huge.size = newsgroups.LARGEST_POST + 1
        tar.addfile(huge, io.BytesIO(bytes(huge.size)))

    def outside_the_cache():
        return {p for p in tmp_path.rglob("*") if p.relative_to(tmp_path).parts[0] != "cache"}

    before = outside_the_cache()
    corpus = newsgroups.load(str(path.parent), (), seed=0)
    assert len(corpus.train) + len(corpus.dev) == 10
    assert outside_the_cache() == before
    assert [p.suffix for p in (tmp_path / "cache").iterdir()] == [".npz"]


def test_damaged_archives_say_so(tmp_path):
    path = archive(tmp_path / newsgroups.ARCHIVE, posts())
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"not an archive", b"", whole[:200] + b"\xff" * 50 + whole[250:]):
        path.write_bytes(content)
        with pytest.raises(InputError, match="damaged or cut short|holds no post"):
            newsgroups.load(str(tmp_path), (), seed=0)


@pytest.mark.parametrize("kind", ["tar", "gz", "xz", "bz2"])
def test_an_archive_is_whole_or_damaged_to_the_last_byte(tmp_path, kind):
    """Flipped bits and cuts anywhere: what is read is the same, or an error. A plain tar has checksums of its headers
    alone; there the content of a post may be another, but no post is missing."""
    path = tmp_path / newsgroups.ARCHIVE
    with tarfile.open(path, "w" if kind == "tar" else f"w:{kind}") as tar:
        for name, content in posts().items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    whole, random = path.read_bytes(), np.random.default_rng(0)
    good, errors = newsgroups.read_posts(path), 0
    changes = [whole[: int(at)] for at in random.integers(0, len(whole) - (10240 if kind == "tar" else 0), 40)]
    for at in random.integers(0, len(whole), 160):
        changes.append(whole[:at] + bytes([whole[at] ^ 1 << int(random.integers(8))]) + whole[at + 1 :])
    for content in changes:
        path.write_bytes(content)
        try:
            read = newsgroups.read_posts(path)
        except InputError:
            errors += 1
            continue
        assert len(read) == len(good) if kind == "tar" else read == good
    assert errors > 60


def test_all_that_an_archive_or_a_folder_holds_is_bounded(tmp_path, monkeypatch):
    path = archive(tmp_path / newsgroups.ARCHIVE, posts() | {"beside": bytes(9 << 20)})
    for name, content in posts().items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    assert len(newsgroups.read_posts(path)) == len(newsgroups.read_posts(tmp_path)) == 20
    monkeypatch.setattr(newsgroups, "LARGEST", 1 << 20)
    with pytest.raises(InputError, match=r"damaged or cut short \(it says that it holds 9,437,184 bytes, more than 1,048,576\)"):
        newsgroups.read_posts(path)
    monkeypatch.setattr(newsgroups, "LARGEST", 100)
    with pytest.raises(InputError, match="holds posts of more than 100 bytes"):
        newsgroups.read_posts(tmp_path)


def test_an_archive_in_the_cache_is_the_published_one_or_fetched_again(cache, monkeypatch):
    cache.mkdir()
    archive(cache / newsgroups.ARCHIVE, posts())
    fetched = []
    monkeypatch.setattr(newsgroups, "download", lambda url, target, *_: fetched.append(url) or target)
    newsgroups.load(None, (), seed=0)
    assert fetched == [newsgroups.URL]
    monkeypatch.setattr(newsgroups, "SHA256", newsgroups.files.sha256(cache / newsgroups.ARCHIVE))
    newsgroups.load(None, (), seed=0)
    assert fetched == [newsgroups.URL]


def test_missing_data_and_unknown_parts(tmp_path):
    with pytest.raises(InputError, match="neither 20news-bydate.tar.gz nor the folders"):
        newsgroups.load(str(tmp_path), (), seed=0)
    with pytest.raises(InputError, match="'signatures'; known: footers, headers, quotes"):
        newsgroups.load(str(tmp_path), ("signatures",), seed=0)


def test_the_second_load_is_the_first_without_reading_a_post(tmp_path, monkeypatch):
    path = archive(tmp_path / newsgroups.ARCHIVE, posts())
    first = newsgroups.load(str(path), (), seed=1, dev_share=0.3)
    whole = newsgroups.load(str(path), ("headers",), seed=1, dev_share=0.3)
    assert whole.train.texts != first.train.texts  # what is kept is part of the key

    def refuse(*arguments):
        raise AssertionError("read again")

    with monkeypatch.context() as patch:
        patch.setattr(newsgroups, "read_posts", refuse)
        again = newsgroups.load(str(path), (), seed=1, dev_share=0.3)
    assert again.labels == first.labels
    for name in ("train", "dev", "test"):
        ours, theirs = getattr(again, name), getattr(first, name)
        assert ours.texts == theirs.texts
        assert np.array_equal(ours.labels, theirs.labels) and np.array_equal(ours.ids, theirs.ids)


def test_a_changed_archive_is_read_anew(tmp_path):
    path = archive(tmp_path / newsgroups.ARCHIVE, posts())
    first = newsgroups.load(str(path), (), seed=1, dev_share=0.3)
    changed = {name: data.replace(b"caf", b"kaf") for name, data in posts().items()}
    assert changed != posts()
    path.unlink()
    second = newsgroups.load(str(archive(path, changed)), (), seed=1, dev_share=0.3)
    assert second.test.texts != first.test.texts
