"""Checks between the keys of a route and those of its destinations."""

from collections.abc import Iterator

from relay.config.destination import DestinationConfig
from relay.config.errors import ConfigIssue, KeyPath
from relay.config.incident_keys import DEFAULT_RESOLVE_AFTER
from relay.config.model import Config
from relay.config.route import Route
from relay.config.types import format_duration
from relay.core.incident import Notify


def find_short_for(config: Config) -> list[ConfigIssue]:
    """Return an issue for each ``for`` that is not longer than its ``resolve_after``.

    With it, a problem would be reported that was over before. Two sections may have these keys. The
    issue is at the route if it has one of them, else at the destination.
    """
    found: dict[KeyPath, ConfigIssue] = {}
    for at, route in enumerate(config.routes):
        for name in route.to:
            for issue in _check_for(route, ("routes", at), name, config.destinations[name]):
                found.setdefault(issue.path, issue)
    return list(found.values())


def _check_for(
    route: Route, path: KeyPath, name: str, destination: DestinationConfig
) -> Iterator[ConfigIssue]:
    """Yield an issue if ``for`` of a route at a destination is too short."""
    wait = destination.for_ if route.for_ is None else route.for_
    notify = route.notify or destination.notify or destination.audience.default_notify
    if not (wait and destination.audience.takes_incidents) or notify is Notify.EVENTS:
        return
    well = route.resolve_after or destination.resolve_after
    if wait > (well or DEFAULT_RESOLVE_AFTER):
        return
    elsewhere = f" of destination '{name}'"
    from_route, well_from_route = route.for_ is not None, route.resolve_after is not None
    for_text = f"'for' ({format_duration(wait)})"
    well_text = f"'resolve_after' ({format_duration(well or DEFAULT_RESOLVE_AFTER)}"
    well_text += ")" if well else ", the default)"
    if from_route and well and not well_from_route:
        well_text += elsewhere
    if well_from_route and not from_route:
        for_text += elsewhere
    message = (
        f"{for_text} is not longer than {well_text}, so what was over before would be reported: "
        "write a longer 'for', or a shorter 'resolve_after'"
    )
    if from_route:
        yield ConfigIssue((*path, "for"), message)
    elif well_from_route:
        yield ConfigIssue((*path, "resolve_after"), message)
    else:
        yield ConfigIssue(("destinations", name, "for"), message)
