"""The blocks that end a model: pooling, classifiers, tags, the heads of pre-training; see blocks.py.

Dimensions: B micro-batch, T tokens, W words, H hidden, S LSTM units per direction, F features, C classes, V vocabulary,
M masked tokens.
"""

from textcls.ledger.blocks import LONG
from textcls.ledger.plan import FLOAT, Block, Step
from textcls.models.bert import BertConfig


def cross_entropy(batch: int, labels: int) -> int:
    """Log-probabilities and labels."""
    return batch * (FLOAT * labels + LONG) + FLOAT


def taught(blocks: list[Block], labels: int, step: Step, weight: float) -> list[Block]:
    """The blocks of a classifier that learns from a teacher too, or with `weight` 1 from it alone."""
    saved = blocks[-1].saved
    saved["cross-entropy to the teacher (B, C)"] = 2 * FLOAT * step.batch * labels
    if weight == 1:
        del saved["cross-entropy"]
    return blocks


def bert_head(dims: BertConfig, step: Step, labels: int, dropout: float, pooling: str) -> Block:
    """Pooling, dropout, classifier, cross-entropy. In float32 the product of BERT's own pooler keeps [CLS] as a view,
    and with it the whole last hidden state."""
    B, H, width = step.batch, dims.hidden_size, step.width
    if pooling != "cls":
        return classifier(step, H, pooling, steps(step, H, pooling, FLOAT, True), labels, dropout)
    saved = {
        "last hidden state": FLOAT * step.slots * H if step.dtype is None else width * B * H,
        "tanh": width * B * H,
        "dropout": (width + 1) * B * H * (dropout > 0),
        "cross-entropy": cross_entropy(B, labels),
    }
    return Block(
        "classifier",
        "head",
        saved,
        flop=2 * B * H * (H + labels),
        trainable=H * H + H + H * labels + labels,
        products=H * (H + labels),
        extra=FLOAT * step.slots * H,
    )


def bilstm_head(step: Step, features: int, labels: int, dropout: float, pooling: str) -> Block:
    """Pooling, LayerNorm, Linear, GELU, dropout, Linear, cross-entropy."""
    B, half, width = step.batch, features // 2, step.width
    F = features * count_of(pooling)
    # Autocast lowers the weighted sum of attention alone, and on CUDA lifts LayerNorm's input to float32.
    normed = width if step.device == "cpu" and pooling == "attention" else FLOAT
    saved = pooled(step, features, 2, pooling) | {
        "pooled (B, F)": B * F * (normed + width) + 2 * FLOAT * B,
        "hidden (B, S)": B * half * (2 * width + (dropout > 0)),
        "cross-entropy": cross_entropy(B, labels),
    }
    return over_pooling(step, features, pooling, saved, half * (F + labels), 2 * F + half + labels)


def pooled_head(step: Step, features: int, directions: int, pooling: str, labels: int, dropout: float) -> Block:
    """Pooling of an LSTM's steps, dropout, classifier, cross-entropy."""
    return classifier(step, features, pooling, pooled(step, features, directions, pooling), labels, dropout)


def classifier(step: Step, features: int, pooling: str, saved: dict[str, int], labels: int, dropout: float) -> Block:
    """Dropout, Linear and cross-entropy over a pooling of vectors of so many `features` that keeps `saved`."""
    B, F = step.batch, features * count_of(pooling)
    largest = FLOAT * B * features * (pooling == "max" and dropout > 0)  # the maxima, beside what dropout left of them
    saved = saved | {
        "dropout": B * F * (dropout > 0),
        "pooled (B, F)": step.width * B * F + largest,
        "cross-entropy": cross_entropy(B, labels),
    }
    return over_pooling(step, features, pooling, saved, F * labels, labels)


def over_pooling(step: Step, features: int, pooling: str, saved: dict[str, int], weights: int, others: int) -> Block:
    """A head that pools: `weights` of its matrix products and `others` (biases, LayerNorm), beside those of attention
    pooling: a score a step, and the weighted sum."""
    scored = features * ("attention" in pooling)
    return Block(
        "pooling and classifier",
        "head",
        saved,
        flop=4 * step.slots * scored + 2 * step.batch * weights,
        trainable=scored + (scored > 0) + weights + others,
        products=scored + weights,
        extra=FLOAT * step.slots * features,
    )


def count_of(pooling: str) -> int:
    """Poolings side by side."""
    return len(pooling.split("+"))


def pooled(step: Step, features: int, directions: int, pooling: str) -> dict[str, int]:
    """What turning the LSTM's steps into one vector keeps."""
    return steps(step, features, pooling, step.lstm_width, directions == 2 or step.device == "cuda")


def steps(step: Step, features: int, pooling: str, hidden: int, alone: bool) -> dict[str, int]:
    """What turning vectors (B, T, F), whose elements have `hidden` bytes, into one keeps; `alone`: nobody below keeps
    these vectors."""
    if pooling in ("mean+max", "attention+max"):
        first, second = (steps(step, features, kind, hidden, alone) for kind in pooling.split("+"))
        if pooling == "attention+max" and step.dtype is None and not step.padded:
            second.pop("steps (B, T, F)")  # the same tensor
        second["maxima (B, F)"] = FLOAT * step.batch * features
        return first | {f"of the maxima: {what}": size for what, size in second.items()}
    B, slots, width = step.batch, step.slots, step.width
    if pooling == "last":
        return {"places of the last states": LONG * B * (1 + step.padded)}
    if pooling == "mean":
        return {"mask (B, T)": (slots + FLOAT * B) * step.padded}
    if pooling == "max":
        copied = step.padded or alone  # else it is the LSTM's own output
        return {"steps (B, T, F)": hidden * slots * features * copied, "mask (B, T)": slots * step.padded}
    return {
        # Autocast lowers them for the scores, and again for the sum, unless they are low already.
        "steps (B, T, F)": (2 * width if hidden > width else hidden) * slots * features,
        "attention weights (B, T)": (FLOAT + (width if step.dtype else 0)) * slots,
        "mask (B, T)": slots * step.padded,
    }


def tag_head(
    step: Step, features: int, labels: int, dropout: float, crf: bool, ends: int = 2, hidden: int = FLOAT
) -> Block:
    """The vectors of the words' first tokens, `hidden` bytes a number, dropout, classifier, cross-entropy or CRF; for as
    many words as a row can have, T less the `ends` around them, since how many pieces a word has is not in the shapes."""
    words = step.tokens - ends
    count, width = step.batch * words, step.width
    saved = {
        "steps (B, T, F)": hidden * step.slots * features,
        "places of the words (B, W)": LONG * count,
        "dropout": count * features * (dropout > 0),
        "words (B, W, F)": width * count * features,
    }
    if crf:
        saved["CRF, sums over pairs of tags (W, B, C, C)"] = crf_bytes(step.batch, words, labels)
    else:
        saved["cross-entropy"] = cross_entropy(count, labels)
    return Block(
        "classifier",
        "head",
        saved,
        flop=2 * count * features * labels,
        trainable=features * labels + labels + (labels * labels + 2 * labels) * crf,
        products=features * labels,
        extra=FLOAT * (step.slots + count) * features,
    )


def crf_bytes(batch: int, words: int, labels: int) -> int:
    """Of each step of the forward algorithm: the sums over pairs, their log-sum-exp, and which rows go on; and of the
    score of the true tags: all scores, which tags, and which words are real."""
    pairs, states = batch * labels * labels, batch * labels
    step = FLOAT * (pairs + states) + batch
    score = FLOAT * words * states + LONG * batch * (words + 1) + batch * words
    return (words - 1) * step + FLOAT * (states + batch) + score


def pretraining_heads(dims: BertConfig, step: Step, next_sentence: bool, masked: float) -> Block:
    """The hidden states of masked tokens, transform, tied product over the vocabulary, cross-entropy; pooler and
    next-sentence head. `masked` is the share of the tokens that is masked."""
    B, H, V, width = step.batch, dims.hidden_size, dims.vocab_size, step.width
    M = round(masked * step.slots)
    copies = 1 if dims.hidden_act == "relu" else 2  # see feed_forward; what comes out of it is LayerNorm's
    normed = width if step.device == "cpu" else FLOAT  # on CUDA autocast lifts LayerNorm's input to float32
    saved = {
        "last hidden state": FLOAT * step.slots * H if step.dtype is None else width * B * H,
        "tanh": width * B * H,
        "places of the masked tokens (M,)": LONG * M,
        "masked tokens (M, H)": copies * width * M * H,
        "LayerNorm (M, H)": (normed + width) * M * H + 2 * FLOAT * M,
        "log-probabilities (M, V)": cross_entropy(M, V),
        "pairs (B, 2)": cross_entropy(B, 2) * next_sentence,
    }
    return Block(
        "heads of pre-training",
        "head",
        saved,
        flop=2 * M * H * (H + V) + 2 * B * H * (H + 2 * next_sentence),
        trainable=2 * (H * H + H) + 2 * H + V + (2 * H + 2) * next_sentence,
        products=2 * H * H + H * V + 2 * H * next_sentence,
        # gradients of the log-probabilities and the logits, of the word embeddings, and of the last hidden state
        extra=2 * FLOAT * M * V + FLOAT * V * H + FLOAT * step.slots * H,
    )
