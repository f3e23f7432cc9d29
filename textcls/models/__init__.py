"""The networks: torch and each other only; no files, no tokenisers, no flags."""
