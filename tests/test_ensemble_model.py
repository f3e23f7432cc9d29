import torch

from textcls import LearnedEnsemble


def test_shape_and_parameter_count():
    model = LearnedEnsemble()
    assert sum(p.numel() for p in model.parameters()) == 7_340
    assert model(torch.rand(5, 40)).shape == (5, 20)


def test_any_number_of_members_and_labels():
    assert LearnedEnsemble(3, 4)(torch.rand(2, 12)).shape == (2, 4)
