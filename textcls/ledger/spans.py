"""The blocks of models that look for answers: the decoder over BERT, and the head of two logits a token."""

from textcls.ledger.blocks import LONG, lstm
from textcls.ledger.plan import FLOAT, Block, Step


def span_decoder(step: Step, features: int, units: int, layers: int, dropout: float) -> list[Block]:
    """A bidirectional LSTM over hidden states (B, T, F) that are trained too, with dropout before it."""
    before = Block("decoder's dropout", "head", {"dropout mask (B, T, F)": step.slots * features * (dropout > 0)})
    return [before, *(lstm(step, features, units, layers, dropout, index, 2, True) for index in range(layers))]


def span_head(step: Step, features: int, dropout: float) -> Block:
    """Dropout, Linear(F -> 2) in float32, and the cross-entropies of where the answer begins and ends."""
    slots = step.slots
    saved = {
        "dropout mask (B, T, F)": slots * features * (dropout > 0),
        "input (B, T, F)": FLOAT * slots * features,
        "log-probabilities (B, T, 2)": 2 * FLOAT * slots,
        "padding (B, T)": slots * step.padded,
        "tokens (B, 2)": 2 * LONG * step.batch,
    }
    return Block(
        "answer spans",
        "head",
        saved,
        flop=4 * slots * features,
        trainable=2 * features + 2,
        extra=2 * FLOAT * slots * (features + 2),
    )
