"""Talks to one engine's API: finds it, connects to it, and parses its answers."""
