"""The ``title`` and ``text`` of a configuration, which replace relay's headline and facts."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache

import msgspec

from relay.config.destination import OnTemplateError, Renderer, RouteTexts
from relay.config.templates import context as templates
from relay.config.templates.budget import MAX_STEPS, Budget, TemplateError
from relay.config.templates.template import Template, is_template
from relay.core.exchange import Request
from relay.core.notification import Included, Notification
from relay.core.text import ELLIPSIS, escape_unprintable
from relay.destinations.common.card import Card, get_included, headline

BODY_MAX = 262_144
"""How many characters all templates of a body together may produce."""
BODY_STEPS = 5 * MAX_STEPS
"""How many steps all templates of a body together may take."""
HEADLINES_MAX = 20
"""How many failed texts the headline replaces; an ellipsis replaces the others."""
PLAIN_TEXT = "text/plain; charset=utf-8"

_Tree = dict[str, "_Tree"] | list["_Tree"] | Template | str | int | float | bool | None
_Write = Callable[[Template, str], str]


def text_renderer(
    body_text: str, content_type: str, url: str, on_template_error: OnTemplateError
) -> Renderer:
    """Return a renderer of ``body_text``. The template is compiled once, here."""
    template = Template(body_text)

    def render(notification: Notification) -> Request:
        writer = _BodyWriter(notification)
        body = writer.write(template, "body_text").encode(errors="replace")
        writer.report_failure(on_template_error)
        return Request(body, url, {"Content-Type": content_type})

    return render


def json_renderer(body: object, url: str, on_template_error: OnTemplateError) -> Renderer:
    """Return a renderer of ``body``, a tree of texts. The templates are compiled once, here.

    ``on_template_error`` is called with the first template of the tree that fails.
    """
    tree = _compile(body)

    def render(notification: Notification) -> Request:
        writer = _BodyWriter(notification)
        content = msgspec.json.encode(_fill(tree, "body", writer.write))
        writer.report_failure(on_template_error)
        return Request(content, url, {"Content-Type": "application/json"})

    return render


def _compile(value: object) -> _Tree:
    match value:
        case dict():
            # YAML can contain half a surrogate pair, which JSON cannot hold.
            names = {key: str(key).encode(errors="replace").decode() for key in value}
            return {names[key]: _compile(inner) for key, inner in value.items()}
        case list():
            return [_compile(inner) for inner in value]
        case str() if is_template(value):
            return Template(value)
        case str():
            # A text without expressions, such as a key or a channel, is rendered outside of the
            # body's budget: it must stay as it is, however long the other texts become.
            return Template(value).render({})
        case bool() | int() | float() | None:
            return value
    raise TypeError(f"YAML has no {type(value)}")


def _fill(tree: _Tree, path: str, write: _Write) -> object:
    match tree:
        case dict():
            return {key: _fill(inner, f"{path}.{key}", write) for key, inner in tree.items()}
        case list():
            return [_fill(inner, f"{path}[{at}]", write) for at, inner in enumerate(tree)]
        case Template():
            return write(tree, path)
        case _:
            return tree


class _BodyWriter:
    """Renders the texts of one body, which share one budget of steps and characters."""

    def __init__(self, notification: Notification) -> None:
        self._context = build_context(notification)
        self._budget = Budget(BODY_STEPS, BODY_MAX)
        self._headlines = HEADLINES_MAX
        self._failures: list[tuple[str, str]] = []

    def write(self, template: Template, path: str) -> str:
        try:
            return template.render(self._context, self._budget)
        except TemplateError as error:
            self._failures.append((path, str(error)))
        self._headlines -= 1
        return str(self._context["headline"]) if self._headlines >= 0 else ELLIPSIS

    def report_failure(self, on_template_error: OnTemplateError) -> None:
        """Report the first failure only: it often causes the failures after it."""
        for path, reason in self._failures[:1]:
            on_template_error(path, reason)


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


HEADLINE_MAX = 200


def build_context(
    notification: Notification, escape: templates.Escape = str
) -> Mapping[str, object]:
    """Return the names and values for one notification, its ``headline`` among them.

    ``escape`` is applied to every text that others chose.
    """
    included = get_included(notification) or Included()
    title = headline(notification, HEADLINE_MAX)
    return templates.build_context(notification, title, included, escape)
