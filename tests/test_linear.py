import numpy as np
import pytest
import torch

from tests.conftest import make_rows
from textcls.models.linear import TfIdf, fit_svm, svm_scores, words


def texts_and_labels(count, seed=0):
    rows = make_rows(count, seed)
    names = sorted({label for _, label in rows})
    return [text for text, _ in rows], torch.tensor([names.index(label) for _, label in rows])


def test_tfidf_by_hand():
    features = TfIdf(["Red red blue x", "blue", ""])
    assert words("Red red blue x") == ["red", "red", "blue"]
    idf = {word: np.log(4 / (1 + df)) + 1 for word, df in (("blue", 2), ("red", 1))}
    row = np.array([idf["blue"], (1 + np.log(2)) * idf["red"]])
    dense = features.train.to_dense().numpy()
    assert dense[0] == pytest.approx([*(row / np.linalg.norm(row)), 1.0])
    assert dense[1] == pytest.approx([1, 0, 1])
    assert dense[2] == pytest.approx([0, 0, 1])
    assert features(["unseen words only"]).to_dense().tolist() == [[0, 0, 1]]


def test_equals_scikit_learn():
    pytest.importorskip("sklearn")
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.svm import LinearSVC

    texts, labels = texts_and_labels(120)
    vectorizer = TfidfVectorizer(sublinear_tf=True)
    theirs = vectorizer.fit_transform(texts)
    ours = TfIdf(texts)
    assert np.abs(ours.train.to_dense().numpy()[:, :-1] - theirs.toarray()).max() < 1e-6
    weights = fit_svm(ours.train, labels, 3)
    svm = LinearSVC(loss="squared_hinge", C=1.0, dual=False, tol=1e-8, max_iter=10_000).fit(theirs, labels.numpy())
    assert np.abs(weights[:-1].T.numpy() - svm.coef_).max() < 2e-3


def test_learns():
    texts, labels = texts_and_labels(90)
    others, truth = texts_and_labels(60, seed=1)
    assert (svm_scores(texts, labels, 3, others).argmax(1) == truth).float().mean() > 0.9
