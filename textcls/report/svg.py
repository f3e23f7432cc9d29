"""Charts as SVG, from numbers. Sizes in pixels; a page of 390 holds a chart without scrolling.

Every mark that stands for a number has its place from a Scale, and says the number in its title.
"""

import dataclasses
import math
from collections.abc import Sequence

from textcls.report.html import escaped

WIDTH, HEIGHT = 350, 250
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 26, 40  # around what is drawn
COLOURS = ("var(--blue)", "var(--orange)", "var(--soft)", "var(--ink)")
DASHES = ("", "6 3", "2 3", "8 3 2 3")  # series are told apart without colours too
Point = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Scale:
    """Values from `low` to `high` onto pixels from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)


@dataclasses.dataclass(frozen=True)
class Series:
    """Points that belong together; `whiskers` are (low, high) of each, where there are any."""

    name: str
    points: Sequence[Point]
    whiskers: Sequence[tuple[float, float]] = ()
    joined: bool = True


def across(low: float, high: float) -> Scale:
    return Scale(low, high, LEFT, WIDTH - RIGHT)


def upward(low: float, high: float) -> Scale:
    return Scale(low, high, HEIGHT - BOTTOM, TOP)


def around(values: Sequence[float], whole: bool = False) -> tuple[float, float]:
    """Bounds that all values lie within, with some room; `whole`: of numbers such as those of epochs, without."""
    low, high = min(values), max(values)
    if low == high:
        return low - 0.5, high + 0.5
    room = 0.0 if whole else 0.05 * (high - low)
    return low - room, high + room


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """At most `most` round numbers from low to high: multiples of 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next(step for factor in (1, 2, 5, 10, 20) if (high - low) / (step := factor * power) <= most - 1 + 1e-9)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def px(value: float) -> str:
    return f"{value:.1f}"


def short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


# ---- parts ----------------------------------------------------------------------------------------------------------


def drawing(title: str, width: float, height: float, marks: Sequence[str]) -> str:
    body = "\n".join(marks)
    return (
        f'<svg role="img" width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}">\n'
        f"<title>{escaped(title)}</title>\n{body}\n</svg>"
    )


def line(x1: float, y1: float, x2: float, y2: float, colour: str = "var(--line)", dash: str = "", width=1.0) -> str:
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    ends = f'x1="{px(x1)}" y1="{px(y1)}" x2="{px(x2)}" y2="{px(y2)}"'
    return f'<line {ends} stroke="{colour}" stroke-width="{width:g}"{dashes}/>'


def words(x: float, y: float, text: str, anchor: str = "middle", more: str = "") -> str:
    return f'<text x="{px(x)}" y="{px(y)}" text-anchor="{anchor}"{more}>{escaped(text)}</text>'


def axes(x: Scale, y: Scale, names: tuple[str, str], whole: bool = False) -> list[str]:
    """Lines at round numbers; what is measured is said below, and above at the left. `whole`: across only integers."""
    marks = []
    for value in ticks(y.low, y.high):
        marks.append(line(x.start, y(value), x.end, y(value)))
        marks.append(words(x.start - 6, y(value) + 4, short(value), "end", ' fill="var(--soft)"'))
    for value in ticks(x.low, x.high, 7):
        if not whole or value == round(value):
            marks.append(line(x(value), y.start, x(value), y.start + 4, "var(--soft)"))
            marks.append(words(x(value), y.start + 17, short(value), more=' fill="var(--soft)"'))
    marks.append(line(x.start, y.start, x.end, y.start, "var(--soft)"))
    return [*marks, words((x.start + x.end) / 2, y.start + 34, names[0]), words(0, 12, names[1], "start")]


def dot(x: float, y: float, colour: str, number: int, title: str) -> str:
    """A circle of the first series, a square of the second, and so on by turns."""
    shapes = (
        f'circle cx="{px(x)}" cy="{px(y)}" r="3.2"',
        f'rect x="{px(x - 3)}" y="{px(y - 3)}" width="6" height="6"',
    )
    return f'<{shapes[number % 2]} fill="{colour}"><title>{escaped(title)}</title></{shapes[number % 2].split()[0]}>'


def drawn(series: Series, number: int, x: Scale, y: Scale) -> list[str]:
    colour, dash = COLOURS[number % 4], DASHES[number % 4]
    marks = [line(x(a), y(low), x(a), y(high), colour, width=1.5)
             for (a, _), (low, high) in zip(series.points, series.whiskers, strict=False)]  # fmt: skip
    if series.joined and len(series.points) > 1:
        path = " ".join(f"{px(x(a))},{px(y(b))}" for a, b in series.points)
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        marks.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dashes}/>')
    for i, (a, b) in enumerate(series.points):
        interval = f" ({short(series.whiskers[i][0])} to {short(series.whiskers[i][1])})" if series.whiskers else ""
        marks.append(dot(x(a), y(b), colour, number, f"{series.name}: {short(a)}, {short(b)}{interval}"))
    return marks


def wide(name: str) -> float:
    """What a name takes of a legend, estimated."""
    return 6.6 * len(name) + 34


def legend(names: Sequence[str], right: float, y: float = 12) -> list[str]:
    """What the series are called, at the right of a line, the first leftmost."""
    marks, end = [], right
    for number, name in reversed(list(enumerate(names))):
        marks.append(words(end, y, name, "end"))
        end -= wide(name) - 14
        marks.append(line(end - 4, y - 4, end + 14, y - 4, COLOURS[number % 4], DASHES[number % 4], 2))
        marks.append(dot(end + 5, y - 4, COLOURS[number % 4], number, name))
        end -= 14
    return marks


# ---- charts ---------------------------------------------------------------------------------------------------------


def curves(title: str, series: Sequence[Series], names: tuple[str, str], best: float | None = None) -> str:
    """Lines over whole numbers such as epochs, of which one may be the `best`."""
    points = [point for one in series for point in one.points]
    x = across(*around([a for a, _ in points], whole=True))
    y = upward(*around([b for _, b in points]))
    marks = axes(x, y, names, whole=True)
    if best is not None:
        marks.append(line(x(best), y.start, x(best), y.end, "var(--soft)", "2 3"))
    for number, one in enumerate(series):
        marks += drawn(one, number, x, y)
    return drawing(title, WIDTH, HEIGHT, [*marks, *legend([one.name for one in series], WIDTH - RIGHT)])


def reliability(title: str, series: Series, names: tuple[str, str]) -> str:
    """Shares over probabilities, both from 0 to 1, beside the line on which they are equal."""
    x, y = across(0, 1), upward(0, 1)
    diagonal = line(x(0), y(0), x(1), y(1), "var(--soft)", "4 3")
    return drawing(title, WIDTH, HEIGHT, [*axes(x, y, names), diagonal, *drawn(series, 0, x, y)])


def shares(title: str, series: Series, names: tuple[str, str]) -> str:
    """A share over a share, from 0 to 1 across, and upward from the lowest of them."""
    lows = [low for low, _ in series.whiskers] or [b for _, b in series.points]
    x, y = across(0, 1), upward(min(0.95, max(0.0, math.floor(min(lows) * 20) / 20)), 1)
    return drawing(title, WIDTH, HEIGHT, [*axes(x, y, names), *drawn(series, 0, x, y)])


def scatter(title: str, points: Sequence[Point], names: tuple[str, str]) -> str:
    """Points beside the line on which both numbers are equal."""
    bounds = around([value for point in points for value in point])
    x, y = across(*bounds), upward(*bounds)
    marks = [line(x(bounds[0]), y(bounds[0]), x(bounds[1]), y(bounds[1]), "var(--soft)", "4 3")]
    for a, b in points:
        place = f'cx="{px(x(a))}" cy="{px(y(b))}" r="2.5" fill="var(--blue)" fill-opacity="0.5"'
        marks.append(f"<circle {place}><title>{short(a)}, {short(b)}</title></circle>")
    return drawing(title, WIDTH, HEIGHT, [*axes(x, y, names), *marks])


def histogram(title: str, bins: Sequence[tuple[float, float, int]], names: tuple[str, str], limit: float) -> str:
    """Bars from `low` to `high` of each bin, as high as its count; a line at the `limit`, where it is among them."""
    x, y = across(bins[0][0], bins[-1][1]), upward(0, max(count for *_, count in bins) * 1.05)
    marks = axes(x, y, names)
    for low, high, count in bins:
        says = f"<title>{short(low)} to {short(high)}: {count:,}</title>"
        size = f'width="{px(max(0.5, x(high) - x(low) - 1))}" height="{px(y.start - y(count))}"'
        marks.append(f'<rect x="{px(x(low))}" y="{px(y(count))}" {size} fill="var(--blue)">{says}</rect>')
    if x.low < limit < x.high:
        marks.append(line(x(limit), y.start, x(limit), y.end, "var(--orange)", "6 3", 2))
        marks.append(words(x(limit) - 5, y.end + 12, f"cut at {short(limit)}", "end"))
    return drawing(title, WIDTH, HEIGHT, marks)


def interval(value: float, low: float, high: float, title: str) -> str:
    """A share with its interval on a line from 0 to 1, small enough for a cell."""
    x = Scale(0, 1, 4, 116)
    marks = [line(x(at), 2, x(at), 14) for at in (0, 0.5, 1)]
    marks += [line(x(low), 8, x(high), 8, "var(--blue)", width=2), dot(x(value), 8, "var(--blue)", 0, title)]
    return drawing(title, 120, 16, marks)


# ---- the confusion matrix -------------------------------------------------------------------------------------------


def confusion(title: str, labels: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """A cell for each true class (down) and predicted class (across) that came together: blue where they are one,
    orange where they are not, the darker the larger its share of the true class. Up to 30 classes have their numbers in
    the cells, all of them in the cells' titles."""
    C = len(labels)
    cell = 52 if C <= 6 else 26 if C <= 30 else 11
    size = 12 if C <= 30 else 9
    names = [label if len(label) <= 18 else f"{label[:17]}…" for label in labels]
    edge = 14 + max(map(len, names)) * size * 0.6
    marks = [words(0, 12, "true class down, predicted class across", "start")]
    top = edge + 14
    for i, name in enumerate(names):
        middle = (i + 0.5) * cell
        says = f'<title>{escaped(labels[i])}</title>'
        small = f' font-size="{size}"'
        marks.append(labelled(edge - 5, top + middle + size * 0.35, name, says, f'text-anchor="end"{small}'))
        x, y = edge + middle + size * 0.35, top - 5
        marks.append(labelled(x, y, name, says, f'transform="rotate(-90 {px(x)} {px(y)})"{small}'))
    marks += grid(C, cell, edge, top)
    for i, row in enumerate(counts):
        for j, count in enumerate(row):
            if count:
                marks += filled(edge + j * cell, top + i * cell, cell, count, sum(row), i == j, (labels[i], labels[j]))
    return drawing(title, max(260, edge + C * cell + 12), top + C * cell + 6, marks)


def labelled(x: float, y: float, name: str, says: str, more: str) -> str:
    return f'<text x="{px(x)}" y="{px(y)}" {more}>{escaped(name)}{says}</text>'


def grid(count: int, cell: float, left: float, top: float) -> list[str]:
    """Around all cells, and every fifth line between them."""
    end, marks = count * cell, []
    for i in sorted({*range(0, count, 5 if count > 6 else 1), count}):
        marks.append(line(left + i * cell, top, left + i * cell, top + end))
        marks.append(line(left, top + i * cell, left + end, top + i * cell))
    return marks


def filled(x: float, y: float, cell: float, count: int, whole: int, right: bool, names: tuple[str, str]) -> list[str]:
    share, colour = count / whole, "var(--blue)" if right else "var(--orange)"
    says = f"{names[0]}, predicted {names[1]}: {count:,} of {whole:,} ({share:.1%})"
    size = f'x="{px(x + 0.5)}" y="{px(y + 0.5)}" width="{cell - 1}" height="{cell - 1}"'
    shade = 0.12 + 0.88 * share
    marks = [f'<rect {size} fill="{colour}" fill-opacity="{shade:.2f}"><title>{escaped(says)}</title></rect>']
    if cell >= 26:
        ink = ' fill="var(--paper)"' if shade > 0.72 else ""
        digits = f"{count:,}" if cell > 26 else str(count)
        size = min(12.0, (cell - 4) / 0.6 / len(digits))
        more = f'{ink} font-size="{size:.1f}" pointer-events="none"'
        marks.append(words(x + cell / 2, y + cell / 2 + size * 0.35, digits, more=more))
    return marks
