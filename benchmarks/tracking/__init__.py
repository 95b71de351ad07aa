"""Benchmark of tracking: segmented sequences, baseline trackers, metrics, plots; `python -m benchmarks.tracking`."""
