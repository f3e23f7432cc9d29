"""CoNLL files and schemes of tags."""

import pytest

from textcls.data import conll
from textcls.runtime.errors import InputError

BIO = "B-PER I-PER O B-LOC B-LOC O".split()
SCHEMES = {
    "BIO": BIO,
    "IOB1": "I-PER I-PER O I-LOC B-LOC O".split(),
    "BIOES": "B-PER E-PER O S-LOC S-LOC O".split(),
    "BILOU": "B-PER L-PER O U-LOC U-LOC O".split(),
}
WORDS = "Ada Lovelace visited Turin Milan .".split()


def write(path, tags, columns="{word}\t{tag}"):
    lines = [columns.format(word=word, tag=tag) for word, tag in zip(WORDS, tags, strict=True)]
    path.write_text("-DOCSTART- -X- O O\n\n" + "\n".join(lines) + "\n\n\n" + "\n".join(lines[:3]) + "\n", "utf-8")
    return path


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_becomes_bio(tmp_path, scheme):
    path = write(tmp_path / "a.conll", SCHEMES[scheme])
    corpus = conll.load(str(path), 0.5, None, "1", "-1", 1)
    assert corpus.labels == ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
    assert ("converted" in corpus.description) == (scheme != "BIO")
    long = max((*corpus.train.tags, *corpus.dev.tags), key=len)
    assert [corpus.labels[tag] for tag in long] == BIO
    assert sorted(map(len, (*corpus.train.words, *corpus.dev.words))) == [3, 6]
    assert conll.find_scheme([SCHEMES[scheme]]) == ("BIOES" if scheme == "BILOU" else scheme)


@pytest.mark.parametrize("columns, word, tag", [
    ("{word} NN B-NP {tag}", "1", "-1"),
    ("{tag}\t{word}", "2", "1"),
    ("x {word}  {tag} y", "2", "3"),
])  # fmt: skip
def test_any_column(tmp_path, columns, word, tag):
    path = write(tmp_path / "a.conll", BIO, columns)
    ((_, words, tags), _) = conll.read(path, conll.position(word), conll.position(tag))
    assert (words, tags) == (WORDS, BIO)


@pytest.mark.parametrize("text, message", [
    ("Ada B-PER\nrest\n", r"a.conll:2: column 2 is wanted, the line has 1"),
    ("Ada B-PER\nsaw NN\n", r"a.conll:2: tag 'NN' is neither O nor a prefix with a type"),
    ("\n\n", r"a.conll: the file holds no sentence"),
    ("Ada O\n", r"no entity in it"),
])  # fmt: skip
def test_bad_files_are_refused(tmp_path, text, message):
    path = tmp_path / "a.conll"
    path.write_text(text, "utf-8")
    with pytest.raises(InputError, match=message):
        conll.load(str(path), 0.5, None, "1", "2", 1)


def test_unknown_types_and_columns_are_refused(tmp_path):
    train = write(tmp_path / "a.conll", BIO)
    test = tmp_path / "b.conll"
    test.write_text("he O\n\nand O\nMars B-PLANET\n", "utf-8")
    with pytest.raises(InputError, match=r"b.conll:3: word 2 .* 'B-PLANET', a type .* its types: LOC, PER"):
        conll.load(str(train), 0.5, str(test), "1", "-1", 1)
    with pytest.raises(InputError, match="CoNLL files have no column names"):
        conll.load(str(train), 0.5, None, "word", "-1", 1)
    with pytest.raises(InputError, match="no such file"):
        conll.load(str(tmp_path / "none"), 0.5, None, "1", "-1", 1)


def test_dev_is_a_function_of_the_seed(tmp_path):
    path = tmp_path / "a.conll"
    path.write_text("".join(f"word{i} B-A\n\n" for i in range(40)), "utf-8")
    a, b, c = (conll.load(str(path), 0.25, None, "1", "-1", seed) for seed in (1, 1, 2))
    assert len(a.dev) == 10 and len(a.train) == 30
    assert (a.dev.ids == b.dev.ids).all() and not (a.dev.ids == c.dev.ids).all()
    assert not set(a.dev.ids) & set(a.train.ids)
