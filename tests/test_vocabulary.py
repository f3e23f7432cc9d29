import json

import pytest

from textcls.runtime.errors import InputError
from textcls.text.vocabulary import SPECIAL, Vocabulary

AWKWARD = [
    "",
    " ",
    "Hello, World!",
    "naïve café Ångström ÀÉÎ",
    "你好世界 mixed 中文text",
    "emoji 😀👩‍👩‍👧 flag 🇫🇷",
    "tab\tnew\nline\r\nreturn",
    "nul\x00byte and \x07bell \x1b[0m",
    "\ufffd replacement \u200b zero\u00a0width",
    "x" * 200,
    "y" * 100,
    "don't stop-now... (really?) $5.00 #tag @you",
    "ﬁ ligature ½ ² Ⅷ",
    "İstanbul ß ẞ ŉ",
    "عربى हिन्दी ไทย 한국어",
    "[CLS] in the text [MASK]",
    "a\u0301 combining e\u0308",
    "UPPER lower MiXeD",
    "\ud83d lone",
    "under_score and-dash — em",
    "١٢٣ 123 ①",
    "\u2028line sep\u2029",
    "[unused1] ##ing ##",
]


@pytest.fixture
def folder(tmp_path):
    """A published-style vocab.txt: special tokens, letters, some pieces."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,!?'()$#@-_[]"
    pieces = ["hello", "world", "the", "text", "new", "##ing", "line", "don", "stop", "naive", "cafe", "你", "好"]
    vocab = ["[PAD]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *("##" + c for c in letters), *pieces]
    (tmp_path / "vocab.txt").write_text("\n".join(vocab) + "\n", "utf-8")
    return tmp_path


@pytest.mark.parametrize("lower", [True, False])
def test_ids_equal_hugging_face(folder, lower):
    transformers = pytest.importorskip("transformers")
    (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": lower}))
    theirs = transformers.BertTokenizer(str(folder / "vocab.txt"), do_lower_case=lower)
    ours = Vocabulary.from_folder(folder).encode(AWKWARD)
    for i, text in enumerate(AWKWARD):
        if "\ud83d" in text:
            continue  # theirs cannot take a lone surrogate at all
        assert ours[i].tolist() == theirs(text, add_special_tokens=False)["input_ids"], repr(text)


def test_rules_by_hand(folder):
    vocabulary = Vocabulary.from_folder(folder)
    decode = vocabulary.tokenizer.id_to_token
    pieces = vocabulary.encode(["Héllo\x00 worldS, the 你好!", "q" * 101, "\ud83d", ""])
    assert [decode(i) for i in pieces[0]] == ["hello", "world", "##s", ",", "the", "你", "好", "!"]
    assert [decode(i) for i in pieces[1]] == ["[UNK]"]  # longer than 100 characters
    assert [decode(i) for i in pieces[2]] == ["?"]  # a lone surrogate becomes a question mark
    assert len(pieces[3]) == 0


def test_tokenizer_json_has_its_truncation_and_padding_switched_off(folder, tmp_path):
    plain = Vocabulary.from_folder(folder)
    plain.tokenizer.enable_truncation(4)
    plain.tokenizer.enable_padding(length=4)
    target = tmp_path / "json"
    target.mkdir()
    plain.tokenizer.save(str(target / "tokenizer.json"))
    text = "the text line " * 20
    again = Vocabulary.from_folder(target)
    assert len(again.encode([text])[0]) == 60
    assert again.digest == Vocabulary.from_folder(folder).digest


def test_learned_vocabulary_is_small_complete_and_repeatable(tmp_path):
    texts = ["the quick brown fox jumps over the lazy dog"] * 5 + ["quicker foxes jumped over lazier dogs"] * 5
    vocabulary = Vocabulary.learn(texts, 90)
    assert len(vocabulary) <= 90
    assert [vocabulary.tokenizer.token_to_id(token) for token in SPECIAL] == [0, 1, 2, 3, 4]
    assert not (vocabulary.encode(texts).tokens == vocabulary.unk).any()
    assert "fox" in vocabulary.tokenizer.get_vocab()
    for _ in range(3):
        assert Vocabulary.learn(texts, 90).digest == vocabulary.digest
    vocabulary.save(tmp_path)
    assert Vocabulary.from_folder(tmp_path).digest == vocabulary.digest


@pytest.mark.parametrize(
    "content, message",
    [
        (b"[PAD]\n[UNK]\n[SEP]\n", r"special tokens \[CLS\]"),
        (b"[PAD]\na\na\n", r"vocab.txt:3: 'a' stands already on line 2"),
        (b"\xff\xfe", "not UTF-8 at byte 0"),
    ],
)
def test_bad_vocabularies_are_named(tmp_path, content, message):
    (tmp_path / "vocab.txt").write_bytes(content)
    with pytest.raises(InputError, match=message):
        Vocabulary.from_folder(tmp_path)


def test_missing_and_damaged_tokenisers(tmp_path):
    with pytest.raises(InputError, match="no vocab.txt or tokenizer.json"):
        Vocabulary.from_folder(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(InputError, match="tokenizer.json: not a tokenizer file"):
        Vocabulary.from_folder(tmp_path)
