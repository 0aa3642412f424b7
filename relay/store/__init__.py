"""The store: what is taken in and not delivered yet, on disk, in one commit with the cursor."""
