"""Token files: what is read back is the text, from files of several kinds, at any size."""

import gzip
import lzma
import pathlib
import sys

import numpy as np
import pytest

from tests.launch import Launched
from textcls.data import shards
from textcls.runtime.errors import InputError
from textcls.runtime.memory import process_memory
from textcls.tasks.masking import PairBatches
from textcls.text.vocabulary import Vocabulary

TEXT = "the cat sat on the mat\nthe dog ran\n\n\nsailing in the strong wind of the north sea\n\nshort\n"


@pytest.fixture(scope="module")
def vocabulary():
    return Vocabulary.learn([TEXT] * 3, 120)


@pytest.fixture
def path(tmp_path, cache):
    (tmp_path / "a.txt").write_text(TEXT, "utf-8")
    return tmp_path / "a.txt"


def text_of(passages, vocabulary, document) -> list[list[str]]:
    """The pieces of each line."""
    ids, begins = shards.unmark(passages.read(document, 0, int(passages.lengths[document])))
    lines = np.split(ids, np.flatnonzero(begins)[1:])
    return [[vocabulary.tokenizer.id_to_token(i) for i in line] for line in lines]


def expected(lines, vocabulary) -> list[list[str]]:
    return [vocabulary.tokenizer.encode(line, add_special_tokens=False).tokens for line in lines]


def test_documents_and_lines_come_back(path, vocabulary):
    found, dropped = shards.passages(str(path), vocabulary)
    assert len(found) == 2 and dropped == 1
    assert text_of(found, vocabulary, 0) == expected(["the cat sat on the mat", "the dog ran"], vocabulary)
    assert text_of(found, vocabulary, 1) == expected(["sailing in the strong wind of the north sea"], vocabulary)
    part = found.read(0, 2, 4)
    assert part.tolist() == found.read(0, 0, 10)[2:6].tolist()


@pytest.mark.parametrize("ending, opened", [(".xz", lzma.open), (".gz", gzip.open)])
def test_compressed_shards_follow_each_other(path, vocabulary, tmp_path, ending, opened):
    other = tmp_path / f"b.txt{ending}"
    with opened(other, "wt", encoding="utf-8") as file:
        file.write("a mat for the cat to sit on\n\n" + TEXT)
    found, _ = shards.passages(f"{path},{other}", vocabulary)
    assert [text_of(found, vocabulary, i)[0][0] for i in range(len(found))] == ["the", "sailing", "a", "the", "sailing"]


def test_an_end_of_file_ends_a_document(tmp_path, cache, vocabulary):
    for name in "ab":
        (tmp_path / name).write_text("the cat sat on the mat and the dog ran", "utf-8")
    found, _ = shards.passages(f"{tmp_path / 'a'},{tmp_path / 'b'}", vocabulary)
    assert len(found) == 2


def test_counts_are_those_of_the_text(path, vocabulary):
    found, _ = shards.passages(str(path), vocabulary)
    lines = ["the cat sat on the mat", "the dog ran", "sailing in the strong wind of the north sea"]
    tokens = [i for line in lines for i in vocabulary.tokenizer.encode(line, add_special_tokens=False).ids]
    assert found.counts().tolist() == np.bincount(tokens).tolist()


def test_a_shard_is_tokenised_once_and_again_when_damaged(path, vocabulary, cache, monkeypatch):
    first = shards.shard_of(path, vocabulary)
    with monkeypatch.context() as patch:
        patch.setattr(shards, "tokenised", lambda *_: pytest.fail("tokenised again"))
        assert shards.shard_of(path, vocabulary).path == first.path
    with open(first.path, "ab") as file:
        file.write(b"x")
    whole = shards.shard_of(path, vocabulary)
    assert whole.path.stat().st_size == whole.offsets[-1] * whole.dtype.itemsize
    content = whole.path.read_bytes()
    whole.path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    assert shards.shard_of(path, vocabulary).path.read_bytes() == content
    first.path.with_suffix(".npz").write_bytes(b"no index")
    assert shards.shard_of(path, vocabulary).offsets.tolist() == first.offsets.tolist()
    path.write_text(TEXT + "more of it\n", "utf-8")
    assert shards.shard_of(path, vocabulary).path != first.path


def test_large_vocabularies_take_four_bytes(path, cache):
    pieces = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        *(f"w{i}" for i in range(2**15)),
        *"the cat sat on mat dog ran".split(),
    ]
    large = Vocabulary.from_vocab({piece: number for number, piece in enumerate(pieces)})
    found, _ = shards.passages(str(path), large)
    assert found.shards[0].dtype == np.int32
    assert text_of(found, large, 0)[0] == "the cat sat on the mat".split()


def test_the_dev_share_is_documents_drawn_by_the_text_alone(tmp_path, cache, vocabulary):
    path = tmp_path / "many.txt"
    path.write_text("\n\n".join(f"the cat sat on the mat the dog ran {'the ' * i}" for i in range(400)), "utf-8")
    parts = [shards.load(str(path), 0.25, None, vocabulary) for _ in range(2)]
    lengths = [set(part.lengths.tolist()) for part in (parts[0].train, parts[0].dev)]
    assert not lengths[0] & lengths[1] and len(lengths[0] | lengths[1]) == 400
    assert len(parts[0].dev) == pytest.approx(100, abs=30)
    assert parts[1].dev.place.tolist() == parts[0].dev.place.tolist()


@pytest.mark.parametrize("content, dev, message", [
    ("the cat sat on the mat and the dog\n", 0.5, "at least 2 are needed"),
    (TEXT, 1.5, "a share must lie between 0 and 1"),
])  # fmt: skip
def test_too_little_text_is_an_error(path, vocabulary, content, dev, message):
    path.write_text(content, "utf-8")
    with pytest.raises(InputError, match=message):
        shards.load(str(path), dev, None, vocabulary)


def test_errors_name_file_and_line(path, vocabulary, tmp_path):
    path.write_bytes(b"the cat\n\xff\xfe\n")
    with pytest.raises(InputError, match=r"a\.txt:2: byte 0xff at column 1 is not UTF-8"):
        shards.passages(str(path), vocabulary)
    assert not list((tmp_path / "cache").glob("tokens-*.bin"))
    with pytest.raises(InputError, match="no such file"):
        shards.passages("none.txt", vocabulary)


def read_all(arguments: list[str]) -> None:
    """Tokenise a text in the vocabulary of a folder and read examples of all of it; print its tokens and the peak."""
    path, folder = arguments
    vocabulary = Vocabulary.from_folder(pathlib.Path(folder))
    passages, _ = shards.passages(path, vocabulary)
    batches = PairBatches(passages, vocabulary, 128, 32)
    for numbers in batches.order(0):
        batches.collate(numbers)
    print(passages.lengths.sum(), process_memory("VmHWM"))


@pytest.mark.skipif(sys.platform != "linux", reason="reads the resident set from /proc")
def test_memory_does_not_grow_with_the_text(tmp_path, vocabulary):
    """Tokenising ten times the text, and reading examples of all of it, takes the same memory within 2 MiB: less than
    its tokens would take in four bytes each."""
    vocabulary.publish(tmp_path)
    peaks, tokens = [], []
    for times in (1, 10):
        path = tmp_path / f"{times}.txt"
        with open(path, "w", encoding="utf-8") as file:
            for i in range(100 * times):
                file.write(f"{i} the cat sat on the mat and the dog ran in the strong wind\n" * 40 + "\n")
        reading = Launched(tmp_path, read_all, path, tmp_path, TEXTCLS_CACHE=str(tmp_path / "cache"))
        assert reading.wait() == 0, reading.stderr
        count, peak = reading.stdout.split()
        tokens.append(int(count))
        peaks.append(int(peak))
    assert tokens[1] > 9.5 * tokens[0] and tokens[1] > 500_000
    assert peaks[1] - peaks[0] < 2 * 2**20, peaks
