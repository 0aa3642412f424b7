"""The walk of an event along the routes; what decides is what explains."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from relay.config import Route
from relay.core.event import TYPE_RELAY, Event
from relay.core.notification import Notification, build_notification
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
class RouteResult:
    """One route's say about an event."""

    route: Route
    verdict: Verdict
    destinations: tuple[str, ...] = ()
    """Those that the event goes to by this route."""
    failed_condition: Condition | None = None
    """With `Verdict.NO_MATCH`: the first condition that the event does not fulfil."""

    @property
    def is_match(self) -> bool:
        """Whether the route matched, whatever came of it."""
        return self.verdict in _MATCHES

    def build_notification(self, event: Event) -> Notification:
        """What the route makes of the event."""
        route = self.route
        return build_notification(route.name, event, route.include.request, route.severity)


RouteObserver = Callable[[Event, Sequence[RouteResult]], None]
"""Is told what each route that matches an event said to it."""


@dataclass(frozen=True, slots=True)
class _RouteTable:
    """Routes, compiled."""

    rows: tuple[tuple[Route, Matcher], ...]
    index: Index

    @staticmethod
    def of(routes: Sequence[Route]) -> "_RouteTable":
        rows = tuple((route, Matcher(route.match)) for route in routes)
        return _RouteTable(rows, Index([route.match for route in routes]))


class Router:
    """The routes of a configuration, compiled."""

    def __init__(self, routes: Sequence[Route], observer: RouteObserver | None = None) -> None:
        """``told`` is called for every event that is routed, before anything comes of it."""
        self._table = _RouteTable.of(routes)
        self._observer = observer

    def replace_routes(self, other: "Router") -> None:
        """From here on decide as the other does."""
        self._table = other._table

    def explain(self, event: Event) -> list[RouteResult]:
        """What each route says to the event, from top to bottom.

        Every route that matches fires, until one that stops or drops; an event goes to one
        destination at most once, by the first route that sends it there, and never to the
        destination that it is about.
        """
        rows, taken = self._table.rows, self._find_matches(event)
        end = next((number for number, step in taken if _is_final(step)), len(rows))
        said = dict(taken)
        return [
            said.get(number) or _explain_no_match(route, None if number > end else matcher, event)
            for number, (route, matcher) in enumerate(rows)
        ]

    def route(self, event: Event, match_counts: Counter[str] | None = None) -> list[RouteResult]:
        """The steps that send the event somewhere.

        ``matches`` counts, by their names, all routes that match it, those too that drop it or come
        too late.
        """
        steps = [step for _, step in self._find_matches(event)]
        if self._observer is not None:
            self._observer(event, steps)
        if match_counts is not None:
            for step in steps:
                match_counts[step.route.name] += 1
        return [step for step in steps if step.verdict is Verdict.SENT]

    def _find_matches(self, event: Event) -> list[tuple[int, RouteResult]]:
        """What the routes say that match, with their numbers: this decides."""
        rows = self._table.rows
        taken: list[tuple[int, RouteResult]] = []
        candidates = self._table.index.candidates(event)
        if not candidates:
            return taken
        served = {_subject_destination(event)}
        for number in candidates:
            route, matcher = rows[number]
            if not matcher.matches(event):
                continue
            fresh = tuple(name for name in route.to if name not in served)
            served.update(fresh)
            taken.append((number, RouteResult(route, _decide_verdict(route, fresh), fresh)))
            if route.stop or route.drop:
                break
        return taken


def _decide_verdict(route: Route, fresh: Sequence[str]) -> Verdict:
    if route.drop:
        return Verdict.DROPPED
    return Verdict.SENT if fresh else Verdict.ALREADY_SENT


def _is_final(step: RouteResult) -> bool:
    return step.route.stop or step.route.drop


def _explain_no_match(route: Route, reached: Matcher | None, event: Event) -> RouteResult:
    """The step of a route that does not match, or was not reached."""
    if reached is None:
        return RouteResult(route, Verdict.NOT_REACHED)
    return RouteResult(route, Verdict.NO_MATCH, failed_condition=reached.first_failure(event))


def _subject_destination(event: Event) -> str | None:
    """The destination that something of relay's own happened to."""
    return event.actor.attributes.get("destination") if event.type == TYPE_RELAY else None
