"""The Docker Engine (and Podman) as a source of events."""
