"""The walk of an event along the routes; what decides is what explains."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from relay.config import Route
from relay.event import TYPE_RELAY, Event
from relay.notification import Notification, notify
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
"""Is told what each route said to an event."""


class Router:
    """The routes of a configuration, compiled."""

    def __init__(self, routes: Sequence[Route], told: Witness | None = None) -> None:
        """``told`` is called for every event that is routed, before anything comes of it."""
        self._routes = [(route, Matcher(route.match)) for route in routes]
        self._told = told

    def adopt(self, other: "Router") -> None:
        """From here on decide as the other does."""
        self._routes = other._routes

    def walk(self, event: Event) -> Iterator[Step]:
        """What each route says to the event, from top to bottom.

        Every route that matches fires, until one that stops or drops; an event goes to one
        destination at most once, by the first route that sends it there, and never to the
        destination that it is about.
        """
        served: set[str] = set()
        about = _about(event)
        ended = False
        for route, matcher in self._routes:
            if ended:
                yield Step(route, Verdict.NOT_REACHED)
            elif (failed := matcher.first_failure(event)) is not None:
                yield Step(route, Verdict.NO_MATCH, failed=failed)
            elif route.drop:
                ended = True
                yield Step(route, Verdict.DROPPED)
            else:
                ended = route.stop
                fresh = tuple(name for name in route.to if name not in served and name != about)
                served.update(fresh)
                yield Step(route, Verdict.SENT if fresh else Verdict.ALREADY_SENT, fresh)

    def route(self, event: Event, matches: Counter[str] | None = None) -> list[Step]:
        """The steps that send the event somewhere.

        ``matches`` counts, by their names, all routes that match it, those too that drop it or come
        too late.
        """
        steps = tuple(self.walk(event))
        if self._told is not None:
            self._told(event, steps)
        if matches is not None:
            matches.update(step.route.name for step in steps if step.matches)
        return [step for step in steps if step.verdict is Verdict.SENT]


def _about(event: Event) -> str | None:
    """The destination that something of relay's own happened to."""
    return event.actor.attributes.get("destination") if event.type == TYPE_RELAY else None
