"""A tag for every word of a sentence, marking entities. Dimensions: B rows of a batch, W words, C tags."""

import os
import pathlib
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch.nn import functional as F

from textcls.config import TrainConfig
from textcls.data import conll, folds
from textcls.data.conll import Sentences
from textcls.data.corpus import Corpus
from textcls.metrics import entities
from textcls.metrics.statistics import Interval
from textcls.pretrained.backbone import Backbone, elmo_of, words_of
from textcls.records import stream
from textcls.records.conll import NO_TAG, SentenceRecords
from textcls.records.formats import ending_of
from textcls.records.lines import LineReader
from textcls.records.record import Value
from textcls.report.compare import Judged, Metrics, Result
from textcls.runtime import parallel
from textcls.runtime.device import Precision, copies_kept
from textcls.runtime.errors import InputError
from textcls.runtime.progress import through
from textcls.tasks import base
from textcls.tasks.answers import Asked
from textcls.tasks.contents import Described
from textcls.tasks.mistakes import mistakes, worst_first
from textcls.text.batches import CPU_TOKENS, IGNORED, Batch, Batches, padded
from textcls.text.division import UNBROKEN
from textcls.text.pieces import Chunks, Pieces
from textcls.text.sequences import chunks
from textcls.text.vocabulary import Vocabulary
from textcls.training.run import Run

UNIT = "sentences"
LABELS = "tags"
SELECT = ("f1", "strict_f1", "accuracy")
DEFAULTS = base.DEFAULTS | {
    "text_column": "1",
    "label_column": "-1",
    "select": "f1",
    "dropout": 0.1,
    "max_length": 128,
    "crf": False,
}
DECODED = 256  # sentences that are decoded together


# ---- data -----------------------------------------------------------------------------------------------------------


def load(config: TrainConfig, progress: Callable = iter, vocabulary: Vocabulary | None = None) -> Corpus:
    columns, splits = (config.text_column, config.label_column), (config.train, config.dev_split, config.test_split)
    corpus = conll.load(*splits, *columns, config.seed, config.encoding)
    return folds.cut(corpus, config.fold, config.dev_split, config.seed, UNIT)


def count_labels(config: TrainConfig) -> int:
    return len(conll.labels(config.train, config.text_column, config.label_column, config.encoding))


def prepare(config: TrainConfig, run: Run, recipe: dict) -> tuple[Corpus, Backbone]:
    corpus = base.read(load, config)
    if recipe["input"] == "pieces":
        return corpus, base.pieces_backbone(config, recipe)
    if recipe["input"] == "characters":
        return corpus, elmo_of(config)
    texts = [" ".join(words) for words in corpus.train.words]
    sizes = config.vocab_size, config.min_count
    return corpus, words_of(config, Vocabulary.learn_words(texts, *sizes, UNBROKEN, config.lower))


class TagBatches(Batches):
    """Sentences of tagged words, long ones in several rows; `tags[i]` belong to the words that begin at `starts[i]`.
    Without `tags` the words are there to be predicted."""

    def __init__(self, chunked: Chunks, tags: Pieces | None, batch_size: int, seed: int = 0, pad: int = 0):
        super().__init__(chunked.sequences, None, batch_size, seed, pad)
        self.starts, self.tags, self.sentences = chunked.starts, tags, chunked.sentences

    def collate(self, documents: np.ndarray) -> Batch:
        batch = super().collate(documents)
        starts, real = padded(self.starts, documents, 0)
        batch.inputs["starts"] = torch.from_numpy(starts)  # (B, W)
        if self.tags is not None:
            batch.targets["labels"] = torch.from_numpy(padded(self.tags, documents, IGNORED)[0])  # (B, W)
        batch.counts = {"tag": int(real.sum())}
        return batch


def batches(split: Sentences, vocabulary: Vocabulary, config: TrainConfig, name: str) -> TagBatches:
    chunked = chunks(split.words, vocabulary, config.max_length)
    tags = Pieces(np.concatenate(split.tags).astype(np.int32), chunked.starts.offsets)  # divided as their words are
    result = TagBatches(chunked, tags, config.batch_size, config.seed, vocabulary.pad)
    more, words = len(chunked.starts) - len(split), sum(map(len, split.words))
    result.description = f"{len(split)} sentences, {words:,} words; {more} rows more for long sentences"
    return result


# ---- training -------------------------------------------------------------------------------------------------------


def loss(config: TrainConfig, corpus: Corpus) -> Callable:
    return base.penalised(tag_loss(config.label_smoothing), config.mix_l2)


def tag_loss(smoothing: float = 0.0) -> Callable:
    """Summed over words: cross-entropy, or the negative log-likelihood of whole rows where the model has a CRF."""

    def loss_fn(model, batch: Batch, carry):
        scores, labels = model(**batch.inputs), batch.targets["labels"]  # (B, W, C), (B, W)
        if model.crf is None:
            total = F.cross_entropy(
                scores.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum", label_smoothing=smoothing
            )
            return {"tag": total}, carry
        lengths = (labels != IGNORED).sum(1)
        with torch.autocast(scores.device.type, enabled=False):
            return {"tag": model.crf.negative_log_likelihood(scores, labels, lengths).sum()}, carry

    return loss_fn


# ---- evaluation -----------------------------------------------------------------------------------------------------


def evaluate(
    batches: TagBatches, corpus: Corpus, device: torch.device, precision: Precision, quiet: bool = True
) -> Callable:
    """(model) -> {f1 (conlleval), strict_f1, accuracy of words} on these sentences."""
    labels = corpus.labels
    true = [np.concatenate(part) for part in by_sentence(batches)]
    true_names = [[labels[tag] for tag in tags] for tags in true]

    def scores(model) -> dict[str, float]:
        predicted = predict_tags(model, batches, device, precision, quiet)
        names = [[labels[tag] for tag in tags] for tags in predicted]
        return {
            "f1": entities.count(names, true_names).overall()[2],
            "strict_f1": entities.count(names, true_names, strict=True).overall()[2],
            "accuracy": float(np.mean(np.concatenate(predicted) == np.concatenate(true))),
        }

    return scores


def by_sentence(batches: TagBatches) -> list[list[np.ndarray]]:
    sentences: list[list[np.ndarray]] = [[] for _ in range(batches.sentences[-1] + 1)]
    for row, number in enumerate(batches.sentences):
        sentences[number].append(batches.tags[row])
    return sentences


@torch.no_grad()
@copies_kept()
def predict_tags(
    model, batches: TagBatches, device: torch.device, precision: Precision, quiet: bool = True
) -> list[np.ndarray]:
    """The tags of every word of N sentences in their order, (words,) each. The rows of a long sentence are joined
    before the CRF, where there is one, decodes it."""
    assert not model.training
    order = batches.sorted_order(CPU_TOKENS if device.type == "cpu" else None)
    own: dict[int, torch.Tensor] = {}
    for chosen in through("evaluating", quiet)(parallel.share(order)):
        batch = batches.collate(chosen).to(device)
        with precision.autocast(device):
            scores = model(**batch.inputs).float().cpu()
        for row, score, count in zip(chosen, scores, batches.starts.lengths[chosen], strict=True):
            own[row] = score[:count]  # (words, C)
    every = {row: score for share in parallel.gather(own) for row, score in share.items()}
    rows = [every[row] for row in range(len(batches.starts))]
    first = np.searchsorted(batches.sentences, np.arange(batches.sentences[-1] + 2))
    joined = [torch.cat(rows[start:end]) for start, end in zip(first[:-1], first[1:], strict=True)]
    if model.crf is None:
        return [scores.argmax(1).numpy() for scores in joined]
    return decode(model.crf, joined, device)


def decode(crf, scores: list[torch.Tensor], device: torch.device) -> list[np.ndarray]:
    """Viterbi over sentences of like length: (words, C) each -> (words,) each."""
    order = sorted(range(len(scores)), key=lambda i: len(scores[i]))
    tags: list[np.ndarray] = [np.empty(0)] * len(scores)
    for start in range(0, len(order), DECODED):
        chosen = order[start : start + DECODED]
        lengths = torch.tensor([len(scores[i]) for i in chosen], device=device)
        padded = torch.nn.utils.rnn.pad_sequence([scores[i] for i in chosen], batch_first=True).to(device)
        for i, row, length in zip(chosen, crf.decode(padded, lengths).cpu().numpy(), lengths.tolist(), strict=True):
            tags[i] = row[:length]
    return tags


def result(predictor: "Predictor", split: Sentences, quiet: bool) -> Result:
    start = time.perf_counter()
    predicted = predictor.predict(split.words, quiet)
    seconds = time.perf_counter() - start
    true = [[predictor.labels[tag] for tag in tags] for tags in split.tags]
    counts = counted(predicted, true)
    right = [guess == truth for guess, truth in zip(predicted, true, strict=True)]
    summary = {
        "metrics": {name: vars(value) for name, value in intervals(counts).items()},
        "sentences_right": float(np.mean(right)),
        "per_type": {sense: part.per_type() for sense, part in counts.items()},
        "documents_per_s": len(split) / seconds,
    }
    return Result(summary, counts["conlleval"], lambda: further(split.words, predicted, true, counts["conlleval"]))


def counted(predicted: list[list[str]], true: list[list[str]]) -> dict[str, entities.Counts]:
    """The entities in both senses."""
    return {sense: entities.count(predicted, true, sense == "strict") for sense in entities.SENSES}


def intervals(counts: dict[str, entities.Counts]) -> Metrics:
    precision, recall, _ = counts["conlleval"].overall()
    f1 = {"f1": counts["conlleval"].interval(), "strict_f1": counts["strict"].interval()}
    return f1 | {"precision": Interval(precision), "recall": Interval(recall)}


def further(
    words: list[list[str]], predicted: list[list[str]], true: list[list[str]], counts: entities.Counts
) -> dict:
    """What a page shows besides: intervals of each type, and the sentences with the most wrong entities."""

    def describe(i: int) -> dict:
        found, right = (set(entities.spans(tags[i])) for tags in (predicted, true))
        lists = {"missed": right - found, "found instead" if right - found else "found": found - right}
        facts = {what: in_words(words[i], part) for what, part in lists.items() if part}
        return {"facts": facts, "texts": [" ".join(words[i])]}

    wrong = (counts.predicted + counts.true - 2 * counts.correct).sum(1)
    types = {
        name: {kind: vars(value) for kind, value in values.items()} for name, values in counts.type_intervals().items()
    }
    return {"per_type": types, "errors": mistakes("most wrong entities first", worst_first(wrong > 0, wrong), describe)}


def in_words(words: list[str], spans: set[entities.Span]) -> str:
    return ", ".join(f"{' '.join(words[start:end])} ({kind})" for start, end, kind in sorted(spans))


def chance(corpus: Corpus) -> dict:
    """Of no entity."""
    return {"metric": "f1", "value": 0.0, "lower_is_better": False}


# ---- prediction -----------------------------------------------------------------------------------------------------


class Predictor(base.Predictor):
    """A tagger of words."""

    unexplained = "each word has an answer of its own, which is gone when the word is left out"

    def predict(self, sentences: Sequence[Sequence[str]], quiet: bool = True) -> list[list[str]]:
        """A tag for every word of every sentence, however long: lists of words -> lists of tags in BIO. Raises
        InputError for a sentence that is no list of words."""
        sentences = base.listed(sentences, "sentences", "predict([words])")
        for number, words in enumerate(sentences):
            base.check_strings(base.listed(words, f"words as sentence {number}", "[word]"), f"sentence {number}")
        filled = [list(words) for words in sentences if len(words)]
        if not filled:
            return [[] for _ in sentences]
        chunked = chunks(filled, self.vocabulary, self.config.max_length)
        batches = TagBatches(chunked, None, base.BATCH, pad=self.vocabulary.pad)
        self.model.to(self.device)
        tags = iter(predict_tags(self.model, batches, self.device, self.precision, quiet))
        return [[self.labels[tag] for tag in next(tags)] if len(words) else [] for words in sentences]

    def out_of_fold(self, split: Sentences, quiet: bool) -> tuple[dict, dict]:
        numbers = {name: number for number, name in enumerate(self.labels)}
        tags = [np.array([numbers[tag] for tag in tags], np.int64) for tags in self.predict(split.words, quiet)]
        return {"labels": split.tags, "tags": tags}, {}

    @staticmethod
    def judge(arrays: dict[str, np.ndarray], corpus: Corpus) -> Judged:
        ends, names = np.cumsum(arrays["lengths"])[:-1], np.array(corpus.labels)
        counts = counted(*([part.tolist() for part in np.split(names[arrays[of]], ends)] for of in ("tags", "labels")))
        return intervals(counts), (counts["conlleval"],)

    def described(self, split: Sentences, name: str, quiet: bool) -> Described:
        lengths = np.array([len(words) for words in split.words])
        tags = ([self.labels[tag] for tag in tags] for tags in split.tags)
        counts = Counter(kind for sentence in tags for *_, kind in entities.spans(sentence))
        items = [tuple(words) for words in split.words]
        return Described(items, lengths, "words", 0, 0, dict(sorted(counts.items())))

    def answer_columns(self, asked: Asked) -> dict[str, Value]:
        if asked != Asked():
            raise InputError(f"{self.run.folder} gives each word a tag: no --top-k, no --all-probabilities")
        return {"tag": NO_TAG}

    def answers(self, sentences: Sequence[Sequence[str]], asked: Asked) -> list[list[str]]:
        """The tags of each sentence, in the scheme of the training file."""
        scheme = self.meta.get("scheme", "BIO")
        return [conll.from_bio(tags, scheme) for tags in self.predict(sentences)]

    def records(self, lines: LineReader, kind: str, columns: dict[str, Value]) -> SentenceRecords:
        """The sentences of a CoNLL file."""
        check_format(lines.name, kind)
        return SentenceRecords(lines, *self.places(), columns)

    def places(self) -> tuple[int, int]:
        """Of the columns of words and tags."""
        return conll.position(self.config.text_column), conll.position(self.config.label_column)

    def read(self, path: str) -> Sentences:
        rows = list(conll.read(pathlib.Path(path), *self.places(), self.config.encoding))
        return conll.encode("test", rows, self.labels)


def predict_file(predictor: Predictor, source: str | os.PathLike, arguments) -> None:
    """The lines of a CoNLL file with one more column, the predicted tag, in the scheme of the training file: O for the
    beginning of a document, _ for CoNLL-U's ranges and empty nodes. Blank lines end sentences, as ever, and so do
    LONGEST_SENTENCE characters without one: a file is a stream. What comes before a line that cannot be read is answered."""
    for records, chunk in stream.chunks(predictor, source, arguments.format or ending_of(source)):
        answers = iter(predictor.answers([record.item for record in chunk if record.item is not None], Asked()))
        for record in chunk:
            written = records.written(record, None if record.item is None else next(answers))
            print(written.decode(records.lines.codec).removeprefix("\ufeff"), end="")
        sys.stdout.flush()


def check_format(name: str, kind: str) -> None:
    """Raise InputError for what is no CoNLL."""
    if kind in ("csv", "jsonl", "json"):
        raise InputError(f"{name}: a tagger reads CoNLL: a word a line, a blank line between sentences")

