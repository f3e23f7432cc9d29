"""Readers, one file a format: from files to strings and labels."""
