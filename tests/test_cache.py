import numpy as np

from textcls.runtime.cache import cache_folder, cached
from textcls.text.vocabulary import Vocabulary, encode


def test_made_once_and_again_when_damaged(cache):
    calls = []

    def make():
        calls.append(1)
        return {"x": np.arange(3)}

    for _ in range(2):
        assert cached("name", make)["x"].tolist() == [0, 1, 2]
    assert len(calls) == 1
    for content in (b"", b"PK\x03\x04 cut short", (cache / "name.npz").read_bytes()[:60]):
        (cache / "name.npz").write_bytes(content)
        assert cached("name", make)["x"].tolist() == [0, 1, 2]
    assert len(calls) == 4


def test_what_was_kept_under_another_name_is_made_again(cache):
    for name in ("one", "other"):
        cached(name, lambda: {"name": np.array(name)})
    (cache / "one.npz").write_bytes((cache / "other.npz").read_bytes())
    assert cached("one", lambda: {"name": np.array("made again")})["name"] == "made again"
    np.save(cache / "other.npy", np.arange(3))
    (cache / "other.npy").replace(cache / "other.npz")  # no dictionary of arrays
    assert cached("other", lambda: {"name": np.array("made again")})["name"] == "made again"


def test_pickles_in_the_cache_are_not_opened(cache):
    cache.mkdir()
    np.savez(cache / "name.npz", x=np.array([{"an": "object"}], dtype=object))
    assert cached("name", lambda: {"x": np.arange(2)})["x"].tolist() == [0, 1]


def test_a_folder_that_cannot_be_written_only_costs_time(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TEXTCLS_CACHE", str(tmp_path / "file" / "below"))
    assert cached("name", lambda: {"x": np.arange(2)})["x"].tolist() == [0, 1]


def test_pieces_are_kept_under_the_digest_of_tokeniser_and_texts(cache):
    texts = ["some words here", "other words there", ""]
    tokenizer = Vocabulary.learn(texts * 3, 80)
    first = encode(tokenizer, texts)
    assert [first[i].tolist() for i in range(3)] == [tokenizer.encode([text])[0].tolist() for text in texts]
    assert len(list(cache.iterdir())) == 1
    again = encode(tokenizer, texts)
    assert np.array_equal(first.tokens, again.tokens) and np.array_equal(first.offsets, again.offsets)
    encode(tokenizer, texts[::-1])
    encode(Vocabulary.learn([text + " more" for text in texts] * 3, 80), texts)
    assert len(list(cache.iterdir())) == 3


def test_where(monkeypatch, tmp_path):
    monkeypatch.setenv("TEXTCLS_CACHE", "/a")
    assert str(cache_folder()) == "/a"
    monkeypatch.delenv("TEXTCLS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert str(cache_folder()) == "/b/textcls"
