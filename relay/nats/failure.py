"""Why a request to a NATS server, or a connection to one, failed."""

import os
import re
from enum import StrEnum

from relay.core.errors import describe_os_error

MAX_ERROR_CHARS = 300
"""Our own limit for what a server says about an error."""
_MANY_ADDRESSES = re.compile(r"\[Errno (\d+)\]")
"""asyncio names the errors of all addresses of a host in one text."""


class FailureKind(StrEnum):
    """What kind of failure it was: what can be done about it."""

    NOT_CONNECTED = "not_connected"
    """There is no connection, or it was lost before the answer came."""
    NO_ANSWER = "no_answer"
    """The answer did not come in time. The request may have had its effect."""
    NO_RESPONDERS = "no_responders"
    """Nobody listens to the subject: there is no such stream or consumer, or it has no leader."""
    PERMISSION = "permission"
    """The account may not use the subject."""
    TOO_LARGE = "too_large"
    """The message is longer than the server or the stream allows."""
    STREAM_FULL = "stream_full"
    """The stream, the account or the server has no room for another message."""
    WRONG_STREAM = "wrong_stream"
    """Another stream than the configured one takes the subject."""
    REFUSED = "refused"
    """JetStream answered with another error."""


class RequestError(Exception):
    """A request without a usable answer. The text is one clear line."""

    def __init__(self, kind: FailureKind, text: str) -> None:
        super().__init__(text)
        self.kind = kind


def describe_error(error: Exception) -> str:
    """Describe an error of a connection in one line."""
    text = str(error)
    if isinstance(error, TimeoutError):
        text = "did not answer in time"
    elif isinstance(error, OSError):
        found = _MANY_ADDRESSES.search(text) if error.errno is None else None
        text = describe_os_error(error) if found is None else os.strerror(int(found[1]))
    elif "authorization violation" in text.lower() or "authorization failed" in text:
        text = "refused the login (authorization violation)"
    text = text.removeprefix("nats: ").strip() or type(error).__name__
    return "".join(it if it.isprintable() else " " for it in text)[:MAX_ERROR_CHARS]
