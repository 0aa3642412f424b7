"""Loop 1: reads the engines' event streams and commits what they cause to the store."""
