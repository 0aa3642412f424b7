"""The store: deliveries, dead letters, cursors and container states in one SQLite file."""
