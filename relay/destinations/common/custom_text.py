"""The ``title`` and ``text`` of a configuration, which replace relay's headline and facts."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache

from relay.config.destination import OnTemplateError, RouteTexts
from relay.config.templates.template import Template, TemplateError
from relay.core.notification import Notification
from relay.core.text import escape_unprintable
from relay.destinations.common.card import Card
from relay.destinations.common.template_context import build_context


class CustomText:
    """The titles and texts of one destination. Those of a route override the destination's own."""

    def __init__(
        self,
        title: str | None,
        text: str | None,
        routes: Sequence[RouteTexts],
        on_template_error: OnTemplateError,
    ) -> None:
        titles = {route.name: route.title for route in routes}
        texts = {route.name: route.text for route in routes}
        self._titles = _RouteTemplates("title", title, titles, on_template_error)
        self._texts = _RouteTemplates("text", text, texts, on_template_error)

    def make_card(self, notification: Notification) -> Card:
        """Return the notification with its title and text, except one whose template fails."""
        # Building the context is expensive, and most notifications use no template.
        context = cache(lambda: build_context(notification, escape_unprintable))
        title = self._titles.render(notification.route, context)
        return Card(notification, title, self._texts.render(notification.route, context))


class _RouteTemplates:
    """The templates of one key, by route.

    A template is compiled when it is first used, so that a reload does not wait for it: compiling
    takes half a millisecond, and every destination has a template for each route, most of which it
    never uses.
    """

    def __init__(
        self,
        key: str,
        default: str | None,
        by_route: Mapping[str, str | None],
        on_template_error: OnTemplateError,
    ) -> None:
        self._key = key
        self._default = default
        self._by_route = {route: text for route, text in by_route.items() if text is not None}
        self._compile = cache(Template)
        self._on_template_error = on_template_error

    def render(self, route: str, context: Callable[[], Mapping[str, object]]) -> str | None:
        source = self._by_route.get(route, self._default)
        if source is None:
            return None
        try:
            return self._compile(source).render(context())
        except TemplateError as error:
            self._on_template_error(self._key, str(error))
            return None
