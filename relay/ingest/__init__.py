"""From an engine's event stream to the store: loop 1."""
