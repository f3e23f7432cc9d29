"""EM and F1 against an independent, slow reading of the rules; intervals over articles; comparisons."""

import random
import re

import numpy as np
import pytest

from textcls.metrics.spans import ExactMatches, F1Scores, Scores, normalise, score
from textcls.metrics.statistics import mcnemar
from textcls.report.compare import Result, compare

MARKS = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"


def slow_normalise(text: str) -> str:
    """Letter by letter: lower case; ASCII punctuation goes; a, an, the as whole words become a blank; single blanks."""
    kept = ""
    for letter in text.lower():
        if letter not in MARKS:
            kept += letter
    parts = re.split(r"(\W)", kept)  # what stands between the parts is no letter, digit or underscore
    kept = "".join(" " if part in ("a", "an", "the") else part for part in parts)
    words = []
    for word in kept.split():
        words.append(word)
    return " ".join(words)


def slow_score(prediction: str, golds: list[str]) -> tuple[bool, float]:
    """The maximum over the golds, of each on its own, words taken away one by one."""
    exact, best = False, 0.0
    for gold in golds:
        exact = exact or slow_normalise(prediction) == slow_normalise(gold)
        ours, left, same = slow_normalise(prediction).split(), slow_normalise(gold).split(), 0
        count = len(left)
        for word in ours:
            if word in left:
                left.remove(word)
                same += 1
        if same:
            precision, recall = same / len(ours), same / count
            best = max(best, 2 * precision * recall / (precision + recall))
    return exact, best


CASES = [
    ("The Norman-French, a people!", ["norman french people"], (False, 0.4)),
    ("the  cat", ["a\u00a0cat"], (True, 1.0)),
    ("1,000", ["1000"], (True, 1.0)),
    ("cat cat dog", ["cat dog dog"], (False, 2 / 3)),
    ("", ["The"], (True, 0.0)),  # so the rules have it
    ("the", ["cat"], (False, 0.0)),
    ("U.S.", ["us", "United States"], (True, 1.0)),
    ("–the– end", ["– – end"], (True, 1.0)),  # a dash that is not ASCII stays, and ends a word
    ("theatre", ["atre"], (False, 0.0)),
    ("a1", ["1"], (False, 0.0)),
]


@pytest.mark.parametrize("prediction, golds, expected", CASES)
def test_cases_by_hand(prediction, golds, expected):
    assert score(prediction, golds) == (expected[0], pytest.approx(expected[1]))
    assert slow_score(prediction, golds) == (expected[0], pytest.approx(expected[1]))


def test_random_cases():
    rng = random.Random(0)
    parts = [
        *"The the a an An cat Dog dog's 1,000 U.S. – — ... naïve NAÏVE a-the x_the".split(),
        "\u00a0",
        "\t",
        "日本",
        "",
        "(a)",
        "“the”",
    ]
    for _ in range(3000):
        prediction, *golds = (" ".join(rng.choices(parts, k=rng.randrange(0, 6))) for _ in range(rng.randrange(2, 6)))
        assert normalise(prediction) == slow_normalise(prediction), prediction
        exact, f1 = score(prediction, golds)
        assert (exact, f1) == (slow_score(prediction, golds)[0], pytest.approx(slow_score(prediction, golds)[1]))


def test_what_was_not_answered_counts_as_zero():
    assert score(None, ["the"]) == (False, 0.0)
    scores = Scores.of([None, "cat"], [["the"], ["cat"]])
    assert (scores.exact.tolist(), scores.f1.tolist(), scores.units) == ([False, True], [0.0, 1.0], "questions")


def test_articles_are_drawn_whole():
    """Within an article all is right or all is wrong: the interval is that of 10 articles, not of 100 questions."""
    titles = [f"t{i // 10}" for i in range(100)]
    predictions = ["cat" if i // 10 % 2 else "dog" for i in range(100)]
    golds = [["cat"]] * 100
    by_article, singly = Scores.of(predictions, golds, titles), Scores.of(predictions, golds)
    assert (by_article.units, by_article.count, singly.count) == ("articles", 10, 100)
    wide, narrow = by_article.intervals()["answer_f1"], singly.intervals()["answer_f1"]
    assert wide.value == narrow.value == 0.5
    assert wide.low <= 0.2 and wide.high >= 0.8 and narrow.low > 0.35 and narrow.high < 0.65
    values = set()
    for seed in range(20):
        values |= {round(10 * bound, 6) for bound in vars(by_article.intervals(seed)["exact_match"]).values()}
    assert values <= set(range(11))  # tenths: articles of ten questions each
    assert Scores.of(predictions, golds, ["", *titles[1:]]).units == "questions"
    nine = ["t0" if title == "t9" else title for title in titles]
    assert Scores.of(predictions, golds, nine).units == "questions"  # too few to draw from


def test_means_weigh_questions_and_not_articles():
    titles = [*(f"t{i}" for i in range(9)), "t9", "t9"]
    scores = Scores.of(["cat"] * 9 + ["dog"] * 2, [["cat"]] * 11, titles)
    assert scores.units == "articles" and scores.intervals()["answer_f1"].value == pytest.approx(9 / 11)


def items(scores: Scores):
    return F1Scores(scores), ExactMatches(scores.exact)


def test_runs_are_compared_by_both():
    rng = random.Random(0)
    golds, titles = [["cat sat"]] * 200, [f"t{i % 20}" for i in range(200)]
    good = Scores.of([rng.choice(["cat sat", "cat sat", "cat"]) for _ in golds], golds, titles)
    bad = Scores.of([rng.choice(["cat", "dog"]) for _ in golds], golds, titles)
    difference, p = F1Scores(good).against(F1Scores(bad))
    assert difference.value == pytest.approx(good.f1.mean() - bad.f1.mean()) and p < 0.01
    assert difference.low < difference.value < difference.high
    other, same = F1Scores(bad).against(F1Scores(good))
    assert (other.value, same) == (pytest.approx(-difference.value), p)
    assert F1Scores(good).against(F1Scores(good))[1] == 1.0
    assert ExactMatches(good.exact).against(ExactMatches(bad.exact))[1] == mcnemar(good.exact, bad.exact)[2]
    results = [Result({"run": name, "split": {}}, items(scores)) for name, scores in (("x", good), ("y", bad))]
    first, second = compare(results)
    assert first.startswith("x is ") and " in F1, by a paired bootstrap over articles (95 % interval " in first
    assert second.startswith("x is ") and " in EM, by McNemar's test over questions (95 % interval " in second
    lines = compare([*results, Result({"run": "z", "split": {}}, items(bad))])
    assert len(lines) == 7 and lines[-1] == "p corrected for 3 comparisons (Holm)"
    assert np.isfinite(difference.low)
