"""Runs a configuration against given events without a daemon and without delivering."""
