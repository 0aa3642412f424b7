"""The titles and texts that a configuration gives in place of relay's own."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache

from relay.config import Route, ServiceDestination
from relay.config.templates.template import Template, TemplateError
from relay.core.notification import Notification
from relay.core.text import escape_unprintable
from relay.destinations.common.card import Card
from relay.destinations.common.template_context import build_context

OnTemplateError = Callable[[str, str], None]
"""Told of a template that failed: where it stands, as in ``title``, and why."""


class CustomText:
    """What a destination's messages say; a route's words come before the destination's."""

    def __init__(
        self, to: ServiceDestination, routes: Sequence[Route], failed: OnTemplateError
    ) -> None:
        self._titles = _RouteTemplates(
            "title", to.title, {it.name: it.title for it in routes}, failed
        )
        self._texts = _RouteTemplates("text", to.text, {it.name: it.text for it in routes}, failed)

    def make_card(self, notification: Notification) -> Card:
        """The notification in these words; where a template fails, in relay's own."""
        known = cache(
            lambda: build_context(notification, escape_unprintable)
        )  # made where a template needs it
        title = self._titles.render(notification.route, known)
        return Card(notification, title, self._texts.render(notification.route, known))


class _RouteTemplates:
    """One kind of them, by route.

    Each becomes a template when it is first used. That takes half a millisecond, there are as many
    as routes for every destination, most are never used there, and a reload waits for none.
    """

    def __init__(
        self,
        kind: str,
        usual: str | None,
        by_route: Mapping[str, str | None],
        failed: OnTemplateError,
    ) -> None:
        self._kind = kind
        self._usual = usual
        self._by_route = {route: it for route, it in by_route.items() if it is not None}
        self._template = cache(Template)
        self._failed = failed

    def render(self, route: str, known: Callable[[], Mapping[str, object]]) -> str | None:
        source = self._by_route.get(route, self._usual)
        if source is None:
            return None
        try:
            return self._template(source).render(known())
        except TemplateError as error:
            self._failed(self._kind, str(error))
            return None
