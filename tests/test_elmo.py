"""ELMo's biLM against loops over its formulas, what may and may not change a vector, the mix, and the biLM's losses."""

import dataclasses

import numpy as np
import pytest
import torch

from tests.test_projected_lstm import numpy_steps, sigmoid
from textcls.models.elmo import (
    LAYERS,
    SENTENCE_BEGIN,
    SENTENCE_END,
    WORD_BEGIN,
    WORD_END,
    WORD_PADDING,
    BiLM,
    CharacterEncoder,
    ElmoConfig,
    ElmoVectors,
    ScalarMix,
    places,
)
from textcls.models.language_model import BiLanguageModel, cutoffs_of

K = 50
TINY = ElmoConfig(
    ((1, 3), (2, 4), (3, 5)), projection=4, cells=6, characters=5, highways=2, cell_clip=0.5, proj_clip=0.4
)
TEXTS = ["a small boat on a sea", "Wind", "the sea the sea", "an-extraordinarily-long-" + 40 * "z" + " word"]
PRECISE = {torch.float32: 1e-5, torch.float64: 1e-12}
NUMBERS = pytest.mark.parametrize("dtype", PRECISE, ids=str)


def spelled(word: str) -> list[int]:
    letters = [WORD_BEGIN, *(byte + 1 for byte in word.encode()[: K - 2]), WORD_END]
    return letters + [WORD_PADDING] * (K - len(letters))


def characters(text: str) -> torch.Tensor:
    """A text's words: (T, K)."""
    return torch.tensor([spelled(word) for word in text.split()]).view(-1, K)


def batch_of(texts: list[str], extra: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """(ids (B, T, K), mask (B, T)), with `extra` places more than the longest text has words."""
    words = [characters(text) for text in texts]
    T = max(map(len, words)) + extra
    ids, mask = torch.zeros(len(texts), T, K, dtype=torch.long), torch.zeros(len(texts), T, dtype=torch.long)
    for row, text in enumerate(words):
        ids[row, : len(text)], mask[row, : len(text)] = text, 1
    return ids, mask


def vivid(model, seed=0):
    """Random weights, so large that both clips are reached, the padding's row zero; evaluated in float64."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.data.normal_(0, 0.5, generator=generator)
    for module in model.modules():
        if isinstance(module, CharacterEncoder):
            module.embedding.weight.data[0] = 0
    return model.double().eval()


def bilm(dtype=torch.float64, config=TINY, **arguments) -> BiLM:
    return vivid(BiLM(config, **arguments)).to(dtype)


def largest(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    assert ours.shape == theirs.shape
    return (ours - theirs).abs().max().item()


# ---- slow references -------------------------------------------------------------------------------------------------


def numbers(parameter) -> np.ndarray:
    return parameter.detach().double().numpy()


def slow_token(encoder: CharacterEncoder, letters, activation=TINY.activation) -> np.ndarray:
    """A word's vector over all its places: (K,) -> (P,)."""
    x, maxima = numbers(encoder.embedding.weight)[np.asarray(letters)], []  # (K, characters)
    for convolution in encoder.convolutions:
        weight, bias = numbers(convolution.weight), numbers(convolution.bias)  # (count, characters, width)
        width = weight.shape[2]
        seen = [(weight * x[k : k + width].T).sum((1, 2)) + bias for k in range(len(x) - width + 1)]
        maxima.append(np.max(seen, 0))
    x = np.concatenate(maxima)
    x = np.tanh(x) if activation == "tanh" else np.maximum(x, 0)
    for highway in encoder.highways:
        c = sigmoid(numbers(highway.carry.weight) @ x + numbers(highway.carry.bias))
        x = c * np.maximum(numbers(highway.transform.weight) @ x + numbers(highway.transform.bias), 0) + (1 - c) * x
    return numbers(encoder.projection.weight) @ x + numbers(encoder.projection.bias)


def slow_bilm(model: BiLM, words, states=None) -> tuple[torch.Tensor, list]:
    """One text, its ends included: (T + 2, K) -> (layers (T, L + 1, 2P), the states (h, c) (D, 1, …) after its end)."""
    token = torch.from_numpy(np.stack([slow_token(model.words, word, model.config.activation) for word in words]))
    x, after = torch.stack([token, token.flip(0)])[:, :, None], []  # (D, T + 2, 1, P)
    layers = [torch.cat([token, token], 1)]
    for number, lstm in enumerate(model.lstms):
        h, c, _ = numpy_steps(lstm, x, None if states is None else states[number])
        after.append((h[:, -1], c[:, -1]))
        x = h + x if number > 0 and model.config.skip else h
        layers.append(torch.cat([x[0, :, 0], x[1, :, 0].flip(0)], 1))
    return torch.stack(layers, 1)[1:-1], after


def with_ends(text: str) -> list[list[int]]:
    begin, end = ([WORD_BEGIN, c, WORD_END] + [WORD_PADDING] * (K - 3) for c in (SENTENCE_BEGIN, SENTENCE_END))
    return [begin, *characters(text).tolist(), end]


CONFIGS = {
    "skip": TINY,
    "no skip": dataclasses.replace(TINY, skip=False),
    "three layers": dataclasses.replace(TINY, layers=3),
    "tanh, no highway": dataclasses.replace(TINY, activation="tanh", highways=0),
    "no clips": dataclasses.replace(TINY, cell_clip=None, proj_clip=None),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_vectors_equal_loops_over_the_formulas(name):
    model = bilm(config=CONFIGS[name])
    layers = model(*batch_of(TEXTS))
    assert layers.shape == (4, 6, CONFIGS[name].layers + 1, 8)
    for row, text in enumerate(TEXTS):
        expected, _ = slow_bilm(model, with_ends(text))
        assert largest(layers[row, : len(expected)], expected) < 1e-12


def test_layer_zero_is_the_words_own_vector_twice():
    model = bilm()
    ids, mask = batch_of(TEXTS)
    bottom = model(ids, mask)[:, :, 0][mask > 0]
    token = model.words(ids[mask > 0])
    assert largest(bottom, torch.cat([token, token], 1)) < 1e-12


# ---- what may and may not change a vector ----------------------------------------------------------------------------


@NUMBERS
def test_padding_order_and_neighbours_never_change_a_vector(dtype):
    model, near = bilm(dtype), PRECISE[dtype]
    ids, mask = batch_of(TEXTS)
    together = model(ids, mask)
    assert together.dtype == dtype
    for row, text in enumerate(TEXTS):
        count = len(text.split())
        alone = model(characters(text)[None])[0]
        assert largest(alone, together[row, :count]) < near
        padded = model(*batch_of([text], extra=7))[0, :count]
        assert largest(padded, alone) < near
        beside = model(*batch_of(["other words " * 9, text, "q"]))[1, :count]
        assert largest(beside, alone) < near
    order = torch.tensor([2, 0, 3, 1])
    shuffled = model(ids[order], mask[order])
    assert largest(shuffled[mask[order] > 0], together[order][mask[order] > 0]) < near


def test_what_stands_in_the_padding_is_never_read():
    model = bilm()
    ids, mask = batch_of(TEXTS, extra=2)
    other = torch.where(mask[:, :, None] > 0, ids, torch.randint(0, 262, ids.shape))
    assert largest(model(other, mask)[mask > 0], model(ids, mask)[mask > 0]) < 1e-12


def test_no_mask_is_a_full_mask():
    model, ids = bilm(), torch.stack([characters("one two three"), characters("three one two")])
    full = torch.ones(2, 3)
    assert torch.equal(model(ids), model(ids, full.long()))
    assert torch.equal(model(ids), model(ids, full.bool()))


@pytest.mark.parametrize("place", range(6))
def test_each_half_depends_on_its_side_alone(place):
    """Forward on the words before and the word itself, backward on the words after and the word itself."""
    model = bilm(config=dataclasses.replace(TINY, cell_clip=None, proj_clip=None))
    words = TEXTS[0].split()
    before = model(characters(" ".join(words))[None])[0]
    words[place] = "changed"
    after = model(characters(" ".join(words))[None])[0]
    changed = (after - before).unflatten(2, (2, 4)).abs().amax(3) > 1e-12  # (T, L + 1, D)
    steps = torch.arange(6)
    for layer in range(3):
        assert changed[:, layer, 0].tolist() == (steps >= place if layer else steps == place).tolist()
        assert changed[:, layer, 1].tolist() == (steps <= place if layer else steps == place).tolist()


def test_a_text_without_words_has_no_part_in_the_others():
    model = bilm()
    with_empty = model(*batch_of([TEXTS[0], "", TEXTS[2]]))
    without = model(*batch_of([TEXTS[0], TEXTS[2]]))
    assert with_empty.isfinite().all()
    assert largest(with_empty[0], without[0]) < 1e-12 and largest(with_empty[2, :4], without[1, :4]) < 1e-12


@pytest.mark.parametrize("norm", [False, True])
def test_autocast_changes_nothing(norm):
    model = vivid(ElmoVectors(TINY, frozen=False, norm=norm)).float()
    ids, mask = batch_of(TEXTS)
    found = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            out = model(ids, mask)
        found.append((out, *torch.autograd.grad(out.sum(), list(model.parameters()))))
    assert all(torch.equal(plain, mixed) for plain, mixed in zip(*found, strict=True))


# ---- every word once, every place that counts ------------------------------------------------------------------------


def test_a_distinct_word_is_computed_once():
    model, seen = bilm(), []
    model.words.embedding.register_forward_hook(lambda module, given, made: seen.append(given[0]))
    ids, mask = batch_of(["the sea the sea", "the boat"])
    model(ids, mask)
    assert len(seen) == 1 and len(seen[0]) == len(seen[0].unique(dim=0)) == 3 + 2 + 1  # words, both ends, padding


def test_distinct_words_give_the_vectors_and_gradients_of_every_word():
    encoder = bilm().words
    ids, _ = batch_of(["the sea the sea", "the boat"])
    vectors = encoder(ids)
    every = encoder.of(ids.flatten(0, 1)).unflatten(0, ids.shape[:2])
    assert largest(vectors, every) < 1e-12
    scale = torch.linspace(-1, 2, vectors.numel()).double().view_as(vectors)
    found = (torch.autograd.grad((scale * x).sum(), list(encoder.parameters())) for x in (vectors, every))
    for ours, theirs in zip(*found, strict=True):
        assert largest(ours, theirs) < 1e-11


WORDS = {
    "short": ["a", "bc", "d"],
    "all places": ["b" * 60, "a"],
    "one place left": ["b" * 47],
    "not ASCII": ["čtyři", "五", "😀"],
    "with a padding word": ["a", None, "longer"],
    "padding alone": [None, None],
    "an empty word": [""],
}


@pytest.mark.parametrize("widths", [(1, 2, 3), (7, 1), (12,)], ids=str)
@pytest.mark.parametrize("name", WORDS)
def test_places_are_cut_and_the_maxima_are_the_same(name, widths, monkeypatch):
    """Of words that fill all places, and of filters wider than any word."""
    config = dataclasses.replace(TINY, filters=[(width, 6) for width in widths])
    encoder = vivid(CharacterEncoder(config))
    ids = torch.tensor([[0] * K if word is None else spelled(word) for word in WORDS[name]])
    longest = max(0 if word is None else 2 + min(48, len(word.encode())) for word in WORDS[name])
    assert encoder.cut(ids).shape[1] == places(ids, max(widths)) == min(K, longest + max(widths))
    with_cut = encoder(ids)
    slow = np.stack([slow_token(encoder, word) for word in ids.tolist()])
    monkeypatch.setattr(encoder, "cut", lambda characters: characters)
    assert largest(with_cut, encoder(ids)) < 1e-12
    assert largest(with_cut, torch.from_numpy(slow)) < 1e-12


# ---- the original's carried state ------------------------------------------------------------------------------------


def test_the_first_batch_of_a_carrying_bilm_is_that_of_a_stateless_one():
    batch = batch_of(TEXTS)
    carrying = bilm(carry=True)
    first = carrying(*batch)
    assert torch.equal(first, bilm()(*batch))
    assert not torch.allclose(carrying(*batch), first)
    assert all(not part.requires_grad for layer in carrying.state for part in layer)


def test_a_stateless_bilm_remembers_nothing():
    model, batch = bilm(), batch_of(TEXTS)
    first = model(*batch)
    model(*batch_of(["something else"]))
    assert model.state is None and torch.equal(model(*batch), first)


CALLS = [
    ["one two three", "four"],
    ["five"],  # the second row's state stays
    ["six seven", "eight nine", "ten eleven twelve", "thirteen"],  # the last two begin at zero
    ["fourteen", "fifteen sixteen seventeen", "eighteen"],
    ["nineteen twenty", "twenty-one", "twenty-two", "twenty-three twenty-four"],
]


def test_a_rows_state_goes_on_from_the_step_at_which_its_text_ended():
    """By loops: forward from after the sentence end, backward from after the sentence begin, of that row's last text.
    Rows that a smaller batch lacks keep theirs; rows beyond all earlier batches begin at zero."""
    model, states = bilm(carry=True), {}
    for texts in CALLS:
        layers = model(*batch_of(texts))
        for row, text in enumerate(texts):
            expected, states[row] = slow_bilm(model, with_ends(text), states.get(row))
            assert largest(layers[row, : len(expected)], expected) < 1e-12, (texts, row)


def test_forward_two_texts_in_turn_are_one_text_with_ends_between():
    """The forward half reads BOS first EOS BOS second EOS; the backward half EOS second BOS after EOS first BOS."""
    model = bilm(carry=True)
    model(*batch_of(["a small boat", "sea"]))
    second = model(*batch_of(["on a", "the wide open"]))
    for row, (one, two) in enumerate([("a small boat", "on a"), ("sea", "the wide open")]):
        pieces = [with_ends(one), with_ends(two)]
        tokens = [torch.from_numpy(np.stack([slow_token(model.words, word) for word in words])) for words in pieces]
        x = torch.stack([torch.cat(tokens), torch.cat([part.flip(0) for part in tokens])])[:, :, None]
        h, _, _ = numpy_steps(model.lstms[0], x)
        h = h[:, len(pieces[0]) :, 0]  # of the second text
        found = second[row, : len(two.split()), 1]
        assert largest(found, torch.cat([h[0], h[1].flip(0)], 1)[1:-1]) < 1e-12


# ---- the mix ---------------------------------------------------------------------------------------------------------


def test_at_first_the_mix_is_the_mean_of_the_layers():
    layers = torch.randn(2, 5, 3, 8, dtype=torch.float64)
    assert largest(ScalarMix(3).double()(layers), layers.mean(2)) < 1e-12


def test_the_mix_is_its_formula():
    mix, layers = ScalarMix(3).double(), torch.randn(2, 5, 3, 8, dtype=torch.float64)
    w = np.array([0.3, -1.2, 0.8])
    for parameter, value in zip(mix.weights, w, strict=True):
        parameter.data.fill_(value)
    mix.gamma.data.fill_(1.7)
    shares = np.exp(w) / np.exp(w).sum()
    expected = 1.7 * sum(share * layers[:, :, k] for k, share in enumerate(shares))
    assert largest(mix(layers), expected) < 1e-12
    assert mix.penalty().item() == pytest.approx((w**2).sum())
    assert torch.autograd.gradcheck(lambda x, *_: mix(x), [layers.requires_grad_(), *mix.parameters()])


def test_the_norm_reads_each_texts_real_words_only():
    layers = 3 + 2 * torch.randn(3, 5, 3, 8, dtype=torch.float64)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 0, 0, 0, 0]])
    mix = ScalarMix(3, norm=True).double()
    poisoned = layers.masked_fill(mask[:, :, None, None] == 0, 1e6)
    found, high = mix(layers, mask), mix(poisoned, mask)
    for row, length in enumerate(mask.sum(1)):
        real = layers[row, :length]
        expected = sum((real[:, k] - real[:, k].mean()) / real[:, k].std(correction=0) for k in range(3)) / 3
        alone = mix(real[None])[0]
        for value in (found[row, :length], high[row, :length], alone):
            assert largest(value, expected) < 1e-9


def test_the_norms_gradient_reaches_real_words_only():
    mask = torch.tensor([[1, 1, 1], [1, 0, 0]])
    layers = torch.randn(2, 3, 3, 4, dtype=torch.float64, requires_grad=True)
    mix = ScalarMix(3, norm=True).double()
    assert torch.autograd.gradcheck(lambda x: mix(x, mask) * mask[:, :, None], [layers])
    (gradient,) = torch.autograd.grad((mix(layers, mask) * mask[:, :, None]).sin().sum(), layers)
    assert not gradient[mask == 0].any()


# ---- frozen and tuned ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layers", LAYERS)
def test_every_kind_of_layers_is_what_it_says(layers):
    model = vivid(ElmoVectors(TINY, frozen=True, layers=layers))
    ids, mask = batch_of(TEXTS)
    found, every = model(ids, mask), model.bilm(ids, mask)
    if layers == "concatenate":
        expected = torch.cat([every[:, :, 0], every[:, :, 1], every[:, :, 2]], 2)
    elif layers == "average":
        expected = (every[:, :, 0] + every[:, :, 1] + every[:, :, 2]) / 3
    elif layers == "top":
        expected = every[:, :, 2]
    else:
        expected = model.mix(every, mask)
    assert largest(found, expected) < 1e-12 and model.features == found.shape[2]


def test_another_kind_of_layers_is_refused():
    with pytest.raises(ValueError, match="'sum' is not one of mix, average"):
        ElmoVectors(TINY, frozen=True, layers="sum")


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("layers", LAYERS)
def test_given_features_replace_the_bilm(layers, norm):
    model = vivid(ElmoVectors(TINY, frozen=True, layers=layers, norm=norm))
    ids, mask = batch_of(TEXTS)
    features, expected = model.encode(ids, mask), model(ids, mask)
    assert features.shape == (4, 6, model.encoded_size)
    model.bilm = None  # it is not asked
    assert torch.equal(model(ids, mask, features=features), expected)


@pytest.mark.parametrize("layers", LAYERS)
def test_a_frozen_bilm_gets_no_gradient_and_the_mix_does(layers):
    model = vivid(ElmoVectors(TINY, frozen=True, layers=layers)).train()
    out = model(*batch_of(TEXTS))
    assert out.requires_grad == (layers == "mix")
    if layers == "mix":
        out.square().sum().backward()
        assert all(parameter.grad.isfinite() and parameter.grad != 0 for parameter in model.mix.parameters())
    assert all(p.grad is None and not p.requires_grad for p in model.bilm.parameters())


@pytest.mark.parametrize("layers", LAYERS)
def test_a_tuned_bilm_learns_in_every_parameter(layers):
    model = vivid(ElmoVectors(TINY, frozen=False, layers=layers)).train()
    ids, mask = batch_of(TEXTS)
    model(ids, mask).sin().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.isfinite().all() and parameter.grad.any(), name
    assert not model.bilm.words.embedding.weight.grad[0].any()  # the padding's


def test_padding_gives_no_gradient():
    """The gradient of a padded batch is the sum of those of its texts alone."""
    model = bilm()
    gradients = []
    for batches in ([batch_of(TEXTS, extra=2)], [batch_of([text]) for text in TEXTS]):
        loss = sum((model(ids, mask) * mask[:, :, None, None]).sin().sum() for ids, mask in batches)
        gradients.append(torch.autograd.grad(loss, list(model.parameters())))
    for together, alone in zip(*gradients, strict=True):
        assert largest(together, alone) < 1e-10


@pytest.mark.parametrize("name", ["skip", "tanh, no highway"])
def test_gradients_of_the_whole_bilm_are_differences(name):
    """From characters to vectors, of every parameter; the rows of the embedding that are read."""
    model = bilm(config=CONFIGS[name])
    ids, mask = batch_of(["ab ba b", "a"])
    rows = ids[mask > 0].unique()
    ends = torch.tensor([SENTENCE_BEGIN, SENTENCE_END])
    rows = torch.cat([rows, ends])
    parameters = {key: value.detach() for key, value in model.named_parameters()}
    embedding = parameters.pop("words.embedding.weight")

    def vectors(letters, *values):
        given = dict(zip(parameters, values, strict=True))
        given["words.embedding.weight"] = embedding.index_copy(0, rows, letters)
        return torch.func.functional_call(model, given, (ids, mask)) * mask[:, :, None, None]

    inputs = [value.clone().requires_grad_() for value in (embedding[rows], *parameters.values())]
    assert torch.autograd.gradcheck(vectors, inputs)


# ---- the language model that trains it -------------------------------------------------------------------------------

VOCABULARY = 20
IGNORED = -100  # any number below 0


@pytest.fixture(params=["plain", "adaptive"])
def lm(request, monkeypatch):
    if request.param == "adaptive":
        monkeypatch.setattr(BiLanguageModel, "CUTOFFS", (4, 8))
    model = BiLanguageModel(dataclasses.replace(TINY, vocab_size=VOCABULARY), dropout=0.0)
    assert isinstance(model.softmax, torch.nn.Linear) == (request.param == "plain")
    return vivid(model).float()


def windows(T=6, B=3, seed=0):
    """(ids, backward (B, T, K), targets {name: (B, T)}), some of the targets IGNORED."""
    generator = torch.Generator().manual_seed(seed)
    known = torch.stack([characters(word)[0] for word in "a small boat on the sea wind q".split()])
    ids, backward = (known[torch.randint(len(known), (B, T), generator=generator)] for _ in range(2))
    targets = {}
    for name in ("forward", "backward"):
        words = torch.randint(VOCABULARY, (B, T), generator=generator)
        targets[name] = words.masked_fill(torch.rand(B, T, generator=generator) < 0.3, IGNORED)
        targets[name][0, :3] = torch.tensor([0, 5, 19])  # of every cluster one
    return ids, backward, targets


def slow_states(model: BiLanguageModel, ids, backward) -> torch.Tensor:
    """(D, B, T, P) by loops."""
    letters = torch.stack([ids, backward])  # (D, B, T, K)
    tokens = [slow_token(model.bilm.words, word) for word in letters.flatten(0, 2).tolist()]
    x = torch.from_numpy(np.array(tokens)).unflatten(0, letters.shape[:3]).transpose(1, 2)  # (D, T, B, P)
    for number, lstm in enumerate(model.bilm.lstms):
        h, _, _ = numpy_steps(lstm, x)
        x = h + x if number else h
    return x.transpose(1, 2)


def slow_log_probabilities(model: BiLanguageModel, states: torch.Tensor) -> torch.Tensor:
    """(…, P) -> (…, V). Adaptive (Grave et al., 2017): the head's first ranks are words, its last ones clusters, whose
    share their own softmax divides."""
    softmax = model.softmax
    if isinstance(softmax, torch.nn.Linear):
        return (states @ softmax.weight.double().T + softmax.bias.double()).log_softmax(-1)
    head = (states @ softmax.head.weight.double().T + softmax.head.bias.double()).log_softmax(-1)
    parts = [head[..., :4]]
    for number, (down, up) in enumerate(softmax.tail):
        within = (states @ down.weight.double().T @ up.weight.double().T).log_softmax(-1)
        parts.append(head[..., 4 + number, None] + within)
    return torch.cat(parts, -1)


@torch.no_grad()
def test_losses_are_those_of_loops_and_probabilities_by_hand(lm):
    ids, backward, targets = windows()
    losses, _ = lm.losses(targets, ids=ids, backward=backward)
    states = slow_states(lm, ids, backward)
    for direction, name in enumerate(("forward", "backward")):
        scores = slow_log_probabilities(lm, states[direction])
        expected = -sum(
            scores[b, t, word].item()
            for b, row in enumerate(targets[name].tolist())
            for t, word in enumerate(row)
            if word != IGNORED
        )
        assert losses[name].item() == pytest.approx(expected, rel=1e-5)


@torch.no_grad()
def test_the_next_words_probabilities_sum_to_one_and_give_the_forward_loss(lm):
    ids, backward, targets = windows()
    scores, _ = lm.next_word(ids)
    assert scores.shape == (3, 6, VOCABULARY)
    assert torch.allclose(scores.double().exp().sum(-1), torch.ones(3, 6).double(), atol=1e-6)
    assert largest(scores.double(), slow_log_probabilities(lm, slow_states(lm, ids, ids)[0])) < 1e-4
    real = targets["forward"] != IGNORED
    expected = -scores[real].gather(1, targets["forward"][real][:, None]).sum().item()
    assert lm.losses(targets, ids=ids, backward=backward)[0]["forward"].item() == pytest.approx(expected, rel=1e-5)


def test_a_vocabulary_is_divided_where_two_clusters_are_worth_it():
    assert cutoffs_of(4000) == [] and cutoffs_of(4001) == cutoffs_of(20_000) == [2000]
    assert cutoffs_of(20_001) == [2000, 10_000]


def test_ignored_targets_count_nothing(lm):
    ids, backward, targets = windows()
    losses, _ = lm.losses(targets, ids=ids, backward=backward)
    real = targets["forward"] != IGNORED
    each = 0.0
    for b, t in real.nonzero().tolist():
        one = torch.full_like(targets["forward"], IGNORED)
        one[b, t] = targets["forward"][b, t]
        each += lm.losses({"forward": one, "backward": one}, ids=ids, backward=backward)[0]["forward"].item()
    assert losses["forward"].item() == pytest.approx(each, rel=1e-5)


def test_a_window_of_nothing_but_ignored_targets_costs_nothing_and_has_a_gradient(lm):
    ids, backward, targets = windows()
    ignored = torch.full_like(targets["forward"], IGNORED)
    losses, carry = lm.losses({"forward": ignored, "backward": ignored}, ids=ids, backward=backward)
    assert [loss.item() for loss in losses.values()] == [0, 0] and len(carry) == 2
    sum(losses.values()).backward()
    assert all(not parameter.grad.any() for parameter in lm.bilm.parameters())
    mixed, _ = lm.losses(targets | {"backward": ignored}, ids=ids, backward=backward)
    assert mixed["backward"].item() == 0 and mixed["forward"].item() > 0


@torch.no_grad()
@pytest.mark.parametrize("cut", [1, 3, 5])
def test_two_windows_with_carry_equal_one(lm, cut):
    ids, backward, targets = windows()
    whole, end = lm.losses(targets, ids=ids, backward=backward)
    parts, carry = [], None
    for part in (slice(0, cut), slice(cut, None)):
        within = {name: words[:, part] for name, words in targets.items()}
        losses, carry = lm.losses(within, carry, ids=ids[:, part], backward=backward[:, part])
        parts.append(losses)
    for name in whole:
        assert whole[name].item() == pytest.approx(sum(part[name].item() for part in parts), rel=1e-5)
    for layer, other in zip(end, carry, strict=True):
        assert all(largest(one, two) < 1e-5 for one, two in zip(layer, other, strict=True))


@torch.no_grad()
@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_a_loss_depends_on_the_words_before_it_alone(lm, direction):
    """Of its own direction: not on later words, and not on what the other direction reads."""
    ids, backward, targets = windows()
    here, there = ("ids", "backward") if direction == "forward" else ("backward", "ids")
    inputs = {"ids": ids, "backward": backward}
    only = {name: torch.full_like(words, IGNORED) for name, words in targets.items()}
    only[direction][0, 2] = 5

    def loss(**changed):
        return lm.losses(only, **(inputs | changed))[0][direction].item()

    before, other = loss(), characters("changed")[0]
    for t in range(6):
        words = inputs[here].clone()
        words[0, t] = other
        changed = abs(loss(**{here: words}) - before) > 1e-5
        assert changed == (t <= 2), t
    assert loss(**{there: other.expand_as(ids)}) == pytest.approx(before, abs=1e-5)


def test_every_parameter_of_the_language_model_learns(lm):
    ids, backward, targets = windows()
    losses, _ = lm.train().losses(targets, ids=ids, backward=backward)
    sum(losses.values()).backward()
    assert all(p.grad.isfinite().all() and p.grad.any() for p in lm.parameters())
