"""Truth on disk: what a person or a renderer says is in each pixel."""
