"""Publishing to a stream: a message is stored when the stream has answered."""

from collections.abc import Mapping

from relay.nats.connection import NatsConnection
from relay.nats.failure import FailureKind, RequestError
from relay.nats.jetstream import (
    MESSAGE_EXCEEDS_MAXIMUM,
    NO_RESOURCES,
    STREAM_NOT_MATCH,
    STREAM_STORE_FAILED,
    JetStreamError,
    PubAck,
    decode_answer,
)

PUBLISH_TIMEOUT_S = 5.0
"""How long the stream may take to answer: nats.go's default. A stream of three servers that elects
a leader takes up to four seconds."""

_KINDS = {
    STREAM_NOT_MATCH: FailureKind.WRONG_STREAM,
    MESSAGE_EXCEEDS_MAXIMUM: FailureKind.TOO_LARGE,
    STREAM_STORE_FAILED: FailureKind.STREAM_FULL,
    **dict.fromkeys(NO_RESOURCES, FailureKind.STREAM_FULL),
}


class PublishError(RequestError):
    """A message was not stored, or nobody knows whether it was. `RequestError.kind` says why."""


class Publisher:
    """Publishes to one stream."""

    def __init__(
        self, connection: NatsConnection, stream: str, *, timeout_s: float = PUBLISH_TIMEOUT_S
    ) -> None:
        """``stream`` is the name of the stream that has to store the messages."""
        self._connection = connection
        self._stream = stream
        self._timeout_s = timeout_s

    async def publish(
        self, subject: str, body: bytes, headers: Mapping[str, str] | None = None
    ) -> PubAck:
        """Publish a message and wait until it is stored. Raises `PublishError`."""
        expecting = {**(headers or {}), "Nats-Expected-Stream": self._stream}
        try:
            answer = await self._connection.request(
                subject, body, expecting, timeout_s=self._timeout_s
            )
            return decode_answer(answer.body, PubAck)
        except JetStreamError as error:
            kind = _KINDS.get(error.code, FailureKind.REFUSED)
            raise PublishError(kind, self._describe(kind, str(error))) from error
        except RequestError as error:
            raise PublishError(error.kind, self._describe(error.kind, str(error))) from error

    def _describe(self, kind: FailureKind, text: str) -> str:
        match kind:
            case FailureKind.STREAM_FULL:
                return f"stream {self._stream} is full: {text}"
            case FailureKind.WRONG_STREAM:
                return f"another stream than {self._stream} takes the subject: {text}"
            case FailureKind.NO_RESPONDERS:
                return f"stream {self._stream} does not answer: there is none, or it has no leader"
            case FailureKind.REFUSED:
                return f"stream {self._stream}: {text}"
            case _:
                return text
