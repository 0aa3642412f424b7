"""What one part of a configuration calls another by."""

from collections.abc import Mapping
from dataclasses import dataclass

from relay.config.errors import About, Mistake, closest
from relay.config.match_parser import scalar_text
from relay.core.event import OWN_ENGINE

SECTIONS = ("engines", "ingest", "store", "destinations", "routes")
LOCAL = "local"
"""The engine that is there when none is configured."""


@dataclass(frozen=True, slots=True)
class Names:
    """What routes may refer to; None where that cannot be told, and is not checked then."""

    engines: frozenset[str] | None = None
    destinations: frozenset[str] | None = None


def names_in(data: Mapping[str, object]) -> Names:
    """The names that a configuration gives, however wrong the rest of it is."""
    engines = _names(data, "engines")
    if engines is None and "engines" not in data and not _misspelt(data, "engines"):
        engines = frozenset({LOCAL})
    if engines is not None:
        engines |= {OWN_ENGINE}
    return Names(engines=engines, destinations=_names(data, "destinations"))


def repeated_route_names(data: Mapping[str, object]) -> list[Mistake]:
    """A mistake for every route whose name an earlier one has."""
    routes = data.get("routes")
    first: dict[str, int] = {}
    found = []
    for index, route in enumerate(routes if isinstance(routes, list) else []):
        name = scalar_text(route.get("name")) if isinstance(route, Mapping) else None
        if name is None:
            continue
        earlier = first.setdefault(name, index)
        if earlier != index:
            message = f"is the name of routes[{earlier}] already: each route needs its own"
            found.append(Mistake(("routes", index, "name"), message, About.VALUE))
    return found


def _names(data: Mapping[str, object], section: str) -> frozenset[str] | None:
    entries = data.get(section)
    return frozenset(entries) if isinstance(entries, Mapping) and entries else None


def _misspelt(data: Mapping[str, object], section: str) -> bool:
    return any(closest(key, SECTIONS) == section for key in data if key not in SECTIONS)
