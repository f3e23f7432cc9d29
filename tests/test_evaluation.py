import numpy as np
import torch

from tests.test_training import CPU, FP32, make_batches, make_model
from textcls.metrics.classification import Scores
from textcls.tasks.classification import collect_logits, evaluate


def test_logits_come_back_in_the_order_of_the_documents():
    model, batches = make_model().eval(), make_batches(count=23)
    logits = collect_logits(model, batches, CPU, FP32)
    assert logits.shape == (23, 3) and logits.dtype == np.float32
    for i in range(23):
        ids = torch.from_numpy(batches.sequences.rows[i].astype(np.int64))[None]
        with torch.no_grad():
            assert np.abs(model(ids)[0].numpy() - logits[i]).max() < 1e-5


def test_batch_size_does_not_matter():
    model = make_model("bilstm").eval()
    a, b = (collect_logits(model, make_batches(23, batch_size=size), CPU, FP32) for size in (1, 8))
    assert np.abs(a - b).max() < 1e-5


def test_evaluate_is_the_metrics_of_the_logits():
    model, batches = make_model().eval(), make_batches()
    scores = Scores(collect_logits(model, batches, CPU, FP32), batches.labels)
    expected = {"accuracy": scores.accuracy(), "macro_f1": scores.macro_f1(), "nll": scores.nll()}
    assert evaluate(batches, None, CPU, FP32)(model) == expected
