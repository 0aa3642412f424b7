"""Rules for single values; each raises `ValueError` with words that do not hold the value."""

import re
from collections.abc import Iterable
from urllib.parse import SplitResult, urlsplit

from yarl import URL

from relay.config.mistakes import About, Mistake, Mistakes, quoted

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
INSPECT_FIELDS = 20
"""How many a route may ask for."""
_INSPECT_FIELD = re.compile(r"[A-Za-z0-9_/-]+(?:\.[A-Za-z0-9_/-]+)*")
_INSPECT_FIELD_MAX = 200


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
    usable = parts is not None and parts.scheme in ("http", "https") and parts.hostname
    if not usable or not _can_be_asked(text):
        raise ValueError("is not an http or https URL, as in https://example.com/hook")
    return text


def has_user(url: str) -> bool:
    """Whether a URL says who asks; the HTTP client makes an Authorization header of that."""
    return URL(url).user is not None


def _can_be_asked(text: str) -> bool:
    """Whether the HTTP client takes it: it is stricter about hosts."""
    try:
        return bool(URL(text).origin())
    except ValueError:
        return False


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


def header_name(text: str) -> str:
    """The name of an HTTP header that is for a person to set."""
    lower = text.lower()
    if not _TOKEN.fullmatch(text):
        raise ValueError("is not the name of a header")
    if lower in _OWN_HEADERS or lower.startswith(_OWN_PREFIX):
        raise ValueError("is a header that relay sets itself")
    return text


def header_value(text: str) -> str:
    """The value of an HTTP header, which cannot break out of its line."""
    if _CONTROL.search(text):
        raise ValueError("holds a line break or another control character")
    return text


def inspect_field(text: str) -> str:
    """The dotted path of a field of the engine's ``inspect``, which may end in a label's name."""
    if not _INSPECT_FIELD.fullmatch(text) or len(text) > _INSPECT_FIELD_MAX:
        raise ValueError("is not the path of an inspect field, as in RestartCount or State.Pid")
    return text


def distinct_headers(names: Iterable[str]) -> None:
    """Header names that differ in more than letter case."""
    seen: dict[str, str] = {}
    found = [
        Mistake((name,), f"is the header {quoted(seen[name.lower()])} again: keep one", About.KEY)
        for name in names
        if seen.setdefault(name.lower(), name) != name
    ]
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
