"""What a classifier learns of its dev documents after training: the temperature of its probabilities, and how right it
is where it is how sure. Kept in RUN/calibration.json; what reports say of both. Dimensions: N documents, C classes.
"""

import numpy as np

from textcls.data.corpus import Corpus
from textcls.metrics import calibration
from textcls.metrics.calibration import COVERAGES, Selective
from textcls.metrics.classification import Scores
from textcls.metrics.statistics import paired_interval
from textcls.runtime.errors import InputError
from textcls.training.run import Run

# A temperature other than 1 is kept where dev says so: on so many documents at least, and where it is more likely than
# 1 by so much (a likelihood-ratio test at 5 %: half of chi-square's 3.84). See docs/probabilities.md.
FEWEST, NATS = 50, 1.92
DIGITS = 6  # of a probability that is kept


def unseen(corpus: Corpus) -> np.ndarray:
    """(N,) bool: dev documents whose text no training document has, and that are not tested on."""
    trained, tested = set(corpus.train.texts), corpus.test.ids if corpus.test is not None else []
    return np.array([text not in trained for text in corpus.dev.texts], bool) & ~np.isin(corpus.dev.ids, tested)


def fit(logits: np.ndarray, labels: np.ndarray, fixed: bool = False) -> dict:
    """What is kept of the logits (N, C) of documents that the model was not trained on, and their labels (N,): T, NLL
    and ECE before and after, and of each document the probability of its answer and whether that is right. `fixed`: T
    is 1, as it is where dev does not settle that another is better."""
    temperature, before = calibration.fit_temperature(logits, labels), Scores(logits, labels)
    after = Scores(logits / temperature, labels)
    if fixed or len(labels) < FEWEST or len(labels) * (before.nll() - after.nll()) < NATS:
        temperature, after = 1.0, before
    return {
        "temperature": temperature,
        "documents": len(labels),
        "nll": {"before": before.nll(), "after": after.nll()},
        "ece": {"before": before.ece(), "after": after.ece()},
        "confidence": rounded_down(after.confidence),
        "right": [int(value) for value in after.correct],
    }


def rounded_down(probabilities: np.ndarray) -> list[float]:
    """With so many digits as are kept. Rounded up, one would be above itself, and as a threshold it would leave out what
    it was chosen by: of a model that is very sure, every answer."""
    return (np.floor(probabilities * 10**DIGITS) / 10**DIGITS).tolist()


def sentence(values: dict, of: str = "dev documents") -> str:
    """What :func:`fit` found, in words."""
    count, (nll, ece) = values["documents"], (values["nll"], values["ece"])
    if values["temperature"] == 1:
        found = f"NLL {nll['after']:.4f}, ECE {ece['after']:.4f}"
        return f"temperature 1: {count:,} {of} settle no other; there {found}"
    return (
        f"temperature {values['temperature']:.3f} fitted on {count:,} {of}: there NLL {nll['before']:.4f} -> "
        f"{nll['after']:.4f}, ECE {ece['before']:.4f} -> {ece['after']:.4f}"
    )


def threshold_for(run: Run, accuracy: float) -> tuple[float, str]:
    """(the least probability from which on answers are this accurate on the dev documents, what that rests on). Raises
    InputError where it is never so, and where no dev documents were kept."""
    values = run.calibration()
    if values is None:
        advice = f"; a model to which its dev documents are new gets one by: {run.again()}" * run.keeps
        raise InputError(f"{run.folder}: has no calibration.json, by which --target-accuracy chooses{advice}")
    answers = Selective(values["confidence"], values["right"])
    count = values["documents"]
    if (found := answers.reaching(accuracy)) is None:
        best, (few, right) = answers.covering(0.0)
        raise InputError(
            f"{run.folder}: --target-accuracy {accuracy:g} is not reached at any threshold on its {count:,} dev "
            f"documents: of the {few:,} it is surest of ({best:.4f}), {right.value:.1%} are right"
        )
    threshold, (answered, right) = found
    return threshold, (
        f"--target-accuracy {accuracy:g}: answers from a probability of {threshold:.4f} on, which on {count:,} dev "
        f"documents are {answered:,} ({answered / count:.1%}), {right.value:.1%} of them right "
        f"(95 % interval {right.low:.1%} to {right.high:.1%})"
    )


def report(logits: np.ndarray, labels: np.ndarray, temperature: float, threshold: float) -> dict:
    """Of a test split: what the temperature did, reliability, and accuracy by how much is answered; where answers have
    a `threshold`, what that leaves."""
    before, after = Scores(logits, labels), Scores(logits / temperature, labels)
    answers, rows = Selective(after.confidence, after.correct), []
    for share in COVERAGES:
        least, (count, right) = answers.covering(share)
        rows.append({"answered": count, "threshold": least, "accuracy": vars(right)})
    found = {
        "temperature": temperature,
        "before": {"nll": before.nll(), "ece": before.ece()},
        "nll_difference": vars(paired_interval(after.losses, before.losses)),
        "reliability": [vars(part) | {"accuracy": vars(part.accuracy)} for part in calibration.reliability(after)],
        "coverage": rows,
        "aurc": answers.aurc(),
    }
    if threshold:
        count, right = answers.at(threshold)
        found["at_threshold"] = {"answered": count, "threshold": threshold, "accuracy": vars(right)}
    return found


def calibrated(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """The logits of folds, (N, C), at the temperature of each."""
    return arrays["logits"] / arrays["temperatures"][arrays["folds"] - 1, None]
