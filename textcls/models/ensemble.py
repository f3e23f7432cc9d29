"""A small network over the members' probabilities. Dimensions: B batch, M models, C classes."""

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
