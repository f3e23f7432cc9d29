"""The linear reference against numpy, and against scikit-learn where it is installed."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.conftest import make_rows
from textcls.models.linear import SHARPNESS, SMOOTHING, LinearClassifier
from textcls.text.vocabulary import LONG_WORD, SPECIAL, Vocabulary

TEXTS = ["red green red blue", "green green yellow", "", "blue unknownword red red red"]
LABELS = torch.tensor([0, 1, 1, 0])


def setup(texts=TEXTS, learned=TEXTS[:3], labels=LABELS, num_labels=2):
    """(model begun on the texts, their padded ids, vocabulary)."""
    vocabulary = Vocabulary.learn_words(learned, 100, 1, LONG_WORD)
    rows = [torch.tensor([2, *vocabulary.encode([text])[0].tolist(), 3]) for text in texts]  # [CLS] … [SEP]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    model = LinearClassifier(len(vocabulary), num_labels, len(SPECIAL))
    half = len(ids) // 2
    numbers = torch.arange(len(ids))
    model.begin([(ids[:half], numbers[:half]), (ids[half:], numbers[half:])], labels)
    return model.eval(), ids, vocabulary


def bags(vocabulary) -> np.ndarray:
    """(documents, words) of TEXTS, by hand."""
    counts = np.zeros((len(TEXTS), len(vocabulary)))
    for row, text in enumerate(TEXTS):
        for word in text.split():
            place = vocabulary.tokenizer.token_to_id(word)
            if place is not None:
                counts[row, place] += 1
    idf = np.log((1 + len(TEXTS)) / (1 + (counts > 0).sum(0))) + 1
    weights = np.where(counts > 0, 1 + np.log(np.maximum(counts, 1)), 0) * idf
    norms = np.sqrt((weights**2).sum(1, keepdims=True))
    return np.divide(weights, norms, out=np.zeros_like(weights), where=norms > 0)


def test_logits_are_tf_idf_times_weights():
    model, ids, vocabulary = setup()
    torch.nn.init.normal_(model.weight.data)
    torch.nn.init.normal_(model.bias.data)
    expected = bags(vocabulary) @ model.weight.detach().double().numpy() + model.bias.detach().numpy()
    assert model(ids).detach().numpy() == pytest.approx(expected, abs=1e-5)


def test_it_begins_at_complement_naive_bayes():
    model, ids, vocabulary = setup()
    x = bags(vocabulary)
    for word in ("red", "green", "yellow", "blue"):
        place = vocabulary.tokenizer.token_to_id(word)
        shares = []
        for label in (0, 1):
            others = x[LABELS.numpy() != label].sum(0)[len(SPECIAL) :] + SMOOTHING
            shares.append(-math.log(others[place - len(SPECIAL)] / others.sum()))
        expected = SHARPNESS * (np.array(shares) - np.mean(shares))
        assert model.weight[place].detach().numpy() == pytest.approx(expected, abs=1e-4)
    assert not model.weight[: len(SPECIAL)].any()


def test_scikit_learn_agrees():
    text = pytest.importorskip("sklearn.feature_extraction.text")
    bayes = pytest.importorskip("sklearn.naive_bayes")
    rows = make_rows(60)
    names = sorted({label for _, label in rows})
    labels = torch.tensor([names.index(label) for _, label in rows])
    model, ids, _ = setup([t for t, _ in rows], [t for t, _ in rows], labels, len(names))
    x = text.TfidfVectorizer(sublinear_tf=True).fit_transform([t for t, _ in rows])
    theirs = bayes.ComplementNB(alpha=SMOOTHING).fit(x, labels.numpy()).predict_joint_log_proba(x)
    theirs = theirs - theirs.mean(1, keepdims=True)
    assert (model(ids) / SHARPNESS).detach().numpy() == pytest.approx(theirs, abs=1e-4)


def test_padding_and_order_do_not_matter():
    model, ids, _ = setup()
    padded = F.pad(ids, (0, 5))
    assert torch.allclose(model(ids), model(padded), atol=1e-6)
    assert torch.allclose(model(ids[:1]), model(ids)[:1], atol=1e-6)
    assert torch.allclose(model(ids.flip(1)), model(ids), atol=1e-6)


def test_an_empty_text_gets_the_bias():
    model, ids, _ = setup()
    model.bias.data = torch.tensor([0.5, -0.25])
    assert model(ids)[2].tolist() == [0.5, -0.25]


def test_dropout_leaves_out_words_and_keeps_the_expectation():
    model, ids, _ = setup()
    expected = model(ids)
    model.train()
    torch.manual_seed(0)
    draws = torch.stack([model(ids).detach() for _ in range(4000)])
    assert draws.std(0)[0].max() > 0.1
    assert torch.allclose(draws.mean(0), expected, atol=6 * float(draws.std(0).max()) / math.sqrt(4000))
