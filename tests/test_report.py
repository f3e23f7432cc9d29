from textcls.metrics.statistics import Interval
from textcls.report import compare
from textcls.report import text as report


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
    values = {"precision": 1.0, "recall": 0.5, "f1": 2 / 3, "support": 2.0}
    assert report.per_class_rows({"x": values})[1] == ["x", "1.000", "0.500", "0.667", "2"]
    assert report.confusions([["x", "y", 1]]).splitlines()[2].split() == ["x", "y", "1"]
    assert report.confusions([]) == "no confusions"
    types = {"person": (1.0, 0.5, 2 / 3, 4)}
    assert report.per_type_rows("strict", types)[1] == ["person", "1.000", "0.500", "0.667", "4"]


def test_the_headline_counts_empty_documents_only_where_there_are_some():
    result = {"metrics": {"accuracy": vars(Interval(0.5, 0.4, 0.6)), "perplexity": vars(Interval(87.125))}}
    assert report.headline(result | {"empty": 0}) == [
        "accuracy        0.5000 [0.4000, 0.6000]",
        "perplexity      87.12",
    ]
    lines = report.headline(result | {"empty": 1, "documents": 4, "accuracy_non_empty": 2 / 3})
    assert lines[1] == "non-empty       0.6667 (1 of 4 documents are empty)"


def test_a_comparison_in_words():
    worse = compare.sentence("bilstm", "bert", Interval(-0.013, -0.024, -0.002), 0.02, "accuracy")
    assert worse == "bilstm is 1.3 points worse than bert in accuracy (95 % interval 0.2 to 2.4, p = 0.02)"
    open_end = compare.sentence("a", "b", Interval(0.004, -0.006, 0.014), 0.4, "F1")
    assert open_end == (
        "a is 0.4 points better than b in F1 (95 % interval -0.6 to 1.4, p = 0.4); this test split does not settle it"
    )
