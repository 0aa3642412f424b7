"""The judge of the crash matrix sees what it is there to see."""

import json
from typing import Any

import pytest

from relay.core.event import Cause
from tests.crash.plan import EXIT_CODE, MORE, Happening
from tests.crash.receiver import CURIOUS, DESTINATIONS, Arrival
from tests.crash.verdict import FIELD, UNDER_WAY, Fact, judge

A, B = DESTINATIONS
START, DIE, UNHEARD, WANTED = (
    (1, "start", "web"),
    (2, "die", "web"),
    (3, "die", "db"),
    (4, "start", "app"),
)
TOLD = {START: Happening("web", "start"), DIE: Happening("web", "die", Cause.CRASHED)}
FORGOTTEN = {**TOLD, UNHEARD: Happening("db", "die", Cause.CRASHED, unheard=True)}
CURIOSITY = {WANTED: Happening("app", "start", labels=MORE)}


def arrival(
    destination: str,
    fact: Fact,
    id_: str | None = None,
    *,
    life: int = 0,
    accepted: bool = True,
    included: dict[str, Any] | None = None,
    **changes: object,
) -> Arrival:
    """What tells of the fact, but for the changes, under an id of its own unless one is given."""
    time_ns, action, name = fact
    told = {**FORGOTTEN, **CURIOSITY}.get(fact)
    route = "more" if destination == CURIOUS else "everything"
    event = {
        "id": f"evt_{time_ns}",
        "type": "relay" if action == "gap" else "container",
        "time_ns": time_ns,
        "action": action,
        "actor": {"name": name},
        "cause": told.cause if told else None,
        "exit_code": EXIT_CODE if action == "die" else None,
        "origin": "live",
        **changes,
    }
    document = {"route": route, "events": [event], "included": included}
    default = f"ntf_more_{time_ns}" if destination == CURIOUS else f"ntf_{time_ns}"
    return Arrival(destination, id_ or default, life, json.dumps(document).encode(), accepted)


def more(missing: str | None, *fields: str) -> dict[str, Any]:
    """What was included, or why it was not."""
    return {"inspect": dict.fromkeys(fields), "missing": missing}


ALL = [arrival(name, fact) for name in DESTINATIONS for fact in (START, DIE)]
GAPS = [arrival(name, (5, "gap", "here")) for name in DESTINATIONS]
INFERRED = [arrival(name, UNHEARD, origin="inferred") for name in DESTINATIONS]


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
    again = [arrival(A, DIE, life=1 + number) for number in range(UNDER_WAY)]
    one_more = arrival(A, DIE, life=1 + UNDER_WAY)
    assert judge(TOLD, [*ALL, *again], kills=1).repeated == UNDER_WAY
    assert judge(TOLD, [*ALL, *again], kills=1).faults == ()
    assert judge(TOLD, [*ALL, *again, one_more], kills=1).faults
    assert judge(TOLD, [*ALL, again[0]], kills=0).faults


def test_a_forgotten_death_is_inferred_and_the_gap_declared() -> None:
    """Both by every destination; then all is well."""
    verdict = judge(FORGOTTEN, [*ALL, *GAPS, *INFERRED], kills=0)
    assert (verdict.events, verdict.unheard, verdict.gaps, verdict.lost) == (6, 2, 1, 0)
    assert verdict.faults == ()


def test_a_death_in_doubt_is_heard_or_inferred_and_not_both() -> None:
    """Either is well; one after the other would be two events of one death."""
    told = {**FORGOTTEN, DIE: Happening("web", "die", Cause.CRASHED, in_doubt=True)}
    others = [it for it in [*ALL, *GAPS, *INFERRED] if it.event["id"] != "evt_2"]
    heard = [arrival(name, DIE) for name in DESTINATIONS]
    inferred = [
        arrival(name, DIE, "ntf_other", id="evt_other", origin="inferred") for name in DESTINATIONS
    ]
    assert judge(told, [*others, *heard], kills=1).faults == ()
    assert judge(told, [*others, *inferred], kills=1).faults == ()
    assert judge(told, [*others, *heard, *inferred], kills=1).faults


@pytest.mark.parametrize(
    ("told", "arrivals", "says"),
    [
        (FORGOTTEN, [*ALL, *INFERRED], f"{A} was told of 0 gaps and not of 1"),
        (FORGOTTEN, [*ALL, *INFERRED, GAPS[0]], f"{B} was told of 0 gaps and not of 1"),
        (TOLD, [*ALL, *GAPS], f"{A} was told of 1 gaps and not of 0"),
        (
            FORGOTTEN,
            [*ALL, *INFERRED, *GAPS, arrival(A, (6, "gap", "here"))],
            f"{A} was told of 2 gaps and not of 1",
        ),
        (FORGOTTEN, [*ALL, *GAPS, arrival(A, UNHEARD), INFERRED[1]], "unheard is True"),
        (TOLD, [*ALL[:3], arrival(B, DIE, origin="inferred")], "unheard is False"),
        (
            FORGOTTEN,
            [*ALL, *GAPS, *INFERRED, arrival(A, (7, "die", "db"), origin="inferred")],
            "never happened",
        ),
    ],
    ids=["no gap", "one not told", "no reason", "too many", "heard", "inferred", "twice"],
)
def test_what_is_inferred_without_need_or_not_at_all(
    told: dict[Fact, Happening], arrivals: list[Arrival], says: str
) -> None:
    """A gap and an inferred death belong to what the engine forgot, and to nothing else."""
    assert any(says in fault for fault in judge(told, arrivals, kills=1).faults)


@pytest.mark.parametrize(
    ("included", "enriched", "is_right"),
    [
        (more(None, FIELD), 1, True),
        (more("could not be had in time"), 0, True),
        (more("the container is gone"), 0, True),
        (more("the engine could not be asked: nonsense"), 0, False),
        (more(None), 0, False),
        (None, 0, False),
    ],
    ids=["there", "too late", "gone", "another reason", "empty", "nothing"],
)
def test_what_a_route_wants_besides(
    included: dict[str, Any] | None, enriched: int, is_right: bool
) -> None:
    """It comes to the one that wants it, or there is a good reason; and to nobody else."""
    others = [arrival(name, WANTED) for name in DESTINATIONS]
    verdict = judge(CURIOSITY, [*others, arrival(CURIOUS, WANTED, included=included)], kills=0)
    assert (verdict.events, verdict.lost, verdict.enriched) == (3, 0, enriched)
    assert bool(verdict.faults) is not is_right
    assert judge(CURIOSITY, others, kills=0).lost == 1
    unwanted = [*ALL[:3], arrival(B, DIE, included=included)]
    assert bool(judge(TOLD, unwanted, kills=0).faults) is (included is not None)


@pytest.mark.parametrize(
    ("arrivals", "says"),
    [
        ([*ALL, arrival(A, DIE, "ntf_other")], "came as ['ntf_2', 'ntf_other']"),
        ([*ALL[1:], arrival(A, START, "ntf_2")], "ntf_2 stands for 2 events"),
        ([*ALL, arrival(A, DIE, origin="replayed")], "ntf_2 came as"),
        ([*ALL, arrival(A, DIE)], "accepted ntf_2 2 times from life 0"),
        ([*ALL, arrival(A, (3, "die", "db"))], "never happened"),
        ([*ALL[:3], arrival(B, DIE, cause="requested")], "not crashed"),
        ([*ALL[:3], arrival(B, DIE, exit_code=0)], "a wrong exit code"),
        ([*ALL, arrival(CURIOUS, DIE, included=more(None, FIELD))], "never happened"),
        ([ALL[1], ALL[0], *ALL[2:]], f"{A} heard out of order"),
    ],
    ids=[
        "two ids",
        "one id for two",
        "changed",
        "sent twice",
        "invented",
        "wrong cause",
        "wrong exit code",
        "not wanted there",
        "out of order",
    ],
)
def test_every_other_fault_is_told(arrivals: list[Arrival], says: str) -> None:
    """What came is not lost, and still it is not right."""
    verdict = judge(TOLD, arrivals, kills=1)
    assert verdict.lost == 0
    assert any(says in fault for fault in verdict.faults)
