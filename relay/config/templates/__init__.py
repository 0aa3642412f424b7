"""Jinja templates in a sandbox, rendered within bounds of steps and characters."""
