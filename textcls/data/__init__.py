"""Readers: one file per kind of data, giving a Corpus, a TaggedCorpus or a LanguageCorpus."""

from collections.abc import Callable

from textcls.config import TrainConfig
from textcls.data import language, newsgroups, pydocs, tabular, tagging
from textcls.data.corpus import Corpus
from textcls.data.language import LanguageCorpus
from textcls.data.tagging import TaggedCorpus
from textcls.text import Words


def load(
    config: TrainConfig, progress: Callable = iter, vocabulary: Words | None = None
) -> Corpus | TaggedCorpus | LanguageCorpus:
    """The corpus that the settings ask for: your own files where --train is given, else a built-in one. A language
    model's `vocabulary`, where it exists, is that of its run."""
    dev = config.dev_split
    if config.task == "tagging":
        return tagging.load(config.train, dev, config.test, config.text_column, config.label_column, config.seed)
    if config.task == "lm":
        return language.load(config.train, dev, config.test, config.vocab_size, vocabulary)
    if config.train is not None:
        return tabular.load(config.train, dev, config.test, config.text_column, config.label_column, config.seed)
    share = dev if isinstance(dev, float) else 0.1
    if config.data == "pydocs":
        return pydocs.load(config.seed, share, progress=progress)
    return newsgroups.load(config.data_dir, config.keep_parts, config.seed, share, progress, config.quiet)


def count_labels(config: TrainConfig) -> int:
    """How many classes or tags the training data has, without loading the rest; 0 for a language model."""
    if config.task == "lm":
        return 0
    if config.task == "tagging":
        return len(tagging.labels(config.train, config.text_column, config.label_column))
    if config.train is None:
        return {"20newsgroups": newsgroups.CLASSES, "pydocs": pydocs.CLASSES}[config.data]
    return len(tabular.labels(config.train, config.text_column, config.label_column))
