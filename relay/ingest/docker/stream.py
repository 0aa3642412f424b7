"""Reads one engine's event stream: connects, resumes, watches, and reconnects forever.

`StreamReader` only moves bytes from the socket into the buffer. It never waits for a disk, a
webhook or a lock, because an engine stalls when nobody reads its stream. It cannot tell a quiet
engine from a dead connection by the stream alone, so a watchdog pings the engine and, while the
stream is silent, compares the engine's history with the accepted events. A reader runs until its
session cancels it.
"""

import asyncio
import errno
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from time import time_ns
from typing import Protocol, TypeVar

import aiohttp
import msgspec
import structlog
import tenacity

from relay.core.clock import loop_time_s
from relay.core.event import Event, GapReason, make_self_event
from relay.core.framing import RECORD_MAX_BYTES, RecordSplitter
from relay.core.tasks import spawn
from relay.ingest.docker.buffer import (
    Connection,
    EventBuffer,
    RecordsDropped,
    StreamOpened,
    parse_record,
)
from relay.ingest.docker.cursor import CLOCK_TOLERANCE_NS
from relay.ingest.docker.engine.client import EngineClient, EngineInfo, Now
from relay.ingest.docker.engine.errors import ENGINE_ERRORS, EngineUnavailable, describe_error
from relay.ingest.docker.engine.parser import InvalidRecord
from relay.ingest.docker.reconciler import Reconciler

log = structlog.get_logger()

T = TypeVar("T")


class ReconnectPolicy(msgspec.Struct, frozen=True):
    """The clock and the timings of a `StreamReader`."""

    now: Now = time_ns
    backoff_initial_s: float = 0.1
    backoff_max_s: float = 2
    """Short, because an attempt costs almost nothing and deaths meanwhile should be reported at
    once."""
    stable_after_s: float = 5
    """The backoff starts over after a connection that lived at least this long. Proxies cut idle
    connections after ten seconds or more, which is no reason to wait longer each time."""
    ping_interval_s: float = 15
    """A half-open stream is detected within two intervals. Socket proxies cut idle streams after 4
    to 10 minutes."""
    answer_timeout_s: float = 10
    """How long an engine may take to answer any request except the stream."""


class StreamPosition(Protocol):
    """What the reader needs to know about the accepted events."""

    def since_ns(self, engine_now_ns: int) -> int:
        """Return the engine's time from which to request events. It is ``engine_now_ns`` now."""
        ...

    @property
    def is_continuous(self) -> bool:
        """Whether a complete history of the engine must contain an accepted event."""
        ...

    @property
    def position_ns(self) -> int:
        """The engine's time of the last accepted event."""
        ...

    def remembers(self, event: Event) -> bool:
        """Whether the event was accepted, or never will be: it is before the start."""
        ...

    def stream_ended(self) -> None:
        """Note that the engine's stream has ended."""
        ...


Connect = Callable[[], AbstractAsyncContextManager[EngineClient]]


class StreamReader:
    """Reads one engine's stream into the buffer, without ever waiting for the worker."""

    def __init__(
        self,
        engine: str,
        host: str | None,
        connect: Connect,
        buffer: EventBuffer,
        position: StreamPosition,
        reconciler: Reconciler,
        policy: ReconnectPolicy | None = None,
    ) -> None:
        self._engine = engine
        self._host = host or engine
        self._host_given = host is not None
        self._connect = connect
        self._buffer = buffer
        self._position = position
        self._reconciler = reconciler
        self._policy = policy or ReconnectPolicy()
        self._now = self._policy.now
        self._unreachable_since_ns: int | None = None
        """By the local clock; None while the engine is reachable."""
        self._last_ended_ns: int | None = None
        """When the last stream ended, by the engine's clock."""
        self._was_refused = False
        """Whether an attempt since the last stream found that nothing listens at the address."""
        self._clock_ahead_ns = 0
        self._has_received = False
        self._stream_opened: asyncio.Future[StreamOpened] = asyncio.Future()
        self._last_committed = asyncio.Event()
        """Set once the last `StreamOpened` is committed."""
        self._last_committed.set()
        self._opened_s: float | None = None
        """When the stream of this connection opened, by the loop's clock."""
        self._log = log.bind(engine=engine)

    @property
    def has_opened(self) -> bool:
        """Whether the last connection opened its stream; the stream may have ended since."""
        return self._stream_opened.done()

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            await tenacity.AsyncRetrying(
                wait=tenacity.wait_random_exponential(
                    multiplier=self._policy.backoff_initial_s,
                    min=self._policy.backoff_initial_s,
                    max=self._policy.backoff_max_s,
                ),
                retry=tenacity.retry_if_exception_type(ENGINE_ERRORS),
                stop=tenacity.stop_never,
            )(self._connect_once)

    async def _connect_once(self) -> None:
        """Read over one connection.

        Returns if the connection lived for ``stable_after_s``, so that the backoff starts over;
        else raises what ended it.
        """
        self._opened_s = None
        try:
            async with self._connect() as client:
                info = await self._with_timeout(client.handshake(), "the handshake")
                await self._read_and_watch(client, self._start_connection(info))
        except ENGINE_ERRORS as error:
            if self._opened_s is None:
                self._was_refused = self._was_refused or _is_refused(error)
                self._on_unreachable(error)
                raise
            self._log.info("engine.stream_ended", reason=describe_error(error))
            if loop_time_s() - self._opened_s < self._policy.stable_after_s:
                raise

    def _start_connection(self, info: EngineInfo) -> Connection:
        if not self._host_given and info.name is not None:
            self._host = info.name
        self._clock_ahead_ns = info.ahead_ns
        engine_now_ns = self._now() + self._clock_ahead_ns
        self._log.debug("engine.greeted", host=self._host, api_version=info.api_version)
        return Connection(
            engine=self._engine,
            host=self._host,
            opened_ns=engine_now_ns,
            since_ns=self._position.since_ns(engine_now_ns),
            ahead_ns=info.ahead_ns,
            down_since_ns=self._last_ended_ns if self._was_refused or info.is_local else None,
            after_failure=self._unreachable_since_ns is not None,
            identity=info.identity,
            podman=info.podman,
            is_local=info.is_local,
        )

    def _on_opened(self, connection: Connection, history: tuple[Event, ...] | None) -> None:
        """Announce the open stream. Only a stream, not a handshake, means the engine is back."""
        self._opened_s = loop_time_s()
        self._was_refused = False
        self._log.info("engine.connected", host=self._host)
        if self._unreachable_since_ns is not None:
            down_s = round((self._now() - self._unreachable_since_ns) / 1e9, 3)
            self._emit("engine_back", {"down_s": str(down_s)})
            self._unreachable_since_ns = None
        # While the store is stuck, each reconnect would leave another history in the buffer.
        opened = StreamOpened(connection, history if self._last_committed.is_set() else None)
        self._last_committed = opened.committed
        self._buffer.put(opened)
        self._stream_opened.set_result(opened)

    async def _read_and_watch(self, client: EngineClient, connection: Connection) -> None:
        """Read the stream, watch it and reconcile, until one of these tasks fails."""
        self._stream_opened = asyncio.get_running_loop().create_future()
        # Not a TaskGroup: if it is cancelled just as one of its tasks fails, it raises only the
        # failure, and the cancelled reader would reconnect.
        tasks = [
            spawn(self._read_stream(client, connection), f"engine {self._engine}: read stream"),
            spawn(self._watch(client, connection), f"engine {self._engine}: watch stream"),
            spawn(
                self._reconciler.run(client, self._stream_opened),
                f"engine {self._engine}: reconciler",
            ),
        ]
        try:
            ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if self._opened_s is not None:
                self._last_ended_ns = self._now() + self._clock_ahead_ns
                self._position.stream_ended()
        for task in ended:
            task.result()

    async def _read_stream(self, client: EngineClient, connection: Connection) -> None:
        splitter = self._new_splitter()
        oversized = 0
        history = await self._fetch_history(client, self._history_window(connection))
        async with client.stream(connection.since_ns) as chunks:
            self._on_opened(connection, history)
            async for chunk in chunks:
                self._has_received = True
                self._buffer.put_records(connection, splitter.feed(chunk))
                await self._buffer.compress_long()
                if splitter.oversized > oversized:
                    count, oversized = splitter.oversized - oversized, splitter.oversized
                    self._buffer.put(RecordsDropped(connection, count, GapReason.RECORD_TOO_LONG))
        raise EngineUnavailable("the engine closed the stream")

    def _history_window(self, connection: Connection) -> Connection:
        """Return the connection, with ``since_ns`` early enough for a history to prove continuity.

        If no event was accepted yet, any event from before the start is proof. Docker remembers few
        events, so all of them can be requested; Podman's history has no such bound.
        """
        if self._position.is_continuous or connection.podman:
            return connection
        return msgspec.structs.replace(connection, since_ns=1)

    def _new_splitter(self) -> RecordSplitter:
        """Return a splitter that drops records too long even for an empty buffer."""
        return RecordSplitter(min(RECORD_MAX_BYTES, self._buffer.max_record_bytes))

    async def _watch(self, client: EngineClient, connection: Connection) -> None:
        """Ping the engine. If the stream is silent, check whether the engine has events.

        Raises `EngineUnavailable` if the stream fails to deliver events that the engine has.
        """
        suspects: set[str] = set()
        while True:
            self._has_received = False
            await asyncio.sleep(self._policy.ping_interval_s)
            await self._with_timeout(client.ping(), "a ping")
            busy = self._has_received or not self._buffer.is_empty
            missing = set() if busy else await self._missing_events(client, connection)
            if missing & suspects:
                raise EngineUnavailable("the stream is silent while the engine has events")
            suspects = missing

    async def _missing_events(self, client: EngineClient, connection: Connection) -> set[str]:
        """Return the ids of the events in the engine's history that were not accepted.

        An event may just be on its way, so the caller counts only those that are still missing in
        the next round. If the engine does not answer, none is missing.
        """
        since_ns = self._position.since_ns(self._now() + connection.ahead_ns)
        history = await self._fetch_history(
            client, msgspec.structs.replace(connection, since_ns=since_ns)
        )
        return {event.id for event in history or () if not self._position.remembers(event)}

    async def _fetch_history(
        self, client: EngineClient, connection: Connection
    ) -> tuple[Event, ...] | None:
        """Return the events in the engine's history since ``connection.since_ns``.

        None if the engine does not answer, or not with events. Its clock is known only to the
        second (HTTP dates), so the request ends no earlier than the last accepted event.
        """
        now_ns = self._now() + connection.ahead_ns
        last_ns = self._position.position_ns
        until_ns = now_ns if last_ns > now_ns + CLOCK_TOLERANCE_NS else max(now_ns, last_ns + 1)
        try:
            async with asyncio.timeout(self._policy.answer_timeout_s):
                body = await client.history(connection.since_ns, until_ns)
        except ENGINE_ERRORS:
            return None
        splitter = self._new_splitter()
        records = [
            parse_record(record, connection)
            for part in (body, b"\n")  # not together: that would copy a long body
            for record in splitter.feed(part)
        ]
        events = tuple(event for event in records if not isinstance(event, InvalidRecord))
        return None if records and not events else events  # a proxy's HTML page is no history

    async def _with_timeout(self, answer: Awaitable[T], what: str) -> T:
        try:
            async with asyncio.timeout(self._policy.answer_timeout_s):
                return await answer
        except TimeoutError:
            raise EngineUnavailable(
                f"no answer to {what} in {self._policy.answer_timeout_s:g} s"
            ) from None

    def _on_unreachable(self, error: BaseException) -> None:
        """Log and announce that the engine is unreachable: once, not once per attempt."""
        if self._unreachable_since_ns is not None:
            return
        self._unreachable_since_ns = self._now()
        reason = describe_error(error)
        self._log.warning("engine.unreachable", reason=reason, retrying="until it answers")
        self._emit("engine_lost", {"reason": reason})

    def _emit(self, action: str, attributes: dict[str, str]) -> None:
        """Put one of relay's own events about this engine into the buffer."""
        self._buffer.put(
            make_self_event(
                action,
                engine=self._engine,
                host=self._host,
                time_ns=self._now(),
                name=self._engine,
                attributes=attributes,
            )
        )


def _is_refused(error: BaseException) -> bool:
    """Whether nothing listens at the engine's address: the engine is down, not the network."""
    return isinstance(error, aiohttp.ClientConnectorError) and error.os_error.errno in (
        errno.ECONNREFUSED,
        errno.ENOENT,
    )
