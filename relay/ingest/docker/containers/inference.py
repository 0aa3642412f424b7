"""Deaths that no event told of, told from what a look at the containers shows."""

import asyncio
from dataclasses import dataclass, field

from msgspec.structs import replace

from relay.core.container import Container
from relay.core.event import Actor, Cause, Event, Origin, event_id
from relay.ingest.docker.containers.cause import EXPIRY_NS, cause
from relay.ingest.docker.engine.inspection import Sighting

NOBODY_KNOWS = 255
"""The exit code that engines give a container whose end they did not see: after a power cut."""


@dataclass(frozen=True, slots=True)
class Look:
    """An engine's containers, looked at beside the stream."""

    engine: str
    host: str
    taken_ns: int
    """The engine's time."""
    sightings: tuple[Sighting, ...] = ()
    """Of those that were inspected, some moments ago: the events that were on their way then have
    come since."""
    missing: frozenset[str] = frozenset()
    """The ids of those that were known and that the engine did not list, twice."""
    thorough: bool = False
    """Whether all containers were inspected, and not only those that were seen running."""
    digested: asyncio.Event = field(default_factory=asyncio.Event, compare=False)
    """Set once this and all that was read before it is committed."""


@dataclass(frozen=True, slots=True)
class Unheard:
    """A stretch of an engine's time of which events may be missing."""

    from_ns: int
    until_ns: int

    def may_explain(self, container: Container, died_ns: int) -> bool:
        """Whether a request that explains the death can lie in it: in the same life, and recent."""
        started_ns = container.started_ns or 0
        if started_ns > died_ns:  # that is the next life
            started_ns = 0
        begin_ns = max(started_ns, died_ns - EXPIRY_NS)
        return self.from_ns < died_ns and begin_ns < self.until_ns


def is_untold(known: Container | None, seen: Sighting, assumed_ns: int) -> bool:
    """Whether its last death is later than any that was told.

    An engine notes the time of a death before it sends the event (moby, ``daemon/monitor.go``), so
    the event's time is never before it. Of a container that is not known, deaths up to
    ``assumed_ns`` count as told.
    """
    if seen.finished_ns is None:
        return False
    told_ns = 0 if known is None else max(known.died_ns or 0, known.inferred_ns or 0)
    return seen.finished_ns > max(assumed_ns, told_ns)


def was_inferred(container: Container, death: Event) -> bool:
    """Whether a ``die`` is the one that was inferred: no start lies between the two."""
    inferred_ns = container.inferred_ns
    if inferred_ns is None or death.time_ns < inferred_ns:
        return False
    return _of_one_life(container, inferred_ns, death.time_ns)


def oom_was_inferred(container: Container, oom: Event) -> bool:
    """Whether an ``oom`` belongs to the life whose end by memory was inferred."""
    inferred_ns = container.oom_inferred_ns
    return inferred_ns is not None and _of_one_life(container, inferred_ns, oom.time_ns)


def _of_one_life(container: Container, one_ns: int, other_ns: int) -> bool:
    """Whether its last start does not lie between the two."""
    return not min(one_ns, other_ns) < (container.started_ns or 0) <= max(one_ns, other_ns)


def unseen_death(
    container: Container, seen: Sighting, look: Look, unheard: Unheard | None
) -> list[Event]:
    """The ``die`` of a death that nothing told of, behind an ``oom`` if that is what it was.

    ``unheard`` is the stretch in which a request can have been missed.
    """
    assert seen.finished_ns is not None, "a death has a time"
    # Of what is known, long labels are not kept.
    container = replace(container, labels=seen.labels or container.labels)
    died_ns = seen.finished_ns
    deaf = unheard is not None and unheard.may_explain(container, died_ns)
    code = None if seen.exit_code == NOBODY_KNOWS else seen.exit_code
    why = cause(container, died_ns, code, oom_seen=seen.oom_killed, unheard=deaf)
    death = _inferred("die", container, look, died_ns, died_ns, why, seen.exit_code)
    if seen.oom_killed and container.oom_ns is None:
        return [_inferred("oom", container, look, died_ns, died_ns), death]
    return [death]


def unseen_end(container: Container, look: Look) -> Event:
    """The ``die`` of a container that ran, and is gone or as if it never had: nobody can say when
    it ended, and with what code.
    """
    assert container.started_ns is not None, "it ran"
    why = cause(container, look.taken_ns, None)
    return _inferred("die", container, look, look.taken_ns, container.started_ns, why)


def unsent_oom(death: Event) -> Event:
    """The ``oom`` that belongs before a ``die``, where inspection shows it and no event did."""
    look = Look(death.engine, death.host, death.time_ns)
    actor = death.actor
    facts = {key: text for key, text in actor.attributes.items() if key != "exitCode"}
    container = Container(actor.id, actor.name, actor.image, facts)
    return _inferred("oom", container, look, death.time_ns, death.time_ns)


def _inferred(
    action: str,
    container: Container,
    look: Look,
    time_ns: int,
    identity_ns: int,
    why: Cause | None = None,
    exit_code: int | None = None,
) -> Event:
    """``identity_ns`` is of the happening, and the same however often it is inferred."""
    named = {"image": container.image, "name": container.name}
    attributes = dict(container.labels) | {key: text for key, text in named.items() if text}
    if exit_code is not None:
        attributes["exitCode"] = str(exit_code)
    return Event(
        id=event_id(look.engine, identity_ns, "container", f"{action}: inferred", container.id, {}),
        engine=look.engine,
        host=look.host,
        type="container",
        action=action,
        detail=None,
        scope="local",
        time_ns=time_ns,
        actor=Actor(container.id, container.name, container.image, attributes),
        cause=why,
        exit_code=exit_code,
        origin=Origin.INFERRED,
    )
