"""The effective policy: what is told, to whom, and when, from the keys of a configuration.

What concerns an incident stands on a route or on its destination: the route's key counts, else the
destination's, else the default. What concerns a message stands on the destination only. The
defaults depend on who reads the messages.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import TypeVar

import msgspec

from relay.core.incident import Audience
from relay.incidents.life import HOUR_NS, MINUTE_NS, SECOND_NS

T = TypeVar("T")


class Notify(StrEnum):
    """What a destination is told of."""

    INCIDENTS = "incidents"
    EVENTS = "events"


class PolicyKeys(msgspec.Struct, frozen=True):
    """The keys of a route or of a destination; None for a key that is not there.

    The last four stand on destinations only. Durations are in nanoseconds.
    """

    notify: Notify | None = None
    resolve_after_ns: int | None = None
    send_resolved: bool | None = None
    group_by: tuple[str, ...] | None = None
    group_wait_ns: int | None = None
    group_interval_ns: int | None = None
    repeat_interval_ns: int | None = None


class RoutePolicy(msgspec.Struct, frozen=True):
    """How the incidents of one route at one destination are handled."""

    notify: Notify = Notify.INCIDENTS
    resolve_after_ns: int = MINUTE_NS
    """How long a subject has to be well before its incident is resolved."""
    send_resolved: bool = True
    """Whether the end is told."""


class DestinationPolicy(msgspec.Struct, frozen=True):
    """How one destination is told."""

    audience: Audience = Audience.PEOPLE
    group_by: tuple[str, ...] = ("engine", "project")
    """What the incidents of one group have in common; empty for one group."""
    group_wait_ns: int = 3 * SECOND_NS
    """How long the first update of a group waits for others."""
    group_interval_ns: int = MINUTE_NS
    """The time between two messages of a group, at least."""
    repeat_interval_ns: int = 24 * HOUR_NS
    """When open incidents are told again; 0 for never."""

    @property
    def is_limited(self) -> bool:
        """Whether storms are merged and messages have a budget."""
        return self.audience in (Audience.PEOPLE, Audience.PROGRAMS)

    @property
    def groups_plain_events(self) -> bool:
        """Whether events that belong to no incident are told in groups, and not at once."""
        return self.is_limited

    @property
    def tells_brief(self) -> bool:
        """Whether a problem is told that was over before it could be told."""
        return self.audience is not Audience.PAGER


SINGLE = ("subject",)
"""How destinations that group by themselves are told: each subject on its own."""


def resolve_route_policy(
    route: PolicyKeys, destination: PolicyKeys, audience: Audience
) -> RoutePolicy:
    """Return the policy of a route at a destination."""
    usual = Notify.EVENTS if audience is Audience.PROGRAMS else Notify.INCIDENTS
    default = RoutePolicy(notify=usual)
    return RoutePolicy(
        notify=_first(route.notify, destination.notify, default.notify),
        resolve_after_ns=_first(
            route.resolve_after_ns, destination.resolve_after_ns, default.resolve_after_ns
        ),
        send_resolved=_first(route.send_resolved, destination.send_resolved, default.send_resolved),
    )


def resolve_destination_policy(keys: PolicyKeys, audience: Audience) -> DestinationPolicy:
    """Return the policy of a destination."""
    if audience in (Audience.PAGER, Audience.ALERTS):
        return DestinationPolicy(audience, SINGLE, 0, 0, 0)
    default = DestinationPolicy(audience)
    return DestinationPolicy(
        audience,
        _first(keys.group_by, None, default.group_by),
        _first(keys.group_wait_ns, None, default.group_wait_ns),
        _first(keys.group_interval_ns, None, default.group_interval_ns),
        _first(keys.repeat_interval_ns, None, default.repeat_interval_ns),
    )


def _first(one: T | None, other: T | None, default: T) -> T:
    """Return the first value that is there."""
    if one is not None:
        return one
    return default if other is None else other


@dataclass(frozen=True)
class Policies:
    """The policies of a configuration."""

    destinations: Mapping[str, DestinationPolicy]
    routes: Mapping[tuple[str, str], RoutePolicy]
    """By the names of a route and of one of its destinations."""
    engines: frozenset[str] | None = None
    """The names of the configured engines; None if all count as configured."""

    @cached_property
    def incident_routes(self) -> frozenset[tuple[str, str]]:
        """The names of the routes that tell of incidents, each with a destination."""
        return frozenset(
            key for key, policy in self.routes.items() if policy.notify is Notify.INCIDENTS
        )

    def takes_incidents(self, route: str, destination: str) -> bool:
        """Whether the destination is told of incidents by this route, and not of events."""
        return (route, destination) in self.incident_routes

    def describe(self, destination: str) -> str:
        """Return the policy of a destination in one line, as ``relay check`` prints it."""
        policy = self.destinations[destination]
        own = {each for (_, name), each in self.routes.items() if name == destination}
        told = " and ".join(sorted({each.notify.value for each in own})) or "nothing"
        if all(each.notify is Notify.EVENTS for each in own):
            return f"{destination}: {told}"
        if not policy.is_limited:
            return f"{destination}: {told}, each at once"
        reminder = format_ns(policy.repeat_interval_ns)
        repeated = f"reminder every {reminder}" if policy.repeat_interval_ns else "no reminder"
        together = ", ".join(policy.group_by) or "nothing: all together"
        return (
            f"{destination}: {told}, grouped by {together}; "
            f"told after {format_ns(policy.group_wait_ns)}, "
            f"then every {format_ns(policy.group_interval_ns)} at most; {repeated}"
        )


def format_ns(duration_ns: int) -> str:
    """Return a duration in its largest unit that gives a whole number: ``90s``, ``2m``, ``24h``."""
    for unit, size_ns in (("h", HOUR_NS), ("m", MINUTE_NS), ("s", SECOND_NS)):
        if duration_ns and duration_ns % size_ns == 0:
            return f"{duration_ns // size_ns}{unit}"
    return f"{duration_ns / 1_000_000:g}ms" if duration_ns else "0s"
