"""Evaluate trained runs, or predict with one.

python evaluate.py runs/bilstm                       metrics with 95 % intervals on the test split
python evaluate.py runs/bert runs/bilstm             side by side, one column a run
python evaluate.py runs/bilstm --predict texts.txt   a label and its probability for each line
cat texts.jsonl | python evaluate.py runs/bilstm --predict - --format jsonl --top-k 3
"""

import argparse
import json
import pathlib
import sys

import numpy as np

import textcls
from textcls import data, metrics, report
from textcls.config import TrainConfig
from textcls.data import tabular
from textcls.data.corpus import Documents
from textcls.device import prepare_cpu
from textcls.errors import InputError, exit_on_input_error
from textcls.predictor import Predictor, cached_logits, properties
from textcls.progress import through

CHUNK = 64  # texts that are predicted together when reading a stream


@exit_on_input_error
def main(argv=None):
    arguments = parse(argv)
    prepare_cpu()
    if arguments.predict is not None:
        predict(textcls.load(arguments.runs[0], arguments.device, arguments.bert), arguments)
        return
    results = [evaluate(folder, arguments) for folder in arguments.runs]
    if arguments.json:
        json.dump(results if len(results) > 1 else results[0], sys.stdout, indent=2)
        print()
    elif len(results) > 1:
        side_by_side(results)


def parse(argv) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folder, as left by train.py or ensemble.py")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    parser.add_argument("--predict", metavar="FILE", help="predict the texts of FILE (- is standard input), one a line")
    parser.add_argument("--format", choices=("lines", "jsonl"), help="of --predict (default: by the file's ending)")
    parser.add_argument("--top-k", type=int, default=1, metavar="K", help="labels to print for each text (default: 1)")
    parser.add_argument("--test", metavar="FILE", help="evaluate on this file instead of the run's test split")
    parser.add_argument("--data-dir", metavar="S", help="where the run's corpus is now")
    parser.add_argument("--bert", metavar="FOLDER", help="where the run's frozen backbone is now")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    arguments = parser.parse_args(argv)
    if arguments.predict is not None and len(arguments.runs) > 1:
        parser.error("--predict takes one run")
    if arguments.predict is not None and arguments.json:
        parser.error("--json does not go with --predict; its output is JSON with --format jsonl")
    if arguments.top_k < 1:
        parser.error(f"--top-k {arguments.top_k}: must be at least 1")
    return arguments


# ---- evaluation -----------------------------------------------------------------------------------------------------


def evaluate(folder: str, arguments) -> dict:
    """Score one run on its test split, and print the result unless it is part of a table or of JSON."""
    predictor = textcls.load(folder, arguments.device, arguments.bert)
    description, test = test_split(predictor, arguments)
    logits, seconds = cached_logits(predictor, test, arguments.quiet)
    predictor.release()
    results, scores = metrics.intervals(logits, test.labels), metrics.Scores(logits, test.labels)
    if not arguments.json and len(arguments.runs) == 1:
        print(f"{folder} on {description}: {len(test)} documents")
        print("\n".join(report.summary(results, scores.correct, test.empty)))
        print(f"\n{report.per_class(scores, predictor.labels)}\n\n{report.confusions(scores, predictor.labels)}\n")
        print(f"{len(test) / seconds:.0f} documents/s on {predictor.device}")
    per_class = scores.per_class()
    return {
        "run": str(folder),
        "data": description,
        "documents": len(test),
        "metrics": {name: vars(value) for name, value in results.items()},
        "accuracy_non_empty": float(scores.correct[~test.empty].mean()) if not test.empty.all() else None,
        "per_class": {
            label: {name: float(values[i]) for name, values in per_class.items()}
            for i, label in enumerate(predictor.labels)
        },
        "confused": [[predictor.labels[true], predictor.labels[guess], n] for true, guess, n in scores.confused()],
        "documents_per_s": len(test) / seconds,
        "device": str(predictor.device),
        "properties": properties(predictor),
    }


def test_split(predictor: Predictor, arguments) -> tuple[str, Documents]:
    """(what it is, documents) to evaluate on: the run's own test split, or the file given with --test."""
    config = TrainConfig(**vars(predictor.config))
    if arguments.data_dir:
        config.data_dir = arguments.data_dir
    if arguments.test:
        columns = [*config.text_column.split(","), config.label_column]
        rows = list(tabular.read(pathlib.Path(arguments.test), columns))
        return pathlib.Path(arguments.test).name, tabular.encode_labels("test", rows, predictor.labels)
    corpus = data.load(config, through("reading", arguments.quiet))
    if corpus.test is None:
        raise InputError(f"{predictor.run.folder} was trained without a test split; give one with --test FILE")
    if not np.array_equal(corpus.test.ids, predictor.run.splits().get("test")):
        raise InputError(f"{predictor.run.folder}: the test documents are not those the run began with")
    return corpus.description, corpus.test


def side_by_side(results: list[dict]) -> None:
    """Properties and results in the form people put in a report: one column a run."""
    names = list(dict.fromkeys(name for result in results for name in result["properties"]))
    rows = [["", *(result["run"] for result in results)]]
    rows += [[name, *(str(result["properties"].get(name, "")) for result in results)] for name in names]
    for name, title in report.TITLES.items():
        rows.append([f"test {title}", *(f"{result['metrics'][name]['value']:.4f}" for result in results)])
        rows.append(["  95 % interval", *("{low:.4f} to {high:.4f}".format(**r["metrics"][name]) for r in results)])
    rows.append(["test documents/s", *(f"{r['documents_per_s']:.0f} on {r['device']}" for r in results)])
    for data_name in dict.fromkeys(result["data"] for result in results):
        print(f"test data: {data_name}")
    if len({result["data"] for result in results}) > 1:
        rows.append(["test data", *(result["data"] for result in results)])
    print(f"\n{report.table(rows, right=False)}")


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


if __name__ == "__main__":
    sys.exit(main())
