"""The frame of a page, and its parts: one file without scripts, and nothing to be fetched. All that comes from files is
escaped."""

import html
from collections.abc import Iterable, Sequence

# Colours by name, for paper and screens in light and in dark. Blue and orange, of which no common kind of colour
# blindness makes one, stand for right and wrong, and never alone: shapes, dashes and words say the same.
STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --paper: #fff; --soft: #59636e; --line: #d0d7de; --shade: #f4f6f8;
  --blue: #0a58a8; --orange: #a84300; }
@media screen and (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --paper: #0d1117; --soft: #9aa4af;
  --line: #3d444d; --shade: #161b22; --blue: #6cb6ff; --orange: #ff9d57; } }
body { font: 1rem/1.6 system-ui, sans-serif; max-width: 60rem; margin: 1.5rem auto; padding: 0 1rem;
  color: var(--ink); background: var(--paper); overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; line-height: 1.3; } h2 { font-size: 1.25rem; border-top: 1px solid var(--line);
  padding-top: 1.2rem; margin-top: 2rem; } h3 { font-size: 1.05rem; margin-bottom: .4rem; }
a { color: var(--blue); } nav a { margin-right: 1rem; line-height: 2; }
pre { overflow-x: auto; background: var(--shade); padding: .6rem .8rem; border-radius: .3rem; font-size: .85rem; }
pre.command { white-space: pre-wrap; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .875rem; line-height: 1.4; font-variant-numeric: tabular-nums;
  margin: .8rem 0; }
caption { text-align: left; color: var(--soft); padding-bottom: .3rem; }
caption span { display: inline-block; max-width: calc(100vw - 2rem); }
th, td { padding: .25rem .7rem .25rem 0; text-align: right; vertical-align: top; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
th { font-weight: 600; } tbody th { font-weight: 400; position: sticky; left: 0; background: var(--paper);
  white-space: normal; overflow-wrap: break-word; min-width: 6.5rem; max-width: 14rem; }
th:first-child, table.words td { text-align: left; } table.words th { text-align: left; }
thead th:first-child { white-space: normal; }
table.words td { min-width: 8rem; white-space: normal; overflow-wrap: anywhere; }
.charts { display: flex; flex-wrap: wrap; gap: 0 2.5rem; } .charts figure { width: 350px; }
figure { margin: .8rem 0; max-width: 100%; } figcaption { color: var(--soft); font-size: .875rem; max-width: 45rem; }
svg { display: block; font: 12px system-ui, sans-serif; fill: var(--ink); }
section { border-top: 1px solid var(--line); padding: 1rem 0; break-inside: avoid; }
p.text { white-space: pre-wrap; overflow-wrap: anywhere; margin: .2rem 0; }
p.answer { font-weight: 600; margin: 0; } p.note { color: var(--soft); font-size: .85rem; margin: 0; }
mark { color: inherit; border-radius: .2em; padding: .1em 0; }
@media print { body { max-width: none; margin: 0; font-size: 10pt; } nav { display: none; }
  h2, h3 { break-after: avoid; } pre { white-space: pre-wrap; }
  .scroll { overflow: visible; } figure svg { max-width: 100%; height: auto; }
  .charts { gap: 0 1rem; } .charts figure { width: 48%; } figure, tr { break-inside: avoid; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""
LONGEST = 1500  # characters of a text that are shown


def escaped(text: object) -> str:
    """What a page shows as this text, whatever is in it. Halves of surrogate pairs, which JSON may hold and no file
    can, and what ends a page for some browsers, become the sign for what cannot be shown."""
    return html.escape("".join(c if c in "\r\n\t" or is_shown(ord(c)) else "\ufffd" for c in str(text)))


def is_shown(number: int) -> bool:
    return number >= 32 and not 0xD800 <= number < 0xE000


def page(title: str, body: Iterable[str]) -> str:
    name = escaped(title)
    parts = "\n".join(part for part in body if part)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{name}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{name}</h1>\n{parts}\n</body>\n</html>\n"
    )


def paragraph(text: str, kind: str = "") -> str:
    return f"<p{attribute('class', kind)}>{escaped(text)}</p>"


def command(line: str) -> str:
    """What was typed."""
    return f'<pre class="command">{escaped(line)}</pre>'


def preformatted(text: str) -> str:
    return f'<pre tabindex="0">{escaped(text)}</pre>'


def attribute(name: str, value: str) -> str:
    return f' {name}="{escaped(value)}"' if value else ""


def text(characters: str) -> str:
    """A text of any script, as it is written; of a long one the beginning, and how much of it is left out."""
    more = len(characters) - LONGEST
    shown = characters if more <= 0 else f"{characters[:LONGEST]} … ({more:,} characters more)"
    return f'<p class="text" dir="auto">{escaped(shown)}</p>'


def section(title: str, parts: Iterable[str], name: str = "", level: int = 3) -> str:
    """A heading with what is below it; nothing where that is nothing. Links lead to its `name`."""
    found = [part for part in parts if part]
    heading = f"<h{level}{attribute('id', name)}>{escaped(title)}</h{level}>"
    return "\n".join([heading, *found]) if found else ""


def table(caption: str, rows: Sequence[Sequence[str]], words: bool = False, marks: Sequence[str] | None = None) -> str:
    """Rows of cells, the first row and the first column being heads; nothing where there is only the head. `words`: the
    cells are words and begin at the left. `marks` are SVG, one a row but the first, for a second column."""
    if len(rows) < 2:
        return ""
    heads = [f'<th scope="col">{escaped(cell)}</th>' for cell in rows[0]]
    head = "".join([heads[0], *["<td></td>"] * bool(marks), *heads[1:]])
    lines = []
    for row, mark in zip(rows[1:], marks or [""] * (len(rows) - 1), strict=True):
        cells = "".join(f"<td>{escaped(cell)}</td>" for cell in row[1:])
        lines.append(f'<tr><th scope="row">{escaped(row[0])}</th>{f"<td>{mark}</td>" if marks else ""}{cells}</tr>')
    body, above = "\n".join(lines), f"<caption><span>{escaped(caption)}</span></caption>\n" if caption else ""
    return (
        f'<div class="scroll" tabindex="0">\n<table{attribute("class", "words" * words)}>\n{above}'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>\n</div>"
    )


def links(label: str, targets: dict[str, str]) -> str:
    """{name of a section: its words} as links."""
    found = "\n".join(f'<a href="#{escaped(name)}">{escaped(words)}</a>' for name, words in targets.items())
    return f'<nav{attribute("aria-label", label)}>\n{found}\n</nav>'


def figure(drawing: str, caption: str) -> str:
    """A drawing that scrolls where it is wider than the page."""
    return (
        f'<figure>\n<div class="scroll" tabindex="0">\n{drawing}\n</div>\n<figcaption>{escaped(caption)}</figcaption>\n'
        "</figure>"
    )


def charts(figures: Iterable[str]) -> str:
    """Figures beside each other where there is room."""
    found = [figure for figure in figures if figure]
    return '<div class="charts">\n{}\n</div>'.format("\n".join(found)) if found else ""
