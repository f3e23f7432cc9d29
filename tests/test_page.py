"""Pages on runs: the charts against a slow computation, the whole of every task through the scripts."""

import html.parser
import json
import re
import shlex
import types
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

import textcls
import train
from tests.conftest import make_rows, write_csv
from tests.test_every_model import command, folder  # noqa: F401
from textcls import page, recipes
from textcls.config import TrainConfig
from textcls.metrics.classification import Scores
from textcls.metrics.confident import confident_learning
from textcls.report import html as pages
from textcls.report import sections, svg
from textcls.report.compare import Result
from textcls.report.text import number
from textcls.tasks import TASKS, contents
from textcls.tasks.contents import Described
from textcls.tasks.mistakes import SHOWN, suspicious_first
from textcls.training.run import Run

RANDOM = np.random.default_rng(0)
HOSTILE = '<img src=x onerror="alert(1)">'


class Page(html.parser.HTMLParser):
    """A page's tags, which must close in order, with the words and the tables in it."""

    def __init__(self, text: str):
        super().__init__()
        self.open, self.tags, self.words, self.tables, self.ids, self.links = [], [], [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.ids += [value for name, value in attributes if name == "id"]
        self.links += [value for name, value in attributes if name == "href"]
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)
        if self.tables and ("td" in self.open or "th" in self.open) and "svg" not in self.open:
            self.tables[-1][-1][-1] += data

    def headings(self) -> list[str]:
        return [tag for tag, _ in self.tags if re.fullmatch("h[1-6]", tag)]

    def table(self, head: str) -> dict[str, list[str]]:
        """{first cell: the others} of the first table whose head begins so."""
        rows = next(rows for rows in self.tables if rows[0][0] == head)
        return {row[0]: row[1:] for row in rows[1:]}


def check(text: str) -> Page:
    """What holds for every page: it parses, asks for nothing, runs nothing, and its links lead somewhere."""
    found = Page(text)
    names = {tag for tag, _ in found.tags}
    assert not names & {"script", "img", "link", "iframe", "object", "base", "form"}
    assert not [attributes for _, attributes in found.tags if any(name.startswith("on") for name in attributes)]
    assert "http" not in re.sub(r"&\w+;", "", "".join(f"{a}" for _, a in found.tags)) and "url(" not in text
    assert found.headings()[0] == "h1" and found.headings().count("h1") == 1
    levels = [int(tag[1]) for tag in found.headings()]
    assert all(b - a <= 1 for a, b in zip(levels, levels[1:], strict=False))
    assert len(found.ids) == len(set(found.ids)) and {link.removeprefix("#") for link in found.links} <= set(found.ids)
    drawings = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    assert all(ElementTree.fromstring(drawing)[0].tag == "title" for drawing in drawings)
    return found


# ---- charts ---------------------------------------------------------------------------------------------------------


def marks(drawing: str, tag: str) -> list[tuple[dict, str]]:
    """(attributes, title) of every mark of a kind that has a title."""
    found = ElementTree.fromstring(drawing).iter(tag)
    return [(mark.attrib, mark.find("title").text) for mark in found if mark.find("title") is not None]


def placed(value: float, low: float, high: float, start: float, end: float) -> float:
    """Of a value between two others, in the proportion of its distances."""
    return (start * (high - value) + end * (value - low)) / (high - low)


def test_ticks_are_few_and_round():
    for _ in range(300):
        low = float(RANDOM.normal(0, 10.0 ** RANDOM.integers(-3, 5)))
        high = low + float(10.0 ** RANDOM.uniform(-3, 5))
        found = svg.ticks(low, high)
        steps = np.diff(found)
        assert 2 <= len(found) <= 6 and np.allclose(steps, steps[0])
        assert low - 1e-6 * (high - low) <= found[0] and found[-1] <= high + 1e-6 * (high - low)
        assert f"{steps[0]:.0e}"[0] in "125" and np.isclose(steps[0], float(f"{steps[0]:.0e}"))


def test_points_stand_where_their_numbers_say():
    points = [(float(a), float(b)) for a, b in RANDOM.random((12, 2))]
    whiskers = [(b * 0.5, b + (1 - b) * 0.5) for _, b in points]
    drawing = svg.reliability("R", svg.Series("x", points, whiskers, joined=False), ("a", "b"))
    found = marks(drawing, "circle")
    assert len(found) == len(points)
    for (a, b), (mark, title) in zip(points, found, strict=True):
        assert float(mark["cx"]) == pytest.approx(placed(a, 0, 1, 46, 340), abs=0.051)
        assert float(mark["cy"]) == pytest.approx(placed(b, 0, 1, 210, 26), abs=0.051)
        assert title.startswith(f"x: {a:.4g}, {b:.4g} (")
    ends = {(line.attrib["y1"], line.attrib["y2"]) for line in ElementTree.fromstring(drawing).iter("line")}
    for low, high in whiskers:
        assert (f"{placed(low, 0, 1, 210, 26):.1f}", f"{placed(high, 0, 1, 210, 26):.1f}") in ends


def test_curves_pass_through_their_points():
    loss = [(1, 2.5), (2, 1.5), (3, 1.25)]
    both = [svg.Series("train", loss), svg.Series("dev", [(1, 3.0), (2, 2.0), (3, 2.25)])]
    drawing = svg.curves("L", both, ("epoch", "loss"), 2)
    low, high = 1.25 - 0.05 * 1.75, 3.0 + 0.05 * 1.75
    first = ElementTree.fromstring(drawing).find("polyline").attrib["points"]
    expected = [(placed(a, 1, 3, 46, 340), placed(b, low, high, 210, 26)) for a, b in loss]
    assert first == " ".join(f"{x:.1f},{y:.1f}" for x, y in expected)
    upright = [mark for mark in ElementTree.fromstring(drawing).iter("line") if mark.attrib["x1"] == "193.0"]
    assert [mark for mark in upright if "stroke-dasharray" in mark.attrib]  # the best epoch, in the middle
    assert "<rect" in drawing and "stroke-dasharray" in drawing  # the second series differs in more than its colour
    assert "nan" not in svg.curves("L", [svg.Series("one", [(4, 1.0)])], ("e", "l"), 4)


def test_bars_are_as_high_as_their_counts():
    bins = [(0.0, 5.0, 4), (5.0, 10.0, 0), (10.0, 15.0, 9)]
    drawing = svg.histogram("H", bins, ("tokens", "items"), 12)
    for (low, high, count), (mark, title) in zip(bins, marks(drawing, "rect"), strict=True):
        assert float(mark["x"]) == pytest.approx(placed(low, 0, 15, 46, 340), abs=0.06)
        assert float(mark["height"]) == pytest.approx(184 * count / (9 * 1.05), abs=0.06)
        assert float(mark["y"]) + float(mark["height"]) == pytest.approx(210, abs=0.11)
        assert title == f"{low:g} to {high:g}: {count}"
    assert "cut at 12" in drawing and "cut at" not in svg.histogram("H", bins, ("tokens", "items"), 400)


@pytest.mark.parametrize("classes", [2, 20, 100])
def test_the_confusion_matrix_has_a_cell_for_each_count(classes):
    counts = RANDOM.poisson(0.5, (classes, classes))
    labels = [f"class <{i}>" for i in range(classes)]
    drawing = svg.confusion("C", labels, counts.tolist())
    found = marks(drawing, "rect")
    assert len(found) == (counts > 0).sum()
    width = float(found[0][0]["width"]) + 1
    corner = min(float(mark["x"]) for mark, _ in found), min(float(mark["y"]) for mark, _ in found)
    first = np.argwhere(counts > 0).min(0)
    for (i, j), (mark, title) in zip(np.argwhere(counts > 0), found, strict=True):
        share = counts[i, j] / counts[i].sum()
        assert title == f"class <{i}>, predicted class <{j}>: {counts[i, j]} of {counts[i].sum()} ({share:.1%})"
        assert float(mark["x"]) - corner[0] == pytest.approx(width * (j - first[1]), abs=0.11)
        assert float(mark["y"]) - corner[1] == pytest.approx(width * (i - first[0]), abs=0.11)
        assert ("blue" in mark["fill"]) == (i == j)
        assert float(mark["fill-opacity"]) == pytest.approx(0.12 + 0.88 * share, abs=0.006)
    numbers = [t.text for t in ElementTree.fromstring(drawing).iter("text") if t.text.isdigit()]
    assert len(numbers) == ((counts > 0).sum() if classes <= 30 else 0)


def test_an_interval_in_a_cell():
    mark = marks(svg.interval(0.25, 0.125, 0.5, "F1"), "circle")[0][0]
    assert float(mark["cx"]) == 4 + 112 / 4
    line = ElementTree.fromstring(svg.interval(0.25, 0.125, 0.5, "F1")).findall("line")[-1].attrib
    assert (float(line["x1"]), float(line["x2"])) == (18, 60)


# ---- the frame ------------------------------------------------------------------------------------------------------


def test_nothing_from_a_file_is_more_than_words():
    hostile = f"{HOSTILE}</title></style><script>\x00\ud800 & '\""
    table = pages.table(hostile, [[hostile, "b"], [hostile, hostile]])
    parts = [pages.paragraph(hostile), pages.section(hostile, [table])]
    parts += [pages.figure(svg.confusion(hostile, [hostile, "b"], [[1, 2], [3, 4]]), hostile), pages.command(hostile)]
    content = pages.page(hostile, parts)
    assert content.encode("utf-8")
    Page(content)
    assert "<img" not in content and "<script" not in content and "\x00" not in content
    assert [ElementTree.fromstring(drawing) for drawing in re.findall(r"<svg.*?</svg>", content, re.DOTALL)]


def test_what_is_empty_says_nothing():
    assert pages.section("x", ["", ""]) == pages.table("x", [["only", "a head"]]) == pages.charts(["", ""]) == ""
    assert ">" + "a" * 1500 + "<" in pages.text("a" * 1500) and "… (100 characters more)" in pages.text("a" * 1600)


def test_colours_can_be_read():
    """WCAG's contrast of text: at least 4.5, on paper in light and in dark."""

    def luminance(colour: str) -> float:
        full = colour if len(colour) == 7 else "#" + "".join(c * 2 for c in colour[1:])
        parts = [int(full[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = (dict(re.findall(r"--(\w+): (#\w+)", part)) for part in pages.STYLE.split("@media", 2)[:2])
    for colours in (light, dark):
        for name in ("ink", "soft", "blue", "orange"):
            for ground in ("paper", "shade"):
                a, b = sorted((luminance(colours[name]), luminance(colours[ground])))
                assert (b + 0.05) / (a + 0.05) >= 4.5, (name, ground, colours)


# ---- what a page is made of -----------------------------------------------------------------------------------------


def test_class_intervals_are_those_of_each_resample():
    logits, labels = RANDOM.normal(0, 1, (40, 3)), RANDOM.integers(0, 3, 40)
    found = Scores(logits, labels).class_intervals(seed=5)
    random, drawn = np.random.default_rng(5), []
    for _ in range(1000):
        rows = random.integers(0, 40, 40)
        values = Scores(logits[rows], labels[rows]).per_class()
        drawn.append([[values[kind][c] for kind in ("precision", "recall", "f1")] for c in range(3)])
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    whole = Scores(logits, labels).per_class()
    for c in range(3):
        for k, kind in enumerate(("precision", "recall", "f1")):
            interval = found[c][kind]
            expected = whole[kind][c], low[c, k], high[c, k]
            assert (interval.value, interval.low, interval.high) == pytest.approx(expected)


def test_suspicious_labels_come_first():
    """Then the others by how much more probable another class is than the label."""
    shares = RANDOM.dirichlet([0.6] * 3, 60)
    labels = np.array([RANDOM.choice(3, p=row) for row in shares])
    wrong = shares.argmax(1) != labels
    rows, suspicious = suspicious_first(shares, labels, wrong)
    assert sorted(rows) == np.flatnonzero(wrong).tolist() and 0 < len(suspicious) < len(rows)
    assert suspicious == set(confident_learning(shares, labels).suspicious) & set(rows) == set(rows[: len(suspicious)])
    gaps = [max(np.delete(shares[i], labels[i])) - shares[i, labels[i]] for i in rows]
    for part in (gaps[: len(suspicious)], gaps[len(suspicious) :]):
        assert part == sorted(part, reverse=True)
    assert suspicious_first(shares, np.zeros(60, int), shares.argmax(1) != 0)[0]  # classes that no document has


def test_lengths_and_duplicates():
    splits = {
        "train": types.SimpleNamespace(answers=lambda _: ["x", "x", "y"]),
        "dev": types.SimpleNamespace(answers=lambda _: ["x", "y"]),
        "test": types.SimpleNamespace(answers=lambda _: ["x"]),
    }
    texts = {"train": ["a  b", "c", "c"], "dev": [" a b\n", "d"], "test": ["c"]}
    found = {name: Described([(t,) for t in of], np.arange(len(of)), "tokens", 9, 0, {}) for name, of in texts.items()}
    pairs = [tuple(pair.values()) for pair in contents.duplicates(splits, found, [])]
    assert pairs == [("dev", "train", 1, 0), ("test", "train", 1, 0), ("test", "dev", 0, 0)]
    splits["test"].answers = lambda _: ["z"]
    assert contents.duplicates(splits, found, [])[1]["otherwise"] == 1
    lengths = RANDOM.integers(0, 400, 1000)
    bins = contents.bins(lengths)
    assert sum(count for *_, count in bins) == 1000 and len(bins) <= contents.BINS
    for low, high, count in bins[:-1]:
        assert count == sum(low <= n < high for n in lengths)
    assert contents.bins(np.zeros(3, int)) == [(0.0, 1.0, 3)]


def test_a_history_without_charts_is_a_table():
    row = {"epoch": 1, "loss": 0.5, "dev": {"f1": 0.25, "nll": 0.75}, "seconds": 1.0}
    (found,) = filter(None, sections.training([row], "f1"))
    assert "<svg" not in found and "1 (best)" in found and "0.2500" in found and "0.7500" in found
    two = "".join(sections.training([row, row | {"epoch": 2, "dev": {"f1": 0.5, "nll": 0.9}}], "loss"))
    assert two.count("<svg") == 2 and "1 (best)" in two and "2 (best)" not in two
    assert "perplexity" in "".join(
        sections.training([row | {"dev": {"perplexity": p}, "epoch": p} for p in (9, 8)], "perplexity")
    )


def test_what_is_not_finite_has_no_curve():
    rows = [{"epoch": i, "loss": 0.5, "dev": {"f1": 0.5, "nll": float("inf")}, "seconds": 1.0} for i in (1, 2)]
    found = "".join(sections.training(rows, "f1"))
    assert found.count("<svg") == 2 and found.count("<polyline") == 2 and "nan" not in found
    rows = [row | {"dev": {"perplexity": float("inf")}} for row in rows]
    assert "".join(sections.training(rows, "perplexity")).count("<svg") == 1


def test_more_classes_than_can_be_read_are_a_table_of_confusions():
    labels = {f"c{i}": {} for i in range(sections.MOST + 1)}
    found = sections.confusion({"per_class": labels, "confused": [["c1", "c2", 3]]}, {"confusion": [[0]]})
    assert "<svg" not in found[0] and "c2" in found[0]


# ---- the command ----------------------------------------------------------------------------------------------------


def trained(call, folder, model: str, task: str) -> str:  # noqa: F811
    name = f"{task}-{model}"
    if not (folder / name).exists():
        call("train", *command(model, task, name))
    return name


SECTIONS = {  # besides Results, Training, Memory and time, Settings
    "classification": ["Classes", "Confusion", "Probabilities", "Errors", "Data"],
    "multilabel": ["Classes", "Errors", "Data"],
    "regression": ["Predicted and true", "Errors", "Data"],
    "tagging": ["Classes", "Errors", "Data"],
    "spans": ["Errors", "Data"],
    "lm": [],
    "pretrain": [],
}
MODELS = dict.fromkeys(("classification", "multilabel"), "linear")
MODELS |= dict.fromkeys(("regression", "tagging"), "bilstm-scratch") | dict.fromkeys(("spans", "pretrain"), "bert")
MODELS["lm"] = "lstm"


def test_every_task_is_here():
    assert SECTIONS.keys() == MODELS.keys() == TASKS.keys()


@pytest.mark.parametrize("task", SECTIONS)
def test_every_task_has_its_page(task, folder, call):  # noqa: F811
    name = trained(call, folder, MODELS[task], task)
    result = json.loads(call("evaluate", name, "--json", "--html", "page.html"))
    content = (folder / "page.html").read_text("utf-8")
    shown = check(content)
    heads = re.findall(r"<h3[^>]*>(.*?)</h3>", content)
    assert sorted(heads) == sorted(["Results", *SECTIONS[task], "Training", "Memory and time", "Settings"])
    for row, value in zip(shown.tables[0][1:], result["metrics"].values(), strict=True):
        ends = "" if value["low"] is None else f"{number(value['low'])} to {number(value['high'])}"
        assert row[1:] == [number(value["value"]), ends]
    history, epochs = Run(folder / name).metrics(), shown.table("epoch")
    for row, cells in zip(history, epochs.values(), strict=True):
        assert cells == [number(row["loss"]), *map(number, row["dev"].values()), f"{row['seconds']:.1f}"]
    ledger = json.loads((folder / name / "ledger.json").read_text("utf-8"))
    memory = shown.table(f"memory in MiB, {ledger['batch']} x {ledger['tokens']} tokens")
    predicted, grown = (f"{ledger[kind] / 2**20:,.1f}" for kind in ("predicted", "growth"))
    assert memory["growth of the process"] == [predicted, grown if ledger["growth"] else "?"]  # not seen to grow
    assert memory["parameters, trainable"] == [f"{ledger['trainable'] / 2**20:,.1f}"] * 2
    assert f"--model {MODELS[task]} " in content
    if "per_label" in result:
        for label, cells in shown.table("label").items():
            of = result["per_label"][label]
            scores = (share({"accuracy": of[name]}) for name in ("f1", "average_precision"))
            assert cells[1:4] == [f"{of['support']:.0f}", *scores]
    if "per_type" in result:
        for kind, cells in shown.table("type (conlleval)").items():
            precision, recall, f1, count = result["per_type"]["conlleval"][kind]
            shares = [cell.split()[0] for cell in cells[2:]]
            assert cells[1] == str(count) and shares == [f"{value:.3f}" for value in (f1, precision, recall)]


@pytest.mark.parametrize("task", SECTIONS)
def test_the_command_of_a_page_makes_such_a_run(task, folder, call):  # noqa: F811
    meta = Run(folder / trained(call, folder, MODELS[task], task)).meta()
    python, script, *typed = shlex.split(page.command(meta))
    assert (python, script) == ("python", "train.py")
    flags = vars(train.arguments().parse_args(typed))
    assert recipes.complete(TrainConfig(**flags)).stored() == meta["config"]


def test_a_classifiers_page_has_the_numbers_of_its_result(folder, call):  # noqa: F811
    name = trained(call, folder, "linear", "classification")
    result = json.loads(call("evaluate", name, "--json", "--html", "page.html"))
    shown = check((folder / "page.html").read_text("utf-8"))
    for label, cells in shown.table("class").items():
        of = result["per_class"][label]
        assert cells[1] == str(int(of["support"]))
        assert [cell.split()[0] for cell in cells[2:]] == [f"{of[kind]:.3f}" for kind in ("f1", "precision", "recall")]
    assert shown.table("probability") == {
        f"{part['low']:.3f} to {part['high']:.3f}": [str(part["documents"]), f"{part['confidence']:.3f}", share(part)]
        for part in result["probabilities"]["reliability"]
    }
    found = [row for row in shown.tables if row[0][0] == "answered"][0][1:]
    assert found == [
        [f"{row['answered'] / result['documents']:.0%}", str(row["answered"]), f"{row['threshold']:.4f}", share(row)]
        for row in result["probabilities"]["coverage"]
    ]
    counts = [row for row in shown.tables if row[0][1:] == ["train", "dev", "test"]]
    splits = Run(folder / name).splits()
    assert counts[0][1] == ["items", *(str(len(splits[part])) for part in ("train", "dev", "test"))]
    assert sum(int(row[3]) for row in counts[1][1:]) == result["documents"]
    predictor = textcls.load(folder / name)
    wrong = sum(label != answer for label, answer in zip(*answers(predictor, folder), strict=True))
    assert f"{min(wrong, SHOWN)} of {wrong}, suspicious" in "".join(shown.words) or wrong == 0 and "none" in shown.words


def share(row: dict) -> str:
    return "{value:.3f} [{low:.3f}, {high:.3f}]".format(**row["accuracy"])


def answers(predictor, folder) -> tuple[list[str], list[str]]:  # noqa: F811
    rows = make_rows(30, seed=1)
    return [label for _, label in rows], predictor.predict([text for text, _ in rows])[0]


def test_labels_and_texts_are_escaped(folder, call):  # noqa: F811
    hostile = HOSTILE.replace('"', "")
    rows = [(f"{text} {hostile} <script>&", hostile if label == "sailing" else label) for text, label in make_rows(60)]
    write_csv(folder / "hostile.csv", rows)
    call("train", *"--model linear --train hostile.csv --test 0.3 --dev 0.2 --out hostile --quiet".split())
    call("evaluate", "hostile", "--html", "page.html")
    content = (folder / "page.html").read_text("utf-8")
    check(content)
    assert "&lt;img src=x onerror=" in content and "<img" not in content and "<script" not in content


def test_several_runs_are_compared_and_their_data_may_be_gone(folder, call, monkeypatch):  # noqa: F811
    first = trained(call, folder, "linear", "classification")
    write_csv(folder / "other.csv", make_rows(72))
    small = "--model bilstm-scratch --hidden 8 --embedding 8 --epochs 1 --out other --quiet"
    call("train", *small.split(), *"--train other.csv --test test.csv --dev 0.2".split())
    said = call("evaluate", first, "other", "other/linear", "--html", "page.html")
    content = (folder / "page.html").read_text("utf-8")
    shown = check(content)
    for line in said.split("\n\n")[-1].splitlines()[:-1]:
        assert line in "".join(shown.words)
    assert shown.headings().count("h2") == 4 and "Side by side" in content
    (folder / "other.csv").write_text("text,label\nnew,a\n")
    call("evaluate", "other", "--html", "page.html")
    assert "No statistics: " in (folder / "page.html").read_text("utf-8")


def test_an_ensemble_has_a_page(folder, call):  # noqa: F811
    first = trained(call, folder, "linear", "classification")
    call("train", *command("linear", "classification", "fewer"), "--vocab-size", "60")
    call("ensemble", first, "fewer", "--in-sample", "--out", "both", "--quiet")
    call("evaluate", "both", "--html", "page.html")
    content = (folder / "page.html").read_text("utf-8")
    check(content)
    heads = re.findall(r"<h3[^>]*>(.*?)</h3>", content)
    assert heads == "Results,Classes,Confusion,Probabilities,Errors,Data,Memory and time,Settings".split(",")
    assert "python ensemble.py" in content


def test_a_page_of_explanations_has_the_same_frame(folder, call):  # noqa: F811
    name = trained(call, folder, "linear", "classification")
    (folder / "asked.txt").write_text("star <b>planet</b> moon\n")
    call("evaluate", name, "--explain", "asked.txt", "--html", "why.html")
    content = (folder / "why.html").read_text("utf-8")
    shown = Page(content)
    assert ("b", {}) not in shown.tags and "mark" in {tag for tag, _ in shown.tags} and pages.STYLE in content


@pytest.mark.parametrize("flags, message", [
    (["--predict", "asked.txt"], "--html goes with evaluation and with --explain, not with --predict"),
    (["--html", "nowhere/page.html"], "there is no folder nowhere"),
    (["--html", "."], "a folder"),
])  # fmt: skip
def test_what_a_page_does_not_go_with(folder, call, flags, message):  # noqa: F811
    name = trained(call, folder, "linear", "classification")
    assert message in call("evaluate", name, "--html", "page.html", *flags, status=2)


def test_what_is_made_up_in_a_result_stays_out():
    """A result of a task of one's own has metrics, and may have nothing else."""
    metrics = {"x": {"value": 0.5, "low": None, "high": None}}
    summary = {"run": "r", "data": "d", "unit": "items", "documents": 2, "metrics": metrics, "properties": {}}
    summary |= {"documents_per_s": 3.0, "device": "cpu"}
    run = {"command": "", "settings": {}, "data": {}, "history": [], "select": "x", "resources": {}, "remarks": []}
    content = sections.page("t", "python", [run], [Result(summary)])
    check(content)
    assert re.findall(r"<h3[^>]*>(.*?)</h3>", content) == ["Results", "Memory and time"]
