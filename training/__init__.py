"""Training, tuning and dataset evaluation of the methods."""
