"""The HTTP client for deliveries."""
