"""Infers deaths that no event reported, from a snapshot of the engine's containers.

Events get lost: the engine's history is short, and a full buffer drops records. The reconciler
therefore inspects the containers beside the stream. If an inspection shows a death that no event
reported, relay makes the ``die`` itself, with the origin ``inferred``. Its id depends only on the
container and the time of its death, so it is the same however often the death is inferred. If the
engine's own event still arrives, it is recognised and not reported again.
"""

import asyncio
from dataclasses import dataclass, field

import msgspec
from msgspec.structs import replace

from relay.core.container import Container
from relay.core.event import SCOPE_SWARM, Actor, Cause, Event, Origin, make_event_id
from relay.ingest.docker.containers.cause import REQUEST_EXPIRY_NS, find_cause
from relay.ingest.docker.containers.run_time import find_inspected_run_time
from relay.ingest.docker.engine.inspection import ContainerSnapshot
from relay.ingest.docker.engine.swarm import ServiceFailure

UNKNOWN_EXIT_CODE = 255
"""The exit code that engines give a container whose end they did not observe: after a power cut."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An engine's containers at one moment, inspected beside the stream."""

    engine: str
    host: str
    taken_ns: int
    """The engine's time."""
    containers: tuple[ContainerSnapshot, ...] = ()
    """The inspected containers. Events that were on their way when they were inspected are
    processed before this snapshot."""
    missing: frozenset[str] = frozenset()
    """The ids of known containers that the engine did not list, twice."""
    failing_services: tuple[ServiceFailure, ...] = ()
    """The services of a Swarm whose tasks cannot start."""
    is_complete: bool = False
    """Whether all containers were inspected, and not only those that were known to run."""
    committed: asyncio.Event = field(default_factory=asyncio.Event, compare=False)
    """Set when this snapshot and everything received before it is committed."""


class BlindWindow(msgspec.Struct, frozen=True):
    """A period, in the engine's time, in which events may be missing."""

    from_ns: int
    until_ns: int

    def may_hide_request(self, container: Container, died_ns: int) -> bool:
        """Whether a request that explains the death may be missing: of this life, not expired."""
        started_ns = container.started_ns or 0
        if started_ns > died_ns:  # the start of the next life
            started_ns = 0
        begin_ns = max(started_ns, died_ns - REQUEST_EXPIRY_NS)
        return self.from_ns < died_ns and begin_ns < self.until_ns


def is_unreported(
    known: Container | None, inspected: ContainerSnapshot, reported_until_ns: int
) -> bool:
    """Whether the container's last death is later than any that was reported.

    An engine notes the time of a death before it sends the event (moby, ``daemon/monitor.go``), so
    the event's time is never earlier. Of an unknown container, deaths up to ``reported_until_ns``
    count as reported.
    """
    if inspected.finished_ns is None:
        return False
    reported_ns = 0 if known is None else max(known.died_ns or 0, known.inferred_ns or 0)
    return inspected.finished_ns > max(reported_until_ns, reported_ns)


def matches_inferred(container: Container, death: Event) -> bool:
    """Whether a ``die`` reports the death that was inferred: no start is between the two."""
    inferred_ns = container.inferred_ns
    if inferred_ns is None or death.time_ns < inferred_ns:
        return False
    return _is_same_life(container, inferred_ns, death.time_ns)


def matches_inferred_oom(container: Container, oom: Event) -> bool:
    """Whether an ``oom`` belongs to the life whose kill for memory was inferred."""
    inferred_ns = container.oom_inferred_ns
    return inferred_ns is not None and _is_same_life(container, inferred_ns, oom.time_ns)


def _is_same_life(container: Container, one_ns: int, other_ns: int) -> bool:
    """Whether the container's last start is not between the two times."""
    return not min(one_ns, other_ns) < (container.started_ns or 0) <= max(one_ns, other_ns)


def infer_death(
    container: Container,
    inspected: ContainerSnapshot,
    snapshot: Snapshot,
    blind_window: BlindWindow | None,
) -> list[Event]:
    """Make the ``die`` of an unreported death, after an ``oom`` if it was killed for memory.

    ``blind_window`` is the period in which a request may have been missed.
    """
    assert inspected.finished_ns is not None, "a death has a time"
    # The state of a container does not keep long labels; the inspection has them.
    container = replace(container, labels=inspected.labels or container.labels)
    died_ns = inspected.finished_ns
    if inspected.proves_stop(container):
        container = replace(container, requested_ns=died_ns)
    may_have_missed = (
        blind_window is not None
        and blind_window.may_hide_request(container, died_ns)
        and inspected.stopped_by_user is not False
    )
    exit_code = None if inspected.exit_code == UNKNOWN_EXIT_CODE else inspected.exit_code
    cause = find_cause(
        container,
        died_ns,
        exit_code,
        inspection_shows_oom=inspected.oom_killed,
        may_have_missed_request=may_have_missed,
    )
    death = _make_inferred_event(
        "die", container, snapshot, died_ns, died_ns, cause, inspected.exit_code
    )
    death = replace(death, ran_ns=find_inspected_run_time(container, inspected))
    if inspected.oom_killed and container.oom_ns is None:
        return [_make_inferred_event("oom", container, snapshot, died_ns, died_ns), death]
    return [death]


def infer_end(container: Container, snapshot: Snapshot) -> Event:
    """Make the ``die`` of a container that ran and is now gone, or seems never to have run.

    Nobody knows when it ended and with which exit code.
    """
    assert container.started_ns is not None, "it ran"
    cause = find_cause(container, snapshot.taken_ns, None)
    return _make_inferred_event(
        "die", container, snapshot, snapshot.taken_ns, container.started_ns, cause
    )


def infer_oom(death: Event) -> Event:
    """Make the ``oom`` that precedes a ``die``, if inspection shows it and no event reported it."""
    snapshot = Snapshot(death.engine, death.host, death.time_ns)
    actor = death.actor
    attributes = {key: text for key, text in actor.attributes.items() if key != "exitCode"}
    container = Container(
        actor.id, actor.name, actor.image, attributes, interactive=death.interactive
    )
    return _make_inferred_event("oom", container, snapshot, death.time_ns, death.time_ns)


def infer_service_failure(failure: ServiceFailure, snapshot: Snapshot) -> Event:
    """Make the ``start_failed`` of a Swarm's service whose tasks cannot start."""
    named = {"name": failure.name} if failure.name else {}
    wire_action = "start_failed: inferred"
    return Event(
        id=make_event_id(
            snapshot.engine, failure.failed_ns, "service", wire_action, failure.id, {}, SCOPE_SWARM
        ),
        engine=snapshot.engine,
        host=snapshot.host,
        type="service",
        action="start_failed",
        detail=None,
        scope=SCOPE_SWARM,
        time_ns=snapshot.taken_ns,
        actor=Actor(failure.id, failure.name, None, {**named, "error": failure.error}),
        origin=Origin.INFERRED,
    )


def infer_start_failure(
    container: Container, inspected: ContainerSnapshot, snapshot: Snapshot, error: str
) -> Event:
    """Make the ``start_failed`` of a container that should run and does not.

    Its id does not depend on when that was found, only on when the container last ran.
    """
    last_ns = max(inspected.started_ns or 0, inspected.finished_ns or 0)
    event = _make_inferred_event("start_failed", container, snapshot, snapshot.taken_ns, last_ns)
    facts = {"error": error, "restartPolicy": inspected.restart_policy}
    actor = replace(event.actor, attributes={**event.actor.attributes, **facts})
    return replace(event, actor=actor)


def _make_inferred_event(
    action: str,
    container: Container,
    snapshot: Snapshot,
    time_ns: int,
    identity_ns: int,
    cause: Cause | None = None,
    exit_code: int | None = None,
) -> Event:
    """Make an event. ``identity_ns`` goes into its id, so inferring it again gives the same id."""
    named = {"image": container.image, "name": container.name}
    attributes = dict(container.labels) | {key: text for key, text in named.items() if text}
    if exit_code is not None:
        attributes["exitCode"] = str(exit_code)
    wire_action = f"{action}: inferred"
    return Event(
        id=make_event_id(snapshot.engine, identity_ns, "container", wire_action, container.id, {}),
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
        interactive=bool(container.interactive),
    )
