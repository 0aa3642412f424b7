"""What becomes of a request: the response without secrets, or the reason why there is none."""

import ssl
from collections.abc import Iterable, Mapping

from yarl import URL

from relay.config import TimeoutConfig
from relay.core.errors import describe_os_error
from relay.core.exchange import Reason, Response
from relay.delivery.http.connection import InvalidHttpResponse, ServerDisconnected
from relay.delivery.http.request import ConnectTimeout
from relay.delivery.http.resolver import NoAddress
from relay.delivery.redact import Redactor

KEPT_BODY_BYTES = 4096
"""How much of the body of a response is kept."""

KEPT_HEADER_CHARS = 100
"""How much of each kept header is kept."""

_KEPT_HEADERS = ("retry-after", "date")
"""The headers that are kept of every response, in addition to ``limit_headers``."""


def read_limit(redactor: Redactor) -> int:
    """Return how many bytes of a body are read: more than are kept.

    A secret that begins before the cut must be read to its end, because a part of it would not be
    recognized.
    """
    return KEPT_BODY_BYTES + redactor.lookahead_bytes


def to_response(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    redactor: Redactor,
    limit_headers: Iterable[str] = (),
) -> Response:
    """Return the response without secrets. The keys of ``headers`` are in lower case.

    ``limit_headers`` are the headers to keep for `DestinationConfig.parse_response`.
    """
    kept = (*_KEPT_HEADERS, *limit_headers)
    text = redactor.redact(body.decode(errors="surrogateescape"))
    location = headers.get("location", "")
    return Response(
        status,
        text.encode(errors="surrogateescape")[:KEPT_BODY_BYTES],
        error=_describe_redirect(location) if location and 300 <= status < 400 else None,
        headers={name: headers[name][:KEPT_HEADER_CHARS] for name in kept if name in headers},
    )


def classify_error(error: Exception, timeout: TimeoutConfig) -> tuple[Reason, str]:
    """Return why a request got no response, as a reason and as a text for the log.

    The text never holds the URL, which may be secret.
    """
    match error:
        case ConnectTimeout():
            return Reason.TIMEOUT, f"no connection in {timeout.connect.total_seconds():g} s"
        case TimeoutError(errno=None):
            return Reason.TIMEOUT, f"no answer in {timeout.total.total_seconds():g} s"
        case NoAddress():
            return Reason.NAME_NOT_FOUND, f"the name {error.host!r} has no address"
        case ssl.SSLCertVerificationError():
            return Reason.TLS, f"certificate not accepted: {error}"
        case ssl.SSLError():
            return Reason.TLS, describe_os_error(error)
        case OSError():
            return Reason.CONNECTION, describe_os_error(error)
        case ServerDisconnected() | InvalidHttpResponse():
            return Reason.CONNECTION, str(error)
        case _:
            return Reason.CONNECTION, type(error).__name__


def _describe_redirect(location: str) -> str:
    """Return where a redirect leads: the origin only, since path and query may be secret."""
    try:
        url = URL(location)
        target = (
            str(url.origin()) if url.host else f"{url.scheme}:" if url.scheme else "the same server"
        )
    except ValueError:
        target = "an invalid URL"
    return f"a redirect to {target}, which is not followed"
