"""The judge of the crash matrix sees what it is there to see."""

import json

import pytest

from relay.event import Cause
from tests.crash.plan import Happening
from tests.crash.receiver import DESTINATIONS, Arrival
from tests.crash.verdict import CONCURRENCY, Fact, judge

A, B = DESTINATIONS
START, DIE = (1, "start", "web"), (2, "die", "web")
TOLD = {START: Happening("web", "start"), DIE: Happening("web", "die", Cause.CRASHED)}


def arrival(
    destination: str,
    fact: Fact,
    id_: str | None = None,
    *,
    life: int = 0,
    accepted: bool = True,
    cause: str | None = "as told",
    origin: str = "live",
) -> Arrival:
    """What tells of the fact, under an id of its own unless another is given."""
    time_ns, action, name = fact
    told = TOLD[fact].cause if cause == "as told" and fact in TOLD else cause
    event = {"time_ns": time_ns, "action": action, "actor": {"name": name}, "cause": told}
    body = json.dumps({"events": [{**event, "origin": origin}]}).encode()
    return Arrival(destination, id_ or f"ntf_{time_ns}", life, body, accepted)


ALL = [arrival(name, fact) for name in DESTINATIONS for fact in (START, DIE)]


def test_all_is_well_when_everything_came_once() -> None:
    """Nothing lost, nothing repeated, no fault."""
    verdict = judge(TOLD, ALL, kills=0)
    assert (verdict.events, verdict.arrived, verdict.repeated, verdict.lost) == (4, 4, 0, 0)
    assert verdict.faults == ()


def test_what_was_only_refused_is_lost() -> None:
    """An arrival that was answered by 500 does not count; each destination counts by itself."""
    refused = [arrival(A, START), arrival(A, DIE, accepted=False), *ALL[2:]]
    verdict = judge(TOLD, refused, kills=0)
    assert verdict.lost == 1
    assert verdict.faults == (f"{A} never accepted {DIE}",)


def test_a_refusal_is_no_repetition() -> None:
    """Only what is accepted again is repeated, however often it was refused."""
    refused = arrival(A, START, life=1, accepted=False)
    verdict = judge(TOLD, [refused, *ALL, refused], kills=0)
    assert (verdict.arrived, verdict.repeated, verdict.faults) == (6, 0, ())


def test_a_kill_may_repeat_what_was_under_way_and_no_more() -> None:
    """As many as one destination may have under way at once, and none without a kill."""
    again = [arrival(A, DIE, life=1 + number) for number in range(CONCURRENCY)]
    one_more = arrival(A, DIE, life=1 + CONCURRENCY)
    assert judge(TOLD, [*ALL, *again], kills=1).repeated == CONCURRENCY
    assert judge(TOLD, [*ALL, *again], kills=1).faults == ()
    assert judge(TOLD, [*ALL, *again, one_more], kills=1).faults
    assert judge(TOLD, [*ALL, again[0]], kills=0).faults


@pytest.mark.parametrize(
    ("arrivals", "says"),
    [
        ([*ALL, arrival(A, DIE, "ntf_other")], "came as ['ntf_2', 'ntf_other']"),
        ([*ALL[1:], arrival(A, START, "ntf_2")], "ntf_2 stands for 2 events"),
        ([*ALL, arrival(A, DIE, origin="replayed")], "ntf_2 came as"),
        ([*ALL, arrival(A, DIE)], "accepted ntf_2 2 times from life 0"),
        ([*ALL, arrival(A, (3, "die", "db"))], "never happened"),
        ([*ALL[:3], arrival(B, DIE, cause="requested")], "not crashed"),
        ([ALL[1], ALL[0], *ALL[2:]], f"{A} heard out of order"),
    ],
    ids=[
        "two ids",
        "one id for two",
        "changed",
        "sent twice",
        "invented",
        "wrong cause",
        "out of order",
    ],
)
def test_every_other_fault_is_told(arrivals: list[Arrival], says: str) -> None:
    """What came is not lost, and still it is not right."""
    verdict = judge(TOLD, arrivals, kills=1)
    assert verdict.lost == 0
    assert any(says in fault for fault in verdict.faults)
