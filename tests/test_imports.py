"""The ladder of DESIGN: imports go down, or sideways to a sibling, never up."""

import ast
import pathlib

ROOT = pathlib.Path(__file__).parent.parent

LADDER = [
    {"errors", "parallel", "files", "progress", "rows"},
    {"config", "text", "metrics", "entities", "vectors", "batch"},
    {"data"},
    {"models", "pairs", "inputs"},
    {"pretrained", "checkpoint", "losses", "optim", "ledger", "cluster", "blocks", "stacks", "device"},
    {"meter", "backbone"},
    {"training", "evaluation", "features", "assembly"},
    {"recipes", "report"},
    {"predictor"},
    {"results", "seeds", "preparation"},
    {"__init__", "train", "evaluate", "ensemble"},
]
RUNG = {name: rung for rung, names in enumerate(LADDER) for name in names}


def imported(path: pathlib.Path):
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            if node.module == "textcls":
                yield from (f"textcls.{alias.name}" for alias in node.names)
            yield node.module


def room(path: pathlib.Path) -> str:
    parts = path.relative_to(ROOT / "textcls").with_suffix("").parts if "textcls" in path.parts else (path.stem,)
    return parts[0]


def sources():
    return [*(ROOT / name for name in ("train.py", "evaluate.py", "ensemble.py")), *(ROOT / "textcls").rglob("*.py")]


def test_imports_run_one_way():
    public = set(ast.literal_eval((ROOT / "textcls" / "__init__.py").read_text("utf-8").split("__all__ = ")[1]))
    for path in sources():
        rung = RUNG[room(path)]
        for name in imported(path):
            parts = name.split(".")
            if parts[0] != "textcls" or len(parts) == 1:
                continue
            target = "__init__" if parts[1] in public or parts[1] == "__version__" else parts[1]
            assert RUNG[target] <= rung, f"{path.relative_to(ROOT)} imports {name} from above"
            assert not (target == "__init__" and rung < RUNG["__init__"]), f"{path} imports the package itself"


def test_models_see_no_files_tokenisers_or_flags():
    allowed = {"torch", "math", "dataclasses", "functools", "collections", "textcls"}
    for path in (ROOT / "textcls" / "models").glob("*.py"):
        for name in imported(path):
            assert name.split(".")[0] in allowed, f"{path.name} imports {name}"
            assert not name.startswith("textcls") or name.startswith("textcls.models") or name == "textcls", name


def test_run_time_dependencies_are_the_four():
    standard = __import__("sys").stdlib_module_names
    allowed = {"torch", "tokenizers", "numpy", "tqdm", "huggingface_hub", "textcls"}
    for path in sources():
        for name in imported(path):
            assert name.split(".")[0] in standard | allowed, f"{path.name} imports {name}"
