"""Deaths that a look shows, and their events before and after it."""

import pytest

from relay.core.event import Cause, Origin
from relay.ingest.docker.containers import registry as roster_module
from relay.ingest.docker.containers.inference import Look, Unheard
from relay.ingest.docker.containers.registry import LABELS_BYTES, Roster
from relay.ingest.docker.containers.tracker import Chronicle
from relay.ingest.docker.engine.inspection import Sighting
from tests.unit.ingest.docker.samples import actions, at, chronicle, happened, look, seen, stored


def running() -> Chronicle:
    """One that heard a container start."""
    here = chronicle()
    here.hear(happened("start"), {})
    return here


DEAD = seen(started=0, finished=5, exit_code=3)


def test_an_unseen_death_is_inferred_once() -> None:
    """Neither the next look nor one after a restart tells of it again."""
    here = running()
    assert here.untold([DEAD])
    (death,) = here.look(look(DEAD), None)
    assert (death.action, death.cause, death.origin) == ("die", Cause.CRASHED, Origin.INFERRED)
    assert not here.untold([DEAD])
    assert here.look(look(DEAD), None) == []
    assert stored(here).look(look(DEAD), None) == []


def test_inferred_again_it_has_the_same_id() -> None:
    """By one who lost what was known, or by one who never knew of the container."""
    (once,) = running().look(look(DEAD), None)
    (again,) = chronicle().look(look(DEAD, second=2000), None)
    assert once.id == again.id


def test_a_death_that_was_heard_is_not_inferred() -> None:
    """The engine notes its time before it sends the event."""
    here = running()
    here.hear(happened("die", 3, second=5.01), {})
    assert here.look(look(DEAD), None) == []
    assert here.knows_as_dead("c")


@pytest.mark.parametrize("restart", [False, True])
def test_the_event_of_an_inferred_death_is_not_told(restart: bool) -> None:
    """Only one of the two is."""
    here = running()
    here.look(look(DEAD), None)
    if restart:
        here = stored(here)
    assert here.hear(happened("die", 3, second=5.1), {}) == []


def test_a_death_after_the_inferred_one_is_told() -> None:
    """A start lies between, whether it was heard or seen."""
    here = running()
    here.look(look(DEAD), None)
    here.hear(happened("start", second=6), {})
    assert actions(here.hear(happened("die", 3, second=7), {})) == ["die"]
    here = running()
    here.look(look(seen(started=6, finished=5)), None)
    assert actions(here.hear(happened("die", 3, second=7), {})) == ["die"]


def test_deaths_that_come_late_behind_a_look() -> None:
    """The earlier is told, the later was inferred; and so for its kills for memory."""
    here = running()
    dead = seen(started=3, finished=5, exit_code=137, oom_killed=True)
    assert actions(here.look(look(dead), None)) == ["oom", "die"]
    late = [
        happened("oom", second=1),
        happened("die", 137, second=2),
        happened("start", second=3.001),
        happened("oom", second=4),
        happened("die", 137, second=5.1),
        happened("start", second=6),
        happened("oom", second=7),
        happened("die", 137, second=8),
    ]
    told = [event.time_ns for one in late for event in here.hear(one, {}) if one.action != "start"]
    assert told == [at(1), at(2), at(7), at(8)]


def test_a_life_too_short_for_podmans_clock() -> None:
    """It seems to end before it starts; its event is its own all the same."""
    here = chronicle()
    short = short_lived(started=5.004, finished=5.0)
    (death,) = here.look(look(short), None)
    assert death.time_ns == at(5)
    assert here.look(look(short), None) == []
    assert here.hear(happened("die", 0, second=5.02), {}) == []


def short_lived(started: float, finished: float) -> Sighting:
    """Dead, though it seems to have died before it started."""
    return Sighting(
        id="c",
        name="web",
        image="bb:1",
        labels={},
        alive=False,
        started_ns=at(started),
        finished_ns=at(finished),
        exit_code=0,
        oom_killed=False,
        stop_signal=None,
    )


def test_an_inferred_kill_for_memory_is_told_once() -> None:
    """With its death; then neither of the real ones."""
    here = running()
    dead = seen(started=0, finished=5, exit_code=137, oom_killed=True)
    oom, death = here.look(look(dead), None)
    assert (oom.action, death.action, death.cause) == ("oom", "die", Cause.OOM)
    assert here.hear(happened("oom", second=4.9), {}) == []
    assert here.hear(happened("die", 137, second=5.1), {}) == []


def test_what_was_asked_explains_an_unseen_death() -> None:
    """And is used up by it."""
    here = running()
    here.hear(happened("kill", 15, second=4), {})
    (death,) = here.look(look(DEAD), None)
    assert death.cause is Cause.REQUESTED
    known = here.roster.get("c")
    assert known is not None
    assert known.asked_ns is None


@pytest.mark.parametrize("heard_of", [False, True])
def test_what_was_asked_in_a_later_life_does_not(heard_of: bool) -> None:
    """It was started again, and is being stopped while one looks."""
    here = running()
    if heard_of:
        here.hear(happened("start", second=6), {})
    here.hear(happened("kill", 15, second=7), {})
    (death,) = here.look(look(seen(started=6, finished=5)), None)
    assert death.cause is Cause.UNKNOWN
    (death,) = here.hear(happened("die", 143, second=8), {})
    assert death.cause is Cause.REQUESTED


def test_a_look_that_is_older_than_what_was_heard() -> None:
    """It started again meanwhile; it is known as running, and dies anew."""
    here = running()
    here.hear(happened("start", second=6), {})
    assert actions(here.look(look(DEAD, second=5), None)) == ["die"]
    assert not here.knows_as_dead("c")
    assert actions(here.hear(happened("die", 3, second=7), {})) == ["die"]


def test_a_life_that_was_over_before_its_start_was_told() -> None:
    """Docker sends the event of a start when it is over with it: the life is told of once."""
    here = chronicle()
    here.hear(happened("start", second=6), {})
    assert actions(here.look(look(DEAD), None)) == ["die"]
    assert here.knows_as_dead("c")
    assert here.look(look(DEAD, second=2000), None) == []
    assert actions(here.hear(happened("destroy", second=2001), {})) == ["destroy"]


def test_a_clock_that_is_set_back_during_a_life() -> None:
    """The order of the stream says that it is over: no look and no removal tells it again."""
    here = chronicle()
    here.hear(happened("start", second=3600), {})
    assert actions(here.hear(happened("die", 3, second=9), {})) == ["die"]
    assert here.knows_as_dead("c")
    assert actions(here.hear(happened("destroy", second=11), {})) == ["destroy"]


def test_one_that_was_started_again_by_an_engine_that_forgot_its_end() -> None:
    """Podman, after a reboot of its host with containers that start by themselves."""
    here = chronicle(podman=True)
    here.hear(happened("start"), {})
    again = seen(started=900)
    (end,) = here.look(look(again), None)
    assert (end.action, end.cause, end.exit_code) == ("die", Cause.UNKNOWN, None)
    assert not here.knows_as_dead("c")
    assert here.look(look(again, second=2000), None) == []


def test_what_may_have_been_missed_leaves_the_cause_open() -> None:
    """Only for deaths in that stretch or behind it."""
    killed = seen(started=0, finished=5, exit_code=143)
    (death,) = running().look(look(killed), Unheard(at(3), at(4)))
    assert death.cause is Cause.UNKNOWN
    (death,) = running().look(look(killed), Unheard(at(4), at(6)))
    assert death.cause is Cause.UNKNOWN
    (death,) = running().look(look(killed), Unheard(at(6), at(7)))
    assert death.cause is Cause.CRASHED


def test_deaths_before_the_beginning_count_as_told() -> None:
    """Of containers that were dead when relay first looked; the later ones do not."""
    here = Chronicle(Roster(assumed_ns=at(5)))
    assert here.look(look(DEAD, seen(id_="d", started=0, finished=5.1)), None)[0].actor.id == "d"
    assert here.knows_as_dead("c")


def test_one_that_runs_is_known_from_then_on() -> None:
    """Its next death is told, and it is not taken for dead."""
    here = chronicle()
    assert here.look(look(seen(started=1)), None) == []
    assert not here.knows_as_dead("c")
    assert not here.knows_as_dead("d")
    assert len(here.look(look(DEAD), None)) == 1


def test_one_that_was_created_and_never_started() -> None:
    """There is nothing to tell of it, come or gone."""
    here = chronicle()
    assert here.look(look(seen()), None) == []
    assert here.look(look(missing=("c",)), None) == []
    assert here.roster.get("c") is None


@pytest.mark.parametrize("ending", ["destroy", "remove"])
def test_a_look_does_not_resurrect_the_destroyed(ending: str) -> None:
    """It saw the container before that."""
    here = running()
    here.hear(happened(ending, second=9), {})
    assert not here.untold([DEAD])
    assert here.look(look(DEAD), None) == []
    assert here.roster.all() == []


def test_those_that_are_missing() -> None:
    """Known, and not listed."""
    here = running()
    assert here.missing({"c": "running"}) == set()
    assert here.missing({}) == {"c"}


def test_one_that_ran_and_is_gone_died() -> None:
    """That is told once; its events, should they come, are not."""
    here = running()
    (end,) = here.look(look(missing=("c",)), None)
    assert (end.action, end.cause, end.time_ns) == ("die", Cause.UNKNOWN, at(1000))
    assert here.hear(happened("die", 0, second=3), {}) == []
    assert actions(here.hear(happened("destroy", second=4), {})) == ["destroy"]
    assert here.roster.all() == []


def test_one_that_is_still_gone_is_forgotten() -> None:
    """Its death was told."""
    here = running()
    here.look(look(missing=("c",)), None)
    assert here.look(look(missing=("c",)), None) == []
    assert here.roster.all() == []
    assert here.look(look(missing=("c",)), None) == []


def test_one_that_was_started_after_an_inferred_death_and_is_gone() -> None:
    """Its second death is another."""
    here = running()
    (first,) = here.look(look(DEAD), None)
    here.hear(happened("start", second=6), {})
    (second,) = here.look(look(missing=("c",)), None)
    assert first.id != second.id


def test_one_that_was_dead_and_is_gone_is_forgotten() -> None:
    """Nothing is told."""
    here = running()
    here.hear(happened("die", 0, second=1), {})
    assert here.look(look(missing=("c",)), None) == []
    assert here.roster.all() == []


RESET = {"never": seen(), "not since": seen(finished=-50, exit_code=0)}
"""As if it had not been started since."""


@pytest.mark.parametrize("sighting", RESET.values(), ids=RESET)
@pytest.mark.parametrize("asked", [False, True])
def test_one_that_looks_as_if_it_never_ran(sighting: Sighting, asked: bool) -> None:
    """Podman, after a reboot of its host: it died, which is told once; so is its next death."""
    here = chronicle(podman=True)
    here.hear(happened("die", 0, second=-50), {})
    here.hear(happened("start"), {})
    if asked:
        here.hear(happened("stop", second=900), {})
    (end,) = here.look(look(sighting), None)
    assert (end.action, end.origin, end.time_ns) == ("die", Origin.INFERRED, at(1000))
    cause = Cause.REQUESTED if asked else Cause.UNKNOWN
    assert (end.exit_code, end.cause) == (None, cause)
    assert here.knows_as_dead("c")
    assert here.look(look(sighting, second=2000), None) == []
    here = stored(here)
    assert here.look(look(sighting, second=3000), None) == []
    assert here.look(look(missing=("c",)), None) == []


def test_the_next_life_of_one_that_looked_as_if_it_never_ran() -> None:
    """It ends by a death of its own, whether that is heard or seen."""
    here = running()
    here.look(look(seen()), None)
    here.hear(happened("start", second=1100), {})
    assert actions(here.hear(happened("die", 3, second=1200), {})) == ["die"]
    here = running()
    here.look(look(seen()), None)
    here.hear(happened("start", second=1100), {})
    (death,) = here.look(look(seen(started=1100, finished=1200, exit_code=3), second=2000), None)
    assert death.time_ns == at(1200)


@pytest.mark.parametrize("started", [996, 1000, 1003, 1100])
def test_one_that_starts_around_a_look_was_not_reset(started: float) -> None:
    """The look was there before it, by clocks that are not quite the same."""
    here = chronicle()
    here.hear(happened("start", second=started), {})
    assert here.look(look(seen()), None) == []
    assert actions(here.hear(happened("die", 3, second=1200), {})) == ["die"]


def test_one_whose_death_counts_as_told_was_not_reset() -> None:
    """The look shows when it died."""
    here = Chronicle(Roster(assumed_ns=at(6)))
    here.hear(happened("start"), {})
    assert here.look(look(DEAD), None) == []


def test_one_that_is_alive_was_not_reset() -> None:
    """Nor one that is not known to have run."""
    assert running().look(look(seen(started=0)), None) == []
    here = running()
    here.hear(happened("die", 0, second=1), {})
    assert here.look(look(seen()), None) == []
    assert chronicle().look(look(seen()), None) == []


def test_what_is_evicted_is_never_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor a death that was inferred before."""
    monkeypatch.setattr(roster_module, "MEMORY", 1)
    here = running()
    here.hear(happened("die", 3, second=5.1), {})
    here.hear(happened("start", second=6, id_="d"), {})
    assert here.look(look(DEAD), None) == []
    here = running()
    here.look(look(DEAD), None)
    here.hear(happened("start", second=6, id_="d"), {})
    assert here.look(look(DEAD), None) == []


def test_long_labels_are_told_but_not_kept() -> None:
    """The engine tells them again of a container that is there."""
    labels = {"k": "v" * LABELS_BYTES}
    here = chronicle()
    (death,) = here.look(look(seen(started=0, finished=5, exit_code=3, labels=labels)), None)
    assert death.actor.attributes["k"] == labels["k"]
    known = here.roster.get("c")
    assert known is not None
    assert known.labels == {}


def test_podmans_field_is_no_label() -> None:
    """What is on each of its events says nothing of a container that is gone."""
    here = chronicle(podman=True)
    here.hear(happened("start", labels={"containerExitCode": "0"}), {})
    (end,) = here.look(Look("here", "node-1", at(9), missing=frozenset({"c"})), None)
    assert "containerExitCode" not in end.actor.attributes
