"""A recording through the perception: every frame accounted for, results written."""
