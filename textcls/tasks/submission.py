"""Predictions of GLUE's published test files as its server wants them: index, tab, prediction, in a file a test set."""

import pathlib

from textcls.data import glue
from textcls.runtime import files
from textcls.runtime.errors import InputError
from textcls.tasks.documents import Predictor, is_glue


def write(predictor: Predictor, folder: str, data_dir: str | None) -> list[str]:
    """Write FOLDER/NAME.tsv for each test set of the run's task; a sentence on each. The index begins at 0 in each of
    them. Labels are as published: names for MNLI, QNLI, RTE, 0 and 1 for the others; scores lie between 0 and 5.

    Raises InputError for a run that is none of GLUE, and where the test files are not there."""
    if not is_glue(predictor.config):
        raise InputError(f"{predictor.run.folder}: --submission is for runs of --data {', '.join(glue.CORPORA)}")
    sentences = []
    tests = glue.unlabelled(predictor.config.data, data_dir or predictor.config.data_dir)
    for name, texts in tests.items():
        answers = predictions(predictor, texts)
        path = pathlib.Path(folder) / f"{name}.tsv"
        files.make_folder(path.parent)
        lines = "".join(f"{index}\t{answer}\n" for index, answer in enumerate(answers))
        files.write_text(path, f"index\tprediction\n{lines}")
        sentences.append(f"{path}: {len(answers)} predictions")
    return sentences


def predictions(predictor: Predictor, texts: list[tuple[str, ...]]) -> list[str]:
    """What the server reads for each document."""
    predicted = predictor.predict(texts)
    if glue.CORPORA[predictor.config.data].labels:
        return predicted[0]
    return [f"{min(max(score, 0.0), glue.HIGHEST):.3f}" for score in predicted.tolist()]
