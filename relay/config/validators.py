"""Rules for single values; each raises `ValueError` with words that do not hold the value."""

import base64
import binascii
import re
from collections.abc import Iterable
from contextlib import suppress
from urllib.parse import SplitResult, urlsplit

from pydantic import SecretStr
from yarl import URL

from relay.config.errors import ConfigIssue, InvalidValue, IssueScope, invalid, quote
from relay.config.templates.context import sample_context
from relay.config.templates.template import Template, TemplateError, TemplateErrorKind

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""RFC 9110, section 5.6.2."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NOT_IN_URL = re.compile(r"[\x00-\x20\x7f\ud800-\udfff]")
_RESERVED_HEADERS = (
    *("content-type", "content-length", "content-encoding", "host", "user-agent"),
    # the framing of the request, and what belongs to one connection (RFC 9110, section 7.6.1)
    *("connection", "transfer-encoding", "expect", "te", "trailer", "upgrade", "keep-alive"),
    *("proxy-authorization", "proxy-connection", "x-hub-signature-256", "x-gotify-key"),
)
_RESERVED_PREFIXES = ("webhook-", "ce-")
"""The headers of the Standard Webhooks specification, and of CloudEvents."""
MAX_INSPECT_FIELDS = 20
"""How many a route may ask for."""
_INSPECT_FIELD = re.compile(r"[A-Za-z0-9_/-]+(?:\.[A-Za-z0-9_/-]+)*")
_MAX_INSPECT_FIELD_CHARS = 200
_SIGNING_PREFIX = "whsec_"
_SIGNING_BYTES = range(24, 65)
"""Standard Webhooks, "Signature scheme": between 192 and 512 bits."""
_MIN_ADMIN_TOKEN_CHARS = 16
_ADMIN_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]{1,1000}={0,2}")
"""RFC 6750, section 2.1: what a request can carry."""
_TELEGRAM_TOKEN = re.compile(r"[0-9]{1,20}:[A-Za-z0-9_-]{10,100}")
_TELEGRAM_CHAT = re.compile(r"-?[0-9]{1,20}|@[A-Za-z0-9_]{3,64}")
_NTFY_TOPIC = re.compile(r"[-_A-Za-z0-9]{1,64}")
"""ntfy, ``server/server.go``: ``topicRegex``."""


def check_name(text: str) -> str:
    """The name of an engine, a destination or a route."""
    if not _NAME.fullmatch(text):
        raise ValueError(
            "is not a name: take letters, digits, '.', '_' and '-', at most 64, "
            "and a letter or a digit first"
        )
    return text


def check_title(text: str) -> str:
    """A name for people: one line, not blank."""
    if not text.strip() or not text.isprintable() or len(text) > 255:
        raise ValueError("is not one readable line of 1 to 255 characters")
    return text


def check_webhook_url(text: str) -> str:
    """An http or https URL with a host."""
    parts = _split_url(text)
    usable = parts is not None and parts.scheme in ("http", "https") and parts.hostname
    if not usable or not _is_usable_url(text):
        raise ValueError("is not an http or https URL, as in https://example.com/hook")
    return text


def has_user(url: str) -> bool:
    """Whether a URL says who asks; the HTTP client makes an Authorization header of that."""
    return URL(url).user is not None


def _is_usable_url(text: str) -> bool:
    """Whether the HTTP client takes it: it is stricter about hosts."""
    try:
        return bool(URL(text).origin())
    except ValueError:
        return False


def check_engine_url(text: str) -> str:
    """Where a Docker API is, in one of the forms that the docker CLI knows."""
    parts = _split_url(text)
    match parts and parts.scheme:
        case "unix" if parts and not parts.netloc and len(parts.path) > 1:
            return text
        case "tcp" | "http" | "https" | "ssh" if parts and parts.hostname:
            return text
        case _:
            raise ValueError(
                "is not the URL of an engine: write unix:///run/docker.sock, tcp://HOST:2376, "
                "http://HOST, https://HOST or ssh://USER@HOST"
            )


def check_header_name(text: str) -> str:
    """The name of an HTTP header that is for a person to set."""
    lower = text.lower()
    if not _TOKEN.fullmatch(text):
        raise ValueError("is not the name of a header")
    if lower in _RESERVED_HEADERS or lower.startswith(_RESERVED_PREFIXES):
        raise ValueError("is a header that relay sets itself")
    return text


def check_header_value(text: str) -> str:
    """The value of an HTTP header, which cannot break out of its line."""
    if _CONTROL.search(text):
        raise ValueError("holds a line break or another control character")
    return text


def check_inspect_field(text: str) -> str:
    """The dotted path of a field of the engine's ``inspect``, which may end in a label's name."""
    if not _INSPECT_FIELD.fullmatch(text) or len(text) > _MAX_INSPECT_FIELD_CHARS:
        raise ValueError("is not the path of an inspect field, as in RestartCount or State.Pid")
    return text


def check_distinct_headers(names: Iterable[str]) -> None:
    """Header names that differ in more than letter case."""
    seen: dict[str, str] = {}
    found = [
        ConfigIssue(
            (name,), f"is the header {quote(seen[name.lower()])} again: keep one", IssueScope.KEY
        )
        for name in names
        if seen.setdefault(name.lower(), name) != name
    ]
    if found:
        raise InvalidValue(found)


def check_user_name(text: str) -> str:
    """A user of basic authentication (RFC 7617, section 2)."""
    if not text or ":" in text or _CONTROL.search(text):
        raise ValueError("is not a user's name: it is empty, or holds a ':' or a control character")
    return text


def check_signing_secret(text: str) -> str:
    """A secret of the Standard Webhooks specification."""
    try:
        key = base64.b64decode(text.removeprefix(_SIGNING_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not text.startswith(_SIGNING_PREFIX) or len(key) not in _SIGNING_BYTES:
        raise invalid(
            "is not 'whsec_' and the base64 of 24 to 64 bytes: "
            "make one with: echo whsec_$(openssl rand -base64 32)"
        )
    return text


def check_admin_token(token: SecretStr) -> SecretStr:
    """What whoever asks relay has to show."""
    if len(token.get_secret_value()) < _MIN_ADMIN_TOKEN_CHARS:
        raise ValueError(
            "is too short: use 32 random characters, as `openssl rand -hex 16` prints them"
        )
    if not _ADMIN_TOKEN.fullmatch(token.get_secret_value()):
        raise ValueError("is not a token: take letters and digits, as `openssl rand -hex 16` does")
    return token


def check_telegram_token(token: SecretStr) -> SecretStr:
    """A bot's token, as @BotFather gives it."""
    if not _TELEGRAM_TOKEN.fullmatch(token.get_secret_value()):
        raise ValueError("is not the token of a bot, as in 123456:ABC-DEF1234ghIkl-zyx57W2v1u")
    return token


def check_telegram_chat(text: str) -> str:
    """A chat's number, or the public name of a channel or a group."""
    if not _TELEGRAM_CHAT.fullmatch(text):
        raise ValueError("is neither the number of a chat nor '@' and a channel's name")
    return text


def check_ntfy_topic(topic: SecretStr) -> SecretStr:
    """The name of a topic."""
    if not _NTFY_TOPIC.fullmatch(topic.get_secret_value()):
        raise ValueError("is not a topic: take letters, digits, '-' and '_', at most 64")
    return topic


def check_template(text: str) -> str:
    """A text that may hold Jinja expressions, rendered for a sample event.

    What fails for the sample's values may be right for others. What stands in a template may be
    a secret, and is told of only where it is none.
    """
    try:
        Template(text).render(sample_context())
    except TemplateError as error:
        if error.kind is not TemplateErrorKind.VALUE:
            words = f"is a template that fails: {error.kind.value}"
            raise InvalidValue(
                [ConfigIssue((), words, IssueScope.STANDALONE, f": {error}")]
            ) from None
    return text


def check_header_template(text: str) -> str:
    """A header's value that may hold Jinja expressions; what it makes of a sample is one too."""
    check_template(text)
    with suppress(TemplateError):
        check_header_value(Template(text).render(sample_context()))
    return text


def _split_url(text: str) -> SplitResult | None:
    # urlsplit drops line breaks and tabs in silence
    if _NOT_IN_URL.search(text):
        return None
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018 - raises for one that is not a number up to 65535
    except ValueError:
        return None
    return parts
