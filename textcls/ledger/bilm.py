"""The blocks of ELMo's biLM, and of the softmax that trains it; see blocks.py.

Dimensions: B micro-batch, T words, K characters, U distinct words, N filters, P size of a direction's vectors, S cells,
L layers, V vocabulary; two directions.
"""

import itertools

from textcls.ledger.blocks import LONG
from textcls.ledger.heads import cross_entropy
from textcls.ledger.plan import FLOAT, Block, Step
from textcls.models.elmo import CHARACTERS, ElmoConfig
from textcls.models.language_model import BiLanguageModel, cutoffs_of


def bilm_layers(dims: ElmoConfig, step: Step, ends: int, dropout: float = 0.0) -> list[Block]:
    """`ends`: places that sentence begin and end take beside the words of a row, where the biLM adds them."""
    return [characters(dims, step, ends), *(projected_lstm(dims, step, ends, n, dropout) for n in range(dims.layers))]


def characters(dims: ElmoConfig, step: Step, ends: int) -> Block:
    """Of each distinct word of a micro-batch: characters, convolutions, maxima, highways, projection."""
    n, N, P = dims.characters, dims.num_filters, dims.projection
    places = step.batch * (step.tokens + ends) * (1 if ends else 2)  # a language model reads two streams
    most = (step.slots + 2 + step.padded if ends else places), dims.word_length
    U, K = step.spelled or most
    windows = sum(width * count * (K - width + 1) for width, count in dims.filters)
    above = N * (1 + 3 * dims.highways)
    weights = 2 * N * N * dims.highways + N * P
    saved = {
        "characters (U, K)": (LONG * dims.word_length + FLOAT * n * K) * U,  # the numbers of all places, as a view
        "places of the maxima (U, N)": LONG * U * N,
        "maxima; transform, carry and output of highways (U, N)": FLOAT * U * above,
        "places of the distinct words (B, T)": LONG * places,
    }
    return Block(
        "word vectors from characters",
        "embedding",
        saved,
        flop=2 * U * (n * windows + weights),
        trainable=CHARACTERS * n + sum(width * n * count + count for width, count in dims.filters)
        + weights + 2 * N * dims.highways + P,
        # gradients of a convolution's outputs, twice while it uses them, when what is above is freed; or of a highway
        extra=FLOAT * U * max(2 * max(c * (K - width + 1) for width, c in dims.filters) - above, 4 * N),
    )  # fmt: skip


def projected_lstm(dims: ElmoConfig, step: Step, ends: int, number: int, dropout: float) -> Block:
    """Both directions of layer `number` (from 0)."""
    P, S, T = dims.projection, dims.cells, step.tokens + ends
    steps = 2 * T * step.batch
    own = number == 0 or dropout > 0 or (dims.skip and number > 1)  # else its input is what the layer below gave
    saved = {
        "input of both directions (T, B, P)": FLOAT * steps * P * own,
        "gates, cells, output (T, B, 5S + P)": FLOAT * steps * (5 * S + P),
        "first states (B, S + P)": FLOAT * 2 * step.batch * (S + P),
        "dropout mask": steps * P * (dropout > 0),
    }
    if ends and number == 0:  # what the reversal of the word vectors keeps
        saved["forward words and their order (B, T)"] = (FLOAT * P + LONG) * T * step.batch
    if ends and number > 0 and dims.skip and number + 1 == dims.layers:  # … and that of what comes out at the top
        saved["output with skip connection (T, B, P)"] = FLOAT * steps * P
    return Block(
        f"biLM layer {number + 1}",
        "LSTM",
        saved,
        flop=2 * steps * (2 * P * 4 * S + S * P),
        trainable=2 * (2 * P * 4 * S + 4 * S + S * P),
        extra=FLOAT * steps * (5 * S + 3 * P),  # gradients of the gates, what was projected, what came in
    )


def frozen_bilm(dims: ElmoConfig) -> Block:
    """Nothing of a biLM that is not trained is kept, and with cached vectors it is not run."""
    count = sum(block.trainable for block in bilm_layers(dims, Step(1, 1), 2))
    return Block("frozen biLM", "embedding", {}, frozen=count)


def scalar_mix(dims: ElmoConfig, step: Step, norm: bool, tuned: bool) -> Block:
    """The layers of a word, and their weighted sum. Their normalisation is kept where gradients go below."""
    F, every = dims.hidden_size, dims.layers + 1
    saved = {"normalisation (B, T, L + 1, F)": 2 * FLOAT * step.slots * every * F * (norm and tuned)}
    saved |= {"layers (B, T, L + 1, F)": FLOAT * step.slots * every * F, "their sum (B, T, F)": FLOAT * step.slots * F}
    return Block("mix", "LSTM", saved, flop=2 * step.slots * every * F, trainable=every + 1,
                 extra=2 * FLOAT * step.slots * every * F)  # fmt: skip


def bilm_softmax(dims: ElmoConfig, step: Step, dropout: float) -> Block:
    """Both directions' softmax, adaptive where the vocabulary is large. How many words of a batch are in which cluster
    is not in the shapes: the frequency of a word is taken to be one over its rank (Zipf's law)."""
    P, V, slots = dims.projection, dims.vocab_size, step.slots
    cutoffs = cutoffs_of(V)
    head = (cutoffs[0] if cutoffs else V) + len(cutoffs)
    saved = {
        "dropout mask (B, T, P)": 2 * slots * P * (dropout > 0),
        "states (B, T, P), which are words": 2 * slots * (FLOAT * P + 2 * LONG),
        "log-probabilities of the head": 2 * cross_entropy(slots, head),
    }
    weights = P * head + head
    for number, (begin, end) in enumerate(itertools.pairwise([*cutoffs, V]), 1):
        words, size = round(slots * share(begin, end, V)), int(P / BiLanguageModel.SHRINK**number)
        saved[f"words of ranks {begin:,} to {end:,}"] = 2 * words * (FLOAT * (P + size + end - begin) + 3 * LONG)
        weights += P * size + size * (end - begin)
    # Gradients of one direction's log-probabilities and logits; or of the logits and, which the plan adds, the weights.
    extra = FLOAT * max(2 * slots * head - weights, slots * head)
    return Block("words before and after", "head", saved, 4 * slots * P * head, weights, extra=extra)


def share(begin: int, end: int, vocab_size: int) -> float:
    """Of the words of these ranks among all, where frequencies are as one over the rank."""

    def harmonic(count: int) -> float:
        return sum(1 / rank for rank in range(1, count + 1))

    return (harmonic(end) - harmonic(begin)) / harmonic(vocab_size)
