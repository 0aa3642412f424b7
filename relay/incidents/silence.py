"""Silences: what operators do not want to be notified of for some time.

A silence names the events that it holds back by a match, in the language of routes with a few more
fields, or names one incident. It begins and ends by the wall clock, so that a clock that is set
while it runs moves its end. Nothing here waits, reads a clock, or does I/O.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec
from msgspec.structs import astuple, replace

from relay.config.known_names import KnownNames
from relay.core.errors import RelayError
from relay.core.event import TYPE_RELAY, Event
from relay.incidents.group import read_field
from relay.incidents.life import HOUR_NS
from relay.incidents.silence_request import (
    InvalidSilence,
    SilenceRequest,
    check_request,
    find_times,
    parse_silence_match,
)
from relay.routing.index import Index
from relay.routing.matcher import Matcher

MAX_SILENCES = 1000
"""How many silences are kept. If there are more, those that ended first are forgotten."""

KEPT_NS = 30 * 24 * HOUR_NS
"""How long a silence that is over is kept."""


class TooManySilences(InvalidSilence):
    """There are as many silences as are kept, and none of them is over."""


class UnknownSilence(RelayError):
    """No silence has this number."""


class Silence(msgspec.Struct, frozen=True, omit_defaults=True):
    """A silence as it is stored. Times are in nanoseconds since 1970, by the wall clock."""

    id: int
    """Its number, counted from 1."""
    from_ns: int
    until_ns: int
    """Its end; the silence is not in force at this moment."""
    comment: str
    by: str
    made_ns: int
    match: Mapping[str, Any] | None = None
    """What it holds back, in the language of routes; None if it is about an incident."""
    incident: str | None = None
    """The id of the incident that it holds back; None if it has a match."""
    expired_ns: int | None = None
    """When somebody ended it; then it is never in force again, even if the clock is set back."""
    held_incidents: int = 0
    """How many updates of incidents it has held back for good."""
    held_events: int = 0
    """How many events it has held back for good."""

    @property
    def end_ns(self) -> int:
        """When it ends or ended."""
        return self.until_ns if self.expired_ns is None else self.expired_ns

    def is_in_force(self, wall_ns: int) -> bool:
        """Whether it holds something back now."""
        return not self.is_over(wall_ns) and not self.is_to_come(wall_ns)

    def is_to_come(self, wall_ns: int) -> bool:
        """Whether it is to begin. One that began when it was made never is, even if the clock is
        set back."""
        return self.from_ns > max(wall_ns, self.made_ns)

    def is_over(self, wall_ns: int) -> bool:
        """Whether it has ended."""
        return self.expired_ns is not None or self.until_ns <= wall_ns

    def is_forgotten(self, wall_ns: int) -> bool:
        """Whether it has been over for `KEPT_NS`."""
        return self.is_over(wall_ns) and self.end_ns + KEPT_NS <= wall_ns


class _RoutedEvent(Event, frozen=True, kw_only=True):
    """An event as a silence's match sees it: with the fields that no route has."""

    route: str
    project: str | None
    service: str | None


class Silences:
    """All silences, as rows in memory, and what finds the one that holds an event back."""

    def __init__(
        self, silences: Iterable[Silence] = (), on_change: Callable[[], None] = lambda: None
    ) -> None:
        """``on_change`` is called whenever something has to be stored."""
        self._silences = {each.id: each for each in sorted(silences, key=lambda each: each.id)}
        self._on_change = on_change
        self._changed: dict[int, None] = {}
        self._finder: _Finder | None = None
        """Made when something is to be found; None after a change."""
        self._last_until_ns: int | None = None
        """When the last one ends; None after a change."""

    def __len__(self) -> int:
        return len(self._silences)

    def __iter__(self) -> Iterator[Silence]:
        return iter(list(self._silences.values()))

    def get(self, id_: int) -> Silence | None:
        """Return the silence with this number."""
        return self._silences.get(id_)

    def find(
        self, event: Event, route: str, incident_id: str | None, wall_ns: int
    ) -> Silence | None:
        """Return the silence that holds back an event now; of several the one that ends last.

        ``event`` is a plain event, or the last problem of the incident with this id.
        """
        if not self.may_hold(wall_ns):
            return None
        return self.choose(self.find_all(event, route, incident_id), wall_ns)

    def may_hold(self, wall_ns: int) -> bool:
        """Whether one may be in force. Nearly always none is, and each plain event is asked
        about."""
        if self._last_until_ns is None:
            ends_ns = (each.until_ns for each in self if each.expired_ns is None)
            self._last_until_ns = max(ends_ns, default=0)
        return wall_ns < self._last_until_ns

    def find_all(self, event: Event, route: str, incident_id: str | None) -> list[Silence]:
        """Return the silences that an event fits, unless somebody has ended them; whether or not
        they are in force."""
        if self._finder is None:
            self._finder = _Finder(each for each in self if each.expired_ns is None)
        return [self._silences[id_] for id_ in self._finder.find(event, route, incident_id)]

    @staticmethod
    def choose(silences: Iterable[Silence], wall_ns: int) -> Silence | None:
        """Return the one of these silences that holds something back now."""
        in_force = [each for each in silences if each.is_in_force(wall_ns)]
        return max(in_force, key=lambda each: (each.until_ns, -each.id), default=None)

    def next_change_ns(self, wall_ns: int) -> int | None:
        """Return when a silence begins or ends next; None if none does."""
        return min(
            (
                time_ns
                for each in self._silences.values()
                if not each.is_over(wall_ns)
                for time_ns in (each.from_ns if each.is_to_come(wall_ns) else each.until_ns,)
            ),
            default=None,
        )

    def list_in_force(self, wall_ns: int) -> set[int]:
        """Return the ids of the silences that are in force."""
        return {each.id for each in self._silences.values() if each.is_in_force(wall_ns)}

    def add(self, request: SilenceRequest, known: KnownNames, wall_ns: int) -> Silence:
        """Add a silence. Raises `InvalidSilence`, `TooManySilences`."""
        check_request(request, known)
        from_ns, until_ns = find_times(request, wall_ns)
        self.prune(wall_ns)
        if len(self._silences) >= MAX_SILENCES and not self._forget_oldest(wall_ns):
            raise TooManySilences(
                f"there are {MAX_SILENCES} silences already, none of them over: end some "
                "(relay silence list, relay silence expire ID)"
            )
        silence = Silence(
            id=max(self._silences, default=0) + 1,
            from_ns=from_ns,
            until_ns=until_ns,
            comment=request.comment,
            by=request.by,
            made_ns=wall_ns,
            match=None if request.incident is not None else request.match or {},
            incident=request.incident,
        )
        self._put(silence)
        return silence

    def expire(self, id_: int, wall_ns: int, after_ns: int = 0) -> Silence:
        """End a silence now, or after a time if it does not end earlier.

        Raises `UnknownSilence`, and `InvalidSilence` if it is over.
        """
        silence = self._silences.get(id_)
        if silence is None:
            raise UnknownSilence(
                f"there is no silence {id_}: relay silence list --all shows those there are"
            )
        if silence.is_over(wall_ns):
            raise InvalidSilence(f"silence {id_} is over already")
        if after_ns > 0:
            ended = replace(silence, until_ns=min(silence.until_ns, wall_ns + after_ns))
        else:
            ended = replace(silence, expired_ns=wall_ns)
        self._put(ended)
        return ended

    def prune(self, wall_ns: int) -> None:
        """Forget what has been over for `KEPT_NS`."""
        for each in self:
            if each.is_forgotten(wall_ns):
                self._remove(each.id)

    def count_held(self, id_: int, *, events: int, incidents: int = 0) -> None:
        """Count what a silence has held back for good."""
        if (silence := self._silences.get(id_)) is not None:
            counted = replace(
                silence,
                held_events=silence.held_events + events,
                held_incidents=silence.held_incidents + incidents,
            )
            self._silences[id_] = counted  # it holds back what it did before
            self._note_change(id_)

    def take_changes(self) -> tuple[list[Silence], list[int]]:
        """Return what changed since the last call: the rows to write, and the ids of those that
        are gone."""
        changed, self._changed = self._changed, {}
        kept = [each for id_ in changed if (each := self._silences.get(id_)) is not None]
        return kept, [id_ for id_ in changed if id_ not in self._silences]

    def _forget_oldest(self, wall_ns: int) -> bool:
        """Forget the silence that ended first; return whether there was one."""
        over = [each for each in self if each.is_over(wall_ns)]
        if not over:
            return False
        self._remove(min(over, key=lambda each: each.end_ns).id)
        return True

    def _put(self, silence: Silence) -> None:
        self._silences[silence.id] = silence
        self._note_change(silence.id)
        self._finder = self._last_until_ns = None

    def _remove(self, id_: int) -> None:
        del self._silences[id_]
        self._note_change(id_)
        self._finder = self._last_until_ns = None

    def _note_change(self, id_: int) -> None:
        self._changed[id_] = None
        self._on_change()


class _Finder:
    """Finds the silences whose match an event fits, without trying every one."""

    def __init__(self, silences: Iterable[Silence]) -> None:
        by_match = []
        self._by_incident: dict[str, list[int]] = {}
        for each in silences:
            if each.incident is None:
                by_match.append(each)
            else:
                self._by_incident.setdefault(each.incident, []).append(each.id)
        self._ids = [each.id for each in by_match]
        matches = [parse_silence_match(each.match) for each in by_match]
        self._matchers = [Matcher(match, includes_relay=True) for match in matches]
        self._index = Index(matches)

    def find(self, event: Event, route: str, incident_id: str | None) -> list[int]:
        """Return the ids of the silences that an event fits, whether or not they are in force."""
        found = [] if incident_id is None else list(self._by_incident.get(incident_id, ()))
        if not self._ids:
            return found
        is_own = event.type == TYPE_RELAY
        routed = _RoutedEvent(
            *astuple(event),
            route=route,
            project=None if is_own else read_field(event, "project"),
            service=None if is_own else read_field(event, "service"),
        )
        # The index has no engine's matches for relay's own events, of which there are few.
        numbers = range(len(self._ids)) if is_own else self._index.candidates(routed)
        found += (self._ids[each] for each in numbers if self._matchers[each].matches(routed))
        return found


def check_silence(silence: Silence) -> None:
    """Check a silence from the store; raises `ValueError` if another version has written it."""
    if silence.incident is None:
        parse_silence_match(silence.match)
