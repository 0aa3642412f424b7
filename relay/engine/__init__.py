"""Engines: reaching them, reading their stream, and knowing how far it has been taken in."""
