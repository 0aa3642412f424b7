"""Containers that should run and do not: reported once, and not if somebody stopped them."""

import dataclasses
from typing import Any

import pytest
from msgspec.structs import replace

from relay.core.event import Event, Origin
from relay.ingest.docker.containers.registry import ContainerRegistry
from relay.ingest.docker.containers.start_failure import NOT_STARTED_AGAIN
from relay.ingest.docker.containers.tracker import ContainerTracker
from relay.ingest.docker.engine.inspection import ContainerSnapshot
from relay.ingest.docker.engine.swarm import ServiceFailure
from tests.unit.ingest.docker.samples import (
    actions,
    at,
    make_container_snapshot,
    make_event,
    make_snapshot,
    new_tracker,
    restore_tracker,
)

ERROR = "stat /srv/data: no such file or directory"


def inspected(
    policy: str = "always", error: str = "", *, finished: float | None = 5, **other: Any
) -> ContainerSnapshot:
    """A container with this policy that ran from second 0 to ``finished``."""
    found = make_container_snapshot(started=0, finished=finished, exit_code=3)
    return replace(found, restart_policy=policy, start_error=error, **other)


def known_tracker(policy: str = "always") -> ContainerTracker:
    """A tracker that saw the container start, and inspected it."""
    tracker = new_tracker()
    tracker.on_event(make_event("start"))
    tracker.on_snapshot(make_snapshot(inspected(policy, finished=None), second=1), None)
    return tracker


def look(tracker: ContainerTracker, *containers: ContainerSnapshot, second: float) -> list[Event]:
    return tracker.on_snapshot(make_snapshot(*containers, second=second), None)


@pytest.mark.parametrize("policy", ["always", "unless-stopped", "on-failure"])
def test_a_start_that_failed(policy: str) -> None:
    """The event has the engine's error, the policy, and the time at which it was found."""
    tracker = known_tracker(policy)
    tracker.on_event(make_event("die", 3, second=5.01))
    (event,) = look(tracker, inspected(policy, ERROR), second=6)
    assert (event.action, event.origin, event.time_ns) == ("start_failed", Origin.INFERRED, at(6))
    assert event.actor.name == "web"
    assert event.actor.attributes["error"] == ERROR
    assert event.actor.attributes["restartPolicy"] == policy


def test_it_is_reported_once() -> None:
    """Also by the next process; under the same id if the store was lost; again after a start."""
    tracker = known_tracker()
    tracker.on_event(make_event("die", 3, second=5.01))
    lost = restore_tracker(tracker)
    (event,) = look(tracker, inspected(error=ERROR), second=6)
    assert look(tracker, inspected(error="another"), second=300) == []
    assert look(restore_tracker(tracker), inspected(error=ERROR), second=600) == []
    assert [it.id for it in look(lost, inspected(error=ERROR), second=900)] == [event.id]
    tracker.on_event(make_event("start", second=901))
    tracker.on_event(make_event("die", 3, second=910.01))
    again = replace(inspected(error=ERROR), started_ns=at(901), finished_ns=at(910))
    (second,) = look(tracker, again, second=1000)
    assert second.id != event.id


def test_a_container_that_never_started() -> None:
    """It was created after relay first connected, and its command does not exist."""
    tracker = ContainerTracker(ContainerRegistry(reported_until_ns=at(0)))
    tracker.on_event(make_event("create", second=1))
    never = replace(make_container_snapshot(), restart_policy="always", start_error=ERROR)
    assert actions(look(tracker, never, second=2)) == ["start_failed"]


def test_what_failed_before_relay_came_is_not_reported() -> None:
    """As deaths before that are not."""
    tracker = ContainerTracker(ContainerRegistry(reported_until_ns=at(10)))
    old = inspected(error=ERROR, created_ns=at(0))
    assert look(tracker, old, second=11) == []
    assert not tracker.needs_inspection("c")
    new = replace(inspected(error=ERROR, created_ns=at(11), finished=None), id="d")
    new = replace(new, started_ns=None, is_running=False)
    assert actions(look(tracker, new, second=12)) == ["start_failed"]


@pytest.mark.parametrize(
    "shown",
    [
        inspected("no", ERROR),
        inspected(error=ERROR, is_restarting=True),
        inspected(error=ERROR, finished=None),
        inspected("on-failure"),
    ],
    ids=["no policy", "waits for its next restart", "runs", "used up its attempts"],
)
def test_a_container_that_need_not_run(shown: ContainerSnapshot) -> None:
    """Nothing is reported of it."""
    tracker = known_tracker(shown.restart_policy)
    tracker.on_event(make_event("die", 3, second=5.01))
    assert "start_failed" not in actions(look(tracker, shown, second=100))


def test_it_ended_and_was_not_started_again() -> None:
    """After a moment, in which its policy may start it, it is reported like a failed start."""
    tracker = known_tracker()
    tracker.on_event(make_event("die", 0, second=5.01))
    assert look(tracker, inspected(), second=6) == []
    (event,) = look(restore_tracker(tracker), inspected(), second=100)
    assert event.actor.attributes["error"] == NOT_STARTED_AGAIN


def test_somebody_stopped_it() -> None:
    """Then it need not run, also if it was stopped while it waited for its next restart."""
    tracker = known_tracker()
    tracker.on_event(make_event("kill", 15, second=4))
    tracker.on_event(make_event("die", 3, second=5.01))
    assert look(tracker, inspected(), second=100) == []
    waiting = known_tracker()
    waiting.on_event(make_event("die", 3, second=5.01))
    waiting.on_event(make_event("stop", second=30))
    assert look(waiting, inspected(), second=100) == []


def test_an_inferred_death_counts_like_a_reported_one() -> None:
    """The next look reports that it does not run again."""
    tracker = known_tracker()
    assert actions(look(tracker, inspected(), second=100)) == ["die", "start_failed"]


def test_which_dead_containers_are_inspected_again() -> None:
    """Those of an unknown policy once, and those that may still fail to start."""
    tracker = new_tracker()
    tracker.on_event(make_event("start"))
    tracker.on_event(make_event("die", 3, second=5.01))
    assert tracker.needs_inspection("c")
    look(tracker, inspected("no"), second=6)
    assert not tracker.needs_inspection("c")
    look(tracker, inspected("always"), second=7)
    assert tracker.needs_inspection("c")
    look(tracker, inspected("always", ERROR), second=8)
    assert not tracker.needs_inspection("c")


def look_at_services(tracker: ContainerTracker, *services: str, second: float) -> list[Event]:
    """Give the tracker a snapshot; services that it knows and that do not fail are missing."""
    failures = tuple(ServiceFailure(it, f"name of {it}", ERROR, at(second)) for it in services)
    missing = tuple(tracker.find_missing(services))
    snapshot = make_snapshot(second=second, missing=missing)
    return tracker.on_snapshot(dataclasses.replace(snapshot, failing_services=failures), None)


def test_a_service_of_a_swarm() -> None:
    """It is reported once, also by the next process, and again if it fails after it worked."""
    tracker = new_tracker()
    (event,) = look_at_services(tracker, "s", second=1)
    assert (event.type, event.action, event.scope) == ("service", "start_failed", "swarm")
    assert (event.actor.id, event.actor.name) == ("s", "name of s")
    assert event.actor.attributes == {"name": "name of s", "error": ERROR}
    assert look_at_services(tracker, "s", second=2) == []
    later = restore_tracker(tracker)
    assert [it.actor.id for it in look_at_services(later, "s", "t", second=3)] == ["t"]
    assert look_at_services(later, second=4) == []
    assert [it.actor.id for it in look_at_services(later, "s", second=5)] == ["s"]
