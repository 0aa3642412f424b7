"""Decides which routes an event matches and where it is sent."""
