"""Containers that were reset: a snapshot shows them as if they had never run."""

import pytest

from relay.core.event import Cause, Origin
from relay.ingest.docker.containers.registry import ContainerRegistry
from relay.ingest.docker.containers.tracker import ContainerTracker
from relay.ingest.docker.engine.inspection import ContainerSnapshot
from tests.unit.ingest.docker.samples import (
    DEAD,
    actions,
    at,
    make_container_snapshot,
    make_event,
    make_snapshot,
    new_tracker,
    restore_tracker,
    tracker_with_running,
)

RESET = {
    "never": make_container_snapshot(),
    "not since": make_container_snapshot(finished=-50, exit_code=0),
}
"""As if it had not been started since."""


@pytest.mark.parametrize("inspected", RESET.values(), ids=RESET)
@pytest.mark.parametrize("requested", [False, True])
def test_a_container_that_seems_never_to_have_run(
    inspected: ContainerSnapshot, requested: bool
) -> None:
    """Podman, after a reboot of its host: it died, which is reported once."""
    tracker = new_tracker(podman=True)
    tracker.on_event(make_event("die", 0, second=-50))
    tracker.on_event(make_event("start"))
    if requested:
        tracker.on_event(make_event("stop", second=900))
    (end,) = tracker.on_snapshot(make_snapshot(inspected), None)
    assert (end.action, end.origin, end.time_ns) == ("die", Origin.INFERRED, at(1000))
    cause = Cause.REQUESTED if requested else Cause.UNKNOWN
    assert (end.exit_code, end.cause) == (None, cause)
    assert not tracker.needs_inspection("c")
    assert tracker.on_snapshot(make_snapshot(inspected, second=2000), None) == []
    tracker = restore_tracker(tracker)
    assert tracker.on_snapshot(make_snapshot(inspected, second=3000), None) == []
    assert tracker.on_snapshot(make_snapshot(missing=("c",)), None) == []


def test_the_next_life_of_a_container_that_was_reset() -> None:
    """It ends by a death of its own, whether an event or a snapshot shows it."""
    tracker = tracker_with_running()
    tracker.on_snapshot(make_snapshot(make_container_snapshot()), None)
    tracker.on_event(make_event("start", second=1100))
    assert actions(tracker.on_event(make_event("die", 3, second=1200))) == ["die"]
    tracker = tracker_with_running()
    tracker.on_snapshot(make_snapshot(make_container_snapshot()), None)
    tracker.on_event(make_event("start", second=1100))
    (death,) = tracker.on_snapshot(
        make_snapshot(
            make_container_snapshot(started=1100, finished=1200, exit_code=3), second=2000
        ),
        None,
    )
    assert death.time_ns == at(1200)


@pytest.mark.parametrize("started", [996, 1000, 1003, 1100])
def test_a_container_that_starts_around_a_snapshot_was_not_reset(started: float) -> None:
    """The snapshot was taken before it, by clocks that are not quite equal."""
    tracker = new_tracker()
    tracker.on_event(make_event("start", second=started))
    assert tracker.on_snapshot(make_snapshot(make_container_snapshot()), None) == []
    assert actions(tracker.on_event(make_event("die", 3, second=1200))) == ["die"]


def test_a_container_whose_death_counts_as_reported_was_not_reset() -> None:
    """The snapshot shows when it died."""
    tracker = ContainerTracker(ContainerRegistry(reported_until_ns=at(6)))
    tracker.on_event(make_event("start"))
    assert tracker.on_snapshot(make_snapshot(DEAD), None) == []


def test_a_running_container_was_not_reset() -> None:
    """A running container, or one that is not known to have run, was not reset."""
    assert (
        tracker_with_running().on_snapshot(make_snapshot(make_container_snapshot(started=0)), None)
        == []
    )
    tracker = tracker_with_running()
    tracker.on_event(make_event("die", 0, second=1))
    assert tracker.on_snapshot(make_snapshot(make_container_snapshot()), None) == []
    assert new_tracker().on_snapshot(make_snapshot(make_container_snapshot()), None) == []
