"""What is kept of a destination's answer."""

from collections.abc import Mapping

from relay.core.exchange import Response
from relay.delivery.http.errors import elsewhere
from relay.delivery.redact import Scrubber

ANSWER_BYTES = 4096
"""How much of an answer is kept."""
HEADER_CHARS = 100
"""How much of a header of it."""

_OF_LIMITS = ("retry-after", "date", "x-ratelimit-remaining", "x-ratelimit-reset-after")


def most_read(scrub: Scrubber) -> int:
    """How much of a body is read: a secret that the end of what is kept would cut in two is read to
    its own end."""
    return ANSWER_BYTES + scrub.reach


def received(status: int, headers: Mapping[str, str], body: bytes, scrub: Scrubber) -> Response:
    """The answer without secrets; ``headers`` are found by names in small letters."""
    text = scrub.clean(body.decode(errors="surrogateescape"))
    location = headers.get("location", "")
    return Response(
        status,
        text.encode(errors="surrogateescape")[:ANSWER_BYTES],
        error=elsewhere(location) if location and 300 <= status < 400 else None,
        headers={name: headers[name][:HEADER_CHARS] for name in _OF_LIMITS if name in headers},
    )
