import json

import pytest

from textcls.runtime.errors import InputError
from textcls.text.division import UNBROKEN, WORD
from textcls.text.vocabulary import SPECIAL, Vocabulary, Words

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


# ---- folders whose files disagree, or say too little ----------------------------------------------------------------

TEXTS = ["Hello CAFÉ Foo foobar", "你好 [E1] a[E1]b [e1]", "[MASK] [mask] [CLS]", "foo bar é"]
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789é.,!?[]"
CASED = [*SPECIAL, *LETTERS, *("##" + c for c in LETTERS), "你", "好", "你好", "hello", "Hello", "cafe", "café"]
SIZE = len(CASED)
E1 = {"content": "[E1]", "lstrip": False, "rstrip": False, "single_word": False}


def write_folder(folder, pieces=CASED, config=None, tokenizer=None, head=b"", **others):
    """A published folder: vocab.txt, with `config` tokenizer_config.json, with `tokenizer` (the arguments of its
    BertNormalizer) tokenizer.json, and other files by name."""
    from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

    (folder / "config.json").write_text('{"model_type": "bert"}')
    (folder / "vocab.txt").write_bytes(head + "".join(piece + "\n" for piece in pieces).encode())
    if tokenizer is not None:
        made = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
        made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(**tokenizer), pre_tokenizers.BertPreTokenizer()
        made.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
        made.save(str(folder / "tokenizer.json"))
    for name, value in ({"tokenizer_config": config} | others).items():
        if value is not None:
            (folder / f"{name}.json").write_text(json.dumps(value))
    return folder


LOWER, KEEP = {"lowercase": True}, {"lowercase": False}
EXAMPLES = {  # tokenizer_config.json is the first, the others are arguments of write_folder
    "nothing said": (None, {}),
    "cased": ({"do_lower_case": False}, {}),
    "accents kept": ({"strip_accents": False}, {}),
    "accents stripped": ({"do_lower_case": False, "strip_accents": True}, {}),
    "accents null": ({"strip_accents": None}, {}),
    "Chinese together": ({"tokenize_chinese_chars": False}, {}),
    "json lower, config cased": ({"do_lower_case": False}, {"tokenizer": LOWER}),
    "json cased, config lower": ({"do_lower_case": True}, {"tokenizer": KEEP}),
    "json keeps accents": ({"strip_accents": None}, {"tokenizer": LOWER | {"strip_accents": False}}),
    "json and Chinese": ({"tokenize_chinese_chars": False}, {"tokenizer": LOWER}),
    "json alone": ({"tokenizer_class": "PreTrainedTokenizerFast", "do_lower_case": True}, {"tokenizer": KEEP}),
    "added": (None, {"added_tokens": {"[E1]": SIZE, "Foo": SIZE + 1}}),
    "added, out of order": (None, {"added_tokens": {"Foo": SIZE + 1, "[E1]": SIZE}}),
    "added to json": ({}, {"added_tokens": {"[E1]": SIZE}, "tokenizer": LOWER}),
    "added, two words": (None, {"added_tokens": {"foo bar": SIZE}}),
    "added and known": (None, {"added_tokens": {"hello": CASED.index("hello")}}),
    "decoder": ({"added_tokens_decoder": {str(SIZE): E1 | {"normalized": True, "special": False}}}, {}),
    "decoder, special": ({"added_tokens_decoder": {str(SIZE): E1 | {"normalized": False, "special": True}}}, {}),
    "decoder only": (
        {"added_tokens_decoder": {str(SIZE): E1 | {"normalized": True, "special": False}}},
        {"added_tokens": {"Foo": SIZE}},
    ),
    "further special": ({"additional_special_tokens": ["[E1]"]}, {}),
    "further in a map": ({}, {"special_tokens_map": {"additional_special_tokens": ["[E1]"]}}),
    "twice": (None, {"pieces": [*CASED, "hello", "e"]}),
    "blank lines": (None, {"pieces": [*CASED[:9], "", *CASED[9:], "", ""]}),
    "returns": (None, {"pieces": [piece + "\r" for piece in CASED]}),
    "blanks after pieces": (None, {"pieces": [piece + " " for piece in CASED]}),
    "byte order mark": (None, {"head": b"\xef\xbb\xbf"}),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_published_folders_are_read_as_transformers_reads_them(tmp_path, name):
    transformers = pytest.importorskip("transformers", "5")
    config, others = EXAMPLES[name]
    folder = write_folder(tmp_path, config=config, **others)
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    ours = Vocabulary.from_folder(folder)
    for text, ids in zip(TEXTS, ours.encode(TEXTS), strict=True):
        assert ids.tolist() == theirs(text, add_special_tokens=False)["input_ids"], text
    assert ours.largest_id == len(ours) - 1  # no id twice, none left out
    assert ours.mask == 4


def test_what_disagrees_or_is_not_said_is_remarked(tmp_path):
    def remark(name, **arguments):
        (tmp_path / name).mkdir()
        return Vocabulary.from_folder(write_folder(tmp_path / name, **arguments)).remark

    lower = [piece for piece in CASED if piece in SPECIAL or piece == piece.lower()]
    assert remark("plain", pieces=lower) == remark("said", config={"do_lower_case": True}) == ""
    assert "lower-cased, though 53 pieces have capitals: no do_lower_case in" in remark("cased")
    assert remark("both", config={"do_lower_case": False}, tokenizer=KEEP) == ""
    against = remark("against", config={"do_lower_case": False}, tokenizer=LOWER)
    assert against == "do_lower_case false by tokenizer_config.json, against tokenizer.json"
    assert remark("silent", tokenizer=KEEP).startswith("capitals stay, by tokenizer.json")
    twice = remark("twice", pieces=[*lower, "hello"])
    line = lower.index("hello") + 1
    assert twice.startswith(f"pieces that stand twice: 1 ('hello' at vocab.txt:{line} and {len(lower) + 1}), the last")


@pytest.mark.parametrize(
    "config, others, message",
    [
        ({"do_lower_case": None}, {}, r"tokenizer_config.json: do_lower_case is null, expected true or false$"),
        ({"do_lower_case": "false"}, {}, r'do_lower_case is "false", expected true or false$'),
        ({"tokenize_chinese_chars": 1}, {"tokenizer": LOWER}, "tokenize_chinese_chars is 1, expected true or false$"),
        ({"strip_accents": "yes"}, {}, 'strip_accents is "yes", expected true or false or null$'),
        ({"tokenizer_class": "BertJapaneseTokenizer"}, {}, "tokenizer_class is BertJapaneseTokenizer, which divides"),
        ([1], {}, "tokenizer_config.json: not a JSON object"),
        (None, {"added_tokens": {"[E1]": SIZE + 3}}, rf"'\[E1\]' has the id {SIZE + 3}, expected {SIZE}"),
        (None, {"added_tokens": {"hello": 7}}, "'hello' has the id 7, expected .* that of the vocabulary"),
        (None, {"added_tokens": {"[E1]": "x"}}, "added_tokens.json: expected {token: id}"),
        ({"added_tokens_decoder": [1]}, {}, "added_tokens_decoder is not an object"),
        ({"additional_special_tokens": [1]}, {}, "additional_special_tokens is not a list of tokens"),
        ({"additional_special_tokens": "[E1]"}, {}, "additional_special_tokens is not a list of tokens"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(tmp_path, config, others, message):
    with pytest.raises(InputError, match=message):
        Vocabulary.from_folder(write_folder(tmp_path, config=config, **others))


def test_no_mask_is_made_up(tmp_path):
    folder = write_folder(tmp_path, ["[unused1]" if piece == "[MASK]" else piece for piece in CASED])
    vocabulary = Vocabulary.from_folder(folder)
    assert vocabulary.mask is None and len(vocabulary) == SIZE
    assert vocabulary.encode(["[MASK]"]).tokens.max() < SIZE


# ---- words ----------------------------------------------------------------------------------------------------------


def in_order(vocabulary) -> list[str]:
    """The words by id; fails where an id is left out or taken twice."""
    ids = vocabulary.tokenizer.get_vocab()
    assert sorted(ids.values()) == list(range(len(vocabulary)))
    return sorted(ids, key=ids.__getitem__)


def test_special_words_that_a_text_spells_are_counted_once():
    lines = ["<unk> <unk> <unk> the cat <eos> N the"] * 3
    assert in_order(Words.learn(lines, 100)) == ["<unk>", "<eos>", "the", "N", "cat"]
    assert in_order(Words.learn(lines, 4)) == ["<unk>", "<eos>", "the", "N"]
    assert in_order(Words.learn(lines, 4)) == in_order(Words.learn(["the the N cat"], 4))
    words = Words.learn(lines, 4)
    assert words.encode(["the <unk> cat <eos>"]).tolist() == [2, 0, 0, 1, 1]
    assert words.encode(["a<unk>b"]).tolist() == [0, 1]  # one word, as it was when the words were counted


@pytest.mark.parametrize("pattern", [WORD, UNBROKEN])
def test_words_learned_from_texts_that_spell_special_tokens(pattern):
    texts = ["[PAD] [CLS] [pad] [unk] cat [MASK] [SEP] ##ing cat dog"] * 3
    vocabulary = Vocabulary.learn_words(texts, 100, 1, pattern)
    assert in_order(vocabulary)[:5] == list(SPECIAL)
    assert {"cat", "dog"} < set(in_order(vocabulary))
    assert vocabulary.encode(texts).tokens.max() <= vocabulary.largest_id == len(vocabulary) - 1
    assert len(Vocabulary.learn_words(texts, 7, 1, pattern)) == 7
    assert in_order(Vocabulary.learn(texts, 100))[:5] == list(SPECIAL)
