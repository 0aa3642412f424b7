"""The tracker: which changes of a container's health are reported."""

from typing import TYPE_CHECKING

import msgspec

from tests.unit.ingest.docker.samples import (
    make_event,
    new_tracker,
    restore_tracker,
)

if TYPE_CHECKING:
    from relay.core.event import Event


def reported_healths(*steps: str | None, podman: bool) -> list[str | None]:
    """Return the healths that are reported of these; ``start`` is a start of the container."""
    tracker = new_tracker(podman=podman)
    reported: list[Event] = []
    for second, step in enumerate(steps):
        event = make_event("start" if step == "start" else "health_status", second=second)
        if step != "start":
            event = msgspec.structs.replace(event, health=step, detail=step)
        reported += tracker.on_event(event)
        tracker = restore_tracker(tracker)
    return [event.health for event in reported if event.action == "health_status"]


def test_podmans_health_is_reported_when_it_changes() -> None:
    """Podman sends an event after each check; 4.3 begins with ``starting``."""
    checks = ["start", "starting", "unhealthy", "unhealthy", "healthy", "healthy", "unhealthy"]
    assert reported_healths(*checks, podman=True) == ["unhealthy", "healthy", "unhealthy"]
    again = ["healthy", "start", "starting", "healthy", "start", "unhealthy", "start", "unhealthy"]
    expected = ["healthy", "healthy", "unhealthy", "unhealthy"]
    assert reported_healths(*again, podman=True) == expected


def test_what_is_no_known_health_is_always_reported() -> None:
    """Also if a version of Podman does not say it, or says something else."""
    assert reported_healths(None, None, podman=True) == [None, None]
    assert reported_healths("odd", "odd", podman=True) == ["odd", "odd"]
    assert reported_healths("unhealthy", "odd", "unhealthy", podman=True) == ["unhealthy", "odd"]


def test_dockers_health_is_reported_as_it_comes() -> None:
    """Docker sends changes only: two in a row mean that one between them was missed."""
    steps = ["start", "unhealthy", "unhealthy"]
    assert reported_healths(*steps, podman=False) == ["unhealthy", "unhealthy"]
