"""The house of DESIGN, held by its syntax trees: imports go down the ladder, or sideways to a sibling, never up; files
and functions stay short; what a task is stands in its own file, and what a model is in its row."""

import ast
import configparser
import pathlib
import sys

import pytest

from textcls.tasks import TASKS

ROOT = pathlib.Path(__file__).parent.parent
SCRIPTS = ("train", "evaluate", "ensemble")
# A package stands on one rung; packages on the same rung do not import each other. __init__ is the package itself.
LADDER = [
    {"runtime"},
    {"models", "metrics", "config"},
    {"text", "arguments"},
    {"data", "pretrained"},
    {"training", "report", "records"},
    {"ledger", "tasks", "sweep"},
    {"recipes", "suspicious"},
    {"predictor"},
    {"explain", "export", "__init__", "reference", "out_of_fold", "planning"},
    {"page"},
    set(SCRIPTS),
]
RUNG = {name: rung for rung, names in enumerate(LADDER) for name in names}
# What a package may import, where that is less than the ladder gives it.
ONLY = {
    "models": {"models", "torch", "collections", "dataclasses", "functools", "itertools", "math"},
    "metrics": {"metrics", "numpy", "collections", "dataclasses", "math", "re", "string"},
    "report": {"report", "metrics", "collections", "dataclasses", "html", "itertools", "math", "typing"},
}
NEVER = {"training": {"models", "tasks", "ledger"}}
FILES = {  # that stand in textcls/ itself
    "__init__", "arguments", "config", "predictor", "reference",
    "sweep", "export", "explain", "out_of_fold", "page", "suspicious", "planning",
}  # fmt: skip
DEPENDENCIES = {"numpy", "tokenizers", "torch", "tqdm"}
LAZY = {"huggingface_hub", "h5py", "onnx", "onnxruntime"}  # slow to import, and an optional extra: only where they are used
LINES_OF_A_FILE, LINES_OF_A_FUNCTION = 350, 60


def sources() -> list[pathlib.Path]:
    return [*(ROOT / f"{name}.py" for name in SCRIPTS), *sorted((ROOT / "textcls").rglob("*.py"))]


def tree(path: pathlib.Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def room(path: pathlib.Path) -> str:
    """The package that a file is in, or the file's own name."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[1] if parts[0] == "textcls" else parts[0]


def imported(node: ast.AST) -> list[str]:
    """What is imported anywhere below a node, as dotted names."""
    names = []
    for part in ast.walk(node):
        if isinstance(part, ast.Import):
            names += [alias.name for alias in part.names]
        elif isinstance(part, ast.ImportFrom):
            assert part.level == 0, f"line {part.lineno}: relative import"
            if part.module == "textcls":
                names += [f"textcls.{alias.name}" if alias.name in RUNG else "textcls" for alias in part.names]
            else:
                names.append(part.module)
    return names


def target(name: str) -> str:
    """The package of ours that a dotted name is in, or the library's top-level name."""
    first, *rest = name.split(".")
    if first != "textcls":
        return first
    return rest[0] if rest else "__init__"


# ---- imports --------------------------------------------------------------------------------------------------------


def climbs(room: str, names: list[str]) -> set[str]:
    """Those of `names` that a file of `room` may not import."""
    ours = {name for name in names if name.split(".")[0] in ("textcls", *SCRIPTS) and target(name) != room}
    above = {name for name in ours if RUNG[target(name)] >= RUNG[room]}
    barred = {name for name in ours if target(name) in NEVER.get(room, ())}
    others = {name for name in names if room in ONLY and target(name) not in ONLY[room]}
    return above | barred | others


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path):
    assert room(path) in RUNG, f"{path} stands on no rung of the ladder"
    assert not climbs(room(path), imported(tree(path)))


@pytest.mark.parametrize("room, line", [
    ("data", "from textcls.pretrained.bert import load_bert"),  # the same rung
    ("pretrained", "from textcls.data import corpus"),
    ("training", "from textcls.report.text import table"),
    ("report", "from textcls.training.run import Run"),
    ("report", "from textcls.text.batches import Batch"),
    ("ledger", "from textcls.tasks.masking import MASKED"),
    ("tasks", "import textcls.ledger.plan"),
    ("tasks", "from textcls import recipes"),
    ("recipes", "from textcls import predictor"),
    ("training", "from textcls.models.bert import Bert"),  # below, and still not the loop's business
    ("models", "from textcls.runtime.errors import InputError"),
    ("models", "import numpy"),
    ("models", "import json"),
    ("metrics", "import torch"),
    ("predictor", "import textcls"),
    ("predictor", "from textcls import load_bert"),
    ("predictor", "import train"),
    ("evaluate", "from train import reference"),
    ("config", "def f():\n    from textcls.metrics import statistics"),
])  # fmt: skip
def test_a_climb_is_seen(room, line):
    assert len(climbs(room, imported(ast.parse(line)))) == 1


def test_what_may_be_imported():
    lines = "import torch\nfrom textcls.models.bert import Bert\nimport textcls.config\nfrom textcls.tasks import base"
    assert not climbs("tasks", imported(ast.parse(lines)))
    assert not climbs("train", imported(ast.parse("import textcls\nfrom textcls import predictor, recipes, sweep")))


def test_run_time_dependencies_are_the_four():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    required = setup["options"]["install_requires"].split()
    assert {line.split(">")[0] for line in required} == DEPENDENCIES
    for path in sources():
        at_once = {target(name) for node in tree(path).body for name in imported(node) if not is_block(node)}
        later = {target(name) for name in imported(tree(path))} - at_once
        known = sys.stdlib_module_names | DEPENDENCIES | RUNG.keys()
        assert at_once <= known, f"{path.relative_to(ROOT)} imports {at_once - known}"
        assert later <= known | LAZY, f"{path.relative_to(ROOT)} imports {later - known - LAZY}"


def is_block(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)


# ---- sizes ----------------------------------------------------------------------------------------------------------


def functions(module: ast.Module) -> list[tuple[str, int]]:
    """(name, lines) of all functions and methods."""
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    return [(node.name, node.end_lineno - node.lineno + 1) for node in ast.walk(module) if isinstance(node, kinds)]


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_are_short(path):
    lines = path.read_bytes().count(b"\n")
    assert lines <= LINES_OF_A_FILE
    assert not [(name, lines) for name, lines in functions(tree(path)) if lines > LINES_OF_A_FUNCTION]


def test_everything_has_a_room():
    assert {path.stem for path in (ROOT / "textcls").glob("*.py")} <= FILES
    for folder in {path.parent for path in (ROOT / "textcls").rglob("*.py")}:
        assert ast.get_docstring(tree(folder / "__init__.py")), f"{folder}/__init__.py does not say what lives there"


# ---- tasks and models -----------------------------------------------------------------------------------------------


def names_in(node: ast.AST) -> set[str]:
    """The names of tasks among the string constants of a node."""
    return {part.value for part in ast.walk(node) if isinstance(part, ast.Constant) and part.value in TASKS}


def asked_for(module: ast.Module) -> list[str]:
    """Where a task's name is compared with something: ==, in, and the cases of a match."""
    kinds = ast.Compare | ast.MatchValue
    return [f"line {node.lineno}" for node in ast.walk(module) if isinstance(node, kinds) and names_in(node)]


def tables(module: ast.Module) -> list[str]:
    """Dictionaries that hold something for each of several tasks. (The keys of a recipe are a model and a task.)"""
    found = []
    for node in ast.walk(module):
        if isinstance(node, ast.Dict):
            keys = [key for key in node.keys if isinstance(key, ast.Constant)]
            found += [f"line {node.lineno}"] if sum(key.value in TASKS for key in keys) > 1 else []
    return found


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_task_is_stands_in_its_own_file(path):
    if room(path) not in ("tasks", "recipes", "config"):
        assert not asked_for(tree(path))
    if path != ROOT / "textcls" / "tasks" / "__init__.py":
        assert not tables(tree(path))


@pytest.mark.parametrize("text", [
    "if config.task == 'tagging':\n    pass",
    "x = 1 if 'lm' != task else 2",
    "padded = config.task not in ('lm', 'other')",
    "match config.task:\n    case 'pretrain':\n        pass",
    "match config.task:\n    case 'other' | 'classification':\n        pass",
])  # fmt: skip
def test_a_question_for_the_task_is_seen(text):
    assert asked_for(ast.parse(text)) and not tables(ast.parse(text))


def test_a_table_by_task_is_seen():
    assert tables(ast.parse("unit = {'tagging': 'sentences', 'lm': 'words'}[config.task]"))
    assert not tables(ast.parse("x = {'lm': 1, 'other': 2, **more}"))
    assert not tables(ast.parse("ROWS = {('bert', 'tagging'): TAGGER, ('bert', 'pretrain'): PRETRAINER}"))
    assert not asked_for(ast.parse("kind = TASKS['lm']"))


def clever(module: ast.Module) -> list[str]:
    """What keeps a table of recipes from being read as it is written: partial, long lambdas, and code that edits it at
    import."""
    plain = ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef | ast.Assign | ast.AnnAssign
    found = [
        f"line {node.lineno}: {type(node).__name__}"
        for number, node in enumerate(module.body)
        if not isinstance(node, plain) and not (number == 0 and ast.get_docstring(module))
    ]
    for node in ast.walk(module):
        if isinstance(node, ast.Lambda) and node.end_lineno > node.lineno:
            found.append(f"line {node.lineno}: a lambda of {node.end_lineno - node.lineno + 1} lines")
        if "partial" in (getattr(node, "id", ""), getattr(node, "attr", ""), getattr(node, "name", "")):
            found.append(f"line {node.lineno}: partial")
    return found


@pytest.mark.parametrize("path", sorted((ROOT / "textcls" / "recipes").glob("*.py")), ids=lambda path: path.name)
def test_recipes_are_written_out(path):
    assert not clever(tree(path))


@pytest.mark.parametrize("text", [
    "from functools import partial",
    "import functools\nROWS = {'build': functools.partial(f, 1)}",
    "ROWS = {'build': lambda c,\n  dims: Bert(dims)}",
    "ROWS = {}\nfor name in NAMES:\n    ROWS[name] = f(name)",
    "ROWS = {}\nROWS.update(MORE)",
    "ROWS = {}\nROWS |= MORE",
    "if FAST:\n    from x import y",
])  # fmt: skip
def test_cleverness_is_seen(text):
    assert clever(ast.parse(f'"""What lives here."""\n{text}'))
    assert not clever(ast.parse('"""What lives here."""\nfrom x import y\nROWS = {"build": lambda c: y(c)}'))
