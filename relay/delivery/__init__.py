"""Loop 2: from the store to the destinations."""
