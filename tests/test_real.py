"""Comparisons on real weights and data, for whoever has them:

TEXTCLS_TEST_BERT   folder of a published BERT (config.json, model.safetensors, vocab.txt, tokenizer.json)
TEXTCLS_TEST_DATA   folder that holds 20news-bydate.tar.gz; and a folder glue with GLUE's, one a corpus
"""

import os
import pathlib

import pytest
import torch

from tests.test_vocabulary import AWKWARD
from textcls import load_bert
from textcls.data import glue, newsgroups
from textcls.text.sequences import assemble
from textcls.text.vocabulary import Vocabulary


def given(variable: str) -> pathlib.Path:
    if not os.environ.get(variable):
        pytest.skip(f"{variable} is not set")
    return pathlib.Path(os.environ[variable])


def test_hidden_states_equal_hugging_face():
    folder = given("TEXTCLS_TEST_BERT")
    transformers = pytest.importorskip("transformers")
    theirs, ours = transformers.BertModel.from_pretrained(folder).eval(), load_bert(folder)
    vocabulary = Vocabulary.from_folder(folder)
    texts = ["A short one.", "The quick brown fox jumps over the lazy dog. " * 40, "naïve café 你好"]
    rows = assemble([vocabulary.encode(texts)], vocabulary, 256).rows
    ids = torch.zeros(3, int(rows.lengths.max()), dtype=torch.long)
    for i in range(3):
        ids[i, : rows.lengths[i]] = torch.from_numpy(rows[i])
    mask = torch.arange(ids.shape[1]) < torch.from_numpy(rows.lengths)[:, None]
    with torch.no_grad():
        hidden, pooled = ours(ids, mask.long())
        expected = theirs(input_ids=ids, attention_mask=mask.long())
    assert (hidden - expected.last_hidden_state)[mask].abs().max() < 2e-5
    assert (pooled - expected.pooler_output).abs().max() < 2e-5


@pytest.mark.parametrize("source", ["tokenizer.json", "vocab.txt"])
def test_word_pieces_equal_hugging_face(source, tmp_path):
    folder = given("TEXTCLS_TEST_BERT")
    transformers = pytest.importorskip("transformers")
    theirs = transformers.BertTokenizer(str(folder / "vocab.txt"), do_lower_case=True)
    (tmp_path / source).write_bytes((folder / source).read_bytes())
    texts = [text for text in AWKWARD if "\ud83d" not in text]
    if os.environ.get("TEXTCLS_TEST_DATA"):
        posts = newsgroups.read_posts(given("TEXTCLS_TEST_DATA") / newsgroups.ARCHIVE)
        texts += [text for _, _, text in posts[::40]]
    ours = Vocabulary.from_folder(tmp_path).encode(texts)
    for i, text in enumerate(texts):
        assert ours[i].tolist() == theirs(text, add_special_tokens=False)["input_ids"], repr(text[:80])


def test_stripping_equals_scikit_learn_on_every_post():
    posts = newsgroups.read_posts(given("TEXTCLS_TEST_DATA") / newsgroups.ARCHIVE)
    theirs = pytest.importorskip("sklearn.datasets._twenty_newsgroups")
    assert len(posts) == 18_846
    for _, _, text in posts:
        expected = theirs.strip_newsgroup_header(text)
        expected = theirs.strip_newsgroup_quoting(theirs.strip_newsgroup_footer(expected))
        assert newsgroups.strip(text) == expected


def test_counts_of_20_newsgroups(cache):
    corpus = newsgroups.load(str(given("TEXTCLS_TEST_DATA")), (), seed=0)
    assert len(corpus.train) + len(corpus.dev) == 11_314 and len(corpus.test) == 7_532
    assert corpus.train.empty.sum() + corpus.dev.empty.sum() == 300 and corpus.test.empty.sum() == 215
    assert len(corpus.labels) == 20


@pytest.mark.parametrize("name, train, dev, test", [
    ("cola", 8_551, 1_043, None),
    ("sst-2", 67_349, 872, None),
    ("mrpc", 3_668, 408, 1_725),
    ("sts-b", 5_749, 1_500, None),
    ("rte", 2_490, 277, 3_000),
])  # fmt: skip
def test_counts_of_glue(name, train, dev, test):
    """The published counts; `test`, where the folder glue has that file without labels."""
    folder = given("TEXTCLS_TEST_DATA") / "glue"
    if not folder.is_dir():
        pytest.skip("TEXTCLS_TEST_DATA has no folder glue")
    corpus = glue.load(name, str(folder), "paper", 0.1, 1)
    assert (len(corpus.train), len(corpus.dev), len(corpus.test)) == (train, dev, dev)
    if test:
        assert [len(texts) for texts in glue.unlabelled(name, str(folder)).values()] == [test]
