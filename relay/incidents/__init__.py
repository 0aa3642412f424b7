"""Decides what people are told: problems become incidents, and incidents are told in groups."""
