"""What benchmarks/campaign.py does to runs: kills, damaged and hostile files, faults of what is around them."""
