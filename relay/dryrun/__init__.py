"""Runs a configuration on given events with the daemon's own code, but without a daemon.

`relay test`, `relay replay` and `relay tail --since` are built on it. Only `relay.dryrun.deliver`
sends anything.
"""
