"""From strings to batches: vocabularies, the sequences that models read, padding and order."""
