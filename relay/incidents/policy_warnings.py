"""Finds keys about incidents that have no effect, because only events are reported."""

from collections.abc import Iterator

from relay.config import Config
from relay.config.errors import ConfigIssue, IssueScope
from relay.config.incident_keys import GROUP_KEYS, LIFE_KEYS
from relay.config.types import to_field
from relay.core.incident import Notify
from relay.incidents.policy import Policies


def find_policy_warnings(config: Config, policies: Policies) -> Iterator[ConfigIssue]:
    """Yield an issue for each key that has no effect. ``policies`` are those of ``config``."""
    notified_of_events = _find_routes_of_events(policies)
    for name, destination in config.destinations.items():
        routes = {route for route, to in policies.routes if to == name}
        if not routes or not all((route, name) in notified_of_events for route in routes):
            continue
        message = "does nothing: it is told of events: write 'notify: incidents' as well"
        if destination.notify is Notify.INCIDENTS:
            message = "does nothing: every route to it has 'notify: events'"
        for key in (*LIFE_KEYS, *GROUP_KEYS):
            if getattr(destination, to_field(key)) is not None:
                yield ConfigIssue(("destinations", name, key), message, IssueScope.KEY)
    for at, route in enumerate(config.routes):
        if not route.to or not all((route.name, to) in notified_of_events for to in route.to):
            continue
        message = "does nothing: its destinations are told of events: write 'notify: incidents'"
        for key in LIFE_KEYS:
            if getattr(route, to_field(key)) is not None:
                yield ConfigIssue(("routes", at, key), f"{message} as well", IssueScope.KEY)


def _find_routes_of_events(policies: Policies) -> set[tuple[str, str]]:
    return {key for key, each in policies.routes.items() if each.notify is Notify.EVENTS}
