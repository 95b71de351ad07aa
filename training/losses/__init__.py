"""Losses that two or more objectives share."""
