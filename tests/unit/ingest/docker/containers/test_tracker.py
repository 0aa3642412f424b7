"""What happened to each container, and which events are reported."""

from collections.abc import Mapping

import msgspec
import pytest

from relay.core.event import Cause, Event, Origin
from relay.ingest.docker.containers.inference import BlindWindow
from relay.ingest.docker.containers.later_evidence import find_later_cause
from relay.ingest.docker.containers.questions import NOTHING_MISSING
from relay.ingest.docker.containers.tracker import ContainerTracker
from relay.ingest.docker.engine.inspection import ContainerSnapshot
from relay.ingest.docker.engine.parser import parse_event
from tests.streams import ENGINES, read_records
from tests.unit.ingest.docker.samples import (
    actions,
    at,
    make_container_snapshot,
    make_event,
    make_snapshot,
    new_tracker,
    restore_tracker,
)

Step = str | tuple[str, int | None]


def process_batch(
    tracker: ContainerTracker,
    events: list[Event],
    inspected: ContainerSnapshot | None = None,
) -> list[Event]:
    """Return the events to report of a batch."""
    reported = []
    for place, event in enumerate(events):
        later = [each for each in events[place + 1 :] if each.actor.id == event.actor.id]
        cause = None
        if event.action == "die":
            cause = find_later_cause(event, later, None, podman=tracker.podman)
        reported += tracker.on_event(event, inspected, later_cause=cause)
    return reported


def find_causes(
    steps: list[Step],
    *,
    podman: bool = False,
    inspected: ContainerSnapshot | None = None,
    labels: Mapping[str, str] | None = None,
) -> list[Cause | None]:
    """Return the causes of the deaths in these events, 50 ms apart and in one batch."""
    pairs = [(one, None) if isinstance(one, str) else one for one in steps]
    events = [
        make_event(action, number, second=place / 20, labels=labels)
        for place, (action, number) in enumerate(pairs)
    ]
    reported = process_batch(new_tracker(podman=podman), events, inspected)
    return [event.cause for event in reported if event.action == "die"]


# How containers end, by their events.

R, C, F, M = Cause.REQUESTED, Cause.CRASHED, Cause.FINISHED, Cause.OOM
U = Cause.UNKNOWN
TERM: Step = ("kill", 15)
KILL: Step = ("kill", 9)


@pytest.mark.parametrize(
    ("steps", "causes"),
    [
        (["start", TERM, ("die", 0), "stop"], [R]),
        (["start", TERM, "stop", ("die", 0)], [R]),
        (["start", TERM, KILL, ("die", 137), "stop"], [R]),
        (["start", TERM, KILL, "stop", ("die", 137)], [R]),
        (["start", TERM, ("die", 143), "stop", "start", "restart", ("die", 1)], [R, C]),
        (["start", TERM, "stop", ("die", 143), "start", "restart", ("die", 1)], [R, C]),
        (["start", ("kill", 1), ("die", 3)], [C]),
        (["start", KILL, ("die", 137), "destroy"], [R]),
        (["start", "oom", ("die", 137)], [M]),
        (["start", ("die", 137)], [C]),
        (["start", ("die", 7)], [C]),
        (["start", ("die", 0)], [F]),
        (["start", ("die", 4), "start", ("die", 4), "start", ("die", 4)], [C, C, C]),
        (["start", TERM, TERM, KILL, "stop", "stop", ("die", 137)], [R]),
        (["start", TERM, "destroy", ("die", 3)], [R]),
        (["start", "destroy", ("die", 3)], [U]),
        (["start", ("die", 0), "destroy", ("die", 3)], [F, C]),
        (["start", TERM, ("die", 0), ("die", 3)], [R, C]),
    ],
)
def test_the_causes_of_docker(steps: list[Step], causes: list[Cause]) -> None:
    """The cause is found in both orders of ``stop`` and ``die``."""
    assert find_causes(steps) == causes


@pytest.mark.parametrize(
    ("steps", "causes"),
    [
        (["init", "start", ("die", 0), "cleanup", "cleanup"], [R]),
        (["init", "start", "stop", ("die", 0), "cleanup", "cleanup"], [R]),
        (["start", "restart", ("die", 137), "cleanup", "init", "start"], [R]),
        (["start", ("die", 4), "restart", "init", "start", ("die", 4), "cleanup"], [C, C]),
        (["start", "kill", ("die", 0), "cleanup"], [R]),
        (["start", "kill", ("die", 137), "cleanup"], [R]),
        (["start", "kill", ("die", 5), "cleanup"], [C]),
        (["start", ("die", 137), "remove"], [R]),
        (["start", "stop", ("die", 137), "remove"], [R]),
        (["start", ("die", 2), "remove"], [C]),
        (["start", ("die", 7), "cleanup"], [C]),
        (["start", ("die", 0), "cleanup"], [F]),
        (["start", ("die", 137), "cleanup", "init", "start", ("die", 0), "cleanup"], [C, F]),
    ],
)
def test_the_causes_of_podman(steps: list[Step], causes: list[Cause]) -> None:
    """Podman sends no signal, and shows a stop by what follows the death."""
    assert find_causes(steps, podman=True) == causes


def test_dockers_restart_is_no_request() -> None:
    """Docker sends ``restart`` last, so it is no request for the death before it."""
    assert find_causes(["start", "restart", ("die", 3)]) == [C]


def test_an_own_stop_signal() -> None:
    """A signal is a request if an inspection shows that it is the stop signal."""
    events: list[Step] = ["start", ("kill", 10), ("die", 138)]
    assert find_causes(events) == [C]
    assert find_causes(events, inspected=make_container_snapshot(started=0, stop_signal=10)) == [R]


def test_a_label_hides_the_exit_code() -> None:
    """Only an inspection shows it; without one only a request decides the cause."""
    labels = {"exitCode": "0"}
    events: list[Step] = ["start", ("die", 0)]
    dead = make_container_snapshot(started=0, finished=0.04, exit_code=7, labels=labels)
    assert find_causes(events, labels=labels, inspected=dead) == [C]
    assert find_causes(events, labels=labels) == [Cause.UNKNOWN]
    assert find_causes(["start", TERM, ("die", 0)], labels=labels) == [R]


def test_the_true_exit_code_is_reported() -> None:
    """The reported exit code is the real one, not that of the label."""
    labels = {"exitCode": "0"}
    dead = make_container_snapshot(started=0, finished=4.9, exit_code=7, labels=labels)
    (death,) = new_tracker().on_event(make_event("die", 0, second=5, labels=labels), dead)
    assert (death.exit_code, death.cause) == (7, C)


@pytest.mark.parametrize(
    "inspected",
    [
        make_container_snapshot(started=6, finished=4, labels={"exitCode": "0"}),
        make_container_snapshot(started=6, finished=7, exit_code=7, labels={"exitCode": "0"}),
        make_container_snapshot(started=3, labels={"exitCode": "0"}),
    ],
)
def test_an_inspection_of_another_life_gives_no_exit_code(inspected: ContainerSnapshot) -> None:
    """The container started again, died again, or seems never to have died."""
    (death,) = new_tracker().on_event(
        make_event("die", 0, second=5, labels={"exitCode": "0"}), inspected
    )
    assert (death.exit_code, death.cause) == (None, Cause.UNKNOWN)


@pytest.mark.parametrize(("exit_code", "cause"), [(0, R), (143, R), (137, R), (3, C)])
def test_a_label_hides_the_signal(exit_code: int, cause: Cause) -> None:
    """If a label hides the signal, the exit code shows whether it was a terminating one."""
    labels = {"signal": "1"}
    assert find_causes(["start", ("kill", 1), ("die", exit_code)], labels=labels) == [cause]


def test_podmans_real_values_win_over_labels() -> None:
    """In Podman's events a label named like an attribute hides nothing."""
    labels = {"exitCode": "0"}
    tracker = new_tracker(podman=True)
    tracker.on_event(make_event("start", labels=labels))
    (death,) = tracker.on_event(make_event("die", 7, second=1))
    assert (death.exit_code, death.cause) == (7, C)


def test_an_oom_that_was_not_sent_precedes_its_death() -> None:
    """A late ``oom`` is not reported again; an ``oom`` of the next life is."""
    tracker = new_tracker()
    dead = make_container_snapshot(started=0, finished=4.9, exit_code=137, oom_killed=True)
    oom, death = tracker.on_event(make_event("die", 137, second=5), dead)
    assert (oom.action, oom.origin, oom.time_ns) == ("oom", Origin.INFERRED, at(5))
    assert (death.action, death.cause, death.origin) == ("die", M, Origin.LIVE)
    assert tracker.on_event(make_event("oom", second=4.8)) == []
    tracker.on_event(make_event("start", second=6))
    assert actions(tracker.on_event(make_event("oom", second=7))) == ["oom"]


def test_an_oom_that_was_sent_is_reported_once() -> None:
    """An ``oom`` that the engine sent is not inferred from the inspection as well."""
    dead = make_container_snapshot(started=0, finished=0.09, exit_code=137, oom_killed=True)
    reported = process_batch(
        new_tracker(),
        [make_event("start"), make_event("oom", second=0.05), make_event("die", 137, second=0.1)],
        dead,
    )
    assert actions(reported) == ["start", "oom", "die"]
    assert reported[-1].cause is M


@pytest.mark.parametrize("ending", ["destroy", "remove"])
@pytest.mark.parametrize("requested", [False, True])
def test_an_unreported_death_precedes_the_removal(ending: str, requested: bool) -> None:
    """A removal reports the missing death first; its late event is not reported."""
    tracker = new_tracker()
    tracker.on_event(make_event("start", labels={"tier": "web"}))
    if requested:
        tracker.on_event(make_event("kill", 15, second=4))
    death, removal = tracker.on_event(make_event(ending, second=5))
    assert (death.action, death.origin, death.time_ns) == ("die", Origin.INFERRED, at(5))
    assert (death.exit_code, death.cause) == (None, R if requested else U)
    assert (death.engine, death.host, death.actor.id) == ("here", "node-1", "c")
    assert death.actor.attributes == {"tier": "web", "name": "web", "image": "bb:1"}
    assert removal.action == ending
    assert tracker.on_event(make_event("die", 137, second=4.9)) == []
    assert actions(tracker.on_event(make_event(ending, second=6))) == [ending]
    assert tracker.registry.list_all() == []


@pytest.mark.parametrize("ending", ["destroy", "remove"])
@pytest.mark.parametrize(
    "before",
    [
        [],
        [make_event("create")],
        [make_event("die", 0, second=1)],
        [make_event("start"), make_event("die", 0, second=1)],
        [make_event("start", second=600)],
    ],
)
def test_a_removal_infers_no_other_death(ending: str, before: list[Event]) -> None:
    """No death is inferred if the container is not known to run or the clock was set back."""
    tracker = new_tracker()
    process_batch(tracker, before)
    assert actions(tracker.on_event(make_event(ending, second=5))) == [ending]
    assert actions(tracker.on_event(make_event("die", 0, second=6))) == ["die"]


def test_a_removal_after_a_restart() -> None:
    """After a restart of relay, a removal still reports the missing death of a known container."""
    tracker = new_tracker()
    tracker.on_event(make_event("start"))
    tracker = restore_tracker(tracker)
    assert actions(tracker.on_event(make_event("destroy", second=5))) == ["die", "destroy"]


@pytest.mark.parametrize(
    ("exit_code", "cause"), [(0, U), (143, U), (137, U), (3, C), (255, C), (None, U)]
)
def test_a_death_whose_request_may_have_been_missed(exit_code: int | None, cause: Cause) -> None:
    """If a request may have been missed and the death seems requested, its cause is unknown."""
    tracker = new_tracker()
    tracker.on_event(make_event("start"))
    (death,) = tracker.on_event(
        make_event("die", exit_code, second=20), blind_window=BlindWindow(at(10), at(15))
    )
    assert death.cause is cause


def test_a_blind_window_in_an_earlier_life_explains_no_death() -> None:
    """A request that may have been missed before the last start does not count."""
    tracker = new_tracker()
    tracker.on_event(make_event("start", second=16))
    (death,) = tracker.on_event(
        make_event("die", 143, second=20), blind_window=BlindWindow(at(10), at(15))
    )
    assert death.cause is C


def test_containers_are_independent() -> None:
    """A request to one container does not explain the death of another."""
    tracker = new_tracker()
    tracker.on_event(make_event("kill", 9, id_="a"))
    (death,) = tracker.on_event(make_event("die", 137, id_="b"))
    assert death.cause is C


@pytest.mark.parametrize(
    "event",
    [
        make_event("die", 1, type_="volume"),
        make_event("destroy", type_="network"),
        make_event("exec_die", 1),
        make_event("pause"),
    ],
)
def test_other_events_are_reported_unchanged(event: Event) -> None:
    """Events of other types and with other actions are reported unchanged."""
    tracker = new_tracker()
    assert tracker.on_event(event) == [event]
    assert tracker.registry.list_all() == []


def test_a_death_without_a_container_id() -> None:
    """Without an id, only the exit code gives the cause, and no state is kept."""
    tracker = new_tracker()
    (death,) = tracker.on_event(make_event("die", 1, id_=""))
    assert death.cause is C
    assert tracker.registry.list_all() == []


def test_the_state_of_a_container() -> None:
    """The state has the container's current names, and its labels without other attributes."""
    tracker = new_tracker()
    tracker.on_event(make_event("create", labels={"tier": "web", "signal": "1"}))
    tracker.on_event(msgspec.structs.replace(make_event("rename"), actor=named("db", None)))
    known = tracker.registry.get("c")
    assert known is not None
    assert (known.name, known.image, known.labels) == ("db", "bb:1", {"tier": "web"})
    assert (known.exit_code_hidden, known.signal_hidden) == (False, True)
    assert (known.started_ns, known.died_ns) == (None, None)


def named(name: str, image: str | None) -> object:
    return msgspec.structs.replace(make_event("rename").actor, name=name, image=image)


def test_an_inspection_updates_the_whole_state() -> None:
    """An inspection that one value needed also updates all others."""
    tracker = new_tracker()
    tracker.on_event(
        make_event("kill", 10),
        make_container_snapshot(started=0, labels={"signal": "10"}, stop_signal=12),
    )
    known = tracker.registry.get("c")
    assert known is not None
    assert (known.labels, known.signal_hidden, known.stop_signal) == ({"signal": "10"}, True, 12)


def test_a_stop_signal_is_inspected_once() -> None:
    """Also the usual one is remembered, so that no later signal needs an inspection."""
    tracker = new_tracker()
    tracker.on_event(make_event("start"))
    signalled = make_event("kill", 10, second=1)
    assert tracker.assess(signalled, tuple).needs_inspection
    tracker.on_event(signalled, make_container_snapshot(started=0))
    assert tracker.assess(make_event("kill", 12, second=2), tuple) == NOTHING_MISSING
    (death,) = tracker.on_event(make_event("die", 138, second=3))
    assert death.cause is Cause.CRASHED


def test_a_death_that_is_not_reported_needs_no_answer() -> None:
    """It was inferred: before, or when the container was removed."""
    tracker = new_tracker()
    tracker.on_event(make_event("start", id_="a"))
    tracker.on_event(make_event("destroy", id_="a", second=1))
    assert tracker.assess(make_event("die", 137, id_="a"), tuple) == NOTHING_MISSING
    tracker.on_snapshot(make_snapshot(make_container_snapshot(started=0, finished=5)), None)
    assert tracker.assess(make_event("die", 137, second=5), tuple) == NOTHING_MISSING
    assert tracker.assess(make_event("die", 137, second=4), tuple) != NOTHING_MISSING


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("cut", [False, True])
def test_the_causes_of_a_recorded_stream(engine: str, cut: bool) -> None:
    """Causes are found in any order of ``stop`` and ``die``, also after a restart of relay."""
    tracker = new_tracker()
    found: dict[str, set[Cause | None]] = {}
    for line in read_records(engine):
        event = parse_event(line, engine=engine, host=engine, live_from_ns=0)
        assert isinstance(event, Event)
        for reported in tracker.on_event(event):
            if reported.action == "die" and reported.actor.name:
                found.setdefault(reported.actor.name, set()).add(reported.cause)
        if cut:
            tracker = restore_tracker(tracker)
    assert {name: found[name] for name in EXPECTED} == EXPECTED


EXPECTED = {
    "ok": {Cause.FINISHED},
    "failed": {Cause.CRASHED},
    "oomed": {Cause.OOM},
    "stopped": {Cause.REQUESTED},
    "graceful": {Cause.REQUESTED},
    "restarted": {Cause.REQUESTED},
    "huped": {Cause.REQUESTED},
    "removed": {Cause.REQUESTED},
    "hostkilled": {Cause.CRASHED},
    "looping": {Cause.CRASHED},
    "shop-web-1": {Cause.CRASHED},
}
