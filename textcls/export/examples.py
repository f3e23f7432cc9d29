"""predict.py of an ONNX folder: what textcls does around the model, in a page that needs numpy, onnxruntime and
tokenizers alone. It is put together from the parts below, so that a reader sees what his model needs and no more."""

from collections.abc import Iterable

from textcls.export import example_spans
from textcls.tasks import multilabel, regression, spans, tagging
from textcls.tasks.base import Predictor
from textcls.tasks.documents import text_columns
from textcls.text.characters import Characters

HEAD = '''\
"""Predict with the model of this folder: python predict.py {usage}
pip install numpy onnxruntime tokenizers"""

import json
import pathlib
import sys
{imports}
import numpy as np
import onnxruntime
import tokenizers

HERE = pathlib.Path(__file__).parent
CONFIG = json.loads((HERE / "config.json").read_text("utf-8"))
TOKENIZER = tokenizers.Tokenizer.from_file(str(HERE / "tokenizer.json"))
MODEL = onnxruntime.InferenceSession(str(HERE / "model.onnx"))
'''
ROOM = '''\
ROOM = CONFIG["max_length"] - len(CONFIG["begin"]){between} - len(CONFIG["end"])  # for the tokens of a row
'''

# ---- a text -> its tokens ----

PIECES = '''
def tokens(text):
    return TOKENIZER.encode(text, add_special_tokens=False).ids
'''

BAG = '''
def tokens(text):
    """Its words, and pairs of neighbouring words that are known."""
    found = TOKENIZER.encode(text, add_special_tokens=False)
    words = list(zip(found.ids, found.tokens))
    pairs = [TOKENIZER.token_to_id(f"{a} {b}") for (i, a), (j, b) in zip(words, words[1:]) if min(i, j) > 4]
    return found.ids + [pair for pair in pairs if pair is not None]
'''

SPELLED = '''
def spelled(word):
    """The bytes of a word between its begin and its end, and padding."""
    letters = [259, *(byte + 1 for byte in word.encode()[: CONFIG["word_length"] - 2]), 260]
    return letters + [261] * (CONFIG["word_length"] - len(letters))
'''

WORDS = '''
def tokens(text):
    words = [word for word, _ in TOKENIZER.pre_tokenizer.pre_tokenize_str(text)]
    return [spelled(word) for word in words or [""]]
'''

WORD = '''
def tokens(word):
    return [spelled(word)]
'''

# ---- tokens -> rows that the model reads ----

CUT = {
    "head": "ids[:keep]",
    "tail": "ids[max(0, len(ids) - keep) :]",
    "headtail": "ids if len(ids) <= keep else ids[: keep - keep // 2] + ids[len(ids) - keep // 2 :]",
}

ROW = '''
def row(text):
    ids, keep = tokens(text), ROOM
    return CONFIG["begin"] + ({cut}) + CONFIG["end"]
'''

PAIR = '''
def cut(ids, keep):
    return {cut}


def row(pair):
    """(tokens of both texts, how many of them are the first text's); the longer text gives way first."""
    a, b = map(tokens, pair)
    if len(a) + len(b) > ROOM:
        keep = min(len(a), max(ROOM - len(b), ROOM - ROOM // 2))
        a, b = cut(a, keep), cut(b, ROOM - keep)
    first = CONFIG["begin"] + a + CONFIG["between"]
    return first + b + CONFIG["end"], len(first)
'''

WINDOWS = '''
def windows(text):
    """Rows of ROOM tokens, one every CONFIG["stride"] tokens; the last one ends with the text."""
    ids, starts = tokens(text), [0]
    while starts[-1] + ROOM < len(ids) and len(starts) < CONFIG["max_windows"]:
        starts.append(min(starts[-1] + CONFIG["stride"], max(0, len(ids) - ROOM)))
    return [CONFIG["begin"] + ids[start : start + ROOM] + CONFIG["end"] for start in starts]
'''

SENTENCE = '''
def rows(words):
    """(tokens, places of the words' first tokens); a sentence too long for a row goes on in another."""
    ids, starts = list(CONFIG["begin"]), []
    for word in words:
        of_word = (tokens(word) or [CONFIG["unknown"]])[:ROOM]
        if len(ids) + len(of_word) > CONFIG["max_length"] - len(CONFIG["end"]):
            yield ids + CONFIG["end"], starts
            ids, starts = list(CONFIG["begin"]), []
        starts.append(len(ids))
        ids = ids + of_word
    yield ids + CONFIG["end"], starts
'''

# ---- rows -> logits ----

RUN = '''
def run(rows, **more):
    """Rows of tokens, padded to the longest -> {what}, a row each."""
    real = np.arange(max(map(len, rows))) < np.array([[len(ids)] for ids in rows])
    inputs = {{"input_ids": np.full({shape}, CONFIG["pad"], np.int64), "attention_mask": real.astype(np.int64), **more}}
    inputs["input_ids"][real] = [token for ids in rows for token in ids]
    return MODEL.run(None, {{given.name: inputs[given.name] for given in MODEL.get_inputs()}}){output}
'''

LOGITS = '''
def logits(texts):
    return run([row(text) for text in texts])
'''

LOGITS_OF_PAIRS = '''
def logits(pairs):
    rows, first = zip(*map(row, pairs))
    places, lengths = np.arange(max(map(len, rows))), np.array([[len(ids)] for ids in rows])
    second = (places >= np.array(first)[:, None]) & (places < lengths)
    return run(rows, token_type_ids=second.astype(np.int64))
'''

LOGITS_OF_WINDOWS = '''
def logits(texts):
    """The mean over the windows of each text."""
    return np.stack([run(windows(text)).mean(0) for text in texts])
'''

# ---- logits -> answers ----

SOFTMAX = '''
def softmax(logits):
    shares = np.exp(logits - logits.max(1, keepdims=True))
    return shares / shares.sum(1, keepdims=True)
'''

LABELS = '''
def predict(texts):
    """(labels, probabilities (N, classes))"""
    probabilities = softmax(logits(texts) / CONFIG["temperature"])
    return [CONFIG["labels"][i] for i in probabilities.argmax(1)], probabilities
'''

# ---- as a command ----

NO_TEXT, NO_PAIR = "len(sys.argv) < 2", "len(sys.argv) < 3 or len(sys.argv) % 2 == 0"

MAIN = '''
if __name__ == "__main__":
    if {wrong}:
        sys.exit(__doc__)
'''

PRINT_LABELS = '''\
    for label, row_of in zip(*predict({arguments})):
        print(f"{{label}}\\t{{row_of.max():.4f}}")
'''

SIGMOID = '''
def sigmoid(logits):
    return np.exp(-np.logaddexp(0, -logits.astype(np.float64)))
'''

SEVERAL_LABELS = '''
def predict(texts):
    """(the labels of each text, the most probable first; probabilities (N, labels))"""
    probabilities = sigmoid(logits(texts))
    order = np.argsort(-probabilities, 1, kind="stable")
    found = [[i for i in of if row[i] >= CONFIG["thresholds"][i]] for of, row in zip(order, probabilities)]
    return [[CONFIG["labels"][i] for i in of] for of in found], probabilities
'''

PRINT_SEVERAL_LABELS = '''\
    for labels, row_of in zip(*predict({arguments})):
        print(*(f"{{label}}\\t{{row_of[CONFIG['labels'].index(label)]:.4f}}" for label in labels), sep="\\t")
'''

SCORES = '''
def predict(texts):
    """Scores, within the range of those that the model was trained on; null is no bound."""
    low, high = (bound if value is None else value for bound, value in zip((-np.inf, np.inf), CONFIG["range"]))
    return np.clip(logits(texts)[:, 0].astype(np.float64), low, high)
'''

PRINT_SCORES = '''\
    print(*(f"{{score:.4f}}" for score in predict({arguments})), sep="\\n")
'''

TAGS = '''
def predict(words):
    """A tag for each word of a sentence."""
    ids, starts = zip(*rows(words))
    places = np.zeros((len(starts), max(map(len, starts))), np.int64)
    for i, of_row in enumerate(starts):
        places[i, : len(of_row)] = of_row
    scores = run(ids, word_starts=places)
    scores = np.concatenate([part[: len(of_row)] for part, of_row in zip(scores, starts)])
    return [CONFIG["labels"][tag] for tag in best(scores)]
'''

PRINT_TAGS = '''\
    print(*(f"{word}\\t{tag}" for word, tag in zip(sys.argv[1:], predict(sys.argv[1:]))), sep="\\n")
'''

ARGMAX = '''
def best(scores):
    return scores.argmax(1)
'''

VITERBI = '''
def best(scores):
    """The likeliest tags together (Viterbi), by the CRF's scores of neighbouring tags."""
    first, last, moves = (np.array(CONFIG["crf"][name], np.float32) for name in ("first", "last", "transitions"))
    total, back = first + scores[0], []
    for of_word in scores[1:]:
        ways = total[:, None] + moves
        back.append(ways.argmax(0))
        total = ways.max(0) + of_word
    tags = [int((total + last).argmax())]
    for origin in reversed(back):
        tags.append(int(origin[tags[-1]]))
    return tags[::-1]
'''

ENSEMBLE = '''\
"""Predict with the ensemble of this folder: python predict.py {usage}
pip install numpy onnxruntime tokenizers"""

import importlib.util
import json
import pathlib
import sys

import numpy as np
import onnxruntime

HERE = pathlib.Path(__file__).parent
CONFIG = json.loads((HERE / "config.json").read_text("utf-8"))
MODEL = onnxruntime.InferenceSession(str(HERE / "combine.onnx"))


def member(name):
    """predict.py of a member, as a module."""
    spec = importlib.util.spec_from_file_location(name, HERE / name / "predict.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MEMBERS = [member(name) for name in CONFIG["members"]]
'''

OF_MEMBERS = '''
def logits(texts):
    """The members' probabilities, their labels in the order of the ensemble's, and the model over them."""
    each = []
    for part in MEMBERS:
        places = [part.CONFIG["labels"].index(label) for label in CONFIG["labels"]]
        each.append(part.{shares}(part.logits(texts))[:, places])
    return MODEL.run(None, {{"probabilities": np.concatenate(each, 1).astype(np.float32)}})[0]
'''

# Usage, and the arguments, of single texts and of pairs.
TYPED = {
    False: ("TEXT…", "sys.argv[1:]"),
    True: ("TEXT TEXT [TEXT TEXT…]", "list(zip(sys.argv[1::2], sys.argv[2::2]))"),
}


def ensemble(predictor: Predictor) -> str:
    """predict.py for models over members, each in a folder of its own."""
    pairs = len(text_columns(predictor.config)) > 1
    shares = "sigmoid" if isinstance(predictor, multilabel.Predictor) else "softmax"
    head = ENSEMBLE.replace("{usage}", TYPED[pairs][0])
    return joined((head, OF_MEMBERS.format(shares=shares), *from_logits(predictor, pairs)))


def text(predictor: Predictor) -> str:
    """predict.py for this model."""
    config, pairs = predictor.config, len(text_columns(predictor.config)) > 1
    by_characters = isinstance(predictor.vocabulary, Characters)
    shape = 'real.shape + (CONFIG["word_length"],)' if by_characters else "real.shape"
    usage, run = TYPED[pairs][0], RUN.format(shape=shape, what="logits", output="[0]")
    if isinstance(predictor, spans.Predictor):
        return answering_questions()
    if isinstance(predictor, tagging.Predictor):
        usage, read = "WORD…", [SPELLED, WORD] if by_characters else [PIECES]
        answer = [SENTENCE, run, VITERBI if predictor.model.crf else ARGMAX, TAGS]
        answer.append(MAIN.format(wrong=NO_TEXT) + PRINT_TAGS)
    else:
        read = reading(predictor, pairs)
        logits = LOGITS_OF_WINDOWS if config.long_documents == "window" else LOGITS_OF_PAIRS if pairs else LOGITS
        answer = [run, logits, *from_logits(predictor, pairs)]
    head = HEAD.format(usage=usage, imports="") + ROOM.format(between=' - len(CONFIG["between"])' * pairs)
    return joined([head, *read, *answer])


def from_logits(predictor: Predictor, pairs: bool) -> list[str]:
    """From the logits of texts, or of pairs, to what is printed of them."""
    if isinstance(predictor, regression.Predictor):
        parts, last = [SCORES], PRINT_SCORES
    elif isinstance(predictor, multilabel.Predictor):
        parts, last = [SIGMOID, SEVERAL_LABELS], PRINT_SEVERAL_LABELS
    else:
        parts, last = [SOFTMAX, LABELS], PRINT_LABELS
    main = MAIN.format(wrong=NO_PAIR if pairs else NO_TEXT)
    return [*parts, main + last.format(arguments=TYPED[pairs][1])]


def answering_questions() -> str:
    """predict.py for a model that answers questions."""
    head = HEAD.format(usage="QUESTION PASSAGE [QUESTION PASSAGE…]", imports="import unicodedata\n")
    run = RUN.format(shape="real.shape", what="logits of first tokens and of last ones", output="")
    parts = example_spans.PLACED, example_spans.WINDOWS, run, example_spans.LOGITS, example_spans.ANSWERS
    last = MAIN.format(wrong=NO_PAIR) + example_spans.PRINT.format(arguments=TYPED[True][1])
    return joined([head, *parts, example_spans.PREDICT, last])


def joined(parts: Iterable[str]) -> str:
    return "\n".join(parts).replace("\n\n\n\n", "\n\n\n")


def reading(predictor: Predictor, pairs: bool) -> list[str]:
    """From a text, or a pair, to rows."""
    kinds = {"characters": [SPELLED, WORDS], "bag": [BAG]}
    cut = CUT[predictor.config.truncate]
    rows = PAIR.format(cut=cut) if pairs else ROW.format(cut=cut)
    if predictor.config.long_documents == "window":
        rows = WINDOWS
    return [*kinds.get(predictor.recipe["input"], [PIECES]), rows]
