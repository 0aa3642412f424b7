"""Makes a `Response` of what a destination sent, or of the error if it sent no response."""

import ssl
from collections.abc import Mapping

import msgspec
from yarl import URL

from relay.config import DestinationConfig, TimeoutConfig
from relay.core.descriptors import SHORTAGES
from relay.core.errors import describe_os_error
from relay.core.exchange import Reason, Response
from relay.core.text import truncate
from relay.delivery.http.connection import InvalidHttpResponse, ServerDisconnected
from relay.delivery.http.resolver import NoAddress
from relay.delivery.redact import Redactor, collect_secrets
from relay.destinations.common.responses import describe_unexpected

KEPT_BODY_BYTES = 4096
"""How much of the body of a response is kept."""

KEPT_HEADER_CHARS = 100
"""How much of each kept header is kept."""

KEPT_ERROR_CHARS = 300
"""How much of the description of a failure is kept, in UTF-16 units."""

_KEPT_HEADERS = ("retry-after", "date", "content-type")
"""The headers that are kept of every response, in addition to ``limit_headers``."""


class ConnectTimeout(TimeoutError):
    """No connection was established within ``timeout.connect``."""


class ResponseReader:
    """Makes a `Response` of what a destination has sent: bounded, printable, without secrets."""

    def __init__(self, destination: DestinationConfig) -> None:
        self._destination = destination
        self._redactor = Redactor(collect_secrets(destination))
        self._kept_headers = (*_KEPT_HEADERS, *destination.limit_headers)
        # More is read than is kept: a secret that begins before the cut must be read to its end,
        # because a part of it would not be recognized.
        self._redacted_bytes = KEPT_BODY_BYTES + self._redactor.lookahead_bytes
        self.max_body_bytes = max(self._redacted_bytes, destination.max_response_bytes)
        """How much of the body of a response is to be read."""

    def read(self, status: int, headers: Mapping[str, str], body: bytes) -> Response:
        """Return the response. The keys of ``headers`` are in lower case."""
        kept = {
            name: headers[name][:KEPT_HEADER_CHARS]
            for name in self._kept_headers
            if name in headers
        }
        hint = self._destination.read_response(Response(status, body, headers=kept))
        text, error = "", None
        if body:
            beginning = body[: self._redacted_bytes].decode(errors="surrogateescape")
            text = self._redactor.redact(beginning)
        if hint.unexpected is not None:
            error = self.describe(describe_unexpected(hint, text))
        elif 300 <= (hint.status or status) < 400 and (location := headers.get("location")):
            target = truncate(self._redactor.redact(_redirect_target(location)), 100)
            error = f"a redirect to {target}, which is not followed"
        body = text.encode(errors="surrogateescape")[:KEPT_BODY_BYTES]
        return Response(status, body, error=error, hint=hint, headers=kept)

    def failed(self, failure: Reason, text: str) -> Response:
        """Return the result of a request without a response, with the reason and a description."""
        response = Response(None, failure=failure, error=self.describe(text))
        return msgspec.structs.replace(response, hint=self._destination.read_response(response))

    def describe(self, text: str) -> str:
        """Return a description of a failure as it may be kept: printable, without secrets."""
        return truncate(self._redactor.redact(text), KEPT_ERROR_CHARS)


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
        case OSError(errno=code) if code in SHORTAGES:
            return Reason.EXHAUSTED, f"relay cannot open a connection: {describe_os_error(error)}"
        case OSError():
            return Reason.CONNECTION, describe_os_error(error)
        case ServerDisconnected() | InvalidHttpResponse():
            return Reason.CONNECTION, str(error)
        case _:
            return Reason.CONNECTION, type(error).__name__


def _redirect_target(location: str) -> str:
    """Return where a redirect leads: the origin only, since path and query may be secret."""
    try:
        url = URL(location)
        if url.host:
            return str(url.origin())
    except ValueError:
        return "an invalid URL"
    return f"{url.scheme}:" if url.scheme else "the same server"
