"""Evaluate and compare trained runs, predict with one, or let a language model write.

python evaluate.py runs/bilstm                       metrics with 95 % intervals on the test split
python evaluate.py runs/bert runs/bilstm             side by side, and how far apart they are, document by document
python evaluate.py runs/bilstm --predict texts.txt   a label and its probability for each line
cat texts.jsonl | python evaluate.py runs/bilstm --predict - --format jsonl --top-k 3
python evaluate.py runs/bert-tagging --predict words.conll      the same lines with a column of tags
python evaluate.py runs/bert-pretrain --predict masked.txt      what stands at each [MASK]
python evaluate.py runs/lstm-lm --sample 100         words drawn from a language model
"""

import argparse
import itertools
import json
import pathlib
import sys

import numpy as np

import textcls
from textcls import data, entities, metrics, report, results
from textcls.checkpoint import Run
from textcls.config import TrainConfig
from textcls.data import language, pretraining, tabular, tagging
from textcls.data.tabular import decoded_lines
from textcls.device import prepare_cpu
from textcls.errors import InputError, exit_on_input_error
from textcls.predictor import Base, Predictor
from textcls.progress import through

CHUNK = 64  # texts that are predicted together when reading a stream


@exit_on_input_error
def main(argv=None):
    arguments = parse(argv)
    prepare_cpu()
    if arguments.sample is not None:
        return sample(textcls.load(arguments.runs[0], arguments.device), arguments)
    if arguments.predict is not None:
        predictor = textcls.load(arguments.runs[0], arguments.device, arguments.bert)
        by_task = {"classification": predict, "tagging": predict_tags, "pretrain": fill}
        if predictor.config.task not in by_task:
            raise InputError(f"{arguments.runs[0]}: a language model writes with --sample N, and predicts no labels")
        return by_task[predictor.config.task](predictor, arguments)
    if len({Run(folder).meta().get("config", {}).get("task", "classification") for folder in arguments.runs}) > 1:
        raise InputError("the runs are of different tasks; evaluate them one by one")
    found = [evaluate(folder, arguments) for folder in arguments.runs]
    if arguments.json:
        summaries = [result.summary for result in found]
        json.dump(summaries if len(found) > 1 else summaries[0], sys.stdout, indent=2)
        print()
    elif len(found) > 1:
        print(report.side_by_side([result.summary for result in found]))
        print("\n" + "\n".join(compare(found)))


def parse(argv) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folder, as left by train.py or ensemble.py")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    parser.add_argument("--predict", metavar="FILE", help="predict the texts of FILE (- is standard input), one a line")
    parser.add_argument("--format", choices=("lines", "jsonl"), help="of --predict (default: by the file's ending)")
    parser.add_argument("--top-k", type=int, default=1, metavar="K", help="labels to print for each text (default: 1)")
    parser.add_argument("--sample", type=int, metavar="N", help="write N words with a language model")
    parser.add_argument("--temperature", type=float, default=1.0, metavar="X", help="of --sample (default: 1)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of --sample (default: 0)")
    parser.add_argument("--test", metavar="FILE", help="evaluate on this file instead of the run's test split")
    parser.add_argument("--data-dir", metavar="S", help="where the run's corpus is now")
    parser.add_argument("--bert", metavar="FOLDER", help="where the run's frozen backbone is now")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    arguments = parser.parse_args(argv)
    for name in ("predict", "sample"):
        if getattr(arguments, name) is not None and len(arguments.runs) > 1:
            parser.error(f"--{name} takes one run")
    if arguments.predict is not None and arguments.json:
        parser.error("--json does not go with --predict; its output is JSON with --format jsonl")
    if arguments.top_k < 1:
        parser.error(f"--top-k {arguments.top_k}: must be at least 1")
    if arguments.sample is not None and arguments.sample < 1:
        parser.error(f"--sample {arguments.sample}: must be at least 1")
    if not arguments.temperature > 0:
        parser.error(f"--temperature {arguments.temperature}: must be above 0")
    return arguments


# ---- evaluation -----------------------------------------------------------------------------------------------------


def evaluate(folder: str, arguments) -> results.Result:
    """Score one run on its test split, and print the result unless it is part of a table or of JSON."""
    predictor = textcls.load(folder, arguments.device, arguments.bert)
    description, test = test_split(predictor, arguments)
    result = results.measure(predictor, description, test, arguments.quiet)
    if not arguments.json and len(arguments.runs) == 1:
        unit = report.unit(result.summary)
        print(f"{folder} on {description}: {len(test)} {unit}")
        print("\n".join(report.headline(result.summary)))
        if not arguments.test and (reference := results.reference(predictor.run.folder)):
            print(reference)
        print("".join(f"\n{part}\n" for part in report.details(result.summary)))
        print(f"{result.summary['documents_per_s']:.0f} {unit}/s on {predictor.device}")
    return result


def test_split(predictor: Base, arguments) -> tuple[str, object]:
    """(what it is, documents) to evaluate on: the run's own test split, or the file given with --test."""
    config = TrainConfig(**vars(predictor.config))
    if arguments.data_dir:
        config.data_dir = arguments.data_dir
    if arguments.test:
        return pathlib.Path(arguments.test).name, read_test(arguments.test, predictor)
    vocabulary = predictor.tokenizer if config.task in ("lm", "pretrain") else None
    corpus = data.load(config, through("reading", arguments.quiet), vocabulary)
    if corpus.test is None:
        raise InputError(f"{predictor.run.folder} was trained without a test split; give one with --test FILE")
    if not np.array_equal(corpus.test.ids, predictor.run.splits().get("test")):
        raise InputError(f"{predictor.run.folder}: the test documents are not those the run began with")
    return corpus.description, corpus.test


def read_test(path: str, predictor: Base):
    """A file of the run's kind."""
    config = predictor.config
    if config.task == "lm":
        return language.text(path, predictor.tokenizer)
    if config.task == "pretrain":
        return pretraining.text(path, predictor.tokenizer)
    if config.task == "tagging":
        places = tagging.position(config.text_column), tagging.position(config.label_column)
        return tagging.encode("test", list(tagging.read(pathlib.Path(path), *places)), predictor.labels)
    columns = [*config.text_column.split(","), config.label_column]
    return tabular.encode_labels("test", list(tabular.read(pathlib.Path(path), columns)), predictor.labels)


def compare(found: list[results.Result]) -> list[str]:
    """A sentence for each pair of runs, paired by document: McNemar's exact test for classifiers, a paired bootstrap
    of F1 for taggers; p corrected by Holm's method where there are more than two runs."""
    if any(result.items is None for result in found):
        return []
    if len({(result.summary["data"], result.summary["documents"]) for result in found}) > 1:
        return ["not compared document by document: the runs were tested on different documents"]
    pairs, differences, p_values = list(itertools.combinations(found, 2)), [], []
    for first, second in pairs:
        if isinstance(first.items, entities.Counts):
            difference, p = entities.paired_f1(first.items, second.items)
        else:
            difference = metrics.paired_interval(first.items, second.items)
            p = metrics.mcnemar(first.items, second.items)[2]
        differences.append(difference)
        p_values.append(p)
    what = "F1" if isinstance(found[0].items, entities.Counts) else "accuracy"
    lines = [
        report.sentence(first.summary["run"], second.summary["run"], difference, p, what)
        for (first, second), difference, p in zip(pairs, differences, metrics.holm(p_values), strict=True)
    ]
    return lines + ([f"p corrected for {len(pairs)} comparisons (Holm)"] if len(pairs) > 1 else [])


# ---- prediction -----------------------------------------------------------------------------------------------------


def predict(predictor: Predictor, arguments) -> None:
    """Stream labels and probabilities: tab-separated for lines, one JSON object a line for JSON Lines."""
    as_json = (arguments.format or ("jsonl" if arguments.predict.endswith(".jsonl") else "lines")) == "jsonl"
    columns = predictor.config.text_column.split(",") if predictor.config.train else ["text"]
    if not as_json and len(columns) > 1:
        raise InputError(
            f"{predictor.run.folder} reads pairs of texts; give them as JSON Lines with the fields "
            f"{', '.join(columns)} and --format jsonl"
        )
    name = "standard input" if arguments.predict == "-" else arguments.predict
    with sys.stdin.buffer if arguments.predict == "-" else open(arguments.predict, "rb") as file:
        chunk: list[tuple[str, ...]] = []
        for number, line in enumerate(file, 1):
            chunk.append(parse_line(f"{name}:{number}", line, columns if as_json else None))
            if len(chunk) == (1 if file.isatty() else CHUNK):
                emit(predictor, chunk, arguments.top_k, as_json)
                chunk = []
        if chunk:
            emit(predictor, chunk, arguments.top_k, as_json)


def parse_line(where: str, line: bytes, columns: list[str] | None) -> tuple[str, ...]:
    try:
        text = line.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: byte 0x{line[error.start]:02x} at column {error.start + 1} is not UTF-8") from None
    return (text,) if columns is None else tuple(tabular.json_values(where, text, columns))


def emit(predictor: Predictor, texts: list[tuple[str, ...]], top_k: int, as_json: bool) -> None:
    _, probabilities = predictor.predict(texts)
    for row in probabilities:
        best = np.argsort(-row, kind="stable")[:top_k]
        if as_json:
            values = {"labels": [predictor.labels[i] for i in best], "probabilities": [float(row[i]) for i in best]}
            print(json.dumps(values, ensure_ascii=False))
        else:
            print("\t".join(f"{predictor.labels[i]}\t{row[i]:.4f}" for i in best))
    sys.stdout.flush()


def source_of(arguments) -> pathlib.Path:
    return pathlib.Path("/dev/stdin" if arguments.predict == "-" else arguments.predict)


def predict_tags(predictor: Base, arguments) -> None:
    """The lines of a CoNLL file with one more column, the predicted tag. Blank lines end sentences, as ever."""
    source = source_of(arguments)
    word = tagging.position(predictor.config.text_column)
    lines: list[str] = []
    for line in decoded_lines(source):
        lines.append(line.rstrip("\r\n"))
        if len(lines) >= CHUNK * 16 and not lines[-1].strip():
            emit_tags(predictor, lines, word, source)
            lines = []
    emit_tags(predictor, lines, word, source)


def emit_tags(predictor: Base, lines: list[str], word: int, source: pathlib.Path) -> None:
    sentences: list[list[str]] = [[]]
    for line in lines:
        if tagging.is_boundary(line):
            sentences.append([])
        else:
            sentences[-1].append(tagging.pick(tagging.split(line), word, f"{source}: {line!r}"))
    tags = itertools.chain.from_iterable(predictor.predict(sentences))
    for line in lines:
        print(line if tagging.is_boundary(line) else f"{line}{tagging.separator(line)}{next(tags)}")
    sys.stdout.flush()


def fill(predictor: Base, arguments) -> None:
    """The likeliest word pieces, with their probabilities, for each [MASK] of a line: tab-separated."""
    source = source_of(arguments)
    for number, line in enumerate(decoded_lines(source), 1):
        try:
            found = predictor.fill(line)
        except InputError as error:
            raise InputError(f"{source}:{number}: {error}") from None
        best = [itertools.islice(pieces.items(), arguments.top_k) for pieces in found]
        print("\t".join(f"{piece}\t{probability:.4f}" for part in best for piece, probability in part), flush=True)


def sample(predictor: Base, arguments) -> None:
    """Words on a line until <eos> ends it."""
    if predictor.config.task != "lm":
        raise InputError(f"{arguments.runs[0]}: --sample needs a language model, this run is a {predictor.config.task}")
    start = True
    for word in predictor.sample(arguments.sample, arguments.seed, arguments.temperature):
        print("\n" if word == "<eos>" else word if start else f" {word}", end="", flush=True)
        start = word == "<eos>"
    print()


if __name__ == "__main__":
    sys.exit(main())
