"""The linear reference: a TF-IDF bag of words and pairs of words."""

from collections.abc import Callable

import torch
from torch.nn import functional as F

from textcls.config import TrainConfig
from textcls.ledger.blocks import LONG
from textcls.ledger.heads import cross_entropy
from textcls.ledger.plan import FLOAT, Block, Step
from textcls.models.linear import LinearClassifier, Loss
from textcls.models.recurrent import WordDims
from textcls.recipes.common import backbone_name, never, share_nothing
from textcls.runtime import parallel
from textcls.tasks.classification import balanced_weights, label_loss
from textcls.text.batches import IGNORED, Batches
from textcls.text.vocabulary import SPECIAL, Vocabulary

FITTING = 20  # tensors of the weights' size that the fit holds at its worst moment, beside those of a training step
PAIR = 0.5  # what a pair of words counts beside a word, chosen on the dev documents of eleven corpora


def linear(c: TrainConfig, dims: WordDims, labels: int) -> LinearClassifier:
    return LinearClassifier(dims.vocab_size, labels, len(SPECIAL))


def linear_blocks(c: TrainConfig, dims: WordDims, labels: int, step: Step) -> list[Block]:
    """A bag of at most T distinct words a document. The most memory is taken before the first update, by the fit."""
    saved = {
        "words and their values (B * T)": (LONG + FLOAT) * step.slots,
        "first words, sizes (B)": 3 * LONG * step.batch,
        "cross-entropy": cross_entropy(step.batch, labels),
    }
    trainable, flop = dims.vocab_size * labels + labels, 2 * step.slots * labels
    extra = max(6 * LONG * step.slots, FITTING * FLOAT * trainable)
    return [Block("classifier", "head", saved, flop, trainable, extra=extra)]


def begin_linear(c: TrainConfig, model: LinearClassifier, batches: dict[str, Batches], vocabulary: Vocabulary) -> str:
    """Fit the model to the training documents, and choose on dev."""

    def loss_of(labels: torch.Tensor) -> Loss:
        weights = class_weights(c, labels, model.weight.shape[1])

        def loss(logits, labels):
            if labels.dim() == 2:
                return -(labels * logits.log_softmax(1)).sum()
            return label_loss(logits, labels, weights, c.label_smoothing)

        return loss

    def taught(labels: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        weights = class_weights(c, labels, model.weight.shape[1])
        return soft_targets(labels, teacher, c.teacher_weight, weights, c.label_smoothing)

    return fitted(model, batches, vocabulary, loss_of, taught)


def class_weights(c: TrainConfig, labels: torch.Tensor, num_labels: int) -> torch.Tensor | None:
    return balanced_weights(labels[labels != IGNORED].numpy(), num_labels) if c.class_weights == "balanced" else None


def soft_targets(
    labels: torch.Tensor, teacher: torch.Tensor, weight: float, scale: torch.Tensor | None, smoothing: float
) -> torch.Tensor:
    """What each class counts (N, C) in the cross-entropy of N documents, whose sum over them is N times (1 - weight) *
    the mean loss of those that have one of the `labels` (N,), with the class weights `scale` (C,) and the label
    smoothing, + weight * the mean cross-entropy to the `teacher`'s probabilities (N, C)."""
    num_labels, labelled = teacher.shape[1], labels != IGNORED
    own = (1 - smoothing) * F.one_hot(labels.where(labelled, 0), num_labels) + smoothing / num_labels
    own = own if scale is None else own * scale
    share = labelled[:, None] * len(labels) / labelled.sum()
    return (1 - weight) * share * own + weight * teacher


def fitted(
    model: LinearClassifier,
    batches: dict[str, Batches],
    vocabulary: Vocabulary,
    loss_of: Callable[[torch.Tensor], Loss],
    taught: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
) -> str:
    """Fit the model by the loss that `loss_of` makes of the training labels; where there is a teacher, to what `taught`
    makes of them and its probabilities. Of several processes the first one fits for all."""
    words = None
    if parallel.is_first():
        texts, labels, teacher = read(batches["train"])
        dev_texts, dev_labels, _ = read(batches["dev"])
        worth = torch.where(torch.from_numpy(vocabulary.is_pair()), PAIR, 1.0)
        model.learn_idf(texts, worth)
        loss, targets = loss_of(labels), labels if teacher is None else taught(labels, teacher)
        words = model.fit(model.bags(texts), targets, model.bags(dev_texts), dev_labels, loss)
    words, state = parallel.from_first((words, model.state_dict() if parallel.is_first() else None))
    model.load_state_dict(state)
    return f"linear: {words}"


def read(batches: Batches) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor | None]:
    """(ids (B, T) of each batch, labels (N,), or of several a text (N, C), and the teacher's probabilities (N, C), None
    where there is no teacher, in their order). A window of a long document counts as a document."""
    texts, found = [], {"labels": [], "teacher": []}
    for documents in batches.sorted_order():
        batch = batches.collate(documents)
        texts.append(batch.inputs["ids"])
        owner = batch.targets.get("owner", slice(None))
        for name in found.keys() & batch.targets.keys():
            found[name].append(batch.targets[name][owner])
    return texts, torch.cat(found["labels"]), torch.cat(found["teacher"]) if found["teacher"] else None


ROWS = {
    ("linear", "classification"): {
        "input": "bag",
        "build": linear,
        "blocks": linear_blocks,
        "encoder": None,
        "share": share_nothing,
        "begin": begin_linear,
        "frozen": never,
        "amp": "off",
        "describe": backbone_name,
        "about": {"sequence modelling": "none", "pooling": "TF-IDF bag of words and pairs of words"},
        # The weights are fitted before the first update. The loop's one epoch, at a rate that float32 hardly sees,
        # leaves them where they are, measures them on dev, and writes the run folder of every other model.
        "defaults": {
            "lr": 1e-8,
            "epochs": 1,
            "weight_decay": 0.0,
            "warmup": 0.0,
            "vocab_size": 1_000_000,
            "min_count": 1,
            "lower": True,
            "max_length": 20_000,
        },
        "without": ("dropout", "word_dropout"),
        "nano": {},
    },
}
