"""relay killed at named points, again and again, and what arrives all the same."""
