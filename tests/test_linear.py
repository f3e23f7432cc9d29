"""The linear reference against numpy, against slow references written here, and against scikit-learn where it is
installed."""

import math
import random

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.conftest import TOPICS, make_rows
from textcls.models.linear import SMOOTHINGS, Bags, LinearClassifier, logistic_regression, mixture, naive_bayes
from textcls.text.division import WORD
from textcls.text.vocabulary import SPECIAL, Vocabulary

TEXTS = ["red green red blue", "green green yellow", "", "blue unknownword red red red"]
LABELS = torch.tensor([0, 1, 1, 0])
S = len(SPECIAL)


def loss(logits, labels):
    return F.cross_entropy(logits, labels, reduction="sum")


def padded(texts, vocabulary) -> torch.Tensor:
    rows = [torch.tensor([2, *vocabulary.encode([text])[0].tolist(), 3]) for text in texts]  # [CLS] … [SEP]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)


def setup(texts=TEXTS, learned=TEXTS[:3], num_labels=2, pairs=0):
    """(model with idf of the texts, their padded ids, vocabulary)."""
    vocabulary = Vocabulary.learn_words(learned, 100_000, 1, WORD).with_pairs(learned, pairs)
    ids = padded(texts, vocabulary)
    model, half = LinearClassifier(len(vocabulary), num_labels, S), len(ids) // 2
    model.learn_idf([ids[:half], ids[half:]], torch.where(torch.from_numpy(vocabulary.is_pair()), 0.5, 1.0))
    return model.eval(), ids, vocabulary


def by_hand(vocabulary) -> np.ndarray:
    """(documents, words) of TEXTS, by hand."""
    counts = np.zeros((len(TEXTS), len(vocabulary)))
    for row, text in enumerate(TEXTS):
        words = text.split()
        for word in [*words, *map(" ".join, zip(words, words[1:], strict=False))]:
            place = vocabulary.tokenizer.token_to_id(word)
            if place is not None:
                counts[row, place] += 1
    idf = np.log((1 + len(TEXTS)) / (1 + (counts > 0).sum(0))) + 1
    idf *= [0.5 if " " in vocabulary.tokenizer.id_to_token(i) else 1.0 for i in range(len(vocabulary))]
    weights = np.where(counts > 0, 1 + np.log(np.maximum(counts, 1)), 0) * idf
    norms = np.sqrt((weights**2).sum(1, keepdims=True))
    return np.divide(weights, norms, out=np.zeros_like(weights), where=norms > 0)


def dense(bags: Bags) -> torch.Tensor:
    return bags @ torch.eye(len(bags.by_word[1]))


# ---- features -------------------------------------------------------------------------------------------------------


def test_logits_are_tf_idf_times_weights():
    learned = [*TEXTS[:3], "red green"]  # "red green" occurs twice
    model, ids, vocabulary = setup(learned=learned, pairs=5)
    assert vocabulary.tokenizer.token_to_id("red green") == len(vocabulary) - 1
    assert vocabulary.is_pair().sum() == 1
    torch.nn.init.normal_(model.weight.data)
    torch.nn.init.normal_(model.bias.data)
    expected = by_hand(vocabulary) @ model.weight.detach().double().numpy() + model.bias.detach().numpy()
    assert model(ids).detach().numpy() == pytest.approx(expected, abs=1e-5)
    assert dense(model.bags([ids[:1], ids[1:]])).numpy() == pytest.approx(by_hand(vocabulary), abs=1e-6)


def test_the_most_frequent_pairs_are_kept_and_read_back(tmp_path):
    texts = ["how many legs", "how many , how much", "so much ,"]
    words = Vocabulary.learn_words(texts, 100, 1, WORD)
    assert words.with_pairs(texts, 0).digest == words.digest
    pairs = words.with_pairs(texts, 9)
    assert len(pairs) == len(words) + 1  # the others occur once
    pairs.save(tmp_path)
    again = Vocabulary.from_folder(tmp_path)
    assert again.digest == pairs.digest
    names = [pairs.tokenizer.id_to_token(i) for i in again.encode(["how many are there, how many"])[0].tolist()]
    assert names == ["how", "many", "[UNK]", "[UNK]", ",", "how", "many", "how many", "how many"]


def test_padding_and_order_do_not_matter():
    model, ids, _ = setup()
    torch.nn.init.normal_(model.weight.data)
    assert torch.allclose(model(ids), model(F.pad(ids, (0, 5))), atol=1e-6)
    assert torch.allclose(model(ids[:1]), model(ids)[:1], atol=1e-6)
    assert torch.allclose(model(ids.flip(1)), model(ids), atol=1e-6)


def test_an_empty_text_gets_the_bias():
    model, ids, _ = setup()
    torch.nn.init.normal_(model.weight.data)
    model.bias.data = torch.tensor([0.5, -0.25])
    assert model(ids)[2].tolist() == [0.5, -0.25]


def test_sparse_products_and_their_gradient():
    model, ids, _ = setup()
    bags = model.bags([ids]).double()
    x = by_hand(setup()[2])
    weight = torch.randn(x.shape[1], 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda w: bags @ w, weight)
    assert bags.transposed(torch.ones(4, 2).double())[:, 0].numpy() == pytest.approx(x.sum(0), abs=1e-6)


# ---- estimators -----------------------------------------------------------------------------------------------------


def test_naive_bayes_by_hand():
    model, ids, vocabulary = setup()
    x, table = by_hand(vocabulary), naive_bayes(model.bags([ids]), LABELS, 2, 0.3)
    for word in ("red", "green", "yellow", "blue"):
        place = vocabulary.tokenizer.token_to_id(word)
        sums = [np.where(x.any(0), x[LABELS.numpy() != label].sum(0) + 0.3, 0.0) for label in (0, 1)]
        shares = [-math.log(others[place] / others.sum()) for others in sums]
        assert table[place].numpy() == pytest.approx(np.array(shares) - np.mean(shares), abs=1e-4)


@pytest.mark.parametrize("strength", [1.0, 0.1])
def test_logistic_regression_reaches_the_optimum_of_gradient_descent(strength):
    rows = make_rows(40)
    texts, labels = [text for text, _ in rows], torch.tensor([sorted(TOPICS).index(label) for _, label in rows])
    model, ids, vocabulary = setup(texts, texts, 3)
    bags = model.bags([ids]).double()
    weight, bias = torch.zeros(len(vocabulary), 3).double(), torch.zeros(3).double()
    logistic_regression(bags, labels, weight, bias, strength, loss, iterations=500, tolerance=1e-14)
    x, w, b = bags @ torch.eye(len(vocabulary)).double(), torch.zeros_like(weight), torch.zeros_like(bias)
    for _ in range(4_000):  # the gradient written out: no autograd, no L-BFGS, no sparse product
        error = torch.softmax(x @ w + b, 1) - F.one_hot(labels, 3)
        w -= 0.1 * (x.T @ error + strength * w)
        b -= 0.1 * error.sum(0)
    assert torch.allclose(weight, w, atol=1e-4)
    assert torch.allclose(bias - bias.mean(), b - b.mean(), atol=1e-4)


def test_shares_are_the_best_ones():
    """Against a grid; a score that is of no use gets nothing; perfect scores do not grow for ever."""
    torch.manual_seed(0)
    labels = torch.randint(3, (200,))
    good, other = (2 * F.one_hot(labels, 3) + torch.randn(200, 3) for _ in range(2))
    shares, value = mixture([good, other], labels, loss)
    grid = [(a, b) for a in np.linspace(0, 3, 31) for b in np.linspace(0, 3, 31)]

    def mean(a, b):
        logits = a * good + b * other
        return float(loss(logits, labels) - logits.log_softmax(1).mean()) / 200

    assert value <= min(mean(a, b) for a, b in grid) + 1e-6
    assert value == pytest.approx(mean(*shares.tolist()), abs=1e-5)
    shares, value = mixture([good, -other], labels, loss)
    assert shares.tolist() == pytest.approx([mixture([good], labels, loss)[0].item(), 0.0])
    assert mixture([F.one_hot(labels, 3).float()], labels, loss)[0].item() < 20


# ---- against scikit-learn, on texts of each kind --------------------------------------------------------------------

OPENINGS = "what is the,who was the,where is the,when did the,how many,how do you,why did the,name a".split(",")


def made_up(kind: str, count: int, rng: random.Random) -> list[tuple[str, int]]:
    """Texts of a kind, from words with Zipf's frequencies of which a few depend on the class."""
    classes, length, telling = {
        "questions": (6, (4, 9), 0.0), "intents": (60, (4, 10), 0.3), "reviews": (2, (60, 150), 0.1),
        "tweets": (3, (6, 22), 0.25), "news": (4, (15, 40), 0.25), "posts": (20, (5, 120), 0.2),
    }[kind]  # fmt: skip
    words, rows = [f"w{i}" for i in range(3000)], []
    frequency = [1 / (i + 3) for i in range(3000)]
    for _ in range(count):
        label = min(rng.randrange(classes), rng.randrange(classes)) if kind == "tweets" else rng.randrange(classes)
        text = rng.choices(words, frequency, k=rng.randint(*length))
        own = [f"c{(label * 15 + int(40 * rng.random() ** 2)) % (15 * classes)}" for _ in text]  # shared by neighbours
        text = [mine if rng.random() < telling else word for word, mine in zip(text, own, strict=True)]
        if kind == "questions":
            opening = OPENINGS[label if rng.random() < 0.85 else rng.randrange(len(OPENINGS))]
            text = [*opening.split(), *text]
        rows.append((" ".join(text), label))
    return rows


@pytest.mark.parametrize("kind", ["questions", "intents", "reviews", "tweets", "news", "posts"])
def test_it_is_as_good_as_the_best_of_scikit_learn(kind):
    """Accuracy within half a point of the best of three, NLL within a tenth of logistic regression's."""
    pytest.importorskip("sklearn")
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.naive_bayes import ComplementNB
    from sklearn.svm import LinearSVC

    rows = made_up(kind, 2400, random.Random(1))
    sizes = {"train": (0, 900), "dev": (900, 1200), "test": (1200, 2400)}
    texts = {name: [text for text, _ in rows[a:b]] for name, (a, b) in sizes.items()}
    labels = {name: np.array([label for _, label in rows[a:b]]) for name, (a, b) in sizes.items()}
    vectorizer = TfidfVectorizer().fit(texts["train"])
    x = {name: vectorizer.transform(texts[name]) for name in texts}
    regressions = [LogisticRegression(C=c, max_iter=60).fit(x["train"], labels["train"]) for c in (1, 10)]
    regression = max(regressions, key=lambda model: model.score(x["dev"], labels["dev"]))
    others = [model.fit(x["train"], labels["train"]) for model in (ComplementNB(), LinearSVC())]
    best = max(model.score(x["test"], labels["test"]) for model in (regression, *others))
    chances = regression.predict_proba(x["test"])[np.arange(len(labels["test"])), labels["test"]]

    C = int(labels["train"].max()) + 1
    model, ids, vocabulary = setup(texts["train"], texts["train"], C, pairs=1000)
    bags = {name: model.bags([padded(texts[name], vocabulary)]) for name in texts}
    targets = {name: torch.from_numpy(labels[name]) for name in labels}
    model.fit(bags["train"], targets["train"], bags["dev"], targets["dev"], loss)
    logits = model(padded(texts["test"], vocabulary)).detach()
    assert (logits.argmax(1) == targets["test"]).float().mean() >= best - 0.005
    assert F.cross_entropy(logits, targets["test"]) <= -1.1 * np.log(chances).mean()


def test_naive_bayes_agrees_with_scikit_learn():
    text = pytest.importorskip("sklearn.feature_extraction.text")
    bayes = pytest.importorskip("sklearn.naive_bayes")
    rows = make_rows(60)
    texts, names = [t for t, _ in rows], sorted({label for _, label in rows})
    labels = torch.tensor([names.index(label) for _, label in rows])
    model, ids, _ = setup(texts, texts, len(names))
    x = text.TfidfVectorizer(sublinear_tf=True, token_pattern=WORD).fit_transform(texts)
    bags = model.bags([ids]).double()
    for smoothing in SMOOTHINGS:
        theirs = bayes.ComplementNB(alpha=smoothing).fit(x, labels.numpy()).predict_joint_log_proba(x)
        table = naive_bayes(bags, labels, len(names), smoothing)
        table[:S] = 0.0
        ours = (bags @ table).numpy()
        assert ours == pytest.approx(theirs - theirs.mean(1, keepdims=True), abs=1e-3)
