"""--freeze and --layer-decay: what is trained of a BERT, and at which rate."""

import json

import numpy as np
import pytest
import torch

import textcls
from textcls import recipes
from textcls.config import TrainConfig
from textcls.models.bert import BertClassifier
from textcls.models.trans_blstm import layer
from textcls.recipes.bert import layer_rates
from textcls.training.optim import build_optimizer, parameter_groups

TEXTS = "text,label\n" + "".join(f"{a} {b},{a}\n" for a in ("red", "blue") for b in ("sky", "sea", "sun", "day") * 4)
RUN = "--model bert --train texts.csv --dev 0.25 --test texts.csv --epochs 2 --batch-size 8 --max-length 16"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the scripts run."""
    folder = tmp_path_factory.mktemp("freeze")
    (folder / "texts.csv").write_text(TEXTS)
    return folder


def inputs(config):
    torch.manual_seed(3)
    ids, mask = torch.randint(5, config.vocab_size, (4, 20)), torch.ones(4, 20, dtype=torch.int64)
    mask[1, 12:] = mask[2, 1:] = 0
    return ids, mask


# ---- frozen layers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("make", [None, "trans-blstm-2"])
@pytest.mark.parametrize("frozen", [1, 2])
def test_what_is_below_is_kept_from_training(tiny_shape, frozen, make, pooling):
    """Against the whole model, whose lower layers are made constants by hand."""
    kinds = {} if make is None else {"make": layer(make, False)}
    torch.manual_seed(0)
    whole = BertClassifier(tiny_shape, 3, 0.0, pooling=pooling, **kinds).train()
    partly = BertClassifier(tiny_shape, 3, 0.0, pooling=pooling, frozen=frozen, **kinds).train()
    partly.load_state_dict(whole.state_dict())
    for model in (whole, partly):
        for part in model.modules():
            if hasattr(part, "dropout_prob"):
                part.dropout_prob = 0.0
            if type(part).__name__ == "Dropout":
                part.p = 0.0
    ids, mask = inputs(tiny_shape)
    for model in (whole, partly):
        model(ids, mask).square().sum().backward()
    below = ("bert.embeddings.", *(f"bert.encoder.layer.{i}." for i in range(frozen)))
    others = dict(partly.named_parameters())
    for name, parameter in whole.named_parameters():
        assert others[name].requires_grad is not name.startswith(below)
        if name.startswith(below):
            assert others[name].grad is None
        else:
            assert torch.allclose(parameter.grad, others[name].grad, atol=1e-6), name
    assert torch.allclose(whole(ids, mask), partly(ids, mask), atol=1e-6)


def test_frozen_layers_have_no_dropout_and_vectors_stand_in_for_them(tiny_shape):
    torch.manual_seed(0)
    model = BertClassifier(tiny_shape, 3, 0.5, frozen=1).train()
    ids, mask = inputs(tiny_shape)
    below = [model.bert.encode(ids, mask) for _ in range(2)]
    assert torch.equal(*below) and not below[0].requires_grad
    assert model.bert.encoder.layer[1].training and not model.bert.encoder.layer[0].training
    assert not torch.equal(model(ids, mask), model(ids, mask))  # dropout above is there
    model.eval()
    assert torch.equal(model(ids, mask), model(ids, mask, features=below[0]))
    hidden, _ = model.bert(ids, mask)
    first = model.bert.encoder.layer[0](model.bert.embeddings(ids), (mask[:, None, None] - 1.0) * 1e9, mask)
    assert torch.allclose(first[mask.bool()], below[0][mask.bool()], atol=1e-6)
    assert hidden.requires_grad


def test_a_run_with_frozen_layers(call, folder):
    """The lower layers stay those of the backbone, are no part of the checkpoint, and come back from the backbone."""
    said = call("train", *RUN.split(), "--freeze", 1, "--out", "frozen")
    assert "vectors of" in said and "to " in said
    saved = torch.load(folder / "frozen" / "best.pt", weights_only=True)["model"]
    assert not any(name.startswith(("bert.embeddings", "bert.encoder.layer.0.")) for name in saved)
    assert any(name.startswith("bert.encoder.layer.1.") for name in saved)
    predictor, nano = textcls.load("frozen"), textcls.load_bert("nano")
    for name, tensor in nano.state_dict().items():
        ours = predictor.model.bert.state_dict().get(name)
        if name.startswith(("embeddings", "encoder.layer.0.")):
            assert torch.equal(ours, tensor), name
        elif name.startswith("encoder.layer.1.") and "bias" not in name:
            assert not torch.equal(ours, tensor), name
    result = json.loads(call("evaluate", "frozen", "--json"))
    stored = json.loads((folder / "frozen" / "results.json").read_text())
    assert result["metrics"]["nll"]["value"] == pytest.approx(stored["metrics"]["nll"]["value"], abs=1e-3)
    # without the vectors of the cache, which are 16-bit numbers
    texts = [line.split(",")[0] for line in TEXTS.splitlines()[1:]]
    _, probabilities = predictor.predict(texts)
    labels = [predictor.labels.index(line.split(",")[1]) for line in TEXTS.splitlines()[1:]]
    assert -np.log(probabilities[np.arange(len(labels)), labels]).mean() == pytest.approx(
        result["metrics"]["nll"]["value"], abs=5e-3
    )


def test_settings_that_do_not_go_together(call):
    assert "--freeze 3: the backbone has 2 layers" in call("train", *RUN.split(), "--freeze", 3, status=2)
    both = call("train", *RUN.split(), "--freeze", 1, "--fresh-layers", 2, status=2)
    assert "--freeze 1 and --fresh-layers 2: together more than all layers" in both
    words = call("train", *RUN.split(), "--freeze", 1, "--word-dropout", 0.2, status=2)
    assert "a frozen one reads every text once: add --word-dropout 0, or leave out --freeze" in words
    assert "--freeze -1: must be 0 or more" in call("train", *RUN.split(), "--freeze", -1, status=2)
    for value in (0, 1, 1.5, -1):
        assert "--layer-decay" in call("train", *RUN.split(), "--layer-decay", value, status=2)
    other = call("train", "--model", "bilstm", *RUN.split()[2:], "--freeze", 1, status=2)
    assert "--freeze does not apply to --model bilstm" in other


def test_the_small_backbones_recipe_gives_way():
    """What it leaves out of the texts does not go with frozen layers."""
    plain, frozen = (recipes.complete(TrainConfig(model="bert", freeze=count)) for count in (0, 1))
    assert (plain.word_dropout, frozen.word_dropout) == (0.25, 0.0)


def test_plan_counts_frozen_layers(call):
    def row(count, name):
        lines = call("train", "--model", "bert", "--freeze", count, "--max-length", 64, "--plan").splitlines()
        return next((line.split()[-1] for line in lines if line.startswith(name)), None)

    assert row(0, "parameters, frozen") != row(2, "parameters, frozen")
    assert float(row(2, "peak").replace(",", "")) < float(row(0, "peak").replace(",", ""))


# ---- rates by layer -------------------------------------------------------------------------------------------------


def test_every_parameter_has_the_rate_of_its_layer(tiny_shape):
    model = recipes.build(recipes.complete(TrainConfig(model="bert", bert="x", layer_decay=0.5)), tiny_shape, 3)
    optimizer = build_optimizer(model, lr=1.0, weight_decay=0.1)
    rates = {id(p): group["scale"] for group in optimizer.param_groups for p in group["params"]}
    expected = {"bert.embeddings": 0.25, "bert.encoder.layer.0": 0.5, "bert.encoder.layer.1": 1.0}
    for name, parameter in model.named_parameters():
        layers = [rate for part, rate in expected.items() if name.startswith(part + ".")]
        assert rates.pop(id(parameter)) == (layers[0] if layers else 1.0), name
    assert not rates


def test_ten_layers_are_not_the_first():
    rates = layer_rates("bert", 12, 0.9)
    assert rates["bert.encoder.layer.11"] == 1 and rates["bert.encoder.layer.1"] == pytest.approx(0.9**10)
    model = torch.nn.ModuleDict({"bert": torch.nn.Module()})
    model.bert.encoder = torch.nn.Module()
    model.bert.encoder.layer = torch.nn.ModuleList(torch.nn.Linear(1, 1) for _ in range(12))
    model.rates = rates
    scales = {id(p): group["scale"] for group in parameter_groups(model, 0.1) for p in group["params"]}
    for i, part in enumerate(model.bert.encoder.layer):
        assert scales[id(part.weight)] == pytest.approx(0.9 ** (11 - i))


def test_a_resumed_run_keeps_its_rates(call, folder, monkeypatch):
    from tests.conftest import stop_after

    settings = [*RUN.split(), "--layer-decay", 0.8, "--freeze", 1, "--save-every", 1]
    call("train", *settings, "--out", "whole")
    with monkeypatch.context() as patched:
        stop_after(patched, 2)
        call("train", *settings, "--out", "stopped", status=130)
    call("train", "--resume", "stopped")
    whole, resumed = (torch.load(folder / name / "best.pt", weights_only=True)["model"] for name in ("whole", "stopped"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
