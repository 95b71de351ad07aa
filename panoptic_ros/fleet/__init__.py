"""Many recordings over many workers: work lists, results by content, scheduling, merge, report."""
