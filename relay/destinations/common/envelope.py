"""Adds the method, headers and query of the configuration to a rendered request."""

import base64
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from urllib.parse import urlencode

import msgspec
from pydantic import SecretStr

from relay.config.destination import OnTemplateError, Renderer, RouteTexts
from relay.config.templates.budget import TemplateError
from relay.config.templates.template import Template, is_template
from relay.config.types import TemplateText
from relay.core.exchange import Request
from relay.core.notification import Notification
from relay.destinations.common import cloudevents
from relay.destinations.common.card import Card
from relay.destinations.common.custom_text import CustomText, build_context
from relay.destinations.common.webhook import WebhookDestination

VALUE_MAX = 2_048
"""The characters of a header or query value that a template renders: what servers usually
accept."""


class Envelope:
    """The additions of one destination."""

    def __init__(self, destination: WebhookDestination, on_template_error: OnTemplateError) -> None:
        self._authorization = _authorization_headers(destination)
        self._headers = _ValueTemplates(
            "headers", destination.headers, _require_printable, on_template_error
        )
        self._query = _ValueTemplates("query", destination.query, str, on_template_error)

    def wrap(
        self, request: Request, notification: Notification, method: str | None = None
    ) -> Request:
        """Return the request with everything added. With the ``method`` GET it has no body."""
        method = method or request.method
        headers = {**request.headers, **self._authorization, **self._headers.render(notification)}
        if method == "GET":
            headers.pop("Content-Type", None)
        query = self._query.render(notification)
        return Request(
            body=b"" if method == "GET" else request.body,
            url=_with_query(request.url, query) if query else request.url,
            headers=headers,
            method=method,
        )


def _with_query(url: str, query: Mapping[str, str]) -> str:
    """Append to the query of a URL. The URL itself is not encoded again, as it may be signed."""
    base = url.partition("#")[0]
    return f"{base}{'&' if '?' in base else '?'}{urlencode(query, errors='replace')}"


def _require_printable(value: str) -> str:
    """Raise `ValueError` for a header value that could control a terminal."""
    if not value.isprintable():
        raise ValueError("holds a line break or another character that does not print")
    return value


def _authorization_headers(to: WebhookDestination) -> Mapping[str, str]:
    """Return the header after RFC 7617, section 2, or RFC 6750, section 2.1, if one is set."""
    if to.bearer_token is not None:
        return {"Authorization": f"Bearer {to.bearer_token.get_secret_value()}"}
    if to.basic_auth is not None:
        pair = f"{to.basic_auth.username}:{to.basic_auth.password.get_secret_value()}"
        return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
    return {}


def _require_short(value: str) -> str:
    if len(value) > VALUE_MAX:
        raise ValueError(f"is longer than {VALUE_MAX} characters")
    return value


class _ValueTemplates:
    """Header or query values by name, some of which are templates."""

    def __init__(
        self,
        key: str,
        values: Mapping[str, SecretStr],
        check: Callable[[str], str],
        on_template_error: OnTemplateError,
    ) -> None:
        """``check`` raises `ValueError` for a value that cannot be sent."""
        texts = {name: value.get_secret_value() for name, value in values.items()}
        self._key = key
        self._plain = {name: text for name, text in texts.items() if not is_template(text)}
        self._templates = {
            name: Template(text) for name, text in texts.items() if is_template(text)
        }
        self._check = check
        self._on_template_error = on_template_error

    def render(self, notification: Notification) -> Mapping[str, str]:
        """Return the values, without those that fail or must not be sent."""
        if not self._templates:
            return self._plain
        values, context = dict(self._plain), build_context(notification)
        for name, template in self._templates.items():
            try:
                values[name] = self._check(_require_short(template.render(context)))
            except TemplateError as error:
                # The message may quote the template, which may be secret: report the kind only.
                self._on_template_error(f"{self._key}.{name}", error.kind.value)
            except ValueError as error:
                self._on_template_error(f"{self._key}.{name}", str(error))
        return values


_CONTENT_TYPE = "Content-Type"
_BATCH_TYPES = {cloudevents.STRUCTURED_TYPE: cloudevents.BATCH_TYPE}
"""The content type of an array, if it differs from the type of its items."""


def join_bodies(requests: Sequence[Request]) -> Request:
    """Return one request that holds the bodies of all requests, of which there is at least one.

    The requests have the same URL and headers. A single body becomes an array too, so that
    receivers have to read one form only. The bodies are not changed.
    """
    first, *_ = requests
    content_type = first.headers[_CONTENT_TYPE]
    return replace(
        first,
        body=b"[" + b",".join(request.body for request in requests) + b"]",
        headers={**first.headers, _CONTENT_TYPE: _BATCH_TYPES.get(content_type, content_type)},
    )


class ServiceDestination(WebhookDestination):
    """A service that shows messages to people: relay's own text, or that of a template."""

    public_keys = WebhookDestination.public_keys | {"title", "text"}

    title: TemplateText | None = None
    """A template that replaces relay's headline."""
    text: TemplateText | None = None
    """A template that replaces the facts below the headline."""

    @property
    def uses_route_texts(self) -> bool:
        """True: messages show the ``title`` and the ``text`` of their route."""
        return True

    @abstractmethod
    def render(self, card: Card) -> Request:
        """Return the message about the first event, with the number of further events."""

    def json_request(self, message: object, headers: Mapping[str, str] | None = None) -> Request:
        """Return the request that sends ``message`` as JSON to the `endpoint`."""
        all_headers = {"Content-Type": "application/json", **(headers or {})}
        return Request(msgspec.json.encode(message), self.endpoint, all_headers)

    def build_renderer(
        self, routes: Sequence[RouteTexts], on_template_error: OnTemplateError, *, colour: bool
    ) -> Renderer:
        """See `DestinationConfig`. The repr of the renderer shows no secret."""
        texts = CustomText(self.title, self.text, routes, on_template_error)
        envelope = Envelope(self, on_template_error)

        def render(notification: Notification) -> Request:
            return envelope.wrap(self.render(texts.make_card(notification)), notification)

        return render
