"""Examples of pre-training against the text they were made from."""

import numpy as np
import pytest
import torch

from textcls.data.shards import Passages
from textcls.tasks.masking import KEPT, MASKED, NEXT, OTHER, RANDOM, PairBatches
from textcls.text.vocabulary import SPECIAL, Vocabulary

INNER, LENGTH = 400, 64


@pytest.fixture(scope="module")
def vocabulary():
    """Pieces w0 … w1599 and ##w0 … ##w399."""
    pieces = [*SPECIAL, *(f"w{i}" for i in range(1600)), *(f"##w{i}" for i in range(INNER))]
    return Vocabulary.from_vocab({piece: number for number, piece in enumerate(pieces)})


class Memory(Passages):
    """Documents of random pieces, a token's number in the text being recoverable from its document and place."""

    def __init__(self, documents: list[np.ndarray]):
        self.documents = documents
        self.lengths = np.array([len(document) for document in documents])

    def __len__(self):
        return len(self.documents)

    def read(self, document, start, count):
        return self.documents[document][start : start + count]


def documents(vocabulary, count: int, seed: int = 0, lines: bool = True) -> Memory:
    rng, made = np.random.default_rng(seed), []
    for _ in range(count):
        size = int(rng.integers(8, 300))
        ids = rng.integers(5, 1605, size)
        inner = rng.random(size) < 0.2
        ids[inner] = rng.integers(1605, 1605 + INNER, inner.sum())
        begins = np.zeros(size, bool)
        begins[0] = True
        if lines:
            begins[rng.integers(0, size, size // 20)] = True
        made.append(np.where(begins, -1 - ids, ids))
    return Memory(made)


@pytest.fixture(scope="module")
def batches(vocabulary):
    return PairBatches(documents(vocabulary, 400), vocabulary, LENGTH, 16, seed=3)


@pytest.fixture(scope="module")
def drawn(batches):
    """10,000 examples, several epochs."""
    total = len(batches.lengths)
    return [batches.example(*divmod(number, total)) for number in range(10_000)]


def restored(example) -> np.ndarray:
    ids = example.ids.copy()
    ids[example.places] = example.targets
    return ids


def test_fifteen_hundredths_of_the_tokens_are_masked(drawn):
    masked, tokens = sum(len(e.places) for e in drawn), sum(len(e.ids) - 3 for e in drawn)
    assert masked / tokens == pytest.approx(MASKED, rel=0.01)
    assert all(1 <= len(e.places) <= MASKED * (len(e.ids) - 3) + 8 for e in drawn)


def test_of_the_masked_eight_tenths_a_mask_one_tenth_random_one_tenth_kept(drawn, vocabulary):
    seen = np.concatenate([e.ids[e.places] for e in drawn])
    targets = np.concatenate([e.targets for e in drawn])
    count, spread = len(targets), 4 * np.sqrt(0.1 * 0.9 / len(targets))
    assert (seen == vocabulary.mask).mean() == pytest.approx(1 - KEPT - RANDOM, abs=2 * spread)
    assert (seen == targets).mean() == pytest.approx(KEPT, abs=spread)  # a random piece is the same one time in 2,000
    other = seen[(seen != vocabulary.mask) & (seen != targets)]
    assert len(other) / count == pytest.approx(RANDOM, abs=spread)
    assert other.min() >= len(SPECIAL)
    counts = np.bincount(other, minlength=1605 + INNER)[5:]  # every piece alike: chi-squared, 4 standard deviations
    expected = len(other) / len(counts)
    assert abs(((counts - expected) ** 2 / expected).sum() - len(counts)) < 4 * np.sqrt(2 * len(counts))


def test_words_are_masked_whole_and_special_tokens_never(drawn, vocabulary):
    for example in drawn[:3000]:
        ids, masked = restored(example), np.zeros(len(example.ids), bool)
        masked[example.places] = True
        special = np.isin(ids, [vocabulary.cls, vocabulary.sep])
        assert special.sum() == 3 and not masked[special].any()
        for place in range(1, len(ids) - 1):
            goes_on = ids[place] >= 1605 and not special[place] and not special[place - 1]
            assert not goes_on or masked[place] == masked[place - 1]


def test_every_token_is_as_likely_to_be_masked(vocabulary):
    """The chance of a token hardly depends on the length of its word, one to three pieces here."""
    ids = np.array([5, 6, 1605, 7, 1606, 1607] * 10)
    batches = PairBatches(Memory([ids, ids]), vocabulary, LENGTH, 1, next_sentence=False)
    hits, total = np.zeros(3), np.zeros(3)
    group = np.array([0, 1, 1, 2, 2, 2] * 10)
    for epoch in range(4000):
        example = batches.example(epoch, 0)
        place = example.places - 1 - (example.places >= example.first)
        hits += np.bincount(group[place], minlength=3)
        total += np.bincount(group, minlength=3)
    assert hits / total == pytest.approx(np.full(3, MASKED), rel=0.12)


def test_half_of_the_pairs_follow_each_other(drawn, batches):
    labels = np.array([e.label for e in drawn])
    assert (labels == NEXT).mean() == pytest.approx(0.5, abs=0.02)
    texts = [np.where(d < 0, -1 - d, d) for d in batches.passages.documents]
    total = len(batches.lengths)
    for number, example in enumerate(drawn[:400]):
        index = number % total
        document, begin = batches.document[index], batches.begin[index]
        ids = restored(example)
        first, second = ids[1 : example.first - 1], ids[example.first : -1]
        assert (texts[document][begin : begin + len(first)] == first).all()
        follows = texts[document][begin + len(first) :][: len(second)]
        if example.label == NEXT:
            assert (follows == second).all()
        else:
            where = [d for d, text in enumerate(texts) if contains(text, second)]
            assert where and (len(second) < 4 or document not in where)


def contains(text: np.ndarray, part: np.ndarray) -> bool:
    if len(part) > len(text):
        return False
    return bool((np.lib.stride_tricks.sliding_window_view(text, len(part)) == part).all(1).any())


def test_b_begins_at_a_line_where_there_is_one(drawn, batches):
    total = len(batches.lengths)
    for number, example in enumerate(drawn[:500]):
        document, begin = batches.document[number % total], batches.begin[number % total]
        block = batches.passages.documents[document][begin : begin + batches.lengths[number % total] - 3]
        if (block[1:] < 0).any():
            assert block[example.first - 2] < 0
        else:
            assert len(block) // 4 <= example.first - 2 <= len(block) - len(block) // 4


def test_an_epoch_reads_every_token_once(vocabulary):
    batches = PairBatches(documents(vocabulary, 50), vocabulary, LENGTH, 7, next_sentence=False)
    read = [np.zeros(length, int) for length in batches.passages.lengths]
    for rows in batches.order(2):
        for number in rows:
            epoch, index = divmod(int(number), len(batches.lengths))
            assert epoch == 2 and len(batches.example(epoch, index).ids) == batches.lengths[index] <= LENGTH
            begin = batches.begin[index]
            read[batches.document[index]][begin : begin + batches.lengths[index] - 3] += 1
    assert all((times == 1).all() for times in read)
    widths = [batches.lengths[batches.document == d] for d in range(50)]
    assert all(w.max() - w.min() <= 1 for w in widths)


def test_examples_are_a_function_of_seed_epoch_and_number(vocabulary):
    made = documents(vocabulary, 40)
    first, again = (PairBatches(made, vocabulary, LENGTH, 8, seed=5) for _ in range(2))
    numbers = first.order(1)[2]
    assert [rows.tolist() for rows in first.order(1)] == [rows.tolist() for rows in again.order(1)]
    whole = first.collate(numbers)
    again.collate(again.order(0)[0])  # what was drawn before does not matter
    assert torch.equal(whole.inputs["ids"], again.collate(numbers).inputs["ids"])
    parts = [first.collate(part) for part in (numbers[:3], numbers[3:])]
    rows = [row[row != 0].tolist() for part in parts for row in part.inputs["ids"]]
    assert rows == [row[row != 0].tolist() for row in whole.inputs["ids"]]
    for other in (PairBatches(made, vocabulary, LENGTH, 8, seed=6), first):
        epoch = 1 if other is not first else 2
        ids = [other.example(epoch, number).ids.tolist() for number in range(20)]
        assert ids != [first.example(1, number).ids.tolist() for number in range(20)]


def test_a_batch_holds_places_targets_segments_and_counts(batches):
    numbers = batches.order(0)[3]
    batch = batches.collate(numbers)
    examples = [batches.example(0, int(number)) for number in numbers]
    ids, segments = batch.inputs["ids"], batch.inputs["segments"]
    masked = ids.flatten()[batch.inputs["places"]]
    assert batch.targets["tokens"].tolist() == np.concatenate([e.targets for e in examples]).tolist()
    assert masked.tolist() == np.concatenate([e.ids[e.places] for e in examples]).tolist()
    assert batch.counts == {"token": len(batch.targets["tokens"]), "pair": len(numbers)}
    for row, example in enumerate(examples):
        size = len(example.ids)
        expected = [0] * example.first + [1] * (size - example.first) + [0] * (ids.shape[1] - size)
        assert segments[row].tolist() == expected
        assert batch.targets["labels"][row] == example.label in (NEXT, OTHER)
    assert batch.tokens == sum(len(example.ids) for example in examples)


@pytest.mark.parametrize("length", [8, 9, 16])
def test_short_blocks_are_pairs_too(vocabulary, length):
    batches = PairBatches(documents(vocabulary, 60, seed=length), vocabulary, length, 8)
    for number in range(len(batches.lengths)):
        example = batches.example(0, number)
        assert 2 < example.first < len(example.ids) <= length and len(example.places) >= 1
