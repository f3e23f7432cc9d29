"""Readers: one file per kind of data, giving a corpus of its kind with train, dev and test."""

from collections.abc import Callable

from textcls.config import TrainConfig
from textcls.data import language, newsgroups, pretraining, pydocs, tabular, tagging
from textcls.data.corpus import Corpus
from textcls.data.language import LanguageCorpus
from textcls.data.pretraining import PretrainingCorpus
from textcls.data.tagging import TaggedCorpus
from textcls.text import Vocabulary, Words

AnyCorpus = Corpus | TaggedCorpus | LanguageCorpus | PretrainingCorpus


def load(config: TrainConfig, progress: Callable = iter, vocabulary: Words | Vocabulary | None = None) -> AnyCorpus:
    """The corpus that the settings ask for: your own files where --train is given, else a built-in one. `vocabulary` is
    what plain text is read in: for a language model that of its run, where it exists, and always for pre-training."""
    dev = config.dev_split
    if config.task == "tagging":
        return tagging.load(config.train, dev, config.test, config.text_column, config.label_column, config.seed)
    if config.task == "lm":
        return language.load(config.train, dev, config.test, config.vocab_size, vocabulary)
    if config.task == "pretrain":
        return pretraining.load(config.train, dev, config.test, vocabulary, progress)
    if config.train is not None:
        return tabular.load(config.train, dev, config.test, config.text_column, config.label_column, config.seed)
    share = dev if isinstance(dev, float) else 0.1
    if config.data == "pydocs":
        return pydocs.load(config.seed, share, progress=progress)
    return newsgroups.load(config.data_dir, config.keep_parts, config.seed, share, progress, config.quiet)


def count_labels(config: TrainConfig) -> int:
    """How many classes or tags the training data has, without loading the rest; 0 where there are none."""
    if config.task in ("lm", "pretrain"):
        return 0
    if config.task == "tagging":
        return len(tagging.labels(config.train, config.text_column, config.label_column))
    if config.train is None:
        return {"20newsgroups": newsgroups.CLASSES, "pydocs": pydocs.CLASSES}[config.data]
    return len(tabular.labels(config.train, config.text_column, config.label_column))
