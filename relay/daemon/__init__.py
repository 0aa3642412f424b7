"""Builds all components of relay, runs them and reloads the configuration."""
