"""Plain text as words, from files of several kinds."""

import gzip
import lzma

import pytest

from textcls.data import language
from textcls.errors import InputError
from textcls.text import Words

TEXT = "the cat sat\n\nthe dog sat on the mat\n"


def names(words, vocabulary):
    return [vocabulary.tokenizer.id_to_token(i) for i in words]


@pytest.fixture
def path(tmp_path):
    (tmp_path / "a.txt").write_text(TEXT, "utf-8")
    return tmp_path / "a.txt"


def test_words_and_ends_of_lines(path):
    corpus = language.load(str(path), str(path), str(path), 100, None)
    expected = "the cat sat <eos> the dog sat on the mat <eos>".split()
    assert names(corpus.train.words, corpus.vocabulary) == names(corpus.test.words, corpus.vocabulary) == expected
    assert len(corpus.vocabulary) == 8 and corpus.labels == []


def test_rare_words_are_unknown(path):
    corpus = language.load(str(path), str(path), None, 4, None)
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
    one = language.load(str(path), str(path), None, 100, None)
    many = language.load(f"{path},{tmp_path / 'b.gz'},{tmp_path / 'c.xz'}", str(path), None, 100, one.vocabulary)
    assert many.train.words.tolist() == one.train.words.tolist() * 3


def test_a_share_is_taken_from_the_end(path):
    whole = language.load(str(path), str(path), None, 100, None)
    parts = language.load(str(path), 0.3, None, 100, None)
    assert [*parts.train.words, *parts.dev.words] == whole.train.words.tolist()
    assert len(parts.dev) == 4


def test_bad_files_are_refused(tmp_path, path):
    with pytest.raises(InputError, match="no such file"):
        language.load(str(tmp_path / "none.txt"), 0.1, None, 100, None)
    (tmp_path / "latin.txt").write_bytes("fine\ncaf\xe9\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"latin.txt:2: not UTF-8"):
        language.load(str(tmp_path / "latin.txt"), 0.1, None, 100, None)
    (tmp_path / "bad.xz").write_bytes(lzma.compress(b"a b c\n" * 1000)[:-20])
    with pytest.raises(InputError, match=r"bad.xz: damaged after line \d+"):
        language.load(str(tmp_path / "bad.xz"), 0.1, None, 100, None)
    (tmp_path / "empty.txt").write_text("\n", "utf-8")
    with pytest.raises(InputError, match="at least 2 are needed"):
        language.load(str(path), str(tmp_path / "empty.txt"), None, 100, None)
