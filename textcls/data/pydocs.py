"""The embedded corpus: docstrings of the running Python's own standard library, labelled by top-level package.

Nothing is shipped and nothing is imported: the sources are read and parsed. Licence: whatever Python's is.
"""

import ast
import collections
import pathlib
import sysconfig
import warnings
from collections.abc import Callable

from textcls.data.corpus import Corpus, check, documents, split_dev
from textcls.runtime.errors import InputError
from textcls.runtime.files import fingerprint

CLASSES = 20
FEWEST_WORDS = 5
NOT_PACKAGES = ("site-packages", "dist-packages", "test")  # `test` is about every other package


def load(seed: int, dev_share: float = 0.1, folder: pathlib.Path | None = None, progress: Callable = iter) -> Corpus:
    """The 20 top-level packages with most docstrings; a fifth of the texts, chosen by their hash, is the test split."""
    folder = folder or pathlib.Path(sysconfig.get_paths()["stdlib"])
    rows = sorted(distinct(progress(docstrings(folder))).items())
    counts = collections.Counter(label for _, label in rows)
    names = sorted(name for name, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:CLASSES])
    if len(names) < 2:
        raise InputError(f"{folder}: too few Python sources with docstrings to make the pydocs corpus")
    rows = [(text, names.index(label)) for text, label in rows if label in names]
    pools = {
        pool: documents(pool, [(text,) for text, _ in part], [label for _, label in part])
        for pool, part in (
            ("train", [row for row in rows if not is_test(row[0])]),
            ("test", [row for row in rows if is_test(row[0])]),
        )
    }
    train, dev = split_dev(pools["train"], dev_share, seed)
    description = f"pydocs: docstrings of the standard library, class = package ({len(names)} classes)"
    return check(Corpus("pydocs", description, names, train, dev, pools["test"]))


def docstrings(folder: pathlib.Path):
    """(docstring, package) for every module, class and function below `folder`, in the order of the paths."""
    packages = sorted(init.parent for init in folder.glob("*/__init__.py") if init.parent.name not in NOT_PACKAGES)
    for path in (path for package in packages for path in sorted(package.rglob("*.py"))):
        package, *inside = path.relative_to(folder).parts
        if any("test" in part for part in inside[:-1]):
            continue  # a package's own tests
        for text in docstrings_of(path):
            yield text, package


def docstrings_of(path: pathlib.Path):
    """Those of one source file that have FEWEST_WORDS words or more."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # some sources hold invalid escapes on purpose
            tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, OSError, RecursionError):
        return  # test data of the standard library, broken on purpose
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text and len(text.split()) >= FEWEST_WORDS:
                yield text


def distinct(rows) -> dict[str, str]:
    """{text: label}, the first label winning where a text stands in several packages."""
    labels: dict[str, str] = {}
    for text, label in rows:
        labels.setdefault(text, label)
    return labels


def is_test(text: str) -> bool:
    return fingerprint(text)[0] % 5 == 0
