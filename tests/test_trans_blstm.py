"""TRANS-BLSTM: the paper's counts, its two forms step by step, padding, gradients, and BERT's weights inside."""

import functools

import pytest
import torch

from tests.conftest import batch_of
from textcls import Bert, BertClassifier, BertConfig
from textcls.models.lstm import LSTM
from textcls.models.trans_blstm import LAYERS, VARIANTS, layer
from textcls.pretrained.backbone import LARGE, Backbone
from textcls.recipes.common import share_bert

LENGTHS = [7, 3, 5]
DEEP = LARGE | {"num_hidden_layers": 48}


def count(shape: dict, variant: str | None = None, small: bool = False) -> int:
    """Parameters of encoder and pooler, embeddings included, without memory for them."""
    with torch.device("meta"):
        model = Bert(BertConfig(**shape), make=layer(variant, small)) if variant else Bert(BertConfig(**shape))
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("shape, variant, small, expected", [
    ({}, None, False, 109_482_240),
    (LARGE, None, False, 335_141_888),
    (DEEP, None, False, 637_451_264),
    ({}, "trans-blstm-2", False, 237_040_896),
    ({}, "trans-blstm-2", True, 152_023_296),
    (LARGE, "trans-blstm-2", False, 788_544_512),
    (LARGE, "trans-blstm-2", True, 486_333_440),
])  # fmt: skip
def test_parameters_are_those_of_the_paper(shape, variant, small, expected):
    assert count(shape, variant, small) == expected


def test_the_other_variants_are_bert_with_parts_exchanged():
    H, inner, layers = 768, 3072, 12
    blstm = 2 * 4 * H * (2 * H + 2) + 2 * H * H + H
    feed_forward = 2 * H * inner + inner + H
    attention = 4 * (H * H + H) + 2 * H
    assert count({}, "trans-blstm-1") == count({}) + layers * (blstm - feed_forward)
    assert count({}, "blstm") == count({}) + layers * (blstm - feed_forward - attention)


def build(shape, variant, small):
    torch.manual_seed(0)
    return Bert(shape, make=layer(variant, small)).double().eval()


VARIANT = pytest.mark.parametrize("variant", VARIANTS)
SMALL = pytest.mark.parametrize("small", [False, True])


@VARIANT
@SMALL
def test_padding_never_changes_anything(variant, small, tiny_shape):
    model = build(tiny_shape, variant, small)
    ids, mask = batch_of(LENGTHS, 60)
    hidden, pooled = model(ids, mask)
    for row, length in enumerate(LENGTHS):
        alone, alone_pooled = model(ids[row : row + 1, :length])
        assert torch.allclose(alone[0], hidden[row, :length], atol=1e-10)
        assert torch.allclose(alone_pooled[0], pooled[row], atol=1e-10)


@VARIANT
@SMALL
def test_a_layer_is_what_the_paper_draws(variant, small, tiny_shape):
    """One row without padding, by torch's own LSTM and the layer's parts."""
    torch.manual_seed(0)
    block = LAYERS[variant](tiny_shape, small=small).double().eval()
    x = torch.randn(1, 6, 16, dtype=torch.float64)
    plain = torch.nn.LSTM(16, 8 if small else 16, batch_first=True, bidirectional=True).double()
    plain.load_state_dict(block.blstm.lstm.state_dict())

    def blstm(x):
        out = plain(x)[0]
        return out if small else out @ block.blstm.dense.weight.T + block.blstm.dense.bias

    norm = block.output.LayerNorm
    if variant == "blstm":
        expected = norm(x + blstm(x))
    elif variant == "trans-blstm-1":
        attended = block.attention(x, None)
        expected = norm(attended + blstm(attended))
    else:
        attended = block.attention(x, None)
        expected = norm(attended + block.output.dense(block.intermediate(attended)) + blstm(x))
    assert torch.allclose(block(x, None, None), expected, atol=1e-12)


@VARIANT
@SMALL
def test_gradients(variant, small, tiny_shape):
    """Against finite differences in float64, with padding, through the form that training uses."""
    torch.manual_seed(0)
    block = LAYERS[variant](tiny_shape, small=small).double().eval()
    mask = torch.tensor([[1, 1, 1], [1, 1, 0]])
    bias = torch.zeros(2, 1, 1, 3, dtype=torch.float64).masked_fill(mask[:, None, None] == 0, -1e9)
    x = torch.randn(2, 3, 16, dtype=torch.float64, requires_grad=True)
    # what stands on padding is unspecified, and no one reads it
    assert torch.autograd.gradcheck(lambda x: block(x, bias, mask) * mask[:, :, None], (x,), atol=1e-6)


def test_a_published_bert_begins_the_transformer_part(tiny_shape):
    torch.manual_seed(1)
    bert = Bert(tiny_shape)
    model = BertClassifier(tiny_shape, 3, make=layer("trans-blstm-2"))
    before = {name: p.detach().clone() for name, p in model.bert.named_parameters()}
    share_bert(model, "bert", Backbone(tiny_shape, None, {}, "", bert))
    theirs = bert.state_dict()
    for name, value in model.bert.state_dict().items():
        assert torch.equal(value, theirs[name] if ".blstm." not in name else before[name]), name
    assert any(".blstm." in name for name in before)


def test_the_lstm_is_the_exact_padded_form(tiny_shape):
    model = build(tiny_shape, "trans-blstm-1", False)
    ids, mask = batch_of(LENGTHS, 60)
    padded = model(ids, mask)[0]
    for part in model.modules():
        if isinstance(part, LSTM):
            part.forward = functools.partial(LSTM.packed, part)
    packed = model(ids, mask)[0]
    assert torch.allclose(packed[mask != 0], padded[mask != 0], atol=1e-10)
