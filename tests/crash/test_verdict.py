"""The crash matrix detects what it should detect."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from relay.core.event import Cause
from tests.crash.incidents import find_crashed
from tests.crash.plan import EXIT_CODE, INCLUDE_LABELS, ContainerEvent
from tests.crash.receiver import DESTINATIONS, INCIDENT_HOOK, INCLUDE_HOOK, Arrival
from tests.crash.verdict import INCLUDED_FIELD, MAX_REPEATED_PER_KILL, EventKey, Verdict
from tests.crash.verdict import check_run as check_whole_run

A, B = DESTINATIONS
START, DIE, FORGOTTEN_DEATH, INCLUDED = (
    (1, "start", "web"),
    (2, "die", "web"),
    (3, "die", "db"),
    (4, "start", "app"),
)
HAPPENED = {START: ContainerEvent("web", "start"), DIE: ContainerEvent("web", "die", Cause.CRASHED)}
HAPPENED_WITH_FORGOTTEN = {
    **HAPPENED,
    FORGOTTEN_DEATH: ContainerEvent("db", "die", Cause.CRASHED, forgotten=True),
}
HAPPENED_INCLUDED = {INCLUDED: ContainerEvent("app", "start", labels=INCLUDE_LABELS)}


def check_run(
    happened: dict[EventKey, ContainerEvent], arrivals: Sequence[Arrival], kills: int
) -> Verdict:
    """Check a run in which every crash was reported as an incident."""
    incidents = [
        {"id": f"inc_{it}", "subject": it, "count": 1, "ended_at": None, "notified_before": False}
        for it in find_crashed(happened.values())
    ]
    document = {"count": len(incidents), "more": 0, "incidents": incidents}
    reported = Arrival(INCIDENT_HOOK, "ntf_told", 0, json.dumps(document).encode(), accepted=True)
    return check_whole_run(happened, [*arrivals, reported], kills)


def arrival(
    destination: str,
    key: EventKey,
    id_: str | None = None,
    *,
    lifetime: int = 0,
    accepted: bool = True,
    included: dict[str, Any] | None = None,
    **changes: object,
) -> Arrival:
    """An arrival of the event, with these changes, under an id of its own unless one is given."""
    time_ns, action, name = key
    happened = {**HAPPENED_WITH_FORGOTTEN, **HAPPENED_INCLUDED}.get(key)
    route = "more" if destination == INCLUDE_HOOK else "everything"
    event = {
        "id": f"evt_{time_ns}",
        "type": "relay" if action == "gap" else "container",
        "time_ns": time_ns,
        "action": action,
        "actor": {"name": name},
        "cause": happened.cause if happened else None,
        "exit_code": EXIT_CODE if action == "die" else None,
        "origin": "live",
        **changes,
    }
    document = {"route": route, "events": [event], "included": included}
    default = f"ntf_more_{time_ns}" if destination == INCLUDE_HOOK else f"ntf_{time_ns}"
    return Arrival(destination, id_ or default, lifetime, json.dumps(document).encode(), accepted)


def make_included(missing: str | None, *fields: str) -> dict[str, Any]:
    """Included content, or why it is missing."""
    return {"inspect": dict.fromkeys(fields), "missing": missing}


ALL = [arrival(name, key) for name in DESTINATIONS for key in (START, DIE)]
GAPS = [arrival(name, (5, "gap", "here")) for name in DESTINATIONS]
INFERRED = [arrival(name, FORGOTTEN_DEATH, origin="inferred") for name in DESTINATIONS]


def test_no_fault_if_everything_arrives_once() -> None:
    """Nothing is lost or repeated."""
    verdict = check_run(HAPPENED, ALL, kills=0)
    assert (verdict.events, verdict.arrived, verdict.repeated, verdict.lost) == (4, 4, 0, 0)
    assert verdict.faults == ()


def test_a_notification_that_was_only_refused_is_lost() -> None:
    """A request answered with status 500 does not count; each destination counts by itself."""
    refused = [arrival(A, START), arrival(A, DIE, accepted=False), *ALL[2:]]
    verdict = check_run(HAPPENED, refused, kills=0)
    assert verdict.lost == 1
    assert verdict.faults == (f"{A} never accepted {DIE}",)


def test_a_refusal_is_no_repetition() -> None:
    """Only accepted notifications are counted as repeated, however often they were refused."""
    refused = arrival(A, START, lifetime=1, accepted=False)
    verdict = check_run(HAPPENED, [refused, *ALL, refused], kills=0)
    assert (verdict.arrived, verdict.repeated, verdict.faults) == (6, 0, ())


def test_a_kill_may_repeat_what_was_under_way() -> None:
    """As many as one destination may have under way at once, and none without a kill."""
    again = [arrival(A, DIE, lifetime=1 + number) for number in range(MAX_REPEATED_PER_KILL)]
    one_more = arrival(A, DIE, lifetime=1 + MAX_REPEATED_PER_KILL)
    assert check_run(HAPPENED, [*ALL, *again], kills=1).repeated == MAX_REPEATED_PER_KILL
    assert check_run(HAPPENED, [*ALL, *again], kills=1).faults == ()
    assert check_run(HAPPENED, [*ALL, *again, one_more], kills=1).faults
    assert check_run(HAPPENED, [*ALL, again[0]], kills=0).faults


def test_a_forgotten_death_is_inferred_and_the_gap_declared() -> None:
    """Every destination gets both."""
    verdict = check_run(HAPPENED_WITH_FORGOTTEN, [*ALL, *GAPS, *INFERRED], kills=0)
    assert (verdict.events, verdict.forgotten, verdict.gaps, verdict.lost) == (6, 2, 1, 0)
    assert verdict.faults == ()


def test_a_death_in_doubt_is_reported_or_inferred_but_not_both() -> None:
    """Both together would be two events for one death."""
    happened = {
        **HAPPENED_WITH_FORGOTTEN,
        DIE: ContainerEvent("web", "die", Cause.CRASHED, in_doubt=True),
    }
    others = [it for it in [*ALL, *GAPS, *INFERRED] if it.event["id"] != "evt_2"]
    reported = [arrival(name, DIE) for name in DESTINATIONS]
    inferred = [
        arrival(name, DIE, "ntf_other", id="evt_other", origin="inferred") for name in DESTINATIONS
    ]
    assert check_run(happened, [*others, *reported], kills=1).faults == ()
    assert check_run(happened, [*others, *inferred], kills=1).faults == ()
    assert check_run(happened, [*others, *reported, *inferred], kills=1).faults


@pytest.mark.parametrize(
    ("happened", "arrivals", "message"),
    [
        (HAPPENED_WITH_FORGOTTEN, [*ALL, *INFERRED], f"{A} got 0 gaps instead of 1"),
        (
            HAPPENED_WITH_FORGOTTEN,
            [*ALL, *INFERRED, GAPS[0]],
            f"{B} got 0 gaps instead of 1",
        ),
        (HAPPENED, [*ALL, *GAPS], f"{A} got 1 gaps instead of 0"),
        (
            HAPPENED_WITH_FORGOTTEN,
            [*ALL, *INFERRED, *GAPS, arrival(A, (6, "gap", "here"))],
            f"{A} got 2 gaps instead of 1",
        ),
        (
            HAPPENED_WITH_FORGOTTEN,
            [*ALL, *GAPS, arrival(A, FORGOTTEN_DEATH), INFERRED[1]],
            "forgotten is True",
        ),
        (HAPPENED, [*ALL[:3], arrival(B, DIE, origin="inferred")], "forgotten is False"),
        (
            HAPPENED_WITH_FORGOTTEN,
            [*ALL, *GAPS, *INFERRED, arrival(A, (7, "die", "db"), origin="inferred")],
            "never happened",
        ),
    ],
    ids=["no gap", "one destination", "no gap needed", "too many", "reported", "inferred", "twice"],
)
def test_wrong_inferences_and_gaps(
    happened: dict[EventKey, ContainerEvent], arrivals: list[Arrival], message: str
) -> None:
    """Gaps and inferred deaths belong to what the engine forgot, and to nothing else."""
    assert any(message in fault for fault in check_run(happened, arrivals, kills=1).faults)


@pytest.mark.parametrize(
    ("included", "enriched", "is_accepted"),
    [
        (make_included(None, INCLUDED_FIELD), 1, True),
        (make_included("could not be had in time"), 0, True),
        (make_included("the container is gone"), 0, True),
        (make_included("the engine could not be asked: nonsense"), 0, False),
        (make_included(None), 0, False),
        (None, 0, False),
    ],
    ids=["there", "too late", "gone", "another reason", "empty", "nothing"],
)
def test_included_content(
    included: dict[str, Any] | None, enriched: int, is_accepted: bool
) -> None:
    """The route's destination gets it, or an accepted reason; other destinations do not get it."""
    others = [arrival(name, INCLUDED) for name in DESTINATIONS]
    verdict = check_run(
        HAPPENED_INCLUDED, [*others, arrival(INCLUDE_HOOK, INCLUDED, included=included)], kills=0
    )
    assert (verdict.events, verdict.lost, verdict.enriched) == (3, 0, enriched)
    assert bool(verdict.faults) is not is_accepted
    assert check_run(HAPPENED_INCLUDED, others, kills=0).lost == 1
    unwanted = [*ALL[:3], arrival(B, DIE, included=included)]
    assert bool(check_run(HAPPENED, unwanted, kills=0).faults) is (included is not None)


@pytest.mark.parametrize(
    ("arrivals", "message"),
    [
        ([*ALL, arrival(A, DIE, "ntf_other")], "arrived as ['ntf_2', 'ntf_other']"),
        ([*ALL[1:], arrival(A, START, "ntf_2")], "ntf_2 stands for 2 events"),
        ([*ALL, arrival(A, DIE, origin="replayed")], "ntf_2 arrived as"),
        ([*ALL, arrival(A, DIE)], "accepted ntf_2 2 times from lifetime 0"),
        ([*ALL, arrival(A, (3, "die", "db"))], "never happened"),
        ([*ALL[:3], arrival(B, DIE, cause="requested")], "not crashed"),
        ([*ALL[:3], arrival(B, DIE, exit_code=0)], "a wrong exit code"),
        (
            [*ALL, arrival(INCLUDE_HOOK, DIE, included=make_included(None, INCLUDED_FIELD))],
            "never happened",
        ),
        ([ALL[1], ALL[0], *ALL[2:]], f"{A} got out of order"),
    ],
    ids=[
        "two ids",
        "one id for two",
        "changed",
        "sent twice",
        "unexpected",
        "wrong cause",
        "wrong exit code",
        "wrong destination",
        "out of order",
    ],
)
def test_every_other_fault_is_reported(arrivals: list[Arrival], message: str) -> None:
    """Nothing is lost, but the run is not correct."""
    verdict = check_run(HAPPENED, arrivals, kills=1)
    assert verdict.lost == 0
    assert any(message in fault for fault in verdict.faults)
