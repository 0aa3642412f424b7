"""Rules for single values; each raises `ValueError` with words that do not hold the value."""

import re
from collections.abc import Mapping
from urllib.parse import SplitResult, urlsplit

from relay.config.mistakes import About, Mistake, Mistakes

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""RFC 9110, section 5.6.2."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NOT_IN_URL = re.compile(r"[\x00-\x20\x7f\ud800-\udfff]")
_OWN_HEADERS = (
    *("content-type", "content-length", "host", "user-agent"),
    *("connection", "transfer-encoding"),  # the framing of the request
)
_OWN_PREFIX = "webhook-"
"""The headers of the Standard Webhooks specification."""


def name(text: str) -> str:
    """The name of an engine, a destination or a route."""
    if not _NAME.fullmatch(text):
        raise ValueError(
            "is not a name: take letters, digits, '.', '_' and '-', at most 64, "
            "and a letter or a digit first"
        )
    return text


def title(text: str) -> str:
    """A name for people: one line, not blank."""
    if not text.strip() or not text.isprintable() or len(text) > 255:
        raise ValueError("is not one readable line of 1 to 255 characters")
    return text


def webhook_url(text: str) -> str:
    """An http or https URL with a host."""
    parts = _split(text)
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("is not an http or https URL, as in https://example.com/hook")
    return text


def engine_url(text: str) -> str:
    """Where a Docker API is, in one of the forms that the docker CLI knows."""
    parts = _split(text)
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


def headers(values: Mapping[str, str]) -> None:
    """HTTP headers that a person may set, with values that cannot break out of their line."""
    found: list[Mistake] = []
    seen: dict[str, str] = {}
    for key, value in values.items():
        lower = key.lower()
        if not _TOKEN.fullmatch(key):
            found.append(Mistake((key,), "is not the name of a header", About.KEY))
        elif lower in _OWN_HEADERS or lower.startswith(_OWN_PREFIX):
            found.append(Mistake((key,), "is a header that relay sets itself", About.KEY))
        elif seen.setdefault(lower, key) != key:
            message = f"is the header {seen[lower]!r} in other letter case: keep one"
            found.append(Mistake((key,), message, About.KEY))
        if _CONTROL.search(value):
            found.append(Mistake((key,), "holds a line break or a control character", About.VALUE))
    if found:
        raise Mistakes(found)


def _split(text: str) -> SplitResult | None:
    # urlsplit drops line breaks and tabs in silence
    if _NOT_IN_URL.search(text):
        return None
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018 - raises for one that is not a number up to 65535
    except ValueError:
        return None
    return parts
