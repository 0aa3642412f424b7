"""Evidence: what an event, or an inspection, says about how its subject is.

Every event is evidence for the incidents of its subject, whether or not a route takes it.
"""

from enum import StrEnum

import msgspec

from relay.core.event import RELAY_ENGINE, TYPE_RELAY, Cause, Event, is_self_event, source_of


class Fact(StrEnum):
    """What happened to a subject."""

    STARTED = "started"
    DIED = "died"
    """It ended and nobody had asked for it, with an error or for an unknown reason."""
    FINISHED = "finished"
    """It ended with exit code 0 and nobody had asked for it."""
    STOPPED = "stopped"
    """It ended because somebody asked for it."""
    STOP_ASKED = "stop_asked"
    """Somebody asked it to stop. That is all there is to hear if it waits for its next restart."""
    REMOVED = "removed"
    START_FAILED = "start_failed"
    OOM = "oom"
    """The kernel killed one of its processes for memory. It may still be up."""
    UNHEALTHY = "unhealthy"
    HEALTHY = "healthy"
    CHECKED = "checked"
    """It is up and has a health check, which has not come to a result yet."""


PROBLEMS = frozenset({Fact.DIED, Fact.OOM, Fact.UNHEALTHY, Fact.START_FAILED})
"""The facts that are problems by themselves. `Fact.FINISHED` is one if it happens too often, and
`Fact.UNHEALTHY` is one only the first time: see `life.is_problem`."""

HEALTH_FACTS = frozenset({Fact.UNHEALTHY, Fact.HEALTHY, Fact.CHECKED})


class Evidence(msgspec.Struct, frozen=True):
    """One fact about a subject."""

    fact: Fact
    time_ns: int
    """By the engine's clock."""
    engine: str
    """The key of the engine whose clock that is; `RELAY_ENGINE` for relay's own."""
    container: str = ""
    """The id of the container, or of the service; empty for relay's own subjects."""


_FACTS: dict[str, Fact] = {
    "start": Fact.STARTED,
    "stop": Fact.STOP_ASKED,
    "destroy": Fact.REMOVED,
    "remove": Fact.REMOVED,  # Podman's
    "start_failed": Fact.START_FAILED,
    "oom": Fact.OOM,
}
_OWN_FACTS: dict[str, Fact] = {
    "engine_lost": Fact.DIED,
    "engine_back": Fact.STARTED,
    "destination_failing": Fact.DIED,
    "destination_recovered": Fact.STARTED,
}
_SERVICE_FACTS: dict[str, Fact] = {
    "start_failed": Fact.START_FAILED,
    "remove": Fact.REMOVED,
}
_DEATHS: dict[Cause | None, Fact] = {
    Cause.REQUESTED: Fact.STOPPED,
    Cause.FINISHED: Fact.FINISHED,
}
_HEALTH: dict[str | None, Fact] = {"unhealthy": Fact.UNHEALTHY, "healthy": Fact.HEALTHY}


def find_fact(event: Event) -> Fact | None:
    """Return what an event says about its subject; None if it says nothing about how that is."""
    if event.type == TYPE_RELAY:
        return _OWN_FACTS.get(event.action)
    if event.type == "service":
        return _SERVICE_FACTS.get(event.action)
    if event.type != "container":
        return None
    if event.action == "die":
        return _DEATHS.get(event.cause, Fact.DIED)
    if event.action == "health_status":
        return _HEALTH.get(event.health)
    return _FACTS.get(event.action)


def find_evidence(event: Event) -> Evidence | None:
    """Return the evidence that an event gives; None if it gives none."""
    fact = find_fact(event)
    if fact is None:
        return None
    if is_self_event(event):  # these carry the time of relay's clock
        return Evidence(fact, event.time_ns, RELAY_ENGINE)
    return Evidence(fact, event.time_ns, source_of(event), event.actor.id)
