"""Routes events: which routes match an event, and to which destinations each of them sends it.

The daemon and the commands that explain a decision use the same code.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from enum import StrEnum

import msgspec

from relay.config import Route
from relay.config.match import names_field
from relay.core.event import Event, is_self_event
from relay.core.notification import Notification, build_notification
from relay.routing.index import Index
from relay.routing.matcher import Condition, Matcher


class Verdict(StrEnum):
    """What a route did with an event."""

    SENT = "sent"
    """The route matched and sends the event to destinations."""
    ALREADY_SENT = "already_sent"
    """The route matched but sends nothing: earlier routes send the event to all of its
    destinations, or the only other one is the destination that the event is about."""
    DROPPED = "dropped"
    """The route matched and dropped the event."""
    NO_MATCH = "no_match"
    NOT_REACHED = "not_reached"
    """An earlier route with ``stop`` or ``drop`` matched."""


_MATCHES = (Verdict.SENT, Verdict.ALREADY_SENT, Verdict.DROPPED)


class RouteResult(msgspec.Struct, frozen=True):
    """The decision of one route about an event."""

    route: Route
    verdict: Verdict
    destinations: tuple[str, ...] = ()
    """The destinations to which this route sends the event."""
    failed_condition: Condition | None = None
    """With `Verdict.NO_MATCH`: the first condition that the event does not fulfil."""

    @property
    def is_match(self) -> bool:
        """Whether the route matched, whether or not it sends the event."""
        return self.verdict in _MATCHES

    def build_notification(self, event: Event) -> Notification:
        """Build the notification that the route sends for the event."""
        route = self.route
        return build_notification(route.name, event, route.include.request, route.severity)


RouteObserver = Callable[[Event, Sequence[RouteResult]], None]
"""Called with an event and the results of the routes that match it."""


class Router:
    """The compiled routes of a configuration."""

    def __init__(self, routes: Sequence[Route], observer: RouteObserver | None = None) -> None:
        """``observer`` is called for every event that is routed, before it is stored or sent."""
        self._rows = tuple((route, Matcher(route.match)) for route in routes)
        self._index = Index([route.match for route in routes])
        self._observer = observer
        self.uses_interactive = any(names_field(route.match, "interactive") for route in routes)
        """Whether a route has a condition on ``interactive``: then containers are inspected."""

    def replace_routes(self, other: "Router") -> None:
        """Use the other router's routes from now on."""
        self._rows, self._index = other._rows, other._index
        self.uses_interactive = other.uses_interactive

    def explain(self, event: Event) -> list[RouteResult]:
        """Return the result of every route, from top to bottom.

        Every route that matches fires, until one with ``stop`` or ``drop``. An event goes to each
        destination at most once, by the first route that sends it there, and never to the
        destination that it is about.
        """
        matches = dict(self._find_matches(event))
        last = next(
            (number for number, match in matches.items() if match.route.stop or match.route.drop),
            len(self._rows),
        )
        results: list[RouteResult] = []
        for number, (route, matcher) in enumerate(self._rows):
            if number in matches:
                results.append(matches[number])
            elif number > last:
                results.append(RouteResult(route, Verdict.NOT_REACHED))
            else:
                failed = matcher.first_failure(event)
                results.append(RouteResult(route, Verdict.NO_MATCH, failed_condition=failed))
        return results

    def route(self, event: Event, match_counts: Counter[str] | None = None) -> list[RouteResult]:
        """Return the results of the routes that send the event somewhere.

        ``match_counts`` counts all routes that match, by name, including those that drop the event
        or send it nowhere.
        """
        results = [result for _, result in self._find_matches(event)]
        if self._observer is not None:
            self._observer(event, results)
        if match_counts is not None:
            for result in results:
                match_counts[result.route.name] += 1
        return [result for result in results if result.verdict is Verdict.SENT]

    def _find_matches(self, event: Event) -> list[tuple[int, RouteResult]]:
        """Return the routes that match, with their numbers. Every decision is made here."""
        matches: list[tuple[int, RouteResult]] = []
        candidates = self._index.candidates(event)
        if not candidates:
            return matches
        # An event about a destination is never sent to that destination. That of another relay may
        # have the same name.
        about = event.actor.attributes.get("destination") if is_self_event(event) else None
        served = {about}
        for number in candidates:
            route, matcher = self._rows[number]
            if not matcher.matches(event):
                continue
            new = tuple(name for name in route.to if name not in served)
            served.update(new)
            if route.drop:
                verdict = Verdict.DROPPED
            else:
                verdict = Verdict.SENT if new else Verdict.ALREADY_SENT
            matches.append((number, RouteResult(route, verdict, new)))
            if route.stop or route.drop:
                break
        return matches
