"""The base classes of what shows messages to people: `MessageDestination`, and over HTTP
`ServiceDestination`.

Their ``title`` and ``text`` replace relay's headline and facts, and ``link`` adds a link; those of
a route override them.
"""

import re
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import ClassVar

import msgspec
from pydantic import AfterValidator, SecretStr

from relay.config.destination import DestinationConfig, OnTemplateError, Renderer, RouteTexts
from relay.config.templates.budget import TemplateError
from relay.config.templates.context import STATUS_NAMES
from relay.config.templates.link import LINK_MAX, make_link
from relay.config.templates.parts import TemplatePart
from relay.config.templates.template import Template
from relay.config.types import LinkText, TemplateText
from relay.config.validators import reject_paste_mistake
from relay.core.exchange import Request
from relay.core.incident import Audience
from relay.core.notification import Notification
from relay.core.zone import TimeZone
from relay.destinations.common.card import Card
from relay.destinations.common.envelope import Envelope
from relay.destinations.common.pieces import Pieces, split_links
from relay.destinations.common.template_values import template_context
from relay.destinations.common.webhook import WebhookDestination


def text_matching(pattern: str, otherwise: str) -> AfterValidator:
    """Return a validator of a text or a secret; ``otherwise`` is the error if it does not match."""
    compiled = re.compile(pattern)

    def check(value: str | SecretStr) -> str | SecretStr:
        text = value if isinstance(value, str) else value.get_secret_value()
        if not compiled.fullmatch(text):
            reject_paste_mistake(text)
            raise ValueError(otherwise)
        return value

    return AfterValidator(check)


class MessageDestination(DestinationConfig):
    """Shows messages to people: relay's own text, or that of a template."""

    public_keys = DestinationConfig.public_keys | {"title", "text", "link"}
    audience = Audience.PEOPLE
    link_max: ClassVar[int] = LINK_MAX
    """The characters of the longest link that the service takes."""

    title: TemplateText | None = None
    """A template that replaces relay's headline."""
    text: TemplateText | None = None
    """A template that replaces the facts below the headline."""
    link: LinkText | None = None
    """A template for a link, as in ``https://wiki.example.com/{{ event.name }}``: a button, if the
    service has one. Values are percent-encoded."""

    @property
    def uses_route_texts(self) -> bool:
        """True: messages show the ``title``, the ``text`` and the ``link`` of their route."""
        return True

    @abstractmethod
    def render(self, card: Card) -> Request:
        """Return the message about the first event, with the number of further events."""

    def build_renderer(
        self,
        routes: Sequence[RouteTexts],
        on_template_error: OnTemplateError,
        *,
        colour: bool,
        zone: TimeZone,
    ) -> Renderer:
        """See `DestinationConfig`. The repr of the renderer shows no secret."""
        texts = CustomText(self, routes, on_template_error, zone)
        return lambda notification: self.render(texts.make_card(notification))


class ServiceDestination(MessageDestination, WebhookDestination):
    """A service that shows messages to people, and is reached over HTTP."""

    public_keys = MessageDestination.public_keys | WebhookDestination.public_keys

    def json_request(self, message: object, headers: Mapping[str, str] | None = None) -> Request:
        """Return the request that sends ``message`` as JSON to the `endpoint`."""
        all_headers = {"Content-Type": "application/json", **(headers or {})}
        return Request(msgspec.json.encode(message), self.endpoint, all_headers)

    def build_renderer(
        self,
        routes: Sequence[RouteTexts],
        on_template_error: OnTemplateError,
        *,
        colour: bool,
        zone: TimeZone,
    ) -> Renderer:
        """See `DestinationConfig`. The repr of the renderer shows no secret."""
        render = super().build_renderer(routes, on_template_error, colour=colour, zone=zone)
        envelope = Envelope(self, on_template_error, zone)
        return lambda notification: envelope.wrap(render(notification), notification)


class CustomText:
    """The titles, texts and links of one destination. Those of a route override its own."""

    def __init__(
        self,
        to: MessageDestination,
        routes: Sequence[RouteTexts],
        on_template_error: OnTemplateError,
        zone: TimeZone,
    ) -> None:
        self._zone = zone
        titles = {route.name: route.title for route in routes}
        texts = {route.name: route.text for route in routes}
        links = {route.name: route.link for route in routes}
        self._titles = _RouteTemplates("title", to.title, titles, on_template_error)
        self._texts = _RouteTemplates("text", to.text, texts, on_template_error)
        self._links = _RouteTemplates("link", to.link, links, on_template_error)
        self._link_max = to.link_max
        self._on_template_error = on_template_error

    def make_card(self, notification: Notification) -> Card:
        """Return the card of a notification. What a template fails to make is left out."""
        # Building the context is expensive, and most notifications use no template.
        context = cache(lambda: template_context(notification, for_people=True, zone=self._zone))
        route, is_update = notification.route, notification.update is not None
        link, link_fault = self._make_link(notification)
        return Card(
            notification,
            self._titles.render_pieces(route, context),
            self._texts.render_pieces(route, context),
            title_has_status=is_update and self._titles.uses(route, *STATUS_NAMES),
            text_has_incidents=is_update and self._texts.uses(route, "incidents"),
            link=link,
            link_fault=link_fault,
            zone=self._zone,
        )

    def _make_link(self, notification: Notification) -> tuple[str | None, str]:
        """Return the link, if there is one, and why there is none although one is wanted.

        Its values are those for programs: nothing is escaped yet.
        """
        parts = self._links.render(
            notification.route,
            lambda: template_context(notification, for_people=False, zone=self._zone),
        )
        if parts is None:
            return None, "its template failed"
        try:
            return make_link(parts, self._link_max), ""
        except ValueError as error:
            self._on_template_error("link", str(error))
            return None, f"it {error}"


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

    def render(
        self, route: str, context: Callable[[], Mapping[str, object]]
    ) -> Iterable[TemplatePart] | None:
        """Return what the template of a route writes, if it has one; None if the template fails."""
        source = self._find_source(route)
        if source is None:
            return ()
        try:
            return self._compile(source).render_parts(context())
        except TemplateError as error:
            self._on_template_error(self._key, str(error))
            return None

    def render_pieces(self, route: str, context: Callable[[], Mapping[str, object]]) -> Pieces:
        """Return it as a text; an empty one if the template fails."""
        return split_links(self.render(route, context) or ())

    def uses(self, route: str, *names: str) -> bool:
        """Whether the template of a route takes any of these names from its context."""
        source = self._find_source(route)
        try:
            return source is not None and self._compile(source).uses(*names)
        except TemplateError:  # it is reported when it is rendered
            return False

    def _find_source(self, route: str) -> str | None:
        return self._by_route.get(route, self._default)
