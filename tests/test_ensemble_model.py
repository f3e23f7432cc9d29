import torch

from textcls import LearnedEnsemble
from textcls.models.ensemble import WeightedEnsemble
from textcls.tasks.stacking import fit_network, fit_weights, permute_classes


def test_shape_and_parameter_count():
    model = LearnedEnsemble()
    assert sum(p.numel() for p in model.parameters()) == 7_340
    assert model(torch.rand(5, 40)).shape == (5, 20)


def test_any_number_of_members_and_labels():
    assert LearnedEnsemble(3, 4)(torch.rand(2, 12)).shape == (2, 4)


def test_renumbered_classes_are_the_same_document():
    torch.manual_seed(0)
    probabilities, labels = torch.rand(50, 2 * 5), torch.randint(0, 5, (50,))
    for share in (0.0, 0.5, 1.0):
        permuted, targets = permute_classes(probabilities, labels, 5, share)
        for before, after, old, new in zip(probabilities, permuted, labels, targets, strict=True):
            before, after = before.view(2, 5), after.view(2, 5)
            assert torch.equal(before[:, old], after[:, new])  # both members say the same of the true class
            columns = {tuple(column.tolist()) for column in before.T}
            assert columns == {tuple(column.tolist()) for column in after.T}
    assert torch.equal(permute_classes(probabilities, labels, 5, 0.0)[0], probabilities)
    assert not torch.equal(permuted, probabilities)


def test_fit_learns_whom_to_believe():
    """The member that is less sure is the one that is right: the average errs, the network need not."""
    torch.manual_seed(0)
    n, classes = 600, 4
    labels = torch.randint(0, classes, (n,))
    right = torch.rand(n) < 0.5  # whether member 0 is
    wrong = (labels + torch.randint(1, classes, (n,))) % classes
    members = []
    for is_right in (right, ~right):
        says = torch.where(is_right, labels, wrong)[:, None]
        confidence = torch.where(is_right, 0.7, 0.9)[:, None]
        members.append(torch.where(torch.arange(classes) == says, confidence, (1 - confidence) / (classes - 1)))
    probabilities = torch.cat(members, 1)
    assert ((members[0] + members[1]).argmax(1) == labels).float().mean() < 0.1
    model = LearnedEnsemble(2, classes)
    fit_network(model, probabilities[:400], labels[:400], seed=0, epochs=400)
    with torch.no_grad():
        assert (model.eval()(probabilities[400:]).argmax(1) == labels[400:]).float().mean() > 0.9


def test_weights_scale_log_probabilities():
    torch.manual_seed(0)
    model = WeightedEnsemble(2, 3)
    model.weights.data = torch.tensor([0.5, 2.0])
    first, second = torch.randn(4, 3).softmax(-1), torch.randn(4, 3).softmax(-1)
    expected = 0.5 * first.log() + 2.0 * second.log()
    assert torch.allclose(model(torch.cat([first, second], 1)), expected, atol=1e-6)


def test_fitted_weights_lean_on_the_member_that_knows():
    torch.manual_seed(0)
    labels = torch.randint(3, (300,))
    knows = (4 * torch.nn.functional.one_hot(labels, 3) + torch.randn(300, 3)).softmax(-1)
    guesses = torch.randn(300, 3).softmax(-1)
    model = WeightedEnsemble(2, 3)
    fit_weights(model, torch.cat([knows, guesses], 1), labels)
    assert model.weights[0].item() > 5 * abs(model.weights[1].item())
