"""The files of a published tokeniser: vocab.txt, vocab.json with merges.txt, or tokenizer.json, and what stands beside
them.

They are read as Hugging Face transformers reads them, with two exceptions. A special token that the vocabulary lacks is
not added, since there is no embedding for it. And where tokenizer_config.json is silent about the casing, that of a
tokenizer.json holds, where transformers goes back to lower-casing.
"""

import contextlib
import json
import math
import pathlib
import re
from collections.abc import Iterator

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from textcls.runtime.digests import check
from textcls.runtime.errors import InputError
from textcls.runtime.files import parse_json

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
SPECIAL_OF_BYTES = ("<pad>", "<unk>", "<s>", "</s>", "<mask>")  # RoBERTa's, in the same order
# tokenizer_config.json -> the BertNormalizer of a tokenizer.json
CASING = {
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
}
# Classes of transformers whose rules are those of tokenizer.json alone, whatever tokenizer_config.json says.
AS_THEY_ARE = ("PreTrainedTokenizerFast", "TokenizersBackend")
NO_WORD_PIECES = ("BertJapaneseTokenizer",)  # a morphological analyser goes before its word pieces
FURTHER = ("additional_special_tokens", "extra_special_tokens")  # where files name more of them
LARGEST_ID = 10_000_000  # of a piece
LARGEST_GROWTH = 1000  # of a text by its normalizer
NAMES = re.compile(r"\[[A-Za-z]+\d*\]")  # special tokens, and "[unused0]" and its like


# ---- settings -------------------------------------------------------------------------------------------------------


def read_object(path: pathlib.Path) -> dict:
    """A JSON object; {} where there is no such file."""
    check(path)
    try:
        values = parse_json(path.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise InputError(f"{path}: not a JSON object ({error})") from None
    if not isinstance(values, dict):
        raise InputError(f"{path}: not a JSON object but {str(values)[:60]!r}")
    return values


def read_casing(path: pathlib.Path, settings: dict) -> dict:
    """do_lower_case, strip_accents, tokenize_chinese_chars as far as tokenizer_config.json, the `path`, has them."""
    if settings.get("tokenizer_class") in NO_WORD_PIECES:
        raise InputError(
            f"{path}: tokenizer_class is {settings['tokenizer_class']}, which divides text into words by an analyser "
            "that is not here; expected BertTokenizer"
        )
    for name in CASING.keys() & settings.keys():
        null = name == "strip_accents"  # null: as the casing has it
        if not isinstance(settings[name], bool) and not (null and settings[name] is None):
            value = json.dumps(settings[name])
            raise InputError(f"{path}: {name} is {value}, expected true or false{' or null' if null else ''}")
    return {name: settings[name] for name in CASING if name in settings}


# ---- tokenizer.json -------------------------------------------------------------------------------------------------


def parse_tokenizer(path: pathlib.Path, whose: str = "") -> Tokenizer:
    """A tokenizer.json; `whose`: what errors say of the model that it is for."""
    try:
        tokenizer = Tokenizer.from_buffer(path.read_bytes())
    except OSError:
        raise
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # the library raises bare Exception, and what Rust calls a panic is none
        raise InputError(f"{path}: not a tokenizer file{whose} ({error})") from None
    unk = getattr(tokenizer.model, "unk_token", None)
    if unk is not None and tokenizer.model.token_to_id(unk) is None:
        raise InputError(f"{path}: its vocabulary lacks {unk!r:.60}, which it has for unknown words")
    largest = max(tokenizer.get_vocab().values(), default=0)
    if largest > LARGEST_ID:  # the library would count up to it
        raise InputError(f"{path}: a piece has the id {largest}, expected at most {LARGEST_ID}")
    if tokenizer.normalizer is not None and growth(json.loads(tokenizer.normalizer.__getstate__())) > LARGEST_GROWTH:
        raise InputError(f"{path}: its normalizer makes texts more than {LARGEST_GROWTH} times as long")
    return tokenizer


@contextlib.contextmanager
def rules_hold() -> Iterator[None]:
    """Around what the library does with texts. Raises InputError where the rules of a tokenizer.json, which may be
    anybody's, come to no end."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit, MemoryError, InputError, OSError):
        raise
    except BaseException as error:  # the library raises bare Exception, and what Rust calls a panic is none
        raise InputError(f"the rules of this vocabulary do not divide the texts ({error})") from None


def growth(rule: dict) -> int:
    """How many times as long a normalizer may make a text, at most: by what it puts in place of a letter."""
    if rule["type"] == "Sequence":
        return math.prod(map(growth, rule["normalizers"]))
    return max(1, len(rule.get("content", "") or rule.get("prepend", "")))


# ---- vocabularies ---------------------------------------------------------------------------------------------------


def read_vocab(path: pathlib.Path) -> tuple[dict[str, int], str]:
    """(vocab.txt as {piece: id}, a remark or ""): one piece a line, its id the number of the line. Of a piece that
    stands there twice the last line counts; the others keep their ids under names that no text can spell."""
    check(path)
    try:
        lines = path.read_bytes().decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 at byte {error.start}") from None
    pieces = [line.rstrip() for line in lines]
    while pieces and not pieces[-1]:
        pieces.pop()
    last = {piece: number for number, piece in enumerate(pieces)}
    twice = [number for number, piece in enumerate(pieces) if last[piece] != number]
    vocab = {piece if last[piece] == number else f"[twice{number}]": number for number, piece in enumerate(pieces)}
    if not twice:
        return vocab, ""
    piece = pieces[twice[0]]
    lines = f"{path.name}:{twice[0] + 1} and {last[piece] + 1}"
    return vocab, f"pieces that stand twice: {len(twice)} ({piece!r} at {lines}), the last line counts"


def remark_on_capitals(vocab: dict[str, int], casing: dict) -> str:
    """What to say where a vocabulary has capitals, nobody says how to treat those of a text, and lower-casing is the
    rule."""
    capitals = sum(piece != piece.lower() for piece in vocab if not NAMES.fullmatch(piece))
    if "do_lower_case" in casing or not capitals:
        return ""
    return f"texts are lower-cased, though {capitals} pieces have capitals: no do_lower_case in tokenizer_config.json"


def read_tokenizer(path: pathlib.Path, casing: dict, kind: str | None) -> tuple[Tokenizer, str]:
    """(tokenizer.json, a remark or ""). What tokenizer_config.json says of the `casing` stands above what the file
    says itself, unless the class of the tokeniser, `kind`, has no rules of its own."""
    check(path)
    tokenizer = parse_tokenizer(path)
    state = json.loads(tokenizer.to_str())
    rules = state["normalizer"] or {}
    if kind in AS_THEY_ARE or rules.get("type") != "BertNormalizer":
        return tokenizer, ""
    other = {name: value for name, value in casing.items() if rules[CASING[name]] != value}
    if not other:
        cased = "do_lower_case" not in casing and not rules["lowercase"]
        return tokenizer, f"capitals stay, by {path.name}: no do_lower_case in tokenizer_config.json" if cased else ""
    state["normalizer"] = rules | {CASING[name]: value for name, value in casing.items()}
    said = ", ".join(f"{name} {json.dumps(value)}" for name, value in other.items())
    # From the text: added tokens are compared with texts that the new rules have gone over.
    return Tokenizer.from_str(json.dumps(state)), f"{said} by tokenizer_config.json, against {path.name}"


# ---- pieces of bytes ------------------------------------------------------------------------------------------------


def read_bytes_pieces(folder: pathlib.Path) -> Tokenizer:
    """The byte-level BPE (Radford et al., 2019, section 2.2) of vocab.json and merges.txt."""
    vocab, merges = folder / "vocab.json", folder / "merges.txt"
    check(vocab)
    check(merges)
    try:
        tokenizer = Tokenizer(models.BPE.from_file(str(vocab), str(merges)))
    except Exception as error:  # the library raises bare Exception
        raise InputError(f"{vocab} and {merges.name}: no byte-level BPE ({error})") from None
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    known = [token for token in SPECIAL_OF_BYTES if tokenizer.token_to_id(token) is not None]
    # As published: a blank before <mask> belongs to it.
    tokenizer.add_special_tokens([AddedToken(token, lstrip=token == "<mask>", special=True) for token in known])
    return tokenizer


def with_first_blank(tokenizer: Tokenizer, path: pathlib.Path, settings: dict) -> Tokenizer:
    """Pieces of bytes as tokenizer_config.json, the `path`, has them: `add_prefix_space` says whether the first word of
    a text is read with a blank before it."""
    blank = settings.get("add_prefix_space")
    if not isinstance(tokenizer.pre_tokenizer, pre_tokenizers.ByteLevel) or blank is None:
        return tokenizer
    if not isinstance(blank, bool):
        raise InputError(f"{path}: add_prefix_space is {json.dumps(blank)}, expected true or false")
    tokenizer.pre_tokenizer.add_prefix_space = blank
    return tokenizer


# ---- added tokens ---------------------------------------------------------------------------------------------------


def add_tokens(tokenizer: Tokenizer, folder: pathlib.Path, settings: dict) -> None:
    """The tokens beyond the vocabulary that a folder names: in `settings`, its tokenizer_config.json, else in
    special_tokens_map.json and added_tokens.json. Raises InputError where a token cannot have the id that it has in
    the file."""
    known_ids = set(tokenizer.get_vocab().values())
    added = {*SPECIAL, *SPECIAL_OF_BYTES, *(token.content for token in tokenizer.get_added_tokens_decoder().values())}
    for token, number, where in named_tokens(folder, settings):
        text = token.content
        if text in added:
            continue
        added.add(text)
        known = tokenizer.token_to_id(text) is not None
        tokenizer.add_tokens([token])
        given = tokenizer.token_to_id(text)
        if number is not None and given != number:
            expected = f"{given}, that of the vocabulary" if known else f"{given}, the one after the vocabulary's"
            raise InputError(f"{where}: {text!r} has the id {number}, expected {expected}")
        if not known and given in known_ids:
            raise InputError(f"{where}: {text!r} would have the id {given}, which another word piece has")
        known_ids.add(given)


def named_tokens(folder: pathlib.Path, settings: dict) -> list[tuple[AddedToken, int | None, pathlib.Path]]:
    """(token, its id where the file gives one, the file) in the order of the ids."""
    config, names, numbers = (
        folder / name for name in ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
    )
    if "added_tokens_decoder" in settings:
        extra, added = further(settings, config), decoded(settings["added_tokens_decoder"], config)
        return [*added, *((token, None, config) for token in extra)]
    mapping = read_object(names)
    extra = further(mapping, names) if any(key in mapping for key in FURTHER) else further(settings, config)
    special = {token.content for token in extra}
    ids = read_object(numbers)
    if not all(isinstance(number, int) and not isinstance(number, bool) for number in ids.values()):
        raise InputError(f"{numbers}: expected {{token: id}}, the ids whole numbers")
    added = [
        (AddedToken(text, normalized=text not in special, special=text in special), ids[text], numbers)
        for text in sorted(ids, key=ids.__getitem__)
    ]
    return [*added, *((token, None, names if mapping else config) for token in extra)]


def further(values: dict, path: pathlib.Path) -> list[AddedToken]:
    """Special tokens besides the five: strings, or objects with their content."""
    try:
        tokens = [token for key in FURTHER for token in listed(values.get(key))]
        return [AddedToken(**attributes(token) | {"special": True}) for token in tokens]
    except (TypeError, KeyError):
        raise InputError(f"{path}: {FURTHER[0]} is not a list of tokens") from None


def listed(value) -> list:
    if isinstance(value, str):
        raise TypeError("a string is no list")
    return list(value.values() if isinstance(value, dict) else value or ())


def decoded(values: dict, path: pathlib.Path) -> list[tuple[AddedToken, int, pathlib.Path]]:
    """added_tokens_decoder: {id: token}."""
    try:
        numbers = sorted(map(int, values))
        return [(AddedToken(**attributes(values[str(number)])), number, path) for number in numbers]
    except (TypeError, ValueError, KeyError, AttributeError):
        raise InputError(f"{path}: added_tokens_decoder is not an object {{id: token}}") from None


def attributes(token: str | dict) -> dict:
    """The arguments of an AddedToken."""
    fields = {"content": token, "normalized": False} if isinstance(token, str) else dict(token)
    known = ("content", "single_word", "lstrip", "rstrip", "normalized", "special")
    return {"content": fields["content"]} | {name: fields[name] for name in known if name in fields}
