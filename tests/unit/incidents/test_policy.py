"""The effective policy of routes and destinations."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.config import Config
from relay.core.incident import Audience, Notify
from relay.destinations.catalog import default_config, parse_config
from relay.incidents.policy import (
    Policies,
    PolicyKeys,
    RoutePolicy,
    build_policies,
    format_ns,
    resolve_destination_policy,
    resolve_route_policy,
)
from relay.incidents.policy_warnings import find_policy_warnings
from tests.unit.incidents.world import DIED, Setup

NONE = PolicyKeys()
SECOND_NS = 10**9
MINUTE_NS = 60 * SECOND_NS


def read(*routes: str, ops: str = "", audit: str = "") -> Config:
    """A configuration of a chat, a program and a pager, with these keys and routes."""
    lines = "".join(f"  - {{name: r{at}, {route}}}\n" for at, route in enumerate(routes))
    text = f"""
engines: {{here: {{}}, edge: {{url: 'tcp://edge:2376'}}}}
destinations:
  ops: {{type: slack, url: 'https://hooks.slack.com/services/T0/B0/c', {ops}}}
  audit: {{type: http, url: 'https://h.lan', {audit}}}
  pager: {{type: pagerduty, routing_key: {"a1" * 16}}}
routes:
{lines}"""
    return parse_config(text, file="f", environ={}, folder=Path())


def build(*routes: str, ops: str = "", audit: str = "") -> Policies:
    """The policies of such a configuration."""
    return build_policies(read(*routes, ops=ops, audit=audit))


def warnings(*routes: str, ops: str = "", audit: str = "") -> list[str]:
    """The path and the message of each warning about such a configuration."""
    config = read(*routes, ops=ops, audit=audit)
    found = find_policy_warnings(config, build_policies(config))
    return [f"{'.'.join(map(str, issue.path))}: {issue.message}" for issue in found]


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
        "incidents, grouped by engine and project: after 3s, then at most every 1m; "
        "resolved after 1m; reminder every 24h"
    )
    assert describe("audit") == "every event at once"
    assert describe("pager") == "incidents, each at once; resolved after 1m"
    assert describe("unused") == "nothing: no route sends to it"


def test_durations_in_words() -> None:
    """In the largest unit that gives a whole number."""
    values = (0, 1_500_000, 90 * SECOND_NS, 120 * SECOND_NS, 7200 * SECOND_NS)
    assert [format_ns(value) for value in values] == ["0s", "1.5ms", "90s", "2m", "2h"]


def test_policies_of_a_configuration() -> None:
    """Every destination has one, and each route one for each of its destinations."""
    policies = build(
        "to: [ops, audit, pager]",
        "to: ops, resolve_after: 5m, send_resolved: false",
        "to: [ops, audit], notify: incidents",
        "match: {action: 'exec_*'}, drop: true",
        ops="group_by: [label.team], group_wait: 500ms, group_interval: 2m, repeat_interval: 0s",
        audit="resolve_after: 2m",
    )
    ops = policies.destinations["ops"]
    assert (ops.audience, ops.group_by) == (Audience.PEOPLE, ("label.team",))
    assert (ops.group_wait_ns, ops.group_interval_ns) == (SECOND_NS // 2, 2 * MINUTE_NS)
    assert ops.repeat_interval_ns == 0
    assert policies.destinations["pager"] == resolve_destination_policy(NONE, Audience.PAGER)
    assert policies.routes == {
        ("r0", "ops"): RoutePolicy(),
        ("r0", "audit"): RoutePolicy(Notify.EVENTS, 2 * MINUTE_NS),
        ("r0", "pager"): RoutePolicy(),
        ("r1", "ops"): RoutePolicy(resolve_after_ns=5 * MINUTE_NS, send_resolved=False),
        ("r2", "ops"): RoutePolicy(),
        ("r2", "audit"): RoutePolicy(Notify.INCIDENTS, 2 * MINUTE_NS),
    }
    assert policies.engines == frozenset({"here", "edge"})


def test_notify_events_restores_single_events() -> None:
    """On the destination for all routes, on a route for its destinations."""
    everywhere = build("to: [ops, pager]", "to: ops, notify: incidents", ops="notify: events")
    assert everywhere.incident_destinations == {"r0": {"pager"}, "r1": {"ops"}}
    on_route = build("to: [ops, pager], notify: events", "to: ops")
    assert on_route.incident_destinations == {"r1": {"ops"}}


def test_policies_without_a_configuration() -> None:
    """The built-in configuration prints events."""
    policies = build_policies(default_config())
    assert policies.incident_destinations == {}
    assert policies.describe("terminal") == "every event at once"


@pytest.mark.parametrize(
    ("routes", "ops", "line"),
    [
        (
            ["to: ops"],
            "group_by: [], repeat_interval: 0s",
            "incidents, all in one group: after 3s, then at most every 1m; resolved after 1m; "
            "no reminder",
        ),
        (
            ["to: ops", "to: ops, resolve_after: 90s", "to: ops, send_resolved: false"],
            "group_by: [engine, project, service], group_wait: 0s",
            "incidents, grouped by engine, project and service: after 0s, then at most every 1m; "
            "resolved after 1m (r0, r2) or 90s (r1), not told (r2); reminder every 24h",
        ),
        (
            ["to: ops, notify: events", "to: ops", "to: ops, notify: events"],
            "send_resolved: false, group_by: engine, repeat_interval: 5d",
            "incidents, grouped by engine: after 3s, then at most every 1m; resolved after 1m, "
            "not told; reminder every 120h; every event of r0 and r2 at once",
        ),
        (["to: ops"], "notify: events", "every event at once"),
        (["to: audit"], "", "nothing: no route sends to it"),
    ],
)
def test_policies_in_one_line(routes: list[str], ops: str, line: str) -> None:
    """What routes differ in has their names."""
    assert build(*routes, ops=ops).describe("ops") == line


@pytest.mark.parametrize(
    ("routes", "keys", "expected"),
    [
        (["to: [ops, audit, pager]"], {"ops": "group_by: [], resolve_after: 5m"}, []),
        (["to: audit"], {"audit": "notify: incidents, group_wait: 5s"}, []),
        (["to: audit", "to: audit, notify: incidents"], {"audit": "group_wait: 5s"}, []),
        (["to: [audit, ops], resolve_after: 5m"], {}, []),
        (["to: audit, notify: incidents, send_resolved: false"], {}, []),
        (["to: pager"], {"audit": "group_wait: 5s"}, []),  # nothing is sent there at all
        (
            ["to: audit"],
            {"audit": "group_wait: 5s, send_resolved: true"},
            [
                "destinations.audit.send_resolved: does nothing: it is told of events: "
                "write 'notify: incidents' as well",
                "destinations.audit.group_wait: does nothing: it is told of events: "
                "write 'notify: incidents' as well",
            ],
        ),
        (
            ["to: ops, notify: events"],
            {"ops": "notify: incidents, group_by: []"},
            [
                "destinations.ops.group_by: does nothing: every route to it has 'notify: events'",
            ],
        ),
        (
            ["to: audit, resolve_after: 5m", "to: [ops, audit], send_resolved: false"],
            {"ops": "notify: events"},
            [
                "routes.0.resolve_after: does nothing: its destinations are told of events: "
                "write 'notify: incidents' as well",
                "routes.1.send_resolved: does nothing: its destinations are told of events: "
                "write 'notify: incidents' as well",
            ],
        ),
    ],
)
def test_keys_without_effect(routes: list[str], keys: dict[str, str], expected: list[str]) -> None:
    """A key about incidents does nothing if only events are reported."""
    assert warnings(*routes, **keys) == expected


_durations = st.none() | st.integers(1, 10**12)
_keys = st.builds(
    PolicyKeys,
    notify=st.none() | st.sampled_from(Notify),
    resolve_after_ns=_durations,
    send_resolved=st.none() | st.booleans(),
    group_by=st.none() | st.just(()) | st.just(("image",)),
    group_wait_ns=st.none() | st.integers(0, 10**12),
    group_interval_ns=_durations,
    repeat_interval_ns=st.none() | st.integers(0, 10**15),
)


@given(_keys, _keys, st.sampled_from(Audience))
def test_any_keys(route: PolicyKeys, destination: PolicyKeys, audience: Audience) -> None:
    """A value that is there counts, also one that is false or zero; the route's comes first."""
    policy = resolve_route_policy(route, destination, audience)
    for name in ("notify", "resolve_after_ns", "send_resolved"):
        written = [getattr(each, name) for each in (route, destination)]
        default = getattr(resolve_route_policy(NONE, NONE, audience), name)
        wanted = next((value for value in written if value is not None), default)
        assert getattr(policy, name) == wanted
    messages = resolve_destination_policy(destination, audience)
    default_messages = resolve_destination_policy(NONE, audience)
    for name in ("group_by", "group_wait_ns", "group_interval_ns", "repeat_interval_ns"):
        value, default = getattr(destination, name), getattr(default_messages, name)
        is_written = value is not None and not audience.groups_by_itself
        assert getattr(messages, name) == (value if is_written else default)
