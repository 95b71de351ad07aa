"""What things cost, as ratios within one run: `python -m benchmarks` lists and runs them all."""
