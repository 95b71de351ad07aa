"""One module per method: its targets and its loss."""
