"""Why a request to a NATS server failed."""

from enum import StrEnum


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
