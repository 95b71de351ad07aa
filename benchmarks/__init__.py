"""Benchmarks, a module each: `python -m benchmarks.NAME [--quick]`; `python -m benchmarks` runs the main ones."""
