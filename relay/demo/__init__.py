"""The whole pipeline with nothing installed: a recorded stream, a receiver, the daemon between."""
