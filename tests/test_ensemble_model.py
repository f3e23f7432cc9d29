import torch

from ensemble import fit, permute_classes
from textcls import LearnedEnsemble


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
    fit(model, probabilities[:400], labels[:400], seed=0)
    with torch.no_grad():
        assert (model.eval()(probabilities[400:]).argmax(1) == labels[400:]).float().mean() > 0.9
