"""The policy of a destination in one line, as ``relay check`` prints it."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TypeVar

from relay.core.incident import Notify
from relay.core.zone import TimeZone
from relay.incidents.life import HOUR_NS, MINUTE_NS, SECOND_NS
from relay.incidents.mute import MuteInterval, find_mute_begin, find_mute_end
from relay.incidents.policy import DestinationPolicy, Policies, RoutePolicy

T = TypeVar("T")
Routes = Mapping[str, RoutePolicy]
"""The policies of some routes at one destination, by their names."""


def describe_policy(policies: Policies, destination: str, wall_ns: int, zone: TimeZone) -> str:
    """Return the policy of a destination.

    ``wall_ns`` is now: the line says when a mute begins or ends next, in the time zone ``zone``.
    """
    own = {route: each for (route, to), each in policies.routes.items() if to == destination}
    incidents = {route: each for route, each in own.items() if each.notify is Notify.INCIDENTS}
    events = [route for route in own if route not in incidents]
    if not incidents:
        return "every event at once" if own else "nothing: no route sends to it"
    policy = policies.destinations[destination]
    parts = [
        _describe_groups(policy),
        _describe_for(incidents),
        _describe_end(incidents),
        *_describe_mutes(incidents, wall_ns, zone),
        _describe_reminder(policy),
        f"every event of {join_names(events)} at once" if events else "",
    ]
    return "; ".join(filter(None, parts))


def _describe_groups(policy: DestinationPolicy) -> str:
    """Return how a destination is notified of incidents."""
    if not policy.is_limited:
        return "incidents, each at once"
    grouped = f"grouped by {join_names(policy.group_by)}" if policy.group_by else "all in one group"
    return (
        f"incidents, {grouped}: after {format_ns(policy.group_wait_ns)}, "
        f"then at most every {format_ns(policy.group_interval_ns)}"
    )


def _describe_for(routes: Routes) -> str:
    """Return how long incidents have to be open before they are reported; empty if not at all."""
    waits = _group_by_value(routes, lambda policy: policy.for_ns)
    times = [
        f"{format_ns(each)}{_name_some(waits[each], routes)}" for each in sorted(waits) if each
    ]
    return f"told if open for {' or '.join(times)}" if times else ""


def _describe_end(routes: Routes) -> str:
    """Return when the incidents of some routes are resolved, and whether that is reported."""
    after = _group_by_value(routes, lambda policy: policy.resolve_after_ns)
    times = [f"{format_ns(each)}{_name_some(after[each], routes)}" for each in sorted(after)]
    silent = [name for name, policy in routes.items() if not policy.send_resolved]
    unreported = f", not told{_name_some(silent, routes)}" if silent else ""
    return f"resolved after {' or '.join(times)}{unreported}"


def _describe_mutes(routes: Routes, wall_ns: int, zone: TimeZone) -> list[str]:
    """Return what mutes the routes, and when next."""
    mutes = _group_by_value(routes, lambda policy: policy.mute)
    return [
        f"muted by {join_names([each.name for each in intervals])}{_name_some(names, routes)}"
        f" {describe_next(intervals, wall_ns, zone)}"
        for intervals, names in mutes.items()
        if intervals
    ]


def describe_next(intervals: Collection[MuteInterval], wall_ns: int, zone: TimeZone) -> str:
    """Return until when a mute is in force, or when it begins: ``until 07:00 CET``."""
    begin_ns = find_mute_begin(intervals, wall_ns)
    if begin_ns is None:
        return "never"
    if begin_ns > wall_ns:
        return f"from {zone.format_minute(begin_ns, wall_ns)}"
    end_ns = find_mute_end(intervals, wall_ns)
    return "always" if end_ns is None else f"until {zone.format_minute(end_ns, wall_ns)}"


def _describe_reminder(policy: DestinationPolicy) -> str:
    """Return when a destination is reminded; empty if it groups incidents by itself."""
    if not policy.is_limited:
        return ""
    if not policy.repeat_interval_ns:
        return "no reminder"
    return f"reminder every {format_ns(policy.repeat_interval_ns)}"


def _group_by_value(routes: Routes, get_value: Callable[[RoutePolicy], T]) -> dict[T, list[str]]:
    """Return the names of the routes that have the same value."""
    found: dict[T, list[str]] = {}
    for name, policy in routes.items():
        found.setdefault(get_value(policy), []).append(name)
    return found


def join_names(names: Sequence[str]) -> str:
    """Return the names as part of a sentence: ``a, b and c``."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def _name_some(names: Collection[str], all_names: Collection[str]) -> str:
    """Return the names in brackets; empty if these are all."""
    return "" if len(names) == len(all_names) else f" ({', '.join(names)})"


def format_ns(duration_ns: int) -> str:
    """Return a duration in its largest unit that gives a whole number: ``90s``, ``2m``, ``24h``."""
    for unit, size_ns in (("h", HOUR_NS), ("m", MINUTE_NS), ("s", SECOND_NS)):
        if duration_ns and duration_ns % size_ns == 0:
            return f"{duration_ns // size_ns}{unit}"
    return f"{duration_ns / 1_000_000:g}ms" if duration_ns else "0s"
