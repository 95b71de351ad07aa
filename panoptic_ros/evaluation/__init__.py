"""Metrics: pure functions over arrays that accumulate over images."""
