"""What the words of a text count for, in colours: for a terminal, and as a page."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

from textcls.report import html
from textcls.report.text import in_digits

STRONGEST = 8  # words that are listed
BELOW = "not predicted: below its threshold"
FOR, AGAINST = (9, 105, 218), (188, 76, 0)  # blue and orange, which nearly everybody tells apart


class Word(NamedTuple):
    """Characters `start` to `end` of part `part` of a text, and what they count."""

    part: int
    start: int
    end: int
    value: float


@dataclasses.dataclass(frozen=True)
class Explanation:
    """Why a text, of one part or two, was given an answer: its `words` in their order, above 0 where they speak for it.
    `value` is the probability of the `label`, which is None where it is a score. `note` says what the words' numbers are
    of; `predicted`, whether the label reaches its threshold; `document`, which of the texts it was, from 0."""

    texts: tuple[str, ...]
    label: str | None
    value: float
    words: Sequence[Word]
    note: str
    predicted: bool = True
    document: int = 0

    @property
    def number(self) -> str:
        """The value as a report writes it."""
        return in_digits(self.value) if self.label is None else f"{self.value:.4f}"

    def strongest(self) -> list[Word]:
        """The words that count most, in either direction."""
        ordered = sorted(self.words, key=lambda word: -abs(word.value))
        return [word for word in ordered[:STRONGEST] if word.value]

    def spelled(self, word: Word) -> str:
        return self.texts[word.part][word.start : word.end]

    def shade(self, word: Word) -> float:
        """-1 to 1: its value over the largest of the text."""
        return word.value / max((abs(other.value) for other in self.words), default=1.0) if word.value else 0.0

    def as_json(self) -> dict:
        words = [{"word": self.spelled(word)} | word._asdict() for word in self.words]
        answer = {"label": self.label, "probability": self.value, "predicted": self.predicted}
        answer = {"score": self.value} if self.label is None else answer
        return {"document": self.document, **answer, "words": words, "note": self.note}


def in_terminal(explanation: Explanation, coloured: bool) -> str:
    """The answer, the text, its words shaded where the terminal has colours, and the strongest words."""
    texts = [pieces(explanation, part, ansi if coloured else plain) for part in range(len(explanation.texts))]
    strongest = "  ".join(f"{explanation.spelled(word)} {signed(word.value)}" for word in explanation.strongest())
    label = [] if explanation.label is None else [explanation.label]
    answer = "\t".join([*label, explanation.number, *[BELOW] * (not explanation.predicted)])
    return "\n".join([answer, *texts, f"{strongest or 'no word counts'} ({explanation.note})"])


def signed(value: float, decimals: int = 3) -> str:
    """With so many decimals; of what these would call 0, two digits."""
    return f"{value:+.{decimals}f}" if abs(value) >= 0.5 / 10**decimals or not value else f"{value:+.1e}"


def page(explanations: Sequence[Explanation], title: str) -> str:
    """A page without scripts, and nothing to be fetched."""
    scores = all(explanation.label is None for explanation in explanations)
    do = "raise the score, orange ones lower it" if scores else "speak for the label, orange ones against it"
    what = html.paragraph(f"Blue words {do}; the darkest word of each text counts most.")
    return html.page(title, [what, *map(section, explanations)])


def section(explanation: Explanation) -> str:
    texts = "\n".join(
        f'<p class="text">{pieces(explanation, part, marked)}</p>' for part in range(len(explanation.texts))
    )
    label, number = explanation.label, f"{explanation.value:.1%}"
    answer = explanation.number if label is None else f"{html.escaped(label)} <span>{number}</span>"
    answer += f" <span>{BELOW}</span>" * (not explanation.predicted)
    return (
        f'<section>\n<p class="answer">{answer}</p>\n{texts}\n<p class="note">{html.escaped(explanation.note)}</p>\n'
        "</section>"
    )


def pieces(explanation: Explanation, part: int, write) -> str:
    """A text with what `write(characters, shade, value)` makes of each word, and with 0 of what is between."""
    text, result, position = explanation.texts[part], [], 0
    for word in explanation.words:
        if word.part == part:
            result.append(write(text[position : word.start], 0.0, 0.0))
            result.append(write(text[word.start : word.end], explanation.shade(word), word.value))
            position = word.end
    return "".join([*result, write(text[position:], 0.0, 0.0)])


def plain(characters: str, shade: float, value: float) -> str:
    return shown(characters)


def ansi(characters: str, shade: float, value: float) -> str:
    """On a background of 24-bit colour."""
    if abs(shade) < 0.05:
        return shown(characters)
    red, green, blue = (round(255 - (255 - channel) * abs(shade)) for channel in (FOR if shade > 0 else AGAINST))
    return f"\x1b[48;2;{red};{green};{blue}m\x1b[38;2;0;0;0m{shown(characters)}\x1b[0m"


def shown(characters: str) -> str:
    """Without what would move the cursor or change the terminal."""
    return "".join(c if c.isprintable() or c == "\n" else " " for c in characters)


def marked(characters: str, shade: float, value: float) -> str:
    escaped = html.escaped(characters)
    if abs(shade) < 0.05:
        return escaped
    colour = ", ".join(map(str, FOR if shade > 0 else AGAINST))
    return f'<mark style="background: rgba({colour}, {abs(shade) * 0.6:.2f})" title="{signed(value, 4)}">{escaped}</mark>'
