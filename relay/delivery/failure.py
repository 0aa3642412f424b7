"""Why no answer came, or none that counts: a reason, and words without a secret."""

import aiohttp
from yarl import URL

from relay.config import TimeoutConfig
from relay.errors import system_words
from relay.exchange import Reason


def failed(error: Exception, timeout: TimeoutConfig) -> tuple[Reason, str]:
    """What kept a request from being answered; the words never hold the URL."""
    match error:
        case aiohttp.ConnectionTimeoutError():
            seconds = timeout.connect.total_seconds()
            return Reason.TIMEOUT, f"no connection in {seconds:g} s"
        case TimeoutError():
            return Reason.TIMEOUT, f"no answer in {timeout.total.total_seconds():g} s"
        case aiohttp.ClientConnectorDNSError():
            return Reason.NAME, f"the name {error.host!r} has no address"
        case aiohttp.ClientConnectorCertificateError(certificate_error=cause):
            return Reason.TLS, f"certificate not accepted: {cause}"
        case aiohttp.ClientConnectorSSLError(os_error=cause):
            return Reason.TLS, system_words(cause)
        case aiohttp.ClientConnectorError() | aiohttp.ClientHttpProxyError():
            return Reason.CONNECTION, _unconnected(error)
        case aiohttp.ServerDisconnectedError():
            return Reason.CONNECTION, "closed the connection without an answer"
        case aiohttp.ClientResponseError():
            return Reason.CONNECTION, "answered what is not HTTP, or more headers than are read"
        case OSError():
            return Reason.CONNECTION, system_words(error)
        case _:
            return Reason.CONNECTION, type(error).__name__


def elsewhere(location: str) -> str:
    """Where a redirect leads, without what may be secret of it."""
    try:
        url = URL(location)
        place = str(url.origin()) if url.host else f"{url.scheme}:" if url.scheme else "itself"
    except ValueError:
        place = "what is no URL"
    return f"a redirect to {place}, which is not followed"


def _unconnected(error: aiohttp.ClientConnectorError | aiohttp.ClientHttpProxyError) -> str:
    match error:
        case aiohttp.ClientHttpProxyError(status=status):
            return f"the proxy answered {status}"
        case aiohttp.ClientProxyConnectionError(os_error=cause):
            return f"the proxy cannot be reached: {system_words(cause)}"
        case _:
            return system_words(error.os_error)
