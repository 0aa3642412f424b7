"""Notification ids, and the severity of events."""

import msgspec
import pytest

from relay.core.event import Actor, Cause, Event, Origin, make_self_event
from relay.core.incident import Status
from relay.core.notification import build_notification, make_notification_id
from relay.core.severity import Severity, default_severity
from tests.support.events import make_event
from tests.unit.destinations.samples import CRASH, OOM, UNHEALTHY, container_event


def test_an_id_never_changes() -> None:
    """Receivers drop duplicates by it: the same route and event always give the same id."""
    assert make_notification_id("crashed", "evt_00") == "ntf_66c976883acd79ee62d74d0690b94481"


def test_an_id_depends_on_the_route_and_the_events() -> None:
    """Another route, another event or another order makes another notification."""
    ids = {
        make_notification_id("a", "evt_1", "evt_2"),
        make_notification_id("a", "evt_2", "evt_1"),
        make_notification_id("a", "evt_1"),
        make_notification_id("b", "evt_1"),
    }
    assert len(ids) == 4


def test_an_id_does_not_depend_on_how_relay_learned_of_the_event() -> None:
    """An event that came live and again from the history has one id."""
    replayed = msgspec.structs.replace(CRASH, origin=Origin.REPLAYED)
    assert build_notification("crashed", replayed).id == build_notification("crashed", CRASH).id


def test_one_event_makes_one_notification() -> None:
    """It stands for one event, and no further events were held back."""
    made = build_notification("crashed", CRASH)
    assert made.id == make_notification_id("crashed", CRASH.id)
    assert (made.route, made.events, made.status) == ("crashed", (CRASH,), Status.FIRING)
    assert (made.count, made.suppressed) == (1, 0)


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (CRASH, Severity.CRITICAL),
        (OOM, Severity.CRITICAL),
        (UNHEALTHY, Severity.CRITICAL),
        (container_event("die", 1, "a", {}, cause=Cause.OOM), Severity.CRITICAL),
        (container_event("die", 1, "a", {}, cause=Cause.UNKNOWN), Severity.WARNING),
        (container_event("die", 1, "a", {}, cause=Cause.REQUESTED, exit_code=137), Severity.INFO),
        (container_event("die", 1, "a", {}, cause=Cause.FINISHED, exit_code=0), Severity.INFO),
        (container_event("health_status", 1, "a", {}, health="healthy"), Severity.INFO),
        (container_event("kill", 1, "a", {}, signal=9), Severity.WARNING),
        (container_event("start", 1, "a", {}), Severity.INFO),
        (container_event("start_failed", 1, "a", {}), Severity.CRITICAL),
        (make_self_event("gap", engine="here", host="here", time_ns=1), Severity.CRITICAL),
        (make_self_event("engine_lost", engine="here", host="here", time_ns=1), Severity.CRITICAL),
        (make_self_event("engine_back", engine="here", host="here", time_ns=1), Severity.INFO),
    ],
)
def test_default_severities(event: Event, expected: Severity) -> None:
    """A failure is critical; what somebody asked for is information."""
    assert default_severity(event) is expected


@pytest.mark.parametrize(
    ("type_", "changes", "expected"),
    [
        ("node", {"state.new": "down"}, Severity.WARNING),
        ("node", {"state.new": "ready"}, Severity.INFO),
        ("node", {"availability.new": "drain"}, Severity.INFO),
        ("service", {"replicas.new": "0"}, Severity.WARNING),
        ("service", {"replicas.new": "2"}, Severity.INFO),
        ("service", {"updatestate.new": "paused"}, Severity.WARNING),
        ("service", {"updatestate.new": "rollback_started"}, Severity.WARNING),
        ("service", {"updatestate.new": "completed"}, Severity.INFO),
        ("container", {"state.new": "down", "replicas.new": "0"}, Severity.INFO),
    ],
)
def test_trouble_in_a_swarm_is_a_warning(
    type_: str, changes: dict[str, str], expected: Severity
) -> None:
    """A node that is down, a service without replicas or with a failed update; labels are none."""
    actor = Actor("a", "vm", None, changes)
    assert default_severity(make_event(type=type_, action="update", actor=actor)) is expected
