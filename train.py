"""Train a text classifier, a tagger or a language model, or pre-train a BERT.

python train.py --model bilstm                                  embedded data and backbone, no network
python train.py --model bilstm --data 20newsgroups --bert bert-base-uncased
python train.py --model bert --train mine.csv --dev 0.1 --test held.csv
python train.py --model bert --train mine.csv --seeds 1 2 3     mean and deviation over seeds
python train.py --task tagging --model bert --train train.conll --dev dev.conll --test test.conll --crf
python train.py --task lm --model lstm --train train.txt --dev valid.txt --test test.txt
python train.py --task pretrain --model bert --bert FOLDER --train a.txt,b.txt.xz    masked words, next sentence
python train.py --resume runs/bilstm                            go on with a run that was stopped
python train.py --model bert --bert bert-base-uncased --device cuda --plan --memory 6GB     memory and arithmetic
"""

import contextlib
import dataclasses
import io
import pathlib
import sys

import torch

import textcls
from textcls import data, ledger, losses, parallel, recipes, report, results, seeds
from textcls.checkpoint import Run, free_folder
from textcls.cluster import Cluster
from textcls.config import TrainConfig, flag, parse_memory, parser
from textcls.device import choose_device, choose_precision, prepare_cpu
from textcls.errors import InputError, exit_on_input_error
from textcls.features import cached_features
from textcls.files import write_json
from textcls.meter import cap_memory, is_out_of_memory, measure, resident_memory, size_of
from textcls.preparation import begin, prepare, publish, show_example
from textcls.training import InterruptedRun, train

# What a run on the same documents is told by a run, for the linear reference beside it.
SAME_DATA = (
    "data",
    "data_dir",
    "keep",
    "train",
    "dev",
    "test",
    "text_column",
    "label_column",
    "seed",
    "select",
    "device",
)


@exit_on_input_error
def main(argv=None):
    given = vars(parser(__doc__).parse_args(argv))
    parallel.join()
    if not parallel.is_first():
        given["quiet"] = True
    with contextlib.redirect_stdout(sys.stdout if parallel.is_first() else None):
        try:
            return command(given)
        except InterruptedRun as stop:
            print(stop)
            return 130
        except parallel.LostProcess as error:
            raise InputError(f"another process of this run has died, or cannot be reached ({error})") from None
        finally:
            parallel.leave()


def command(given: dict) -> None:
    if "seeds" in given:
        return many(given)
    config, run, last = settings(given)
    if config.plan:
        return plan(config)
    one(config, run, last)
    if has_reference(config, run.folder):
        print(reference(config, run))
    print(f"\nrun folder {run.folder}; next: python evaluate.py {run.folder}")


def one(config: TrainConfig, run: Run, last: dict | None) -> None:
    """One run, from text to the test split."""
    # ---- settings ---------------------------------------------------------------------------------------------------
    recipe, task = recipes.choose(config), recipes.TASKS[config.task]
    device = choose_device(config.device)
    precision = choose_precision(config.amp, device, recipe["amp"])
    together = f", {parallel.size()} processes" if parallel.size() > 1 else ""
    print(f"{config.model} on {device}, {precision.name} ({precision.why}){together}")
    step = recipes.step(config, device.type, precision.dtype)
    if device.type == "cpu":
        print(prepare_cpu())
    elif config.memory:
        cap_memory(device, parse_memory(config.memory))

    # ---- text -------------------------------------------------------------------------------------------------------
    corpus, base = prepare(config, run)
    print(
        f"data: {corpus.description}; train {len(corpus.train)}, dev {len(corpus.dev)}, "
        f"test {len(corpus.test) if corpus.test else 0}"
    )
    print(f"backbone: {base.description}")

    # ---- batches ----------------------------------------------------------------------------------------------------
    shares = last["state"].get("processes", 1) if last else parallel.size()  # of --batch-size documents, in a batch
    wide = dataclasses.replace(config, batch_size=config.batch_size * shares)
    if parallel.size() > wide.batch_size:
        raise InputError(f"{parallel.size()} processes are more than the {wide.batch_size} documents of a batch")
    with parallel.first_process_first():
        batches = {
            "train": task["batches"](corpus.train, base.tokenizer, wide, "train"),
            "dev": task["batches"](corpus.dev, base.tokenizer, config, "dev"),
        }
    show_example(corpus, batches["train"], base.tokenizer)

    # ---- model ------------------------------------------------------------------------------------------------------
    resident = resident_memory()
    if base.bert is not None:
        resident -= size_of(base.bert.parameters())  # the model takes these tensors over
    blocks = recipes.model_blocks(config, base.shape, len(corpus.labels))
    predicted = ledger.plan(blocks, step)
    torch.manual_seed(config.seed)
    model = recipes.build(config, base.shape, len(corpus.labels))
    recipe["share"](model, base)
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    total = sum(p.numel() for p in model.parameters())
    print(f"model: {trainable:,} trainable + {total - trainable:,} frozen parameters")
    facts = {
        "textcls": textcls.__version__,
        "parameters": {"trainable": trainable, "total": total},
        "device": str(device),
        "precision": precision.name,
    }
    begin(run, config, corpus, base, facts)
    if last is None and "begin" in recipe:
        recipe["begin"](model, batches["train"])
    if config.encoder == "frozen":
        with parallel.first_process_first():
            for name, part in batches.items():
                part.features, _ = cached_features(
                    model.encoder.source, base.source["sha256"], part, device, precision, name, config.quiet
                )
    shape, tokenizer = base.shape, base.tokenizer
    del base  # a frozen backbone's upper layers are not needed any more
    print(f"run folder: {run.folder}")
    least = "at least " if device.type == "cpu" else ""  # the heap's holes differ from run to run
    print(f"memory: {least}{predicted.footprint() / 2**20:,.0f} MiB predicted at the peak (--plan shows the table)")
    if config.memory and predicted.footprint() > parse_memory(config.memory):
        print(f"more than --memory {config.memory}; {report.ways_out(blocks, step)}")

    # ---- train ------------------------------------------------------------------------------------------------------
    weights = {}
    if config.class_weights == "balanced":
        weights = {"weights": losses.balanced_weights(corpus.train.labels, len(corpus.labels))}
    loss_fn = task["loss"](smoothing=config.label_smoothing, **weights)
    evaluate = task["evaluate"](batches["dev"], device, precision, corpus.labels, config.quiet)
    try:
        state = train(model.to(device), batches["train"], loss_fn, evaluate, config, run, device, precision, last)
        with parallel.alone() as first:
            if first:
                measured = measure(model, batches["train"], loss_fn, device, precision, config.batch_size)
    except parallel.LostProcess as error:
        raise InputError(
            f"another process of this run has died, or cannot be reached ({error}). {run.folder} holds what was last "
            f"saved; go on with: python train.py --resume {run.folder}"
        ) from None
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise InputError(f"out of memory on {device}; {report.ways_out(blocks, step)}") from None
    print(
        f"best epoch {state.best_epoch} by dev {config.select}; {state.step} updates"
        + (f", {state.skipped} skipped by the gradient scaler" if state.skipped else "")
    )

    # ---- ledger -----------------------------------------------------------------------------------------------------
    if parallel.is_first():
        step = dataclasses.replace(step, batch=measured.batch, tokens=measured.tokens, padded=measured.padded)
        growth = measured.peak["rss"] - resident if resident > 0 else 0
        print(report.measured_table(ledger.plan(blocks, step), measured, growth))
        write_json(run.folder / "ledger.json", dataclasses.asdict(measured) | {"growth": growth})

    if config.task == "pretrain":
        publish(model, shape, tokenizer, config, run)

    # ---- test -------------------------------------------------------------------------------------------------------
    if corpus.test is None:
        print(f"no test split; evaluate one with: python evaluate.py {run.folder} --test FILE")
        return
    predictor = textcls.load(run.folder, config.device)
    result = results.evaluate(predictor, corpus.description, corpus.test, config.quiet)
    write_json(run.folder / "results.json", result | {"chance": results.chance(corpus)})
    print(f"\ntest: {corpus.description}\n" + "\n".join(report.headline(result)))
    parallel.wait()  # until the result is written


# ---- settings -------------------------------------------------------------------------------------------------------


def settings(given: dict) -> tuple[TrainConfig, Run, dict | None]:
    """(complete settings, run folder, what to resume from) for the flags that were given."""
    if "resume" not in given:
        config = recipes.complete(TrainConfig(**given))
        name = config.model if config.task == "classification" else f"{config.model}-{config.task}"
        run = Run(parallel.from_first(str(config.out or free_folder(name))))
        if run.exists() and not config.plan:
            raise InputError(
                f"--out {run.folder} already holds a run; choose another folder, or go on with it: "
                f"--resume {run.folder}"
            )
        return dataclasses.replace(config, out=str(run.folder)), run, None
    changeable = {"resume", "device", "quiet", "data_dir", "memory", "checkpoint_activations", "plan"}
    if given.keys() - changeable:
        flags = ", ".join(flag(name) for name in sorted(given.keys() - changeable))
        raise InputError(f"--resume keeps the settings of its run; leave out {flags}")
    run = Run(given["resume"])
    meta = run.meta()
    if "members" in meta:
        raise InputError(f"{run.folder}: an ensemble; fit it again with ensemble.py")
    try:
        config = TrainConfig(**(meta["config"] | {name: given[name] for name in given if name != "resume"}))
        config = recipes.complete(config)
    except (KeyError, TypeError) as error:
        raise InputError(f"{run.folder / 'config.json'}: damaged, or of another version ({error})") from None
    last = run.load("last.pt") if (run.folder / "last.pt").exists() else None
    return dataclasses.replace(config, resume=str(run.folder)), run, last


def many(given: dict) -> None:
    """A run for each seed, in RUN/seed-N, and what came out together. Given again, it goes on where it was stopped."""
    if given.keys() & {"resume", "seed", "plan"}:
        raise InputError("--seeds stands alone: leave out --seed, --resume and --plan (the same command goes on)")
    numbers = given.pop("seeds")
    if len(set(numbers)) < len(numbers):
        raise InputError(f"--seeds {' '.join(map(str, numbers))}: one of them is given twice")
    config = recipes.complete(TrainConfig(**given))
    free = free_folder(f"{given.get('model', TrainConfig.model)}-seeds")
    folder = pathlib.Path(parallel.from_first(str(given.pop("out", None) or free)))
    for number in numbers:
        part = folder / f"seed-{number}"
        print(f"---- seed {number}: {part}")
        if (part / "results.json").exists():
            continue
        if Run(part).exists():
            one(*settings({"resume": str(part)}))
        else:
            one(*settings(given | {"seed": number, "out": str(part)}))
        print()
    print(seeds.summary([folder / f"seed-{number}" for number in numbers]))
    first = folder / f"seed-{numbers[0]}"
    if has_reference(config, first):
        print(reference(dataclasses.replace(config, seed=numbers[0]), Run(first)))


def plan(config: TrainConfig) -> None:
    """Where memory and arithmetic of the largest step go. Needs no weights, no data, and no such device."""
    device = choose_device(config.device, must_exist=False)
    precision = choose_precision(config.amp, device, recipes.choose(config)["amp"])
    print(f"{config.model} on {device}, {precision.name} ({precision.why})")
    step = recipes.step(config, device.type, precision.dtype)
    shape, labels = recipes.shape(config), data.count_labels(config)
    blocks = recipes.model_blocks(config, shape, labels)
    memory = config.memory or "6GB"
    classes = f"; {labels} {'tags' if config.task == 'tagging' else 'classes'}" if labels else ""
    print(
        f"{report.shape(shape, config.bert)}{classes}; micro-batches of {step.batch} x {step.tokens} tokens, "
        f"{step.accumulate} to an optimiser step\n"
    )
    print(report.plan_table(ledger.plan(blocks, step)))
    if config.nodes or config.gpus or config.updates:
        cluster = Cluster(config.nodes or 1, config.gpus or 1, config.updates or 1_000_000)
        print(f"\n{report.cluster_tables(ledger.plan(blocks, step), cluster)}")
    print(f"\nwithin {memory}:")
    longest = getattr(shape, "max_position_embeddings", sys.maxsize)
    print(report.micro_batch_table(blocks, step, parse_memory(memory), longest))


def has_reference(config: TrainConfig, folder: pathlib.Path) -> bool:
    """Whether there is something to compare a run with: a test split, for a classifier that is not the reference."""
    return config.task == "classification" and config.model != "linear" and (folder / "results.json").exists()


def reference(config: TrainConfig, run: Run) -> str:
    """The linear model on the same documents, trained in seconds: what a network must beat. It is kept in RUN/linear,
    a run folder like any other, and compared with the run document by document."""
    folder = run.folder / "linear"
    with parallel.alone() as first:
        if first and not (folder / "results.json").exists():
            train_reference(config, folder)
    return results.reference(run.folder)


def train_reference(config: TrainConfig, folder: pathlib.Path) -> None:
    same = {name: getattr(config, name) for name in SAME_DATA}
    with contextlib.redirect_stdout(io.StringIO()):
        if Run(folder).exists():
            one(*settings({"resume": str(folder), "quiet": True}))
        else:
            one(*settings(same | {"model": "linear", "out": str(folder), "quiet": True}))


if __name__ == "__main__":
    sys.exit(main())
