"""Getting a request to its destination, and judging what came of it."""
