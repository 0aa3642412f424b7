"""The plain events of a group: those that belong to no incident, until they are reported."""

import hashlib
from collections.abc import Mapping

import msgspec
from msgspec.structs import replace

from relay.core.event import Event, source_of, unique_id
from relay.core.severity import Severity
from relay.incidents.held import Hold
from relay.incidents.incident import is_higher
from relay.incidents.stored_event import StoredEvent
from relay.incidents.subject import display_name

MAX_EVENTS = 10
"""How many events are in a message."""

MAX_NAMES = 25
"""How many names are in a message."""

MAX_ACTIONS = 25
"""How many different actions are counted; all others together count as `OTHER_ACTIONS`."""

OTHER_ACTIONS = "other"


class PlainEvents(msgspec.Struct, frozen=True, omit_defaults=True):
    """Events of one group that wait to be reported."""

    engine: str
    """The key of the engine of the last one."""
    counts: Mapping[str, int] = {}
    """How many, by route."""
    actions: Mapping[str, int] = {}
    """How many, by action."""
    names: tuple[str, ...] = ()
    """The names of their subjects, without repetition, at most `MAX_NAMES`."""
    events: tuple[StoredEvent, ...] = ()
    """The first of them, at most `MAX_EVENTS`."""
    route: str = ""
    """The route of the first."""
    severity: Severity = Severity.INFO
    """The highest."""
    digest: str = ""
    """A hash of the ids of all of them."""
    overflow: bool = False
    """Whether one is a problem that opened no incident because there are too many."""
    hold: Hold | None = None
    """What holds them back; None if nothing does."""

    @property
    def count(self) -> int:
        """How many there are."""
        return sum(self.counts.values())


def add_event(
    plain: PlainEvents | None, event: Event, stored: StoredEvent | None, route: str
) -> PlainEvents:
    """Return the plain events with one more. ``stored`` is None if there is no room for it."""
    plain = plain or PlainEvents(source_of(event), route=route)
    action = event.action if event.action in plain.actions else _new_action(plain, event.action)
    name = display_name(event)
    is_named = name in plain.names or len(plain.names) >= MAX_NAMES
    has_room = stored is not None and len(plain.events) < MAX_EVENTS
    identity = f"{plain.digest}\0{unique_id(event)}".encode(errors="surrogatepass")
    return replace(
        plain,
        engine=source_of(event),
        counts=_increment(plain.counts, route),
        actions=_increment(plain.actions, action),
        names=plain.names if is_named else (*plain.names, name),
        events=(*plain.events, stored) if has_room else plain.events,
        digest=hashlib.blake2b(identity, digest_size=16).hexdigest(),
    )


def raise_severity(plain: PlainEvents, severity: Severity, *, overflow: bool) -> PlainEvents:
    """Return the plain events with the severity of the one added last, if that is higher."""
    highest = severity if is_higher(severity, plain.severity) else plain.severity
    return replace(plain, severity=highest, overflow=plain.overflow or overflow)


def _new_action(plain: PlainEvents, action: str) -> str:
    return action if len(plain.actions) < MAX_ACTIONS else OTHER_ACTIONS


def _increment(counts: Mapping[str, int], key: str) -> dict[str, int]:
    return {**counts, key: counts.get(key, 0) + 1}
