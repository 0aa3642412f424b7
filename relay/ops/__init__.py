"""Running relay: what it says of itself."""
