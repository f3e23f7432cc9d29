import dataclasses
import math

import pytest
import torch

from tests.conftest import batch_of
from textcls import Bert, BertClassifier, BertConfig
from textcls.models import bert as bert_module
from textcls.models.attention import AttentionWithDropout, attention, attention_bias, attention_in_blocks
from textcls.models.dropout import keep_mask
from textcls.models.heads import BERT_POOLINGS


def count(model, trainable=None):
    return sum(p.numel() for p in model.parameters() if trainable is None or p.requires_grad == trainable)


def test_parameter_counts_without_weights():
    with torch.device("meta"):
        assert count(Bert(BertConfig())) == 109_482_240
        assert count(BertClassifier(BertConfig(), 20), trainable=True) == 109_497_620
        large = BertConfig(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096)
        assert count(Bert(large)) == 335_141_888


def reference(model: Bert, ids: list[int], segments: list[int]):
    """The forward pass of one unpadded text in float64, written with loops over heads, from the paper's equations."""
    p = {name: tensor.double() for name, tensor in model.state_dict().items()}
    config = model.config
    D = config.hidden_size // config.num_attention_heads

    def norm(x, name):
        centred = x - x.mean(-1, keepdim=True)
        scale = torch.sqrt((centred**2).mean(-1, keepdim=True) + config.layer_norm_eps)
        return centred / scale * p[f"{name}.weight"] + p[f"{name}.bias"]

    def linear(x, name):
        return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]

    x = torch.stack(
        [
            p["embeddings.word_embeddings.weight"][w]
            + p["embeddings.position_embeddings.weight"][t]
            + p["embeddings.token_type_embeddings.weight"][s]
            for t, (w, s) in enumerate(zip(ids, segments, strict=True))
        ]
    )
    x = norm(x, "embeddings.LayerNorm")
    for i in range(config.num_hidden_layers):
        layer = f"encoder.layer.{i}"
        q, k, v = (linear(x, f"{layer}.attention.self.{part}") for part in ("query", "key", "value"))
        heads = []
        for n in range(config.num_attention_heads):
            at = slice(n * D, (n + 1) * D)
            heads.append(torch.softmax(q[:, at] @ k[:, at].T / math.sqrt(D), -1) @ v[:, at])
        x = norm(
            x + linear(torch.cat(heads, -1), f"{layer}.attention.output.dense"), f"{layer}.attention.output.LayerNorm"
        )
        inner = linear(x, f"{layer}.intermediate.dense")
        inner = inner * 0.5 * (1 + torch.erf(inner / math.sqrt(2)))
        x = norm(x + linear(inner, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
    return x, torch.tanh(linear(x[0], "pooler.dense"))


def spread_out(model):
    """Random weights large enough for differences to show."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    return model.eval()


def test_forward_is_the_papers(tiny_shape):
    model = spread_out(Bert(tiny_shape))
    ids, segments = [5, 9, 3, 44, 17], [0, 0, 0, 1, 1]
    hidden, pooled = model(torch.tensor([ids]), None, torch.tensor([segments]))
    expected_hidden, expected_pooled = reference(model, ids, segments)
    assert (hidden[0] - expected_hidden).abs().max() < 1e-5
    assert (pooled[0] - expected_pooled).abs().max() < 1e-5


def test_equals_hugging_face(tiny_shape):
    transformers = pytest.importorskip("transformers")
    theirs = transformers.BertModel(transformers.BertConfig(**dataclasses.asdict(tiny_shape))).eval()
    ours = Bert(tiny_shape).eval()
    ours.load_state_dict(spread_out(theirs).state_dict())
    ids, mask = batch_of([7, 3, 12], tiny_shape.vocab_size)
    segments = (torch.arange(12) > 4).long().expand_as(ids)
    hidden, pooled = ours(ids, mask, segments)
    expected = theirs(input_ids=ids, attention_mask=mask, token_type_ids=segments)
    assert (hidden - expected.last_hidden_state)[mask.bool()].abs().max() < 1e-5
    assert (pooled - expected.pooler_output).abs().max() < 1e-5


@pytest.mark.parametrize("pooling", BERT_POOLINGS)
def test_padding_and_order_never_change_a_logit(pooling, tiny_shape):
    model = spread_out(BertClassifier(tiny_shape, 3, pooling=pooling))
    lengths = [9, 2, 30, 17]
    ids, mask = batch_of(lengths, tiny_shape.vocab_size)
    together = model(ids, mask)
    for i, length in enumerate(lengths):
        alone = model(ids[i : i + 1, :length])
        assert (together[i] - alone[0]).abs().max() < 1e-5
    order = torch.tensor([2, 0, 3, 1])
    assert (model(ids[order], mask[order]) - together[order]).abs().max() < 1e-5
    noise = torch.where(mask == 0, 7, ids)
    assert torch.equal(model(noise, mask), together)


@pytest.mark.parametrize("pooling", ["mean", "mean+max"])
def test_pooling_over_tokens(pooling, tiny_shape):
    """Logits are those of the mean, or the mean beside the maxima, of each row's hidden states alone; no pooler is
    trained that nothing reads."""
    model = spread_out(BertClassifier(tiny_shape, 3, pooling=pooling))
    assert model.bert.pooler is None
    ids, mask = batch_of([9, 2, 30], tiny_shape.vocab_size)
    logits = model(ids, mask)
    for row, length in enumerate([9, 2, 30]):
        hidden = model.bert(ids[row : row + 1, :length])[0][0]
        parts = {"mean": hidden.sum(0) / length, "max": hidden.max(0).values}
        pooled = torch.cat([parts[name] for name in pooling.split("+")])
        expected = model.classifier.weight @ pooled + model.classifier.bias
        assert torch.allclose(logits[row], expected, atol=1e-5)


def written_out(query, key, value, bias, keep=1.0) -> torch.Tensor:
    """(softmax(Q K^T / sqrt(D) + bias) * keep) V, the reference: (B, N, T, D) each -> (B, N, T, D)."""
    scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])  # (B, N, T, T)
    if bias is not None:
        scores = scores + bias
    return (scores.softmax(-1) * keep) @ value


def test_all_attentions_agree_in_value_and_gradient():
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 3, 5, 4, dtype=torch.float64, requires_grad=True) for _ in range(3))
    bias = attention_bias(torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]]), torch.float64)
    outputs = [
        written_out(query, key, value, bias),
        attention(query, key, value, bias, 0.0),
        AttentionWithDropout.apply(query, key, value, bias, 0.0),
    ]
    gradients = [torch.autograd.grad(out.sin().sum(), (query, key, value)) for out in outputs]
    for out, gradient in zip(outputs[1:], gradients[1:], strict=True):
        assert (out - outputs[0]).abs().max() < 1e-12
        for ours, theirs in zip(gradient, gradients[0], strict=True):
            assert (ours - theirs).abs().max() < 1e-12


def test_training_mode_uses_dropout_in_attention(tiny_shape, monkeypatch):
    """With every other dropout off, attention dropout alone makes two passes differ; in eval mode none do."""
    shape = dataclasses.replace(tiny_shape, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.5)
    model = spread_out(Bert(shape))
    ids, mask = batch_of([8, 8], shape.vocab_size)
    assert torch.equal(model(ids, mask)[0], model(ids, mask)[0])
    model.train()
    assert not torch.equal(model(ids, mask)[0], model(ids, mask)[0])


def test_too_long_an_input_says_both_numbers(tiny_shape):
    with pytest.raises(ValueError, match="33 tokens .* 32 positions"):
        Bert(tiny_shape)(torch.zeros(1, 33, dtype=torch.long))


@pytest.mark.parametrize(
    "field, value, message",
    [
        ("hidden_size", 10, "not a multiple"),
        ("hidden_act", "swish", "gelu_new, relu"),
        ("vocab_size", 0, "from 1 to"),
        ("vocab_size", 10**18, "from 1 to"),
        ("num_hidden_layers", 200_000, "from 0 to 1000"),
        ("hidden_dropout_prob", 1.5, "from 0 to 1"),
        ("initializer_range", 10**400, "must be float"),
        ("hidden_size", 12 * 10**7, "weights, expected at most"),
        ("num_hidden_layers", "six", "must be int"),
        ("layer_norm_eps", None, "must be float"),
    ],
)
def test_impossible_shapes_are_refused(field, value, message):
    with pytest.raises(ValueError, match=message):
        BertConfig(**{field: value})


def test_mask_in_autocast_stays_finite(tiny_shape):
    model = spread_out(Bert(tiny_shape))
    ids, mask = batch_of([3, 9], tiny_shape.vocab_size)
    with torch.autocast("cpu", torch.bfloat16):
        hidden, _ = model(ids, mask)
    exact, _ = model(ids, mask)
    assert torch.isfinite(hidden).all()
    assert (hidden - exact)[mask.bool()].abs().mean() < 0.05


def test_initial_weights_follow_the_config():
    model = Bert(
        BertConfig(
            vocab_size=2000,
            hidden_size=64,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=256,
            initializer_range=0.05,
        )
    )
    assert model.embeddings.word_embeddings.weight.std().item() == pytest.approx(0.05, rel=0.02)
    assert model.encoder.layer[0].intermediate.dense.weight.std().item() == pytest.approx(0.05, rel=0.05)
    assert not model.pooler.dense.bias.any()
    assert bert_module.ACTIVATIONS.keys() == {"gelu", "gelu_new", "relu"}


@pytest.mark.parametrize("block", [1, 200, 1 << 20])
def test_attention_in_blocks_of_heads_equals_the_written_out_form(monkeypatch, block):
    """In float64, where nothing is rounded: one head a block, several with a smaller one last, all."""
    monkeypatch.setattr("textcls.models.attention.LOW_BLOCK", block)
    torch.manual_seed(3)
    B, N, T, D = 3, 5, 9, 6
    query, key, value = (torch.randn(B, T, N, D).double().transpose(1, 2) for _ in range(3))
    bias = attention_bias(torch.arange(T)[None] < torch.tensor([[9], [1], [4]]), torch.float64)
    for padding in (None, bias):
        expected = written_out(query, key, value, padding, 1.0)
        torch.testing.assert_close(attention_in_blocks(query, key, value, padding), expected, rtol=0, atol=1e-12)


def test_attention_in_bf16_without_a_gradient():
    """A row does not depend on its neighbours; rounding is what bf16 allows: scores of a few units have an error of
    2^-9 of themselves, and so have the probabilities."""
    torch.manual_seed(4)
    query, key, value = (torch.randn(4, 40, 3, 16).bfloat16().transpose(1, 2) for _ in range(3))
    bias = attention_bias(torch.arange(40)[None] < torch.tensor([[40], [7], [1], [33]]), torch.bfloat16)
    with torch.no_grad():
        found = attention(query, key, value, bias, 0.0)
        alone = torch.cat([attention(*(x[i : i + 1] for x in (query, key, value, bias)), 0.0) for i in range(4)])
    exact = written_out(query.double(), key.double(), value.double(), bias.double(), 1.0)
    assert torch.equal(found, alone)
    assert (found - exact).square().mean().sqrt() < 3e-3 and (found - exact).abs().max() < 0.05


@pytest.mark.parametrize("length, block", [(9, 1), (9, 100), (30, 1 << 18)])
def test_attention_on_the_cpu_equals_the_written_out_form(monkeypatch, length, block):
    """Values and gradients, with the same dropped places, whatever the blocks."""
    monkeypatch.setattr("textcls.models.attention.BLOCK", block)
    torch.manual_seed(3)
    B, N, D = 5, 4, 6
    query, key, value = (torch.randn(B, length, N, D).double().transpose(1, 2).requires_grad_() for _ in range(3))
    _, mask = batch_of([length, 2, 5, length, 1], 60)
    bias = torch.zeros(B, 1, 1, length, dtype=torch.double)
    bias = bias.masked_fill_(mask[:, None, None, :] == 0, torch.finfo(torch.double).min)
    for padding in (None, bias):
        torch.manual_seed(7)
        found = attention(query, key, value, padding, 0.25)
        torch.manual_seed(7)
        keeps = [keep_mask(torch.Size([len(rows), N, length, length]), 0.25) for rows in split(B, N * length**2, block)]
        keep, scale = torch.cat([keep for keep, _ in keeps]), keeps[0][1]
        expected = written_out(query, key, value, padding, keep.double() * scale)
        assert 0.6 < keep.double().mean() < 0.9
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
        weights = torch.randn_like(found)
        gradients = [torch.autograd.grad(out, (query, key, value), weights) for out in (found, expected)]
        for ours, theirs in zip(*gradients, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


def split(documents: int, size: int, block: int) -> list[range]:
    count = max(1, block // size)
    return [range(start, min(start + count, documents)) for start in range(0, documents, count)]


@pytest.mark.parametrize("autocast", [False, True], ids=["fp32", "bf16"])
def test_checkpointing_changes_no_gradient(tiny_shape, autocast):
    """The layers are computed again with the same dropout."""
    torch.manual_seed(0)
    model = Bert(tiny_shape).train()
    ids, mask = batch_of([9, 4, 6], 60)

    def gradients(checkpoint: bool):
        model.encoder.checkpoint_activations = checkpoint
        torch.manual_seed(5)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            hidden, pooled = model(ids, mask)
        model.zero_grad()
        (hidden.float().square().sum() + pooled.float().sum()).backward()
        return {name: p.grad.clone() for name, p in model.named_parameters()}

    plain, again = gradients(False), gradients(True)
    assert all(torch.equal(plain[name], again[name]) for name in plain)


def test_under_autocast_the_input_of_query_key_and_value_is_cast_once(tiny_shape):
    model = Bert(tiny_shape)
    seen = []
    for name in ("query", "key", "value"):
        part = getattr(model.encoder.layer[0].attention.self, name)
        part.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with torch.autocast("cpu", torch.bfloat16):
        model(*batch_of([5, 3], 60))
    assert len({x.data_ptr() for x in seen}) == 1 and seen[0].dtype == torch.bfloat16
