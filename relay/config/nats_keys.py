"""The keys of a connection to NATS, which an engine and a destination have in common."""

import re
from abc import abstractmethod
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)

from relay.config import validators
from relay.config.destination import TlsConfig
from relay.config.errors import invalid
from relay.config.section import Section, not_both
from relay.config.types import NonEmptyPath, Secret, as_list, text_like

LOGIN_KEYS = ("nkey_file", "creds_file", "username", "token")
"""The ways to log in. At most one of them is used."""
MAX_URLS = 32
"""Our own limit: a cluster has three or five servers."""
_MAX_NAME_CHARS = 255
"""Of a stream or a consumer: nats-server's ``JSMaxNameLen``."""
MAX_TOKEN_CHARS = 128
"""Our own limit: longer than a host name of most systems (63), far shorter than a subject."""
NOT_IN_TOKEN = re.compile(r"[^!-~]|[.*>]")
"""https://docs.nats.io/nats-concepts/subjects recommends ASCII without blanks; ``.``, ``*`` and
``>`` have a meaning."""
_NOT_IN_NAME = re.compile(r"[\s.*>/\\\x00-\x1f\x7f]")
"""nats-server refuses these in the names of streams and consumers."""


def check_nats_url(text: str) -> str:
    """Check the URL of a NATS server, without a user: ``tls://HOST:4222`` or ``nats://HOST``."""
    validators.reject_paste_mistake(text)
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or parts.scheme not in ("nats", "tls") or parts.path.strip("/") or parts.query:
        raise ValueError("is not the URL of a NATS server: write tls://HOST:4222 or nats://HOST")
    if "@" in parts.netloc:
        raise ValueError("holds a user: write 'username' and 'password_file', or 'token_file'")
    validators.check_host(host)
    if port == 0:
        raise ValueError("has the port 0, to which nothing can be sent")
    return text


def check_nats_name(text: str) -> str:
    """Check the name of a stream or a consumer."""
    if not text or _NOT_IN_NAME.search(text) or len(text) > _MAX_NAME_CHARS:
        raise ValueError(
            "is not the name of a stream or a consumer: it has no blank, '.', '*', '>', '/' or "
            f"'\\', and at most {_MAX_NAME_CHARS} characters"
        )
    return text


def check_nats_token(text: str) -> str:
    """Check one token of a subject, such as the name of a host."""
    if not text or NOT_IN_TOKEN.search(text) or len(text) > MAX_TOKEN_CHARS:
        raise ValueError(
            "cannot be a part of a subject: it has only ASCII characters, no blank, '.', '*' or "
            f"'>', and at most {MAX_TOKEN_CHARS} characters"
        )
    return text


def check_nats_prefix(text: str) -> str:
    """Check the prefix of a subject: tokens with dots between them."""
    for token in text.split("."):
        try:
            check_nats_token(token)
        except ValueError:
            raise ValueError(
                "is not the prefix of a subject, as in _INBOX.web-17: tokens with dots between "
                "them, without a blank, '*' or '>'"
            ) from None
    return text


NATS_URL = text_like(r"(nats|tls)://[^/@\s]+/?", "tls://nats.example.com:4222")
NatsUrl = Annotated[str, AfterValidator(check_nats_url), WithJsonSchema(NATS_URL)]
NatsName = Annotated[str, AfterValidator(check_nats_name)]
NatsToken = Annotated[str, AfterValidator(check_nats_token)]


class NatsKeys(Section):
    """How relay connects to NATS, and as whom."""

    schema_rules = (
        *(
            not_both(one, other)
            for at, one in enumerate(LOGIN_KEYS)
            for other in LOGIN_KEYS[at + 1 :]
        ),
        {"dependentRequired": {"password": ["username"], "password_file": ["username"]}},
    )

    url: Annotated[
        tuple[NatsUrl, ...], BeforeValidator(as_list), Field(min_length=1, max_length=MAX_URLS)
    ]
    """``tls://HOST:4222`` or ``nats://HOST:4222``, or a list of the servers of one cluster, all
    ``tls`` or all ``nats``. ``tls://`` refuses a server without TLS. Without a port: 4222."""
    nkey_file: NonEmptyPath | None = None
    """A file with the seed of an nkey (``SU…``) to log in with. It is read at each connection, so a
    renewed one needs no reload. Only one of ``nkey_file``, ``creds_file``, ``username`` and
    ``token`` may be there."""
    creds_file: NonEmptyPath | None = None
    """A credentials file (a JWT and the seed of its nkey) to log in with. It is read at each
    connection."""
    username: Annotated[str, AfterValidator(validators.check_title)] | None = None
    """The user to log in as; needs ``password``."""
    password: Secret | None = Field(default=None, validate_default=True)
    """The password of ``username``."""
    token: Secret | None = None
    """A token to log in with."""
    tls: TlsConfig | None = None
    """For ``tls://`` URLs: which certificates to trust, and which one to present."""
    inbox_prefix: Annotated[str, AfterValidator(check_nats_prefix)] | None = None
    """The prefix of the subjects for the servers' answers: the account has to be allowed to
    subscribe to ``PREFIX.>``. Default: ``_INBOX.``, and after it ``as`` of a destination, or the
    ``consumer`` of an engine."""

    @property
    @abstractmethod
    def identity(self) -> str:
        """Who connects, as one token of a subject."""

    @property
    def inbox(self) -> str:
        """The prefix of the subjects for the servers' answers."""
        return self.inbox_prefix or f"_INBOX.{self.identity}"

    @property
    def uses_tls(self) -> bool:
        """Whether every connection has to be encrypted."""
        return self.url[0].startswith("tls:")

    @field_validator("url")
    @classmethod
    def _check_one_scheme(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len({url.partition(":")[0] for url in value}) > 1:
            raise invalid("mixes nats:// and tls://: write the same for all servers")
        return value

    @field_validator(*LOGIN_KEYS)
    @classmethod
    def _check_one_login(cls, value: object, info: ValidationInfo) -> object:
        if value is not None:
            for other in LOGIN_KEYS:
                if other != info.field_name and info.data.get(other) is not None:
                    raise invalid(
                        f"'{other}' and '{info.field_name}' exclude each other: keep one way to "
                        "log in"
                    )
        return value

    @field_validator("password")
    @classmethod
    def _check_user_and_password(
        cls, value: SecretStr | None, info: ValidationInfo
    ) -> SecretStr | None:
        if "username" in info.data and (value is None) != (info.data["username"] is None):
            raise invalid("'username' and 'password' go together: write both or neither")
        return value

    @field_validator("tls")
    @classmethod
    def _check_tls_url(cls, value: TlsConfig | None, info: ValidationInfo) -> TlsConfig | None:
        # "url" is missing here if it is invalid itself
        urls = info.data.get("url", ("tls:",))
        if value is not None and not urls[0].startswith("tls:"):
            raise invalid("is for tls:// URLs only: write tls:// for each 'url'")
        return value
