"""Tracks the state of each container, and finds out why it ended."""
