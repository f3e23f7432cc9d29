import pytest
import torch

from tests.conftest import batch_of
from textcls import BertConfig, BiLSTMClassifier
from textcls.models import lstm as lstm_module
from textcls.models.lstm import LSTM, reverse_index

LENGTHS = [9, 3, 1, 7, 3]


def lstm(dropout=0.0, layers=2):
    torch.manual_seed(0)
    return LSTM(6, 5, layers, dropout).double().eval()


def step_by_step(model: LSTM, x: torch.Tensor) -> torch.Tensor:
    """One sequence (T, H) through the LSTM equations (Hochreiter and Schmidhuber, 1997), gate by gate -> (T, 2S)."""
    S = model.hidden_size
    for layer in range(model.num_layers):
        both = []
        for suffix, steps in ((f"l{layer}", range(len(x))), (f"l{layer}_reverse", reversed(range(len(x))))):
            wx, wh, bx, bh = (getattr(model, f"{n}_{suffix}") for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
            h, c = torch.zeros(S, dtype=x.dtype), torch.zeros(S, dtype=x.dtype)
            out = [None] * len(x)
            for t in steps:
                i, f, g, o = (wx @ x[t] + bx + wh @ h + bh).split(S)
                c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
                h = torch.sigmoid(o) * torch.tanh(c)
                out[t] = h
            both.append(torch.stack(out))
        x = torch.cat(both, -1)
    return x


def test_both_forms_equal_each_sequence_alone():
    model, x = lstm(), torch.randn(5, 9, 6, dtype=torch.float64)
    lengths = torch.tensor(LENGTHS)
    for form in (model.padded, model.packed):
        out = form(x, lengths)
        for i, length in enumerate(LENGTHS):
            assert (out[i, :length] - step_by_step(model, x[i, :length])).abs().max() < 1e-12


def test_both_forms_have_the_same_gradients():
    model, lengths = lstm(), torch.tensor(LENGTHS)
    x = torch.randn(5, 9, 6, dtype=torch.float64, requires_grad=True)
    mask = (torch.arange(9) < lengths[:, None])[:, :, None]
    gradients = []
    for form in (model.padded, model.packed):
        loss = (form(x, lengths) * mask).sin().sum()
        gradients.append(torch.autograd.grad(loss, [x, *model.parameters()]))
    for ours, theirs in zip(*gradients, strict=True):
        assert (ours - theirs).abs().max() < 1e-12
    assert gradients[0][0][~mask.expand_as(x)].abs().max() == 0  # padding gets no gradient


def test_single_precision_stays_close():
    model, x = lstm().float(), torch.randn(5, 9, 6)
    lengths = torch.tensor(LENGTHS)
    real = torch.arange(9) < lengths[:, None]
    assert (model.padded(x, lengths) - model.packed(x, lengths))[real].abs().max() < 1e-6


def test_dropout_between_layers_only_while_training():
    model, x = lstm(dropout=0.5), torch.randn(5, 9, 6, dtype=torch.float64)
    lengths = torch.tensor(LENGTHS)
    assert torch.equal(model.padded(x, lengths), model.padded(x, lengths))
    model.train()
    assert not torch.equal(model.padded(x, lengths), model.padded(x, lengths))
    single = lstm(dropout=0.5, layers=1).train()
    assert torch.equal(single.padded(x, lengths), single.padded(x, lengths))


def test_reverse_index_is_its_own_inverse():
    index = reverse_index(torch.tensor([4, 1, 0]), 4)
    assert index.tolist() == [[3, 2, 1, 0], [0, 1, 2, 3], [0, 1, 2, 3]]


def test_parameter_counts_without_weights():
    with torch.device("meta"):
        model = BiLSTMClassifier(BertConfig(), 20)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 7_395_477
    assert sum(p.numel() for p in model.parameters() if not p.requires_grad) == 23_837_184


def test_padding_and_order_never_change_a_logit(tiny_shape):
    torch.manual_seed(0)
    model = BiLSTMClassifier(tiny_shape, 3, hidden=8).eval()
    lengths = [9, 1, 30, 17]
    ids, mask = batch_of(lengths, tiny_shape.vocab_size)
    together = model(ids, mask)
    for i, length in enumerate(lengths):
        assert (together[i] - model(ids[i : i + 1, :length])[0]).abs().max() < 1e-5
    order = torch.tensor([2, 0, 3, 1])
    assert (model(ids[order], mask[order]) - together[order]).abs().max() < 1e-5


def test_frozen_embeddings_stay_in_eval_mode_and_without_gradient(tiny_shape):
    model = BiLSTMClassifier(tiny_shape, 3, hidden=8)
    ids, mask = batch_of([5, 8], tiny_shape.vocab_size)
    for mode in (True, False):
        model.train(mode)
        assert not model.embeddings.training and not model.embeddings.dropout.training
        assert model.lstm.training == mode
    model.train()
    assert torch.equal(model.embeddings(ids), model.embeddings(ids))
    model(ids, mask).sum().backward()
    assert all(p.grad is None for p in model.embeddings.parameters())
    assert all(p.grad is not None for p in model.lstm.parameters())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("form", ["packed", "padded"])
def test_cuda_equals_cpu(tiny_shape, form, monkeypatch):
    monkeypatch.setitem(lstm_module.FORMS, "cuda", form)
    model = BiLSTMClassifier(tiny_shape, 3, hidden=8).eval()
    ids, mask = batch_of([9, 1, 30], tiny_shape.vocab_size)
    on_cpu = model(ids, mask)
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        on_cuda = model.cuda()(ids.cuda(), mask.cuda()).cpu()
    assert (on_cpu - on_cuda).abs().max() < 1e-5


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("form", ["packed", "padded"])
@pytest.mark.parametrize("asked, given", [(torch.float16, torch.float16), (torch.bfloat16, torch.float32)])
def test_16_bits_on_cuda_are_those_asked_for(form, asked, given):
    """cuDNN's LSTM under autocast is in fp16 whatever the type: in bf16 ours is in float32."""
    model, x, lengths = lstm().float().cuda(), torch.randn(5, 9, 6, device="cuda"), torch.tensor(LENGTHS).cuda()
    with torch.autocast("cuda", asked):
        out = getattr(model, form)(x, lengths)
    real = torch.arange(9, device="cuda") < lengths[:, None]
    assert out.dtype == given
    assert (out - getattr(model, form)(x, lengths))[real].abs().max() < 5e-3


@pytest.mark.parametrize("form", ["packed", "padded"])
def test_the_form_is_the_tables(form, monkeypatch):
    monkeypatch.setitem(lstm_module.FORMS, "cpu", form)
    model, x, lengths = lstm(), torch.randn(5, 9, 6, dtype=torch.float64), torch.tensor(LENGTHS)
    assert torch.equal(model(x, lengths), getattr(model, form)(x, lengths))


def test_autocast_around_an_lstm_by_device(monkeypatch):
    """On CUDA only in fp16; on a CPU only where oneDNN can do it. What is asked is a state of torch, not the device."""
    cuda, cpu = torch.device("cuda"), torch.device("cpu")
    seen = []
    monkeypatch.setattr(torch, "autocast", lambda kind, enabled: seen.append((kind, enabled)))
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda kind: True)
    monkeypatch.setattr(lstm_module, "has_bf16_lstm", lambda: False)
    for dtype in (torch.float16, torch.bfloat16):
        monkeypatch.setattr(torch, "get_autocast_dtype", lambda kind, dtype=dtype: dtype)
        lstm_module.lstm_precision(cuda)
        lstm_module.lstm_precision(cpu)
    assert seen == [("cuda", True), ("cpu", False), ("cuda", False), ("cpu", False)]


def test_autocast_on_any_processor(tiny_shape):
    """Where oneDNN has no bf16 LSTM the recurrence stays in float32, instead of failing."""
    torch.manual_seed(0)
    model = BiLSTMClassifier(tiny_shape, 3, hidden=8).eval()
    ids, mask = batch_of([5, 8], tiny_shape.vocab_size)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = model(ids, mask)
    assert (mixed.float() - model(ids, mask)).abs().max() < 0.05
    model.train()
    with torch.autocast("cpu", torch.bfloat16):
        model(ids, mask).float().sum().backward()
    assert torch.isfinite(model.lstm.weight_hh_l1.grad).all()
