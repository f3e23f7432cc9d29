"""Pre-training: masked words, and whether one text follows another (Devlin et al., 2019, section 3.1).

Dimensions: B pairs of a batch, M masked tokens, V vocabulary.
"""

import itertools
import os
import sys
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch.nn import functional as F

from textcls.config import TrainConfig
from textcls.data import shards
from textcls.data.corpus import Corpus
from textcls.data.plain import Lines
from textcls.data.shards import Passages
from textcls.models.bert import BertConfig
from textcls.models.pretraining import BertForPreTraining
from textcls.pretrained import bert, hub, ppmi
from textcls.pretrained.backbone import Backbone, check_pairs, for_pretraining, say_pooler
from textcls.records import stream
from textcls.records.lines import LineReader
from textcls.records.plain import PlainLines
from textcls.records.record import Records, Value, cell
from textcls.report.compare import Result
from textcls.runtime import parallel
from textcls.runtime.device import Precision, copies_kept
from textcls.runtime.errors import InputError
from textcls.runtime.files import make_folder
from textcls.runtime.memory import check_room
from textcls.runtime.progress import through
from textcls.runtime.tensors import load_trainable
from textcls.tasks import base
from textcls.tasks.answers import Asked
from textcls.tasks.masking import PairBatches
from textcls.text.batches import Batch
from textcls.text.sequences import assemble
from textcls.text.vocabulary import Vocabulary
from textcls.training.run import Run

UNIT = "documents"
LABELS = ""
SELECT = ("loss",)
DEFAULTS = base.DEFAULTS | {
    "select": "loss",
    "accumulate": 8,
    "lr": 1e-4,
    "epochs": 1,
    "warmup": 0.02,
    "dropout": None,
    "next_sentence": True,
    "scratch": False,
    "init": "random",
    "vectors": None,
    "embedding_lr": None,
    "vocab_size": None,
}


# ---- data -----------------------------------------------------------------------------------------------------------


def load(config: TrainConfig, progress: Callable = iter, vocabulary: Vocabulary | None = None) -> Corpus:
    """Plain text in the word pieces of `vocabulary`, tokenised once, as a stream."""
    return shards.load(config.train, config.dev_split, config.test_split, vocabulary, progress, config.encoding)


def count_labels(config: TrainConfig) -> int:
    return 0


def prepare(config: TrainConfig, run: Run, recipe: dict) -> tuple[Corpus, Backbone]:
    """The backbone first: the text is read in its word pieces, which may have to be learned from it before."""
    vocabulary = Vocabulary.from_folder(run.folder) if config.resume else None
    backbone = for_pretraining(config, Lines(config.train, config.encoding), vocabulary)
    base.check_length(config, backbone)
    say_pooler(backbone)
    check_pairs(backbone)
    corpus = load(config, through("reading", config.quiet), backbone.vocabulary)
    if config.init == "ppmi" and not config.resume:
        learn_vectors(backbone, corpus.train, config.seed)
    if backbone.vectors is not None:
        # Where the output's bias says how frequent a word is, its vector need not.
        bias = log_frequencies(corpus.train.counts(), backbone.dims.vocab_size)
        backbone.heads = {"predictions.bias": torch.from_numpy(bias).float()}
    return corpus, backbone


def learn_vectors(backbone: Backbone, passages: Passages, seed: int) -> None:
    """Give the backbone word vectors by the counts of the text (ppmi.py). Of several processes the first one's are
    those that all begin with."""
    size = len(backbone.vocabulary), backbone.dims.hidden_size
    what = f"to count which of {size[0]:,} word pieces stand together (--init ppmi)"
    check_room(ppmi.memory(*size), what, "take fewer with --vocab-size")
    made = ppmi.word_vectors(passages.documents(), *size, seed) if parallel.is_first() else None
    backbone.vectors = parallel.from_first(made)
    backbone.description += f"; word vectors from the neighbours of {int(passages.lengths.sum()):,} word pieces"


def batches(split: Passages, vocabulary: Vocabulary, config: TrainConfig, name: str) -> PairBatches:
    result = PairBatches(split, vocabulary, config.max_length, config.batch_size, config.seed, config.next_sentence)
    tokens, examples = int(split.lengths.sum()), len(result.lengths)
    result.description = f"{len(split):,} documents, {tokens:,} tokens, {examples:,} examples"
    return result


def log_frequencies(counts: np.ndarray, size: int) -> np.ndarray:
    """log((1 + count) / sum) of `size` word pieces, float64."""
    padded = 1.0 + np.pad(counts, (0, size - len(counts)))
    return np.log(padded / padded.sum())


# ---- training -------------------------------------------------------------------------------------------------------


def loss(config: TrainConfig, corpus: Corpus) -> Callable:
    """Cross-entropy of the masked tokens, and of whether B follows A where the model has a head for it; each summed
    over its own targets."""

    def loss_fn(model, batch: Batch, carry):
        tokens, pairs = model(**batch.inputs)  # (M, V), (B, 2)
        masked, smoothing = batch.targets["tokens"], config.label_smoothing
        losses = {"token": F.cross_entropy(tokens.float(), masked, reduction="sum", label_smoothing=smoothing)}
        if pairs is not None:
            losses["pair"] = F.cross_entropy(pairs.float(), batch.targets["labels"], reduction="sum")
        return losses, carry

    return loss_fn


def publish(model: BertForPreTraining, dims: BertConfig, vocabulary: Vocabulary, layers: dict, run: Run) -> str:
    """The best epoch's weights as a folder that --bert opens, and where it is a plain BERT (no `layers`) other libraries
    too; a sentence on where."""
    folder = run.folder / hub.PUBLISHED
    load_trainable(model, run.load("best.pt")["model"], run.folder / "best.pt")
    if parallel.is_first():
        make_folder(folder)
        vocabulary.publish(folder)
        bert.publish(model, dims, layers, folder)
    return f"published as {folder}; use it with: --bert {run.folder}"


# ---- evaluation -----------------------------------------------------------------------------------------------------


def evaluate(
    batches: PairBatches, corpus: Corpus | None, device: torch.device, precision: Precision, quiet: bool = True
) -> Callable:
    """(model) -> :func:`pair_scores` on these examples."""
    return lambda model: pair_scores(model, batches, device, precision, quiet)


@torch.no_grad()
@copies_kept()
def pair_scores(model, batches: PairBatches, device: torch.device, precision: Precision, quiet: bool = True) -> dict:
    """{mlm_nll, mlm_accuracy of the masked tokens, nsp_nll, nsp_accuracy of the pairs where the model has the head,
    nll: the losses' sum}, in nats, with the masks of epoch 0."""
    assert not model.training
    sums: dict[str, list[torch.Tensor]] = {}
    for numbers in through("evaluating", quiet)(parallel.share(batches.order(0))):
        batch = batches.collate(numbers).to(device)
        with precision.autocast(device):
            logits = dict(zip(("mlm", "nsp"), model(**batch.inputs), strict=True))
        for name, targets in (("mlm", batch.targets["tokens"]), ("nsp", batch.targets["labels"])):
            if logits[name] is not None:
                nll = F.cross_entropy(logits[name].float(), targets, reduction="sum").double()
                right = (logits[name].argmax(1) == targets).sum()
                sums.setdefault(name, []).append(torch.stack([nll, right, torch.tensor(len(targets)).to(nll)]))
    scores = {}
    for name in ("mlm", "nsp") if batches.next_sentence else ("mlm",):
        own = torch.stack(sums[name]).sum(0).tolist() if name in sums else [0.0, 0.0, 0.0]
        nll, right, count = parallel.add(dict(zip(range(3), own, strict=True))).values()
        scores |= {f"{name}_nll": nll / count, f"{name}_accuracy": right / count}
    return scores | {"nll": sum(value for name, value in scores.items() if name.endswith("_nll"))}


def result(predictor: "Predictor", split: Passages, quiet: bool) -> Result:
    return base.scored(predictor, split, quiet)


def chance(corpus: Corpus) -> dict:
    """Of each word piece in proportion to its count in the training text."""
    train, dev = corpus.train.counts(), corpus.dev.counts()
    logs = log_frequencies(train, max(len(train), len(dev)))
    nll = -(dev * logs[: len(dev)]).sum() / dev.sum()
    return {"metric": "mlm_nll", "value": float(nll), "lower_is_better": True}


# ---- prediction -----------------------------------------------------------------------------------------------------


class Predictor(base.Predictor):
    """A pre-trained model with its heads."""

    def scores(self, split: Passages, quiet: bool = True) -> dict[str, float]:
        """:func:`pair_scores` of plain text."""
        c = self.config
        batches = PairBatches(split, self.vocabulary, c.max_length, base.BATCH, c.seed, c.next_sentence)
        self.model.to(self.device)
        return pair_scores(self.model, batches, self.device, self.precision, quiet)

    def read(self, path: str) -> Passages:
        return shards.text(path, self.vocabulary, self.config.encoding)

    @torch.no_grad()
    def fill(self, text: str) -> list[dict[str, float]]:
        """{word piece: probability}, likeliest first, for each [MASK] of a text; what is beyond the model's length is
        cut. Raises InputError for a text without one."""
        base.check_strings((text,), "fill")
        sequences = assemble([self.vocabulary.encode([text])], self.vocabulary, self.config.max_length)
        ids = torch.from_numpy(sequences.rows[0].astype(np.int64))
        places = (ids == self.vocabulary.mask).nonzero()[:, 0]
        if not len(places):
            raise InputError(f"no [MASK] among the first {self.config.max_length} tokens of {text[:60]!r}")
        self.model.to(self.device)
        logits, _ = self.model(ids[None].to(self.device), None, None, places.to(self.device))
        answers = []
        for row in logits.float().softmax(1).cpu():
            values, order = row.sort(descending=True)
            names = map(self.vocabulary.tokenizer.id_to_token, order.tolist())
            answers.append(dict(zip(names, values.tolist(), strict=True)))
        return answers


    def answer_columns(self, asked: Asked) -> dict[str, Value]:
        if asked != Asked():
            raise InputError(f"{self.run.folder} fills masks: --out has the likeliest piece of each alone")
        return {"pieces": "", "probabilities": ""}

    def answers(self, texts: Sequence[tuple[str]], asked: Asked) -> list[list[Value] | InputError]:
        """The likeliest word piece of each [MASK], and its probability, with blanks between. InputErrors for texts
        without one."""
        answers = []
        for (text,) in texts:
            if not text.strip():
                answers.append(["", ""])
                continue
            try:
                best = [next(iter(pieces.items())) for pieces in self.fill(text)]
            except InputError as error:
                answers.append(error)
            else:
                answers.append([" ".join(piece for piece, _ in best), " ".join(cell(value) for _, value in best)])
        return answers

    def records(self, lines: LineReader, kind: str, columns: dict[str, Value]) -> Records:
        """A text a line."""
        check_format(kind)
        return PlainLines(lines, lambda where, texts: tuple(texts), columns)


def check_format(kind: str | None) -> None:
    """Raise InputError for tables, of which the run knows no column."""
    if kind in ("csv", "tsv", "jsonl", "json"):
        raise InputError(f"--format {kind} goes with classifiers; masked words are read a text a line")


def predict_file(predictor: Predictor, source: str | os.PathLike, arguments) -> None:
    """The likeliest word pieces, with their probabilities, for each [MASK] of a line: tab-separated. Every line has its
    line of answers: of one without a [MASK] it is empty, and where that line is not blank standard error says so."""
    for _, chunk in stream.chunks(predictor, source, arguments.format or "lines"):
        for record in chunk:
            (text,) = record.item
            try:
                answers = predictor.fill(text)
            except InputError as error:
                answers = []
                if text.strip():
                    print(f"{record.where}: {error}", file=sys.stderr)
            best = [itertools.islice(pieces.items(), arguments.top_k) for pieces in answers]
            print("\t".join(f"{piece}\t{probability:.4f}" for part in best for piece, probability in part), flush=True)
