"""textcls: text classification in plain PyTorch, with hand-written loops."""

from textcls.models.bert import Bert, BertClassifier, BertConfig
from textcls.models.ensemble import LearnedEnsemble
from textcls.models.lstm import BiLSTMClassifier
from textcls.predictor import Predictor, load
from textcls.pretrained.bert import load_bert
from textcls.pretrained.elmo import load_elmo

__version__ = "0.1.0"
__all__ = [
    "Bert",
    "BertClassifier",
    "BertConfig",
    "BiLSTMClassifier",
    "LearnedEnsemble",
    "Predictor",
    "load",
    "load_bert",
    "load_elmo",
]
