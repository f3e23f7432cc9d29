"""Why a classifier answers as it does: what each word of a text counts for the class that it predicts.

leave-one-out  the probability of the class, less what it is without the word: exact, for every model
gradients      integrated gradients (Sundararajan et al., 2017, arXiv:1703.01365) of that probability by the words'
               vectors, on the way from the text with [PAD] in place of every piece; they sum up to the difference of
               the two probabilities. For networks on word vectors or BERT's embeddings
weights        the terms of the linear model's logit, less their mean over the classes: exact, and all that it computes

Attention is not shown as an explanation: other attention can give the same answer (Jain and Wallace, 2019).

Dimensions: T tokens, H size of a vector, S points on the way.
"""

import contextlib
import itertools
import re
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from textcls.models.bert import Embeddings
from textcls.models.linear import LinearClassifier
from textcls.models.lstm import FrozenEmbeddings
from textcls.models.recurrent import WordVectors
from textcls.report.words import Explanation, Word
from textcls.runtime.errors import InputError
from textcls.tasks.base import CHUNK, chunks_of
from textcls.tasks.classification import Predictor, Text
from textcls.text.passages import place
from textcls.text.sequences import ends
from textcls.text.vocabulary import Vocabulary

WORD = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]")  # what is left out, or counted, as one
STEPS = 64  # S; the middle of each of so many equal parts of the way
ROWS = 8  # points whose gradients are computed together
MOST_CHARACTERS = 2**30  # of all texts without a word, for one text
WAYS = ("leave-one-out", "gradients", "weights")


def explain(predictor: Predictor, texts: Sequence[Text], by: str | None = None) -> Iterator[Explanation]:
    """An :class:`Explanation` of each text. `by`: one of WAYS; None for the exact one: weights for a linear model,
    leave-one-out for others. Raises InputError for a way that the model does not have."""
    if not isinstance(predictor, Predictor):
        raise InputError(f"{predictor.run.folder}: no classifier, whose answers could be explained")
    model = getattr(predictor, "model", None)
    by = by or ("weights" if isinstance(model, LinearClassifier) else "leave-one-out")
    way = {"leave-one-out": leave_one_out, "gradients": gradients, "weights": weights}[by]
    for text in predictor.checked(texts):
        yield way(predictor, (text,) if isinstance(text, str) else tuple(text))


# ---- leaving words out ----------------------------------------------------------------------------------------------


def leave_one_out(predictor: Predictor, texts: tuple[str, ...]) -> Explanation:
    found = [(part, *match.span()) for part, text in enumerate(texts) for match in WORD.finditer(text)]
    length = sum(map(len, texts))
    if len(found) * length > MOST_CHARACTERS:
        raise InputError(
            f"a text of {len(found):,} words and {length:,} characters: to read it once without each word is more than "
            f"{MOST_CHARACTERS:,} characters"
        )
    others = itertools.chain([texts], (without(texts, *place) for place in found))
    chunks = chunks_of(map(given, others), CHUNK, lambda text: length)  # a copy of the text for each word
    probabilities = np.concatenate([predictor.predict(chunk)[1] for chunk in chunks])
    label = int(probabilities[0].argmax())
    changes = probabilities[0, label] - probabilities[1:, label]
    words = [Word(*place, float(change)) for place, change in zip(found, changes, strict=True)]
    note = "the probability, less what it is without the word"
    return Explanation(texts, predictor.labels[label], float(probabilities[0, label]), words, note)


def without(texts: tuple[str, ...], part: int, start: int, end: int) -> tuple[str, ...]:
    """The texts without some characters of one of them."""
    return tuple(text[:start] + text[end:] if number == part else text for number, text in enumerate(texts))


def given(texts: tuple[str, ...]) -> Text:
    """As a predictor takes them."""
    return texts[0] if len(texts) == 1 else texts


# ---- integrated gradients -------------------------------------------------------------------------------------------


def gradients(predictor: Predictor, texts: tuple[str, ...]) -> Explanation:
    pieces, starts, stops = read(predictor, texts, "gradients")
    vocabulary, model = predictor.vocabulary, predictor.model.to(predictor.device)
    table = table_of(model, predictor)
    row = torch.tensor([[*vocabulary.begin, *pieces, *vocabulary.end]], device=predictor.device)
    empty, first = row.clone(), len(vocabulary.begin)
    empty[:, first : first + len(pieces)] = vocabulary.pad
    with torch.no_grad():
        here, there = table(row), table(empty)  # (1, T, H)
        reached = (model(row).float() / predictor.temperature).softmax(1)[0]
        left = (model(empty).float() / predictor.temperature).softmax(1)[0]
    label = int(reached.argmax())
    slopes = mean_slope(model, table, row, label, here, there, predictor.temperature)
    values = (slopes * (here - there)).sum(-1)[0, first : first + len(pieces)].tolist()
    missing = float(reached[label] - left[label]) - sum(values)
    note = f"integrated gradients of the probability, from {left[label]:.4f} without words; {missing:+.4f} is missing"
    words = by_word(texts[0], zip(starts, stops, values, strict=True))
    return Explanation(texts, predictor.labels[label], float(reached[label]), words, note)


def read(predictor: Predictor, texts: tuple[str, ...], by: str) -> tuple[list[int], list[int], list[int]]:
    """(the pieces that the model reads of a text, the characters at which each begins and ends)."""
    config, vocabulary = predictor.config, getattr(predictor, "vocabulary", None)
    if not isinstance(vocabulary, Vocabulary):
        raise InputError(f"{predictor.run.folder} reads no pieces of words: --by {by} is not there; take leave-one-out")
    if len(texts) > 1 or config.long_documents == "window" or config.truncate != "head":
        raise InputError(
            f"--by {by} explains one text that is read from its beginning, not pairs, windows or --truncate "
            f"{config.truncate}; take leave-one-out"
        )
    placed = place(vocabulary, list(texts))
    most = config.max_length - ends(vocabulary)
    return tuple(part[:most].tolist() for part in (placed.pieces[0], placed.starts, placed.ends))


def table_of(model: torch.nn.Module, predictor: Predictor) -> torch.nn.Module:
    """What gives the vectors of words: ids -> (B, T, H)."""
    for module in model.modules():
        if isinstance(module, FrozenEmbeddings):  # as a whole: nothing behind it knows of its parts
            return module
        if isinstance(module, Embeddings):
            return module.word_embeddings
        if isinstance(module, WordVectors):
            return module.table
    raise InputError(f"{predictor.run.folder} reads no word vectors: --by gradients is not there; take leave-one-out")


def mean_slope(
    model, table, row: torch.Tensor, label: int, here: torch.Tensor, there: torch.Tensor, temperature: float = 1.0
) -> torch.Tensor:
    """(1, T, H): the mean gradient of the probability of `label` by the vectors, at S points on the way from those of
    `there` to those of `here`, by the midpoint rule."""
    total = torch.zeros_like(here)
    for shares in ((torch.arange(STEPS, device=row.device) + 0.5) / STEPS).split(ROWS):
        vectors = (there + shares[:, None, None] * (here - there)).requires_grad_()
        with replaced(table, vectors), unfrozen(model), torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
            logits = model(row.expand(len(shares), -1)).float() / temperature
            probabilities = logits.softmax(1)[:, label]
            total += torch.autograd.grad(probabilities.sum(), vectors)[0].sum(0, keepdim=True)
    return total / STEPS


@contextlib.contextmanager
def replaced(table: torch.nn.Module, vectors: torch.Tensor) -> Iterator[None]:
    """`table` gives these vectors, whatever it is called with."""
    hook = table.register_forward_hook(lambda module, inputs, output: vectors)
    try:
        yield
    finally:
        hook.remove()


@contextlib.contextmanager
def unfrozen(model: torch.nn.Module) -> Iterator[None]:
    """Gradients go through what is not trained, too."""
    frozen = [(module, module.frozen) for module in model.modules() if getattr(module, "frozen", False)]
    for module, value in frozen:
        module.frozen = type(value)(0)
    try:
        yield
    finally:
        for module, value in frozen:
            module.frozen = value


def by_word(text: str, pieces) -> list[Word]:
    """The sum over the pieces (start, end, value) of each word; a piece belongs to the word of its last character."""
    found = [match.span() for match in WORD.finditer(text)]
    sums = np.zeros(len(found))
    begins = [start for start, _ in found]
    for start, end, value in pieces:
        place = int(np.searchsorted(begins, max(start, end - 1), "right")) - 1
        if place >= 0:
            sums[place] += value
    return [Word(0, *span, float(value)) for span, value in zip(found, sums, strict=True)]


# ---- a linear model's weights ---------------------------------------------------------------------------------------


def weights(predictor: Predictor, texts: tuple[str, ...]) -> Explanation:
    """Of a word that stands several times each has its part; a pair of words is half of either."""
    if not isinstance(getattr(predictor, "model", None), LinearClassifier):
        raise InputError(f"{predictor.run.folder} is no linear model: --by weights is not there; take leave-one-out")
    words, starts, stops = read(predictor, texts, "weights")
    vocabulary, model = predictor.vocabulary, predictor.model.to(predictor.device)
    firsts, pairs = vocabulary.pairs_in(np.array(words, np.int64))
    row = torch.tensor([[*words, *pairs.tolist()]], device=predictor.device, dtype=torch.int64)
    with torch.no_grad():
        logits = model(row).double()[0]
        _, ids, bag = model.bag(row)
        label = int(logits.argmax())
        terms = bag.double() * (model.weight[ids, label].double() - model.weight[ids].double().mean(1))
    counts = np.bincount(row[0].cpu().numpy(), minlength=len(model.idf))
    term = dict(zip(ids.tolist(), terms.tolist(), strict=True))
    values = np.array([term.get(word, 0.0) / counts[word] for word in words])
    for first, pair in zip(firsts.tolist(), pairs.tolist(), strict=True):
        values[first : first + 2] += term[pair] / counts[pair] / 2
    found = [Word(0, start, end, float(v)) for start, end, v in zip(starts, stops, values, strict=True)]
    note = "the word's terms of the logit, less their mean over the classes"
    probability = float((logits / predictor.temperature).softmax(0)[label])
    return Explanation(texts, predictor.labels[label], probability, found, note)
