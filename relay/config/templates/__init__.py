"""Jinja templates in a sandbox, rendered within limits of steps and characters."""
