"""The recurrent classifiers and taggers: poolings, padding, frozen and tuned encoders."""

import dataclasses

import pytest
import torch

import train
from tests.conftest import batch_of
from textcls import BertConfig
from textcls.models.heads import POOLINGS, Pooling
from textcls.models.lstm import FrozenEmbeddings
from textcls.models.recurrent import BertVectors, Recurrent, RecurrentClassifier, Tagger, WordDims, WordVectors

LENGTHS = [7, 3, 5]


def source(kind: str, shape: BertConfig):
    if kind == "words":
        return WordVectors(WordDims(60, 8))
    return FrozenEmbeddings(shape) if kind == "embeddings" else BertVectors(shape, kind == "frozen", kind == "cls")


def classifier(kind: str, shape: BertConfig, pooling: str = "last", bidirectional: bool = True):
    torch.manual_seed(0)
    encoder = Recurrent(source(kind, shape), 6, 1, 0.2, bidirectional)
    return RecurrentClassifier(encoder, 4, pooling, 0.2).double()


def test_the_command_line_knows_the_poolings():
    parser, names = train.arguments(), ["cls", *POOLINGS]
    assert [parser.parse_args(["--pooling", name]).pooling for name in names] == names
    with pytest.raises(SystemExit):
        parser.parse_args(["--pooling", "median"])


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("directions", [1, 2])
def test_pooling_reads_real_steps_only(pooling, directions):
    torch.manual_seed(0)
    x = torch.randn(3, 7, 10, dtype=torch.float64)
    _, mask = batch_of(LENGTHS, 60)
    layer = Pooling(pooling, 10, directions).double()
    # One sign is what a maximum would pick, and one of the two what attention would look at.
    high, low = (layer(x.masked_fill(mask[:, :, None] == 0, poison), mask) for poison in (1e9, -1e9))
    for row, length in enumerate(LENGTHS):
        steps = x[row, :length]
        values = {
            "last": steps[-1] if directions == 1 else torch.cat([steps[-1, :5], steps[0, 5:]]),
            "mean": steps.mean(0),
            "max": steps.max(0).values,
        }
        if "attention" in pooling:
            weights = (steps @ layer.score.weight[0] + layer.score.bias).float().softmax(0).double()
            values["attention"] = (weights[:, None] * steps).sum(0)
        expected = torch.cat([values[kind] for kind in pooling.split("+")])
        assert layer.features == len(expected)
        for found in (high[row], low[row], layer(x[row : row + 1, :length], None)[0]):
            assert torch.allclose(found, expected, atol=1e-9), row


@pytest.mark.parametrize("kind", ["words", "embeddings", "frozen", "tune", "cls"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("pooling", ["last", "attention", "mean+max"])
def test_padding_never_changes_a_logit(kind, bidirectional, pooling, tiny_shape):
    model = classifier(kind, tiny_shape, pooling, bidirectional).eval()
    ids, mask = batch_of(LENGTHS, 60)
    together = model(ids, mask)
    for row, length in enumerate(LENGTHS):
        assert torch.allclose(model(ids[row : row + 1, :length])[0], together[row], atol=1e-6)


def test_last_state_is_that_of_torchs_lstm(tiny_shape):
    """The pooled vector equals the final states h_n of nn.LSTM on each row alone."""
    model = classifier("words", tiny_shape).eval()
    ids, mask = batch_of(LENGTHS, 60)
    hidden = model.encoder(ids, mask)
    found = model.pooling(hidden, mask)
    for row, length in enumerate(LENGTHS):
        x = model.encoder.source(ids[row : row + 1, :length])
        _, (h, _) = torch.nn.LSTM.forward(model.encoder.lstm, x)
        assert torch.allclose(found[row], h[:, 0].flatten(), atol=1e-12)


def test_a_frozen_encoder_stays_as_it_is(tiny_shape):
    model = classifier("frozen", tiny_shape).train()
    assert not model.encoder.source.bert.training and model.encoder.lstm.training
    assert not any(p.requires_grad for p in model.encoder.source.parameters())
    model(*batch_of(LENGTHS, 60)).sum().backward()
    assert all(p.grad is None for p in model.encoder.source.parameters())


def test_a_tuned_encoder_learns(tiny_shape):
    model = classifier("tune", tiny_shape).train()
    model(*batch_of(LENGTHS, 60)).sum().backward()
    assert all(p.grad is not None for p in model.encoder.source.parameters())


@pytest.mark.parametrize("kind", ["frozen", "cls"])
def test_given_features_replace_the_encoder(kind, tiny_shape):
    model = classifier(kind, tiny_shape).eval()
    ids, mask = batch_of(LENGTHS, 60)
    features = model.encoder.source(ids, mask)
    assert features.shape == ((3, 1, 16) if kind == "cls" else (3, 7, 16))
    expected = model(ids, mask)
    model.encoder.source.bert = None  # it is not asked
    assert torch.equal(model(ids, mask, features=features), expected)


def test_parameter_counts(tiny_shape):
    model = RecurrentClassifier(Recurrent(WordVectors(WordDims(1000, 100)), 64, 1, 0.3), 20)
    lstm = 2 * 4 * 64 * (100 + 64 + 2)
    assert sum(p.numel() for p in model.parameters()) == 1000 * 100 + lstm + 128 * 20 + 20
    one = RecurrentClassifier(Recurrent(WordVectors(WordDims(1000, 100)), 64, 1, 0.3, bidirectional=False), 20)
    assert sum(p.numel() for p in one.parameters()) == 1000 * 100 + lstm // 2 + 64 * 20 + 20


# ---- taggers --------------------------------------------------------------------------------------------------------

STARTS = [[1, 2, 4, 5], [1], [1, 3]]


def tag_batch():
    ids, mask = batch_of(LENGTHS, 60)
    starts = torch.zeros(3, 4, dtype=torch.long)
    for row, places in enumerate(STARTS):
        starts[row, : len(places)] = torch.tensor(places)
    return ids, mask, starts


@pytest.mark.parametrize("kind", ["bert", "embeddings", "words", "frozen"])
def test_a_word_is_tagged_by_its_first_token(kind, tiny_shape):
    torch.manual_seed(0)
    if kind == "bert":
        encoder = BertVectors(tiny_shape)
    else:
        encoder = Recurrent(source(kind, tiny_shape), 6, 1, 0.2)
    model = Tagger(encoder, 5).double().eval()
    ids, mask, starts = tag_batch()
    scores = model(ids, mask, starts=starts)
    assert scores.shape == (3, 4, 5) and scores.dtype == torch.float32
    for row, (length, places) in enumerate(zip(LENGTHS, STARTS, strict=True)):
        hidden = model.encoder(ids[row : row + 1, :length])
        expected = model.classifier(hidden[0, places]).float()
        assert torch.allclose(scores[row, : len(places)], expected, atol=1e-6)


def test_segments_and_positions_are_the_backbones(tiny_shape):
    torch.manual_seed(0)
    frozen = FrozenEmbeddings(dataclasses.replace(tiny_shape, hidden_dropout_prob=0.5)).train()
    ids, _ = batch_of(LENGTHS, 60)
    assert torch.equal(frozen(ids), frozen(ids))  # its dropout stays off
    assert not torch.equal(frozen(ids), frozen(ids, None, torch.ones_like(ids)))
