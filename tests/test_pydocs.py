import pathlib

import pytest

from textcls.data import pydocs
from textcls.runtime.errors import InputError


def library(folder: pathlib.Path) -> pathlib.Path:
    """A small standard library: 22 packages of 6 docstrings, one with 2, and files that must not count."""

    def write(name, text):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")

    for i in range(22):
        write(f"pack{i:02}/__init__.py", "")
        for n in range(6 if i else 2):
            write(
                f"pack{i:02}/m{n}.py", f'"""Module {n} of package {i} is here."""\ndef f():\n  "four words are few"\n'
            )
    write(
        "pack01/classes.py",
        'class A:\n  """Class A of package one, long enough."""\n  async def g(self):\n'
        '    """Module 0 of package 2 is here."""\n',
    )
    write("pack01/tests/x.py", '"""A test file of the package itself."""')
    write("pack01/broken.py", '"""A docstring before a syntax error."""\ndef (')
    write("test/x.py", '"""A test of the whole standard library."""')
    write("site-packages/other/__init__.py", '"""Not part of the standard library at all."""')
    write("module.py", '"""A module that is not a package."""\nraise SystemExit("imported!")')
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return library(tmp_path_factory.mktemp("library"))


@pytest.fixture(scope="module")
def running():
    """Of the Python that runs the tests, parsed once: its standard library takes seconds."""
    return pydocs.load(seed=0)


def test_what_counts(folder):
    corpus = pydocs.load(seed=0, folder=folder)
    assert len(corpus.labels) == 20 and "pack00" not in corpus.labels
    everything = [*corpus.train.texts, *corpus.dev.texts, *corpus.test.texts]
    assert len(everything) == len(set(everything))
    # the package with one docstring more, and 19 of the 21 with six; the copy in pack01 took its text from pack02
    assert ("Class A of package one, long enough.",) in everything
    assert not any("test" in text or "standard" in text or "four" in text for (text,) in everything)
    by_text = {
        text: corpus.labels[label]
        for part in (corpus.train, corpus.dev, corpus.test)
        for (text,), label in zip(part.texts, part.labels, strict=True)
    }
    assert by_text["Module 0 of package 2 is here."] == "pack01"


def test_split_is_by_hash_of_the_text_and_not_by_seed(folder):
    a, b = (pydocs.load(seed=seed, folder=folder) for seed in (0, 1))
    assert a.test.texts == b.test.texts
    assert a.dev.texts != b.dev.texts
    assert all(pydocs.is_test(text) for (text,) in a.test.texts)


def test_no_sources(tmp_path):
    with pytest.raises(InputError, match="too few Python sources"):
        pydocs.load(seed=0, folder=tmp_path)


def test_the_running_python(running):
    assert len(running.labels) == pydocs.CLASSES == 20
    assert 2000 < len(running.train) + len(running.dev) + len(running.test) < 8000
    assert "email" in running.labels


def test_a_fifth_is_the_test_split(running):
    whole = len(running.train) + len(running.dev) + len(running.test)
    assert len(running.test) / whole == pytest.approx(0.2, abs=0.03)
    assert len(running.dev) / (len(running.train) + len(running.dev)) == pytest.approx(0.1, abs=0.01)
