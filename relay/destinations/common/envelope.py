"""Adds the method, headers and query of the configuration to a rendered request."""

import base64
from collections.abc import Callable, Mapping
from urllib.parse import urlencode

from pydantic import SecretStr

from relay.config.destination import OnTemplateError
from relay.config.templates.template import Template, TemplateError, is_template
from relay.core.exchange import Request
from relay.core.notification import Notification
from relay.destinations.common.template_context import build_context
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
