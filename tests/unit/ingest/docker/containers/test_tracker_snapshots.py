"""Deaths that a snapshot shows, and their events before and after it."""

import pytest

from relay.core.event import Cause, Origin
from relay.ingest.docker.containers import registry as registry_module
from relay.ingest.docker.containers.inference import BlindWindow, Snapshot
from relay.ingest.docker.containers.registry import LABELS_MAX_BYTES, ContainerRegistry
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


def test_an_unreported_death_is_inferred_once() -> None:
    """Neither the next snapshot nor one after a restart reports it again."""
    tracker = tracker_with_running()
    assert tracker.has_unreported([DEAD])
    (death,) = tracker.on_snapshot(make_snapshot(DEAD), None)
    assert (death.action, death.cause, death.origin) == ("die", Cause.CRASHED, Origin.INFERRED)
    assert not tracker.has_unreported([DEAD])
    assert tracker.on_snapshot(make_snapshot(DEAD), None) == []
    assert restore_tracker(tracker).on_snapshot(make_snapshot(DEAD), None) == []


def test_a_death_inferred_again_has_the_same_id() -> None:
    """A tracker that lost its state, or never knew the container, infers the same id."""
    (once,) = tracker_with_running().on_snapshot(make_snapshot(DEAD), None)
    (again,) = new_tracker().on_snapshot(make_snapshot(DEAD, second=2000), None)
    assert once.id == again.id


def test_a_received_death_is_not_inferred() -> None:
    """A death that an event reported is not inferred: its time is before that of the event."""
    tracker = tracker_with_running()
    tracker.on_event(make_event("die", 3, second=5.01))
    assert tracker.on_snapshot(make_snapshot(DEAD), None) == []
    assert not tracker.needs_inspection("c")


@pytest.mark.parametrize("restart", [False, True])
def test_the_event_of_an_inferred_death_is_not_reported(restart: bool) -> None:
    """If a death was inferred, its event is not reported."""
    tracker = tracker_with_running()
    tracker.on_snapshot(make_snapshot(DEAD), None)
    if restart:
        tracker = restore_tracker(tracker)
    assert tracker.on_event(make_event("die", 3, second=5.1)) == []


def test_a_death_after_the_inferred_one_is_reported() -> None:
    """If a start is between the two, whether an event or a snapshot showed it, the death is new."""
    tracker = tracker_with_running()
    tracker.on_snapshot(make_snapshot(DEAD), None)
    tracker.on_event(make_event("start", second=6))
    assert actions(tracker.on_event(make_event("die", 3, second=7))) == ["die"]
    tracker = tracker_with_running()
    tracker.on_snapshot(make_snapshot(make_container_snapshot(started=6, finished=5)), None)
    assert actions(tracker.on_event(make_event("die", 3, second=7))) == ["die"]


def test_late_events_after_a_snapshot() -> None:
    """Of two late deaths the earlier is reported, as the later was inferred; so for ``oom``."""
    tracker = tracker_with_running()
    dead = make_container_snapshot(started=3, finished=5, exit_code=137, oom_killed=True)
    assert actions(tracker.on_snapshot(make_snapshot(dead), None)) == ["oom", "die"]
    late = [
        make_event("oom", second=1),
        make_event("die", 137, second=2),
        make_event("start", second=3.001),
        make_event("oom", second=4),
        make_event("die", 137, second=5.1),
        make_event("start", second=6),
        make_event("oom", second=7),
        make_event("die", 137, second=8),
    ]
    reported = [
        event.time_ns for one in late for event in tracker.on_event(one) if one.action != "start"
    ]
    assert reported == [at(1), at(2), at(7), at(8)]


def test_a_life_too_short_for_podmans_clock() -> None:
    """A life that seems to end before it starts is inferred once, and its event is recognised."""
    tracker = new_tracker()
    short = short_lived(started=5.004, finished=5.0)
    (death,) = tracker.on_snapshot(make_snapshot(short), None)
    assert death.time_ns == at(5)
    assert tracker.on_snapshot(make_snapshot(short), None) == []
    assert tracker.on_event(make_event("die", 0, second=5.02)) == []


def short_lived(started: float, finished: float) -> ContainerSnapshot:
    """Return a dead container that seems to have died before it started."""
    return ContainerSnapshot(
        id="c",
        name="web",
        image="bb:1",
        labels={},
        is_running=False,
        started_ns=at(started),
        finished_ns=at(finished),
        exit_code=0,
        oom_killed=False,
        stop_signal=None,
    )


def test_an_inferred_kill_for_memory_is_reported_once() -> None:
    """Once an ``oom`` and its death are inferred, neither of the engine's events is reported."""
    tracker = tracker_with_running()
    dead = make_container_snapshot(started=0, finished=5, exit_code=137, oom_killed=True)
    oom, death = tracker.on_snapshot(make_snapshot(dead), None)
    assert (oom.action, death.action, death.cause) == ("oom", "die", Cause.OOM)
    assert tracker.on_event(make_event("oom", second=4.9)) == []
    assert tracker.on_event(make_event("die", 137, second=5.1)) == []


def test_a_request_explains_an_unreported_death() -> None:
    """A request explains the inferred death, and no later one."""
    tracker = tracker_with_running()
    tracker.on_event(make_event("kill", 15, second=4))
    (death,) = tracker.on_snapshot(make_snapshot(DEAD), None)
    assert death.cause is Cause.REQUESTED
    known = tracker.registry.get("c")
    assert known is not None
    assert known.requested_ns is None


@pytest.mark.parametrize("received", [False, True])
def test_a_request_in_a_later_life_does_not_explain_it(received: bool) -> None:
    """The container was started again, and is being stopped during the snapshot."""
    tracker = tracker_with_running()
    if received:
        tracker.on_event(make_event("start", second=6))
    tracker.on_event(make_event("kill", 15, second=7))
    (death,) = tracker.on_snapshot(
        make_snapshot(make_container_snapshot(started=6, finished=5)), None
    )
    assert death.cause is Cause.UNKNOWN
    (death,) = tracker.on_event(make_event("die", 143, second=8))
    assert death.cause is Cause.REQUESTED


def test_a_snapshot_older_than_the_last_event() -> None:
    """The container started again meanwhile: it is known to run, and dies again."""
    tracker = tracker_with_running()
    tracker.on_event(make_event("start", second=6))
    assert actions(tracker.on_snapshot(make_snapshot(DEAD, second=5), None)) == ["die"]
    assert tracker.needs_inspection("c")
    assert actions(tracker.on_event(make_event("die", 3, second=7))) == ["die"]


def test_a_life_that_ended_before_its_start_was_reported() -> None:
    """Docker sends a start when it is complete: the life is reported once."""
    tracker = new_tracker()
    tracker.on_event(make_event("start", second=6))
    assert actions(tracker.on_snapshot(make_snapshot(DEAD), None)) == ["die"]
    assert not tracker.needs_inspection("c")
    assert tracker.on_snapshot(make_snapshot(DEAD, second=2000), None) == []
    assert actions(tracker.on_event(make_event("destroy", second=2001))) == ["destroy"]


def test_a_clock_set_back_during_a_life() -> None:
    """The stream's order shows that it ended: nothing reports it again."""
    tracker = new_tracker()
    tracker.on_event(make_event("start", second=3600))
    assert actions(tracker.on_event(make_event("die", 3, second=9))) == ["die"]
    (container,) = tracker.registry.list_all()
    assert container.is_dead
    assert actions(tracker.on_event(make_event("destroy", second=11))) == ["destroy"]


def test_a_container_restarted_by_an_engine_that_forgot_its_end() -> None:
    """Podman, after a reboot of its host with containers that start by themselves."""
    tracker = new_tracker(podman=True)
    tracker.on_event(make_event("start"))
    again = make_container_snapshot(started=900)
    (end,) = tracker.on_snapshot(make_snapshot(again), None)
    assert (end.action, end.cause, end.exit_code) == ("die", Cause.UNKNOWN, None)
    assert tracker.needs_inspection("c")
    assert tracker.on_snapshot(make_snapshot(again, second=2000), None) == []


def test_a_blind_window_leaves_the_cause_unknown() -> None:
    """A blind window leaves only the causes of deaths in it or after it unknown."""
    killed = make_container_snapshot(started=0, finished=5, exit_code=143)
    (death,) = tracker_with_running().on_snapshot(make_snapshot(killed), BlindWindow(at(3), at(4)))
    assert death.cause is Cause.UNKNOWN
    (death,) = tracker_with_running().on_snapshot(make_snapshot(killed), BlindWindow(at(4), at(6)))
    assert death.cause is Cause.UNKNOWN
    (death,) = tracker_with_running().on_snapshot(make_snapshot(killed), BlindWindow(at(6), at(7)))
    assert death.cause is Cause.CRASHED


def test_deaths_before_the_first_start_count_as_reported() -> None:
    """Of containers that were dead at relay's first start; later deaths do not."""
    tracker = ContainerTracker(ContainerRegistry(reported_until_ns=at(5)))
    assert (
        tracker.on_snapshot(
            make_snapshot(DEAD, make_container_snapshot(id_="d", started=0, finished=5.1)), None
        )[0].actor.id
        == "d"
    )
    assert not tracker.needs_inspection("c")


def test_a_running_container_is_known_from_the_snapshot_on() -> None:
    """Its next death is reported, and it counts as running."""
    tracker = new_tracker()
    assert tracker.on_snapshot(make_snapshot(make_container_snapshot(started=1)), None) == []
    assert tracker.needs_inspection("c")
    assert tracker.needs_inspection("d")
    assert len(tracker.on_snapshot(make_snapshot(DEAD), None)) == 1


def test_a_container_that_was_never_started() -> None:
    """A container that was never started is not reported, even when it is gone."""
    tracker = new_tracker()
    assert tracker.on_snapshot(make_snapshot(make_container_snapshot()), None) == []
    assert tracker.on_snapshot(make_snapshot(missing=("c",)), None) == []
    assert tracker.registry.get("c") is None


@pytest.mark.parametrize("ending", ["destroy", "remove"])
def test_a_snapshot_does_not_revive_a_destroyed_container(ending: str) -> None:
    """A snapshot from before the destruction does not make the container known again."""
    tracker = tracker_with_running()
    tracker.on_event(make_event(ending, second=9))
    assert not tracker.has_unreported([DEAD])
    assert tracker.on_snapshot(make_snapshot(DEAD), None) == []
    assert tracker.registry.list_all() == []


def test_missing_containers() -> None:
    """The known containers that the engine does not list are missing."""
    tracker = tracker_with_running()
    assert tracker.find_missing({"c": "running"}) == set()
    assert tracker.find_missing({}) == {"c"}


def test_a_container_that_ran_and_is_gone_died() -> None:
    """The death of a container that ran and is gone is reported once; its late events are not."""
    tracker = tracker_with_running()
    (end,) = tracker.on_snapshot(make_snapshot(missing=("c",)), None)
    assert (end.action, end.cause, end.time_ns) == ("die", Cause.UNKNOWN, at(1000))
    assert tracker.on_event(make_event("die", 0, second=3)) == []
    assert actions(tracker.on_event(make_event("destroy", second=4))) == ["destroy"]
    assert tracker.registry.list_all() == []


def test_a_container_that_is_still_gone_is_forgotten() -> None:
    """Once its death is reported, a container that is still gone is forgotten."""
    tracker = tracker_with_running()
    tracker.on_snapshot(make_snapshot(missing=("c",)), None)
    assert tracker.on_snapshot(make_snapshot(missing=("c",)), None) == []
    assert tracker.registry.list_all() == []
    assert tracker.on_snapshot(make_snapshot(missing=("c",)), None) == []


def test_a_container_restarted_after_an_inferred_death_and_gone() -> None:
    """The death of the restarted container is reported, too."""
    tracker = tracker_with_running()
    (first,) = tracker.on_snapshot(make_snapshot(DEAD), None)
    tracker.on_event(make_event("start", second=6))
    (second,) = tracker.on_snapshot(make_snapshot(missing=("c",)), None)
    assert first.id != second.id


def test_a_dead_container_that_is_gone_is_forgotten() -> None:
    """A dead container that is gone is forgotten without a report."""
    tracker = tracker_with_running()
    tracker.on_event(make_event("die", 0, second=1))
    assert tracker.on_snapshot(make_snapshot(missing=("c",)), None) == []
    assert tracker.registry.list_all() == []


def test_deaths_of_forgotten_containers_are_never_reported_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Deaths of forgotten containers, inferred or not, are never reported again."""
    monkeypatch.setattr(registry_module, "CONTAINERS_MAX", 1)
    tracker = tracker_with_running()
    tracker.on_event(make_event("die", 3, second=5.1))
    tracker.on_event(make_event("start", second=6, id_="d"))
    assert tracker.on_snapshot(make_snapshot(DEAD), None) == []
    tracker = tracker_with_running()
    tracker.on_snapshot(make_snapshot(DEAD), None)
    tracker.on_event(make_event("start", second=6, id_="d"))
    assert tracker.on_snapshot(make_snapshot(DEAD), None) == []


def test_long_labels_are_reported_but_not_kept() -> None:
    """The engine sends them again for a container that exists."""
    labels = {"k": "v" * LABELS_MAX_BYTES}
    tracker = new_tracker()
    (death,) = tracker.on_snapshot(
        make_snapshot(make_container_snapshot(started=0, finished=5, exit_code=3, labels=labels)),
        None,
    )
    assert death.actor.attributes["k"] == labels["k"]
    known = tracker.registry.get("c")
    assert known is not None
    assert known.labels == {}


def test_podmans_exit_code_is_no_label() -> None:
    """Podman sends an exit code with every event, so it is not kept for the container."""
    tracker = new_tracker(podman=True)
    tracker.on_event(make_event("start", labels={"containerExitCode": "0"}))
    (end,) = tracker.on_snapshot(Snapshot("here", "node-1", at(9), missing=frozenset({"c"})), None)
    assert "containerExitCode" not in end.actor.attributes
