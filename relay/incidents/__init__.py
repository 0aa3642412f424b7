"""Decides what people are notified: problems become incidents, and incidents are reported in
groups."""
