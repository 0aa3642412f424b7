"""The effective policy: what is reported, to whom, and when, from the keys of a configuration.

What concerns an incident stands on a route or on its destination: the route's key counts, else the
destination's, else the default. What concerns a message stands on the destination only. The
defaults depend on who reads the messages.
"""

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache, cached_property
from itertools import starmap
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from relay.config import Config, DestinationConfig, Route
from relay.config.incident_keys import DEFAULT_RESOLVE_AFTER
from relay.core.event import RELAY_ENGINE
from relay.core.incident import Audience, Notify
from relay.incidents.life import HOUR_NS, MINUTE_NS, SECOND_NS
from relay.incidents.mute import MuteInterval, build_week

T = TypeVar("T")


def to_ns(duration: timedelta) -> int:
    """Return a duration in nanoseconds."""
    return duration // timedelta(microseconds=1) * 1000


class PolicyKeys(msgspec.Struct, frozen=True):
    """The keys of a route or of a destination; None for a key that is not there.

    Those about groups stand on destinations only. Durations are in nanoseconds.
    """

    notify: Notify | None = None
    resolve_after_ns: int | None = None
    send_resolved: bool | None = None
    group_by: tuple[str, ...] | None = None
    group_wait_ns: int | None = None
    group_interval_ns: int | None = None
    repeat_interval_ns: int | None = None
    for_ns: int | None = None
    mute: tuple[MuteInterval, ...] | None = None


class RoutePolicy(msgspec.Struct, frozen=True):
    """How the incidents of one route at one destination are handled."""

    notify: Notify = Notify.INCIDENTS
    resolve_after_ns: int = to_ns(DEFAULT_RESOLVE_AFTER)
    """How long a subject has to be well before its incident is resolved."""
    send_resolved: bool = True
    """Whether the end is reported."""
    for_ns: int = 0
    """How long an incident has to be open before it is reported."""
    mute: tuple[MuteInterval, ...] = ()
    """While one of them is in force, nothing is reported."""


class LabelPolicy(msgspec.Struct, frozen=True):
    """Whether people are notified of a container depends on its label ``relay.enable``."""

    enable: bool = True
    """Whether the label counts."""
    require: bool = False
    """Whether only containers are reported that have it."""


class DestinationPolicy(msgspec.Struct, frozen=True):
    """How one destination is notified."""

    audience: Audience = Audience.PEOPLE
    group_by: tuple[str, ...] = ("engine", "project")
    """What the incidents of one group have in common; empty for one group."""
    group_wait_ns: int = 3 * SECOND_NS
    """How long the first update of a group waits for others."""
    group_interval_ns: int = MINUTE_NS
    """The time between two messages of a group, at least."""
    repeat_interval_ns: int = 24 * HOUR_NS
    """When open incidents are reported again; 0 for never."""

    @property
    def is_limited(self) -> bool:
        """Whether storms are merged and messages have a budget."""
        return not self.audience.groups_by_itself

    @property
    def groups_plain_events(self) -> bool:
        """Whether events that belong to no incident are reported in groups, and not at once."""
        return self.is_limited

    @property
    def reports_brief(self) -> bool:
        """Whether a problem is reported that was over before it could be reported."""
        return self.audience is not Audience.PAGER


SINGLE = ("subject",)
"""How destinations that group by themselves are notified: of each subject on its own."""


def resolve_route_policy(
    route: PolicyKeys, destination: PolicyKeys, audience: Audience
) -> RoutePolicy:
    """Return the policy of a route at a destination."""
    default = RoutePolicy(notify=audience.default_notify)
    notify = _first(route.notify, destination.notify, default.notify)
    return RoutePolicy(
        notify=notify if audience.takes_incidents else default.notify,
        for_ns=_first(route.for_ns, destination.for_ns, default.for_ns),
        mute=_first(route.mute, destination.mute, default.mute),
        resolve_after_ns=_first(
            route.resolve_after_ns, destination.resolve_after_ns, default.resolve_after_ns
        ),
        send_resolved=_first(route.send_resolved, destination.send_resolved, default.send_resolved),
    )


HUB_GROUP_BY = ("host", "engine", "project")
"""The default of ``group_by`` where events of other hosts are taken in: their engines may all have
the same name."""


def resolve_destination_policy(
    keys: PolicyKeys, audience: Audience, *, is_hub: bool = False
) -> DestinationPolicy:
    """Return the policy of a destination; ``is_hub`` as `Config.is_hub`."""
    if audience.groups_by_itself:
        return DestinationPolicy(audience, SINGLE, 0, 0, 0)
    default = DestinationPolicy(audience)
    if is_hub:
        default = replace(default, group_by=HUB_GROUP_BY)
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
    labels: LabelPolicy = field(default_factory=LabelPolicy)
    is_hub: bool = False
    """See `Config.is_hub`."""

    @property
    def known_engines(self) -> Collection[str] | None:
        """The names that the engine of an event can have; None if that is not known."""
        return None if self.engines is None or self.is_hub else {*self.engines, RELAY_ENGINE}

    @cached_property
    def incident_destinations(self) -> Mapping[str, Collection[str]]:
        """The destinations that are notified of incidents and not of events, by route."""
        found: dict[str, set[str]] = {}
        for (route, destination), policy in self.routes.items():
            if policy.notify is Notify.INCIDENTS:
                found.setdefault(route, set()).add(destination)
        return found

    def takes_incidents(self, route: str, destination: str) -> bool:
        """Whether the destination is notified of incidents by this route, and not of events."""
        return destination in self.incident_destinations.get(route, ())


def without_holds(policies: Policies) -> Policies:
    """Return policies by which nothing waits or is held back, except to wait for others of its
    group."""
    routes = {key: replace(each, for_ns=0, mute=()) for key, each in policies.routes.items()}
    return dataclasses.replace(policies, routes=routes, labels=LabelPolicy(enable=False))


def build_policies(config: Config) -> Policies:
    """Return the policies of a configuration."""
    intervals = build_intervals(config)
    read = {
        name: (_read_keys(to, intervals), to.audience) for name, to in config.destinations.items()
    }
    resolve = cache(resolve_route_policy)  # a reload has thousands of routes, most without a key
    return Policies(
        {
            name: resolve_destination_policy(*each, is_hub=config.is_hub)
            for name, each in read.items()
        },
        {
            (route.name, name): resolve(keys, *read[name])
            for route in config.routes
            for keys in (_read_keys(route, intervals),)
            for name in route.to
        },
        frozenset(config.engines),
        LabelPolicy(config.labels.enable, config.labels.require),
        config.is_hub,
    )


def build_intervals(config: Config) -> Mapping[str, MuteInterval]:
    """Return the intervals that routes and destinations can be muted by, by their names."""
    found = {}
    for name, entries in config.mute_time_intervals.items():
        windows: dict[str, list[tuple[int, int, int]]] = {}
        for entry in entries:
            zone = entry.time_zone or config.time_zone
            windows.setdefault(zone, []).extend(entry.list_windows())
        found[name] = MuteInterval(name, tuple(starmap(build_week, windows.items())))
    return found


def _read_keys(
    section: Route | DestinationConfig, intervals: Mapping[str, MuteInterval]
) -> PolicyKeys:
    keys = PolicyKeys(
        notify=section.notify,
        for_ns=_to_ns(section.for_),
        mute=None if section.mute is None else tuple(intervals[name] for name in section.mute),
        resolve_after_ns=_to_ns(section.resolve_after),
        send_resolved=section.send_resolved,
    )
    if isinstance(section, Route):
        return keys
    return replace(
        keys,
        group_by=section.group_by,
        group_wait_ns=_to_ns(section.group_wait),
        group_interval_ns=_to_ns(section.group_interval),
        repeat_interval_ns=_to_ns(section.repeat_interval),
    )


def _to_ns(duration: timedelta | None) -> int | None:
    return None if duration is None else to_ns(duration)
