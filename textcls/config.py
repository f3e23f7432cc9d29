"""The settings of a run. A field is declared once, here, with its bounds, its place in --help, and whether it belongs to
the run or to the command; the command line (arguments.py) is derived from it."""

import dataclasses
import typing

from textcls.runtime.encodings import check_encoding
from textcls.runtime.errors import InputError, known
from textcls.runtime.kinds import fits
from textcls.runtime.memory import parse_memory

RUN, EITHER, COMMAND = "run", "either", "command"
GLUE = ("cola", "sst-2", "mrpc", "qqp", "sts-b", "mnli", "qnli", "rte")  # corpora that data/glue.py reads
SCORES = ("sts-b",)  # those of them that have scores in place of classes
LARGEST = 3e38  # about what float32 holds
NOTHING = ("keep", "label_separator", "fold")  # that may be empty, or are refused in words of their own
MOST = 2**63  # whole numbers lie below it


def option(
    default,
    help: str,
    group: str,
    choices: tuple | None = None,
    above: float | None = None,
    least: float | None = None,
    below: float | None = None,
    belongs: str = RUN,
    several: bool = False,
):
    """A field. `above`, `least` and `below` bound a number. `belongs`: a setting of the RUN is kept in its config.json
    and stays on --resume; EITHER is kept and may be given anew; a COMMAND's is not kept. `several`: a command may give
    many values, of which each of its runs gets one."""
    return dataclasses.field(default=default, metadata={
        "help": help, "group": group, "choices": choices, "above": above, "least": least, "below": below,
        "belongs": belongs, "several": several,
    })  # fmt: skip


@dataclasses.dataclass
class TrainConfig:
    """Everything `train.py` can be told. None stands for the recipe's value, which `recipes.complete` fills in."""

    # ---- data
    data: str = option("pydocs", "a built-in corpus, unless --train is given", "data")
    data_dir: str | None = option(
        None, "folder (or archive) that holds the corpus, instead of downloading it; of GLUE's, the folder of its files",
        "data", belongs=EITHER,
    )  # fmt: skip
    protocol: str = option(
        "honest", "of GLUE's corpora: test on the published dev set; paper: choose the epoch on it too", "data",
        ("honest", "paper"),
    )  # fmt: skip
    keep: str = option("", "parts of 20newsgroups posts to leave in, by commas: headers,footers,quotes", "data")
    train: str | None = option(
        None,
        "your own training file: .csv, .tsv, .jsonl, .json, lines with labels in .txt, a folder of FOLDER/CLASS/*.txt; "
        "CoNLL to tag; plain text for lm, pretrain; for spans SQuAD's .json",
        "data",
    )
    dev: str = option("0.1", "a dev file, or the share of the training data to hold out", "data")
    test: str | None = option(
        None, "your own test file, or the share of the training data to hold out, before dev", "data"
    )
    fold: str | None = option(
        None, "test on a part of the training documents, NUMBER/FOLDS: 2/5 is the second of five", "data"
    )
    encoding: str = option("utf-8", "of your own files: utf-8, latin1, cp1252, utf-16, …", "data")
    text_column: str | None = option(
        None, "name, or position from 1, of the text column; two with a comma for pairs, or QUESTION,CONTEXT", "data"
    )
    label_column: str | None = option(
        None, "name, or position from 1, of the label column (of tags: -1, the last; of multilabel, also a,b,c)", "data"
    )
    label_separator: str | None = option(None, "of labels in one column, with --task multilabel (default: |)", "data")
    lower: bool | None = option(
        None, "lower-case the words of a vocabulary made from the training texts (not to tag)", "data"
    )
    vocab_size: int | None = option(
        None, "words, or word pieces, of a vocabulary made from the training texts, at most", "data", above=0
    )
    min_count: int | None = option(None, "how often a word must occur to be in that vocabulary", "data", above=0)
    tokens: str | None = option(
        None, "what a word is, of a model that reads characters: words and punctuation marks, or all between blanks",
        "data", ("words", "blanks"),
    )  # fmt: skip
    max_length: int | None = option(
        None, "longest input in tokens, [CLS] and [SEP] included; the window of an lm", "data", least=8
    )
    long_documents: str | None = option(None, "longer texts: cut, or read in windows", "data", ("cut", "window"))
    stride: int | None = option(
        None, "tokens from one window's beginning to the next (default: half a window; of spans: 128)", "data", above=0
    )
    max_windows: int | None = option(None, "windows of a text that are read, at most", "data", above=0)
    truncate: str = option("head", "which end of a longer text is kept", "data", ("head", "tail", "headtail"))

    # ---- model
    model: str = option("bilstm", "what to train; with --task lm lstm, with pretrain bert, if not given", "model")
    task: str = option("classification", "what for", "model")
    bert: str = option(
        "nano", "backbone: a folder, a pre-training run, NAME or NAME@REVISION of the hub, or nano, always there",
        "model",
    )  # fmt: skip
    scratch: bool | None = option(
        None, "begin at random weights: take of --bert its dimensions and vocabulary alone", "model"
    )
    fresh_layers: int | None = option(
        None, "layers of --bert, from the top, that begin at random all the same", "model", least=0
    )
    freeze: int | None = option(
        None, "layers of --bert, from the bottom, that are not trained, nor the embeddings; 0: all are", "model", least=0
    )
    init: str | None = option(
        None, "word vectors to begin with, with --scratch: random, or by which pieces stand together (ppmi)", "model",
        ("random", "ppmi"),
    )  # fmt: skip
    next_sentence: bool | None = option(None, "pre-train to tell whether B follows A, besides masked words", "model")
    dropout: float | None = option(
        None, "dropout of the classifier; in pre-training, inside the layers", "model", least=0, below=1
    )
    hidden: int | None = option(None, "LSTM units per direction", "model", above=0)
    layers: int | None = option(None, "LSTM layers", "model", above=0, below=1001)
    pooling: str | None = option(
        None, "how a text's vectors become one; cls: BERT's pooler over [CLS] (default: as --bert's files say)", "model"
    )
    encoder: str | None = option(None, "whether the encoder below an LSTM is trained too", "model", ("frozen", "tune"))
    features: str | None = option(
        None, "what the LSTM reads of BERT: every token or [CLS]", "model", ("sequence", "cls")
    )
    embedding: int | None = option(None, "size of word vectors trained from scratch", "model", above=0)
    vectors: str | None = option(
        None, "pretrained word vectors to begin with: a text file, WORD and numbers a line", "model"
    )
    elmo: str | None = option(
        None, "biLM: a folder with options.json and weights, or a run of --task lm --model elmo", "model",
        belongs=EITHER,
    )  # fmt: skip
    elmo_layers: str | None = option(
        None, "what the LSTM reads of the biLM's layers; mix learns how much each counts", "model",
        ("mix", "average", "concatenate", "top"),
    )  # fmt: skip
    elmo_options: str | None = option(None, "shape of a biLM of one's own, in the published options.json", "model")
    mix_norm: bool | None = option(None, "normalise each layer over the words of a text before the mix", "model")
    mix_l2: float | None = option(
        None, "what the squares of the mix's weights count in the loss, which draws them together", "model", least=0,
        below=LARGEST,
    )  # fmt: skip
    small: bool | None = option(None, "half as wide LSTMs in the layers of a TRANS-BLSTM, without projection", "model")
    crf: bool | None = option(None, "score neighbouring tags together (linear-chain CRF)", "model")
    decoder: str | None = option(
        None, "what answers are read off: BERT's tokens, or a bidirectional LSTM over them", "model", ("none", "blstm")
    )
    decoder_layers: int | None = option(None, "layers of --decoder blstm (default: 2)", "model", above=0, below=1001)

    # ---- training
    batch_size: int | None = option(None, "documents in a micro-batch", "training", above=0)
    accumulate: int | None = option(None, "micro-batches in an optimiser step", "training", above=0)
    epochs: int | None = option(None, "passes over the training data", "training", above=0)
    lr: float | None = option(
        None, "peak learning rate; of several, each is trained with, and the best on dev selected", "training", above=0,
        below=LARGEST, several=True,
    )  # fmt: skip
    encoder_lr: float | None = option(
        None, "peak learning rate of the encoder below an LSTM, with --encoder tune", "training", above=0, below=LARGEST
    )
    embedding_lr: float | None = option(
        None, "peak learning rate of the embedding module, with --task pretrain", "training", above=0, below=LARGEST
    )
    layer_decay: float | None = option(
        None, "learning rate of each layer of BERT over that of the layer above it (default: the same)", "training",
        above=0, below=1,
    )  # fmt: skip
    weight_decay: float | None = option(
        None, "decoupled weight decay, except on biases and LayerNorms", "training", least=0, below=LARGEST
    )
    warmup: float | None = option(
        None, "share of the steps in which the learning rate rises", "training", least=0, below=1
    )
    clip: float | None = option(None, "largest norm of the gradient", "training", above=0)
    select: str | None = option(None, "dev metric of the best epoch", "training")
    patience: int | None = option(None, "stop after so many epochs without a better one; 0: never", "training", least=0)
    class_weights: str = option(
        "none", "balanced: every class weighs the same in the loss", "training", ("none", "balanced")
    )
    teacher: str | None = option(
        None, "trained classifier, or ensemble, whose probabilities are learned from: its run folder", "training",
        belongs=EITHER,
    )  # fmt: skip
    unlabelled: str | None = option(
        None, "texts without labels, which the teacher tells about: a table or JSON as of --train, or a text a line",
        "training",
    )  # fmt: skip
    teacher_weight: float | None = option(
        None, "share of the teacher in the loss, the rest is the labels' (default: 1, it alone)", "training", above=0
    )
    word_dropout: float | None = option(
        None, "share of the words that an epoch leaves out of each document", "training", least=0, below=1
    )
    label_smoothing: float | None = option(
        None, "share of probability spread over all classes", "training", least=0, below=1
    )
    seed: int = option(1, "of initial weights, dropout, order and the dev split", "training", least=0)
    seeds: list[int] | None = option(
        None, "train once with each of these seeds, and report mean and deviation", "training", belongs=COMMAND
    )
    folds: int | None = option(
        None, "train once for each of so many parts of the training documents, and test there", "training", least=2,
        below=1001, belongs=COMMAND,
    )  # fmt: skip
    save_every: int = option(
        500, "optimiser steps between saves inside an epoch; 0: only at its end", "training", least=0
    )

    # ---- memory
    amp: str = option("auto", "mixed precision", "memory", ("auto", "off", "fp16", "bf16"))
    memory: str | None = option(
        None, "memory to fit into, such as 6GB: a cap on CUDA, and what --plan plans for", "memory", belongs=EITHER
    )
    checkpoint_activations: bool | None = option(
        None, "compute each layer twice instead of keeping what is inside it", "memory", belongs=EITHER
    )
    plan: bool = option(
        False, "print where memory and arithmetic go, from shapes alone, and stop", "memory", belongs=COMMAND
    )
    nodes: int | None = option(None, "machines to plan for, with --plan", "memory", above=0, belongs=COMMAND)
    gpus: int | None = option(None, "GPUs of each machine to plan for, with --plan", "memory", above=0, belongs=COMMAND)
    updates: int | None = option(
        None, "optimiser steps to plan for, with --plan (default: 1,000,000)", "memory", above=0, belongs=COMMAND
    )

    # ---- run
    out: str | None = option(None, "run folder to make (default: runs/MODEL, or the first free runs/MODEL-N)", "run")
    resume: str | None = option(None, "run folder to go on with; its settings are kept", "run", belongs=COMMAND)
    device: str = option("auto", "auto, cpu, cuda or cuda:N", "run", belongs=EITHER)
    quiet: bool = option(False, "no progress bars, and no line a minute in their place", "run", belongs=COMMAND)

    @property
    def dev_split(self) -> str | float:
        """The dev file, or the share to hold out."""
        return share_or_file(self.dev)

    @property
    def test_split(self) -> str | float | None:
        """The test file, or the share to hold out; None where the data bring their own, or there is none."""
        return None if self.test is None else share_or_file(self.test)

    @property
    def keep_parts(self) -> tuple[str, ...]:
        return tuple(part for part in self.keep.split(",") if part)

    def stored(self) -> dict:
        """What belongs to the run: the settings that its config.json keeps."""
        return {name: value for name, value in dataclasses.asdict(self).items() if OPTIONS[name]["belongs"] != COMMAND}

    def check(self) -> None:
        """Raise InputError for flags that do not go together, and for a number out of its range."""
        for name in OPTIONS:
            check_kind(name, getattr(self, name))
            check_bounds(name, getattr(self, name))
        if self.memory is not None:
            parse_memory(self.memory)
        check_encoding(self.encoding)
        if self.train is None:
            self.check_built_in()
        for name in ("nodes", "gpus", "updates"):
            if getattr(self, name) is not None and not self.plan:
                raise InputError(
                    f"{flag(name)} goes with --plan; to train on several GPUs: torchrun --nproc-per-node N"
                )
        if self.stride is not None and self.long_documents == "cut":
            raise InputError("--stride goes with --long-documents window")
        for name in ("decoder_layers", "hidden"):
            if self.decoder == "none" and getattr(self, name) is not None:
                raise InputError(f"{flag(name)} goes with --decoder blstm")
        if self.task == "spans" and self.truncate != "head":
            raise InputError("--truncate: passages are read in windows, and of a question the first pieces")
        if self.task not in ("classification", "multilabel") and self.class_weights != "none":
            raise InputError("--class-weights goes with --task classification and multilabel")
        built_in = None if self.train is not None else self.data
        for name, corpora in (("data_dir", ("20newsgroups", *GLUE)), ("keep", ("20newsgroups",))):
            if getattr(self, name) and built_in not in corpora:
                raise InputError(f"{flag(name)} goes with --data {', '.join(corpora)}")
        if self.protocol != "honest" and built_in not in GLUE:
            raise InputError(f"--protocol {self.protocol} goes with --data {', '.join(GLUE)}")

    def check_built_in(self) -> None:
        """The built-in corpora are for classification, or have scores, and bring their columns and their test split."""
        scored = self.data in SCORES
        if self.task == "classification" and scored:
            raise InputError(f"--data {self.data} has scores, and no classes: add --task regression")
        if self.task != "classification" and not (self.task == "regression" and scored):
            also = f" (or --data {', '.join(SCORES)})" if self.task == "regression" else ""
            raise InputError(f"--task {self.task} has no data of its own; give --train FILE{also}")
        if self.data in GLUE and self.data_dir is None:
            raise InputError(f"--data {self.data}: say which folder holds its files: --data-dir FOLDER")
        for name in ("test", "text_column", "label_column", "encoding"):
            if getattr(self, name) not in (None, "text", "label", "utf-8"):
                raise InputError(f"{flag(name)} goes with --train, your own data")
        if isinstance(self.dev_split, str):
            raise InputError(f"--dev {self.dev}: the built-in corpora take a share between 0 and 1, such as 0.1")
        if self.protocol == "paper" and self.dev != "0.1":
            raise InputError("--dev goes with --protocol honest; paper takes the published dev set")


def share_or_file(value: str) -> str | float:
    try:
        return float(value)
    except ValueError:
        return value


OPTIONS = {field.name: field.metadata for field in dataclasses.fields(TrainConfig)}


HINTS = typing.get_type_hints(TrainConfig)
KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", list[int]: "whole numbers"}


def check_kind(name: str, value) -> None:
    """Raise InputError for a value of another kind than its field's, as an edited config.json may have it."""
    if not fits(value, HINTS[name]):
        kind = next(kind for kind in typing.get_args(HINTS[name]) or [HINTS[name]] if kind in KINDS)
        raise InputError(f"{flag(name)} {value!r:.60}: expected {KINDS[kind]}")
    if value == "" and name not in NOTHING:
        raise InputError(f"{flag(name)} '': expected a name; leave it out, or say what")
    choices = OPTIONS[name]["choices"]
    if choices and value is not None and value not in choices:
        raise known(flag(name), value, choices)
    if isinstance(value, str) and "\0" in value:
        raise InputError(f"{flag(name)} {value!r:.60}: a NUL character is part of no name")


def check_bounds(name: str, value) -> None:
    above, least, below = (OPTIONS[name][bound] for bound in ("above", "least", "below"))
    if value is None:
        return
    for number in value if isinstance(value, list) else [value]:
        if type(number) is int and abs(number) >= MOST:
            raise InputError(f"{flag(name)} {str(number)[:30]}: must be below 2**63")
    if above is not None and not (value > above and (below is None or value < below)):
        raise InputError(f"{flag(name)} {value}: must be above {above}{f' and below {below}' if below else ''}")
    if below is not None and not (least or 0) <= value < below:
        raise InputError(f"{flag(name)} {value}: must be at least {least or 0} and below {below:g}")
    if least is not None and not value >= least:
        raise InputError(f"{flag(name)} {value}: must be {f'at least {least}' if least else '0 or more'}")


def flag(name: str) -> str:
    return "--" + name.replace("_", "-")
