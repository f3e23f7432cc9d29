"""A run as a folder with its model in ONNX, for batches and texts of any size, and what is needed to use it without
this library: tokenizer.json, config.json, predict.py.

model.onnx computes logits in float32 of a row of tokens each, or of each of its tokens; how texts become rows, and
logits answers, is in predict.py (examples.py) and config.json. Dimensions: B rows, T tokens, W words, K characters of a
word, C outputs.
"""

import pathlib
import warnings

import numpy as np
import torch
from tokenizers import Tokenizer

from textcls.export import examples
from textcls.models.crf import CRF
from textcls.models.recurrent import Tagger
from textcls.runtime import files
from textcls.runtime.errors import InputError
from textcls.tasks import classification, multilabel, regression, spans, tagging
from textcls.tasks.base import Predictor
from textcls.tasks.documents import text_columns
from textcls.tasks.ensemble import Ensemble
from textcls.text.characters import Characters, batch_of
from textcls.text.passages import longest_question
from textcls.text.sequences import ends
from textcls.text.spans import BEST, LONGEST_ANSWER

OPSET = 17
NAMES = {"ids": "input_ids", "mask": "attention_mask", "segments": "token_type_ids", "starts": "word_starts"}
TOLERANCE = 1e-4  # of logits
TRACED = 2, 9  # rows and tokens that the graph is made with
OTHERS = (1, 5), (7, 64), (3, 1)  # and that it is compared with the model at, as far as the model reads so many
KINDS = classification.Predictor | multilabel.Predictor | regression.Predictor | tagging.Predictor | spans.Predictor
LOGITS = {"logits": {0: "rows"}}  # outputs, and what is free in them
OF_TOKENS = {name: {0: "rows", 1: "tokens"} for name in ("start_logits", "end_logits")}
EXTRA = "pip install onnx onnxruntime"


def write(predictor: Predictor, folder: pathlib.Path) -> list[str]:
    if isinstance(predictor, Ensemble):
        return write_ensemble(predictor, folder)
    check_kind(predictor)
    difference = write_graph(predictor, folder / "model.onnx")
    tokenizer = Tokenizer.from_str(predictor.vocabulary.tokenizer.to_str())
    if isinstance(predictor, tagging.Predictor) and getattr(predictor.vocabulary, "of_bytes", False):
        tokenizer.pre_tokenizer.add_prefix_space = True  # a word of bytes is spelled as behind a blank
    files.write_text(folder / "tokenizer.json", tokenizer.to_str(pretty=True))
    files.write_json(folder / "config.json", config_json(predictor))
    files.write_text(folder / "predict.py", examples.text(predictor))
    return [f"model.onnx: logits within {difference:.0e} of this library's at other sizes than it was made with"]


def write_ensemble(predictor: Ensemble, folder: pathlib.Path) -> list[str]:
    """The members in folders of their own, and the model over their probabilities."""
    lines, names = [], []
    for number, member in enumerate(predictor.members, 1):
        names.append(f"member-{number}")
        (folder / names[-1]).mkdir()
        alone = member.predictor  # its predict.py answers at its own temperature; the ensemble reads its logits
        lines += [f"{names[-1]}, {alone.run.folder}: {line}" for line in write(alone, folder / names[-1])]
    C, M = len(predictor.labels), len(predictor.members)
    model, example = predictor.model.eval(), torch.full((2, M * C), 1 / C)
    save(model, {"probabilities": example}, {"probabilities": {0: "rows"}}, folder / "combine.onnx")
    others = torch.rand(5, M * C, generator=torch.Generator().manual_seed(0))
    (found,) = Session(folder / "combine.onnx").session.run(None, {"probabilities": others.numpy()})
    with torch.no_grad():
        difference = checked(predictor, float((model(others) - torch.from_numpy(found)).abs().max()))
    lines.append(f"combine.onnx: logits within {difference:.0e} of this library's at another size than it was made with")
    values = {"labels": predictor.labels, "temperature": predictor.temperature, "members": names}
    files.write_json(folder / "config.json", values | of_task(predictor))
    files.write_text(folder / "predict.py", examples.ensemble(predictor))
    return lines


def check_kind(predictor: Predictor) -> None:
    if not isinstance(predictor, KINDS):
        raise InputError(
            f"{predictor.run.folder}: --format onnx is for classifiers, regressors, taggers and what answers questions; "
            f"a run of --task {predictor.config.task} gives a text no answer"
        )


def config_json(predictor: Predictor) -> dict:
    """What predict.py reads."""
    config, vocabulary = predictor.config, predictor.vocabulary
    values = {
        "labels": predictor.labels,
        "max_length": config.max_length,
        "temperature": predictor.temperature,
        "begin": list(vocabulary.begin),
        "between": list(vocabulary.between),
        "end": list(vocabulary.end),
        "pad": vocabulary.pad,
    }
    if isinstance(vocabulary, Characters):
        values["word_length"] = vocabulary.word_length
    if config.long_documents == "window":
        half = (config.max_length - ends(vocabulary)) // 2
        values |= {"stride": config.stride or half, "max_windows": config.max_windows}
    return values | of_task(predictor)


def of_task(predictor: Predictor) -> dict:
    """What it reads to make answers of logits, beside labels and temperature."""
    config = predictor.config
    if isinstance(predictor, regression.Predictor):
        return {"range": predictor.range}
    if isinstance(predictor, multilabel.Predictor):
        return {"thresholds": predictor.thresholds.tolist()}
    if isinstance(predictor, spans.Predictor):
        longest = {"longest_question": longest_question(config.max_length), "longest_answer": LONGEST_ANSWER}
        return {"stride": config.stride, **longest, "best": BEST}
    if isinstance(predictor, tagging.Predictor):
        crf = predictor.model.crf
        scores = {"crf": {name: part.tolist() for name, part in crf.named_parameters()}} if crf else {}
        return {"unknown": getattr(predictor.vocabulary, "unk", None)} | scores
    return {}


# ---- the graph ------------------------------------------------------------------------------------------------------


class Graph(torch.nn.Module):
    """A model that is called with its inputs in the order of their `names`: -> logits in float32, of each token where
    they are two the one after the other."""

    def __init__(self, model: torch.nn.Module, names: list[str], of_tokens: bool):
        super().__init__()
        self.model, self.names, self.of_tokens = model, names, of_tokens

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        logits = self.model(**dict(zip(self.names, inputs, strict=True))).float()
        return logits.unbind(-1) if self.of_tokens else logits


def write_graph(predictor: Predictor, path: pathlib.Path) -> float:
    """Write the model, and compare what ONNX Runtime computes with it: the largest difference of a logit. Raises
    InputError where that is more than TOLERANCE."""
    random, model = np.random.default_rng(0), predictor.model.cpu()
    example = example_of(predictor, *TRACED, random)
    axes = {NAMES[name]: {0: "rows", 1: "words" if name == "starts" else "tokens"} for name in example}
    of_tokens = isinstance(predictor, spans.Predictor)
    graph = Graph(model, list(example), of_tokens).eval()
    named = {NAMES[name]: tensor for name, tensor in example.items()}
    save(graph, named, axes, path, OF_TOKENS if of_tokens else LOGITS)
    run, worst = Session(path), 0.0
    for rows, tokens in OTHERS:
        inputs = example_of(predictor, rows, min(tokens, predictor.config.max_length), random)
        with torch.no_grad():
            worst = max(worst, float((run(**inputs) - model(**inputs)).abs().max()))
    return checked(predictor, worst)


def checked(predictor: Predictor, difference: float) -> float:
    """The largest difference of a logit. Raises InputError where it is more than TOLERANCE."""
    if not difference <= TOLERANCE:
        raise InputError(f"{predictor.run.folder}: the ONNX model's logits differ by {difference:.2g} (--format onnx)")
    return difference


@torch.no_grad()
def save(
    model: torch.nn.Module, inputs: dict[str, torch.Tensor], axes: dict, path: pathlib.Path, outputs: dict = LOGITS
) -> None:
    """By the exporter that traces: torch.export cannot have an LSTM over texts of any length. It needs onnx itself only
    for some models, and says so late."""
    try:
        import onnx  # noqa: F401
    except ImportError:
        raise InputError(f"--format onnx needs ONNX and its runtime: {EXTRA}") from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that this exporter is the older one, and what a trace cannot see
        torch.onnx.export(
            model,
            tuple(inputs.values()),
            str(path),
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes=axes | outputs,
            opset_version=OPSET,
            dynamo=False,
        )


def example_of(predictor: Predictor, B: int, T: int, random: np.random.Generator) -> dict[str, torch.Tensor]:
    """Rows of random tokens as the model reads them, the first of T, the others shorter: {name: (B, T)}."""
    lengths = random.integers(1, T + 1, B)
    lengths[0] = T
    real = np.arange(T) < lengths[:, None]
    if isinstance(predictor.vocabulary, Characters):
        words = [["x" * random.integers(1, 20) + chr(random.integers(33, 0x2FF))] * n for n in lengths]
        ids, mask = batch_of(words, predictor.vocabulary.word_length)
        inputs = {"ids": ids, "mask": mask}
    else:
        ids = np.where(real, random.integers(0, predictor.vocabulary.largest_id + 1, (B, T)), predictor.vocabulary.pad)
        inputs = {"ids": torch.from_numpy(ids), "mask": torch.from_numpy(real.astype(np.int64))}
    if predictor.recipe["input"] == "bag":
        del inputs["mask"]  # padding is no word
    if predictor.recipe["input"] == "pieces" and len(text_columns(predictor.config)) > 1:
        inputs["segments"] = torch.from_numpy((np.arange(T) >= lengths[:, None] // 2).astype(np.int64) * real)
    if isinstance(predictor.model, Tagger):
        inputs["starts"] = torch.from_numpy(random.integers(0, lengths[:, None], (B, max(1, T // 2))))
    return inputs


class Session(torch.nn.Module):
    """An ONNX file in a model's place: inputs as of a model -> its logits. `crf` is the tagger's, where there is one."""

    def __init__(self, path: pathlib.Path, crf: CRF | None = None):
        super().__init__()
        try:
            import onnxruntime
        except ImportError:
            raise InputError(f"--format onnx needs ONNX and its runtime: {EXTRA}") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.wanted = {given.name for given in self.session.get_inputs()}
        self.crf = crf
        self.eval()

    def forward(self, ids, mask=None, segments=None, starts=None) -> torch.Tensor:
        mask = torch.ones(ids.shape[:2], dtype=torch.int64) if mask is None else mask
        segments = torch.zeros(ids.shape[:2], dtype=torch.int64) if segments is None else segments
        given = {"ids": ids, "mask": mask, "segments": segments, "starts": starts}
        inputs = {NAMES[name]: tensor.numpy() for name, tensor in given.items() if NAMES[name] in self.wanted}
        logits = self.session.run(None, inputs)
        return torch.from_numpy(logits[0] if len(logits) == 1 else np.stack(logits, -1))
