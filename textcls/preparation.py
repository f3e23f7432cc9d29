"""What a run needs before its first update and leaves after its last: text, backbone, run folder, published weights."""

import dataclasses

import numpy as np

from textcls import backbone, data, parallel, pretrained, recipes
from textcls.checkpoint import Run, load_trainable
from textcls.config import TrainConfig
from textcls.data import AnyCorpus, pretraining
from textcls.data.corpus import Corpus
from textcls.data.tagging import TaggedCorpus
from textcls.errors import InputError
from textcls.models.bert import BertConfig
from textcls.progress import through
from textcls.text import LONG_WORD, UNBROKEN, WORD, Vocabulary, Words


def prepare(config: TrainConfig, run: Run) -> tuple[AnyCorpus, backbone.Backbone]:
    """The corpus, and what the model stands on: a BERT, or a vocabulary of the training texts."""
    reading = through("reading", config.quiet)
    if config.task == "lm":
        with parallel.first_process_first():
            corpus = data.load(config, reading, Words.from_folder(run.folder) if config.resume else None)
        return corpus, backbone.words(config, corpus.vocabulary)
    if config.task == "pretrain":
        kept = Vocabulary.from_folder(run.folder) if config.resume else None
        base = backbone.for_pretraining(config, pretraining.Text(config.train), kept)
        check_length(config, base)
        return data.load(config, reading, base.tokenizer), base
    with parallel.first_process_first():
        corpus = data.load(config, reading)
    kind = recipes.choose(config)["input"]
    if kind == "pieces":
        base = backbone.prepare(config)
        check_length(config, base)
        return corpus, base
    if config.task == "tagging":
        texts, pattern = [" ".join(words) for words in corpus.train.words], UNBROKEN
    else:
        texts, pattern = [part for text in corpus.train.texts for part in text], LONG_WORD if kind == "bag" else WORD
    return corpus, backbone.words(config, Vocabulary.learn_words(texts, config.vocab_size, config.min_count, pattern))


def check_length(config: TrainConfig, base: backbone.Backbone) -> None:
    if config.max_length > base.shape.max_position_embeddings:
        raise InputError(
            f"--max-length {config.max_length} is longer than the {base.shape.max_position_embeddings} "
            f"positions of {config.bert}"
        )


def show_example(corpus: AnyCorpus, batches, tokenizer: Vocabulary | Words) -> None:
    """What the model is about to see."""
    batch = batches.collate(np.arange(1))
    pieces = " ".join(tokenizer.tokenizer.id_to_token(i) for i in batch.ids[0, :16].tolist())
    if isinstance(corpus, TaggedCorpus):
        print(f"first sentence: {pieces} … -> {' '.join(corpus.labels[tag] for tag in corpus.train.tags[0][:16])}")
    elif isinstance(corpus, Corpus):
        print(f"first document: {pieces} … -> {corpus.labels[corpus.train.labels[0]]}")
    else:
        print(f"first words: {pieces} …")


def begin(run: Run, config: TrainConfig, corpus: AnyCorpus, base: backbone.Backbone, facts: dict) -> None:
    """Make the run folder, or check that a resumed run sees the data it began with. `facts` join its config.json."""
    frozen = recipes.choose(config)["frozen"](config)
    splits = {name: getattr(corpus, name).ids for name in ("train", "dev", "test") if getattr(corpus, name) is not None}
    if config.resume:
        before = run.splits()
        changed = [name for name in splits if not np.array_equal(splits[name], before.get(name))]
        if changed:
            raise InputError(f"{run.folder}: the {', '.join(changed)} documents are not those the run began with")
        if type(base.tokenizer).from_folder(run.folder).digest != base.tokenizer.digest:
            raise InputError(f"{run.folder}: the word pieces of {config.bert} are not those the run began with")
        if frozen:
            base.source = run.meta()["backbone"]
            backbone.reload(base.source, run.folder)
        return
    parallel.wait()  # until all have seen that the folder was free
    run.folder.mkdir(parents=True, exist_ok=True)
    if frozen and config.scratch:
        backbone.keep_in_run(base, run.folder)
    run.create(
        {
            "config": dataclasses.asdict(config),
            "labels": corpus.labels,
            "data": corpus.description,
            "shape": vars(base.shape),
            "backbone": base.source,
            **facts,
        },
        splits,
        base.tokenizer,
    )


def publish(model, shape: BertConfig, tokenizer: Vocabulary, config: TrainConfig, run: Run) -> None:
    """The best epoch's weights as a folder that --bert opens, and where it is a plain BERT other libraries too."""
    folder = run.folder / pretrained.PUBLISHED
    load_trainable(model, run.load("best.pt")["model"], run.folder / "best.pt")
    if parallel.is_first():
        folder.mkdir(exist_ok=True)
        tokenizer.publish(folder)
        layers = {} if config.model == "bert" else {"model_type": config.model, "small": config.small}
        pretrained.publish(model, shape, layers, folder)
    print(f"published as {folder}; use it with: --bert {run.folder}")
