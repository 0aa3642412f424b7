"""Which event goes where."""
