"""Readers: one file per kind of data, all giving a :class:`textcls.data.corpus.Corpus`."""

from collections.abc import Callable

from textcls.config import TrainConfig
from textcls.data import newsgroups, pydocs, tabular
from textcls.data.corpus import Corpus


def load(config: TrainConfig, progress: Callable = iter) -> Corpus:
    """The corpus that the settings ask for: your own files where --train is given, else a built-in one."""
    dev = config.dev_split
    if config.train is not None:
        return tabular.load(config.train, dev, config.test, config.text_column, config.label_column, config.seed)
    share = dev if isinstance(dev, float) else 0.1
    if config.data == "pydocs":
        return pydocs.load(config.seed, share, progress=progress)
    return newsgroups.load(config.data_dir, config.keep_parts, config.seed, share, progress, config.quiet)


def count_labels(config: TrainConfig) -> int:
    """How many classes the training data has, without loading the rest."""
    if config.train is None:
        return {"20newsgroups": newsgroups.CLASSES, "pydocs": pydocs.CLASSES}[config.data]
    return len(tabular.labels(config.train, config.text_column, config.label_column))
