"""Decides what people are notified of: problems become incidents, reported in groups."""
