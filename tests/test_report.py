import numpy as np

from textcls import report
from textcls.metrics import Interval, Scores


def test_tables_are_aligned():
    lines = report.table([["", "accuracy", "n"], ["bert", "0.7", "10"], ["bilstm-2", "0.65", "9"]]).splitlines()
    assert lines == [
        "          accuracy   n",
        "--------  --------  --",
        "bert           0.7  10",
        "bilstm-2      0.65   9",
    ]
    assert report.table([["a", "b"], ["c", "dd"]], right=False).splitlines()[2] == "c  dd"


def test_per_class_and_confusions():
    logits = np.eye(3, dtype=np.float32)[[0, 1, 1, 2]]
    scores = Scores(logits, np.array([0, 0, 1, 2]))
    text = report.per_class(scores, ["x", "y", "z"])
    assert text.splitlines()[2].split() == ["x", "1.000", "0.500", "0.667", "2"]
    assert report.confusions(scores, ["x", "y", "z"]).splitlines()[2].split() == ["x", "y", "1"]
    assert report.confusions(Scores(logits, np.array([0, 1, 1, 2])), ["x", "y", "z"]) == "no confusions"


def test_summary_counts_empty_documents_only_where_there_are_some():
    results = {"accuracy": Interval(0.5, 0.4, 0.6)}
    correct = np.array([True, False, True, False])
    assert report.summary(results, correct, np.zeros(4, bool)) == ["accuracy   0.5000 [0.4000, 0.6000]"]
    lines = report.summary(results, correct, np.array([False, True, False, False]))
    assert lines[1] == "non-empty  0.6667 (1 of 4 documents are empty)"
