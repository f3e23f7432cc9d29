"""Evaluate and compare trained runs, predict with one, or let a language model write.

python evaluate.py runs/bilstm                       metrics with 95 % intervals on the test split
python evaluate.py runs/bert runs/bilstm             side by side, and how far apart they are, document by document
python evaluate.py runs/bert runs/bilstm --html report.html   the same as a page, with data, curves, confusions, errors
python evaluate.py runs/*/bert runs/*/bilstm         of several corpora: a row a model, a column a corpus, the average
python evaluate.py runs/bilstm --predict texts.txt   a label and its probability for each line
python evaluate.py runs/bilstm --predict new.csv     … for each row of the run's text column
python evaluate.py runs/bilstm --predict new.csv --out done.csv     the same file with a label and its probability a row
python evaluate.py runs/bilstm --predict new.csv --out done.csv --resume     … from where it was stopped on
cat texts.jsonl | python evaluate.py runs/bilstm --predict - --format jsonl --top-k 3
python evaluate.py runs/bilstm --predict new.csv --target-accuracy 0.95    an empty label where it is not sure enough
python evaluate.py runs/bert-tagging --predict words.conll      the same lines with a column of tags
python evaluate.py runs/bert-pretrain --predict masked.txt      what stands at each [MASK]
python evaluate.py runs/bert-spans --predict dev-v1.1.json      answers in SQuAD's form of predictions
python evaluate.py runs/bilstm --explain texts.txt   what each word of each line counts for its answer
python evaluate.py runs/lstm-lm --sample 100         words drawn from a language model
python evaluate.py runs/bert --export FOLDER --format hf|onnx  the model as other libraries open it
python evaluate.py runs/bert --submission FOLDER     a run of --data cola, mnli, …: what GLUE's server wants
"""

import argparse
import dataclasses
import os
import pathlib
import sys
from typing import Any

import textcls
from textcls import explain as explanations
from textcls import export as exports
from textcls import page as pages
from textcls import predictor as predictors
from textcls import reference
from textcls.arguments import check_given, of_runs
from textcls.config import check_bounds
from textcls.export.size import needed
from textcls.records import command
from textcls.records.formats import ending_of
from textcls.report import words
from textcls.report.compare import compare
from textcls.report.corpora import Entry, columns, corpora_table
from textcls.report.text import details, headline, side_by_side
from textcls.runtime import parallel
from textcls.runtime.device import choose_device, prepare
from textcls.runtime.encodings import check_encoding
from textcls.runtime.errors import InputError, check_output, exit_on_input_error, show_everything
from textcls.runtime.files import file_names, json_text, write_text
from textcls.tasks import TASKS, classification, probabilities, submission
from textcls.tasks.answers import Asked
from textcls.tasks.base import Predictor
from textcls.tasks.documents import FORMATS

INSTEAD = ("export", "submission", "predict", "explain", "sample")  # flags of what is done in place of an evaluation


@exit_on_input_error
def main(argv=None):
    arguments = parse(argv)
    prepare(choose_device(arguments.device))
    if arguments.json or any(getattr(arguments, name) is not None for name in ("sample", "predict", "explain")):
        show_everything(sys.stdout, "utf-8")  # answers are data, and the same everywhere
        if arguments.out in (None, "-") and not arguments.html:
            check_output()
    if arguments.sample is not None:
        return sample(load(arguments.runs[0], arguments), arguments)
    if arguments.predict is not None:
        return predict(arguments)
    if arguments.explain is not None:
        return explain(load(arguments.runs[0], arguments), arguments)
    if arguments.submission is not None:
        print("\n".join(submission.write(load(arguments.runs[0], arguments), arguments.submission, arguments.data_dir)))
        return
    if arguments.export is not None:
        print("\n".join(exports.export(load(arguments.runs[0], arguments), arguments.export, arguments)))
        return
    if arguments.test and len(arguments.runs) > 1:
        check_tasks(arguments.runs)
    entries, found = zip(*(evaluate(folder, arguments) for folder in arguments.runs), strict=True)
    results = [entry.result for entry in entries]
    corpora = corpora_table(entries) if not arguments.test and len(columns(entries)) > 1 else ""
    if arguments.json:
        summaries = [result.summary for result in results]
        print(json_text(summaries if len(results) > 1 else summaries[0], indent=2))
    elif corpora:
        print(corpora)
    elif len(results) > 1:
        print(side_by_side([result.summary for result in results]))
        print("\n" + "\n".join(compare(results)))
    if arguments.html:
        pages.write(arguments, found, results, corpora)
        print(f"page: {arguments.html}", file=sys.stderr if arguments.json else sys.stdout)


def parse(argv) -> argparse.Namespace:
    parser = of_runs("RUN [RUN ...]", __doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folder, as left by train.py or ensemble.py")
    parser.add_argument("--json", action="store_true", help="print the results, or each explanation, as JSON")
    parser.add_argument("--predict", metavar="FILE", help="predict the texts of FILE (- is standard input)")
    parser.add_argument(
        "--format",
        choices=("lines", *FORMATS, *exports.FORMATS),
        help="of --predict: a text a line, or the run's text columns (default: by the file's ending; else lines); of "
        "--export: Hugging Face's folder, or ONNX",
    )
    parser.add_argument("--encoding", metavar="S", help="of the file to predict or test (default: as in training)")
    parser.add_argument(
        "--top-k",
        type=int,
        metavar="K",
        help="labels (or answers) of each text (default: 1; of multilabel, those above their thresholds)",
    )
    parser.add_argument("--threshold", type=float, metavar="P", help="an empty label where none is so probable")
    parser.add_argument(
        "--target-accuracy", type=float, metavar="A", help="the threshold from which on dev answers are this accurate"
    )
    out_options(parser)
    parser.add_argument("--explain", metavar="FILE", help="say what each word of FILE's texts counts for their answers")
    parser.add_argument(
        "--by",
        choices=explanations.WAYS,
        help="of --explain (default: weights for a linear model, leave-one-out for others)",
    )
    parser.add_argument("--html", metavar="FILE", help="write a page on the runs; or with --explain on the texts")
    parser.add_argument("--sample", type=int, metavar="N", help="write N words with a language model")
    parser.add_argument("--export", metavar="FOLDER", help="write the model into a new folder, as --format says")
    parser.add_argument("--int8", action="store_true", help="of --format onnx: 8-bit weights too, if faster")
    parser.add_argument("--submission", metavar="FOLDER", help="write GLUE's test predictions, a file a test set, here")
    parser.add_argument("--temperature", type=float, default=1.0, metavar="X", help="of --sample (default: 1)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of --sample (default: 0)")
    parser.add_argument("--test", metavar="FILE", help="evaluate on this file instead of the run's test split")
    parser.add_argument("--data-dir", metavar="S", help="where the run's corpus is now")
    for kind in ("bert", "elmo"):
        parser.add_argument(f"--{kind}", metavar="FOLDER", help=f"where the frozen {kind} of the runs is now")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    arguments = parser.parse_args(argv)
    check_given(arguments, but=["prefix"])
    arguments.typed = sys.argv[1:] if argv is None else argv
    check_arguments(parser, arguments)
    check_out(parser, arguments)
    return arguments


def check_arguments(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """End with an error for flags that do not go together."""
    check_bounds("seed", arguments.seed)
    if arguments.by is not None and arguments.explain is None:
        parser.error("--by goes with --explain")
    check_one_thing(parser, arguments)
    if arguments.html is not None:
        pages.check_path(arguments.html)
    if arguments.export is not None and arguments.format not in exports.FORMATS:
        parser.error(f"--export writes --format {' or '.join(exports.FORMATS)}")
    if arguments.int8 and arguments.format != "onnx":
        parser.error("--int8 goes with --export FOLDER --format onnx")
    if arguments.export is None and arguments.format in exports.FORMATS:
        parser.error(f"--format {arguments.format} goes with --export FOLDER")
    if arguments.encoding:
        check_encoding(arguments.encoding)
    arguments.ranked = arguments.top_k is not None  # or each text gets as many labels as reach their thresholds
    arguments.top_k = arguments.top_k if arguments.ranked else 1
    for name in ("threshold", "target_accuracy"):
        value, flag = getattr(arguments, name), f"--{name.replace('_', '-')}"
        if value is not None and not 0 < value <= 1:
            parser.error(f"{flag} {value:g}: must be above 0 and at most 1")
        others = any(getattr(arguments, other) is not None for other in INSTEAD if other != "predict")
        if value is not None and (arguments.top_k > 1 or others):
            parser.error(f"{flag} goes with --predict without --top-k, and with evaluation")
    if arguments.threshold is not None and arguments.target_accuracy is not None:
        parser.error("--target-accuracy chooses the threshold; leave out --threshold")
    if arguments.top_k < 1:
        parser.error(f"--top-k {arguments.top_k}: must be at least 1")
    if arguments.sample is not None and arguments.sample < 1:
        parser.error(f"--sample {arguments.sample}: must be at least 1")
    if not arguments.temperature > 0:
        parser.error(f"--temperature {arguments.temperature}: must be above 0")


def check_one_thing(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """End with an error where more is asked than one thing of one run, unless it is to evaluate."""
    asked = [name for name in INSTEAD if getattr(arguments, name) is not None]
    if asked and len(arguments.runs) > 1:
        parser.error(f"--{asked[0]} takes one run")
    for name in [*asked[1:], *["test"] * bool(asked and arguments.test)]:
        parser.error(f"--{name} does not go with --{asked[0]}")
    if arguments.html is not None and asked not in ([], ["explain"]):
        parser.error(f"--html goes with evaluation and with --explain, not with --{asked[0]}")
    if arguments.explain is not None and arguments.top_k is not None:
        parser.error("--top-k goes with --predict")
    if arguments.json and asked not in ([], ["explain"]):
        jsonl = "; the answers to a file of JSON Lines are JSON" * (asked == ["predict"])
        parser.error(f"--json does not go with --{asked[0]}{jsonl}")


def out_options(parser: argparse.ArgumentParser) -> None:
    out = parser.add_argument_group("the rows of --predict with their answers")
    out.add_argument("--out", metavar="FILE", help="where to write them, as they came in (- is standard output)")
    out.add_argument("--all-probabilities", action="store_true", help="a column for the probability of each label")
    out.add_argument("--prefix", default="", metavar="S", help="how the names of the new columns begin")
    out.add_argument("--strict", action="store_true", help="end at the first row that has no answer")
    out.add_argument("--resume", action="store_true", help="go on where the same command was stopped")
    out.add_argument("--overwrite", action="store_true", help="replace FILE once the new one is whole; begin anew")


def check_out(parser: argparse.ArgumentParser, arguments) -> None:
    for name in ("all_probabilities", "prefix", "strict", "resume", "overwrite"):
        if getattr(arguments, name) and arguments.out is None:
            parser.error(f"--{name.replace('_', '-')} goes with --out FILE")
    if arguments.out is not None and arguments.predict is None:
        parser.error("--out goes with --predict FILE: it is where the answers are written")
    if arguments.all_probabilities and arguments.top_k > 1:
        parser.error("--all-probabilities has the probability of every label; leave out --top-k")


def load(folder: str, arguments) -> Predictor:
    predictor = textcls.load(folder, arguments.device, arguments.bert, arguments.elmo)
    if arguments.encoding:
        predictor.config = dataclasses.replace(predictor.config, encoding=arguments.encoding)
    return predictor


def set_threshold(predictor: Predictor, arguments) -> list[str]:
    """Give a classifier the threshold that was asked for; how it was chosen, in a sentence."""
    if arguments.threshold is None and arguments.target_accuracy is None:
        return []
    if not isinstance(predictor, classification.Predictor):
        flag = "--threshold" if arguments.threshold is not None else "--target-accuracy"
        task = predictor.config.task
        raise InputError(f"{predictor.run.folder}: {flag} is for classifiers, and this a run of --task {task}")
    if arguments.threshold is not None:
        predictor.threshold = arguments.threshold
        return []
    predictor.threshold, sentence = probabilities.threshold_for(predictor.run, arguments.target_accuracy)
    return [sentence]


# ---- evaluation -----------------------------------------------------------------------------------------------------


def check_tasks(folders: list[str]) -> None:
    """A file is of one task."""
    tasks = {predictors.task_of(folder) for folder in folders}
    if len(tasks) > 1:
        raise InputError("the runs are of different tasks, and --test FILE of one; leave it out, or the other runs")


def evaluate(folder: str, arguments) -> tuple[Entry, dict]:
    """Score one run on its test split, and print the result unless it is part of a table or of JSON; what a page says of
    the run besides, where there is to be one."""
    predictor = load(folder, arguments)
    chosen = set_threshold(predictor, arguments)
    description, test = test_split(predictor, arguments)
    result = predictors.evaluate(predictor, description, test, arguments.quiet)
    if not arguments.json and len(arguments.runs) == 1:
        show(folder, predictor, result.summary, own_split=not arguments.test)
        print("".join(f"{line}\n" for line in chosen), end="")
    config, backbone = predictor.config, result.summary["properties"]["backbone"]
    model = "ensemble" if "members" in predictor.meta else config.model + " small" * bool(config.small)
    found = pages.of_run(predictor, test, chosen, arguments) if arguments.html else {}
    return Entry(result, model, backbone, config.train or config.data), found


def show(folder: str, predictor: Predictor, summary: dict, own_split: bool) -> None:
    unit = summary["unit"]
    print(f"{folder} on {summary['data']}: {summary['documents']} {unit}")
    print("\n".join(headline(summary)))
    for line in reference.line(predictor.run.folder) if own_split else []:
        print(line)
    print("".join(f"\n{part}\n" for part in details(summary)))
    print(f"{summary['documents_per_s']:.0f} {unit}/s on {predictor.device}")
    print(f"to predict: {needed(predictor)}")


def test_split(predictor: Predictor, arguments) -> tuple[str, Any]:
    """(what it is, the split) to evaluate on: the run's own test split, or the file given with --test."""
    if arguments.test:
        chosen = " (the epoch was chosen on the published dev set)" * (predictor.config.protocol == "paper")
        return file_names(arguments.test) + chosen, predictor.read(arguments.test)
    load = TASKS[predictor.config.task].load
    return predictor.test_split(load, arguments.data_dir, arguments.quiet)


# ---- answers --------------------------------------------------------------------------------------------------------


def predict(arguments) -> None:
    """Answers alone on standard output, or beside what they answer in a file, by one process or several."""
    try:
        parallel.join()
        if arguments.out is None and parallel.size() > 1:  # each of them would print all answers
            raise InputError("several processes answer a file together; give --out FILE")
        predictor = load(arguments.runs[0], arguments)
        chosen = set_threshold(predictor, arguments)  # in every process: each answers a part of the rows
        for line in chosen if parallel.is_first() else []:
            print(line, file=sys.stderr)
        if arguments.out is None:
            return TASKS[predictor.config.task].predict_file(predictor, arguments.predict, arguments)
        command.predict(predictor, Asked(arguments.top_k, arguments.all_probabilities, arguments.ranked), arguments)
    except parallel.LostProcess as error:
        noted = arguments.out not in (None, "-")
        go_on = f"; {arguments.out}.partial holds what was noted last, go on with --resume" * noted
        raise InputError(f"another process has died, or cannot be reached ({error}){go_on}") from None
    finally:
        parallel.leave()


# ---- why -------------------------------------------------------------------------------------------------------------


def explain(predictor: Predictor, arguments) -> None:
    """What each word of each text counts, as lines, JSON objects or a page."""
    kind, kept = arguments.format or ending_of(arguments.explain), []
    found = explanations.explain_file(predictor, arguments.explain, kind, arguments.by)
    coloured = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    for number, explanation in enumerate(found):
        if arguments.html:
            kept.append(explanation)
        if arguments.json:
            print(json_text(explanation.as_json(), ensure_ascii=False))
        elif not arguments.html:
            print("\n" * (number > 0) + words.in_terminal(explanation, coloured))
    if arguments.html:
        written = words.page(kept, f"{arguments.runs[0]}: {file_names(arguments.explain)}")
        write_text(pathlib.Path(arguments.html), written)
        count = len({explanation.document for explanation in kept})
        print(f"{arguments.html}: {count} texts", file=sys.stderr if arguments.json else sys.stdout)


# ---- words from a language model ------------------------------------------------------------------------------------


def sample(predictor: Predictor, arguments) -> None:
    """Words on a line until <eos> ends it."""
    start = True
    for word in predictor.sample(arguments.sample, arguments.seed, arguments.temperature):
        print("\n" if word == "<eos>" else word if start else f" {word}", end="", flush=True)
        start = word == "<eos>"
    print()


if __name__ == "__main__":
    parallel.end(main())
