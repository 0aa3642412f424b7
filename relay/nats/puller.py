"""Pulling messages from a durable consumer of a stream, one request at a time.

A request asks for a batch, and its messages come as soon as there are any, until the batch is
complete or the request expires; `Puller.pull` returns what is there. A message comes under its own
subject. What comes under the request's reply subject is a status of the server, which ends the
request.

A consumer with the policy ``pinned_client`` gives its messages to one of its clients at a time. The
server tells that client an id, which the client repeats in each request. For the others a request
just waits (https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-42.md).
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping

import msgspec

from relay.nats.connection import Message, NatsConnection
from relay.nats.failure import FailureKind, RequestError
from relay.nats.jetstream import (
    CONSUMER_NOT_FOUND,
    STREAM_NOT_FOUND,
    ConsumerInfo,
    JetStreamError,
    consumer_info,
)

REQUEST_EXPIRES_S = 30.0
"""How long the server keeps a request that it cannot answer, at the most."""
REQUESTS_PER_PIN = 3
"""A client loses its pin if it makes no request for the consumer's ``priority_timeout``, even while
a request of it waits (nats-server 2.15). So it makes this many in that time."""
EXPIRES_SLACK_S = 5.0
"""How much longer relay waits for the server to say that a request has expired."""
MIN_BATCH_BYTES = 16 * 2**20
"""At most so many bytes are asked for at a time, or twice the longest message if that is more."""
MIN_WAIT_S, MAX_WAIT_S = 0.1, 2.0
"""The wait after the first request that failed, and the longest one; it doubles. While a stream
elects its leader, the server refuses requests at once."""
PINNED = "pinned_client"

_NORMAL_ENDS = ("batch completed", "message size exceeds maxbytes")
"""What the status 409 says of a request whose messages have come."""


class PulledMessage(msgspec.Struct, frozen=True, gc=False):
    """A message that waits to be acknowledged."""

    subject: str
    headers: Mapping[str, str]
    body: bytes
    stream_seq: int
    """Its number in the stream."""
    delivered: int
    """How often it was delivered: 1 for the first time."""
    stored_ns: int
    """When the stream took it, by the server's clock, in nanoseconds since 1970."""
    reply: str
    """Where to acknowledge it."""
    received_s: float
    """When it came, in the loop's time."""
    pending: int = 0
    """How many messages the consumer had not delivered yet when it delivered this one."""


class PullRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """The body of a request for messages: ``JSApiConsumerGetNextRequest`` of nats-server."""

    batch: int
    expires: int
    max_bytes: int = 0
    group: str = ""
    id: str = ""


class _OpenRequest(msgspec.Struct):
    """A request that the server has not ended yet."""

    reply: str
    connection_number: int
    """`NatsConnection.opened_count` when it was made."""
    ends_s: float
    """When relay no longer waits for it, in the loop's time."""
    left: int
    """How many of its messages have not come."""


class Puller:
    """Pulls from one consumer, over one connection that no other puller uses."""

    def __init__(
        self,
        connection: NatsConnection,
        stream: str,
        consumer: str,
        *,
        random_: Callable[[], float] = random.random,
    ) -> None:
        """``random_`` returns what `random.random` does. The connection is opened afterwards."""
        self._connection = connection
        self._stream = stream
        self._consumer = consumer
        self._random = random_
        self._inbox = f"{connection.inbox}.pull"
        self._request: _OpenRequest | None = None
        self._arrived = asyncio.Event()
        self._messages: deque[PulledMessage] = deque()
        self._known_on = 0
        self._wait_s = 0.0
        self._count = 0
        self._problem: str | None = None
        self._cannot_ack: str | None = None
        self.pin_id: str | None = None
        """The id under which this client gets the messages; None while another client gets them,
        and if the consumer does not pin."""
        self.dropped_count = 0
        """How many messages had waited here for so long that the server delivers them again: they
        come after newer ones."""
        self.info: ConsumerInfo | None = None
        """The consumer as it was when it was last asked for."""
        connection.listen(f"{self._inbox}.*", self._on_message)
        connection.watch_denials(self._next_subject, self._on_pull_denied)
        connection.watch_denials("$JS.ACK.", self._on_ack_denied)

    @property
    def problem(self) -> str | None:
        """Why no messages can be pulled, in one line; None if they can."""
        return self._connection.problem or self._problem or self._cannot_ack

    @property
    def is_pinning(self) -> bool:
        """Whether the consumer gives its messages to one client at a time."""
        return self.info is not None and self.info.config.priority_policy == PINNED

    @property
    def is_standby(self) -> bool:
        """Whether another client gets the messages, as far as this one knows.

        While nobody does, since none has come yet, the next one may be for this client.
        """
        groups = self.info.priority_groups if self.info is not None else None
        is_taken = any(group.pinned_client_id for group in groups or ())
        return self.is_pinning and self.pin_id is None and is_taken

    @property
    def is_superseded(self) -> bool:
        """Whether another client was pinned when the consumer was last asked for, although the
        server has not told this one: that it does with the next request."""
        groups = self.info.priority_groups if self.info is not None else None
        pinned = next((group.pinned_client_id for group in groups or ()), "")
        return self.pin_id is not None and pinned not in ("", self.pin_id)

    @property
    def ack_wait_s(self) -> float:
        """How long the server waits for an acknowledgement before it delivers a message again."""
        return 30.0 if self.info is None else self.info.config.ack_wait / 1e9

    async def pull(self, max_messages: int, expires_s: float) -> list[PulledMessage]:
        """Return messages as soon as there are any, in the order in which they came.

        Returns none after ``expires_s``. Raises nothing: `problem` says why none comes.
        """
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + expires_s
        while not (messages := self._take(max_messages, loop.time())):
            left_s = deadline_s - loop.time()
            if left_s <= 0:
                break
            if not self._connection.is_connected:
                await self._connection.wait_open(left_s)
            elif self._wait_s and self._request is None:
                wait_s = self._wait_s * (0.5 + self._random())
                await asyncio.sleep(min(wait_s, left_s))
                await self._ask(max_messages)
            elif not self._is_waiting(loop.time()):
                await self._ask(max_messages)
            else:
                await self._wait_for_message(left_s)
        return messages

    async def consumer_info(self) -> ConsumerInfo:
        """Ask for the consumer and what it has to deliver. Raises `RequestError`."""
        self.info = await consumer_info(self._connection, self._stream, self._consumer)
        return self.info

    async def ack(self, messages: Iterable[PulledMessage]) -> None:
        """Acknowledge messages: they are not delivered again.

        If there is no connection they are delivered again, and can be acknowledged then.
        """
        await self._answer([message.reply for message in messages], b"+ACK")

    async def term(self, message: PulledMessage, reason: str) -> None:
        """Say that a message cannot be processed: it is not delivered again. See `ack`."""
        line = "".join(it if it.isprintable() else " " for it in reason)[:200]
        await self._answer([message.reply], f"+TERM {line}".encode())

    async def _answer(self, replies: Iterable[str], body: bytes) -> None:
        for reply in replies:
            try:
                await self._connection.publish(reply, body)
            except RequestError:
                return

    @property
    def _next_subject(self) -> str:
        return f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._consumer}"

    @property
    def _request_expires_s(self) -> float:
        """How long the server is to keep a request."""
        pin_s = self.info.config.priority_timeout / 1e9 if self.info is not None else 0.0
        if not self.is_pinning or not pin_s:
            return REQUEST_EXPIRES_S
        return min(REQUEST_EXPIRES_S, max(MIN_WAIT_S, pin_s / REQUESTS_PER_PIN))

    def _take(self, max_messages: int, now_s: float) -> list[PulledMessage]:
        """Take messages that have come, without those that the server delivers again by now."""
        oldest_s = now_s - self.ack_wait_s
        while self._messages and self._messages[0].received_s < oldest_s:
            self._messages.popleft()
            self.dropped_count += 1
        count = min(max_messages, len(self._messages))
        return [self._messages.popleft() for _ in range(count)]

    def _is_waiting(self, now_s: float) -> bool:
        """Whether the server may still answer the last request."""
        request = self._request
        return (
            request is not None
            and request.left > 0
            and request.connection_number == self._connection.opened_count
            and now_s < request.ends_s
        )

    async def _wait_for_message(self, left_s: float) -> None:
        """Wait until something comes, the connection is lost, or the time is over."""
        assert self._request is not None
        now_s = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(min(left_s, self._request.ends_s - now_s)):
                await self._arrived.wait()
        except TimeoutError:
            return
        self._arrived.clear()

    async def _ask(self, max_messages: int) -> None:
        """Ask the server for messages."""
        self._request = None
        try:
            if self._known_on != self._connection.opened_count:
                await self._get_to_know()
            await self._send_request(max_messages)
        except RequestError as error:
            self._fail(self._describe(error))

    async def _get_to_know(self) -> None:
        """Ask how the consumer is configured, once on each connection. Raises `RequestError`."""
        number = self._connection.opened_count
        info = await self.consumer_info()
        if info.config.deliver_subject:
            text = f"the consumer {self._consumer} is a push consumer; relay needs a pull consumer"
            raise RequestError(FailureKind.REFUSED, text)
        if not self.is_pinning:
            self.pin_id = None
        self._known_on, self._cannot_ack = number, None

    async def _send_request(self, max_messages: int) -> None:
        self._count += 1
        expires_s = self._request_expires_s
        request = _OpenRequest(
            reply=f"{self._inbox}.{self._count}",
            connection_number=self._connection.opened_count,
            ends_s=asyncio.get_running_loop().time() + expires_s + EXPIRES_SLACK_S,
            left=max_messages,
        )
        groups = self.info.config.priority_groups if self.info is not None else None
        body = PullRequest(
            batch=max_messages,
            expires=int(expires_s * 1e9),
            max_bytes=max(MIN_BATCH_BYTES, 2 * self._connection.server.max_payload),
            group=groups[0] if groups else "",
            id=self.pin_id or "",
        )
        self._arrived.clear()
        self._request = request  # before the answer can come
        await self._connection.publish(
            self._next_subject, msgspec.json.encode(body), reply=request.reply
        )

    def _on_message(self, message: Message) -> None:
        if message.subject.startswith(self._inbox):
            self._on_status(message)
        elif (pulled := _read_pulled(message)) is not None:
            self._wait_s, self._problem = 0.0, None
            if self.is_pinning:
                self.pin_id = message.headers.get("Nats-Pin-Id", self.pin_id)
            if self._request is not None:
                self._request.left -= 1
            self._messages.append(pulled)
        self._arrived.set()

    def _on_status(self, message: Message) -> None:
        """Take the status that ends a request; one of an earlier request says nothing."""
        if self._request is None or message.subject != self._request.reply:
            return
        status, text = message.status, message.description
        if status == "100":  # a heartbeat
            return
        self._request = None
        match status:
            case "404" | "408":
                self._wait_s, self._problem = 0.0, None
            case "409" if text.lower().startswith(_NORMAL_ENDS):
                self._wait_s = 0.0
            case "423":  # another client is pinned now
                self.pin_id = None
            case "503":
                self._known_on = 0  # `_get_to_know` asks whether there is a consumer
                self._fail(f"the consumer {self._consumer} does not answer")
            case _:
                self._known_on = 0
                self._fail(f"the consumer {self._consumer}: {text} ({status})")

    def _on_pull_denied(self, text: str) -> None:
        self._request = None
        self._fail(text)
        self._arrived.set()

    def _on_ack_denied(self, text: str) -> None:
        self._cannot_ack = f"{text}, so nothing can be acknowledged"

    def _fail(self, text: str) -> None:
        """Note why no messages come, and wait before the next request."""
        self._problem = text
        self._wait_s = min(MAX_WAIT_S, max(MIN_WAIT_S, 2 * self._wait_s))

    def _describe(self, error: RequestError) -> str:
        if isinstance(error, JetStreamError):
            if error.code == CONSUMER_NOT_FOUND:
                return f"the stream {self._stream} has no consumer {self._consumer}"
            if error.code == STREAM_NOT_FOUND:
                return f"there is no stream {self._stream}"
        if error.kind is FailureKind.NO_RESPONDERS:
            return "JetStream does not answer: it is not enabled, or has no leader"
        return str(error)


def _read_pulled(message: Message) -> PulledMessage | None:
    """Return a message with what its reply subject says; None if that is none of a stream.

    ``$JS.ACK.STREAM.CONSUMER.DELIVERED.STREAM_SEQ.CONSUMER_SEQ.TIME.PENDING``; newer servers add
    the domain and the account before the stream (ADR-15 of the repository above).
    """
    tokens = message.reply.split(".")
    if len(tokens) >= 11:
        del tokens[2:4]
    if len(tokens) < 9 or tokens[:2] != ["$JS", "ACK"]:
        return None
    try:
        delivered, stream_seq, _, stored_ns = map(int, tokens[4:8])
        pending = int(tokens[8])
    except ValueError:
        return None
    return PulledMessage(
        subject=message.subject,
        headers=message.headers,
        body=message.body,
        stream_seq=stream_seq,
        delivered=delivered,
        stored_ns=stored_ns,
        reply=message.reply,
        received_s=asyncio.get_running_loop().time(),
        pending=pending,
    )
