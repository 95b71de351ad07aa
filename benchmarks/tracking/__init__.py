"""What the benchmark of the association is made of: segmentations to follow, trackers to compare, measures."""
