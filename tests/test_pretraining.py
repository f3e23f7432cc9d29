"""The pre-training model and what it leaves: against written-out formulas, and against Hugging Face."""

import dataclasses
import json
import math
from collections import Counter

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.conftest import batch_of
from textcls import Bert, load_bert, recipes
from textcls.config import TrainConfig
from textcls.data import shards
from textcls.models.bert import BertConfig
from textcls.models.pretraining import BertForPreTraining
from textcls.models.trans_blstm import layer
from textcls.pretrained import bert as pretrained
from textcls.pretrained.backbone import Backbone
from textcls.pretrained.ppmi import word_vectors
from textcls.pretrained.vectors import read as read_vectors
from textcls.runtime.errors import InputError
from textcls.runtime.parallel import agree
from textcls.tasks.pretraining import loss
from textcls.text.batches import Batch
from textcls.text.vocabulary import Vocabulary
from textcls.training.optim import parameter_groups
from textcls.training.run import Run

WORDS = "star planet orbit comet moon galaxy rocket flour butter oven recipe sugar pepper onion stew".split()
LOSS = loss(TrainConfig(label_smoothing=0.0), None)


def model_of(shape: BertConfig, seed: int = 0, **options) -> BertForPreTraining:
    torch.manual_seed(seed)
    return BertForPreTraining(dataclasses.replace(shape, initializer_range=0.2), **options).eval()


def inputs(shape: BertConfig, lengths=(9, 14, 5), dtype=torch.int64):
    """(ids, mask, segments, places of three masked tokens a row)."""
    ids, mask = batch_of(lengths, shape.vocab_size)
    segments = (torch.arange(ids.shape[1]) >= 4).long().expand_as(ids) * mask
    places = torch.tensor([row * ids.shape[1] + place for row in range(len(lengths)) for place in (1, 2, 4)])
    return ids, mask, segments, places


def test_logits_are_those_of_the_formula(tiny_shape):
    """LayerNorm(gelu(W h + b)) E^T + b' of each masked token; W tanh(...) + b of [CLS]."""
    model, (ids, mask, segments, places) = model_of(tiny_shape), inputs(tiny_shape)
    torch.nn.init.normal_(model.cls.predictions.bias)
    tokens, pairs = model(ids, mask, segments, places)
    hidden, pooled = model.bert(ids, mask, segments)
    head = model.cls.predictions
    for number, place in enumerate(places.tolist()):
        h = hidden[place // ids.shape[1], place % ids.shape[1]]
        inner = F.gelu(head.transform.dense(h))
        normed = (inner - inner.mean()) / (inner.var(unbiased=False) + tiny_shape.layer_norm_eps).sqrt()
        expected = model.bert.embeddings.word_embeddings.weight @ normed + head.bias
        torch.testing.assert_close(tokens[number], expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(pairs, pooled @ model.cls.seq_relationship.weight.T + model.cls.seq_relationship.bias)


def test_word_embeddings_learn_from_both_ends(tiny_shape):
    """The gradient of the tied matrix is the sum of those of its two uses."""
    model, (ids, mask, segments, places) = model_of(tiny_shape).double(), inputs(tiny_shape)
    words = model.bert.embeddings.word_embeddings.weight
    model(ids, mask, segments, places)[0].square().sum().backward()
    hidden = model.bert(ids, mask, segments)[0].flatten(0, 1)[places]
    transformed = model.cls.predictions.transform(hidden)
    as_output = torch.autograd.grad((transformed.detach() @ words.T + model.cls.predictions.bias).square().sum(), words)
    as_input = torch.autograd.grad((transformed @ words.detach().T + model.cls.predictions.bias).square().sum(), words)
    torch.testing.assert_close(words.grad, as_output[0] + as_input[0])


@pytest.mark.parametrize("make", [None, layer("trans-blstm-1"), layer("trans-blstm-2", True), layer("blstm")])
def test_loss_begins_near_that_of_a_guess(make):
    """ln V for a masked token and ln 2 for a pair, with published initial weights."""
    shape = BertConfig(
        vocab_size=5000, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128
    )
    torch.manual_seed(1)
    model = BertForPreTraining(shape, **({} if make is None else {"make": make})).eval()
    ids, mask, segments, places = inputs(shape, (40,) * 64)
    given = {"ids": ids, "mask": None, "segments": segments, "places": places}
    targets = {"tokens": torch.randint(5, 5000, (len(places),)), "labels": torch.arange(64) % 2}
    with torch.no_grad():
        found, _ = LOSS(model, Batch(given, targets, np.arange(64), 0, {}), None)
    assert found["token"] / len(places) == pytest.approx(math.log(5000), abs=0.1)
    assert found["pair"] / 64 == pytest.approx(math.log(2), abs=0.05)


def test_each_loss_is_divided_by_its_own_count(tiny_shape, tmp_path):
    """Two micro-batches with unlike numbers of masked tokens give the gradient of one batch."""
    model, (ids, _, segments, places) = model_of(tiny_shape).double(), inputs(tiny_shape, (9, 9, 9))
    labels, targets = torch.tensor([0, 1, 1]), torch.arange(9) + 5

    def batch(rows: slice, chosen: torch.Tensor) -> Batch:
        own = places[chosen] - rows.start * 9
        counts = {"token": len(own), "pair": rows.stop - rows.start}
        given = {"ids": ids[rows], "mask": None, "segments": segments[rows], "places": own}
        return Batch(given, {"tokens": targets[chosen], "labels": labels[rows]}, np.arange(3)[rows], 0, counts)

    def gradient(batches: list[Batch]) -> torch.Tensor:
        model.zero_grad()
        counts, _ = agree(batches, False)
        for part in batches:
            found, _ = LOSS(model, part, None)
            sum(found[name] / counts[name] for name in found).backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    every = torch.arange(9)
    whole = gradient([batch(slice(0, 3), every)])
    parts = gradient([batch(slice(0, 1), every[:3]), batch(slice(1, 3), every[3:])])
    torch.testing.assert_close(whole, parts, rtol=1e-10, atol=1e-12)
    tokens, pairs = model(ids, None, segments, places)
    expected = F.cross_entropy(tokens, targets) + F.cross_entropy(pairs, labels)
    model.zero_grad()
    expected.backward()
    mean = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    torch.testing.assert_close(whole, mean, rtol=1e-3, atol=1e-6)  # the loss itself is taken in float32


@pytest.mark.parametrize("paired", [True, False])
def test_hugging_face_opens_what_is_published(tiny_shape, tmp_path, paired):
    transformers = pytest.importorskip("transformers")
    model, (ids, mask, segments, places) = model_of(tiny_shape, next_sentence=paired), inputs(tiny_shape)
    torch.nn.init.normal_(model.cls.predictions.bias)
    pretrained.publish(model, tiny_shape, {}, tmp_path)
    kind = transformers.BertForPreTraining if paired else transformers.BertForMaskedLM
    theirs, report = kind.from_pretrained(tmp_path, output_loading_info=True)
    missing = {name for name in report["missing_keys"] if not name.startswith("cls.predictions.decoder")}
    assert not missing and not report["mismatched_keys"]
    with torch.no_grad():
        found = theirs.eval()(ids, attention_mask=mask, token_type_ids=segments)
        tokens, pairs = model(ids, mask, segments, places)
    logits = found.prediction_logits if paired else found.logits
    torch.testing.assert_close(tokens, logits.flatten(0, 1)[places], rtol=0, atol=2e-5)
    if paired:
        torch.testing.assert_close(pairs, found.seq_relationship_logits, rtol=0, atol=2e-5)


def test_heads_saved_by_hugging_face_are_read(tiny_shape, tmp_path):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    theirs = transformers.BertForPreTraining(transformers.BertConfig(**vars(tiny_shape))).eval()
    torch.nn.init.normal_(theirs.cls.predictions.bias)
    theirs.save_pretrained(tmp_path)
    ours = BertForPreTraining(tiny_shape).eval()
    ours.bert.load_state_dict(load_bert(tmp_path).state_dict())
    ours.cls.load_state_dict(pretrained.read_heads(tmp_path))  # strict: every key of ours, and none besides
    ids, mask, segments, places = inputs(tiny_shape)
    with torch.no_grad():
        logits = theirs(ids, attention_mask=mask, token_type_ids=segments).prediction_logits.flatten(0, 1)[places]
        torch.testing.assert_close(ours(ids, mask, segments, places)[0], logits, rtol=0, atol=2e-5)


# ---- through the commands -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Text whose words come in topics, and the shape of a small BERT."""
    folder = tmp_path_factory.mktemp("pretraining")
    rng = np.random.default_rng(0)
    for name, count in (("train", 40), ("more", 30), ("test", 10)):
        documents = []
        for _ in range(count):
            topic = rng.permutation(3)[0] * 5
            lines = (" ".join(rng.choice(WORDS[topic : topic + 5], 8)) for _ in range(6))
            documents.append("\n".join(lines))
        (folder / f"{name}.txt").write_text("\n\n".join(documents) + "\n", "utf-8")
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24,
             "max_position_embeddings": 32}  # fmt: skip
    (folder / "shape").mkdir()
    (folder / "shape" / "config.json").write_text(json.dumps(shape), "utf-8")
    (folder / "data.csv").write_text(
        "text,label\n" + "".join(f"{' '.join(rng.choice(WORDS, 6))},{'ab'[i % 2]}\n" for i in range(40)), "utf-8"
    )
    return folder


COMMON = "--task pretrain --batch-size 8 --accumulate 1 --max-length 32 --lr 1e-2".split()
SCRATCH = [*COMMON, *"--bert shape --scratch --vocab-size 100 --train train.txt,more.txt --dev 0.2".split()]


def test_from_random_weights_to_a_classifier(folder, call):
    """A vocabulary is learned, the loss falls, and the result is a backbone and a start for more pre-training."""
    text = call("train", "--model", "bert", *SCRATCH, "--epochs", "4", "--test", "test.txt", "--out", "one")
    history = [json.loads(line) for line in open(folder / "one" / "metrics.jsonl")]
    # 8 words of 5 a topic: who knows the topic has ln 5 to guess
    assert history[-1]["dev"]["mlm_nll"] < history[0]["dev"]["mlm_nll"] < math.log(100)
    assert "masked NLL" in text and "--bert one" in text
    published = folder / "one" / "published"
    assert {path.name for path in published.iterdir()} >= {"config.json", "model.safetensors", "vocab.txt"}
    best = Run(folder / "one").load("best.pt")["model"]
    bert = load_bert("one")
    for name, tensor in bert.state_dict().items():
        assert torch.equal(tensor, best[f"bert.{name}"])
    found = json.loads(call("evaluate", "one", "--test", "test.txt", "--json"))["metrics"]
    assert found["mlm_nll"]["value"] < math.log(100)
    text = call("train", "--model", "bert", "--bert", "one", "--train", "data.csv", "--epochs", "1", "--out", "tuned",
                "--max-length", "16")  # fmt: skip
    assert "backbone: one: 1 layers" in text
    text = call("train", "--model", "bert", *COMMON, "--bert", "one", "--train", "train.txt", "--dev", "more.txt",
                "--lr", "1e-9", "--out", "two")  # fmt: skip
    assert "its heads begin at random" not in text
    again = json.loads(open(folder / "two" / "metrics.jsonl").readline())["dev"]
    assert again["mlm_nll"] < history[0]["dev"]["mlm_nll"]  # it goes on where the first one ended
    heads = pretrained.read_heads(folder / "two" / "published")
    assert torch.allclose(heads["predictions.bias"], best["cls.predictions.bias"], atol=1e-5)


@pytest.mark.parametrize("model", ["bert", "trans-blstm-1"])
def test_layers_that_begin_anew(folder, call, tiny_shape, model):
    """The upper ones as they were drawn; the others, the embeddings and the pooler are the backbone's."""
    torch.manual_seed(3)
    backbone = Backbone(tiny_shape, None, {"name": "x"}, "", Bert(tiny_shape))
    count, total = 1, tiny_shape.num_hidden_layers
    config = TrainConfig(model=model, bert="x", train="x", fresh_layers=count)
    model = recipes.build(recipes.complete(config), tiny_shape, 3)
    drawn = {name: tensor.clone() for name, tensor in model.bert.state_dict().items()}
    recipes.share(recipes.complete(config), model, backbone)
    published = backbone.bert.state_dict()
    for name, tensor in model.bert.state_dict().items():
        fresh = name.startswith(f"encoder.layer.{total - 1}.") or ".blstm." in name or name not in published
        assert torch.equal(tensor, drawn[name] if fresh else published[name]), name
    config = dataclasses.replace(config, fresh_layers=total + 1)
    with pytest.raises(InputError, match=f"--fresh-layers {total + 1}: the backbone has {total} layers"):
        recipes.share(recipes.complete(config), model, backbone)


def test_without_next_sentence(folder, call):
    call("train", "--model", "bert", *SCRATCH, "--no-next-sentence", "--out", "no-nsp")
    row = json.loads(open(folder / "no-nsp" / "metrics.jsonl").readline())
    assert "nsp_nll" not in row["dev"] and row["dev"]["nll"] == row["dev"]["mlm_nll"]
    config = json.loads((folder / "no-nsp" / "published" / "config.json").read_text("utf-8"))
    assert config["architectures"] == ["BertForMaskedLM"]
    assert isinstance(load_bert("no-nsp"), Bert)


@pytest.mark.parametrize("model", [("bert",), ("trans-blstm-1", "--small")])
def test_word_vectors_by_counts(folder, call, model):
    """Where nothing is learned, what is published is what it began with: the vectors of the training documents, in
    vectors.txt too, small positions, and the frequency of the pieces in the bias."""
    out = f"ppmi-{model[0]}"
    text = call("train", "--model", *model, *SCRATCH, "--init", "ppmi", "--lr", "1e-12", "--out", out)
    assert "word vectors from the neighbours of" in text
    corpus = shards.load("train.txt,more.txt", 0.2, None, Vocabulary.from_folder(folder / out))
    places, vectors = word_vectors(corpus.train.documents(), len(corpus.vocabulary), 16, seed=1)
    embeddings = load_bert(out).requires_grad_(False).embeddings
    words, positions = embeddings.word_embeddings.weight, embeddings.position_embeddings.weight
    torch.testing.assert_close(words[places], vectors, rtol=0, atol=1e-5)
    torch.testing.assert_close(words.norm(dim=1), torch.ones(len(words)), rtol=0, atol=1e-5)
    assert positions.norm(dim=1).mean() == pytest.approx(0.1, rel=1e-3)
    bias = pretrained.read_heads(folder / out / "published")["predictions.bias"]
    counts = Counter(np.concatenate(list(corpus.train.documents())).tolist())
    total = sum(counts.values()) + len(words)
    for number in range(len(words)):
        assert bias[number] == pytest.approx(math.log((1 + counts[number]) / total), abs=1e-4)
    found, rows = read_vectors(folder / out / "vectors.txt", corpus.vocabulary)
    torch.testing.assert_close(rows, words[found], rtol=0, atol=1e-4)
    assert sorted(found.tolist()) == places.tolist()


def test_given_word_vectors(folder, call):
    """A run of one's own vectors is that of --init ppmi which left them; it goes on without the file."""
    rate = ("--lr", "1e-6", "--epochs", "2")  # the file has five digits of a number
    call("train", "--model", "bert", *SCRATCH, "--init", "ppmi", *rate, "--out", "made")
    vectors = (folder / "made" / "vectors.txt").read_text("utf-8")
    (folder / "given.txt").write_text(vectors, "utf-8")
    text = call("train", "--model", "bert", *SCRATCH, "--vectors", "given.txt", *rate, "--out", "given")
    assert "pieces with a vector from given.txt" in text
    (folder / "given.txt").unlink()
    call("train", "--resume", "given")
    made, given = (Run(folder / name).load("best.pt")["model"] for name in ("made", "given"))
    for name in made:
        torch.testing.assert_close(made[name], given[name], rtol=0, atol=1e-4)
    (folder / "short.txt").write_text("star 1 2\n", "utf-8")
    error = call("train", "--model", "bert", *SCRATCH, "--vectors", "short.txt", "--out", "never", status=2)
    assert "short.txt: vectors of 2 numbers, and those of --bert shape have 16" in error


def test_the_embedding_module_has_a_rate_of_its_own(tiny_shape):
    given = {"scratch": True, "init": "ppmi"}, {"scratch": True, "vectors": "x"}
    for flags, expected in (({}, 1.0), (given[0], 0.1), (given[1], 0.1), ({"embedding_lr": 5e-4}, 0.05)):
        config = recipes.complete(TrainConfig(model="bert", task="pretrain", train="x", bert="x", lr=1e-2, **flags))
        model = recipes.build(config, tiny_shape, 0)
        scales = {id(p): g["scale"] for g in parameter_groups(model, 0.01, "bert") for p in g["params"]}
        for name, parameter in model.named_parameters():
            wanted = expected if name.startswith("bert.embeddings.") else 1.0
            assert scales[id(parameter)] == pytest.approx(wanted), (flags, name)


def test_counts_that_memory_does_not_hold_are_refused(folder, call, monkeypatch):
    monkeypatch.setattr("textcls.runtime.memory.free_memory", lambda: 1000)
    error = call("train", "--model", "bert", *SCRATCH, "--init", "ppmi", "--out", "never", status=2)
    assert "word pieces stand together (--init ppmi) takes" in error and "take fewer with --vocab-size" in error
    text = call("train", "--model", "bert", *SCRATCH, "--init", "ppmi", "--plan")
    assert "to count which word pieces stand together" in text


def test_a_trans_blstm_is_a_backbone_of_its_own_kind(folder, call):
    call("train", "--model", "trans-blstm-2", "--small", *SCRATCH, "--out", "trans")
    best = Run(folder / "trans").load("best.pt")["model"]
    state = load_bert("trans").state_dict()
    assert any(".blstm." in name for name in state)
    assert all(torch.equal(tensor, best[f"bert.{name}"]) for name, tensor in state.items())
    tune = ("--bert", "trans", "--train", "data.csv", "--epochs", "1", "--max-length", "16")
    call("train", "--model", "trans-blstm-2", "--small", *tune, "--lr", "1e-12", "--out", "trans-tuned")
    tuned = Run(folder / "trans-tuned").load("best.pt")["model"]
    assert all(torch.allclose(tensor, tuned[f"bert.{name}"]) for name, tensor in state.items())
    for flags in (("bert",), ("trans-blstm-2",), ("trans-blstm-1", "--small"), ("bert-bilstm",)):
        error = call("train", "--model", *flags, *tune, "--out", "never", status=2)
        assert "was pre-trained as another --model, or another --small" in error
    call("train", "--model", "bilstm", *tune, "--out", "trans-embeddings")  # reads the embeddings alone


def test_activations_can_be_computed_twice(folder, call):
    for name, flags in (("kept", ()), ("twice", ("--checkpoint-activations",))):
        call("train", "--model", "trans-blstm-1", *SCRATCH, *flags, "--out", name)
    kept, twice = (Run(folder / name).load("best.pt")["model"] for name in ("kept", "twice"))
    assert all(torch.equal(kept[name], twice[name]) for name in kept)


@pytest.mark.parametrize("flags, message", [
    (("--vocab-size", "50", "--bert", "one"), "add --scratch"),
    (("--bert", "shape", "--scratch"), "no vocab.txt or tokenizer.json"),
    (("--bert", "shape", "--scratch", "--vocab-size", "50", "--max-length", "64"), "longer than the 32 positions"),
    (("--bert", "shape"), "holds neither model.safetensors nor pytorch_model.bin"),
    (("--pooling", "max"), "--pooling does not apply"),
    (("--bert", "one", "--init", "ppmi"), "--init ppmi makes new word vectors, which the layers of --bert do not know"),
    (("--bert", "one", "--vectors", "x"), "--vectors goes with --scratch, and in place of --init ppmi"),
    (("--scratch", "--init", "ppmi", "--vectors", "x"), "--vectors goes with --scratch, and in place of --init ppmi"),
    (("--bert", "shape", "--scratch", "--vocab-size", "50", "--vectors", "nowhere"), "--vectors nowhere: no such file"),
])  # fmt: skip
def test_flags_that_do_not_fit_are_refused(call, flags, message):
    assert message in call(
        "train", *COMMON[:2], "--model", "bert", "--train", "train.txt", *flags, "--out", "x", status=2
    )
