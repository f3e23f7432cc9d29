"""benchmarks/gpu.py: rehearsed on the CPU, all parts; what becomes of parts that fail, die or have no time; verdicts.
"""

import inspect
import itertools
import json
import math
import os
import statistics
import sys
import time
import types

import numpy as np
import pytest
import torch

from tests.conftest import ROOT
from tests.launch import Launched
from textcls.ledger import blocks
from textcls.ledger.plan import Step

sys.path.append(str(ROOT / "benchmarks"))
import gpu_device  # noqa: E402
import gpu_lstm  # noqa: E402
import gpu_memory  # noqa: E402
import gpu_page  # noqa: E402
import gpu_processes  # noqa: E402
import gpu_work  # noqa: E402
from gpu_page import Row  # noqa: E402

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the launcher of these tests forks")
PARTS = ["suite", "models", "memory", "epochs", "lstm", "kernels", "processes"]
MUST = ("asked for", "rounding", "rounding of this precision", "order of sums", "half a unit of fp16 at 1")


def run(arguments: list[str]) -> int:
    import gpu

    return gpu.main(arguments)


def read(folder) -> dict:
    def no_number(name):
        raise AssertionError(f"{name} is no JSON")

    return json.loads((folder / gpu_page.RESULTS).read_text("utf-8"), parse_constant=no_number)


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gpu")
    launched = Launched(folder, run, "--device", "cpu", "--minutes", "30", TEXTCLS_CACHE=str(folder / "cache"))
    assert launched.wait(1500) == 0, (launched.stdout, launched.stderr)
    return folder


def test_all_parts_are_rehearsed(rehearsed):
    results = read(rehearsed)
    parts = results["parts"]
    assert list(parts) == PARTS and [part["state"] for part in parts.values()] == ["done"] * len(PARTS)
    assert all(part["rows"] for part in parts.values())
    assert results["machine"]["device"] == "cpu" and results["command"].endswith("--device cpu")
    rows = [row for part in parts.values() for row in part["rows"]]
    assert not [row for row in rows if row["verdict"].startswith("failed")]
    wrong = [row for row in rows if row["basis"] in MUST and row["verdict"] != "holds"]
    # What needs the device is skipped without one, and said to be.
    assert [row["what"] for row in wrong] == ["… skipped, for want of a CUDA device"]
    truths = [row for row in rows if row["rule"] == "yes" and row["basis"] not in ("--plan", "models/lstm.py")]
    assert len(truths) > 5 and all(row["verdict"] == "holds" for row in truths)
    assert not parts["lstm"]["changes"] and not parts["memory"]["changes"]  # a CPU says nothing about CUDA's constants


def test_the_page_says_what_it_is(rehearsed):
    page = (rehearsed / gpu_page.PAGE).read_text("utf-8")
    assert "A rehearsal on a CPU" in page and "| torch |" in page
    assert all(f"## {part['title']}" in page for part in read(rehearsed)["parts"].values())
    rows = sum(len(part["rows"]) for part in read(rehearsed)["parts"].values())
    assert page.count("\n| ") >= rows and "python benchmarks/gpu.py" in page


def test_given_again_it_does_what_is_missing(rehearsed, tmp_path):
    results = read(rehearsed)
    results["machine"]["commit"] = gpu_device.facts(torch.device("cpu"))["commit"]  # files may have been edited since
    results["parts"]["lstm"]["state"] = "cut off after 3 rows: its time is over"
    results["parts"]["epochs"]["rows"] = [{**row, "measured": 7.0} for row in results["parts"]["epochs"]["rows"]]
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / gpu_page.RESULTS).write_text(json.dumps(results), "utf-8")
    again = Launched(tmp_path, run, "--device", "cpu", "--out", tmp_path / "out")
    assert again.wait(600) == 0, again.stderr
    assert "4. Packed or padded" in again.stdout and "3. Seconds" not in again.stdout
    found = read(tmp_path / "out")["parts"]
    assert found["lstm"]["state"] == "done" and found["epochs"]["rows"][0]["measured"] == 7.0


@pytest.mark.parametrize("arguments, message", [
    (["--device", "cuda:99"], "--device cuda:99: this machine has"),
    (["--device", "cpu", "--memory", "much", "--minutes", "0"], "--minutes 0: must be above 0"),
    (["--device", "cpu", "--bert", "nowhere"], "--bert nowhere: no such folder"),
])  # fmt: skip
def test_what_cannot_be_is_one_line(arguments, message, tmp_path):
    refused = Launched(tmp_path, run, *arguments)
    assert refused.wait() == 2 and refused.stderr.count("error: ") == 1 and message in refused.stderr


def test_of_a_torchrun_that_failed_the_reason_is_said():
    said = "Traceback (most recent call last):\n  File \"a.py\", line 1\ntorch.AcceleratorError: out of memory\n"
    frame = "ChildFailedError: \n=====\nRoot Cause: exitcode: 1\n====="
    assert gpu_processes.first_error(said + frame) == "torch.AcceleratorError: out of memory"
    assert gpu_processes.first_error("one\n=====\n") == "=====" and gpu_processes.first_error("") == "no word"


# ---- parts that fail ------------------------------------------------------------------------------------------------


def fine(work):
    yield Row("fine", 1.0, 2.0, "at most")


def raises(work):
    yield Row("before", 1.0)
    raise RuntimeError("CUDA error: an illegal memory access was encountered\nmore words")


def dies(work):
    yield Row("before", math.inf, 1.0, "at most")
    os._exit(7)


def never_ends(work):
    yield Row("before", None, rule="yes", note="out of memory")
    time.sleep(600)


def run_broken(arguments: list[str]) -> int:
    import gpu

    parts = (("raises", raises, 0.5), ("dies", dies, 0.5), ("never ends", never_ends, 0.01), ("fine", fine, 0.5))
    gpu.PARTS = {name: gpu.Part(name, function, 0, share) for name, function, share in parts}
    gpu.PARTS["long"] = gpu.Part("long", fine, 1000, 1.0)
    return gpu.main(arguments)


def test_a_part_that_fails_takes_no_other_with_it(tmp_path):
    broken = Launched(tmp_path, run_broken, "--device", "cpu", "--minutes", "4")
    assert broken.wait() == 1, broken.stderr
    parts = read(tmp_path)["parts"]
    assert {name: part["state"] for name, part in parts.items() if name != "long"} == {
        "raises": "failed: RuntimeError: CUDA error: an illegal memory access was encountered",
        "dies": "failed: its process died (exit code 7)",
        "never ends": "cut off after 1 rows: its time is over",
        "fine": "done",
    }
    assert parts["long"]["state"].startswith("skipped: needs about 1000 s, ") and not parts["long"]["rows"]
    assert [part["rows"][0]["verdict"] for part in parts.values() if part["rows"]] == [
        "", "falls short: not finite", "failed", "holds"]  # fmt: skip
    page = (tmp_path / gpu_page.PAGE).read_text("utf-8")
    assert "1 hold, 1 fall short, 1 could not be measured" in page and "**failed: RuntimeError" in page


# ---- verdicts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row, verdict", [
    (Row("x", 150.0, 160.0, "at most"), "holds"),
    (Row("x", 200.0, 160.0, "at most"), "falls short by 25%"),
    (Row("x", 0, 0, "at most"), "holds"),
    (Row("x", 3, 0, "at most"), "falls short"),
    (Row("x", 0.2, 0.3, "at least"), "falls short by 33%"),
    (Row("x", 0.3, 0.3, "at least"), "holds"),
    (Row("x", 104.0, 100.0, "near"), "holds"),
    (Row("x", 90.0, 100.0, "near"), "falls short: 10% less than predicted"),
    (Row("x", 109.0, 100.0, "near", tolerance=0.1), "holds"),
    (Row("x", math.nan, 100.0, "near"), "falls short: not finite"),
    (Row("x", True, rule="yes"), "holds"),
    (Row("x", False, rule="yes"), "falls short"),
    (Row("x", None, rule="yes"), "failed"),
    (Row("x", None), "not measured"),
    (Row("x", 5.0), ""),
])  # fmt: skip
def test_verdicts(row, verdict):
    assert row.verdict == verdict
    json.loads(json.dumps(gpu_page.plain(row)), parse_constant=lambda name: pytest.fail(name))
    assert gpu_page.of_row(gpu_page.plain(row)).count(" | ") == 4


def test_results_of_another_machine_are_not_lost(tmp_path):
    found = {"machine": {"card": "A"}, "settings": {"memory": 1}}
    found["parts"] = {"x": {"state": "done"}, "y": {"state": "cut"}}
    (tmp_path / gpu_page.RESULTS).write_text(json.dumps(found), "utf-8")
    for afresh in (False, True):
        assert gpu_page.read(tmp_path, {"card": "A", "memory": 1}, afresh) == found["parts"]
    assert gpu_page.read(tmp_path, {"card": "B"}, True) == {}
    with pytest.raises(gpu_page.InputError, match=r"of others \(card A, now B\); --afresh replaces it"):
        gpu_page.read(tmp_path, {"card": "B", "memory": 1}, False)
    (tmp_path / gpu_page.RESULTS).write_text("[]", "utf-8")
    with pytest.raises(gpu_page.InputError, match="not a file of this benchmark"):
        gpu_page.read(tmp_path, {"card": "B"}, False)


# ---- the work -------------------------------------------------------------------------------------------------------


def test_made_documents_are_as_long_as_the_posts():
    """Median 124 word pieces, 24 % over 256 and 9 % over 512, 300 of 11,314 empty; two tokens around each."""
    pieces = gpu_work.lengths_of(gpu_work.DOCUMENTS, 10**6) - 2
    assert statistics.median(pieces.tolist()) == pytest.approx(124, rel=0.05)
    assert np.mean(pieces > 256) == pytest.approx(0.24, abs=0.01)
    assert np.mean(pieces > 512) == pytest.approx(0.09, abs=0.01)
    assert np.mean(pieces == 0) == pytest.approx(300 / 11_314, abs=0.005)
    assert gpu_work.lengths_of(100, 256).max() == 256


def test_a_step_of_several_micro_batches_is_the_loops():
    """The mean loss over all targets, of documents with padding; and it falls."""
    config = gpu_work.settings("bert", dropout=0.0, lr=1e-2)
    work = gpu_work.Work("cpu", 1, gpu_work.SCALES["rehearsal"], ROOT, 0.0)
    model = gpu_work.build(config, work, torch.device("cpu")).eval()
    batch = gpu_work.one_batch(3, 8, work.vocab_size)
    assert batch.inputs["ids"].shape == (3, 8) and batch.tokens == 3 * 8 - 3
    setup = gpu_work.setup_of(model, config, torch.device("cpu"), gpu_work.PRECISIONS["fp32"])
    first = torch.nn.functional.cross_entropy(model(**batch.inputs), batch.targets["labels"]).item()
    losses = gpu_work.steps(setup, [batch, batch], 4)
    assert losses[0] == pytest.approx(first, rel=1e-5) and losses[-1] < losses[0]
    assert gpu_work.one_batch(1, 8, work.vocab_size).inputs["mask"] is None


# ---- what the numbers decide ----------------------------------------------------------------------------------------

CUDA = torch.device("cuda", 0)


@pytest.fixture
def work(tmp_path):
    return gpu_work.Work("cpu", 6 * 10**9, gpu_work.SCALES["full"], tmp_path, 0.0)


@pytest.mark.parametrize("device, ratios, chosen", [
    ("cuda", (0.8, 1.0), "padded"),  # geometric mean 0.894
    ("cuda", (0.95, 0.98), "packed"),
    ("cpu", (0.5, 0.5), "padded"),
    ("cpu", (2.0, 0.9), "packed"),
])  # fmt: skip
def test_the_faster_form_becomes_the_default(work, monkeypatch, device, ratios, chosen):
    times = itertools.cycle(ratios)
    monkeypatch.setattr(gpu_lstm, "both", lambda *given: ({"packed": 1.0, "padded": next(times)}, 0.0))
    *_, decision = rows = [row for row in gpu_lstm.forms(work, torch.device(device)) if isinstance(row, Row)]
    same = gpu_lstm.FORMS[device] == chosen
    assert decision.what.endswith(f"the rule {chosen}") and decision.measured == same
    assert rows[-2].measured == pytest.approx(math.sqrt(ratios[0] * ratios[1]))
    lines = [line for line in gpu_lstm.forms(work, torch.device(device)) if isinstance(line, str)]
    assert len(lines) == (device == "cuda")
    for line in lines:
        code = {}
        exec(line, code)
        assert code["FORMS"] == {"cpu": "padded", "cuda": chosen}


def test_what_cudnn_keeps_is_fitted(work, monkeypatch):
    """Of a device that keeps 7.5 numbers a step and unit in float32, 6.25 in fp16, and some bytes besides."""

    def kept(device, precision, H, S, layers, B, T):
        width, values = (2, 6.25) if precision.dtype else (4, 7.5)
        return B * T * width * (H + 2 * S + 2 * layers * S * values) + 12_345

    monkeypatch.setattr(gpu_memory, "kept_by_lstm", kept)
    *rows, line = gpu_memory.lstm_values(work, CUDA)
    assert [row.measured for row in rows] == pytest.approx([7.5, 6.25])
    assert [row.verdict for row in rows] == ["falls short: 25% more than predicted", "holds"]
    code = {}
    exec(line, code)
    assert code["CUDNN_LSTM_VALUES"] == 7.5  # the larger one: a plan that is too small is worse than one too large


def test_what_is_kept_is_counted_on_a_real_lstm():
    """oneDNN's, whose workspace the plan knows: what one step and unit more keeps, by both."""
    B, T, H, S = 4, 40, 12, 16
    cpu, fp32 = torch.device("cpu"), gpu_work.PRECISIONS["fp32"]
    kept = [gpu_memory.kept_by_lstm(cpu, fp32, H, S, 2, batch, T) for batch in (B, 2 * B)]
    predicted = [sum(blocks.lstm(Step(b, T), H, S, 2, 0.0, index).bytes for index in (0, 1)) for b in (B, 2 * B)]
    assert kept[1] - kept[0] == pytest.approx(predicted[1] - predicted[0], rel=0.05)


# ---- the lines for CUDA alone ---------------------------------------------------------------------------------------


def test_torch_is_called_as_it_wants_to_be(monkeypatch):
    """Every function of torch.cuda that the benchmark calls, with its own signature, and with a numbered device."""
    called = []

    def stand_in(name: str, result) -> None:
        signature = inspect.signature(getattr(torch.cuda, name))

        def call(*given, **named):
            bound = signature.bind(*given, **named).arguments
            assert all(value.index is not None for value in bound.values() if isinstance(value, torch.device))
            called.append(name)
            return result

        monkeypatch.setattr(torch.cuda, name, call)

    properties = types.SimpleNamespace(name="Card", major=8, minor=6, total_memory=6 * 2**30)
    results = {"device_count": 1, "get_device_properties": properties}
    results |= {"max_memory_allocated": 5, "max_memory_reserved": 7, "set_per_process_memory_fraction": None}
    results |= dict.fromkeys(("set_device", "synchronize", "empty_cache", "reset_peak_memory_stats"))
    for name, result in results.items():
        stand_in(name, result)
    before = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    try:
        device = gpu_device.begin("cuda", 6 * 10**9)
        assert device == CUDA and not torch.backends.cudnn.allow_tf32
        with gpu_device.tf32(True):
            assert torch.backends.cudnn.allow_tf32
        assert not torch.backends.cudnn.allow_tf32
    finally:
        torch.backends.cudnn.allow_tf32 = before[0]
        torch.set_float32_matmul_precision(before[1])
    facts = gpu_device.facts(device)
    assert (facts["card"], facts["capability"], facts["memory, GiB"], facts["cards"]) == ("Card", "8.6", 6.0, 1)
    json.dumps(facts)
    assert gpu_device.peak_of(device, lambda: None) == {"allocated": 5, "reserved": 7}
    assert len(gpu_device.seconds_of(device, lambda: None, repeats=3)) == 3 and gpu_device.cards(device) == 1
    assert set(called) == set(results)


def test_no_memory_is_an_answer():
    def too_much():
        raise torch.OutOfMemoryError("CUDA out of memory.")

    assert gpu_device.within_memory(too_much) is None and gpu_device.within_memory(lambda: 3) == 3
    assert gpu_device.peak_of(torch.device("cpu"), too_much) is None
    with pytest.raises(RuntimeError, match="shapes"):
        gpu_device.within_memory(lambda: torch.ones(2, 3) @ torch.ones(2, 3))


def test_lines_for_cuda_stand_in_one_file():
    for path in (ROOT / "benchmarks").glob("gpu*.py"):
        if path.name != "gpu_device.py":
            assert "torch.cuda" not in path.read_text("utf-8"), path.name
