"""Deaths that no event told of, told from what a look at the containers shows."""

import asyncio
from dataclasses import dataclass, field

from msgspec.structs import replace

from relay.core.container import Container
from relay.core.event import Actor, Cause, Event, Origin, make_event_id
from relay.ingest.docker.containers.cause import REQUEST_EXPIRY_NS, find_cause
from relay.ingest.docker.engine.inspection import ContainerSnapshot

UNKNOWN_EXIT_CODE = 255
"""The exit code that engines give a container whose end they did not see: after a power cut."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An engine's containers, looked at beside the stream."""

    engine: str
    host: str
    taken_ns: int
    """The engine's time."""
    containers: tuple[ContainerSnapshot, ...] = ()
    """Of those that were inspected, some moments ago: the events that were on their way then have
    come since."""
    missing: frozenset[str] = frozenset()
    """The ids of those that were known and that the engine did not list, twice."""
    is_complete: bool = False
    """Whether all containers were inspected, and not only those that were seen running."""
    committed: asyncio.Event = field(default_factory=asyncio.Event, compare=False)
    """Set once this and all that was read before it is committed."""


@dataclass(frozen=True, slots=True)
class BlindWindow:
    """A stretch of an engine's time of which events may be missing."""

    from_ns: int
    until_ns: int

    def may_hide_request(self, container: Container, died_ns: int) -> bool:
        """Whether a request that explains the death can lie in it: in the same life, and recent."""
        started_ns = container.started_ns or 0
        if started_ns > died_ns:  # that is the next life
            started_ns = 0
        begin_ns = max(started_ns, died_ns - REQUEST_EXPIRY_NS)
        return self.from_ns < died_ns and begin_ns < self.until_ns


def is_unreported(
    known: Container | None, inspected: ContainerSnapshot, reported_until_ns: int
) -> bool:
    """Whether its last death is later than any that was told.

    An engine notes the time of a death before it sends the event (moby, ``daemon/monitor.go``), so
    the event's time is never before it. Of a container that is not known, deaths up to
    ``assumed_ns`` count as told.
    """
    if inspected.finished_ns is None:
        return False
    told_ns = 0 if known is None else max(known.died_ns or 0, known.inferred_ns or 0)
    return inspected.finished_ns > max(reported_until_ns, told_ns)


def matches_inferred(container: Container, death: Event) -> bool:
    """Whether a ``die`` is the one that was inferred: no start lies between the two."""
    inferred_ns = container.inferred_ns
    if inferred_ns is None or death.time_ns < inferred_ns:
        return False
    return _is_same_life(container, inferred_ns, death.time_ns)


def matches_inferred_oom(container: Container, oom: Event) -> bool:
    """Whether an ``oom`` belongs to the life whose end by memory was inferred."""
    inferred_ns = container.oom_inferred_ns
    return inferred_ns is not None and _is_same_life(container, inferred_ns, oom.time_ns)


def _is_same_life(container: Container, one_ns: int, other_ns: int) -> bool:
    """Whether its last start does not lie between the two."""
    return not min(one_ns, other_ns) < (container.started_ns or 0) <= max(one_ns, other_ns)


def infer_death(
    container: Container,
    inspected: ContainerSnapshot,
    snapshot: Snapshot,
    blind_window: BlindWindow | None,
) -> list[Event]:
    """The ``die`` of a death that nothing told of, behind an ``oom`` if that is what it was.

    ``unheard`` is the stretch in which a request can have been missed.
    """
    assert inspected.finished_ns is not None, "a death has a time"
    # Of what is known, long labels are not kept.
    container = replace(container, labels=inspected.labels or container.labels)
    died_ns = inspected.finished_ns
    deaf = blind_window is not None and blind_window.may_hide_request(container, died_ns)
    code = None if inspected.exit_code == UNKNOWN_EXIT_CODE else inspected.exit_code
    why = find_cause(
        container,
        died_ns,
        code,
        inspection_shows_oom=inspected.oom_killed,
        may_have_missed_request=deaf,
    )
    death = _make_inferred_event(
        "die", container, snapshot, died_ns, died_ns, why, inspected.exit_code
    )
    if inspected.oom_killed and container.oom_ns is None:
        return [_make_inferred_event("oom", container, snapshot, died_ns, died_ns), death]
    return [death]


def infer_end(container: Container, snapshot: Snapshot) -> Event:
    """The ``die`` of a container that ran, and is gone or as if it never had: nobody can say when
    it ended, and with what code.
    """
    assert container.started_ns is not None, "it ran"
    why = find_cause(container, snapshot.taken_ns, None)
    return _make_inferred_event(
        "die", container, snapshot, snapshot.taken_ns, container.started_ns, why
    )


def infer_oom(death: Event) -> Event:
    """The ``oom`` that belongs before a ``die``, where inspection shows it and no event did."""
    look = Snapshot(death.engine, death.host, death.time_ns)
    actor = death.actor
    facts = {key: text for key, text in actor.attributes.items() if key != "exitCode"}
    container = Container(actor.id, actor.name, actor.image, facts)
    return _make_inferred_event("oom", container, look, death.time_ns, death.time_ns)


def _make_inferred_event(
    action: str,
    container: Container,
    snapshot: Snapshot,
    time_ns: int,
    identity_ns: int,
    cause: Cause | None = None,
    exit_code: int | None = None,
) -> Event:
    """``identity_ns`` is of the happening, and the same however often it is inferred."""
    named = {"image": container.image, "name": container.name}
    attributes = dict(container.labels) | {key: text for key, text in named.items() if text}
    if exit_code is not None:
        attributes["exitCode"] = str(exit_code)
    return Event(
        id=make_event_id(
            snapshot.engine, identity_ns, "container", f"{action}: inferred", container.id, {}
        ),
        engine=snapshot.engine,
        host=snapshot.host,
        type="container",
        action=action,
        detail=None,
        scope="local",
        time_ns=time_ns,
        actor=Actor(container.id, container.name, container.image, attributes),
        cause=cause,
        exit_code=exit_code,
        origin=Origin.INFERRED,
    )
