"""What is kept of a destination's answer."""

from collections.abc import Mapping

from relay.core.exchange import Response
from relay.delivery.http.errors import describe_redirect
from relay.delivery.redact import Redactor

KEPT_BODY_BYTES = 4096
"""How much of an answer is kept."""
KEPT_HEADER_CHARS = 100
"""How much of a header of it."""

_KEPT_HEADERS = ("retry-after", "date", "x-ratelimit-remaining", "x-ratelimit-reset-after")


def read_limit(redactor: Redactor) -> int:
    """How much of a body is read: a secret that the end of what is kept would cut in two is read to
    its own end."""
    return KEPT_BODY_BYTES + redactor.lookahead_bytes


def to_response(
    status: int, headers: Mapping[str, str], body: bytes, redactor: Redactor
) -> Response:
    """The answer without secrets; ``headers`` are found by names in small letters."""
    text = redactor.redact(body.decode(errors="surrogateescape"))
    location = headers.get("location", "")
    return Response(
        status,
        text.encode(errors="surrogateescape")[:KEPT_BODY_BYTES],
        error=describe_redirect(location) if location and 300 <= status < 400 else None,
        headers={
            name: headers[name][:KEPT_HEADER_CHARS] for name in _KEPT_HEADERS if name in headers
        },
    )
