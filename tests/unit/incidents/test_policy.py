"""The effective policy of routes and destinations."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.config import Config
from relay.core.incident import Audience, Notify
from relay.core.zone import UTC_ZONE
from relay.destinations.catalog import default_config, parse_config
from relay.incidents.mute import LocalWeek, MuteInterval
from relay.incidents.policy import (
    LabelPolicy,
    Policies,
    PolicyKeys,
    RoutePolicy,
    build_policies,
    resolve_destination_policy,
    resolve_route_policy,
)
from relay.incidents.policy_text import describe_policy, format_ns
from relay.incidents.policy_warnings import find_policy_warnings
from tests.unit.incidents.world import DIED, Setup

NONE = PolicyKeys()
SECOND_NS = 10**9
MINUTE_NS = 60 * SECOND_NS
NOON_NS = (20_000 * 24 + 12) * 60 * MINUTE_NS
"""2024-10-04 12:00 UTC, a Friday."""


def read(*routes: str, ops: str = "", audit: str = "") -> Config:
    """A configuration of a chat, a program and a pager, with these keys and routes."""
    lines = "".join(f"  - {{name: r{at}, {route}}}\n" for at, route in enumerate(routes))
    text = f"""
mute_time_intervals:
  nights: [{{times: "22:00-07:00"}}]
  days: [{{times: ["07:00-13:00", "12:00-22:00"]}}]
  backup: [{{weekdays: sat-sun, times: "2:00-4:30", time_zone: Asia/Kolkata}}]
engines: {{here: {{}}, edge: {{url: 'tcp://edge:2376'}}}}
destinations:
  ops: {{type: slack, url: 'https://hooks.slack.com/services/T0/B0/c', {ops}}}
  audit: {{type: http, url: 'https://h.lan', {audit}}}
  pager: {{type: pagerduty, routing_key: {"a1" * 16}}}
  quiet: {{type: ntfy, topic: t, mute: [nights, backup]}}
  days: {{type: ntfy, topic: d, mute: days}}
routes:
{lines}"""
    return parse_config(text, file="f", environ={}, folder=Path())


def build(*routes: str, ops: str = "", audit: str = "") -> Policies:
    """The policies of such a configuration."""
    return build_policies(read(*routes, ops=ops, audit=audit))


def warnings(*routes: str, ops: str = "", audit: str = "") -> list[str]:
    """The path and the message of each warning about such a configuration."""
    config = read(*routes, ops=ops, audit=audit)
    found = find_policy_warnings(config, build_policies(config), NOON_NS)
    return [f"{'.'.join(map(str, issue.path))}: {issue.message}" for issue in found]


def test_defaults_depend_on_who_reads() -> None:
    """Programs get events, everybody else incidents; alerting services group by themselves."""
    notified = {each: resolve_route_policy(NONE, NONE, each).notify for each in Audience}
    assert notified == {
        Audience.PEOPLE: Notify.INCIDENTS,
        Audience.PAGER: Notify.INCIDENTS,
        Audience.ALERTS: Notify.INCIDENTS,
        Audience.PROGRAMS: Notify.EVENTS,
        Audience.RELAYS: Notify.EVENTS,
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
    policies = Setup(route, audiences=audiences).policies
    assert describe_policy(policies, "ops", 0, UTC_ZONE) == (
        "incidents, grouped by engine and project: after 3s, then at most every 1m; "
        "resolved after 1m; reminder every 24h"
    )
    assert describe_policy(policies, "audit", 0, UTC_ZONE) == "every event at once"
    assert (
        describe_policy(policies, "pager", 0, UTC_ZONE)
        == "incidents, each at once; resolved after 1m"
    )
    assert describe_policy(policies, "unused", 0, UTC_ZONE) == "nothing: no route sends to it"


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
    assert describe_policy(policies, "terminal", 0, UTC_ZONE) == "every event at once"


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
        (
            ["to: ops", "to: ops, for: 15m", "to: ops, mute: []"],
            "mute: nights, for: 2m",
            "incidents, grouped by engine and project: after 3s, then at most every 1m; "
            "told if open for 2m (r0, r2) or 15m (r1); resolved after 1m; "
            "muted by nights (r0, r1) from 22:00 UTC; reminder every 24h",
        ),
        (
            ["to: ops, mute: [days, backup]", "to: ops, for: 2m"],
            "group_by: []",
            "incidents, all in one group: after 3s, then at most every 1m; "
            "told if open for 2m (r1); resolved after 1m; "
            "muted by days and backup (r0) until 23:00 UTC; reminder every 24h",
        ),
        (
            ["to: ops"],
            "mute: backup, group_by: []",
            "incidents, all in one group: after 3s, then at most every 1m; resolved after 1m; "
            "muted by backup from 20:30 UTC; reminder every 24h",
        ),
        (
            ["to: ops"],
            "mute: [days, nights], group_by: []",
            "incidents, all in one group: after 3s, then at most every 1m; resolved after 1m; "
            "muted by days and nights always; reminder every 24h",
        ),
        (["to: ops"], "notify: events", "every event at once"),
        (["to: audit"], "", "nothing: no route sends to it"),
    ],
)
def test_policies_in_one_line(routes: list[str], ops: str, line: str) -> None:
    """What routes differ in has their names."""
    assert describe_policy(build(*routes, ops=ops), "ops", NOON_NS, UTC_ZONE) == line


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


@pytest.mark.parametrize(
    ("routes", "keys", "expected"),
    [
        (["to: ops, mute: nights, for: 5m"], {}, []),
        (["to: [ops, pager], mute: nights"], {"ops": "mute: [nights, backup]"}, []),
        (["to: [ops, audit], mute: [], for: 0s"], {}, []),
        (
            ["to: [ops, audit], mute: nights, for: 5m, send_resolved: false"],
            {},
            [
                "routes.0.for: holds nothing back from audit: it is told of events",
                "routes.0.mute: holds nothing back from audit: it is told of events",
            ],
        ),
        (
            ["to: audit, mute: nights"],
            {"audit": "for: 5m"},
            [
                "destinations.audit.for: does nothing: it is told of events: "
                "write 'notify: incidents' as well",
                "routes.0.mute: does nothing: its destinations are told of events: "
                "write 'notify: incidents' as well",
            ],
        ),
        (
            ["to: ops, mute: [nights, days]"],
            {},
            [
                "routes.0.mute: leaves no time: one of these is always in force, "
                "so nothing is ever reported",
            ],
        ),
    ],
)
def test_what_is_held_back(routes: list[str], keys: dict[str, str], expected: list[str]) -> None:
    """A program has every event, and a mute that never ends holds back everything else."""
    assert warnings(*routes, **keys) == expected


def test_intervals_without_use_or_end() -> None:
    """One that nobody uses, and those that are always in force: in parts, in two time zones."""
    text = """
mute_time_intervals:
  unused: [{times: "01:00-02:00"}]
  always: [{weekdays: [mon-fri]}, {weekdays: [fri-tue]}]
  zones: [{times: "00:00-12:00"}, {times: "11:00-03:00", time_zone: Europe/Berlin}]
  winter: [{times: "00:00-12:00"}, {times: "13:00-01:00", time_zone: Europe/Berlin}]
destinations: {ops: {type: ntfy, topic: t, mute: [always, zones, winter]}}
routes: [{name: r, to: ops}]
"""
    config = parse_config(text, file="f", environ={}, folder=Path())
    found = find_policy_warnings(config, build_policies(config), NOON_NS)
    assert [f"{'.'.join(map(str, issue.path))}: {issue.message}" for issue in found] == [
        "mute_time_intervals.unused: no route and no destination has it as its 'mute'",
        "mute_time_intervals.always: is always in force: nothing that it mutes is ever reported",
        "mute_time_intervals.zones: is always in force: nothing that it mutes is ever reported",
    ]


def test_the_labels_of_a_configuration() -> None:
    """They count, unless the configuration says otherwise."""
    assert build("to: ops").labels == LabelPolicy(enable=True, require=False)
    text = "labels: {require: true}\ndestinations: {a: {type: console}}\n"
    text += "routes: [{name: r, to: a}]"
    config = parse_config(text, file="f", environ={}, folder=Path())
    assert build_policies(config).labels == LabelPolicy(require=True)


def test_the_mute_of_the_route_counts_first() -> None:
    """Also an empty one."""
    policies = build(
        "to: ops, mute: days, for: 3m", "to: ops, mute: []", "to: ops", ops="mute: nights"
    )
    names = {
        route: [each.name for each in policy.mute] for (route, _), policy in policies.routes.items()
    }
    assert names == {"r0": ["days"], "r1": [], "r2": ["nights"]}
    assert policies.routes["r0", "ops"].for_ns == 3 * MINUTE_NS


def test_a_mute_is_in_the_time_zone_of_the_configuration_or_its_own() -> None:
    """Windows of one zone are one week."""
    text = """
time_zone: Europe/Berlin
mute_time_intervals:
  m: [{times: "00:00-01:00", weekdays: mon}, {times: "2:00-3:00", weekdays: mon, time_zone: UTC},
      {times: "00:30-02:00", weekdays: Monday}]
destinations: {ops: {type: ntfy, topic: t, mute: m}}
routes: [{name: r, to: ops}]
"""
    config = parse_config(text, file="f", environ={}, folder=Path())
    (interval,) = build_policies(config).routes["r", "ops"].mute
    assert interval.weeks == (
        LocalWeek("Europe/Berlin", ((0, 7200),)),
        LocalWeek("UTC", ((7200, 10800),)),
    )


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
    for_ns=st.none() | st.integers(0, 10**15),
    mute=st.none() | st.just(()) | st.just((MuteInterval("m", ()),)),
)


@given(_keys, _keys)
def test_relays_get_events(route: PolicyKeys, destination: PolicyKeys) -> None:
    """Whatever is written: a hub decides by itself what is an incident."""
    policy = resolve_route_policy(route, destination, Audience.RELAYS)
    assert policy.notify is Notify.EVENTS


@given(_keys, _keys, st.sampled_from(Audience))
def test_any_keys(route: PolicyKeys, destination: PolicyKeys, audience: Audience) -> None:
    """A value that is there counts, also one that is false or zero; the route's comes first.

    Only for other relays ``notify`` does not count: see `test_relays_get_events`.
    """
    policy = resolve_route_policy(route, destination, audience)
    for name in ("notify", "resolve_after_ns", "send_resolved", "for_ns", "mute"):
        written = [getattr(each, name) for each in (route, destination)]
        if name == "notify" and not audience.takes_incidents:
            written = []
        default = getattr(resolve_route_policy(NONE, NONE, audience), name)
        wanted = next((value for value in written if value is not None), default)
        assert getattr(policy, name) == wanted
    messages = resolve_destination_policy(destination, audience)
    default_messages = resolve_destination_policy(NONE, audience)
    for name in ("group_by", "group_wait_ns", "group_interval_ns", "repeat_interval_ns"):
        value, default = getattr(destination, name), getattr(default_messages, name)
        is_written = value is not None and not audience.groups_by_itself
        assert getattr(messages, name) == (value if is_written else default)
