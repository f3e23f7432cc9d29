"""The settings of a run. A field is declared once, here; the command line is derived from it."""

import argparse
import dataclasses
import types
import typing

from textcls.errors import InputError

MODELS = (
    "linear",
    "bert",
    "bilstm",
    "lstm",
    "bilstm-scratch",
    "bert-lstm",
    "bert-bilstm",
    "trans-blstm-1",
    "trans-blstm-2",
    "blstm",
)
TASKS = ("classification", "tagging", "lm", "pretrain")
POOLINGS = ("last", "mean", "max", "attention")
METRICS = ("accuracy", "macro_f1", "f1", "strict_f1", "loss")
DATA = ("20newsgroups", "pydocs")
UNITS = {"KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}


def option(default, help: str, choices: tuple | None = None):
    return dataclasses.field(default=default, metadata={"help": help, "choices": choices})


@dataclasses.dataclass
class TrainConfig:
    """Everything `train.py` can be told. None stands for the recipe's value, which `recipes.complete` fills in."""

    model: str = option("bilstm", "what to train", MODELS)
    task: str = option("classification", "what for", TASKS)
    data: str = option("pydocs", "a built-in corpus, unless --train is given", DATA)
    data_dir: str | None = option(None, "folder (or archive) that holds the corpus, instead of downloading it")
    keep: str = option("", "parts of 20newsgroups posts to leave in, by commas: headers,footers,quotes")
    train: str | None = option(
        None, "your own training file: .csv, .tsv, .jsonl; CoNLL to tag; plain text for lm, pretrain"
    )
    dev: str = option("0.1", "a dev file, or the share of the training data to hold out")
    test: str | None = option(None, "your own test file")
    text_column: str | None = option(None, "name, or position from 1, of the text column; two with a comma for pairs")
    label_column: str | None = option(None, "name, or position from 1, of the label column (of tags: -1, the last)")
    bert: str = option(
        "nano", "backbone: a folder, a pre-training run, a name on the hub, or nano (small, always there)"
    )
    scratch: bool | None = option(None, "begin at random weights: take of --bert its shape and vocabulary alone")
    next_sentence: bool | None = option(None, "pre-train to tell whether B follows A, besides masked words")
    out: str | None = option(None, "run folder to make (default: runs/MODEL, or the first free runs/MODEL-N)")
    resume: str | None = option(None, "run folder to go on with; its settings are kept")
    amp: str = option("auto", "mixed precision", ("auto", "off", "fp16", "bf16"))
    batch_size: int | None = option(None, "documents in a micro-batch")
    accumulate: int | None = option(None, "micro-batches in an optimiser step")
    epochs: int | None = option(None, "passes over the training data")
    lr: float | None = option(None, "peak learning rate")
    weight_decay: float | None = option(None, "decoupled weight decay, except on biases and LayerNorms")
    warmup: float | None = option(None, "share of the steps in which the learning rate rises")
    clip: float | None = option(None, "largest norm of the gradient")
    dropout: float | None = option(None, "dropout of the classifier; in pre-training, inside the layers")
    hidden: int | None = option(None, "LSTM units per direction")
    layers: int | None = option(None, "LSTM layers")
    pooling: str | None = option(None, "how an LSTM's steps become one vector", POOLINGS)
    encoder: str | None = option(None, "whether the BERT below an LSTM is trained too", ("frozen", "tune"))
    encoder_lr: float | None = option(None, "peak learning rate of the BERT below an LSTM, with --encoder tune")
    features: str | None = option(None, "what the LSTM reads of BERT: every token or [CLS]", ("sequence", "cls"))
    embedding: int | None = option(None, "size of word vectors trained from scratch")
    vocab_size: int | None = option(
        None, "words, or word pieces, of a vocabulary made from the training texts, at most"
    )
    min_count: int | None = option(None, "how often a word must occur to be in that vocabulary")
    vectors: str | None = option(None, "pretrained word vectors to begin with: a text file, WORD and numbers a line")
    small: bool | None = option(None, "half as wide LSTMs in the layers of a TRANS-BLSTM, without projection")
    crf: bool | None = option(None, "score neighbouring tags together (linear-chain CRF)")
    max_length: int | None = option(None, "longest input in tokens, [CLS] and [SEP] included; the window of an lm")
    long_documents: str | None = option(None, "longer texts: cut, or read in windows", ("cut", "window"))
    stride: int | None = option(None, "tokens from one window's beginning to the next (default: half a window)")
    max_windows: int | None = option(None, "windows of a text that are read, at most")
    truncate: str = option("head", "which end of a longer text is kept", ("head", "tail", "headtail"))
    seed: int = option(1, "of initial weights, dropout, order and the dev split")
    seeds: list[int] | None = option(None, "train once with each of these seeds, and report mean and deviation")
    select: str | None = option(None, "dev metric of the best epoch", METRICS)
    patience: int | None = option(None, "stop after so many epochs without a better one; 0: never")
    class_weights: str = option("none", "balanced: every class weighs the same in the loss", ("none", "balanced"))
    label_smoothing: float | None = option(None, "share of probability spread over all classes")
    checkpoint_activations: bool | None = option(None, "compute each layer twice instead of keeping what is inside it")
    memory: str | None = option(None, "memory to fit into, such as 6GB: a cap on CUDA, and what --plan plans for")
    plan: bool = option(False, "print where memory and arithmetic go, from shapes alone, and stop")
    nodes: int | None = option(None, "machines to plan for, with --plan")
    gpus: int | None = option(None, "GPUs of each machine to plan for, with --plan")
    updates: int | None = option(None, "optimiser steps to plan for, with --plan (default: 1,000,000)")
    save_every: int = option(500, "optimiser steps between saves inside an epoch; 0: only at its end")
    device: str = option("auto", "auto, cpu, cuda or cuda:N")
    quiet: bool = option(False, "no progress bars")

    @property
    def dev_split(self) -> str | float:
        """The dev file, or the share to hold out."""
        try:
            return float(self.dev)
        except ValueError:
            return self.dev

    @property
    def keep_parts(self) -> tuple[str, ...]:
        return tuple(part for part in self.keep.split(",") if part)

    def check(self) -> None:
        """Raise InputError for flags that do not go together, and for a number out of its range."""
        if self.train is None:
            if self.task != "classification":
                raise InputError(f"--task {self.task} has no data of its own; give --train FILE")
            for name in ("test", "text_column", "label_column"):
                if getattr(self, name) not in (None, "text", "label"):
                    raise InputError(f"{flag(name)} goes with --train, your own data")
            if isinstance(self.dev_split, str):
                raise InputError(f"--dev {self.dev}: the built-in corpora take a share between 0 and 1, such as 0.1")
        if self.task == "pretrain" and self.vocab_size is not None and not self.scratch:
            raise InputError(
                "--vocab-size makes a new vocabulary, which the weights of --bert do not know: add --scratch"
            )
        for name in ("nodes", "gpus", "updates"):
            if getattr(self, name) is not None and not self.plan:
                raise InputError(
                    f"{flag(name)} goes with --plan; to train on several GPUs: torchrun --nproc-per-node N"
                )
        if self.stride is not None and self.long_documents != "window":
            raise InputError("--stride goes with --long-documents window")
        if self.task != "classification" and self.class_weights != "none":
            raise InputError("--class-weights goes with --task classification")
        for name in ("data_dir", "keep"):
            if getattr(self, name) and (self.train is not None or self.data != "20newsgroups"):
                raise InputError(f"{flag(name)} goes with --data 20newsgroups")
        for name in (
            "batch_size", "accumulate", "epochs", "lr", "clip", "hidden", "layers", "encoder_lr", "embedding",
            "vocab_size", "min_count", "stride", "max_windows", "nodes", "gpus", "updates",
        ):  # fmt: skip
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                raise InputError(f"{flag(name)} {getattr(self, name)}: must be above 0")
        for name in ("weight_decay", "patience", "save_every", "seed"):
            if getattr(self, name) is not None and not getattr(self, name) >= 0:
                raise InputError(f"{flag(name)} {getattr(self, name)}: must be 0 or more")
        for name in ("warmup", "dropout", "label_smoothing"):
            if getattr(self, name) is not None and not 0 <= getattr(self, name) < 1:
                raise InputError(f"{flag(name)} {getattr(self, name)}: must be at least 0 and below 1")
        if self.memory is not None:
            parse_memory(self.memory)
        if self.max_length is not None and self.max_length < 8:
            raise InputError(f"--max-length {self.max_length}: must be at least 8")


def parse_memory(text: str) -> int:
    """Bytes of "6GB" (10^9) or "6GiB" (2^30), with KB, MB and TB alike. Raises InputError."""
    number = text.strip().upper().rstrip("BIKMGT")
    unit = text.strip().upper()[len(number) :]
    try:
        size = int(float(number) * UNITS[unit])
    except (ValueError, KeyError, OverflowError):
        raise InputError(f"--memory {text}: expected a size such as 6GB (10^9 bytes) or 6GiB (2^30 bytes)") from None
    if size <= 0:
        raise InputError(f"--memory {text}: must be above 0")
    return size


def flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def parser(description: str) -> argparse.ArgumentParser:
    """An argument parser with a flag for each field of TrainConfig. Flags that are not given are absent from its
    result, so that it can be told what the user said from what is a default."""
    result = argparse.ArgumentParser(
        description=description,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    hints = typing.get_type_hints(TrainConfig)
    for field in dataclasses.fields(TrainConfig):
        add_flag(result, field, hints[field.name])
    return result


def add_flag(parser: argparse.ArgumentParser, field: dataclasses.Field, hint) -> None:
    help, choices = field.metadata["help"], field.metadata["choices"]
    if isinstance(hint, types.UnionType):
        hint = next(kind for kind in typing.get_args(hint) if kind is not type(None))
    if hint == list[int]:
        parser.add_argument(flag(field.name), type=int, nargs="+", help=help, metavar="N")
        return
    if hint is bool:
        parser.add_argument(flag(field.name), action=argparse.BooleanOptionalAction, help=help)
        return
    if field.default is not None and field.default != "":
        help += f" (default: {field.default})"
    metavar = None if choices else {int: "N", float: "X", str: "S"}[hint]
    parser.add_argument(flag(field.name), type=hint, choices=choices, help=help.replace("%", "%%"), metavar=metavar)
