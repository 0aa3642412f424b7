"""Finds keys about incidents that have no effect, or that leave no time to report anything."""

from collections.abc import Iterator, Mapping

from relay.config import Config
from relay.config.errors import ConfigIssue, IssueScope, KeyPath
from relay.config.incident_keys import GROUP_KEYS, HOLD_KEYS, LIFE_KEYS
from relay.config.section import to_field
from relay.core.incident import Notify
from relay.incidents.mute import find_mute_end
from relay.incidents.policy import Policies, build_intervals
from relay.incidents.policy_text import join_names


def find_policy_warnings(config: Config, policies: Policies, wall_ns: int) -> Iterator[ConfigIssue]:
    """Yield an issue for each such key.

    ``policies`` are those of ``config``, and ``wall_ns`` is now.
    """
    yield from _find_in_destinations(config, policies)
    yield from _find_in_routes(config, policies)
    yield from _find_in_mutes(config, wall_ns)


def _find_in_destinations(config: Config, policies: Policies) -> Iterator[ConfigIssue]:
    for name, destination in config.destinations.items():
        notified = {each.notify for (_, to), each in policies.routes.items() if to == name}
        if notified != {Notify.EVENTS}:
            continue
        message = "does nothing: it is told of events: write 'notify: incidents' as well"
        if destination.notify is Notify.INCIDENTS:
            message = "does nothing: every route to it has 'notify: events'"
        for key in (*LIFE_KEYS, *GROUP_KEYS):
            if getattr(destination, to_field(key)) is not None:
                yield ConfigIssue(("destinations", name, key), message, IssueScope.KEY)


def _find_in_routes(config: Config, policies: Policies) -> Iterator[ConfigIssue]:
    for at, route in enumerate(config.routes):
        others = [to for to in route.to if not policies.destinations[to].audience.takes_incidents]
        if route.notify is Notify.INCIDENTS and others:
            verb = "is" if len(others) == 1 else "are"
            message = f"does nothing for {join_names(others)}, which {verb} told of every event"
            yield ConfigIssue(("routes", at, "notify"), message, IssueScope.KEY)
        events = [to for to in route.to if policies.routes[route.name, to].notify is Notify.EVENTS]
        if not events:
            continue
        keys = [key for key in LIFE_KEYS if getattr(route, to_field(key)) is not None]
        message = (
            "does nothing: its destinations are told of events: write 'notify: incidents' as well"
        )
        if len(events) < len(route.to):  # the other keys are for the other destinations
            verb = "it is" if len(events) == 1 else "they are"
            message = f"holds nothing back from {join_names(events)}: {verb} told of events"
            keys = [key for key in HOLD_KEYS if getattr(route, to_field(key))]  # not 0s, not []
        for key in keys:
            yield ConfigIssue(("routes", at, key), message, IssueScope.KEY)


def _find_in_mutes(config: Config, wall_ns: int) -> Iterator[ConfigIssue]:
    """Yield an issue for each interval that nobody uses, and for all that never end."""
    intervals = build_intervals(config)
    endless = {name for name, each in intervals.items() if find_mute_end([each], wall_ns) is None}
    sections: Mapping[KeyPath, tuple[str, ...] | None] = {
        **{("destinations", name): each.mute for name, each in config.destinations.items()},
        **{("routes", at): each.mute for at, each in enumerate(config.routes)},
    }
    used = {name for names in sections.values() for name in names or ()}
    for name in intervals:
        path = ("mute_time_intervals", name)
        if name not in used:
            message = "no route and no destination has it as its 'mute'"
            yield ConfigIssue(path, message, IssueScope.KEY)
        if name in endless:
            message = "is always in force: nothing that it mutes is ever reported"
            yield ConfigIssue(path, message, IssueScope.KEY)
    for section, names in sections.items():
        muted = [intervals[name] for name in names or ()]
        if endless.isdisjoint(names or ()) and find_mute_end(muted, wall_ns) is None:
            message = "leaves no time: one of these is always in force, so nothing is ever reported"
            yield ConfigIssue((*section, "mute"), message, IssueScope.KEY)
