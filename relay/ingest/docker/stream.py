"""Reads one engine's stream, for ever: connects, watches, reconnects."""

import asyncio
import errno
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from time import time_ns
from typing import Protocol, TypeVar

import aiohttp
import structlog
import tenacity

from relay.core.event import Event, GapReason, make_self_event
from relay.core.framing import RECORD_MAX_BYTES, RecordSplitter
from relay.ingest.docker.buffer import (
    Connection,
    EventBuffer,
    RecordsDropped,
    StreamOpened,
    parse_record,
)
from relay.ingest.docker.cursor import CLOCK_TOLERANCE_NS
from relay.ingest.docker.engine.client import (
    ENGINE_ERRORS,
    EngineClient,
    EngineInfo,
    EngineUnavailable,
    Now,
    describe_error,
)
from relay.ingest.docker.engine.parser import InvalidRecord
from relay.ingest.docker.reconciler import Reconciler

log = structlog.get_logger()

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ReconnectPolicy:
    """The listener's clock, and its times in seconds."""

    now: Now = time_ns
    backoff_initial_s: float = 0.1
    backoff_max_s: float = 2
    """A try costs next to nothing, and what died meanwhile is to be told at once."""
    stable_after_s: float = 5
    """The backoff starts over only after a connection that lived so long; proxies cut idle ones
    after ten seconds and more."""
    ping_interval_s: float = 15
    """Socket proxies cut idle streams after 4 to 10 minutes; a silent half-open one is found
    within two of these."""
    answer_timeout_s: float = 10
    """How long an engine may take to answer anything but the stream."""


class StreamPosition(Protocol):
    """What the listener asks of the one who takes the events in."""

    def since_ns(self, engine_now_ns: int) -> int:
        """From when on to ask the engine, which has just said what time it is."""
        ...

    @property
    def is_continuous(self) -> bool:
        """Whether the engine's history has to hold an event that was taken in."""
        ...

    @property
    def position_ns(self) -> int:
        """When the last event happened that was taken in, by the engine's time."""
        ...

    def remembers(self, event: Event) -> bool:
        """Whether the event was taken in."""
        ...


Connect = Callable[[], AbstractAsyncContextManager[EngineClient]]


class StreamReader:
    """The reader of one engine. It puts what it reads into the inbox and waits for nobody."""

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
        self._last_ended_ns: int | None = None
        self._was_refused = False
        self._clock_ahead_ns = 0
        self._has_received = False
        self._stream_opened: asyncio.Future[StreamOpened] = asyncio.Future()
        self._last_committed = asyncio.Event()
        self._last_committed.set()
        self._opened_s: float | None = None
        self._log = log.bind(engine=engine)

    @property
    def has_opened(self) -> bool:
        """Whether the stream of the latest connection was opened; it may have ended since."""
        return self._stream_opened.done()

    async def run(self) -> None:
        """Listen until cancelled."""
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
        """Listen over one connection. Returns if it lived long enough to be called stable."""
        self._opened_s = None
        try:
            async with self._connect() as client:
                greeting = await self._with_timeout(client.handshake(), "a greeting")
                await self._read_and_watch(client, self._start_connection(greeting))
        except ENGINE_ERRORS as failure:
            if self._opened_s is None:
                self._was_refused = self._was_refused or _is_refused(failure)
                self._on_unreachable(failure)
                raise
            self._log.info("engine.stream_ended", reason=describe_error(failure))
            if _loop_time_s() - self._opened_s < self._policy.stable_after_s:
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
        )

    def _on_opened(self, connection: Connection, history: tuple[Event, ...] | None) -> None:
        """The stream is there: only now is the engine back."""
        self._opened_s = _loop_time_s()
        self._was_refused = False
        self._log.info("engine.connected", host=self._host)
        if self._unreachable_since_ns is not None:
            down_s = round((self._now() - self._unreachable_since_ns) / 1e9, 3)
            self._emit("engine_back", {"down_s": str(down_s)})
            self._unreachable_since_ns = None
        # While the store takes nothing, histories would heap up.
        opened = StreamOpened(connection, history if self._last_committed.is_set() else None)
        self._last_committed = opened.committed
        self._buffer.put(opened)
        self._stream_opened.set_result(opened)

    async def _read_and_watch(self, client: EngineClient, connection: Connection) -> None:
        """Read the stream and watch over it until one of them fails, as both do in the end."""
        self._stream_opened = asyncio.get_running_loop().create_future()
        # A TaskGroup that is cancelled just as one of its tasks fails tells of the failure only:
        # whoever was told to stop would reconnect.
        hearing = [
            asyncio.ensure_future(self._read_stream(client, connection)),
            asyncio.ensure_future(self._watch(client, connection)),
            asyncio.ensure_future(self._reconciler.run(client, self._stream_opened)),
        ]
        try:
            ended, _ = await asyncio.wait(hearing, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in hearing:
                task.cancel()
            await asyncio.gather(*hearing, return_exceptions=True)
            if self._opened_s is not None:
                self._last_ended_ns = self._now() + self._clock_ahead_ns
        for task in ended:
            task.result()

    async def _read_stream(self, client: EngineClient, connection: Connection) -> None:
        framer = self._new_splitter()
        oversized = 0
        history = await self._fetch_history(client, self._history_window(connection))
        async with client.stream(connection.since_ns) as chunks:
            self._on_opened(connection, history)
            async for chunk in chunks:
                self._has_received = True
                self._buffer.put_records(connection, framer.feed(chunk))
                if framer.oversized > oversized:
                    count, oversized = framer.oversized - oversized, framer.oversized
                    self._buffer.put(RecordsDropped(connection, count, GapReason.RECORD_TOO_LONG))
        raise EngineUnavailable("the engine closed the stream")

    def _history_window(self, connection: Connection) -> Connection:
        """As far back as an event has to be that proves the history whole.

        Docker remembers few, so where none was taken in yet, any that is older will do.
        """
        if self._position.is_continuous or connection.podman:
            return connection
        return replace(connection, since_ns=1)

    def _new_splitter(self) -> RecordSplitter:
        """One that keeps no record that would never find room."""
        return RecordSplitter(min(RECORD_MAX_BYTES, self._buffer.max_record_bytes))

    async def _watch(self, client: EngineClient, connection: Connection) -> None:
        """Ping the engine, and where the stream is silent ask whether it should be."""
        suspects: set[str] = set()
        while True:
            self._has_received = False
            await asyncio.sleep(self._policy.ping_interval_s)
            await self._with_timeout(client.ping(), "a ping")
            busy = self._has_received or not self._buffer.is_empty
            missed = set() if busy else await self._missing_events(client, connection)
            if missed & suspects:
                raise EngineUnavailable("the stream is silent while the engine has events")
            suspects = missed

    async def _missing_events(self, client: EngineClient, connection: Connection) -> set[str]:
        """The ids of events that the engine has and that have not been taken in.

        One of them can be on its way; one that is still missing a round later is not. An engine
        that does not answer this question is given the benefit of the doubt.
        """
        since_ns = self._position.since_ns(self._now() + connection.ahead_ns)
        asked = replace(connection, since_ns=since_ns)
        history = await self._fetch_history(client, asked)
        return {event.id for event in history or () if not self._position.remembers(event)}

    async def _fetch_history(
        self, client: EngineClient, connection: Connection
    ) -> tuple[Event, ...] | None:
        """What the engine remembers; None if it does not tell.

        Its clock is known to the second only: what was taken in last is not to be left out.
        """
        now_ns = self._now() + connection.ahead_ns
        last_ns = self._position.position_ns
        until_ns = now_ns if last_ns > now_ns + CLOCK_TOLERANCE_NS else max(now_ns, last_ns + 1)
        try:
            async with asyncio.timeout(self._policy.answer_timeout_s):
                body = await client.history(connection.since_ns, until_ns)
        except ENGINE_ERRORS:
            return None
        records = [
            parse_record(record, connection) for record in self._new_splitter().feed(body + b"\n")
        ]
        events = tuple(event for event in records if not isinstance(event, InvalidRecord))
        return None if records and not events else events  # a proxy's page is no history

    async def _with_timeout(self, answer: Awaitable[T], what: str) -> T:
        try:
            async with asyncio.timeout(self._policy.answer_timeout_s):
                return await answer
        except TimeoutError:
            raise EngineUnavailable(
                f"no answer to {what} in {self._policy.answer_timeout_s:g} s"
            ) from None

    def _on_unreachable(self, failure: BaseException) -> None:
        """Say that the engine is out of reach: once, not once per try."""
        if self._unreachable_since_ns is not None:
            return
        self._unreachable_since_ns = self._now()
        self._log.warning(
            "engine.unreachable", reason=describe_error(failure), retrying="until it answers"
        )
        self._emit("engine_lost", {"reason": describe_error(failure)})

    def _emit(self, action: str, attributes: dict[str, str]) -> None:
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


def _is_refused(failure: BaseException) -> bool:
    """Whether nobody listens where the engine did: it is not the network that is down."""
    return isinstance(failure, aiohttp.ClientConnectorError) and failure.os_error.errno in (
        errno.ECONNREFUSED,
        errno.ENOENT,
    )


def _loop_time_s() -> float:
    return asyncio.get_running_loop().time()
