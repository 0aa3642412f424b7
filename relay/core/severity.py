"""How serious an event is."""

from collections.abc import Mapping
from enum import StrEnum

from relay.core.event import Cause, Event


class Severity(StrEnum):
    """How serious an event is. Formats choose colour, emoji and priority by it."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


def default_severity(event: Event) -> Severity:
    """Derive the severity of an event from its action and cause.

    Critical: a container was killed for memory, crashed, cannot be started, or fails its health
    check; relay missed events, lost an engine, or cannot reach a destination. Warning: a container
    ended for an unknown reason or was killed; a node is down; a service has no replicas, or its
    update is paused or rolled back; relay gave up a delivery. Everything else is information.
    """
    match event.action:
        case "oom" | "start_failed" | "gap" | "engine_lost" | "destination_failing":
            return Severity.CRITICAL
        case "dead_letter":
            return Severity.WARNING
        case "die" if event.cause in (Cause.CRASHED, Cause.OOM):
            return Severity.CRITICAL
        case "health_status" if event.health == "unhealthy":
            return Severity.CRITICAL
        case "die" if event.cause is Cause.UNKNOWN:
            return Severity.WARNING
        case "kill":
            return Severity.WARNING
        case "update" if _is_worse(event):
            return Severity.WARNING
        case _:
            return Severity.INFO


# The values of moby's api/types/swarm: node.go (NodeState), service.go (UpdateState).
_WORSE: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "node": {"state.new": ("down", "disconnected")},
    "service": {
        "replicas.new": ("0",),
        "updatestate.new": ("paused", "rollback_started", "rollback_paused", "rollback_completed"),
    },
}


def _is_worse(event: Event) -> bool:
    """Whether an ``update`` leaves a node or a service in trouble. Other types have labels."""
    attributes = event.actor.attributes
    return any(
        attributes.get(name) in values for name, values in _WORSE.get(event.type, {}).items()
    )
