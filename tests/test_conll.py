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
    assert conll.find_scheme([SCHEMES[scheme]]) == corpus.facts["scheme"] == scheme


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


# ---- fields ---------------------------------------------------------------------------------------------------------

SPACES = [chr(code) for code in (0x0B, 0x0C, 0x1C, 0x1D, 0x1E, 0x1F, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028,
                                 0x2029, 0x202F, 0x205F, 0x3000)]  # fmt: skip


def read(tmp_path, text, word="1", tag="-1"):
    path = tmp_path / "a.conll"
    path.write_bytes(text.encode("utf-8"))
    return [(words, tags) for _, words, tags in conll.read(path, conll.position(word), conll.position(tag))]


@pytest.mark.parametrize("space", SPACES, ids=lambda space: f"U+{ord(space):04X}")
@pytest.mark.parametrize("separator", [" ", "\t", "  "])
def test_fields_are_divided_by_blank_and_tab_only(tmp_path, space, separator):
    words = [f"10{space}000", space, "units"]
    text = "".join(f"{word}{separator}O\n" for word in words)
    assert read(tmp_path, text) == [(words, ["O", "O", "O"])]
    lines = [f"{word}\n" for word in words]
    (block,) = conll.sentences(lines, "a", 0, -1)  # to be predicted: the words alone
    assert [line.word for line in block] == words


@pytest.mark.parametrize("line", [
    "Ada\tNN\tB-PER ", "Ada\tNN\tB-PER\t", "Ada \tNN \tB-PER", "Ada NN B-PER \t", " Ada NN B-PER"
])  # fmt: skip
def test_blanks_at_the_end_are_no_field(tmp_path, line):
    assert read(tmp_path, f"{line}\r\nsaw\tVB\tO\r\n \t\r\nso\tRB\tO") == [
        (["Ada", "saw"], ["B-PER", "O"]), (["so"], ["O"])
    ]  # fmt: skip


def test_what_is_no_field_is_refused(tmp_path):
    with pytest.raises(InputError, match="a.conll:1: column 1 is empty"):
        read(tmp_path, "\tNN\tO\n")
    with pytest.raises(InputError, match="a.conll:1: lines end with CR alone"):
        read(tmp_path, "Ada B-PER\rsaw O\r")


def test_comments_ranges_and_empty_nodes_of_conllu(tmp_path):
    rows = ["1-2\tvámonos\t_", "1\tvamos\tO", "2\tnos\tB-PER", "2.1\tx\tO"]
    text = "# newdoc\n\n# sent_id = 1\n# text = vámonos a O\n" + "\n".join(rows) + "\n\n# 2\n1\t#\tO\n2\t3.1\tO\n"
    assert read(tmp_path, text, "2", "3") == [(["vamos", "nos"], ["O", "B-PER"]), (["#", "3.1"], ["O", "O"])]


def test_a_number_sign_with_a_tag_is_a_word(tmp_path):
    assert read(tmp_path, "# O\n1 B-X\n\n# B-X\n\n1-2 O\n3.1 O\n") == [
        (["#", "1"], ["O", "B-X"]), (["#"], ["B-X"]), (["1-2", "3.1"], ["O", "O"])
    ]  # fmt: skip
    assert read(tmp_path, "# a comment\n#hashtag O\nso O\n") == [(["#hashtag", "so"], ["O", "O"])]


# ---- schemes, back --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", [*SCHEMES, "BMEWO"])
def test_tags_go_back_to_the_scheme_they_came_in(scheme):
    tags = SCHEMES.get(scheme) or "B-PER E-PER O W-LOC W-LOC O".split()
    assert conll.from_bio(BIO, conll.find_scheme([tags, ["M-X"] if scheme == "BMEWO" else []])) == tags


def test_long_entities_and_what_is_no_correct_bio():
    assert conll.from_bio("B-A I-A I-A B-A O I-B".split(), "BIOES") == "B-A I-A E-A S-A O S-B".split()
    assert conll.from_bio("B-A I-A B-A B-B I-B B-A".split(), "IOB1") == "I-A I-A B-A I-B I-B I-A".split()


def test_a_share_for_test_is_drawn_before_dev(tmp_path):
    path = tmp_path / "a.conll"
    path.write_text("".join(f"word{i} B-A\n\n" for i in range(40)), "utf-8")
    a, b = (conll.load(str(path), 0.25, 0.2, "1", "-1", seed) for seed in (1, 1))
    assert (len(a.train), len(a.dev), len(a.test)) == (24, 8, 8) and (a.test.ids == b.test.ids).all()
    assert len({*a.train.ids, *a.dev.ids, *a.test.ids}) == 40
    other = conll.load(str(path), 0.5, 0.2, "1", "-1", 1)
    assert (other.test.ids == a.test.ids).all()  # whatever dev is
