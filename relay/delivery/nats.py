"""Publishes events to a stream of NATS JetStream.

A sender has one connection, which stays open and is opened again by itself. An attempt that finds
none waits for it, at most ``timeout.connect``. A message is delivered when the stream has said that
it is stored, or was already. Nothing is kept beside the store: what the stream has not answered is
published again, under the same ``Nats-Msg-Id``.

What an administrator can repair is tried again: a full stream, a permission that is missing, a
stream that does not exist. Only what can never be stored becomes a dead letter.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import time_ns

import structlog
from msgspec.structs import replace

from relay.core.exchange import Reached, Reason, Request, Response, ResponseHint
from relay.delivery.http.response import ResponseReader
from relay.destinations.nats import NatsDestination
from relay.nats.connection import NatsConnection
from relay.nats.failure import FailureKind, RequestError
from relay.nats.jetstream import JetStreamError, PubAck
from relay.nats.message import (
    HEADROOM_BYTES,
    SENT_AT,
    UnreadableMessage,
    decode_event,
    encode_event,
)
from relay.nats.publisher import Publisher
from relay.nats.requirements import find_server_faults
from relay.nats.subjects import event_subject

log = structlog.get_logger()

LEAST_BYTES = 32_768
"""The lowest limit of `encode_event`."""
NO_SUCH_LIFETIME = frozenset({10165, 10166})
"""The answers to a message whose ``Nats-TTL`` is no duration, by streams with and without lifetimes
of messages: nats-server's server/errors.json."""

_REASONS = {
    FailureKind.NOT_CONNECTED: Reason.CONNECTION,
    FailureKind.NO_ANSWER: Reason.TIMEOUT,
    FailureKind.NO_RESPONDERS: Reason.UNAVAILABLE,
    FailureKind.STREAM_FULL: Reason.UNAVAILABLE,
    FailureKind.PERMISSION: Reason.UNAVAILABLE,
    FailureKind.REFUSED: Reason.UNAVAILABLE,
    FailureKind.TOO_LARGE: Reason.REFUSED,
    FailureKind.WRONG_STREAM: Reason.REFUSED,
}
_STATUSES = {FailureKind.PERMISSION: 403, FailureKind.TOO_LARGE: 413}
"""What HTTP would have answered, for the advice of commands."""


class NatsSender:
    """A `Sender` to one stream, with a connection of its own."""

    def __init__(self, destination: NatsDestination, wall_ns: Callable[[], int] = time_ns) -> None:
        """``wall_ns`` is this host's wall clock. Raises `TlsError`."""
        self._wall_ns = wall_ns
        self._host = destination.identity
        self._connect_s = destination.timeout.connect.total_seconds()
        self._reader = ResponseReader(destination)
        self._connection = NatsConnection(f"relay {destination.identity}", destination)
        self._publisher = Publisher(
            self._connection,
            destination.stream,
            timeout_s=destination.timeout.total.total_seconds(),
        )

    @property
    def problem(self) -> str | None:
        """See `KeepsConnection`; it holds no secret."""
        problem = self._connection.problem
        return None if problem is None else self._reader.describe(problem)

    def on_open(self, call: Callable[[], None]) -> None:
        """See `KeepsConnection`."""
        self._connection.on_open(call)

    async def open(self) -> None:
        """Begin to connect. Does not wait for the connection."""
        await self._connection.open()

    async def close(self) -> None:
        """Close the connection. No attempt may be under way."""
        await self._connection.close()

    async def send(self, request: Request) -> Response:
        """Publish the message and wait until it is stored; the result holds no secret."""
        connection = self._connection
        try:
            if not connection.is_connected and not await connection.wait_open(self._connect_s):
                why = connection.problem or f"no connection in {self._connect_s:g} s"
                raise RequestError(FailureKind.NOT_CONNECTED, why)
            headers = {**request.headers, SENT_AT: str(self._wall_ns())}
            ack = await self._publisher.publish(request.url, self._fit(request.body), headers)
        except RequestError as error:
            return self._failed(error)
        return Response(200, _describe_ack(ack).encode())

    def _fit(self, body: bytes) -> bytes:
        """Return the body, with fewer attributes if the server takes no message so long."""
        limit = self._connection.server.max_payload - HEADROOM_BYTES
        if len(body) <= limit or limit < LEAST_BYTES:
            return body
        try:
            sent = decode_event(body, host=self._host, via="")
        except UnreadableMessage:  # the server says that it is too long
            return body
        return encode_event(self._host, replace(sent.event, via=None), sent.included, limit)

    def _failed(self, error: RequestError) -> Response:
        text = str(error)
        if error.kind is FailureKind.NOT_CONNECTED:
            text = f"not connected: {text}"
        response = self._reader.failed(_REASONS[error.kind], text)
        status = _STATUSES.get(error.kind)
        return response if status is None else replace(response, hint=ResponseHint(status))


def _describe_ack(ack: PubAck) -> str:
    stored = "had it already" if ack.duplicate else "stored it"
    return f"stream {ack.stream} {stored}, as number {ack.seq}"


@asynccontextmanager
async def open_nats_sender(destination: NatsDestination) -> AsyncIterator[NatsSender]:
    """Open a sender. It connects in the background. Raises `TlsError`."""
    sender = NatsSender(destination)
    await sender.open()
    try:
        yield sender
    finally:
        await sender.close()


async def reach_over_nats(destination: NatsDestination) -> Reached:
    """Connect, log in, and find out whether events would be stored. Nothing is stored.

    The stream is asked to store an empty message for a time that is none. It refuses just this if
    all else is right: the account may publish under its name, the stream has the right name and
    takes the subject, and its answer comes back.

    The leader of a stream refuses it before it asks the other servers. No condition on the last
    message can stand in its place: nats-server 2.15 passes a message with a wrong
    ``Nats-Expected-Last-Msg-Id`` on, and then no copy of the stream stores anything any longer.
    """
    connection = NatsConnection(f"relay {destination.identity} (check)", destination)
    await connection.open()
    try:
        total_s = destination.timeout.total.total_seconds()
        if not await connection.try_open(total_s):
            return Reached(connection.problem or f"no answer in {total_s:g} s", is_reached=False)
        server = connection.server
        for finding in find_server_faults(server):
            return Reached(finding.text, is_reached=False)
        fault = await _find_fault(connection, destination, total_s)
    finally:
        await connection.close()
    if fault is not None:
        return Reached(fault, is_reached=False)
    text = (
        f"reached ({server.name}, nats-server {server.version}): stream {destination.stream} "
        f"takes the events of {destination.identity}"
    )
    return Reached(text, is_reached=True)


async def _find_fault(
    connection: NatsConnection, destination: NatsDestination, timeout_s: float
) -> str | None:
    """Return why no event would be stored; None if it would."""
    subject = event_subject(destination.identity, "relay", "check")
    impossible = {"Nats-TTL": "none"}
    try:
        await Publisher(connection, destination.stream, timeout_s=timeout_s).publish(
            subject, b"", impossible
        )
    except RequestError as error:
        cause = error.__cause__
        if isinstance(cause, JetStreamError) and cause.code in NO_SUCH_LIFETIME:
            return None
        return str(error)
    return "its stream stores what it should not: is it a stream of JetStream?"
