"""Cached features equal computing them again; long documents in windows."""

import errno

import numpy as np
import pytest
import torch

from tests.test_sequences import LENGTHS, in_windows
from tests.test_training import CPU, FP32, make_batches
from textcls.models.recurrent import BertVectors, Recurrent, RecurrentClassifier
from textcls.pretrained import features
from textcls.pretrained.features import Features
from textcls.runtime.errors import InputError
from textcls.tasks.classification import collect_logits, document_logits
from textcls.text.batches import Batches
from textcls.text.pieces import Pieces, Sequences


def model_of(shape, cls_only=False):
    torch.manual_seed(0)
    source = BertVectors(shape, frozen=True, cls_only=cls_only)
    return RecurrentClassifier(Recurrent(source, 6, 1, 0.0), 3, dropout=0.0).eval()


def features_of(model, batches, weights="sha") -> Features:
    return Features(model.encoder.source, weights, batches, FP32)


def cached(model, batches, weights="sha"):
    return features_of(model, batches, weights).get(CPU, "train", True)[0]


@pytest.mark.parametrize("cls_only", [False, True])
def test_cache_equals_recomputation(tiny_shape, cache, cls_only):
    model, batches, again = model_of(tiny_shape, cls_only), make_batches(23), make_batches(23)
    made = features_of(model, again)
    again.features, _ = made.get(CPU, "train", True)
    assert again.features.shape == ((23 if cls_only else len(batches.sequences.rows.tokens)), 16)
    model_logits = collect_logits(model, batches, CPU, FP32)
    model.encoder.source.bert = None  # it is not asked again
    assert collect_logits(model, again, CPU, FP32) == pytest.approx(model_logits, abs=2e-3)  # fp16 on the disk
    kept = list(cache.glob("features-*.npy"))
    assert len(kept) == 1 and f"to {kept[0]}" in made.description


def test_the_second_run_reads_the_file(tiny_shape, cache, monkeypatch):
    model, batches = model_of(tiny_shape), make_batches(23)
    first = np.array(cached(model, batches))
    monkeypatch.setattr(Features, "_compute", None)
    assert np.array_equal(cached(model, batches), first)
    (path,) = cache.glob("features-*.npy")
    assert f"from {path}" in features_of(model, batches).description


def test_another_encoder_or_text_is_another_file(tiny_shape, cache):
    model = model_of(tiny_shape)
    cached(model, make_batches(5))
    cached(model, make_batches(5), "other sha")
    cached(model, make_batches(5, seed=1))
    cached(model_of(tiny_shape, True), make_batches(5, seed=2))
    assert len(list(cache.glob("features-*.npy"))) == 4


def test_cls_is_taken_from_the_vectors_of_all_tokens(tiny_shape, cache, monkeypatch):
    batches = make_batches(9)
    alone = np.array(cached(model_of(tiny_shape, True), batches))
    for path in cache.glob("features-*"):
        path.unlink()
    cached(model_of(tiny_shape), batches)
    monkeypatch.setattr(Features, "_compute", None)
    assert np.array_equal(cached(model_of(tiny_shape, True), batches), alone)


def test_a_damaged_file_is_made_anew(tiny_shape, cache):
    model, batches = model_of(tiny_shape), make_batches(5)
    first = np.array(cached(model, batches))
    (path,) = cache.glob("features-*.npy")
    whole = path.read_bytes()
    for damaged in (whole[:40], whole[:-1] + bytes([whole[-1] ^ 1]), whole + b"x"):
        path.write_bytes(damaged)
        assert np.array_equal(cached(model, batches), first) and path.read_bytes() == whole
    path.with_suffix(".json").write_text('{"seconds": 1.0}')  # as it was before there were checksums
    assert np.array_equal(cached(model, batches), first)


def no_room(monkeypatch) -> None:
    monkeypatch.setattr(features.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 100})())


def too_large(monkeypatch) -> None:
    def fail(file, start, size):
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(features.os, "posix_fallocate", fail)


@pytest.mark.parametrize("full", [no_room, too_large])
def test_a_full_disk_only_costs_time(tiny_shape, cache, monkeypatch, full):
    batches = make_batches(5)
    expected = np.array(cached(model_of(tiny_shape), batches))
    for path in cache.iterdir():
        path.unlink()
    full(monkeypatch)
    assert np.array_equal(cached(model_of(tiny_shape), batches), expected)
    assert not list(cache.iterdir())
    monkeypatch.setattr("textcls.runtime.memory.free_memory", lambda: 100)
    with pytest.raises(InputError, match="what the encoder gives takes .* GiB are free; .* with TEXTCLS_CACHE"):
        cached(model_of(tiny_shape), batches)


# ---- windows --------------------------------------------------------------------------------------------------------


def test_a_documents_logits_are_the_mean_over_its_windows(tiny_shape):
    _, sequences = in_windows()
    model = model_of(tiny_shape)
    batches = Batches(sequences, np.zeros(len(LENGTHS), np.int64), 4)
    logits = collect_logits(model, batches, CPU, FP32)
    for number in range(len(LENGTHS)):
        rows = [sequences.rows[row].astype(np.int64) for row in np.flatnonzero(sequences.documents == number)]
        with torch.no_grad():
            expected = torch.stack([model(torch.from_numpy(row)[None])[0] for row in rows]).mean(0)
        assert logits[number] == pytest.approx(expected.numpy(), abs=1e-5)


def test_windows_train_and_cache_like_anything_else(tiny_shape, cache):
    _, sequences = in_windows()
    model = model_of(tiny_shape)
    batches = Batches(sequences, np.zeros(len(LENGTHS), np.int64), 3)
    expected = collect_logits(model, batches, CPU, FP32)
    batches.features = cached(model, batches)
    assert collect_logits(model, batches, CPU, FP32) == pytest.approx(expected, abs=2e-3)
    seen = [document for rows in batches.order(0) for document in rows]
    assert sorted(seen) == list(range(len(LENGTHS)))
    batch = batches.collate(batches.order(0)[0])
    assert document_logits(model, batch).shape == (3, 3)


def test_one_row_a_document_is_the_common_case():
    pieces = Pieces.join([[1, 2], [3]])
    batches = Batches(Sequences(pieces, pieces.lengths, 0), np.zeros(2, np.int64), 2)
    assert batches.collate(np.arange(2)).targets.keys() == {"labels"}
