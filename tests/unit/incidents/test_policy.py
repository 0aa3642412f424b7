"""The effective policy of routes and destinations."""

from relay.core.incident import Audience
from relay.incidents.policy import (
    Notify,
    PolicyKeys,
    format_ns,
    resolve_destination_policy,
    resolve_route_policy,
)
from tests.unit.incidents.world import DIED, Setup

NONE = PolicyKeys()
SECOND_NS = 10**9


def test_defaults_depend_on_who_reads() -> None:
    """Programs get events, everybody else incidents; alerting services group by themselves."""
    notified = {each: resolve_route_policy(NONE, NONE, each).notify for each in Audience}
    assert notified == {
        Audience.PEOPLE: Notify.INCIDENTS,
        Audience.PAGER: Notify.INCIDENTS,
        Audience.ALERTS: Notify.INCIDENTS,
        Audience.PROGRAMS: Notify.EVENTS,
    }
    people = resolve_destination_policy(NONE, Audience.PEOPLE)
    pager = resolve_destination_policy(NONE, Audience.PAGER)
    assert (people.group_wait_ns, people.is_limited) == (3 * SECOND_NS, True)
    assert (pager.group_wait_ns, pager.repeat_interval_ns, pager.is_limited) == (0, 0, False)


def test_the_key_of_the_route_counts_first() -> None:
    """Then the destination's, then the default."""
    route = PolicyKeys(resolve_after_ns=5)
    destination = PolicyKeys(resolve_after_ns=7, send_resolved=False)
    policy = resolve_route_policy(route, destination, Audience.PEOPLE)
    assert (policy.resolve_after_ns, policy.send_resolved) == (5, False)
    assert policy.notify is Notify.INCIDENTS


def test_a_policy_in_one_line() -> None:
    """As the check of a configuration prints it."""
    route = {**DIED, "to": ["ops", "audit", "pager"]}
    audiences = {
        "ops": Audience.PEOPLE,
        "audit": Audience.PROGRAMS,
        "pager": Audience.PAGER,
        "unused": Audience.PEOPLE,
    }
    describe = Setup(route, audiences=audiences).policies.describe
    assert describe("ops") == (
        "ops: incidents, grouped by engine, project; told after 3s, then every 1m at most; "
        "reminder every 24h"
    )
    assert describe("audit") == "audit: events"
    assert describe("pager") == "pager: incidents, each at once"
    assert describe("unused") == "unused: nothing"


def test_durations_in_words() -> None:
    """In the largest unit that gives a whole number."""
    values = (0, 1_500_000, 90 * SECOND_NS, 120 * SECOND_NS, 7200 * SECOND_NS)
    assert [format_ns(value) for value in values] == ["0s", "1.5ms", "90s", "2m", "2h"]
