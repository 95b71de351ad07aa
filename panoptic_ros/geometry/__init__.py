"""Boxes and label maps: overlaps, areas, extents; decodes, losses and metrics measure with them."""
