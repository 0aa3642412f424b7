"""Events and snapshots of containers, and trackers."""

from collections.abc import Mapping

import msgspec

from relay.core.container import Container
from relay.core.event import Actor, Event, make_event_id
from relay.ingest.docker.containers.inference import Snapshot
from relay.ingest.docker.containers.registry import ContainerRegistry
from relay.ingest.docker.containers.tracker import ContainerTracker
from relay.ingest.docker.engine.inspection import ContainerSnapshot

SECOND_NS = 10**9
NOON_NS = 1795435200 * SECOND_NS


def at(second: float) -> int:
    """The time this many seconds after noon."""
    return NOON_NS + int(second * SECOND_NS)


def make_event(
    action: str,
    number: int | None = None,
    *,
    second: float = 0,
    id_: str = "c",
    type_: str = "container",
    labels: Mapping[str, str] | None = None,
    scope: str = "local",
) -> Event:
    """An event as the parser returns it; ``number`` is the exit code, or a ``kill``'s signal."""
    attributes = {"name": "web", "image": "bb:1"}
    if number is not None:
        attributes["signal" if action == "kill" else "exitCode"] = str(number)
    attributes |= labels or {}
    return Event(
        id=make_event_id("here", at(second), type_, action, id_, attributes),
        engine="here",
        host="node-1",
        type=type_,
        action=action,
        detail=None,
        scope=scope,
        time_ns=at(second),
        actor=Actor(id_, "web", "bb:1", attributes),
        exit_code=number if action == "die" else None,
        signal=number if action == "kill" else None,
    )


def make_container_snapshot(
    *,
    id_: str = "c",
    started: float | None = None,
    finished: float | None = None,
    exit_code: int | None = None,
    oom_killed: bool = False,
    labels: Mapping[str, str] | None = None,
    stop_signal: int | None = None,
) -> ContainerSnapshot:
    """The snapshot of a container that started and died at these seconds.

    It is running if it started after it died.
    """
    is_running = started is not None and (finished is None or finished < started)
    return ContainerSnapshot(
        id=id_,
        name="web",
        image="bb:1",
        labels=labels or {},
        is_running=is_running,
        started_ns=None if started is None else at(started),
        finished_ns=None if finished is None else at(finished),
        exit_code=exit_code,
        oom_killed=oom_killed,
        stop_signal=stop_signal,
        hiding_labels=frozenset(labels or {}) & {"exitCode", "signal"},
    )


def make_snapshot(
    *containers: ContainerSnapshot, second: float = 1000, missing: tuple[str, ...] = ()
) -> Snapshot:
    """A complete snapshot of an engine's containers."""
    return Snapshot("here", "node-1", at(second), containers, frozenset(missing), is_complete=True)


def actions(events: list[Event]) -> list[str]:
    """The actions of the events."""
    return [event.action for event in events]


def new_tracker(*, podman: bool = False) -> ContainerTracker:
    """A tracker without containers."""
    return ContainerTracker(ContainerRegistry(), podman=podman)


def restore_tracker(tracker: ContainerTracker) -> ContainerTracker:
    """The tracker of another process, restored from what this one stored."""
    containers = [
        msgspec.json.decode(msgspec.json.encode(container), type=Container)
        for container in tracker.registry.list_all()
    ]
    return ContainerTracker(
        ContainerRegistry(containers, tracker.registry.reported_until_ns), podman=tracker.podman
    )


DEAD = make_container_snapshot(started=0, finished=5, exit_code=3)


def tracker_with_running() -> ContainerTracker:
    """Return a tracker that received the start of a container."""
    tracker = new_tracker()
    tracker.on_event(make_event("start"))
    return tracker
