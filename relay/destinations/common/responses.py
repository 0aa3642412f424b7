"""Reads the responses of destinations: whether a notification was accepted, and how long to wait.

A 2xx alone does not say that a notification was accepted: a login in front of a server, a captive
portal, or a web server that shows one page at every path answers 200 too. So an HTML page is never
a success, and for each service only what its documents describe is one: see ``parse_response`` of
its module. Any other 2xx is tried again, because it does not come from the service.
"""

import re
from collections.abc import Collection, Iterable
from datetime import UTC
from email.utils import parsedate_to_datetime

import msgspec

from relay.core.exchange import NO_HINT, Response, ResponseHint
from relay.core.text import truncate

ERROR_STATUSES = range(400, 600)
"""The statuses that a body may give in place of the actual one."""

ECHO_MAX_BYTES = 262_144
"""How much is read of a response that repeats the message, as JSON that may escape each character:
more than the longest message becomes in this way."""

EXCERPT_MAX = 100
"""How much of an unexpected body an error quotes, in UTF-16 units."""

_HTML_TYPES = ("text/html", "application/xhtml+xml")
_HTML_START = re.compile(rb"<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE)
_TITLE = re.compile(r"<title[^<>]{0,200}>([^<]{1,400})", re.IGNORECASE)
_OBJECT = msgspec.json.Decoder(dict[str, object], float_hook=float)
"""Decodes a number that is too large as infinite; msgspec alone would refuse the whole object."""
_DECIMAL = re.compile(r"[0-9]+(\.[0-9]*)?")


def is_2xx(response: Response) -> bool:
    """Return whether the status means success."""
    return response.status is not None and 200 <= response.status < 300


def is_html(response: Response) -> bool:
    """Return whether the body is an HTML page.

    The content type alone does not say it: Slack sends its ``ok`` as ``text/html``, and so do many
    programs that answer with a word.
    """
    body = response.body.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not body.startswith(b"<"):
        return False
    type_ = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    return type_ in _HTML_TYPES or _HTML_START.match(body) is not None


def unexpected_page() -> ResponseHint:
    """Return the hint for an HTML page, which is no success."""
    return ResponseHint(unexpected="a web page, such as a login or a proxy shows")


def without(response: Response, expected: str) -> ResponseHint:
    """Return the hint for a response that lacks what a success holds: a 2xx is unexpected then."""
    return ResponseHint(unexpected=f"without {expected}") if is_2xx(response) else NO_HINT


def describe_unexpected(hint: ResponseHint, body: str) -> str:
    """Return why a 2xx is no success, and the title of the page or the beginning of the body."""
    found = _TITLE.search(body)
    excerpt = truncate((found[1] if found else body).strip(), EXCERPT_MAX)
    return f"{hint.unexpected}: {excerpt or 'no body came'}"


def parse_acknowledgement(response: Response) -> ResponseHint:
    """Read a 2xx of a service that many servers imitate, or whose answer is not documented.

    A success is ``ok``, an empty body, or JSON that reports no error.
    """
    if not is_2xx(response) or response.body.strip().lower() in (b"", b"ok"):
        return NO_HINT
    try:
        document = msgspec.json.decode(response.body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return without(response, "'ok'")
    if isinstance(document, dict) and (document.get("error") or document.get("errors")):
        return without(response, "success")
    return NO_HINT


def read_expected(
    response: Response, hint: ResponseHint, statuses: Collection[int], texts: Collection[str]
) -> ResponseHint:
    """Return what a response means if the configuration says which ones are a success.

    A success has one of the statuses (any 2xx if there are none) and contains one of the texts.
    ``hint`` is what the service's own rules say; it holds for an error.
    """
    if response.status is None:
        return hint
    body = response.body.decode(errors="replace")
    if not (response.status in statuses if statuses else is_2xx(response)):
        found = without(response, f"the expected status {_join_alternatives(statuses)}")
    elif texts and not any(text in body for text in texts):
        found = without(response, f"the expected {_join_alternatives(map(repr, texts))}")
    elif not texts and is_html(response):
        found = unexpected_page()
    else:
        return ResponseHint(status=200, retry_after_s=hint.retry_after_s)
    if hint.is_rejected or hint.status is not None or not is_2xx(response):
        return hint
    return msgspec.structs.replace(found, retry_after_s=hint.retry_after_s)


def parse_object(body: bytes) -> dict[str, object]:
    """Return the JSON object that a body holds; an empty one if it holds anything else."""
    try:
        return _OBJECT.decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return {}


def parse_number(value: object) -> float | None:
    """Return a number from 0 on, given as a number or as decimal digits; None for anything else.

    It may be infinite, so that a request to wait very long is not ignored.
    """
    if isinstance(value, str) and not _DECIMAL.fullmatch(value):
        return None
    try:
        number = float(value) if isinstance(value, str | int | float) else -1.0
    except OverflowError:  # of an int
        return float("inf") if value > 0 else None  # type: ignore[operator]
    return number if number >= 0 else None


def parse_date_s(text: str) -> float | None:
    """Return an HTTP date in seconds since 1970; None if the text is not a date."""
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, IndexError, OverflowError):
        return None
    return date.replace(tzinfo=date.tzinfo or UTC).timestamp()


def _join_alternatives(alternatives: Iterable[object]) -> str:
    return " or ".join(map(str, alternatives))
