"""Train a text classifier, a tagger or a language model, or pre-train a BERT.

python train.py --model bilstm                                  embedded data and backbone, no network
python train.py --model bilstm --data 20newsgroups --bert bert-base-uncased
python train.py --model bert --train mine.csv --dev 0.1 --test held.csv
python train.py --model bert --train mine.csv --seeds 1 2 3     mean and deviation over seeds
python train.py --model bert --train mine.csv --lr 5e-5 3e-5 --seeds 1 2 3     … at the rate that is best on dev
python train.py --model bert --train mine.csv --folds 5     test every document once, find suspicious labels
python train.py --task multilabel --model bert --train mine.csv --label-column topics     several labels a text
python train.py --task tagging --model bert --train train.conll --dev dev.conll --test test.conll --crf
python train.py --task lm --model lstm --train train.txt --dev valid.txt --test test.txt
python train.py --task pretrain --model bert --bert FOLDER --train a.txt,b.txt.xz    masked words, next sentence
python train.py --resume runs/bilstm                            go on with a run that was stopped
python train.py --model bert --bert bert-base-uncased --device cuda --plan --memory 6GB     memory and arithmetic
"""

import dataclasses
import pathlib
from types import ModuleType

import torch

import textcls
from textcls import out_of_fold, predictor, recipes, reference, sweep
from textcls.arguments import parser
from textcls.config import TrainConfig
from textcls.data.corpus import Corpus
from textcls.ledger import history, tables
from textcls.ledger.measure import Measured, measure
from textcls.ledger.plan import Model, Step, plan
from textcls.planning import plan_of
from textcls.pretrained.backbone import Backbone
from textcls.pretrained.features import Features
from textcls.recipes.command import are_several, better, next_command, settings, whole
from textcls.report.text import headline
from textcls.runtime import parallel
from textcls.runtime.device import Precision, choose_device, choose_precision, prepare
from textcls.runtime.errors import InputError, exit_on_input_error
from textcls.runtime.memory import cap_memory, explained, parse_memory
from textcls.runtime.progress import say, silence
from textcls.runtime.tensors import count_parameters
from textcls.tasks import TASKS, base
from textcls.tasks.classification import DATA
from textcls.tasks.teacher import teach
from textcls.training.loop import InterruptedRun, train
from textcls.training.run import Run


@exit_on_input_error
def main(argv=None):
    flags = vars(arguments().parse_args(argv))
    parallel.join()
    try:
        return command(flags)
    except InterruptedRun as stop:
        say("stopped and saved; go on with: the same command again" if are_several(flags) else str(stop))
        return 130
    except parallel.LostProcess as error:
        raise InputError(f"another process of this run has died, or cannot be reached ({error})") from None
    finally:
        parallel.leave()


def arguments():
    metrics = list(dict.fromkeys(name for task in TASKS.values() for name in task.SELECT))
    return parser(__doc__, recipes.choices() | {"data": DATA, "select": metrics})


def command(flags: dict) -> None:
    if are_several(flags):
        return many(flags)
    config, run, last = settings(flags)
    if config.plan:
        return say(*plan_of(config))
    with run.claimed(new=not config.resume):
        corpus = one(config, run, last)
        say(*ending(config, run, corpus), f"\nrun folder {run.folder}; next: {next_command(flags, config, run)}")
        say(*better(flags, config, run))


# ---- one run --------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Job:
    """What a run is told: its settings, the row of its model and the module of its task, its folder, and the content of
    last.pt where it goes on."""

    config: TrainConfig
    recipe: dict
    task: ModuleType
    run: Run
    last: dict | None


@dataclasses.dataclass(frozen=True)
class Machine:
    """What a run is computed on, and the largest step that it will make there."""

    device: torch.device
    precision: Precision
    step: Step


def one(config: TrainConfig, run: Run, last: dict | None) -> Corpus:
    """One run, from text to the test split; the text."""
    job = Job(config, recipes.choose(config), TASKS[config.task], run, last)
    machine = set_up(job)
    corpus, backbone = read(job)
    batches = make_batches(job, corpus, backbone)
    resident = history.resident_before(backbone.model)
    model = make_model(job, corpus, backbone)
    begin(job, corpus, backbone, model, machine)
    look_at_data(job, model, batches, backbone, machine)
    blocks = recipes.blocks(config, backbone.dims, len(corpus.labels))
    dims, vocabulary = backbone.dims, backbone.vocabulary
    del backbone  # a frozen one's upper layers are not needed any more
    announce(job, blocks, machine.step)
    measured = fit(job, corpus, model, batches, machine, blocks)
    settle(job, blocks, machine.step, measured, resident)
    publish(job, model, dims, vocabulary)
    test(job, corpus)
    return corpus


def set_up(job: Job) -> Machine:
    config, device = job.config, choose_device(job.config.device)
    precision = choose_precision(config.amp, device, job.recipe["amp"])
    together = f", {parallel.size()} processes" if parallel.size() > 1 else ""
    say(f"{config.model} on {device}, {precision.name} ({precision.why}){together}")
    say(prepare(device))
    if device.type == "cuda" and config.memory:
        cap_memory(device, parse_memory(config.memory))
    return Machine(device, precision, recipes.step(config, device.type, precision.dtype))


def read(job: Job) -> tuple[Corpus, Backbone]:
    """The text, and what the model stands on."""
    corpus, backbone = job.task.prepare(job.config, job.run, job.recipe)
    sizes = f"train {len(corpus.train)}, dev {len(corpus.dev)}, test {len(corpus.test) if corpus.test else 0}"
    say(f"data: {corpus.description}; {sizes}", f"backbone: {backbone.description}")
    say(*teach(job.config, job.run, corpus, textcls.load))
    return corpus, backbone


def make_batches(job: Job, corpus: Corpus, backbone: Backbone) -> dict:
    """{"train", "dev": batches}. A batch of the training data has --batch-size documents for each of the processes
    that the run began with."""
    config, vocabulary = job.config, backbone.vocabulary
    processes = job.last["state"]["processes"] if job.last else parallel.size()
    wide = dataclasses.replace(config, batch_size=config.batch_size * processes)
    if parallel.size() > wide.batch_size:
        raise InputError(f"{parallel.size()} processes are more than the {wide.batch_size} documents of a batch")
    with parallel.first_process_first():
        batches = {
            "train": job.task.batches(corpus.train, vocabulary, wide, "train"),
            "dev": job.task.batches(corpus.dev, vocabulary, config, "dev"),
        }
    say(*(f"{name}: {split.description}" for name, split in batches.items()))
    say(base.example(corpus, batches["train"], vocabulary, job.task.UNIT))
    return batches


def make_model(job: Job, corpus: Corpus, backbone: Backbone) -> torch.nn.Module:
    torch.manual_seed(job.config.seed)
    with explained("cpu", lambda: "the model alone is too large; --plan says how large"):
        model = recipes.build(job.config, backbone.dims, len(corpus.labels))
    recipes.share(job.config, model, backbone)
    counts = count_parameters(model)
    frozen = counts["total"] - counts["trainable"]
    say(f"model: {counts['trainable']:,} trainable + {frozen:,} frozen parameters")
    return model


def begin(job: Job, corpus: Corpus, backbone: Backbone, model, machine: Machine) -> None:
    """Make the run folder, or check that a resumed run sees the data it began with."""
    frozen = job.recipe["frozen"](job.config)
    if job.config.resume:
        return base.check_unchanged(job.config, job.run, corpus, backbone, frozen)
    facts = {
        "textcls": textcls.__version__,
        "parameters": count_parameters(model),
        "device": str(machine.device),
        "precision": machine.precision.name,
    }
    return base.make_run(job.config, job.run, corpus, backbone, frozen, facts)


def look_at_data(job: Job, model, batches: dict, backbone: Backbone, machine: Machine) -> None:
    """What the model computes of the data before its first update, if anything."""
    recipe = job.recipe
    if job.last is None and "begin" in recipe:
        say(recipe["begin"](job.config, model, batches, backbone.vocabulary))
    if "source" not in recipe or not recipe["frozen"](job.config):
        return
    source, weights = model.get_submodule(recipe["source"]), backbone.source["sha256"]
    with parallel.first_process_first():
        for name, split in batches.items():
            features = Features(source, weights, split, machine.precision)
            say(f"{name}: {features.description}")
            split.features, _ = features.get(machine.device, name, job.config.quiet)


def announce(job: Job, blocks: Model, step: Step) -> None:
    """Where the run is kept, and what it will take."""
    footprint, memory = plan(blocks, step).footprint(), job.config.memory
    say(f"run folder: {job.run.folder}")
    what = "growth of the process" if step.device == "cpu" else "peak of the tensors"
    say(f"memory: {what} {footprint / 2**20:,.0f} MiB, predicted (--plan shows the table)")
    if memory and footprint > parse_memory(memory):
        say(f"more than --memory {memory}; {tables.ways_out(blocks, step)}")


def fit(job: Job, corpus: Corpus, model, batches: dict, machine: Machine, blocks: Model) -> Measured | None:
    """Train, and then measure a few steps more; None in processes but the first."""
    config, device, precision, measured = job.config, machine.device, machine.precision, None
    loss_fn = job.task.loss(config, corpus)
    evaluate = job.task.evaluate(batches["dev"], corpus, device, precision, config.quiet)
    where = job.run, device, precision, job.last, job.recipe["encoder"]
    try:
        with explained(device, lambda: tables.ways_out(blocks, machine.step)):
            state = train(model.to(device), batches["train"], loss_fn, evaluate, config, *where)
            with parallel.alone() as first:
                if first:
                    measured = measure(model, batches["train"], loss_fn, device, precision, config.batch_size)
    except parallel.LostProcess as error:
        raise InputError(
            f"another process of this run has died, or cannot be reached ({error}). {job.run.folder} holds what was "
            f"last saved; go on with: python train.py --resume {job.run.folder}"
        ) from None
    skipped = f", {state.skipped} skipped by the gradient scaler" if state.skipped else ""
    say(f"best epoch {state.best_epoch} by dev {config.select}; {state.step} updates{skipped}")
    return measured


def settle(job: Job, blocks: Model, step: Step, measured: Measured | None, resident: int) -> None:
    """Predicted beside measured, for the longest batch."""
    if measured is None:
        return
    step = dataclasses.replace(step, **measured.shape, windows=1)
    predicted = plan(blocks, step)
    growth = history.growth(predicted, measured, resident)
    say(tables.measured_table(predicted, measured, growth))
    history.keep(job.run, predicted, measured, growth)


def publish(job: Job, model, dims, vocabulary) -> None:
    """What the run leaves for other runs, where its recipe has something."""
    if "publish" in job.recipe:
        say(job.recipe["publish"](model, job.config, dims, vocabulary, job.run))


def test(job: Job, corpus: Corpus) -> None:
    """With the best epoch's weights: what is to be learned of dev still, and the test split, looked at once."""
    run, config = job.run, job.config
    trained = textcls.load(run.folder, config.device, elmo=config.elmo)
    say(*trained.calibrate(corpus, config.quiet))
    if corpus.test is None:
        say(f"no test split; evaluate one with: python evaluate.py {run.folder} --test FILE")
        return
    description = base.test_description(config, corpus.description)
    result = predictor.evaluate(trained, description, corpus.test, config.quiet).summary
    run.write_results(result | {"chance": job.task.chance(corpus)})
    say(f"\ntest: {description}", *headline(result))
    parallel.wait()  # until the result is written


# ---- several seeds, learning rates, folds ---------------------------------------------------------------------------


def many(flags: dict) -> None:
    """A run for each learning rate and each seed, or each fold, and what came out together. Given again, it goes on
    where it was stopped."""
    flags, rates, seeds = sweep.asked(flags)
    config = whole(flags)
    flags = flags | {"pooling": config.pooling}  # of each of them, without looking again
    folder = parallel.from_first(pathlib.Path(flags.pop("out", None) or sweep.find_folder(config, rates)))
    members = sweep.members(folder, config, rates, seeds)
    with sweep.claimed(folder, members):
        sweep.check_settings(folder, config, rates, seeds)
        sweep.check_data(members)
        if config.folds is not None:
            with parallel.first_process_first():
                out_of_fold.check_pool(config, members)
        for member in members:
            say(f"---- {member.name}: {member.folder}")
            if member.ended:
                continue
            own, run, last = settings(member.flags(flags))
            with run.claimed(new=not own.resume), sweep.noted_if_diverged(member):
                one(own, run, last)
            say("")
        if config.folds is not None:
            return folded(config, folder, members)
        say(sweep.summary([*members, *sweep.earlier(folder, members)], config.select))
        beside = sweep.with_reference(members, recipes.REFERENCE)
        say(*ending(dataclasses.replace(config, seed=beside.seed), Run(beside.folder)))


def folded(config: TrainConfig, folder: pathlib.Path, members: list[sweep.Member]) -> None:
    """What all folds came to, and the reference by the same folds."""
    if recipes.has_reference(config):
        say(f"---- {recipes.REFERENCE}, by the same folds\n")
    for member in members:
        ending(dataclasses.replace(config, fold=member.fold), Run(member.folder))
    with parallel.alone() as first:
        say(*(out_of_fold.summary(config, folder, members) if first else ()))


# ---- the reference --------------------------------------------------------------------------------------------------


def ending(config: TrainConfig, run: Run, corpus: Corpus | None = None) -> list[str]:
    """The linear model on the same documents, trained in seconds: what a network must beat. It is kept in RUN/linear,
    a run folder like any other. A line; with the `corpus` also the two together, and compared document by document.
    Nothing where there is nothing to compare with."""
    if not recipes.has_reference(config) or not (run.folder / "results.json").exists():
        return []
    folder = run.folder / recipes.REFERENCE
    with parallel.alone() as first:
        if first and not (folder / "results.json").exists():
            train_reference(config, folder)
        if first and corpus is not None:
            return reference.together(run.folder, corpus, config.device, config.quiet)
    return reference.line(run.folder)


def train_reference(config: TrainConfig, folder: pathlib.Path) -> None:
    common = {"device": config.device, "data_dir": config.data_dir}
    with silence():
        if Run(folder).exists():
            one(*settings(common | {"resume": str(folder)}))
        else:
            same = {name: getattr(config, name) for name in SAME_DATA}
            one(*settings(common | same | {"model": recipes.REFERENCE, "out": str(folder)}))


SAME_DATA = (  # what it is told
    "task data protocol keep fold train dev test encoding text_column label_column label_separator seed select".split()
)


if __name__ == "__main__":
    parallel.end(main())
