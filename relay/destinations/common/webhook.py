"""Destinations that are reached over HTTP: the base class of their models.

The functions below it extend their URLs, and read the bodies and headers of their responses.
"""

from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Annotated, ClassVar
from urllib.parse import urlencode

import msgspec
from pydantic import AfterValidator, Field, SecretStr, ValidationInfo, field_validator
from yarl import URL

from relay.config import validators
from relay.config.destination import DestinationConfig, TimeoutConfig, TlsConfig
from relay.config.errors import invalid
from relay.config.types import (
    HeaderName,
    HeaderValue,
    QueryValue,
    Secret,
    Section,
    WebhookUrl,
    not_both,
)

ERROR_STATUSES = range(400, 600)
"""The statuses that a body may give in place of the actual one."""


class BasicAuth(Section):
    """A user and a password."""

    username: Annotated[str, AfterValidator(validators.check_user_name)]
    """The user's name, without a colon."""
    password: Secret
    """The user's password."""


class WebhookDestination(DestinationConfig):
    """A destination that is reached over HTTP."""

    public_keys = DestinationConfig.public_keys | {"timeout", "batch", "tls"}
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
    def tls_config(self) -> TlsConfig | None:
        """The certificates to use; None for those of the system."""
        return self.tls

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
        if _has_authorization(value):
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
        others = {
            "an Authorization in 'headers'": _has_authorization(info.data.get("headers") or {}),
            "a user in the 'url'": _has_user(info),
            "'basic_auth'": info.data.get("basic_auth") is not None,
        }
        for other, is_set in others.items():
            if value is not None and is_set:
                raise invalid(f"there is {other} as well: keep one of them")
        return value


def _has_authorization(headers: Mapping[str, object]) -> bool:
    return any(name.lower() == "authorization" for name in headers)


def _has_user(info: ValidationInfo) -> bool:
    url = info.data.get("url")  # absent if the URL itself is invalid
    return url is not None and validators.has_user(url.get_secret_value())


def append_path(url: str, path: str) -> str:
    """Append a path, encoded already, to that of a URL, and keep its query."""
    base = URL(url)
    return str(base.with_path(base.raw_path.rstrip("/") + path, encoded=True, keep_query=True))


def append_query(url: str, query: Mapping[str, str]) -> str:
    """Append to the query of a URL. The URL itself is not encoded again, as it may be signed."""
    base = url.partition("#")[0]
    return f"{base}{'&' if '?' in base else '?'}{urlencode(query, errors='replace')}"


def parse_object(body: bytes) -> dict[str, object]:
    """Return the JSON object that a body holds; an empty one if it holds anything else."""
    try:
        return msgspec.json.decode(body, type=dict[str, object])
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return {}


def parse_number(value: object) -> float | None:
    """Return a finite number from 0 on, given as a number or as text; None for anything else."""
    try:
        number = float(value) if isinstance(value, str | int | float) else -1.0
    except (ValueError, OverflowError):
        return None
    return number if 0 <= number < float("inf") else None


def parse_date_s(text: str) -> float | None:
    """Return an HTTP date in seconds since 1970; None if the text is not a date."""
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, IndexError, OverflowError):
        return None
    return date.replace(tzinfo=date.tzinfo or UTC).timestamp()
