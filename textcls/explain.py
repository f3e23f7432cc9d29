"""Why a model answers as it does: what each word of a text counts for the class that it gets, for each of its labels,
or for its score. What is explained is the task's own: `explained` and `outputs` of its predictor.

leave-one-out  the probability or the score, less what it is without the word: exact, for every model
gradients      integrated gradients (Sundararajan et al., 2017, arXiv:1703.01365) of that number by the words' vectors,
               on the way from the text with [PAD] in place of every piece; they sum up to the difference of the two
               numbers. For networks on word vectors or BERT's embeddings
weights        the terms of the linear model's logit, of one class in several less their mean over the classes: exact,
               and all that it computes

Attention is not shown as an explanation: other attention can give the same answer (Jain and Wallace, 2019).

Dimensions: T tokens, H size of a vector, S points on the way, C outputs, N words.
"""

import contextlib
import dataclasses
import itertools
import os
import re
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from textcls.models.bert import Embeddings
from textcls.models.linear import LinearClassifier
from textcls.models.lstm import FrozenEmbeddings
from textcls.models.recurrent import WordVectors
from textcls.records import stream
from textcls.report.text import in_digits
from textcls.report.words import Explanation, Word, signed
from textcls.runtime.errors import InputError
from textcls.tasks import base
from textcls.tasks.answers import Explained
from textcls.tasks.documents import Predictor, Text
from textcls.text.passages import place
from textcls.text.sequences import ends
from textcls.text.vocabulary import Vocabulary

WORD = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]")  # what is left out, or counted, as one
STEPS = 64  # S; the middle of each of so many equal parts of the way
ROWS = 8  # points whose gradients are computed together
COPIES, TOGETHER = 64, 1 << 18  # copies of a text without one word that are answered together, and their characters
MOST_CHARACTERS = 2**30  # of all texts without a word, for one text
WAYS = ("leave-one-out", "gradients", "weights")


def explain(predictor: Predictor, texts: Sequence[Text], by: str | None = None) -> Iterator[Explanation]:
    """An :class:`Explanation` of each text; of several labels a text, one for each label that it gets, or for the most
    probable one where it gets none. `by`: one of WAYS; None for the exact one: weights for a linear model, leave-one-out
    for others. Raises InputError for a way that the model does not have, and for a task whose answers are no labels and
    no scores of a text."""
    check_task(predictor)
    model = getattr(predictor, "model", None)
    by = by or ("weights" if isinstance(model, LinearClassifier) else "leave-one-out")
    way = {"leave-one-out": leave_one_out, "gradients": gradients, "weights": weights}[by]
    for number, text in enumerate(predictor.checked(texts)):
        for explanation in way(predictor, (text,) if isinstance(text, str) else tuple(text)):
            yield dataclasses.replace(explanation, document=number)


def explain_file(predictor: Predictor, source: str | os.PathLike, kind: str, by: str | None) -> Iterator[Explanation]:
    """Of the texts of a file in a format `kind`, as they are read: those before a row that cannot be read come first."""
    check_task(predictor)  # before it is read as another task would
    before = 0
    for rows in stream.items(predictor, source, kind):
        texts = [row if len(row) > 1 else row[0] for row in rows]
        for explanation in explain(predictor, texts, by):
            yield dataclasses.replace(explanation, document=before + explanation.document)
        before += len(texts)


def check_task(predictor: base.Predictor) -> None:
    """Raise InputError for a task whose answers are not explained."""
    if not isinstance(predictor, Predictor):
        raise InputError(
            f"{predictor.run.folder}: --explain says what words count for labels and scores of texts, and this is a run "
            f"of --task {predictor.config.task}: {predictor.unexplained}"
        )


def explanation_of(
    answer: Explained, texts: tuple[str, ...], outputs: torch.Tensor, words: Sequence[Word], note: str
) -> Explanation:
    """`outputs` (C,) are those of the text."""
    return Explanation(texts, answer.label, float(outputs[answer.column]), words, note, answer.predicted)


# ---- leaving words out ----------------------------------------------------------------------------------------------


def leave_one_out(predictor: Predictor, texts: tuple[str, ...]) -> list[Explanation]:
    found = [(part, *match.span()) for part, text in enumerate(texts) for match in WORD.finditer(text)]
    length = sum(map(len, texts))
    if len(found) * length > MOST_CHARACTERS:
        raise InputError(
            f"a text of {len(found):,} words and {length:,} characters: to read it once without each word is more than "
            f"{MOST_CHARACTERS:,} characters"
        )
    copies = map(given, itertools.chain([texts], (without(texts, *place) for place in found)))
    count = min(COPIES, max(1, TOGETHER // max(1, length)))
    chunks = iter(lambda: list(itertools.islice(copies, count)), [])
    logits = np.concatenate([predictor.logits(chunk) for chunk in chunks])
    outputs = predictor.outputs(torch.from_numpy(logits).double())  # (1 + N, C)
    changes = outputs[0] - outputs[1:]
    explanations = []
    for answer in predictor.explained(logits[0]):
        of_answer = changes[:, answer.column].tolist()
        words = [Word(*place, change) for place, change in zip(found, of_answer, strict=True)]
        note = f"{answer.number}, less what it is without the word"
        explanations.append(explanation_of(answer, texts, outputs[0], words, note))
    return explanations


def without(texts: tuple[str, ...], part: int, start: int, end: int) -> tuple[str, ...]:
    """The texts without some characters of one of them."""
    return tuple(text[:start] + text[end:] if number == part else text for number, text in enumerate(texts))


def given(texts: tuple[str, ...]) -> Text:
    """As a predictor takes them."""
    return texts[0] if len(texts) == 1 else texts


# ---- integrated gradients -------------------------------------------------------------------------------------------


def gradients(predictor: Predictor, texts: tuple[str, ...]) -> list[Explanation]:
    pieces, starts, stops = read(predictor, texts, "gradients")
    vocabulary, model = predictor.vocabulary, predictor.model.to(predictor.device)
    table = table_of(model, predictor)
    row = torch.tensor([[*vocabulary.begin, *pieces, *vocabulary.end]], device=predictor.device)
    empty, first = row.clone(), len(vocabulary.begin)
    empty[:, first : first + len(pieces)] = vocabulary.pad
    with torch.no_grad():
        here, there = table(row), table(empty)  # (1, T, H)
        logits, without_words = model(row).float(), model(empty).float()  # (1, C)
        reached, left = (predictor.outputs(numbers.double())[0] for numbers in (logits, without_words))
    explanations = []
    for answer in predictor.explained(logits[0].cpu().numpy()):
        slopes = mean_slope(model, table, row, here, there, lambda logits: predictor.outputs(logits)[:, answer.column])
        values = (slopes * (here - there)).sum(-1)[0, first : first + len(pieces)].tolist()
        words = by_word(texts[0], zip(starts, stops, values, strict=True))
        begin = float(left[answer.column])
        missing = signed(float(reached[answer.column]) - begin - sum(values), 4)
        note = f"integrated gradients of {answer.number}, from {in_digits(begin)} without words; {missing} is missing"
        explanations.append(explanation_of(answer, texts, reached, words, note))
    return explanations


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
    model, table, row: torch.Tensor, here: torch.Tensor, there: torch.Tensor, output: Callable
) -> torch.Tensor:
    """(1, T, H): the mean gradient by the vectors of what `output` makes of logits, (S, C) -> (S,), at S points on the
    way from `there` to `here`, by the midpoint rule."""
    total = torch.zeros_like(here)
    for shares in ((torch.arange(STEPS, device=row.device) + 0.5) / STEPS).split(ROWS):
        vectors = (there + shares[:, None, None] * (here - there)).requires_grad_()
        with replaced(table, vectors), unfrozen(model), torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
            numbers = output(model(row.expand(len(shares), -1)).float())
            total += torch.autograd.grad(numbers.sum(), vectors)[0].sum(0, keepdim=True)
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


def weights(predictor: Predictor, texts: tuple[str, ...]) -> list[Explanation]:
    """Of a word that stands several times each has its part; a pair of words is half of either."""
    if not isinstance(getattr(predictor, "model", None), LinearClassifier):
        raise InputError(f"{predictor.run.folder} is no linear model: --by weights is not there; take leave-one-out")
    words, starts, stops = read(predictor, texts, "weights")
    vocabulary, model = predictor.vocabulary, predictor.model.to(predictor.device)
    firsts, pairs = vocabulary.pairs_in(np.array(words, np.int64))
    row = torch.tensor([[*words, *pairs.tolist()]], device=predictor.device, dtype=torch.int64)
    with torch.no_grad():
        logits = model(row)
        _, ids, bag = model.bag(row)
        terms, note = predictor.decisive(bag.double()[:, None] * model.weight[ids].double())  # (features, C)
    counts = np.bincount(row[0].cpu().numpy(), minlength=len(model.idf))
    outputs, explanations = predictor.outputs(logits.double())[0], []
    for answer in predictor.explained(logits[0].cpu().numpy()):
        term = dict(zip(ids.tolist(), terms[:, answer.column].tolist(), strict=True))
        values = np.array([term.get(word, 0.0) / counts[word] for word in words])
        for first, pair in zip(firsts.tolist(), pairs.tolist(), strict=True):
            values[first : first + 2] += term[pair] / counts[pair] / 2
        found = [Word(0, start, end, float(v)) for start, end, v in zip(starts, stops, values, strict=True)]
        explanations.append(explanation_of(answer, texts, outputs, found, note))
    return explanations
