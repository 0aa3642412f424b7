"""What the dispatcher did with an event, for ``relay tail``."""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Protocol

import msgspec

from relay.core.event import Event
from relay.core.notification import Notification
from relay.incidents.held import Hold
from relay.incidents.incident import Incident
from relay.incidents.policy import Policies
from relay.routing.router import RouteResult


class EffectKind(StrEnum):
    """What an event did at a destination that is notified of incidents."""

    OPENED = "opened"
    REOPENED = "reopened"
    COUNTED = "counted"
    """It belongs to an incident that was open, or whose end was not reported."""
    GROUPED = "grouped"
    """It belongs to no incident, and is reported with its group."""
    HELD = "held"
    """It belongs to no incident, and is not reported."""


class Effect(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an event did at one destination."""

    kind: EffectKind
    incident: str | None = None
    """The id of the incident; None for `EffectKind.GROUPED` and `EffectKind.HELD`."""
    total: int = 0
    """How many events the incident has, this one included."""
    hold: Hold | None = None
    """What holds back the event, or the update of its incident; None if nothing does so far."""


class EffectObserver(Protocol):
    """Watches what the dispatcher does."""

    @property
    def is_watching(self) -> bool:
        """Whether anybody watches at the moment; else nothing is computed."""
        ...

    def on_effects(self, event: Event, effects: Mapping[str, Effect]) -> None:
        """Note what an event did, by destination. Those that are sent it at once are left out."""
        ...


def find_effects(
    results: Sequence[RouteResult],
    before: Mapping[str, Incident],
    after: Mapping[str, Incident],
    immediate: Iterable[tuple[Notification, Sequence[str]]],
    policies: Policies,
    held: Mapping[str, Hold],
) -> dict[str, Effect]:
    """Return what an event did, by destination.

    ``before`` and ``after`` are the incidents of its subject by destination, ``immediate`` is what
    is sent at once, and ``held`` is what held it back if it belongs to no incident.
    """
    sent = {destination for _, destinations in immediate for destination in destinations}
    return {
        destination: Effect(EffectKind.HELD, hold=held[destination])
        if destination in held
        else _find_effect(before.get(destination), after.get(destination))
        for result in results
        for destination in result.destinations
        if destination not in sent and policies.takes_incidents(result.route.name, destination)
    }


def _find_effect(before: Incident | None, after: Incident | None) -> Effect:
    if after is None:
        return Effect(EffectKind.GROUPED)
    if before is None or before.id != after.id:
        return Effect(EffectKind.OPENED, after.id, after.total)
    if after.total == before.total:
        return Effect(EffectKind.GROUPED)
    is_reopened = after.is_open and not before.is_open
    kind = EffectKind.REOPENED if is_reopened else EffectKind.COUNTED
    return Effect(kind, after.id, after.total, after.hold if after.is_held else None)
