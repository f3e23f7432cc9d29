"""The CRF against the sum over every way of tagging, and Viterbi against the best of them."""

import itertools

import pytest
import torch

from textcls.models.crf import CRF

LENGTHS = torch.tensor([4, 1, 3])
B, W, C = 3, 4, 3


@pytest.fixture
def problem():
    torch.manual_seed(0)
    crf = CRF(C).double()
    for parameter in crf.parameters():
        torch.nn.init.normal_(parameter)
    return crf, torch.randn(B, W, C, dtype=torch.float64)


def ways(crf: CRF, emissions: torch.Tensor, length: int) -> dict[tuple[int, ...], float]:
    """The score of each of the C ** length ways, added up term by term."""
    scores = {}
    for tags in itertools.product(range(C), repeat=length):
        score = crf.first[tags[0]] + crf.last[tags[-1]]
        for w, tag in enumerate(tags):
            score = score + emissions[w, tag]
            if w > 0:
                score = score + crf.transitions[tags[w - 1], tag]
        scores[tags] = score.item()
    return scores


def test_likelihood_equals_enumeration(problem):
    crf, emissions = problem
    tags = torch.randint(C, (B, W))
    found = crf.negative_log_likelihood(emissions, tags, LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        scores = ways(crf, emissions[row], length)
        total = torch.tensor(list(scores.values()), dtype=torch.float64).logsumexp(0)
        assert found[row].item() == pytest.approx(float(total) - scores[tuple(tags[row, :length].tolist())], abs=1e-10)


def test_viterbi_finds_the_best_way(problem):
    crf, emissions = problem
    found = crf.decode(emissions, LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        scores = ways(crf, emissions[row], length)
        assert tuple(found[row, :length].tolist()) == max(scores, key=scores.get)
        assert not found[row, length:].any()


def test_padding_never_changes_a_likelihood(problem):
    crf, emissions = problem
    tags = torch.randint(C, (B, W))
    alone = crf.negative_log_likelihood(emissions[2:, :3], tags[2:, :3], LENGTHS[2:])
    disturbed = emissions.clone()
    disturbed[2, 3:] = 1e6
    ignored = tags.clone()
    ignored[2, 3:] = -100
    together = crf.negative_log_likelihood(disturbed, ignored, LENGTHS)
    assert together[2].item() == pytest.approx(alone.item(), abs=1e-10)


def test_the_likelihood_of_all_ways_sums_to_one(problem):
    crf, emissions = problem
    tags = torch.tensor(list(itertools.product(range(C), repeat=3)))
    rows = emissions[:1, :3].expand(len(tags), -1, -1)
    total = (-crf.negative_log_likelihood(rows, tags, torch.full((len(tags),), 3))).exp().sum()
    assert total.item() == pytest.approx(1.0, abs=1e-10)


def test_gradients(problem):
    crf, emissions = problem
    tags = torch.randint(C, (B, W))
    emissions.requires_grad_()
    assert torch.autograd.gradcheck(lambda e: crf.negative_log_likelihood(e, tags, LENGTHS), (emissions,))
