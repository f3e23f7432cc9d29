"""Small models over the members' probabilities. Dimensions: B batch, M models, C classes."""

import torch
from torch import nn


class LearnedEnsemble(nn.Module):
    """Stacking (Wolpert, 1992): the members' softmax outputs side by side (B, M * C) -> logits (B, C).

    Linear(MC -> 2MC), GELU, Dropout(.15), Linear(2MC -> MC), GELU, Dropout(.10), Linear(MC -> C).
    """

    def __init__(self, num_models: int = 2, num_labels: int = 20):
        super().__init__()
        self.num_labels = num_labels
        inputs = num_models * num_labels
        self.layers = nn.Sequential(
            nn.Linear(inputs, 2 * inputs),
            nn.GELU(),
            nn.Dropout(0.15),
            nn.Linear(2 * inputs, inputs),
            nn.GELU(),
            nn.Dropout(0.10),
            nn.Linear(inputs, num_labels),
        )

    def forward(self, probabilities: torch.Tensor) -> torch.Tensor:
        return self.layers(probabilities)


class WeightedEnsemble(nn.Module):
    """A logarithmic opinion pool (Genest and Zidek, 1986): the members' log-probabilities, each times a weight of its
    own, summed. A weight above 1 sharpens. The same input and output as :class:`LearnedEnsemble`."""

    def __init__(self, num_models: int = 2, num_labels: int = 20):
        super().__init__()
        self.num_labels = num_labels
        self.weights = nn.Parameter(torch.full((num_models,), 1.0 / num_models))

    def forward(self, probabilities: torch.Tensor) -> torch.Tensor:
        logs = probabilities.clamp_min(1e-30).log().view(probabilities.shape[0], -1, self.num_labels)  # (B, M, C)
        return torch.einsum("bmc,m->bc", logs, self.weights)


class WeightedOdds(WeightedEnsemble):
    """The same for several labels a text: of each label the members' log-odds, each times a weight of its own, summed;
    a logarithmic opinion pool of whether it is there. What is added to all, which a softmax would not see, is fitted
    too."""

    def __init__(self, num_models: int = 2, num_labels: int = 20):
        super().__init__(num_models, num_labels)
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, probabilities: torch.Tensor) -> torch.Tensor:
        odds = probabilities.logit(eps=1e-6).view(probabilities.shape[0], -1, self.num_labels)  # (B, M, C)
        return torch.einsum("bmc,m->bc", odds, self.weights) + self.bias


ENSEMBLES = {"learned": LearnedEnsemble, "weighted": WeightedEnsemble}
