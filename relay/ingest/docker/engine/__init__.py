"""The engine's API: connections, records, container lists and inspections."""
