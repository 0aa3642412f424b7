"""Values and small objects that all packages share."""
