"""What a configuration makes of events that were recorded or written down, without an engine."""
