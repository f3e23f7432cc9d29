"""Plain text as words, from files of several kinds."""

import gzip
import lzma

import pytest

from textcls.config import TrainConfig
from textcls.runtime.errors import InputError
from textcls.tasks import language
from textcls.text.vocabulary import Words

TEXT = "the cat sat\n\nthe dog sat on the mat\n"


def load(train, dev, test=None, vocab_size=100, vocabulary=None):
    config = TrainConfig(task="lm", train=str(train), dev=str(dev), test=test and str(test), vocab_size=vocab_size)
    return language.load(config, vocabulary=vocabulary)


def names(words, vocabulary):
    return [vocabulary.tokenizer.id_to_token(i) for i in words]


@pytest.fixture
def path(tmp_path):
    (tmp_path / "a.txt").write_text(TEXT, "utf-8")
    return tmp_path / "a.txt"


def test_words_and_ends_of_lines(path):
    corpus = load(path, path, path)
    expected = "the cat sat <eos> the dog sat on the mat <eos>".split()
    assert names(corpus.train.words, corpus.vocabulary) == names(corpus.test.words, corpus.vocabulary) == expected
    assert len(corpus.vocabulary) == 8 and corpus.labels == []


def test_rare_words_are_unknown(path):
    corpus = load(path, path, vocab_size=4)
    assert names(corpus.train.words, corpus.vocabulary) == [
        word if word in ("the", "sat", "<eos>") else "<unk>"
        for word in "the cat sat <eos> the dog sat on the mat <eos>".split()
    ]


def test_unk_spelled_out_is_the_unknown_word(tmp_path):
    vocabulary = Words.learn(["a <unk> b"], 10)
    assert names(vocabulary.encode(["a <unk> zzz"]), vocabulary) == ["a", "<unk>", "<unk>", "<eos>"]
    vocabulary.save(tmp_path)
    assert Words.from_folder(tmp_path).digest == vocabulary.digest


def test_compressed_and_several_files(tmp_path, path):
    with gzip.open(tmp_path / "b.gz", "wt", encoding="utf-8") as file:
        file.write(TEXT)
    with lzma.open(tmp_path / "c.xz", "wt", encoding="utf-8") as file:
        file.write(TEXT)
    one = load(path, path)
    many = load(f"{path},{tmp_path / 'b.gz'},{tmp_path / 'c.xz'}", path, vocabulary=one.vocabulary)
    assert many.train.words.tolist() == one.train.words.tolist() * 3


def test_a_share_is_taken_from_the_end(path):
    whole = load(path, path)
    parts = load(path, 0.3)
    assert [*parts.train.words, *parts.dev.words] == whole.train.words.tolist()
    assert len(parts.dev) == 4


def test_bad_files_are_refused(tmp_path, path):
    with pytest.raises(InputError, match="no such file"):
        load(tmp_path / "none.txt", 0.1)
    with pytest.raises(InputError, match="a folder, and no text file"):
        load(tmp_path, 0.1)
    (tmp_path / "latin.txt").write_bytes("fine\ncaf\xe9\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"latin.txt:2: byte 0xe9 at column 4 is not UTF-8"):
        load(tmp_path / "latin.txt", 0.1)
    (tmp_path / "bad.xz").write_bytes(lzma.compress(b"a b c\n" * 1000)[:-20])
    with pytest.raises(InputError, match=r"bad.xz: damaged after line \d+"):
        load(tmp_path / "bad.xz", 0.1)
    (tmp_path / "empty.txt").write_text("\n", "utf-8")
    with pytest.raises(InputError, match="at least 2 are needed"):
        load(path, tmp_path / "empty.txt")
