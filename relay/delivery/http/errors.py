"""Why no response arrived, or none that counts: a reason, and a text that holds no secret."""

import ssl

from yarl import URL

from relay.config import TimeoutConfig
from relay.core.errors import describe_os_error
from relay.core.exchange import Reason
from relay.delivery.http.connection import InvalidHttpResponse, ServerDisconnected
from relay.delivery.http.pool import ConnectTimeout
from relay.delivery.http.resolver import NoAddress


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


def describe_redirect(location: str) -> str:
    """Return where a redirect leads: the origin only, since path and query may be secret."""
    try:
        url = URL(location)
        target = (
            str(url.origin()) if url.host else f"{url.scheme}:" if url.scheme else "the same server"
        )
    except ValueError:
        target = "an invalid URL"
    return f"a redirect to {target}, which is not followed"
