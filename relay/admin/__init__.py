"""Operating a running relay: HTTP and control socket, authentication, metrics, live events."""
