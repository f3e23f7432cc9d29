"""Several GPUs: exchange, arithmetic and days by hand."""

import importlib

import pytest

from textcls.ledger.cluster import NETWORK, USED, Cluster
from textcls.ledger.plan import FLOAT, Block, Plan, Step

BLOCKS = [Block("one", "head", {"kept": 5000}, flop=10**15, trainable=1000), Block("two", "head", {}, trainable=24)]


def plan(**changes) -> Plan:
    return Plan(BLOCKS, Step(**{"batch": 4, "tokens": 10, "device": "cuda"} | changes))


def test_gradients_go_round_the_ring_twice():
    assert Cluster(1, 1, 1).exchanged(plan()) == 0
    assert Cluster(1, 2, 1).exchanged(plan()) == FLOAT * 1024
    assert Cluster(8, 8, 1).exchanged(plan()) == 2 * 63 / 64 * FLOAT * 1024


def test_a_step_takes_its_arithmetic_and_what_the_network_adds():
    peak, step = 1e15, plan(accumulate=2)
    arithmetic = 2 * 3 * 10**15 / (USED * peak)
    assert Cluster(1, 8, 1).step_seconds(step, peak) == pytest.approx(arithmetic)
    slow = Plan([Block("large", "head", {}, flop=1, trainable=10**12)], Step(1, 1))
    network = 2 * 15 / 16 * FLOAT * 10**12 * 8 / NETWORK
    assert Cluster(2, 8, 1).step_seconds(slow, peak) == pytest.approx(network, rel=1e-6)
    hidden = Cluster(2, 8, 1)  # an exchange that is over before the backward pass is
    assert hidden.step_seconds(step, peak) == pytest.approx(arithmetic)


def test_tokens_and_days():
    cluster = Cluster(2, 3, 86_400)
    assert cluster.tokens(plan(accumulate=5)) == 6 * 5 * 40
    assert cluster.tokens_per_second(plan(), 1.0) == 6 * 40
    assert cluster.days(plan(), 1e15) == pytest.approx(cluster.step_seconds(plan(), 1e15))


def test_gradients_stay_where_they_travel():
    """The buckets that are exchanged live through the whole step."""
    one, many = plan(), plan(processes=2)
    assert many.moments()[0][1] - one.moments()[0][1] == one.gradients


def test_the_plan_of_a_cluster(capsys):
    flags = "--task pretrain --model trans-blstm-2 --bert bert-base-uncased --train x --device cuda --plan".split()
    train = importlib.import_module("train")
    assert train.main([*flags, "--batch-size", "32", "--accumulate", "1", "--nodes", "1", "--gpus", "8"]) == 0
    text = capsys.readouterr().out
    assert "1 x 8 GPUs, 256 documents a step" in text and "1,000,000 updates" in text and "7 days" in text
    assert train.main([*flags[:-1], "--gpus", "8"]) == 2
    assert "--gpus goes with --plan; to train on several GPUs: torchrun" in capsys.readouterr().err
