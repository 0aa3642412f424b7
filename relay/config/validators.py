"""Checks of single values.

Each `check_` function raises `ValueError` for an invalid value; the message does not contain the
value, which may be a secret.
"""

import base64
import binascii
import re
from collections.abc import Iterable
from contextlib import suppress
from importlib.util import find_spec
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from yarl import URL

from relay.config.address import check_socket_path
from relay.config.errors import ConfigIssue, InvalidValue, IssueScope, find_closest, invalid, quote
from relay.config.templates.budget import TemplateError, TemplateErrorKind
from relay.config.templates.context import sample_context
from relay.config.templates.link import make_link
from relay.config.templates.template import Template
from relay.core.zone import TimeZone, UnknownZone

NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""RFC 9110, section 5.6.2."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_MAX_LABEL_CHARS = 63
_MAX_HOST_CHARS = 253
"""Of a label and of a whole name: RFC 1035, section 2.3.4."""
_LINE_BREAK = re.compile(r"\r\n|\r|\n")
_QUOTES = "'\""
_HOST = re.compile(r"[\w.-]+")
_NOT_IN_URL = re.compile(r"[\x00-\x20\x7f\ud800-\udfff]")
_RESERVED_HEADERS = (
    *("content-type", "content-length", "content-encoding", "host", "user-agent"),
    # the framing of the request, and the headers of one connection (RFC 9110, section 7.6.1)
    *("connection", "transfer-encoding", "expect", "te", "trailer", "upgrade", "keep-alive"),
    *("proxy-authorization", "proxy-connection", "x-hub-signature-256"),
    # set by one type of destination, and refused for all, so that a type can be changed
    "x-gotify-key",
)
_RESERVED_PREFIXES = ("webhook-", "ce-")
"""The prefixes of the headers of Standard Webhooks and of CloudEvents."""
MAX_INSPECT_FIELDS = 20
"""How many fields of ``inspect`` a route may include."""
_URLENCODE = re.compile(r"\|\s*urlencode\b")
_INSPECT_FIELD = re.compile(r"[A-Za-z0-9_/-]+(?:\.[A-Za-z0-9_/-]+)*")
_MAX_INSPECT_FIELD_CHARS = 200
_SIGNING_PREFIX = "whsec_"
_SIGNING_BYTES = range(24, 65)
"""Standard Webhooks, "Signature scheme": between 192 and 512 bits."""
_MIN_ADMIN_TOKEN_CHARS = 16
_ADMIN_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]{1,1000}={0,2}")
"""The tokens that an Authorization header can carry: RFC 6750, section 2.1."""
_BEARER_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")


def check_name(text: str) -> str:
    """Check the name of an engine, a destination or a route."""
    if not NAME_PATTERN.fullmatch(text):
        raise ValueError(
            "is not a name: use letters, digits, '.', '_' and '-', at most 64, "
            "and a letter or a digit first"
        )
    return text


def check_title(text: str) -> str:
    """Check a name to show to people: one printable line that is not blank."""
    if not text.strip() or not text.isprintable() or len(text) > 255:
        raise ValueError("is not one readable line of 1 to 255 characters")
    return text


def describe_paste_mistake(text: str) -> str | None:
    """Return what was put into a variable or a file beside the value; None if nothing was.

    The text continues a sentence that starts with the value, and does not contain the value.
    """
    if not text:
        return "is empty"
    if text[-1] in "\r\n":
        return "ends with a line break: remove it"
    if lines := _LINE_BREAK.findall(text):
        return f"holds {len(lines) + 1} lines: it has to be one"
    if text[0] == text[-1] and text[0] in _QUOTES:
        return "has quotes around it, which are a part of it: remove them where it is set"
    if text != text.strip():
        return "begins or ends with a blank: remove it"
    return None


def reject_paste_mistake(text: str) -> None:
    """Raise `ValueError` if something was put into a variable or a file beside the value.

    For values that have no quote at either end, as URLs; a password may have one.
    """
    if mistake := describe_paste_mistake(text):
        raise ValueError(mistake)
    if text[0] in _QUOTES or text[-1] in _QUOTES:
        raise ValueError("begins or ends with a quote: remove it where it is set")


def check_webhook_url(text: str) -> str:
    """Check an http or https URL: whether a request can be sent to it at all."""
    reject_paste_mistake(text)
    if " " in text:
        raise ValueError("holds a blank: remove it, or write %20 for it")
    url = _parse_web_url(text)
    if url is None:
        raise ValueError("is not an http or https URL, as in https://example.com/hook")
    _check_server(url.raw_host or "", url.port)
    _check_user(url)
    return text


def _parse_web_url(text: str) -> URL | None:
    parts = _split_url(text)
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        return None
    try:  # yarl is stricter about hosts than urlsplit
        url = URL(text)
        url.origin()
    except ValueError:
        return None
    return url


def _check_server(host: str, port: int | None) -> None:
    """Check that a host can be looked up (RFC 1035, section 2.3.4), and a port connected to."""
    labels = host.removesuffix(".").split(".")
    if not all(0 < len(label) <= _MAX_LABEL_CHARS for label in labels):
        raise ValueError(
            f"names a host that cannot exist: a part of it is empty or longer than "
            f"{_MAX_LABEL_CHARS} characters"
        )
    if len(host) > _MAX_HOST_CHARS:
        raise ValueError(
            f"names a host that cannot exist: it is longer than {_MAX_HOST_CHARS} characters"
        )
    if port == 0:
        raise ValueError("has the port 0, to which nothing can be sent")


def _check_user(url: URL) -> None:
    """Check that user and password can be sent in an Authorization header (RFC 7617)."""
    user, password = url.user or "", url.password or ""
    if ":" in user:
        raise ValueError("holds a user's name with a ':', which basic authentication cannot send")
    try:
        f"{user}{password}".encode("latin-1")
    except UnicodeEncodeError:
        raise ValueError(
            "holds a user or a password that is not Latin-1: write 'basic_auth' instead"
        ) from None


def check_host(text: str) -> str:
    """Check the name or the address of a server."""
    reject_paste_mistake(text)
    if "://" in text:
        raise ValueError("is a URL: write the name of the server alone")
    try:
        return str(ip_address(text))
    except ValueError:
        pass
    if not _HOST.fullmatch(text):
        raise ValueError("is not the name of a server, as in mail.example.com; the port is a key")
    _check_server(text, None)
    return text


def has_user(url: str) -> bool:
    """Whether a URL contains a user, which the HTTP client turns into an Authorization header."""
    return URL(url).user is not None


def has_authorization(headers: Iterable[str]) -> bool:
    """Whether one of the header names is ``Authorization``, in any letter case."""
    return any(name.lower() == "authorization" for name in headers)


def check_engine_url(text: str) -> str:
    """Check the URL of a Docker API: one of the forms that the docker command knows."""
    reject_paste_mistake(text)
    if text.startswith("/"):
        raise ValueError("is a path: write unix:// before it")
    parts = _split_url(text)
    match parts and parts.scheme:
        case "unix" if parts and not parts.netloc and len(parts.path) > 1:
            check_socket_path(parts.path)
        case "tcp" | "http" | "https" | "ssh" if parts and parts.hostname:
            if parts.scheme == "tcp" and parts.port is None:
                raise ValueError("has no port: write tcp://HOST:2376 with TLS, or tcp://HOST:2375")
            _check_server(parts.hostname, parts.port)
        case _:
            raise ValueError(
                "is not the URL of an engine: write unix:///run/docker.sock, tcp://HOST:2376, "
                "http://HOST, https://HOST or ssh://USER@HOST"
            )
    return text


def check_header_name(text: str) -> str:
    """Check the name of an HTTP header: valid, and not one that relay sets itself."""
    lower = text.lower()
    if not _TOKEN.fullmatch(text):
        raise ValueError("is not the name of a header")
    if lower in _RESERVED_HEADERS or lower.startswith(_RESERVED_PREFIXES):
        raise ValueError("is a header that relay sets itself")
    return text


def check_header_value(text: str) -> str:
    """Check the value of an HTTP header: no line break or other control character."""
    if text and (text[-1] in "\r\n" or _LINE_BREAK.search(text)):
        reject_paste_mistake(text)
    if _CONTROL.search(text):
        raise ValueError("holds a control character")
    return text


def check_inspect_field(text: str) -> str:
    """Check the dotted path of a field of ``inspect``; it may end in the name of a label."""
    if not _INSPECT_FIELD.fullmatch(text) or len(text) > _MAX_INSPECT_FIELD_CHARS:
        raise ValueError("is not the path of an inspect field, as in RestartCount or State.Pid")
    return text


def check_distinct_headers(names: Iterable[str]) -> None:
    """Check that no two header names differ in letter case only."""
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
    """Check a user name for basic authentication (RFC 7617, section 2)."""
    if not text or ":" in text or _CONTROL.search(text):
        raise ValueError("is not a user's name: it is empty, or holds a ':' or a control character")
    return text


def check_signing_secret(text: str) -> str:
    """Check a signing secret of the Standard Webhooks specification."""
    if mistake := describe_paste_mistake(text):
        raise invalid(mistake)
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


def check_admin_token(text: str) -> str:
    """Check the token of the admin interface: long enough, and usable in a request."""
    if len(text) < _MIN_ADMIN_TOKEN_CHARS:
        raise ValueError(
            "is too short: use 32 random characters, as `openssl rand -hex 16` prints them"
        )
    if not _ADMIN_TOKEN.fullmatch(text):
        raise ValueError("is not a token: use letters and digits, as `openssl rand -hex 16` does")
    return text


def check_bearer_token(text: str) -> str:
    """Check a token for ``Authorization: Bearer`` (RFC 6750, section 2.1)."""
    if not _BEARER_TOKEN.fullmatch(text):
        raise ValueError("holds no token: a token has letters, digits and -._~+/= only")
    return text


def check_time_zone(name: str) -> str:
    """Check the name of a time zone in the IANA database."""
    if not name:
        raise invalid("is empty: write the name of a time zone, as in Europe/Berlin, or remove it")
    try:
        TimeZone(name)
    except UnknownZone as error:
        meant = _find_zone(name, error.known)
        raise ValueError(f"{error}{f' (did you mean {quote(meant)}?)' if meant else ''}") from None
    return name


def _find_zone(name: str, known: Iterable[str]) -> str | None:
    """Return the zone that is probably meant: people leave out its first part, or write spaces."""
    wanted = name.casefold().replace(" ", "_")
    whole = {each.casefold(): each for each in known}
    cities = {each.casefold().rpartition("/")[2]: each for each in sorted(known, reverse=True)}
    if (meant := whole.get(wanted) or cities.get(wanted)) is not None:
        return meant
    # abbreviations are similar to each other, and mean something else
    return find_closest(wanted, known, cutoff=0.8) if "/" in wanted else None


def check_template(text: str) -> str:
    """Check a text that may contain Jinja expressions by rendering it for a sample event.

    An error that depends on the sample's values is ignored: the template may work for others. The
    details of an error may quote the template, which may contain a secret: they are in
    `ConfigIssue.detail`, which is not shown for secrets.
    """
    try:
        Template(text).render(sample_context())
    except TemplateError as error:
        if error.kind is not TemplateErrorKind.VALUE:
            message = f"is a template that fails: {error.kind.value}"
            raise InvalidValue(
                [ConfigIssue((), message, IssueScope.STANDALONE, f": {error}")]
            ) from None
    return text


def check_link(text: str) -> str:
    """Check the template of a link, and what it renders to for a sample event."""
    check_template(text)
    if _URLENCODE.search(text):
        raise ValueError("uses 'urlencode', but values are percent-encoded anyway: remove it")
    with suppress(TemplateError):
        make_link(Template(text).render_parts(sample_context()))
    return text


def require_package(package: str, destination_type: str) -> None:
    """Refuse a type of destination whose package is missing: relay's extra of that name has it."""
    if find_spec(package) is None:
        raise invalid(
            f"'type: {destination_type}' needs {package}, which is not installed: install relay "
            f"with its extra '{destination_type}' (pip install "
            f"'docker-event-relay[{destination_type}]'), or requirements.lock"
        )


def check_header_template(text: str) -> str:
    """Check a header's value that may contain Jinja expressions, and what it renders to."""
    check_template(text)
    with suppress(TemplateError):
        check_header_value(Template(text).render(sample_context()))
    return text


def _split_url(text: str) -> SplitResult | None:
    # urlsplit silently removes line breaks and tabs
    if _NOT_IN_URL.search(text):
        return None
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018 - raises if it is not a number up to 65535
    except ValueError:
        return None
    return parts
