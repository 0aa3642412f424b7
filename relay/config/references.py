"""The names by which one part of a configuration refers to another."""

from collections.abc import Mapping

import msgspec

from relay.config.errors import ConfigIssue, IssueScope, find_closest
from relay.config.match_parser import scalar_to_text
from relay.core.event import RELAY_ENGINE

SECTIONS = ("engines", "ingest", "store", "destinations", "routes")
DEFAULT_ENGINE = "local"
"""The name of the engine if none is configured."""


class KnownNames(msgspec.Struct, frozen=True):
    """The names that routes may refer to. None: unknown, so references are not checked."""

    engines: frozenset[str] | None = None
    destinations: frozenset[str] | None = None


def collect_names(data: Mapping[str, object]) -> KnownNames:
    """Return the names in a configuration, which may have any errors."""
    engines = _section_names(data, "engines")
    if engines is None and "engines" not in data and not _is_misspelled(data, "engines"):
        engines = frozenset({DEFAULT_ENGINE})
    if engines is not None:
        engines |= {RELAY_ENGINE}
    return KnownNames(engines=engines, destinations=_section_names(data, "destinations"))


def find_repeated_route_names(data: Mapping[str, object]) -> list[ConfigIssue]:
    """Return an issue for every route that has the name of an earlier route."""
    routes = data.get("routes")
    first: dict[str, int] = {}
    found = []
    for index, route in enumerate(routes if isinstance(routes, list) else []):
        name = scalar_to_text(route.get("name")) if isinstance(route, Mapping) else None
        if name is None:
            continue
        earlier = first.setdefault(name, index)
        if earlier != index:
            message = f"is already the name of routes[{earlier}]: each route needs its own"
            found.append(ConfigIssue(("routes", index, "name"), message, IssueScope.VALUE))
    return found


def _section_names(data: Mapping[str, object], section: str) -> frozenset[str] | None:
    entries = data.get(section)
    return frozenset(entries) if isinstance(entries, Mapping) and entries else None


def _is_misspelled(data: Mapping[str, object], section: str) -> bool:
    return any(find_closest(key, SECTIONS) == section for key in data if key not in SECTIONS)
