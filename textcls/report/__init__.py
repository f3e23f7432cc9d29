"""Results in words: reads result dictionaries, and knows no model."""
