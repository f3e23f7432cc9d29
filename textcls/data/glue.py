"""Eight corpora of GLUE (Wang et al., 2019), from the folder that holds their published files.

Two protocols. honest: the published dev set is the test split, and dev is a share of train. paper: the published dev
set is both, as in the tables of BERT's descendants, so that the epoch is chosen on what is reported. Files of the test
sets are without labels: the benchmark's server has them, and `unlabelled` reads them for a submission.
"""

import pathlib
from collections.abc import Callable, Sequence

from textcls.data import scores
from textcls.data.corpus import Corpus, Documents, check, documents
from textcls.data.glue_files import CORPORA, MSR_TEST, Release, Row, Source, labelled_rows, unlabelled_rows
from textcls.data.scores import Scored
from textcls.runtime.errors import InputError

HIGHEST = 5.0  # of STS-B's scores, which begin at 0


def load(name: str, data_dir: str, protocol: str, dev_share: float, seed: int, progress: Callable = iter) -> Corpus:
    """A corpus, from the folder that holds its files, or the folders of several corpora. Raises InputError for
    a file that is missing, or not what was published."""
    source, left_out = CORPORA[name], []
    release, folder = find(source, data_dir)
    tested, paper = release.dev or release.test, protocol == "paper"
    if paper and not release.dev:
        raise InputError(f"{folder}: {release.train[0]} has no dev set beside it; --protocol paper needs GLUE's files")
    pool = read_split(source, "train", folder, release.train, left_out, progress)
    test = read_split(source, "dev", folder, tested, left_out, progress)
    if paper:
        train, dev = pool, test
    else:
        train, dev = pool.hold_out(dev_share, seed)
    for key, file in source.beside.items():
        test.beside[key] = read_split(source, key, folder, (file,), left_out, progress)
    description = describe(source, release, paper, left_out)
    if source.labels:
        corpus = check(Corpus(name, description, list(source.labels), train, dev, test))
    else:
        corpus = scores.corpus(name, description, train, dev, test)
    corpus.facts |= {"metrics": list(source.metrics)}
    return corpus


def describe(source: Source, release: Release, paper: bool, left_out: list[str]) -> str:
    of = "GLUE" if "train.tsv" in release.train else "its first distribution"
    tested = release.dev or release.test
    chosen = [f"epoch (in a search, rate too) chosen on {' and '.join(tested)} (--protocol paper)"] * paper
    words = [f"tested on {' and '.join((*tested, *source.beside.values()))}", *chosen, *left_out]
    return f"{source.title} of {of}, {'; '.join(words)}"


def find(source: Source, data_dir: str) -> tuple[Release, pathlib.Path]:
    """The distribution whose training file is there, and its folder."""
    for release in source.releases:
        for folder in folders(source, data_dir):
            if all((folder / file).is_file() for file in release.train):
                return release, folder
    raise missing(source, data_dir, [file for release in source.releases for file in release.train])


def missing(source: Source, data_dir: str, names: Sequence[str]) -> InputError:
    return InputError(f"--data-dir {data_dir}: no {' or '.join(names)} of {source.title} there, or in {source.title}/")


def folders(source: Source, data_dir: str) -> list[pathlib.Path]:
    """Where the files of a corpus may stand."""
    root = pathlib.Path(data_dir)
    if not root.is_dir():
        raise InputError(f"--data-dir {data_dir}: no such folder; expected the one that holds {source.title}'s files")
    own = "", source.title, source.title.lower()
    return [root / name / below for name in own for below in ("", *source.folders)]


def read_split(
    source: Source,
    pool: str,
    folder: pathlib.Path,
    files: tuple[str, ...],
    left_out: list[str],
    progress: Callable = iter,
) -> Documents | Scored:
    """The documents of labelled files, one after the other; `left_out` gets a phrase on the rows that were."""
    rows, counts = [], {}
    for file in files:
        rows += progress(labelled_rows(source, folder / file, counts))
    if not rows:
        raise InputError(f"{' and '.join(str(folder / file) for file in files)}: no row with a label")
    for what, count in counts.items():
        left_out.append(f"{count} {what} row{'s' * (count > 1)} left out of {' and '.join(files)}")
    return encode(source, pool, rows)


def encode(source: Source, pool: str, rows: list[Row]) -> Documents | Scored:
    """Labels, mapped by name, as their numbers; or scores."""
    if not source.labels:
        return scores.scored(
            pool, [(where, texts, scores.number(where, label, 0.0, HIGHEST)) for where, texts, label in rows]
        )
    numbers = {label: number for number, label in enumerate(source.labels)}
    for where, _, label in rows:
        if label not in numbers:
            raise InputError(f"{where}: label {label[:40]!r}, expected {', '.join(source.labels)}")
    return documents(pool, [texts for _, texts, _ in rows], [numbers[label] for _, _, label in rows])


def read(name: str, path: str) -> Documents | Scored:
    """One labelled file of a corpus, in any of its published forms, to be evaluated on."""
    source, file, left_out = CORPORA[name], pathlib.Path(path), []
    split = read_split(source, "test", file.parent, (file.name,), left_out)
    if left_out:
        split.remarks = left_out
    return split


def unlabelled(name: str, data_dir: str) -> dict[str, list[tuple[str, ...]]]:
    """{file of a submission: the texts of the test set, in its order}."""
    source, found = CORPORA[name], {}
    for server, names in source.tests.items():
        paths = [folder / file for file in names for folder in folders(source, data_dir) if (folder / file).is_file()]
        if not paths:
            raise missing(source, data_dir, names)
        # Microsoft's test set is GLUE's, in its order (download_glue_data.py of nyu-mll makes the one of the other)
        rows = labelled_rows(source, paths[0], {}) if paths[0].name == MSR_TEST else unlabelled_rows(source, paths[0])
        found[server] = [texts for _, texts, _ in rows]
    return found
