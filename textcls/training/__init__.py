"""The loop, and what it leaves: steps, sums of an epoch, the optimiser, the run folder. Knows no model and no task."""
