"""What a reconciliation shows of a subject, as evidence: a recovery that no event reported."""

from collections.abc import Mapping, Sequence

import msgspec
from msgspec.structs import replace

from relay.core.container_facts import ContainerFacts
from relay.incidents.evidence import Evidence, Fact
from relay.incidents.life import Health, Life
from relay.incidents.subject import is_service


class ObservedContainer(msgspec.Struct, frozen=True):
    """A container as the engine shows it. Times are the engine's."""

    id: str
    name: str | None
    labels: Mapping[str, str]
    is_running: bool
    started_ns: int | None = None
    """Its last start; None if it was never started."""
    health: str | None = None
    """``starting``, ``healthy`` or ``unhealthy``; None if it has no health check."""
    will_restart: bool = True
    """False if it is down and its restart policy will not start it again."""
    facts: ContainerFacts | None = None
    """How it is configured, and how often it was restarted."""


class Observation(msgspec.Struct, frozen=True):
    """An engine's containers at one moment."""

    engine: str
    taken_ns: int
    """The engine's time. Events that happened before it were taken before it."""
    containers: Sequence[ObservedContainer]
    missing: frozenset[str] = frozenset()
    """The ids of containers, and of services that cannot start, that have an incident and that the
    engine does not list."""


def observe(life: Life, seen: ObservedContainer, observation: Observation) -> Life:
    """Return what is known of a subject after it was seen, with gaps in its past closed.

    Evidence that it gives has to be applied besides: see `find_evidence`.
    """
    if life.changed_ns >= observation.taken_ns or seen.id != life.container:
        return life
    if seen.is_running != life.is_up:
        return life
    will_restart = seen.is_running or seen.will_restart
    return replace(life, will_restart=will_restart, unknown_since_ns=None)


def find_evidence(life: Life, seen: ObservedContainer, observation: Observation) -> list[Evidence]:
    """Return the evidence that is new to an incident whose subject was seen."""
    taken_ns, engine = observation.taken_ns, observation.engine
    if life.changed_ns >= taken_ns or not seen.is_running:
        return []
    found = []
    started_ns = seen.started_ns or taken_ns
    known_ns = max(life.changed_ns, life.oom_ns, life.health_ns)
    if not life.is_up or (seen.id != life.container and started_ns > known_ns):
        at_ns = max(started_ns, life.changed_ns)
        found.append(Evidence(Fact.STARTED, at_ns, engine, seen.id))
    elif started_ns > known_ns:
        found.append(Evidence(Fact.STARTED, started_ns, engine, seen.id))
    match seen.health:
        case "healthy" if life.health is not Health.HEALTHY or found:
            found.append(Evidence(Fact.HEALTHY, taken_ns, engine, seen.id))
        case "unhealthy" if life.health is not Health.UNHEALTHY or found:
            found.append(Evidence(Fact.UNHEALTHY, taken_ns, engine, seen.id))
        case "starting" if life.health is None:
            found.append(Evidence(Fact.CHECKED, taken_ns, engine, seen.id))
        case _:
            pass
    return found


def find_absence(subject: str, life: Life, observation: Observation) -> Evidence | None:
    """Return the evidence of a subject that is no longer listed.

    A container is removed. Of services only those are listed that cannot start.
    """
    if life.changed_ns >= observation.taken_ns or life.ended is not None:
        return None
    if is_service(subject) and life.is_up:
        return None
    fact = Fact.STARTED if is_service(subject) else Fact.REMOVED
    return Evidence(fact, observation.taken_ns, observation.engine, life.container)
