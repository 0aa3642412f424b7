"""What goes around a body: the method, and the headers and the query that a configuration adds."""

import base64
from collections.abc import Callable, Mapping
from urllib.parse import urlencode

from pydantic import SecretStr

from relay.config import HttpDestination, WebhookDestination
from relay.config.templates.template import Template, TemplateError, is_template
from relay.core.exchange import Request
from relay.core.notification import Notification
from relay.destinations.common.custom_text import OnTemplateError
from relay.destinations.common.template_context import build_context

VALUE_MAX = 2_048
"""Of a header or a part of the query that a template makes: what servers usually take."""


class Envelope:
    """One destination's."""

    def __init__(self, to: WebhookDestination, failed: OnTemplateError) -> None:
        self._method = to.method if isinstance(to, HttpDestination) else "POST"
        self._authorization = _authorization_headers(to)
        self._headers = _ValueTemplates("headers", to.headers, _require_printable, failed)
        self._query = _ValueTemplates("query", to.query, str, failed)

    def wrap(self, request: Request, notification: Notification) -> Request:
        """The request with all that the configuration adds to it."""
        headers = {**request.headers, **self._authorization, **self._headers.render(notification)}
        if self._method == "GET":
            headers.pop("Content-Type", None)
        query = self._query.render(notification)
        return Request(
            body=b"" if self._method == "GET" else request.body,
            url=_with_query(request.url, query) if query else request.url,
            headers=headers,
            method=self._method,
        )


def _with_query(url: str, query: Mapping[str, str]) -> str:
    """The URL with more behind its query, of which nothing is written anew: it can be signed."""
    place = url.partition("#")[0]
    return f"{place}{'&' if '?' in place else '?'}{urlencode(query, errors='replace')}"


def _require_printable(value: str) -> str:
    """A header's value that moves nothing on anybody's terminal."""
    if not value.isprintable():
        raise ValueError("holds a line break or another character that does not print")
    return value


def _authorization_headers(to: WebhookDestination) -> Mapping[str, str]:
    """RFC 7617, section 2, and RFC 6750, section 2.1."""
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
    """Texts by name, some of them templates."""

    def __init__(
        self,
        kind: str,
        values: Mapping[str, SecretStr],
        check: Callable[[str], str],
        failed: OnTemplateError,
    ) -> None:
        """``check`` raises ValueError for a value that cannot be sent."""
        texts = {name: value.get_secret_value() for name, value in values.items()}
        self._kind = kind
        self._plain = {name: text for name, text in texts.items() if not is_template(text)}
        self._templates = {
            name: Template(text) for name, text in texts.items() if is_template(text)
        }
        self._check = check
        self._failed = failed

    def render(self, notification: Notification) -> Mapping[str, str]:
        """The values; what fails, or would break out of its line, is left out."""
        if not self._templates:
            return self._plain
        values, known = dict(self._plain), build_context(notification)
        for name, template in self._templates.items():
            try:
                values[name] = self._check(_require_short(template.render(known)))
            except TemplateError as error:  # its words may hold what stands in the template
                self._failed(f"{self._kind}.{name}", error.kind.value)
            except ValueError as error:
                self._failed(f"{self._kind}.{name}", str(error))
        return values
