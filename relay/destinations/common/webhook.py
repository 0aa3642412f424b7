"""Destinations that are reached over HTTP: the base class of their models.

The functions below it extend and split their URLs.
"""

import base64
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar
from urllib.parse import quote as percent_encode
from urllib.parse import urlencode, urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
)
from yarl import URL

from relay.config import validators
from relay.config.destination import DestinationConfig, TimeoutConfig, TlsConfig, Transport
from relay.config.errors import ConfigIssue, IssueScope, invalid
from relay.config.section import Section, not_both
from relay.config.types import (
    HeaderName,
    HeaderValue,
    QueryValue,
    Secret,
    WebhookUrl,
    WholeNumber,
    as_list,
)
from relay.core.exchange import Response, ResponseHint
from relay.destinations.common.responses import is_2xx, is_html, read_expected, unexpected_page

_URL_CHARACTERS = "%:/?#[]@!$&'()*+,;=-._~"
"""What a URL may contain besides letters and digits (RFC 3986, section 2)."""

LIKELY_SECRET_CHARS = 12
"""From this length on, a part of the path of a URL is treated as a secret. Shorter ones are
probably ordinary words."""

EXPECT_MAX = 1_000
"""The longest text that a response can be expected to contain, in characters."""


def _check_body_text(text: str) -> str:
    if not 0 < len(text) <= EXPECT_MAX:
        raise ValueError(f"is not a text of 1 to {EXPECT_MAX} characters")
    return text


_Status = Annotated[WholeNumber, Field(ge=100, le=599)]
_BodyText = Annotated[str, AfterValidator(_check_body_text)]


class BasicAuth(Section):
    """A user and a password."""

    username: Annotated[str, AfterValidator(validators.check_user_name)]
    """The user's name, without a colon."""
    password: Secret
    """The user's password."""


class ExpectConfig(Section):
    """Which responses mean that a notification was accepted, if the type's own rule is wrong."""

    status: Annotated[tuple[_Status, ...], BeforeValidator(as_list)] = ()
    """A status, or a list of them. Default: any 2xx."""
    body: Annotated[tuple[_BodyText, ...], BeforeValidator(as_list)] = Field(
        default=(), validate_default=True
    )
    """A text that the body contains, or a list of texts of which it contains one. Without it any
    body will do, except an HTML page."""

    @field_validator("body")
    @classmethod
    def _check_not_empty(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if not value and not info.data.get("status", True):
            raise invalid("'expect' needs a 'status' or a 'body'")
        return value


class WebhookDestination(DestinationConfig):
    """A destination that is reached over HTTP."""

    transport = Transport.HTTP
    public_keys = DestinationConfig.public_keys | {"timeout", "batch", "tls", "expect"}
    schema_rules = tuple(
        not_both("basic_auth", other) for other in ("bearer_token", "bearer_token_file")
    )
    authorization_key: ClassVar[str | None] = None
    """The key that this type sends as ``Authorization``, if any. It excludes any other one."""

    url: WebhookUrl
    """The URL that requests go to."""
    headers: dict[HeaderName, HeaderValue] = Field(default_factory=dict)
    """Headers to add to those that relay sets; values may be templates."""
    query: dict[str, QueryValue] = Field(default_factory=dict)
    """Names and values to add to the query of the URL; values may be templates."""
    timeout: TimeoutConfig = TimeoutConfig()
    tls: TlsConfig | None = None
    """The certificates for an ``https://`` URL."""
    expect: ExpectConfig | None = None
    """Which responses mean success, instead of those that the service documents (``type: http``:
    any 2xx that is no HTML page)."""
    proxy: WebhookUrl | None = None
    """The URL of an HTTP proxy; nothing is taken from the environment."""
    basic_auth: BasicAuth | None = None
    """A user and a password; not beside a ``bearer_token``, a user in the ``url`` or an
    Authorization in ``headers``."""
    bearer_token: Secret | None = None
    """Sent as ``Authorization: Bearer``; not beside another authorization."""

    @property
    def endpoint(self) -> str:
        """The URL that requests go to, without what ``query`` adds."""
        return self.url.get_secret_value()

    @property
    def derived_secrets(self) -> Iterator[str]:
        """The parts of its URLs that are as secret as the whole, and its users as HTTP sends them.

        HTTP sends ``user:password`` in base64 (RFC 7617, section 2).
        """
        for text in [self.endpoint] + ([self.proxy.get_secret_value()] if self.proxy else []):
            url = URL(text)
            yield from (text, path_and_query(text), str(url), url.path_qs, url.raw_path_qs)
            yield url.password or ""
            yield from (value for _, value in url.query.items())
            yield from (part for part in url.parts if len(part) >= LIKELY_SECRET_CHARS)
        for pair in self._basic_auth_pairs():
            yield base64.b64encode(pair.encode()).decode()

    def _basic_auth_pairs(self) -> Iterator[str]:
        if (basic := self.basic_auth) is not None:
            yield f"{basic.username}:{basic.password.get_secret_value()}"
        for secret in (self.url, self.proxy):
            url = URL("" if secret is None else secret.get_secret_value())
            if url.user is not None:
                yield f"{url.user}:{url.password or ''}"

    @property
    def tls_config(self) -> TlsConfig | None:
        """The certificates to use; None for those of the system."""
        return self.tls

    def read_response(self, response: Response) -> ResponseHint:
        """Return what a response means: see `DestinationConfig`. An HTML page is no success."""
        hint = self.parse_response(response)
        if self.expect is not None:
            return read_expected(response, hint, self.expect.status, self.expect.body)
        if is_2xx(response) and is_html(response):
            return unexpected_page()
        return hint

    @field_validator("url")
    @classmethod
    def _check_url(cls, value: SecretStr) -> SecretStr:
        if cls.authorization_key and validators.has_user(value.get_secret_value()):
            raise invalid(f"holds a user, but '{cls.authorization_key}' is sent: remove the user")
        return value

    @field_validator("headers")
    @classmethod
    def _check_headers(
        cls, value: dict[str, SecretStr], info: ValidationInfo
    ) -> dict[str, SecretStr]:
        validators.check_distinct_headers(value)
        if validators.has_authorization(value):
            if cls.authorization_key:
                key = cls.authorization_key
                raise invalid(f"hold an Authorization, but '{key}' is sent as that: remove it")
            if _has_user(info):
                raise invalid("hold an Authorization, and the 'url' a user: keep one of them")
        return value

    @field_validator("tls")
    @classmethod
    def _check_tls_url(cls, value: TlsConfig | None, info: ValidationInfo) -> TlsConfig | None:
        url = info.data.get("url")
        if value is not None and url and not url.get_secret_value().startswith("https:"):
            raise invalid("is for an https:// 'url' only")
        return value

    @field_validator("basic_auth", "bearer_token")
    @classmethod
    def _check_one_authorization(cls, value: object, info: ValidationInfo) -> object:
        if value is not None and cls.authorization_key:
            raise invalid(f"'{cls.authorization_key}' is the authorization: remove this key")
        headers = info.data.get("headers") or {}
        others = {
            "an Authorization in 'headers'": validators.has_authorization(headers),
            "a user in the 'url'": _has_user(info),
            "'basic_auth'": info.data.get("basic_auth") is not None,
        }
        for other, is_set in others.items():
            if value is not None and is_set:
                raise invalid(f"there is {other} as well: keep one of them")
        return value


def _has_user(info: ValidationInfo) -> bool:
    url = info.data.get("url")  # absent if the URL itself is invalid
    return url is not None and validators.has_user(url.get_secret_value())


def warn_of_path(
    url: SecretStr, pattern: str, message: str = "has the path of the API already: remove it"
) -> Iterator[ConfigIssue]:
    """Yield an issue about ``url`` if the path of the URL contains a regular expression.

    A slash at its end is ignored.
    """
    path = urlsplit(url.get_secret_value()).path.rstrip("/")
    if re.search(pattern, path):
        yield ConfigIssue(("url",), message, IssueScope.VALUE)


def append_path(url: str, path: str) -> str:
    """Append a path, encoded already, to that of a URL, and keep its query.

    Nothing else of the URL changes, here and in `append_query`: it may be signed.
    """
    base, mark, query = url.partition("#")[0].partition("?")
    return f"{base.rstrip('/')}{path}{mark}{query}"


def append_query(url: str, query: Mapping[str, str]) -> str:
    """Append to the query of a URL."""
    base = url.partition("#")[0]
    return f"{base}{'&' if '?' in base else '?'}{urlencode(query, errors='replace')}"


def path_and_query(url: str) -> str:
    """Return the path and the query of a URL as written; only what HTTP forbids is encoded."""
    after_scheme = url.partition("#")[0].partition("://")[2]
    start = re.search(r"[/?]|$", after_scheme)
    target = after_scheme[start.start() :] if start else ""
    return percent_encode(target if target.startswith("/") else f"/{target}", safe=_URL_CHARACTERS)
