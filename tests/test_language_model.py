"""The language model: carried state, tied weights, masks shared over time, perplexity."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from textcls.config import TrainConfig
from textcls.models.language_model import LanguageModel
from textcls.models.recurrent import WordDims
from textcls.runtime.device import Precision
from textcls.tasks.language import Streams, evaluate, loss, word_losses

SHAPE = WordDims(30, 12)
CPU, FP32 = torch.device("cpu"), Precision(None, "")


@pytest.fixture
def model():
    torch.manual_seed(0)
    return LanguageModel(SHAPE, layers=2, dropout=0.0).double().eval()


def test_two_windows_with_carry_equal_one(model):
    ids = torch.randint(30, (3, 11))
    whole, end = model(ids)
    first, carry = model(ids[:, :4])
    second, other_end = model(ids[:, 4:], carry)
    assert torch.allclose(torch.cat([first, second], 1), whole, atol=1e-12)
    for (h, c), (other_h, other_c) in zip(end, other_end, strict=True):
        assert torch.allclose(h, other_h, atol=1e-12) and torch.allclose(c, other_c, atol=1e-12)


def test_a_step_is_that_of_lstm_cells(model):
    """Against cells with the same weights, called word by word, and a product with the word vectors."""
    ids = torch.randint(30, (2, 5))
    cells = []
    for layer in model.layers:
        cell = torch.nn.LSTMCell(12, 12).double()
        cell.load_state_dict({name.removesuffix("_l0"): value for name, value in layer.state_dict().items()})
        cells.append(cell)
    states = [(torch.zeros(2, 12).double(), torch.zeros(2, 12).double()) for _ in cells]
    expected = []
    for t in range(5):
        x = model.words.weight[ids[:, t]]
        for number, cell in enumerate(cells):
            states[number] = cell(x, states[number])
            x = states[number][0]
        expected.append(x @ model.words.weight.T + model.bias)
    assert torch.allclose(model(ids)[0], torch.stack(expected, 1), atol=1e-12)


def test_output_weights_are_the_word_vectors(model):
    names = dict(model.named_parameters())
    assert sum(p.numel() for p in names.values()) == 30 * 12 + 30 + 2 * (4 * 12 * (12 + 12 + 2))


def test_dropout_masks_are_shared_over_time():
    torch.manual_seed(0)
    model = LanguageModel(SHAPE, dropout=0.5).train()
    x = model.locked(torch.ones(4, 7, 12))
    assert set(x.unique().tolist()) == {0.0, 2.0}
    assert (x == x[:, :1]).all() and not (x[0] == x[1]).all()


@pytest.mark.parametrize("window", [1, 7, 50, 200])
def test_perplexity_does_not_depend_on_the_window(model, window):
    words = np.random.default_rng(0).integers(0, 30, 120).astype(np.int32)
    whole, _ = model(torch.from_numpy(words[None, :-1].astype(np.int64)))
    expected = F.cross_entropy(whole[0], torch.from_numpy(words[1:].astype(np.int64))).item()
    assert word_losses(model, Streams(words, 1, window), CPU, FP32) == pytest.approx({"word": expected}, rel=1e-12)
    metrics = evaluate(Streams(words, 1, window), None, CPU, FP32)(model)
    assert metrics == pytest.approx({"nll": expected, "perplexity": math.exp(expected)}, rel=1e-12)


def test_evaluation_refuses_streams_side_by_side(model):
    with pytest.raises(AssertionError, match="without a past"):
        word_losses(model, Streams(np.zeros(100, np.int32), 4, 10), CPU, FP32)


def test_streams_read_the_text_in_order():
    words = np.arange(23, dtype=np.int32)
    streams = Streams(words, 2, 4)
    batches = [streams.collate(rows) for rows in streams.order(0)]
    ids = torch.cat([batch.inputs["ids"] for batch in batches], 1)
    following = torch.cat([batch.targets["words"] for batch in batches], 1)
    assert ids.tolist() == [list(range(11)), list(range(11, 22))]
    assert (following == ids + 1).all()
    assert [batch.counts["word"] for batch in batches] == [8, 8, 6]


def test_gradients_end_at_the_window(model):
    loss_fn = loss(TrainConfig(label_smoothing=0.0), None)
    words = np.random.default_rng(0).integers(0, 30, 41).astype(np.int32)
    streams, carry = Streams(words, 2, 10), None
    for rows in streams.order(0):
        losses, carry = loss_fn(model, streams.collate(rows), carry)
        losses["word"].backward()
        assert all(not state.requires_grad for pair in carry for state in pair)
