"""What is added to a rendered request: the method, headers and query of the configuration."""

import base64
from collections.abc import Mapping

from pydantic import SecretStr

from relay.config.destination import OnTemplateError
from relay.config.templates.budget import TemplateError
from relay.config.templates.template import Template, is_template
from relay.core.exchange import Request
from relay.core.notification import Notification
from relay.core.zone import TimeZone
from relay.destinations.common.template_values import template_context
from relay.destinations.common.webhook import WebhookDestination, append_query

VALUE_MAX = 2_048
"""The characters of a header or query value that a template renders: what servers usually
accept."""


class Envelope:
    """The additions of one destination."""

    def __init__(
        self,
        destination: WebhookDestination,
        on_template_error: OnTemplateError,
        zone: TimeZone,
    ) -> None:
        self._authorization = _authorization_headers(destination)
        self._headers = ValueTemplates("headers", destination.headers, on_template_error, zone)
        self._query = ValueTemplates("query", destination.query, on_template_error, zone)
        self._is_empty = not (self._authorization or destination.headers or destination.query)

    def wrap(
        self, request: Request, notification: Notification, method: str | None = None
    ) -> Request:
        """Return the request with everything added. With the ``method`` GET it has no body."""
        method = method or request.method
        if self._is_empty and method == request.method:
            return request
        headers = {**request.headers, **self._authorization, **self._headers.render(notification)}
        if method == "GET":
            headers.pop("Content-Type", None)
        query = self._query.render(notification)
        return Request(
            body=b"" if method == "GET" else request.body,
            url=append_query(request.url, query) if query else request.url,
            headers=headers,
            method=method,
        )


def _authorization_headers(to: WebhookDestination) -> Mapping[str, str]:
    """Return the header after RFC 7617, section 2, or RFC 6750, section 2.1, if one is set."""
    if to.bearer_token is not None:
        return {"Authorization": f"Bearer {to.bearer_token.get_secret_value()}"}
    if to.basic_auth is not None:
        pair = f"{to.basic_auth.username}:{to.basic_auth.password.get_secret_value()}"
        return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
    return {}


class ValueTemplates:
    """Header or query values by name, some of which are templates."""

    def __init__(
        self,
        key: str,
        values: Mapping[str, SecretStr],
        on_template_error: OnTemplateError,
        zone: TimeZone,
    ) -> None:
        """``key`` is ``headers`` or ``query``; ``zone`` is that of times in a headline."""
        self._zone = zone
        texts = {name: value.get_secret_value() for name, value in values.items()}
        self._key = key
        self._plain = {name: text for name, text in texts.items() if not is_template(text)}
        self._templates = {
            name: Template(text) for name, text in texts.items() if is_template(text)
        }
        self._on_template_error = on_template_error

    def render(self, notification: Notification) -> Mapping[str, str]:
        """Return the values, without those that fail or must not be sent."""
        if not self._templates:
            return self._plain
        values = dict(self._plain)
        context = template_context(notification, for_people=False, zone=self._zone)
        for name, template in self._templates.items():
            try:
                value = template.render(context)
            except TemplateError as error:
                # The message may quote the template, which may be secret: report the kind only.
                self._on_template_error(f"{self._key}.{name}", error.kind.value)
                continue
            if fault := self._find_fault(value):
                self._on_template_error(f"{self._key}.{name}", fault)
            else:
                values[name] = value
        return values

    def _find_fault(self, value: str) -> str | None:
        """Return why a value must not be sent; None if it may be."""
        if len(value) > VALUE_MAX:
            return f"is longer than {VALUE_MAX} characters"
        if self._key == "headers" and not value.isprintable():  # it could control a terminal
            return "holds a line break or another character that does not print"
        return None
