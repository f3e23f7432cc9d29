"""Memory and time of a training step: predicted from shapes, measured on real steps, and both in tables."""
