"""Why a container ended."""

import pytest

from relay.engine.cause import EXPIRY_NS, MEMORY, Causes
from relay.engine.record import parse
from relay.event import Actor, Cause, Event
from tests.streams import ENGINES, lines

Happened = tuple[str, int | None]


def container(action: str, number: int | None = None, *, time_ns: int = 0, id_: str = "c") -> Event:
    return Event(
        id=f"{action}{time_ns}",
        engine="here",
        host="here",
        type="container",
        action=action,
        detail=None,
        scope="local",
        time_ns=time_ns,
        actor=Actor(id_, "web", "bb:1", {}),
        exit_code=number if action == "die" else None,
        signal=number if action == "kill" else None,
    )


def causes(*happened: Happened) -> list[Cause | None]:
    """The causes of the deaths among what happened, a second apart."""
    judge = Causes().judge
    events = [
        judge(container(action, number, time_ns=second * 10**9))
        for second, (action, number) in enumerate(happened)
    ]
    return [event.cause for event in events if event.action == "die"]


@pytest.mark.parametrize(
    ("happened", "cause"),
    [
        ([("die", 3)], Cause.CRASHED),
        ([("die", 0)], Cause.FINISHED),
        ([("die", None)], Cause.UNKNOWN),
        ([("die", 137)], Cause.CRASHED),
        ([("kill", 15), ("die", 0)], Cause.REQUESTED),
        ([("kill", 15), ("kill", 9), ("die", 137)], Cause.REQUESTED),
        ([("stop", None), ("die", 0)], Cause.REQUESTED),
        ([("kill", 1), ("die", 3)], Cause.CRASHED),
        ([("oom", None), ("die", 137)], Cause.OOM),
        ([("oom", None), ("die", 0)], Cause.FINISHED),
        ([("kill", 15), ("oom", None), ("die", 137)], Cause.OOM),
        ([("oom", None), ("kill", 15), ("die", 143)], Cause.REQUESTED),
        ([("kill", 15), ("start", None), ("die", 3)], Cause.CRASHED),
        ([("kill", 15), ("destroy", None), ("die", 3)], Cause.CRASHED),
    ],
)
def test_the_cause_of_a_death(happened: list[Happened], cause: Cause) -> None:
    """What was asked since the start decides, then the exit code."""
    assert causes(*happened) == [cause]


def test_a_request_is_used_up_by_its_death() -> None:
    """The next death is on its own."""
    assert causes(("kill", 15), ("die", 0), ("die", 3)) == [Cause.REQUESTED, Cause.CRASHED]


def test_a_stop_after_its_death_does_not_excuse_the_next() -> None:
    """Docker before 26 says ``stop`` last; the start clears it."""
    assert causes(("kill", 15), ("die", 0), ("stop", None), ("start", None), ("die", 1)) == [
        Cause.REQUESTED,
        Cause.CRASHED,
    ]


@pytest.mark.parametrize(("late_ns", "cause"), [(0, Cause.REQUESTED), (1, Cause.CRASHED)])
def test_a_request_expires(late_ns: int, cause: Cause) -> None:
    """After ten minutes it explains nothing any more."""
    judge = Causes().judge
    judge(container("kill", 2, time_ns=5))
    assert judge(container("die", 1, time_ns=5 + EXPIRY_NS + late_ns)).cause is cause


def test_containers_are_told_apart() -> None:
    """A request to one says nothing of another."""
    judge = Causes().judge
    judge(container("kill", 9, id_="a"))
    assert judge(container("die", 137, id_="b")).cause is Cause.CRASHED


def test_the_memory_is_bounded() -> None:
    """Of too many requests the oldest is forgotten."""
    judge = Causes().judge
    for number in range(MEMORY + 1):
        judge(container("kill", 9, id_=str(number)))
    assert judge(container("die", 137, id_="0")).cause is Cause.CRASHED
    assert judge(container("die", 137, id_="1")).cause is Cause.REQUESTED


def test_other_types_are_left_alone() -> None:
    """A ``die`` of something else has no cause."""
    judge = Causes().judge
    other = container("die", 1)
    assert judge(other).cause is Cause.CRASHED
    volume = parse(
        b'{"Type":"volume","Action":"die","timeNano":1}', engine="", host="", live_from_ns=0
    )
    assert isinstance(volume, Event)
    assert judge(volume).cause is None


@pytest.mark.parametrize("engine", ENGINES)
def test_the_causes_of_a_recorded_stream(engine: str) -> None:
    """On both engines, whatever the order of ``stop`` and ``die``."""
    judge = Causes().judge
    found: dict[str, set[Cause | None]] = {}
    for line in lines(engine):
        event = parse(line, engine=engine, host=engine, live_from_ns=0)
        assert isinstance(event, Event)
        if event.action == "die" and event.actor.name:
            found.setdefault(event.actor.name, set()).add(judge(event).cause)
        else:
            judge(event)
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
