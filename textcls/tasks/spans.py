"""The piece of a passage that answers a question. Dimensions: N questions, W windows, B rows of a batch, T tokens."""

import os
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch.nn import functional as F

from textcls.config import TrainConfig
from textcls.data import folds, squad, tabular
from textcls.data.corpus import Corpus
from textcls.data.decoding import held
from textcls.data.squad import Questions
from textcls.metrics.spans import ExactMatches, F1Scores, Scores
from textcls.pretrained.backbone import Backbone, check_pairs
from textcls.records.document import JsonDocument
from textcls.records.formats import ending_of, of_columns
from textcls.records.lines import LineReader, opened
from textcls.records.record import Records, Value
from textcls.report.compare import Judged, Result
from textcls.runtime import parallel
from textcls.runtime.device import Precision, copies_kept
from textcls.runtime.errors import InputError
from textcls.runtime.files import json_text
from textcls.runtime.progress import through
from textcls.tasks import base
from textcls.tasks.answers import Asked, ranked
from textcls.tasks.contents import Described
from textcls.tasks.mistakes import mistakes, worst_first
from textcls.tasks.questions import as_pair, asked_in, no_lines
from textcls.text.batches import CPU_TOKENS, Batch, Batches, padded
from textcls.text.passages import Placed, Windows, locate, longest_question, place, place_cached, targets, windows
from textcls.text.pieces import Pieces
from textcls.text.spans import BEST, NO_ANSWER, Answer, Candidates, candidates, decode
from textcls.text.vocabulary import Vocabulary
from textcls.training.run import Run

UNIT = "questions"
LABELS = ""
SELECT = ("answer_f1", "exact_match")
DEFAULTS = {name: value for name, value in base.DEFAULTS.items() if name != "label_smoothing"} | {
    "text_column": "question,context",
    "label_column": "answer",
    "select": "answer_f1",
    "max_length": 384,
    "stride": 128,
}


# ---- data -----------------------------------------------------------------------------------------------------------


def load(config: TrainConfig, progress: Callable = iter, vocabulary: Vocabulary | None = None) -> Corpus:
    splits = config.train, config.dev_split, config.test_split
    whole = squad.load(*splits, columns(config), config.seed, config.encoding)
    corpus = squad.learnable(folds.cut(whole, config.fold, config.dev_split, config.seed, UNIT))
    if config.fold is not None and squad.is_of_articles_trained_on(corpus):
        corpus.description += ", of articles that are trained on, too (fewer than folds), in other contexts"
    return corpus


def columns(config: TrainConfig) -> list[str]:
    """Of a table: question, context, answer."""
    names = tabular.wanted(config.text_column, config.label_column)
    if len(names) != 3:
        raise InputError(f"--text-column {config.text_column}: give two columns, QUESTION,CONTEXT")
    return names


def count_labels(config: TrainConfig) -> int:
    return 0


def prepare(config: TrainConfig, run: Run, recipe: dict) -> tuple[Corpus, Backbone]:
    corpus = base.read(load, config)
    backbone = base.pieces_backbone(config, recipe)
    check_pairs(backbone)
    return corpus, backbone


class SpanBatches(Batches):
    """Windows of questions about `passages`, whose pieces are `placed`. Each is an item of a batch, as in run_squad.
    `tokens` (W, 2), where they are known: where the answer begins and ends in each window."""

    def __init__(
        self,
        rows: Windows,
        passages: list[str],
        placed: Placed,
        tokens: np.ndarray | None,
        batch_size: int,
        seed: int = 0,
        pad: int = 0,
    ):
        super().__init__(rows.sequences, tokens, batch_size, seed, pad)
        self.windows, self.passages, self.placed = rows, passages, placed
        self.best = Pieces(rows.best, rows.sequences.rows.offsets)  # as the tokens are divided


def windows_of(
    questions: Sequence[str], contexts: Sequence[str], vocabulary: Vocabulary, config: TrainConfig, placing: Callable
) -> tuple[Windows, list[str], Placed]:
    """(windows, distinct passages, their pieces). `placing` is place, or place_cached."""
    passages = list(dict.fromkeys(contexts))
    number = {passage: i for i, passage in enumerate(passages)}
    placed, asked = placing(vocabulary, passages), vocabulary.encode(questions)
    about = [number[context] for context in contexts]
    return windows(asked, placed.pieces, about, vocabulary, config.max_length, config.stride), passages, placed


def batches(split: Questions, vocabulary: Vocabulary, config: TrainConfig, name: str) -> SpanBatches:
    """For training without the questions whose answer is not in their context; else with all of them."""
    rows, passages, placed = windows_of(split.questions, split.contexts, vocabulary, config, place_cached)
    answers = [answer_of(golds, *placed.places(i)) for golds, i in zip(split.golds, rows.about, strict=True)]
    known, tokens = np.array([answer is not None for answer in answers], bool), targets(rows, answers)
    remarks = in_words(rows, known, tokens, config)
    if name == "train":
        chosen = np.flatnonzero(known[rows.questions])
        rows, tokens = rows.take(chosen), tokens[chosen]
        remarks += [f"left out, since their answer is not in the context: {(~known).sum():,}"] * bool((~known).any())
    if not len(tokens):
        raise InputError(f"the {name} split has no window: none of its contexts has a word piece")
    result = SpanBatches(rows, passages, placed, tokens, config.batch_size, config.seed, vocabulary.pad)
    result.description = "; ".join(remarks)
    return result


def answer_of(golds: Sequence[squad.Gold], starts: np.ndarray, ends: np.ndarray) -> tuple[int, int] | None:
    """(first, last) piece of the first gold answer that is in its passage."""
    for gold in golds:
        if gold.start is not None and (span := locate(starts, ends, gold.start, gold.start + len(gold.text))):
            return span
    return None


def in_words(rows: Windows, known: np.ndarray, tokens: np.ndarray, config: TrainConfig) -> list[str]:
    whole = np.zeros(len(known), bool)
    whole[rows.questions[tokens[:, 1] > 0]] = True
    cut, long = rows.sequences.truncated, int((known & ~whole).sum())
    remarks = [f"{len(known):,} questions in {len(tokens):,} windows of up to {config.max_length} tokens"]
    remarks += [f"questions cut to {longest_question(config.max_length)} pieces: {cut:,}"] * bool(cut)
    return remarks + [f"answers that no window holds whole: {long:,}"] * bool(long)


# ---- training -------------------------------------------------------------------------------------------------------


def loss(config: TrainConfig, corpus: Corpus) -> Callable:
    return span_loss


def span_loss(model, batch: Batch, carry):
    """Half the sum of the cross-entropies of the answer's first and last token over the real tokens of its window
    (run_squad takes padding in), summed over the windows."""
    logits, mask = model(**batch.inputs), batch.inputs["mask"]  # (B, T, 2)
    if mask is not None:
        logits = logits.masked_fill(mask[..., None] == 0, float("-inf"))
    return {"label": F.cross_entropy(logits, batch.targets["labels"], reduction="sum") / 2}, carry


# ---- evaluation -----------------------------------------------------------------------------------------------------


def evaluate(
    batches: SpanBatches, corpus: Corpus, device: torch.device, precision: Precision, quiet: bool = True
) -> Callable:
    """(model) -> {answer_f1, exact_match} on the questions of the dev split."""
    golds = gold_texts(corpus.dev)

    def scores(model) -> dict[str, float]:
        found = find_answers(model, batches, device, precision, quiet, 1)
        scores = Scores.of(texts_of(found), golds)
        return {"answer_f1": float(scores.f1.mean()), "exact_match": float(scores.exact.mean())}

    return scores


def gold_texts(split: Questions) -> list[list[str]]:
    return [[gold.text for gold in golds] for golds in split.golds]


def texts_of(found: list[list[Answer]]) -> list[str | None]:
    """The best answers; None for a question that has none."""
    return [answers[0].text if answers else None for answers in found]


@torch.no_grad()
@copies_kept()
def find_answers(
    model, batches: SpanBatches, device: torch.device, precision: Precision, quiet: bool = True, most: int = BEST
) -> list[list[Answer]]:
    """The `most` best answers to each of N questions, in their order; see text/spans.py."""
    assert not model.training
    rows, lengths = batches.windows, batches.sequences.rows.lengths
    order, parts = parallel.share(batches.sorted_order(CPU_TOKENS if device.type == "cpu" else None)), []
    for chosen in through("evaluating", quiet)(order):
        batch = batches.collate(chosen).to(device)
        with precision.autocast(device):
            logits = model(**batch.inputs).float().cpu().numpy()
        best = padded(batches.best, chosen, 0)[0].astype(bool)
        parts.append(candidates(logits, rows.sequences.first[chosen], lengths[chosen], best))
    numbers, parts = zip(*parallel.gather((order, parts)), strict=True)
    found = Candidates.join(sum(parts, []), sum(numbers, []))
    return decode(found, rows, batches.placed, batches.passages, most)


def result(predictor: "Predictor", split: Questions, quiet: bool) -> Result:
    start = time.perf_counter()
    found = predictor.n_best(split.items, 1, quiet)
    seconds = time.perf_counter() - start
    scores = Scores.of(texts_of(found), gold_texts(split), split.titles)
    unanswered = sum(not answers for answers in found)
    remarks = [f"intervals over {scores.count:,} {scores.units}", *split.remarks()]
    summary = {
        "metrics": {name: vars(value) for name, value in scores.intervals().items()},
        "unanswered": unanswered,
        "remarks": remarks + [f"questions without an answer, which count as 0: {unanswered:,}"] * bool(unanswered),
        "documents_per_s": len(split) / seconds,
    }
    return Result(summary, paired(scores), lambda: further(split, found, scores))


def paired(scores: Scores) -> tuple[F1Scores, ExactMatches]:
    """By what two runs are compared."""
    return F1Scores(scores), ExactMatches(scores.exact)


def further(split: Questions, found: list[list[Answer]], scores: Scores) -> dict:
    """What a page shows besides: the errors."""
    probability = np.array([answers[0].probability if answers else 0.0 for answers in found])

    def describe(i: int) -> dict:
        answer = f"{found[i][0].text} {probability[i]:.1%}" if found[i] else "nothing"
        golds = " / ".join(dict.fromkeys(gold.text for gold in split.golds[i]))
        return {"facts": {"answered": answer, "right": golds}, "texts": [split.questions[i], split.contexts[i]]}

    rows = worst_first(scores.f1 == 0, probability)
    return {"errors": mistakes("answers without a right word, the most confident first", rows, describe)}


def chance(corpus: Corpus) -> dict:
    """Of no answer."""
    return {"metric": "answer_f1", "value": 0.0, "lower_is_better": False}


# ---- prediction -----------------------------------------------------------------------------------------------------


class Predictor(base.Predictor):
    """What answers questions about passages."""

    unexplained = "an answer is a piece of its passage, which is another one when a word of it is left out"

    def predict(self, question: str | Sequence[tuple[str, str]], context: str | None = None) -> Answer | list[Answer]:
        """The best answer to a question about a context; or to each of a list of pairs (question, context). An answer
        has `text`, `probability`, and `start` and `end`, which are its characters in the context. Raises InputError for
        what is no such pair, and for an empty one."""
        if context is not None:
            return self.predict([(question, context)])[0]
        return [answers[0] if answers else NO_ANSWER for answers in self.n_best(question, 1)]

    def n_best(self, pairs: Sequence[tuple[str, str]], most: int = BEST, quiet: bool = True) -> list[list[Answer]]:
        """The best answers to each (question, context), at most 20, best first; none where a context has no word
        piece."""
        pairs = base.listed(pairs, "pairs (question, context)", "predict(question, context)")
        if most < 1:
            raise InputError(f"most is {most}; expected 1 to {BEST}")
        for number, pair in enumerate(pairs):
            if not isinstance(pair, tuple | list) or len(pair) != 2:
                raise InputError(f"pair {number}: expected (question, context), got {pair!r:.60}")
            base.check_strings(pair, f"pair {number}")
            squad.check(f"pair {number}", *pair)
        if not pairs:
            return []
        rows, passages, placed = windows_of(*zip(*pairs, strict=True), self.vocabulary, self.config, place)
        if not len(rows.starts):
            return [[] for _ in pairs]
        batches = SpanBatches(rows, passages, placed, None, base.BATCH, pad=self.vocabulary.pad)
        self.model.to(self.device)
        return find_answers(self.model, batches, self.device, self.precision, quiet, most)

    def described(self, split: Questions, name: str, quiet: bool) -> Described:
        lengths = np.array([len(context.split()) for context in split.contexts])
        return Described(split.items, lengths, "words of the context", 0, 0, {})

    def out_of_fold(self, split: Questions, quiet: bool) -> tuple[dict, dict]:
        """Of a question without an answer both places are 0."""
        best = [answers[0] if answers else NO_ANSWER for answers in self.n_best(split.items, 1, quiet)]
        _, probabilities, starts, ends = map(np.array, zip(*best, strict=True))
        return {"starts": starts, "ends": ends, "probabilities": probabilities}, {}

    @staticmethod
    def judge(arrays: dict[str, np.ndarray], corpus: Corpus) -> Judged:
        split, places = corpus.test, zip(arrays["starts"].tolist(), arrays["ends"].tolist(), strict=True)
        texts = [context[a:b] if b else None for context, (a, b) in zip(split.contexts, places, strict=True)]
        scores = Scores.of(texts, gold_texts(split), split.titles)
        return scores.intervals(), paired(scores)

    def answer_columns(self, asked: Asked) -> dict[str, Value]:
        """answer, the place of its first character, and probability, of each of the best answers."""
        if asked.all_probabilities:
            raise InputError(f"{self.run.folder} answers questions: --all-probabilities needs labels; see --top-k")
        return ranked({"answer": "", "answer_start": None, "probability": None}, min(asked.top_k, BEST))

    def answers(self, pairs: Sequence[tuple[str, str]], asked: Asked) -> list[list[Value]]:
        """A value of each of these columns for each (question, context)."""
        columns, rows = list(self.answer_columns(asked).values()), []
        for best in self.n_best(pairs, min(asked.top_k, BEST)):
            values = [value for answer in best for value in (answer.text, answer.start, answer.probability)]
            rows.append(values + columns[len(values) :])
        return rows

    def records(self, lines: LineReader, kind: str, names: dict[str, Value]) -> Records:
        """The questions of a file: of a table or of JSON Lines, else of JSON as SQuAD has it, or an array."""
        wanted, _ = squad.optional_columns(columns(self.config), answered=False)
        if kind == "lines":
            raise no_lines(lines.name)
        if kind in ("csv", "tsv", "jsonl"):
            return of_columns(lines, kind, wanted, as_pair, names)
        return JsonDocument(lines, lambda content, name: asked_in(content, name, wanted), names)

    def read(self, path: str) -> Questions:
        return squad.read(str(path), columns(self.config), self.config.encoding, "test")


def predict_file(predictor: Predictor, source: str | os.PathLike, arguments) -> None:
    """One JSON object {id: answer}, as SQuAD's evaluation reads it; with --top-k N above 1 {id: its N best answers with
    their probabilities and places}. A file without ids has the numbers of its rows from 1. Nothing is printed where the
    file cannot be read to its end: half an object is none."""
    ending = ending_of(source)
    kind = arguments.format or (ending if f".{ending}" in squad.FORMATS else "json")
    with opened(source, predictor.config.encoding) as (lines, _):
        if kind == "lines":
            raise no_lines(lines.name)
        lines.longest = squad.longest(kind)
        kept = list(held(lines.texts(), lines.name))
    rows = squad.rows_of(lambda: iter(kept), lines.name, kind, columns(predictor.config), answered=False)
    asked = squad.questions("predict", list(rows), lines.name)
    pairs = list(zip(asked.questions, asked.contexts, strict=True))
    found = predictor.n_best(pairs, arguments.top_k, arguments.quiet)
    answers = [text or "" for text in texts_of(found)]
    if arguments.top_k > 1:
        answers = [[answer._asdict() for answer in best] for best in found]
    if (without := sum(not best for best in found)) and not arguments.quiet:
        print(f"questions without an answer, since their contexts have no word piece: {without:,}", file=sys.stderr)
    print(json_text(dict(zip(asked.names, answers, strict=True)), ensure_ascii=False, indent=2))
