"""The walk of an event along the routes; what decides is what explains."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from relay.config import Route
from relay.core.event import TYPE_RELAY, Event
from relay.core.notification import Notification, notify
from relay.routing.index import Index
from relay.routing.matcher import Condition, Matcher


class Verdict(StrEnum):
    """What became of an event at a route."""

    SENT = "sent"
    """It matched and goes to the route's destinations."""
    ALREADY_SENT = "already_sent"
    """It matched, and goes to none of the route's destinations: to all by earlier routes, or to
    none but the one that it is about."""
    DROPPED = "dropped"
    """It matched and goes no further."""
    NO_MATCH = "no_match"
    NOT_REACHED = "not_reached"
    """An earlier route ended the walk."""


_MATCHES = (Verdict.SENT, Verdict.ALREADY_SENT, Verdict.DROPPED)


@dataclass(frozen=True, slots=True)
class Step:
    """One route's say about an event."""

    route: Route
    verdict: Verdict
    destinations: tuple[str, ...] = ()
    """Those that the event goes to by this route."""
    failed: Condition | None = None
    """With `Verdict.NO_MATCH`: the first condition that the event does not fulfil."""

    @property
    def matches(self) -> bool:
        """Whether the route matched, whatever came of it."""
        return self.verdict in _MATCHES

    def notification(self, event: Event) -> Notification:
        """What the route makes of the event."""
        route = self.route
        return notify(route.name, event, route.include.wanted, route.severity)


Witness = Callable[[Event, Sequence[Step]], None]
"""Is told what each route that matches an event said to it."""


@dataclass(frozen=True, slots=True)
class _Table:
    """Routes, compiled."""

    rows: tuple[tuple[Route, Matcher], ...]
    index: Index

    @staticmethod
    def of(routes: Sequence[Route]) -> "_Table":
        rows = tuple((route, Matcher(route.match)) for route in routes)
        return _Table(rows, Index([route.match for route in routes]))


class Router:
    """The routes of a configuration, compiled."""

    def __init__(self, routes: Sequence[Route], told: Witness | None = None) -> None:
        """``told`` is called for every event that is routed, before anything comes of it."""
        self._table = _Table.of(routes)
        self._told = told

    def adopt(self, other: "Router") -> None:
        """From here on decide as the other does."""
        self._table = other._table

    def walk(self, event: Event) -> list[Step]:
        """What each route says to the event, from top to bottom.

        Every route that matches fires, until one that stops or drops; an event goes to one
        destination at most once, by the first route that sends it there, and never to the
        destination that it is about.
        """
        rows, taken = self._table.rows, self._taken(event)
        end = next((number for number, step in taken if _ends(step)), len(rows))
        said = dict(taken)
        return [
            said.get(number) or _silent(route, None if number > end else matcher, event)
            for number, (route, matcher) in enumerate(rows)
        ]

    def route(self, event: Event, matches: Counter[str] | None = None) -> list[Step]:
        """The steps that send the event somewhere.

        ``matches`` counts, by their names, all routes that match it, those too that drop it or come
        too late.
        """
        steps = [step for _, step in self._taken(event)]
        if self._told is not None:
            self._told(event, steps)
        if matches is not None:
            for step in steps:
                matches[step.route.name] += 1
        return [step for step in steps if step.verdict is Verdict.SENT]

    def _taken(self, event: Event) -> list[tuple[int, Step]]:
        """What the routes say that match, with their numbers: this decides."""
        rows = self._table.rows
        taken: list[tuple[int, Step]] = []
        candidates = self._table.index.candidates(event)
        if not candidates:
            return taken
        served = {_about(event)}
        for number in candidates:
            route, matcher = rows[number]
            if not matcher.takes(event):
                continue
            fresh = tuple(name for name in route.to if name not in served)
            served.update(fresh)
            taken.append((number, Step(route, _verdict(route, fresh), fresh)))
            if route.stop or route.drop:
                break
        return taken


def _verdict(route: Route, fresh: Sequence[str]) -> Verdict:
    if route.drop:
        return Verdict.DROPPED
    return Verdict.SENT if fresh else Verdict.ALREADY_SENT


def _ends(step: Step) -> bool:
    return step.route.stop or step.route.drop


def _silent(route: Route, reached: Matcher | None, event: Event) -> Step:
    """The step of a route that does not match, or was not reached."""
    if reached is None:
        return Step(route, Verdict.NOT_REACHED)
    return Step(route, Verdict.NO_MATCH, failed=reached.first_failure(event))


def _about(event: Event) -> str | None:
    """The destination that something of relay's own happened to."""
    return event.actor.attributes.get("destination") if event.type == TYPE_RELAY else None
