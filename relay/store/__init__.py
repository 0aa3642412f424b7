"""The store: pending deliveries and cursors in SQLite, committed together."""
