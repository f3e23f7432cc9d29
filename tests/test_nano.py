"""The backbone that comes with the library."""

import hashlib
import re

import torch

import textcls
from textcls.models.pretraining import BertForPreTraining
from textcls.pretrained import bert as pretrained
from textcls.pretrained.hub import NANO
from textcls.pretrained.safetensors import read_safetensors
from textcls.text.sequences import assemble
from textcls.text.vocabulary import Vocabulary


def test_it_is_small_and_a_published_bert():
    files = list(NANO.iterdir())
    assert sum(path.stat().st_size for path in files) <= 8 * 2**20
    bert = textcls.load_bert("nano")
    assert bert.config.hidden_size == 256 and 2 <= bert.config.num_hidden_layers <= 4
    assert all(tensor.dtype == torch.float32 for tensor in bert.state_dict().values())
    stored = read_safetensors(NANO / "model.safetensors")
    assert stored.pop("bert.embeddings.word_embeddings.weight").dtype == torch.int8
    assert all(tensor.dtype == torch.float16 for tensor in stored.values())
    assert len(Vocabulary.from_folder(NANO)) == bert.config.vocab_size == 16000
    assert "predictions.bias" in pretrained.read_heads(NANO)


def test_positions_do_not_drown_the_words():
    """Of what the embedding module says of a token, its place is a small share: the variance between the means of
    places, over 200 random pieces in each of 128 places."""
    bert = textcls.load_bert("nano")
    ids = torch.randint(999, 16000, (200, 128), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        hidden = bert.embeddings(ids)  # (B, T, H)
    share = hidden.mean(0).var(0).sum() / hidden.flatten(0, 1).var(0).sum()
    assert share - 1 / 200 < 0.05


def test_its_readme_is_about_these_weights():
    text = (NANO / "README.md").read_text("utf-8")
    digest = hashlib.sha256((NANO / "model.safetensors").read_bytes()).hexdigest()
    assert re.search(r"sha256 +(\w{64})", text).group(1) == digest


def test_it_knows_english():
    """What stands in a masked place: among the likeliest five of 16,000 pieces."""
    folder = NANO
    vocabulary, model = Vocabulary.from_folder(folder), load_with_heads()
    for text, expected in (
        ("he was born in the united [MASK] of america", "states"),
        ("the album was [MASK] in 1995 by columbia records", "released"),
        ("one of the [MASK] important battles of the war", "most"),
        ("it can be seen as [MASK] as in 1850", "well"),
        ("the film was directed [MASK] john ford", "by"),
    ):
        row = assemble([vocabulary.encode([text])], vocabulary, 64).rows[0]
        ids = torch.from_numpy(row).long()
        place = (ids == vocabulary.mask).nonzero()[:, 0]
        with torch.no_grad():
            logits, _ = model(ids[None], None, None, place)
        best = [vocabulary.tokenizer.id_to_token(i) for i in logits[0].topk(5).indices.tolist()]
        assert expected in best, (text, best)


def load_with_heads() -> BertForPreTraining:
    bert = textcls.load_bert("nano")
    model = BertForPreTraining(bert.config, next_sentence=False).eval()
    model.bert.load_state_dict(bert.state_dict())
    model.cls.load_state_dict(pretrained.read_heads(NANO))
    return model
