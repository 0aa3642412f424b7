"""Deaths that a look shows, and their events before and after it."""

import pytest

from relay.core.event import Cause, Origin
from relay.ingest.docker.containers import registry as roster_module
from relay.ingest.docker.containers.inference import BlindWindow, Snapshot
from relay.ingest.docker.containers.registry import LABELS_MAX_BYTES, ContainerRegistry
from relay.ingest.docker.containers.tracker import ContainerTracker
from relay.ingest.docker.engine.inspection import ContainerSnapshot
from tests.unit.ingest.docker.samples import (
    actions,
    at,
    make_container_snapshot,
    make_event,
    make_snapshot,
    new_tracker,
    restore_tracker,
)


def tracker_with_running() -> ContainerTracker:
    """One that heard a container start."""
    here = new_tracker()
    here.on_event(make_event("start"), {})
    return here


DEAD = make_container_snapshot(started=0, finished=5, exit_code=3)


def test_an_unseen_death_is_inferred_once() -> None:
    """Neither the next look nor one after a restart tells of it again."""
    here = tracker_with_running()
    assert here.has_unreported([DEAD])
    (death,) = here.on_snapshot(make_snapshot(DEAD), None)
    assert (death.action, death.cause, death.origin) == ("die", Cause.CRASHED, Origin.INFERRED)
    assert not here.has_unreported([DEAD])
    assert here.on_snapshot(make_snapshot(DEAD), None) == []
    assert restore_tracker(here).on_snapshot(make_snapshot(DEAD), None) == []


def test_inferred_again_it_has_the_same_id() -> None:
    """By one who lost what was known, or by one who never knew of the container."""
    (once,) = tracker_with_running().on_snapshot(make_snapshot(DEAD), None)
    (again,) = new_tracker().on_snapshot(make_snapshot(DEAD, second=2000), None)
    assert once.id == again.id


def test_a_death_that_was_heard_is_not_inferred() -> None:
    """The engine notes its time before it sends the event."""
    here = tracker_with_running()
    here.on_event(make_event("die", 3, second=5.01), {})
    assert here.on_snapshot(make_snapshot(DEAD), None) == []
    assert here.is_known_dead("c")


@pytest.mark.parametrize("restart", [False, True])
def test_the_event_of_an_inferred_death_is_not_told(restart: bool) -> None:
    """Only one of the two is."""
    here = tracker_with_running()
    here.on_snapshot(make_snapshot(DEAD), None)
    if restart:
        here = restore_tracker(here)
    assert here.on_event(make_event("die", 3, second=5.1), {}) == []


def test_a_death_after_the_inferred_one_is_told() -> None:
    """A start lies between, whether it was heard or seen."""
    here = tracker_with_running()
    here.on_snapshot(make_snapshot(DEAD), None)
    here.on_event(make_event("start", second=6), {})
    assert actions(here.on_event(make_event("die", 3, second=7), {})) == ["die"]
    here = tracker_with_running()
    here.on_snapshot(make_snapshot(make_container_snapshot(started=6, finished=5)), None)
    assert actions(here.on_event(make_event("die", 3, second=7), {})) == ["die"]


def test_deaths_that_come_late_behind_a_look() -> None:
    """The earlier is told, the later was inferred; and so for its kills for memory."""
    here = tracker_with_running()
    dead = make_container_snapshot(started=3, finished=5, exit_code=137, oom_killed=True)
    assert actions(here.on_snapshot(make_snapshot(dead), None)) == ["oom", "die"]
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
    told = [
        event.time_ns for one in late for event in here.on_event(one, {}) if one.action != "start"
    ]
    assert told == [at(1), at(2), at(7), at(8)]


def test_a_life_too_short_for_podmans_clock() -> None:
    """It seems to end before it starts; its event is its own all the same."""
    here = new_tracker()
    short = short_lived(started=5.004, finished=5.0)
    (death,) = here.on_snapshot(make_snapshot(short), None)
    assert death.time_ns == at(5)
    assert here.on_snapshot(make_snapshot(short), None) == []
    assert here.on_event(make_event("die", 0, second=5.02), {}) == []


def short_lived(started: float, finished: float) -> ContainerSnapshot:
    """Dead, though it seems to have died before it started."""
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


def test_an_inferred_kill_for_memory_is_told_once() -> None:
    """With its death; then neither of the real ones."""
    here = tracker_with_running()
    dead = make_container_snapshot(started=0, finished=5, exit_code=137, oom_killed=True)
    oom, death = here.on_snapshot(make_snapshot(dead), None)
    assert (oom.action, death.action, death.cause) == ("oom", "die", Cause.OOM)
    assert here.on_event(make_event("oom", second=4.9), {}) == []
    assert here.on_event(make_event("die", 137, second=5.1), {}) == []


def test_what_was_asked_explains_an_unseen_death() -> None:
    """And is used up by it."""
    here = tracker_with_running()
    here.on_event(make_event("kill", 15, second=4), {})
    (death,) = here.on_snapshot(make_snapshot(DEAD), None)
    assert death.cause is Cause.REQUESTED
    known = here.registry.get("c")
    assert known is not None
    assert known.requested_ns is None


@pytest.mark.parametrize("heard_of", [False, True])
def test_what_was_asked_in_a_later_life_does_not(heard_of: bool) -> None:
    """It was started again, and is being stopped while one looks."""
    here = tracker_with_running()
    if heard_of:
        here.on_event(make_event("start", second=6), {})
    here.on_event(make_event("kill", 15, second=7), {})
    (death,) = here.on_snapshot(make_snapshot(make_container_snapshot(started=6, finished=5)), None)
    assert death.cause is Cause.UNKNOWN
    (death,) = here.on_event(make_event("die", 143, second=8), {})
    assert death.cause is Cause.REQUESTED


def test_a_look_that_is_older_than_what_was_heard() -> None:
    """It started again meanwhile; it is known as running, and dies anew."""
    here = tracker_with_running()
    here.on_event(make_event("start", second=6), {})
    assert actions(here.on_snapshot(make_snapshot(DEAD, second=5), None)) == ["die"]
    assert not here.is_known_dead("c")
    assert actions(here.on_event(make_event("die", 3, second=7), {})) == ["die"]


def test_a_life_that_was_over_before_its_start_was_told() -> None:
    """Docker sends the event of a start when it is over with it: the life is told of once."""
    here = new_tracker()
    here.on_event(make_event("start", second=6), {})
    assert actions(here.on_snapshot(make_snapshot(DEAD), None)) == ["die"]
    assert here.is_known_dead("c")
    assert here.on_snapshot(make_snapshot(DEAD, second=2000), None) == []
    assert actions(here.on_event(make_event("destroy", second=2001), {})) == ["destroy"]


def test_a_clock_that_is_set_back_during_a_life() -> None:
    """The order of the stream says that it is over: no look and no removal tells it again."""
    here = new_tracker()
    here.on_event(make_event("start", second=3600), {})
    assert actions(here.on_event(make_event("die", 3, second=9), {})) == ["die"]
    assert here.is_known_dead("c")
    assert actions(here.on_event(make_event("destroy", second=11), {})) == ["destroy"]


def test_one_that_was_started_again_by_an_engine_that_forgot_its_end() -> None:
    """Podman, after a reboot of its host with containers that start by themselves."""
    here = new_tracker(podman=True)
    here.on_event(make_event("start"), {})
    again = make_container_snapshot(started=900)
    (end,) = here.on_snapshot(make_snapshot(again), None)
    assert (end.action, end.cause, end.exit_code) == ("die", Cause.UNKNOWN, None)
    assert not here.is_known_dead("c")
    assert here.on_snapshot(make_snapshot(again, second=2000), None) == []


def test_what_may_have_been_missed_leaves_the_cause_open() -> None:
    """Only for deaths in that stretch or behind it."""
    killed = make_container_snapshot(started=0, finished=5, exit_code=143)
    (death,) = tracker_with_running().on_snapshot(make_snapshot(killed), BlindWindow(at(3), at(4)))
    assert death.cause is Cause.UNKNOWN
    (death,) = tracker_with_running().on_snapshot(make_snapshot(killed), BlindWindow(at(4), at(6)))
    assert death.cause is Cause.UNKNOWN
    (death,) = tracker_with_running().on_snapshot(make_snapshot(killed), BlindWindow(at(6), at(7)))
    assert death.cause is Cause.CRASHED


def test_deaths_before_the_beginning_count_as_told() -> None:
    """Of containers that were dead when relay first looked; the later ones do not."""
    here = ContainerTracker(ContainerRegistry(reported_until_ns=at(5)))
    assert (
        here.on_snapshot(
            make_snapshot(DEAD, make_container_snapshot(id_="d", started=0, finished=5.1)), None
        )[0].actor.id
        == "d"
    )
    assert here.is_known_dead("c")


def test_one_that_runs_is_known_from_then_on() -> None:
    """Its next death is told, and it is not taken for dead."""
    here = new_tracker()
    assert here.on_snapshot(make_snapshot(make_container_snapshot(started=1)), None) == []
    assert not here.is_known_dead("c")
    assert not here.is_known_dead("d")
    assert len(here.on_snapshot(make_snapshot(DEAD), None)) == 1


def test_one_that_was_created_and_never_started() -> None:
    """There is nothing to tell of it, come or gone."""
    here = new_tracker()
    assert here.on_snapshot(make_snapshot(make_container_snapshot()), None) == []
    assert here.on_snapshot(make_snapshot(missing=("c",)), None) == []
    assert here.registry.get("c") is None


@pytest.mark.parametrize("ending", ["destroy", "remove"])
def test_a_look_does_not_resurrect_the_destroyed(ending: str) -> None:
    """It saw the container before that."""
    here = tracker_with_running()
    here.on_event(make_event(ending, second=9), {})
    assert not here.has_unreported([DEAD])
    assert here.on_snapshot(make_snapshot(DEAD), None) == []
    assert here.registry.list_all() == []


def test_those_that_are_missing() -> None:
    """Known, and not listed."""
    here = tracker_with_running()
    assert here.find_missing({"c": "running"}) == set()
    assert here.find_missing({}) == {"c"}


def test_one_that_ran_and_is_gone_died() -> None:
    """That is told once; its events, should they come, are not."""
    here = tracker_with_running()
    (end,) = here.on_snapshot(make_snapshot(missing=("c",)), None)
    assert (end.action, end.cause, end.time_ns) == ("die", Cause.UNKNOWN, at(1000))
    assert here.on_event(make_event("die", 0, second=3), {}) == []
    assert actions(here.on_event(make_event("destroy", second=4), {})) == ["destroy"]
    assert here.registry.list_all() == []


def test_one_that_is_still_gone_is_forgotten() -> None:
    """Its death was told."""
    here = tracker_with_running()
    here.on_snapshot(make_snapshot(missing=("c",)), None)
    assert here.on_snapshot(make_snapshot(missing=("c",)), None) == []
    assert here.registry.list_all() == []
    assert here.on_snapshot(make_snapshot(missing=("c",)), None) == []


def test_one_that_was_started_after_an_inferred_death_and_is_gone() -> None:
    """Its second death is another."""
    here = tracker_with_running()
    (first,) = here.on_snapshot(make_snapshot(DEAD), None)
    here.on_event(make_event("start", second=6), {})
    (second,) = here.on_snapshot(make_snapshot(missing=("c",)), None)
    assert first.id != second.id


def test_one_that_was_dead_and_is_gone_is_forgotten() -> None:
    """Nothing is told."""
    here = tracker_with_running()
    here.on_event(make_event("die", 0, second=1), {})
    assert here.on_snapshot(make_snapshot(missing=("c",)), None) == []
    assert here.registry.list_all() == []


RESET = {
    "never": make_container_snapshot(),
    "not since": make_container_snapshot(finished=-50, exit_code=0),
}
"""As if it had not been started since."""


@pytest.mark.parametrize("sighting", RESET.values(), ids=RESET)
@pytest.mark.parametrize("asked", [False, True])
def test_one_that_looks_as_if_it_never_ran(sighting: ContainerSnapshot, asked: bool) -> None:
    """Podman, after a reboot of its host: it died, which is told once; so is its next death."""
    here = new_tracker(podman=True)
    here.on_event(make_event("die", 0, second=-50), {})
    here.on_event(make_event("start"), {})
    if asked:
        here.on_event(make_event("stop", second=900), {})
    (end,) = here.on_snapshot(make_snapshot(sighting), None)
    assert (end.action, end.origin, end.time_ns) == ("die", Origin.INFERRED, at(1000))
    cause = Cause.REQUESTED if asked else Cause.UNKNOWN
    assert (end.exit_code, end.cause) == (None, cause)
    assert here.is_known_dead("c")
    assert here.on_snapshot(make_snapshot(sighting, second=2000), None) == []
    here = restore_tracker(here)
    assert here.on_snapshot(make_snapshot(sighting, second=3000), None) == []
    assert here.on_snapshot(make_snapshot(missing=("c",)), None) == []


def test_the_next_life_of_one_that_looked_as_if_it_never_ran() -> None:
    """It ends by a death of its own, whether that is heard or seen."""
    here = tracker_with_running()
    here.on_snapshot(make_snapshot(make_container_snapshot()), None)
    here.on_event(make_event("start", second=1100), {})
    assert actions(here.on_event(make_event("die", 3, second=1200), {})) == ["die"]
    here = tracker_with_running()
    here.on_snapshot(make_snapshot(make_container_snapshot()), None)
    here.on_event(make_event("start", second=1100), {})
    (death,) = here.on_snapshot(
        make_snapshot(
            make_container_snapshot(started=1100, finished=1200, exit_code=3), second=2000
        ),
        None,
    )
    assert death.time_ns == at(1200)


@pytest.mark.parametrize("started", [996, 1000, 1003, 1100])
def test_one_that_starts_around_a_look_was_not_reset(started: float) -> None:
    """The look was there before it, by clocks that are not quite the same."""
    here = new_tracker()
    here.on_event(make_event("start", second=started), {})
    assert here.on_snapshot(make_snapshot(make_container_snapshot()), None) == []
    assert actions(here.on_event(make_event("die", 3, second=1200), {})) == ["die"]


def test_one_whose_death_counts_as_told_was_not_reset() -> None:
    """The look shows when it died."""
    here = ContainerTracker(ContainerRegistry(reported_until_ns=at(6)))
    here.on_event(make_event("start"), {})
    assert here.on_snapshot(make_snapshot(DEAD), None) == []


def test_one_that_is_alive_was_not_reset() -> None:
    """Nor one that is not known to have run."""
    assert (
        tracker_with_running().on_snapshot(make_snapshot(make_container_snapshot(started=0)), None)
        == []
    )
    here = tracker_with_running()
    here.on_event(make_event("die", 0, second=1), {})
    assert here.on_snapshot(make_snapshot(make_container_snapshot()), None) == []
    assert new_tracker().on_snapshot(make_snapshot(make_container_snapshot()), None) == []


def test_what_is_evicted_is_never_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor a death that was inferred before."""
    monkeypatch.setattr(roster_module, "CONTAINERS_MAX", 1)
    here = tracker_with_running()
    here.on_event(make_event("die", 3, second=5.1), {})
    here.on_event(make_event("start", second=6, id_="d"), {})
    assert here.on_snapshot(make_snapshot(DEAD), None) == []
    here = tracker_with_running()
    here.on_snapshot(make_snapshot(DEAD), None)
    here.on_event(make_event("start", second=6, id_="d"), {})
    assert here.on_snapshot(make_snapshot(DEAD), None) == []


def test_long_labels_are_told_but_not_kept() -> None:
    """The engine tells them again of a container that is there."""
    labels = {"k": "v" * LABELS_MAX_BYTES}
    here = new_tracker()
    (death,) = here.on_snapshot(
        make_snapshot(make_container_snapshot(started=0, finished=5, exit_code=3, labels=labels)),
        None,
    )
    assert death.actor.attributes["k"] == labels["k"]
    known = here.registry.get("c")
    assert known is not None
    assert known.labels == {}


def test_podmans_field_is_no_label() -> None:
    """What is on each of its events says nothing of a container that is gone."""
    here = new_tracker(podman=True)
    here.on_event(make_event("start", labels={"containerExitCode": "0"}), {})
    (end,) = here.on_snapshot(Snapshot("here", "node-1", at(9), missing=frozenset({"c"})), None)
    assert "containerExitCode" not in end.actor.attributes
