"""The crash matrix detects what it should detect about incidents."""

import json
from typing import Any

import pytest

from relay.core.event import Cause
from relay.incidents.route_counts import RouteCounts
from relay.incidents.state import Rows
from tests.crash.incidents import find_count_faults, find_incident_faults, find_unreported
from tests.crash.plan import OPTED_OUT_LABELS, ContainerEvent
from tests.crash.receiver import INCIDENT_HOOK, Arrival
from tests.crash.verdict import check_run

WEB = [ContainerEvent("web", "start"), ContainerEvent("web", "die", Cause.CRASHED)]
STOPPED = [ContainerEvent("db", "start"), ContainerEvent("db", "die", Cause.REQUESTED)]
REMOVED = ContainerEvent("web", "destroy")
HAPPENED = [*WEB, *STOPPED, REMOVED]


def incident(name: str = "web", **changes: object) -> dict[str, Any]:
    """An incident as its first message reports it, with these changes."""
    return {
        "id": f"inc_{name}",
        "subject": name,
        "count": 1,
        "ended_at": None,
        "notified_before": False,
        **changes,
    }


END = incident(count=0, ended_at="2026", notified_before=True)


def arrival(
    id_: str, *incidents: dict[str, Any], accepted: bool = True, refused: bool = False, **more: Any
) -> Arrival:
    """A message about incidents."""
    count = sum(each["count"] for each in incidents)
    document = {"count": count, "more": 0, "incidents": incidents, **more}
    return Arrival(INCIDENT_HOOK, id_, 0, json.dumps(document).encode(), accepted, refused)


OPENED, ENDED = arrival("ntf_1", incident()), arrival("ntf_2", END)
REFUSED = arrival("ntf_1", incident(), accepted=False, refused=True)


@pytest.mark.parametrize(
    "arrivals",
    [
        [OPENED, ENDED],
        [OPENED, OPENED, ENDED],
        [arrival("ntf_1", incident(), accepted=False), OPENED, ENDED],
        [arrival("ntf_1", incident(ended_at="2026"))],
        [REFUSED, arrival("ntf_3", incident(ended_at="2026"))],
        [REFUSED, arrival("ntf_3", incident(ended_at="2026"), accepted=False, refused=True)],
    ],
    ids=["two", "again", "failed first", "at once", "refused first", "both refused"],
)
def test_a_good_run(arrivals: list[Arrival]) -> None:
    """The crash and its end were reported, each in a message that was answered for good."""
    assert list(find_unreported(HAPPENED, arrivals)) == []
    assert list(find_incident_faults(HAPPENED, arrivals)) == []


@pytest.mark.parametrize(
    ("arrivals", "expected"),
    [
        ([ENDED], "nobody was told that web crashed"),
        ([OPENED], "the end of web was not told"),
        ([arrival("ntf_1", incident(), accepted=False), ENDED], "nobody was told"),
    ],
    ids=["no crash", "no end", "not accepted"],
)
def test_what_no_message_reported(arrivals: list[Arrival], expected: str) -> None:
    """It counts as lost."""
    (found,) = find_unreported(HAPPENED, arrivals)
    assert expected in found


@pytest.mark.parametrize(
    ("arrivals", "expected"),
    [
        ([OPENED, arrival("ntf_3", incident(notified_before=True))], "told 2 times"),
        ([OPENED, arrival("ntf_3", incident())], "told before, or was not"),
        ([OPENED, arrival("ntf_3", END | {"id": "inc_other"})], "has ids"),
        ([OPENED, ENDED, arrival("ntf_3", END)], "told again after its end"),
        ([arrival("ntf_1", incident("db"))], "never happened"),
        ([arrival("ntf_1", incident(), count=2)], "the counts make 1"),
    ],
    ids=["doubled", "forgotten", "two ids", "two ends", "no crash", "count"],
)
def test_what_was_reported_wrongly(arrivals: list[Arrival], expected: str) -> None:
    """It is a fault."""
    assert any(expected in found for found in find_incident_faults(HAPPENED, arrivals))


def test_an_end_that_did_not_happen() -> None:
    """The container was not removed."""
    (found,) = find_incident_faults(WEB, [OPENED, ENDED])
    assert "never happened" in found


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        (RouteCounts("hook-d", "crashes", taken=2, reported=1, held={"opted_out": 1}), []),
        (RouteCounts("hook-d", "crashes", taken=3, reported=2, held={"opted_out": 1}), ["of 2"]),
        (RouteCounts("hook-d", "crashes", taken=2, reported=2, held={"opted_out": 1}), ["2 cra"]),
        (RouteCounts("hook-d", "crashes", taken=2, reported=2), ["of 1 opted out only 0"]),
    ],
    ids=["good", "twice", "wrong sum", "not counted"],
)
def test_counts(counts: RouteCounts, expected: list[str]) -> None:
    """Each crash is counted once, also that of a container that is not reported."""
    opted_out = ContainerEvent("own", "die", Cause.CRASHED, OPTED_OUT_LABELS)
    faults = find_count_faults([*HAPPENED, opted_out], Rows(route_counts=[counts]))
    assert [fault.startswith(it) for fault, it in zip(faults, expected, strict=True)] == [
        True for _ in expected
    ]


def test_they_are_part_of_the_verdict() -> None:
    """What no message reported is lost; a message that was changed or stored twice is a fault."""
    happened = {(number, it.action, it.container): it for number, it in enumerate(WEB)}
    lost = [fault for fault in check_run(happened, [], kills=0).faults if "nobody" in fault]
    assert lost == ["nobody was told that web crashed"]
    verdict = check_run(happened, [OPENED, arrival("ntf_1", incident(), more=1)], kills=1)
    assert (verdict.reported, verdict.repeated) == (1, 1)
    assert any("arrived as" in fault for fault in verdict.faults)
    assert any("2 times from lifetime 0" in fault for fault in verdict.faults)
