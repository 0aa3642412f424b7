"""Events of containers and of relay, on virtual time: t is in seconds from the first event."""

from collections.abc import Iterator, Mapping

from relay.core.event import Actor, Cause, Event, Origin, make_event_id, make_self_event

START_S = 1_800_000_000
"""The wall clock's time at t = 0."""

SECOND_NS = 1_000_000_000


def ns(t: float) -> int:
    """The time of t, in nanoseconds since 1970."""
    return (START_S * 1000 + round(t * 1000)) * 1_000_000


def seconds(time_ns: int) -> float:
    """The t of a time."""
    return round(time_ns / 1e9 - START_S, 3)


def event(  # noqa: PLR0913 - one argument for each field that matters to a test
    action: str,
    t: float,
    name: str = "web-1",
    *,
    id_: str = "",
    engine: str = "here",
    project: str | None = None,
    labels: Mapping[str, str] | None = None,
    cause: Cause | None = None,
    health: str | None = None,
    type_: str = "container",
) -> Event:
    """An event of a container."""
    attributes = {"name": name, "image": "bb:1", **(labels or {})}
    if project is not None:
        attributes["com.docker.compose.project"] = project
    id_ = id_ or f"id-of-{name}"
    detail = f"{action}: {health}" if health else action
    return Event(
        id=make_event_id(engine, ns(t), type_, detail, id_, attributes),
        engine=engine,
        host="node-1",
        type=type_,
        action=action,
        detail=health,
        scope="local",
        time_ns=ns(t),
        actor=Actor(id_, name, "bb:1", attributes),
        cause=cause,
        exit_code=None if cause is None else 3,
        health=health,
        origin=Origin.LIVE,
    )


def die(t: float, name: str = "web-1", cause: Cause = Cause.CRASHED, **fields: object) -> Event:
    """A death, by default a crash."""
    return event("die", t, name, cause=cause, **fields)  # type: ignore[arg-type]


def start(t: float, name: str = "web-1", **fields: object) -> Event:
    """A start."""
    return event("start", t, name, **fields)  # type: ignore[arg-type]


def health(t: float, state: str, name: str = "web-1", **fields: object) -> Event:
    """A change of health."""
    return event("health_status", t, name, health=state, **fields)  # type: ignore[arg-type]


def own(action: str, t: float, engine: str = "here", **attributes: str) -> Event:
    """One of relay's own events."""
    return make_self_event(
        action,
        engine=engine,
        host="node-1",
        time_ns=ns(t),
        name=attributes.get("destination", engine),
        attributes=attributes,
    )


def crash_loop(
    begin: float = 0.0, deaths: int = 69, life: float = 0.05, name: str = "web-1"
) -> Iterator[Event]:
    """A container with ``restart: always`` that dies soon after each start, then stays up.

    Docker waits 0.1 s before the first restart, then twice as long each time, up to a minute.
    """
    t, wait = begin, 0.1
    for _ in range(deaths):
        t += life
        yield die(t, name)
        t += wait
        wait = min(60.0, 2 * wait)
        yield start(t, name)
