"""The bodies that destinations would be sent, and how they differ from what was expected."""

from collections.abc import Iterable, Iterator

from relay.config import Config, Renderer
from relay.core.notification import Notification
from relay.core.zone import TimeZone
from relay.delivery.redact import Redactor, collect_secrets
from relay.dryrun.expectation import Expectation
from relay.dryrun.forecast import forecast
from relay.dryrun.incidents import PlannedNotification
from relay.dryrun.partial_match import find_missing
from relay.incidents.policy import Policies
from relay.routing.router import RouteResult, Verdict


class BodyRenderer:
    """Renders bodies as the daemon does, each once; shows nothing that is secret."""

    def __init__(self, config: Config, policies: Policies) -> None:
        self._config = config
        self._policies = policies
        self._routes = {route.name: route for route in config.routes}
        self._renderers: dict[str, Renderer] = {}
        self._redactors: dict[str, Redactor] = {}
        self._bodies: dict[tuple[str, str], bytes] = {}
        self._template_errors: list[str] = []

    def find_differences(
        self, expected: Expectation, planned: PlannedNotification
    ) -> Iterator[str]:
        """Yield what the bodies lack of the expected parts."""
        for name, part in (expected.body or {}).items():
            if name not in planned.destinations:
                yield f"body of {name}: it goes to {', '.join(planned.destinations)} only"
                continue
            for lack in find_missing(part, self._body(name, planned.notification)):
                yield self._redact(name, f"body of {name}{lack}")

    def find_template_errors(self, planned: Iterable[PlannedNotification]) -> list[str]:
        """Return which templates fail; for these the daemon would send relay's default text."""
        for each in planned:
            for name in each.destinations:
                self._body(name, each.notification)
        self._bodies.clear()
        errors, self._template_errors = self._template_errors, []
        return errors

    def _body(self, name: str, notification: Notification) -> bytes:
        key = (name, notification.id)
        if key not in self._bodies:
            first = self._find_first(name, notification)
            self._bodies[key] = self._renderer(name)(first).body
        return self._bodies[key]

    def _find_first(self, name: str, notification: Notification) -> Notification:
        """Return the message that a destination of incidents would get first about an event."""
        route = notification.route
        if notification.update is not None or not self._policies.takes_incidents(route, name):
            return notification
        result = RouteResult(self._routes[route], Verdict.SENT, (name,))
        return forecast(self._policies, notification.events[0], result, name).notification

    def _renderer(self, name: str) -> Renderer:
        def on_template_error(where: str, why: str) -> None:
            error = self._redact(name, f"the template {where} of {name} fails: {why}")
            self._template_errors.append(error)

        if name not in self._renderers:
            to, routes = self._config.destinations[name], self._config.routes
            zone = TimeZone(self._config.time_zone)
            self._renderers[name] = to.build_renderer(
                routes, on_template_error, colour=False, zone=zone
            )
        return self._renderers[name]

    def _redact(self, name: str, text: str) -> str:
        if name not in self._redactors:
            self._redactors[name] = Redactor(collect_secrets(self._config.destinations[name]))
        return self._redactors[name].redact(text)
