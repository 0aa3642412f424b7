"""What is kept of the response of a destination, without secrets."""

from collections.abc import Iterable, Mapping

from relay.core.exchange import Response
from relay.delivery.http.errors import describe_redirect
from relay.delivery.redact import Redactor

KEPT_BODY_BYTES = 4096
"""How much of the body is kept."""

KEPT_HEADER_CHARS = 100
"""How much of each kept header is kept."""

_KEPT_HEADERS = ("retry-after", "date")
"""The headers that are kept of every response, beside those that the destination's type reads."""


def read_limit(redactor: Redactor) -> int:
    """Return how many bytes of a body are read.

    It is more than is kept: a secret that begins before the cut and ends behind it must be read to
    its end, because half of it would not be recognized.
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
        error=describe_redirect(location) if location and 300 <= status < 400 else None,
        headers={name: headers[name][:KEPT_HEADER_CHARS] for name in kept if name in headers},
    )
