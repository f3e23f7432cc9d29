"""Train a text classifier.

python train.py --model bilstm                                  embedded data and backbone, no network
python train.py --model bilstm --data 20newsgroups --bert bert-base-uncased
python train.py --model bert --train mine.csv --dev 0.1 --test held.csv
python train.py --resume runs/bilstm                            go on with a run that was stopped
python train.py --model bert --bert bert-base-uncased --device cuda --plan --memory 6GB     memory and arithmetic
"""

import dataclasses
import sys

import numpy as np
import torch

import textcls
from textcls import backbone, data, ledger, losses, recipes, report
from textcls.batch import Batches
from textcls.checkpoint import Run, free_folder
from textcls.config import TrainConfig, parse_memory, parser
from textcls.data.cache import encode
from textcls.data.corpus import Corpus, Documents
from textcls.device import choose_device, choose_precision, prepare_cpu
from textcls.errors import InputError, exit_on_input_error
from textcls.files import write_json
from textcls.meter import cap_memory, is_out_of_memory, measure, resident_memory, size_of
from textcls.metrics import Scores, intervals
from textcls.models.linear import svm_scores
from textcls.predictor import cached_logits
from textcls.progress import through
from textcls.text import WordPiece
from textcls.training import InterruptedRun, train


@exit_on_input_error
def main(argv=None):
    # ---- settings ---------------------------------------------------------------------------------------------------
    config, run, last = settings(vars(parser(__doc__).parse_args(argv)))
    recipe = recipes.choose(config)
    device = choose_device(config.device, must_exist=not config.plan)
    precision = choose_precision(config.amp, device, recipe["amp"])
    print(f"{config.model} on {device}, {precision.name} ({precision.why})")
    step = recipes.step(config, device.type, precision.dtype)
    if config.plan:
        return plan(config, step)
    if device.type == "cpu":
        print(prepare_cpu())
    elif config.memory:
        cap_memory(device, parse_memory(config.memory))

    # ---- text -------------------------------------------------------------------------------------------------------
    corpus = data.load(config, through("reading", config.quiet))
    print(
        f"data: {corpus.description}; train {len(corpus.train)}, dev {len(corpus.dev)}, "
        f"test {len(corpus.test) if corpus.test else 0}"
    )
    base = backbone.prepare(config.bert, [part for text in corpus.train.texts for part in text], config.seed)
    print(f"backbone: {base.description}")
    if config.max_length > base.bert.config.max_position_embeddings:
        raise InputError(
            f"--max-length {config.max_length} is longer than the {base.bert.config.max_position_embeddings} "
            f"positions of {config.bert}"
        )

    # ---- tokens -----------------------------------------------------------------------------------------------------
    batches = {name: tokenise(getattr(corpus, name), base.tokenizer, config, name) for name in ("train", "dev")}
    show_example(corpus, batches["train"], base.tokenizer)

    # ---- model ------------------------------------------------------------------------------------------------------
    resident = resident_memory() - size_of(base.bert.parameters())  # the model takes these tensors over
    blocks = recipes.blocks(config, base.bert.config, len(corpus.labels))
    predicted = ledger.plan(blocks, step)
    torch.manual_seed(config.seed)
    model = recipes.build(config, base.bert.config, len(corpus.labels))
    recipe["share"](model, base.bert)
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    total = sum(p.numel() for p in model.parameters())
    print(f"model: {trainable:,} trainable + {total - trainable:,} frozen parameters")
    parameters = {"trainable": trainable, "total": total}
    facts = {"parameters": parameters, "device": str(device), "precision": precision.name}
    begin(run, config, corpus, base, facts)
    del base  # a frozen backbone's upper layers are not needed any more
    print(f"run folder: {run.folder}")
    least = "at least " if device.type == "cpu" else ""  # the heap's holes differ from run to run
    print(f"memory: {least}{predicted.footprint() / 2**20:,.0f} MiB predicted at the peak (--plan shows the table)")
    if config.memory and predicted.footprint() > parse_memory(config.memory):
        print(f"more than --memory {config.memory}; {report.ways_out(blocks, step)}")

    # ---- train ------------------------------------------------------------------------------------------------------
    weights = None
    if config.class_weights == "balanced":
        weights = losses.balanced_weights(corpus.train.labels, len(corpus.labels))
    loss_fn = recipe["loss"](weights, config.label_smoothing)
    evaluate = recipe["evaluate"](batches["dev"], device, precision, config.quiet)
    try:
        state = train(model.to(device), batches["train"], loss_fn, evaluate, config, run, device, precision, last)
        measured = measure(model, batches["train"], loss_fn, device, precision)
    except InterruptedRun as stop:
        print(stop)
        return 130
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise InputError(f"out of memory on {device}; {report.ways_out(blocks, step)}") from None
    print(
        f"best epoch {state.best_epoch} by dev {config.select}; {state.step} updates"
        + (f", {state.skipped} skipped by the gradient scaler" if state.skipped else "")
    )

    # ---- ledger -----------------------------------------------------------------------------------------------------
    step = dataclasses.replace(step, batch=measured.batch, tokens=measured.tokens, padded=measured.padded)
    growth = measured.peak["rss"] - resident if resident > 0 else 0
    print(report.measured_table(ledger.plan(blocks, step), measured, growth))
    write_json(run.folder / "ledger.json", dataclasses.asdict(measured) | {"growth": growth})

    # ---- test -------------------------------------------------------------------------------------------------------
    if corpus.test is None:
        print(f"no test split; evaluate one with: python evaluate.py {run.folder} --test FILE")
    else:
        test(run, config, corpus, state)


def settings(given: dict) -> tuple[TrainConfig, Run, dict | None]:
    """(complete settings, run folder, what to resume from) for the flags that were given."""
    if "resume" not in given:
        config = recipes.complete(TrainConfig(**given))
        run = Run(config.out or free_folder(config.model))
        if run.exists() and not config.plan:
            raise InputError(
                f"--out {run.folder} already holds a run; choose another folder, or go on with it: "
                f"--resume {run.folder}"
            )
        return dataclasses.replace(config, out=str(run.folder)), run, None
    changeable = {"resume", "device", "quiet", "data_dir", "memory", "checkpoint_activations", "plan"}
    if given.keys() - changeable:
        flags = ", ".join("--" + name.replace("_", "-") for name in sorted(given.keys() - changeable))
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


def plan(config: TrainConfig, step: ledger.Step) -> None:
    """Where memory and arithmetic of the largest step go. Needs no weights, no data, and no such device."""
    shape, labels = backbone.shape_of(config.bert), data.count_labels(config)
    blocks = recipes.blocks(config, shape, labels)
    memory = config.memory or "6GB"
    print(
        f"{config.bert}: {shape.num_hidden_layers} layers, hidden {shape.hidden_size}; {labels} classes; micro-batches "
        f"of {step.batch} x {step.tokens} tokens, {step.accumulate} to an optimiser step\n"
    )
    print(report.plan_table(ledger.plan(blocks, step)))
    print(f"\nwithin {memory}:")
    print(report.micro_batch_table(blocks, step, parse_memory(memory), shape.max_position_embeddings))


def tokenise(part: Documents, tokenizer: WordPiece, config: TrainConfig, name: str) -> Batches:
    sides = [
        encode(tokenizer, side, through(f"tokenising {name}", config.quiet)) for side in zip(*part.texts, strict=True)
    ]
    sequences = tokenizer.assemble(sides, config.max_length, config.truncate)
    print(
        f"{name}: {len(part)} documents, {sequences.truncated / len(part):.1%} longer than {config.max_length} tokens "
        f"(cut: {config.truncate})"
    )
    return Batches(sequences, part.labels, config.batch_size, config.seed, tokenizer.pad)


def show_example(corpus: Corpus, batches: Batches, tokenizer: WordPiece) -> None:
    """What the model is about to see."""
    ids = batches.sequences.rows[0][:16].tolist()
    pieces = " ".join(tokenizer.tokenizer.id_to_token(i) for i in ids)
    print(f"first document: {pieces} … -> {corpus.labels[corpus.train.labels[0]]}")


def begin(run: Run, config: TrainConfig, corpus: Corpus, base: backbone.Backbone, facts: dict) -> None:
    """Make the run folder, or check that a resumed run sees the data it began with. `facts` join its config.json."""
    splits = {name: getattr(corpus, name).ids for name in ("train", "dev", "test") if getattr(corpus, name) is not None}
    if config.resume:
        before = run.splits()
        changed = [name for name in splits if not np.array_equal(splits[name], before.get(name))]
        if changed:
            raise InputError(f"{run.folder}: the {', '.join(changed)} documents are not those the run began with")
        if WordPiece.from_folder(run.folder).digest != base.tokenizer.digest:
            raise InputError(f"{run.folder}: the word pieces of {config.bert} are not those the run began with")
        if recipes.choose(config)["frozen"]:
            backbone.reload(run.meta()["backbone"], run.folder)
        return
    run.folder.mkdir(parents=True, exist_ok=True)
    if recipes.choose(config)["frozen"] and base.source["name"] == "nano":
        backbone.keep_in_run(base, run.folder)
    run.create(
        {
            "textcls": textcls.__version__,
            "config": dataclasses.asdict(config),
            "labels": corpus.labels,
            "data": corpus.description,
            "bert": vars(base.bert.config),
            "backbone": base.source,
            **facts,
        },
        splits,
        base.tokenizer,
    )


def test(run: Run, config: TrainConfig, corpus: Corpus, state) -> None:
    """Accuracy of the best epoch on the test split, beside the linear reference."""
    predictor = textcls.load(run.folder, config.device)
    logits, _ = cached_logits(predictor, corpus.test, config.quiet)
    results, scores = intervals(logits, corpus.test.labels), Scores(logits, corpus.test.labels)
    print(f"\ntest: {corpus.description}")
    print("\n".join(report.summary(results, scores.correct, corpus.test.empty)))
    joined = {name: [" ".join(text) for text in getattr(corpus, name).texts] for name in ("train", "test")}
    labels, progress = torch.from_numpy(corpus.train.labels), through("linear reference", config.quiet)
    linear = svm_scores(joined["train"], labels, len(corpus.labels), joined["test"], progress)
    accuracy = (linear.argmax(1).numpy() == corpus.test.labels).mean()
    print(f"linear     {accuracy:.4f} accuracy of a bag of words (TF-IDF, linear SVM) trained on the same documents")
    print(f"\nnext: python evaluate.py {run.folder}")


if __name__ == "__main__":
    sys.exit(main())
