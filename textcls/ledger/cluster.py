"""What a run on several GPUs or machines costs, from shapes alone: exchange of gradients, tokens per second, days.

Dimensions: P processes, one a GPU.
"""

import dataclasses

from textcls.ledger.plan import Plan

# Dense 16-bit tensor-core peaks in FLOP/s, from NVIDIA's data sheets, and bits/s of one machine's network.
PEAKS = {"V100": 125e12, "A100": 312e12, "H100": 989e12}
USED = 0.3  # share of the peak that training is taken to reach; large matrix products reach more, an LSTM less
NETWORK = 100e9
BACKWARD = 2 / 3  # of a step's arithmetic, during which gradients can travel
DAY = 24 * 3600


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Machines with equal GPUs, each of which has a copy of the model."""

    nodes: int
    gpus: int  # of each node
    updates: int  # optimiser steps

    @property
    def processes(self) -> int:
        return self.nodes * self.gpus

    def tokens(self, plan: Plan) -> int:
        """Of an optimiser step, padding included."""
        return self.processes * plan.step.accumulate * plan.step.slots

    def exchanged(self, plan: Plan) -> float:
        """Bytes that each GPU sends, and receives, in an optimiser step: a ring all-reduce of float32 gradients,
        2 (P - 1) / P times their size (Patarasuk and Yuan, 2009)."""
        return 2 * (self.processes - 1) / self.processes * plan.gradients

    def network_seconds(self, plan: Plan) -> float:
        """The same between machines, whose GPUs form one ring: each machine's network carries it once."""
        return 8 * self.exchanged(plan) / NETWORK if self.nodes > 1 else 0.0

    def step_seconds(self, plan: Plan, peak: float) -> float:
        """Arithmetic, and what of the exchange lasts longer than the backward pass of the last micro-batch."""
        arithmetic = plan.flop() / (USED * peak)
        hidden = BACKWARD * arithmetic / plan.step.accumulate
        return arithmetic + max(0.0, self.network_seconds(plan) - hidden)

    def days(self, plan: Plan, peak: float) -> float:
        return self.updates * self.step_seconds(plan, peak) / DAY

    def tokens_per_second(self, plan: Plan, days: float) -> float:
        """That all GPUs together need to be done in `days`."""
        return self.updates * self.tokens(plan) / (days * DAY)
