"""Pulls messages, and brings them into the order of the stream where that is in doubt.

A consumer delivers a message that is not acknowledged again after its ``ack_wait``, and meanwhile
newer ones. So whoever takes the consumer over, has lost the connection, or was too slow to take all
that had come, would get the messages that were under way after those that followed them. The reader
therefore holds what it gets first, until no message is under way that it does not hold. A relay
that hung for a while does so, too: if another hub has taken over meanwhile, what this one has
received is that hub's to process.
"""

import asyncio
from collections.abc import Iterable

import structlog

from relay.nats.connection import NatsConnection
from relay.nats.failure import RequestError
from relay.nats.puller import PulledMessage, Puller

log = structlog.get_logger()

IDLE_S = 5.0
"""After so long without a message the reader returns, so that silent hosts are noticed."""

HANG_S = 6.0
"""relay hung if there is more time than this between two reads: more than `IDLE_S`, and less than
two thirds of the usual ``priority_timeout`` (10 s), after which another hub may take over."""

POLL_S = 0.25
"""How often the consumer is asked what is under way."""

GRACE_S = 1.0
"""How long messages may take to be delivered again, in addition to half of ``ack_wait``."""

LOG_AFTER_S = 1.0
"""A wait that is longer is logged."""

HELD_BYTES = 64 * 2**20
"""With more than this nothing more is pulled while messages are held. In number they are bounded by
the consumer's ``max_ack_pending``."""


class MessageReader:
    """Reads one consumer."""

    def __init__(
        self, engine: str, connection: NatsConnection, puller: Puller, batch_size: int
    ) -> None:
        self._engine = engine
        self._connection = connection
        self._puller = puller
        self._batch_size = batch_size
        self._settled: tuple[object, ...] | None = None
        """The `_place` since which the order is that of the stream."""
        self._read_s = 0.0
        """When the last read ended, in the loop's time."""

    async def read(self) -> list[PulledMessage]:
        """Return the next messages, in the order of the stream; none after `IDLE_S`."""
        try:
            return await self._read()
        finally:
            self._read_s = asyncio.get_running_loop().time()

    async def _read(self) -> list[PulledMessage]:
        messages = await self._puller.pull(self._batch_size, IDLE_S)
        if asyncio.get_running_loop().time() - self._read_s > HANG_S:
            self._settled = None
        if not messages or self._settled == self._place:
            return messages
        place = self._place
        settled = await self._gather(messages)
        if settled is None or self._place != place:
            return []  # what was held comes again
        self._settled = place
        return settled

    @property
    def _place(self) -> tuple[object, ...]:
        """Another one if messages may have been lost on their way, and come again."""
        puller = self._puller
        return self._connection.opened_count, puller.pin_id, puller.dropped_count

    @property
    def _longest_wait_s(self) -> float:
        return 1.5 * self._puller.ack_wait_s + GRACE_S

    async def _gather(self, messages: Iterable[PulledMessage]) -> list[PulledMessage] | None:
        """Return these messages and all others that are under way; None if that cannot be known.

        Does not wait for longer than it takes until all of them are delivered again.
        """
        loop = asyncio.get_running_loop()
        held = {message.stream_seq: message for message in messages}
        log_s, give_up_s = loop.time() + LOG_AFTER_S, loop.time() + self._longest_wait_s
        while True:
            try:
                info = await self._puller.consumer_info()
            except RequestError:
                return None
            if self._puller.is_superseded:
                return None
            elsewhere = info.num_ack_pending - len(held)
            if elsewhere <= 0 or loop.time() > give_up_s:
                return [held[number] for number in sorted(held)]
            if loop.time() > log_s:
                log.info("stream.settling", engine=self._engine, under_way=elsewhere)
                log_s = give_up_s
            if sum(len(message.body) for message in held.values()) < HELD_BYTES:
                more = await self._puller.pull(self._batch_size, POLL_S)
                held.update((message.stream_seq, message) for message in more)
            else:
                await asyncio.sleep(POLL_S)
