"""README and docs/: short enough, every link leads somewhere, every command has only flags that there are."""

import pathlib
import re
import unicodedata

import pytest

from textcls.arguments import parser

ROOT = pathlib.Path(__file__).parent.parent
DOCS = sorted(path.stem for path in (ROOT / "docs").glob("*.md"))
PAGES = ["README.md", *(f"docs/{name}.md" for name in DOCS), "benchmarks/README.md", "textcls/assets/nano/README.md"]
LIMIT = 12 * 1024  # bytes of README.md

FENCE = re.compile(r"^ {0,3}```.*?^ {0,3}```[^\n]*$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^ {0,3}#{1,6}\s+(.*?)\s*#*\s*$", re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(\s*([^)\s]+)[^)]*\)")
COMMAND = re.compile(r"\b(train|evaluate|ensemble)\.py\b(.*)")
FLAG = re.compile(r"(?<![\w-])--[a-z][\w-]*")


def read(page: str) -> str:
    return (ROOT / page).read_text("utf-8")


def prose(page: str) -> str:
    """The page without its code blocks."""
    return FENCE.sub("", read(page))


def links(page: str) -> list[tuple[pathlib.Path, str]]:
    """(file, anchor) of every relative link, images too; a link inside `code` is none."""
    targets = LINK.findall(re.sub(r"`[^`\n]*`", "code", prose(page)))
    relative = [target for target in targets if not re.match(r"[a-z][a-z+.-]*:", target)]
    found = []
    for target in relative:
        path, _, anchor = target.partition("#")
        here = ROOT / page
        found.append((here.parent / path if path else here, anchor))
    return found


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading: its text in lower case, without punctuation, spaces as hyphens."""
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    kept = (c for c in text.lower() if c in " -_" or unicodedata.category(c)[0] in "LMN")
    return "".join(kept).replace(" ", "-")


def anchors(text: str) -> set[str]:
    """Anchors of a page; a heading that comes again gets -1, -2, …"""
    found: set[str] = set()
    for heading in HEADING.findall(FENCE.sub("", text)):
        first = name = slug(heading)
        number = 0
        while name in found:
            number += 1
            name = f"{first}-{number}"
        found.add(name)
    return found


def commands(text: str) -> list[tuple[str, list[str]]]:
    """(script, flags) of every call of a script in a page's code blocks. A line that ends in a backslash goes on; a
    comment, a pipe or a semicolon ends the command."""
    found = []
    for block in FENCE.findall(text):
        for line in re.sub(r"\\\n\s*", " ", block).splitlines():
            for part in re.split(r"(?:^|\s)#\s|;|\||&&", line):
                if call := COMMAND.search(part):
                    found.append((call[1], FLAG.findall(call[2])))
    return found


def options(script: str) -> set[str]:
    """The flags of a script: of train.py from the settings, of the other two from their source."""
    if script == "train":
        return set(parser("")._option_string_actions)
    return set(re.findall(r"add_argument\(\s*\"(--[\w-]+)\"", read(f"{script}.py")))


# ---- the pages ------------------------------------------------------------------------------------------------------


def test_readme_is_short():
    assert len(read("README.md").encode()) <= LIMIT


def test_readme_links_to_every_page_of_docs():
    linked = {path.resolve() for path, _ in links("README.md")}
    assert set(DOCS) <= {path.stem for path in (ROOT / "docs").glob("*.md")}
    for path in (ROOT / "docs").glob("*.md"):
        assert path.resolve() in linked, path.name


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for path, anchor in links(page):
        assert path.exists(), f"{page}: {path.relative_to(ROOT)} is not there"
        if anchor:
            known = anchors(path.read_text("utf-8"))
            assert anchor in known, f"{page}: {path.name} has no heading #{anchor}; it has {sorted(known)}"


@pytest.mark.parametrize("page", PAGES)
def test_commands_have_flags_that_there_are(page):
    for script, flags in commands(read(page)):
        unknown = set(flags) - options(script)
        assert not unknown, f"{page}: {script}.py has no {', '.join(sorted(unknown))}"


def test_flags_in_prose_are_those_of_some_script():
    scripts = [*ROOT.glob("*.py"), *(ROOT / "benchmarks").glob("*.py")]
    known = options("train").union(*(options(str(path.relative_to(ROOT).with_suffix(""))) for path in scripts))
    for page in PAGES:
        for code in re.findall(r"`([^`]+)`", prose(page)):
            unknown = set(FLAG.findall(code)) - known
            assert not unknown, f"{page}: no script has {', '.join(sorted(unknown))}"


# ---- what the tests above rest on -----------------------------------------------------------------------------------


def test_slugs_are_those_of_github():
    assert slug("Does BERT → LSTM beat a BiLSTM?") == "does-bert--lstm-beat-a-bilstm"
    assert slug("From `Python`, in two_lines: [a link](x.md)") == "from-python-in-two_lines-a-link"
    assert slug("What is computed, and what is measured") == "what-is-computed-and-what-is-measured"
    assert anchors("# A\n\n```\n# no heading\n```\n\n## A\n### A!\n") == {"a", "a-1", "a-2"}


def test_commands_are_found():
    train = "python train.py --model bert \\\n    --lr 1e-4   # --epochs"
    block = f"```\n{train}\nfor s in 1; do python evaluate.py R --json; done\n```"
    assert commands(f"python train.py --outside\n{block}") == [("train", ["--model", "--lr"]), ("evaluate", ["--json"])]
    assert commands("```\ntorchrun --nnodes 8 train.py --task lm\n```") == [("train", ["--task"])]


def test_every_script_has_flags_and_a_command():
    for script in ("train", "evaluate", "ensemble"):
        assert "--device" in options(script)
        assert any(name == script for page in PAGES for name, _ in commands(read(page)))
